"""`rayforge feedback loop | simulate | tables | teach | report`: what each command takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rayforge.errors import ConfigurationError, RunError
from rayforge.settings import WRITES_FILE, WRITES_FOLDER, AtLeast
from trainers.feedback.config import FeedbackConfig, TableConfig
from trainers.runs.folder import named_folder


@dataclass(frozen=True)
class Loop:
    """Simulated users talk to a trained agent for days; every night it learns from the log.

    Each arm is an assistant that meets the same people: without anything, with the chain's table,
    with online rewriting, with each user's own entries, with teaching.

    Examples:
      rayforge feedback loop --assistant runs/follower --planner map --run runs/feedback
      rayforge feedback loop --resume runs/feedback
    """

    settings: Annotated[FeedbackConfig, tyro.conf.arg(name="")]
    run: Path | None = None
    """Folder of the run; it must not hold one yet."""
    resume: Path | None = None
    """A run to go on with, under its own settings."""

    def __call__(self) -> None:
        run = named_folder(self.run, self.resume)
        settings = self.settings
        if self.resume is not None:
            from trainers.configuration import read_configuration

            if not (run / "config.yaml").is_file():
                raise RunError(f"{run} holds no run to go on with: it has no config.yaml")
            settings = read_configuration(FeedbackConfig, run / "config.yaml")
        from trainers.feedback.page import write_page
        from trainers.feedback.system import FEEDBACK
        from trainers.runs.train import train

        train(FEEDBACK, "feedback loop", settings, run, self.resume is not None)
        write_page(run)


@dataclass(frozen=True)
class Simulate:
    """Write a session log with truth: simulated users of an agent that learns nothing.

    Example: rayforge feedback simulate log.jsonl --assistant runs/follower --days 5
    """

    log: tyro.conf.Positional[Annotated[Path, WRITES_FILE]]
    """The log that is written: .jsonl or .parquet."""
    settings: Annotated[FeedbackConfig, tyro.conf.arg(name="")]

    def __call__(self) -> None:
        from envs.sessions.log import write_log
        from trainers.feedback.figures import day_figures
        from trainers.feedback.follower import Follower
        from trainers.feedback.loop import simulated

        if self.log.exists():
            raise ConfigurationError(f"{self.log} is there already: name another file")
        s = self.settings
        follower = Follower.open(Path(s.assistant), s.planner, s.data, s.split)
        turns = simulated(s, follower, dict(follower.routes))
        write_log(self.log, turns)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in day_figures(turns).items())
        print(f"{self.log}: {len(turns)} turns of {s.people.users} users; {shown}")


@dataclass(frozen=True)
class Tables:
    """Make the table of rewrites of a log, by absorbing chains.

    A line a rewrite: building, start, request, rewrite, its score, the request's own, support.

    Example: rayforge feedback tables log.jsonl --out table.jsonl
    """

    log: tyro.conf.Positional[Path]
    """The log that is counted."""
    settings: Annotated[TableConfig, tyro.conf.arg(name="")]
    out: Annotated[Path, WRITES_FILE] = Path("table.jsonl")
    """Where the table goes."""
    workers: Annotated[int, AtLeast(0)] = 0
    """Ray tasks that count; 0 counts in this process."""

    def __call__(self) -> None:
        import json

        from envs.sessions.log import read_log
        from rayforge.files import write_text
        from trainers.cluster import need_ray, own_ray
        from trainers.feedback.tables import rows_of, table_of, trials_of

        log = read_log(self.log)
        print(log.summary())
        with own_ray():
            if self.workers:
                need_ray(self.workers, log_to_driver=False)
            table = table_of(log.turns, self.settings, self.workers)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(table)]
        write_text(self.out, "".join(lines))
        live = len(trials_of(log.turns))
        print(f"{self.out}: {len(table)} rewrites; {live} were live in the log")


@dataclass(frozen=True)
class Mine:
    """Write what a log gives to the rest of RayForge: pairs of instructions and walks that people
    corrected, instructions that nobody's walk answered, and preference pairs.

    Examples:
      rayforge feedback mine log.jsonl --out mined
      rayforge irl adapt runs/r2r --scans B6ByNegPMKs --pairs mined/demonstrations.json --out runs/a
      rayforge align train --data mined/preferences.jsonl --run runs/b
    """

    log: tyro.conf.Positional[Path]
    """The log that is mined."""
    out: Annotated[Path, WRITES_FOLDER] = Path("mined")
    """Folder of demonstrations.json, unlabelled.json and preferences.jsonl."""
    most_steps: Annotated[int, AtLeast(2)] = 15
    """Actions of a walk at most, as the agent's max_steps."""

    def __call__(self) -> None:
        from envs.sessions.log import read_log
        from trainers.feedback.mined import write_mined

        log = read_log(self.log)
        print(log.summary())
        found = write_mined(self.out, log.turns, self.most_steps)
        print(f"{self.out}: " + ", ".join(f"{count} {name}" for name, count in found.items()))


