"""`rayforge feedback loop`: serve, log, learn from the log, deploy; for days of simulated users.

Each arm is an assistant of its own that meets the same people with the same wishes, and keeps a log
of its own. A night's tables are made from that log alone; truth is read for the figures and nowhere
else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from envs.progress import Progress
from envs.sessions.log import append_turns, read_log, write_log
from envs.sessions.noise import confusions, vocabulary_of
from envs.sessions.people import Person, Route, people
from envs.sessions.simulation import simulate_day
from envs.sessions.turns import Turn
from rayforge.errors import ConfigurationError, RunError
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.teaching import Memory
from rayforge.files import write_json, write_text
from rayforge.readers.json_text import read_json
from trainers.feedback.config import ARMS, Arm, FeedbackConfig
from trainers.feedback.figures import day_figures, judged
from trainers.feedback.follower import Follower, Follows
from trainers.feedback.lessons import read_lessons, write_lessons
from trainers.feedback.served import Online, Served
from trainers.feedback.tables import deployed, rows_of, table_of, wordings_of


@dataclass(frozen=True)
class Town:
    """Who lives where, and how words are misheard."""

    routes: dict[str, tuple[Route, ...]]
    users: tuple[Person, ...]
    sounds: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, config: FeedbackConfig, routes: dict[str, tuple[Route, ...]]) -> Town:
        """Raises ConfigurationError for a building that is not among the homes."""
        unknown = [name for name in config.buildings if name not in routes]
        if unknown:
            raise ConfigurationError(
                f"building {unknown[0][:80]!r} is not in split {config.split}, which has "
                f"{', '.join(sorted(routes))[:200]}"
            )
        kept = {name: routes[name] for name in config.buildings or sorted(routes)}
        texts = [text for own in kept.values() for route in own for text in route.wordings]
        return cls(kept, people(config.people, kept, config.seed), confusions(vocabulary_of(texts)))


def has(arm: Arm, part: Arm) -> bool:
    """Whether an arm's assistant has a part."""
    return ARMS.index(arm) >= ARMS.index(part)


def log_file(run: Path, arm: Arm) -> Path:
    return run / f"log_{arm}.jsonl"


def train(
    config: FeedbackConfig, run: Path, reports: range, follower: Follows | None = None,
    routes: dict[str, tuple[Route, ...]] | None = None,
) -> Iterator[dict[str, float]]:  # fmt: skip
    """The loop as a system trains: report n of N are the days up to days * n / N.

    The state is the log, and the lessons. Which days are whole says `days.json`; what a kill left
    of a day is dropped and simulated again, to the same turns. `follower` and `routes` replace the
    run's agent and its split.
    """
    if follower is None or routes is None:
        own = Follower.open(
            Path(config.assistant), config.planner, config.data, config.split
        )  # fmt: skip
        follower, routes = own, dict(own.routes)
    town = Town.of(config, routes)
    days = days_of(run)
    arms = {arm: _Arm.open(config, run, arm, len(days)) for arm in config.arms}
    for number in reports:
        while len(days) * (reports.stop - 1) < config.days * number:
            figures = {arm: a.day(config, town, follower, len(days)) for arm, a in arms.items()}
            days.append({f"{name}/{arm}": v for arm, f in figures.items() for name, v in f.items()})
            write_json(run / "days.json", days)
        yield days[config.days * number // (reports.stop - 1) - 1]


@dataclass
class _Arm:
    """One assistant, its log and its lessons."""

    arm: Arm
    run: Path
    turns: list[Turn]
    memory: Memory | None
    learnt: tuple[int, Rewriter | None] | None = None
    """Day of the last training of the online rewriter, and what came of it."""

    @classmethod
    def open(cls, config: FeedbackConfig, run: Path, arm: Arm, done: int) -> _Arm:
        turns = list[Turn]()
        if done:
            turns = [turn for turn in read_log(log_file(run, arm)).turns if _day_of(turn) < done]
        write_log(log_file(run, arm), turns)  # without what a kill left of a day
        memory = Memory() if has(arm, "teaching") else None
        if memory is not None and done:
            memory = read_lessons(run / f"lessons_{arm}_{done}.json")
        return cls(arm, run, turns, memory)

    def day(
        self, config: FeedbackConfig, town: Town, follower: Follows, day: int
    ) -> dict[str, float]:
        """Deploy what the log teaches, serve a day, log it; the day's figures."""
        table = table_of(self.turns, config.table, config.workers) if has(self.arm, "table") else []
        online = self._online(config, day) if has(self.arm, "global") else None
        served = Served(
            follower, deployed(table, wordings_of(self.turns)), online, self.memory,
            config.table.explore, config.ask_after, f"{config.seed} {day}",
        )  # fmt: skip
        new = simulate_day(
            config.people, town.users, town.routes, town.sounds, day, config.seed, served,
            follower.metres,
        )  # fmt: skip
        self.turns += new
        append_turns(log_file(self.run, self.arm), new)
        if has(self.arm, "table"):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(table)]
            write_text(self.run / f"table_{self.arm}.jsonl", "".join(lines))
        if self.memory is not None:
            write_lessons(self.run / f"lessons_{self.arm}_{day + 1}.json", self.memory)
            (self.run / f"lessons_{self.arm}_{day - 1}.json").unlink(missing_ok=True)
        return day_figures(new) | judged(new, follower)

    def _online(self, config: FeedbackConfig, day: int) -> Online | None:
        """Tonight's online rewriting. It is trained on the days before the last refresh, so that a
        resumed loop has the same."""
        from trainers.feedback.online import learn_online, refreshed

        last, personal = day - day % config.refresh, has(self.arm, "personal")
        if not last:
            return None
        if self.learnt is None or self.learnt[0] != last:
            known = [turn for turn in self.turns if _day_of(turn) < last][-config.online_turns :]
            self.learnt = (last, learn_online(known, config.online, personal, config.seed))
        rewriter = self.learnt[1]
        return None if rewriter is None else refreshed(rewriter, self.turns, personal)


def _day_of(turn: Turn) -> int:
    """The day in which a turn's goal began: a late goal may end after midnight."""
    return int(turn.turn_id.split("-", 1)[0])


def days_of(run: Path) -> list[dict[str, float]]:
    """The figures of each day that is whole."""
    file = run / "days.json"
    if not file.is_file():
        return []
    found = read_json(file, RunError)
    if not isinstance(found, list) or not all(isinstance(day, dict) for day in found):
        raise RunError(f"{file}: expected a list with the figures of each day")
    return found


def simulated(
    config: FeedbackConfig, follower: Follows, routes: dict[str, tuple[Route, ...]]
) -> list[Turn]:
    """A log with truth of an assistant that learns nothing: `rayforge feedback simulate`."""
    town = Town.of(config, routes)
    served = Served(follower)
    turns: list[Turn] = []
    with Progress("simulating days", config.days) as progress:
        for day in range(config.days):
            turns += simulate_day(
                config.people, town.users, town.routes, town.sounds, day, config.seed, served,
                follower.metres,
            )  # fmt: skip
            progress.add()
    return turns
