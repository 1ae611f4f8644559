"""The report of an agent's run: a page that a reader understands the next morning."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.reports.adaptation import adaptation
from rayforge.reports.curves import LEARNING, learning
from rayforge.reports.page import report_page, write_page
from rayforge.reports.planner import planner
from rayforge.reports.plots import interval_chart
from rayforge.reports.run_folder import RunFolder, flat, interval, number, read_run
from rayforge.reports.section import (
    Cards,
    Cell,
    Code,
    Example,
    Examples,
    Facts,
    Lines,
    Link,
    Part,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    Words,
    cell,
    span,
    spoken,
)
from rayforge.reports.tables import AGENTS, agent_colour, metric_table, ordered_agents
from rayforge.reports.wiring import wiring

SEMANTIC_NOTE = (
    "Semantic observations: the agent sees room labels, object names and geometry instead of "
    "images. These figures are not comparable with published image-based ones."
)

_SAMPLES = 12  # instructions shown; the file holds more


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder from what the folder holds; returns its path.

    Parts that are missing or damaged are left out, with a line that says so. The page needs no
    network and no other file. Raises FileNotFoundError where there is no such folder.
    """
    record = read_run(run)
    text = report_page(record.name, "RayForge run", agent_sections(record))
    return write_page(run / "report.html", text)