@dataclass(frozen=True)
class Teach:
    """Teach a user's private name, delete it, or list what was taught.

    Examples:
      rayforge feedback teach lessons.json --user ann --phrase "my corner" --means "the blue chair"
      rayforge feedback teach lessons.json --user ann --phrase "my corner" --forget
      rayforge feedback teach lessons.json --user ann
    """

    lessons: tyro.conf.Positional[Annotated[Path, WRITES_FILE]]
    """The file of lessons."""
    user: str
    """Whose names these are."""
    phrase: str = ""
    """The private name."""
    means: str = ""
    """Words that stand for the phrase."""
    forget: bool = False
    """Delete the phrase."""

    def __call__(self) -> None:
        from rayforge.feedback.teaching import CycleError, Lesson
        from trainers.feedback.lessons import read_lessons, write_lessons

        if (bool(self.means) and self.forget) or ((self.means or self.forget) and not self.phrase):
            raise ConfigurationError("give --phrase, with --means or --forget but not both")
        memory = read_lessons(self.lessons)
        if self.means:
            try:
                old = memory.teach(Lesson(self.user, self.phrase, self.means))
            except (CycleError, ValueError) as error:
                raise ConfigurationError(f"--user and --phrase: {error}") from None
            print("replaced" if old else "stored")
        elif self.forget:
            print("deleted" if memory.forget(self.user, self.phrase) else "there was no such name")
        for lesson in memory.lessons(self.user):
            print(f"{lesson.phrase}: {lesson.meaning}")
        if self.means or self.forget:
            write_lessons(self.lessons, memory)


@dataclass(frozen=True)
class Report:
    """Write the page of a loop: defects over days, the chain of a request, rewrites, examples.

    Example: rayforge feedback report runs/feedback
    """

    run: tyro.conf.Positional[Path]
    """Folder of the loop."""

    def __call__(self) -> None:
        from trainers.feedback.page import write_page

        if not (self.run / "config.yaml").is_file():
            raise RunError(f"{self.run} is not a run folder: it has no config.yaml")
        print(write_page(self.run))


@dataclass(frozen=True)
class Failures:
    """Name which stage of an agent fails first beyond repair, by replay with oracles.

    The requests are those of a log with truth; without one, simulated users give them. The agent's
    policy is replayed, at first sight.

    Example: rayforge feedback failures runs/follower --split held_out
    """

    run: tyro.conf.Positional[Path]
    """The run of the agent."""
    log: Path | None = None
    """A log with truth, of this agent's users."""
    data: str = ""
    """Data folder whose routes people want; empty: the run's own."""
    split: str = "held_out"
    """The split whose buildings are the homes."""
    users: Annotated[int, AtLeast(1)] = 200
    """Simulated users, where no log is named."""
    days: Annotated[int, AtLeast(1)] = 4
    """Their days."""
    most: Annotated[int, AtLeast(1)] = 1000
    """Failed requests that are replayed at most."""
    out: Annotated[Path, WRITES_FILE] = Path("failures.json")
    """Where the figures go; the page of the same name beside it."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the users, and of which failures are replayed."""

    def __call__(self) -> None:
        from dataclasses import replace

        from envs.sessions.log import read_log
        from rayforge.files import write_json, write_text
        from rayforge.reports.page import report_page
        from rayforge.reports.section import Code, Facts, Section
        from trainers.feedback.failures import analyse, failure_parts
        from trainers.feedback.follower import Follower
        from trainers.feedback.loop import simulated
        from trainers.runs.folder import command_line

        follower = Follower.open(self.run, "none", self.data, self.split)
        if self.log is None:
            config = FeedbackConfig(days=self.days, seed=self.seed)
            config = replace(config, people=replace(config.people, users=self.users))
            turns = simulated(config, follower, dict(follower.routes))
        else:
            log = read_log(self.log, buildings=follower.routes)
            print(log.summary())
            turns = list(log.turns)
        document = analyse(follower, turns, self.most, self.seed)
        write_json(self.out, document)
        made = Section("How it was made", [Facts([("Command", Code(command_line()))])])
        sections = [Section("", failure_parts(document)), made]
        page = report_page(self.run.resolve().name, "Failure points", sections)
        write_text(self.out.with_suffix(".html"), page)
        for share in document["shares"]:
            found = document["injected"].get(share["stage"])
            right = f"{found['right']:.3f} of {found['count']}" if found else "none were injected"
            print(
                f"{share['stage']:<12}{share['mean']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"
                f"   injected faults named right: {right}"
            )
        print(f"{document['failed']} failures in {document['seconds']} s; {self.out}")