def agent_sections(run: RunFolder) -> list[Section]:
    """The report of an agent's run."""
    return [
        _summary(run), _evaluation(run), *adaptation(run.folder), _episodes(run), *_reward(run),
        *wiring(run.folder), *planner(run.folder),
        learning(
            run, LEARNING, "updates of all phases",
            "Dotted lines mark where a phase begins. Of long curves the faint line is every "
            "iteration and the strong one its running mean. The figure beside a name is the last "
            "value.",
        ),
        _instructions(run), *settings_section(run), *left_out([run]),
    ]  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds as a person says them; "" where unknown."""
    if not math.isfinite(seconds):
        return ""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def settings_section(run: RunFolder) -> list[Section]:
    """All settings of a run, folded."""
    lines = "\n".join(f"{key}: {value}" for key, value in flat(run.config).items())
    shown = Section("All settings of the run", [Lines(lines)], folded=True)
    return [Section("Settings", [shown])] if lines else []


def left_out(runs: Sequence[RunFolder]) -> list[Section]:
    """What could not be read of the runs."""
    lines = [
        Text(f"{run.name}: {line}" if len(runs) > 1 else line, "small")
        for run in runs
        for line in run.problems
    ]
    return [Section("Left out of this report", lines)] if lines else []


def unfinished(run: RunFolder, command: str) -> list[Text]:
    """A note for a run without its end: what it came to, and how to go on."""
    last = run.metrics[-1] if run.metrics else {}
    done = ", ".join(filter(None, [*_counted(last), duration(run.seconds)])) or "nothing yet"
    return [
        Text(
            (f"This run is not finished: it is under way or was broken off. Done: {done}. Go on "
             "with ", Code(f"{command} --resume {run.folder}")), "note",
        )
    ]  # fmt: skip


def _without_scores(run: RunFolder) -> list[Text]:
    """A note for a run without an evaluation: only one that was to be evaluated is unfinished."""
    if run.config.get("evaluate") != []:
        return unfinished(run, "rayforge irl train")
    return [
        Text(
            "This run evaluates no split at its end, so that its figures do not say whether it is "
            "finished.", "note",
        )
    ]  # fmt: skip


def _counted(last: dict[str, Any]) -> list[str]:
    return [
        f"{number(last[key]):,.0f} {name}"
        for key, name in (("updates", "updates"), ("env_steps", "environment steps"))
        if math.isfinite(number(last.get(key)))
    ]


def _summary(run: RunFolder) -> Section:
    last = run.metrics[-1] if run.metrics else {}
    found = {s: interval(run.agents(s).get("agent", {}).get("success")) for s in run.evaluations}
    cards = [
        (f"Success on {spoken(split)}, greedy", f"{i.mean:.3f}", f"{span(i)} · {i.n:,} episodes")
        for split, i in found.items()
        if math.isfinite(i.mean)
    ]
    command = run.stated("command")
    facts = Facts(
        [
            ("Data", run.stated("data")), ("Observations", run.stated("features")),
            ("Seed", run.stated("seed")),
            ("Trained", ", ".join(filter(None, [duration(run.seconds), *_counted(last)]))),
            ("Hardware", run.stated("hardware")), ("Command", Code(command) if command else ""),
        ]
    )  # fmt: skip
    semantic = run.stated("features").startswith("semantic")
    return Section(
        "",
        [
            Text(run.method, "lead"),
            *([] if run.evaluations else _without_scores(run)),
            *([Cards(cards)] if cards else []),
            facts,
            *([Text(SEMANTIC_NOTE, "note")] if semantic else []),
        ],
    )


def _evaluation(run: RunFolder) -> Section:
    parts: list[Part] = []
    if not run.evaluations:
        score = Code(f"rayforge irl evaluate {run.folder} --split SPLIT")
        parts.append(Text(("Not evaluated yet: there is no evaluation_*.json. A run is evaluated "
                           "at its end, or with ", score), "gone"))  # fmt: skip
    for split, document in run.evaluations.items():
        agents = run.agents(split)
        names = ordered_agents(agents)
        labels = {name: run.method if name == "agent" else name for name in names}
        rows = [(labels[n], AGENTS.get(n, ""), agents[n], n == "agent") for n in names]
        counts = [interval(figure).n for figures in agents.values() for figure in figures.values()]
        charts = [
            interval_chart(
                f"{title}, {spoken(split)}",
                [(labels[n], interval(agents[n].get(key)), agent_colour(n)) for n in names],
            )
            for key, title in (("success", "Success"), ("spl", "SPL"), ("ndtw", "nDTW"))
            if any(key in figures for figures in agents.values())
        ]
        below = (
            f"{max(counts, default=0):,} episodes an agent. Actions are greedy: the likeliest one "
            "is taken. Means with 95 % bootstrap intervals over episodes."
        )
        trained = run.about.get("data")
        other = trained and document.get("data") not in (None, trained)
        said = [Text(f"Scored on {document['data']}.", "muted")] if other else []
        if document.get("checkpoint") == "best":
            said.append(Text("With the weights that validated best, not the last ones.", "muted"))
        table = metric_table(rows, below)
        table = replace(table, meanings=() if parts else table.meanings)  # once a page
        parts.append(Section(spoken(split), [*said, table, Pictures(charts)]))  # fmt: skip
    return Section("Evaluation", parts, "Does it arrive, and more often than its controls?")


def _episodes(run: RunFolder) -> Section:
    splits = sorted({*run.episodes, *run.evaluations})
    parts: list[Part] = []
    for split in splits:
        kinds = (("html", "Watch episodes, step by step"), ("mp4", "Watch the film"),
                 ("png", "Frames of the film"))  # fmt: skip
        links = [
            Link(text, f"watch_{split}.{kind}")
            for kind, text in kinds
            if (run.folder / f"watch_{split}.{kind}").is_file()
        ]
        words: Words = ("Watch them step by step: ",
                        Code(f"rayforge irl watch {run.folder} --split {split}"))  # fmt: skip
        if links:
            words = tuple(w for link in links for w in (link, " · "))[:-1]
        buildings = _by_building(run.episodes.get(split, ()))
        parts.append(Section(spoken(split), [Text(words), *buildings]))
    if not splits:
        parts.append(Text("There is no episodes_*.jsonl: nothing to watch.", "gone"))
    return Section("Episodes", parts)


def _by_building(episodes: Sequence[dict[str, Any]]) -> list[Section]:
    groups: dict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        value = number(episode.get("success"))
        if math.isfinite(value):
            groups[str(episode.get("scan", "?"))].append(value)
    if len(groups) < 2:
        return []
    found = {scan: bootstrap_interval(np.array(v), samples=2000) for scan, v in groups.items()}
    order = sorted(found, key=lambda scan: (-found[scan].mean, scan))
    rows = [(f"{scan} ({found[scan].n})", found[scan], "agent") for scan in order]
    middle = (len(rows) + 1) // 2 if len(rows) > 12 else len(rows)
    charts = [
        interval_chart(f"Success by building{' (continued)' if start else ''}", part)
        for start in range(0, len(rows), middle)
        if (part := rows[start : start + middle])
    ]
    title = f"Success by building ({len(rows)} buildings, episodes in brackets)"
    return [Section(title, [Pictures(charts)], folded=True)]


def _reward(run: RunFolder) -> list[Section]:
    tables = reward_tables(run)
    return [Section("What the reward knows", tables)] if tables else []


def reward_tables(run: RunFolder) -> list[Part]:
    """What `rayforge irl reward` found, a table a split; empty where nobody asked."""
    parts: list[Part] = []
    for split, document in run.reward.items():
        found = document.get("figures")
        rows = [
            Row(Cell(name), [cell(interval(figure)), Cell(f"{interval(figure).n:,}")])
            for name, figure in (found.items() if isinstance(found, dict) else ())
        ]
        parts.append(Section(spoken(split), [Table(["Figure", "Value", "Of"], rows)]))
    note = (
        "Pairs told apart: 0.5 is chance. The score of a trajectory is the sum over its steps. "
        "Roll-outs are sampled."
    )
    return [Text(note, "muted"), *parts] if parts else []


def _instructions(run: RunFolder) -> Section:
    title = "Instructions of the goal generator"
    if not run.instructions:
        missing = "There is no sentences.jsonl: the run has no goal generator, or has not finished."
        return Section(title, [Text(missing, "gone")])
    kinds = (("human", "Human"), ("paraphrase", "Paraphrase"), ("free", "Free, from the path"))
    items = [
        Example(
            [(name, f"{s.get(key, '—')}{_likely(s, key)}") for key, name in kinds],
            str(s.get("scan", "")),
        )
        for s in run.instructions
    ]
    parts: list[Part] = [
        Text(
            "A paraphrase reads the human instruction and its path; a free one is made from the "
            "path alone. Behind each: how likely the agent finds the path, an action, and how "
            "likely the generator finds it among other ways from the same start.", "muted",
        ),
        Examples(items[:_SAMPLES]),
    ]  # fmt: skip
    if items[_SAMPLES:]:
        more = f"{len(items) - _SAMPLES} more"
        parts.append(Section(more, [Examples(items[_SAMPLES:])], folded=True))
    return Section(title, parts)


def _likely(instruction: dict[str, Any], key: str) -> str:
    """What agent and generator say of an instruction, where the file holds it."""
    scores = instruction.get("scores")
    told = scores.get(key) if isinstance(scores, dict) else None
    if not isinstance(told, dict):
        return ""
    likely = [number(told.get(name)) for name in ("follower", "generator")]
    if not all(map(math.isfinite, likely)):
        return ""
    rejected = "" if told.get("kept", True) else ", rejected"
    return f" ({likely[0]:.2f}, {likely[1]:.2f}{rejected})"
