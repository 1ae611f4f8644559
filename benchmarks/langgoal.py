"""The claims of LangGoalIRL, measured: baselines, ladder, controls, on four kinds of data.

    python -m benchmarks.langgoal --out runs/langgoal --data ../shared/data/r2r

Methods x settings x seeds, each a run of `rayforge irl train` on one core; a seed's methods begin
from one and the same goal generator and cloned policy (`start`), so that they differ in what comes
after, by as many updates and environment steps. Settings: (a) Room-to-Room, (b5), (b10) and (b20)
the same with 5, 10 and 20 training buildings, (c) generated houses on rendered panoramas, (c10) the
same with ten training houses, (d) generated houses in 3-D. The queue begins with what matters most:
(a), (c) and (c10), first seed, our method against its baselines. Resumable: the same command goes
on where it was broken off, and only reports where all is done. `rows.csv`, `table.md` and
`report.html` are written in any case, of whatever is finished.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.langgoal_page import page_of
from benchmarks.langgoal_plan import (
    ADAPTATION,
    BY_SLUG,
    LADDER,
    Cell,
    Setting,
    Size,
    cells_of,
    settings_of,
)
from benchmarks.sub_runs import episodes_by_name, finished, run_all
from rayforge.evaluation.intervals import Interval, bootstrap_interval, paired_difference
from rayforge.files import write_text
from rayforge.reports.benchmark import Compared, SettingPage, write_benchmark
from rayforge.reports.groups import Group, over_episodes, over_same_seeds, over_seeds
from rayforge.reports.run_folder import interval, read_run
from trainers.irl.reward_analysis import find_reward_analysis
from trainers.runs.checkpoint import latest

COLUMNS = (
    "setting", "method", "kind", "seed", "split", "episodes", "success", "success_low",
    "success_high", "spl", "spl_low", "spl_high", "policy_updates", "generator_updates",
    "env_steps", "minutes", "run",
)  # fmt: skip


@dataclass(frozen=True)
class LangGoal:
    """Run what is missing, within the minutes given, and report what there is."""

    out: Path = Path("runs/langgoal")
    """Folder of data, runs and report; a broken-off benchmark goes on there."""
    data: Path | None = None
    """Folder of Room-to-Room data, for the settings a and b5 to b20."""
    settings: tuple[str, ...] = ("a", "c")
    """Which of a, b5, b10, b20, c, c10 and d."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; variants and controls take the first alone."""
    methods: tuple[str, ...] = ()
    """Slugs of the methods wanted (see benchmarks/langgoal_plan.py); empty: all."""
    size: Size = "full"
    """"tiny" is a proof that everything runs; its figures mean nothing."""
    minutes: float = math.inf
    """After so many minutes what runs is stopped with a checkpoint, and what is left is said."""
    parallel: int = 2
    """Runs at a time, one core each."""

    def __call__(self) -> None:
        begun = time.monotonic()
        settings = settings_of(self.settings, self.data, self.out, self.size)
        cells = cells_of(settings, self.seeds, self.out, self.methods)
        runs = {cell.run: cell.command for cell in cells}
        after = {cell.run: cell.after for cell in cells if cell.after is not None}
        trouble = None
        try:
            run_all(runs, self.parallel, after=after, deadline=begun + 60 * self.minutes)
        except RuntimeError as error:  # what did not fail is reported all the same
            trouble = error
        if time.monotonic() < begun + 60 * self.minutes:
            gather_reward_analyses(cells, 24 if self.size == "tiny" else 600)
        self.report(settings, cells)
        if trouble is not None:
            raise SystemExit(f"langgoal: {trouble}")

    def report(self, settings: Sequence[Setting], cells: Sequence[Cell]) -> None:
        """Write and print what is finished, and what is not."""
        rows = [row for cell in cells if finished(cell.run) for row in rows_of(cell)]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.out / "rows.csv", stream.getvalue())
        parts: list[str] = []
        pages: list[SettingPage] = []
        for setting in settings:
            groups = groups_of(setting, cells)
            if groups:
                compared = differences(setting, groups)
                moved = transfer(setting, groups)
                parts.append(table(setting, groups, compared, moved))
                pages.append(page_of(setting, groups, compared, moved, self.out))
        said = left_out(cells)
        parts.append(f"Left out: {said or 'nothing'}.\n")
        text = "\n".join(parts)
        write_text(self.out / "table.md", text)
        print(text)
        print(f"report: {write_benchmark(self.out / 'report.html', pages, said)}", flush=True)


def left_out(cells: Sequence[Cell]) -> str:
    """The unfinished runs, by setting and method, with their seeds; "" where all are finished."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        if not finished(cell.run):
            methods = found.setdefault(cell.setting.key, {})
            methods.setdefault(cell.method.slug, []).append(str(cell.seed))
    return "; ".join(
        f"({key}) " + ", ".join(" ".join([slug, *seeds]) for slug, seeds in methods.items())
        for key, methods in found.items()
    )


def gather_reward_analyses(cells: Sequence[Cell], episodes: int) -> None:
    """`rayforge irl reward` for the first seed's rewards, where it is not there yet."""
    first = min(cell.seed for cell in cells)
    for cell in cells:
        asked = cell.method.slug in ("full", "base", "gail", "completion") and cell.seed == first
        file = cell.run / f"reward_{cell.setting.new}.json"
        if asked and cell.setting.forcing and finished(cell.run) and not file.is_file():
            command = f"rayforge irl reward {cell.run} --split {cell.setting.new}"
            find_reward_analysis(cell.run, cell.setting.new, None, episodes, 0, command)


def rows_of(cell: Cell) -> list[dict[str, Any]]:
    """A row for each split that a finished run was scored on."""
    run = read_run(cell.run)
    where = latest(cell.run / "checkpoints")
    counts = json.loads((where / "state.json").read_text())["counts"] if where else {}
    rows = []
    for split in sorted(run.evaluations):
        success, spl = (
            interval(run.agents(split).get("agent", {}).get(metric))
            for metric in ("success", "spl")
        )
        values: dict[str, Any] = {
            "success": success.mean, "success_low": success.low, "success_high": success.high,
            "spl": spl.mean, "spl_low": spl.low, "spl_high": spl.high,
            "minutes": run.seconds / 60,
        }  # fmt: skip
        rows.append(
            {
                "setting": cell.setting.key, "method": cell.method.name,
                "kind": cell.method.kind, "seed": cell.seed, "split": split,
                "episodes": success.n, **{k: f"{v:.4f}" for k, v in values.items()},
                "policy_updates": counts["clone"] + counts["irl"],
                "generator_updates": counts["generator"], "env_steps": counts["env_steps"],
                "run": str(cell.run),
            }
        )  # fmt: skip
    return rows


def groups_of(setting: Setting, cells: Sequence[Cell]) -> dict[str, Group]:
    """Finished runs by method's slug, in the order of the table."""
    found: dict[str, list[Path]] = {}
    for cell in cells:
        if cell.setting == setting and finished(cell.run):
            found.setdefault(cell.method.slug, []).append(cell.run)
    return {
        slug: Group(method.name, tuple(read_run(run) for run in sorted(found[slug])))
        for slug, method in BY_SLUG.items()
        if slug in found
    }


def differences(setting: Setting, groups: dict[str, Group]) -> list[Compared]:
    """Paired differences in success: full against its best baseline and every other one, each rung
    against the one below, full against its variants, adaptation against none."""
    baselines = [s for s in groups if BY_SLUG[s].kind == "baseline"]
    found: list[Compared] = []
    for split in setting.splits:
        pairs: list[tuple[str, str, str]] = []
        if "full" in groups and baselines:
            # The best on the very split that is reported: if anything, that favours the baseline.
            best = max(
                baselines, key=lambda s: over_seeds(groups[s], split, "agent", "success").mean
            )
            pairs.append(("full", best, " (the best baseline)"))
            pairs += [("full", other, "") for other in baselines if other != best]
            pairs += [
                ("full", s, "") for s in groups
                if BY_SLUG[s].kind in ("variant", "start", "reference")
            ]  # fmt: skip
        pairs += [(a, b, "") for a, b in LADDER]
        pairs += [(a, b, "") for a, b in ADAPTATION]
        for a, b, note in pairs:
            if a not in groups or b not in groups:
                continue
            one, other = same_seeds(groups[a], groups[b])
            if not one.runs:
                continue
            means = [over_seeds(g, split, "agent", "success").mean for g in (one, other)]
            found.append(
                Compared(
                    f"{one.name} minus {other.name}{note}", split,
                    over_episodes(one, other, split, "success"),
                    over_same_seeds(one, other, split, "success"),
                    means[0] / means[1] - 1 if means[1] else math.nan,
                )
            )  # fmt: skip
    return found


def same_seeds(a: Group, b: Group) -> tuple[Group, Group]:
    """Both groups with the seeds that both have: an unfinished one would unbalance them."""
    shared = {r.stated("seed") for r in a.runs} & {r.stated("seed") for r in b.runs}
    one, other = (
        Group(g.name, tuple(r for r in g.runs if r.stated("seed") in shared)) for g in (a, b)
    )
    return one, other


def transfer(setting: Setting, groups: dict[str, Group]) -> list[tuple[str, Interval]]:
    """Success in the held-out buildings of the policies that a frozen reward taught, of cloning
    elsewhere on the same episodes, and the first one's differences from the others."""
    moved = [slug for slug in groups if BY_SLUG[slug].kind == "transfer"]
    found: list[tuple[str, Interval]] = []
    for split, said in (("train", "instructions it was told"), ("val_seen", "other instructions")):
        scored = {slug: (groups[slug].runs[0], split) for slug in moved}
        if moved and "gcbc" in groups:
            scored["gcbc"] = (groups["gcbc"].runs[0], setting.new)
        successes = {
            slug: episodes_by_name(run.folder, part, "success")
            for slug, (run, part) in scored.items()
        }
        names = sorted(set.intersection(*map(set, successes.values()))) if successes else []
        if not names:
            continue
        values = {slug: np.array([own[n] for n in names]) for slug, own in successes.items()}
        found += [
            (f"{groups[slug].name}, {said}", bootstrap_interval(own))
            for slug, own in values.items()
        ]
        first, *others = values
        found += [
            (
                f"{groups[first].name} minus {groups[other].name}, {said}",
                paired_difference(values[first], values[other]),
            )
            for other in others
        ]
    return found


def table(
    setting: Setting, groups: dict[str, Group], compared: list[Compared],
    moved: list[tuple[str, Interval]],
) -> str:  # fmt: skip
    """A setting's table and differences as Markdown."""
    head = "| method | seeds | success, seen | success, new | SPL, seen | SPL, new | minutes |"
    lines = [f"## ({setting.key}) {setting.title}\n", head, "|---" * 7 + "|"]
    for slug, group in groups.items():
        if BY_SLUG[slug].kind == "transfer":
            continue
        cells = [
            show(over_seeds(group, split, "agent", metric))
            for metric in ("success", "spl")
            for split in setting.splits
        ]
        minutes = sum(run.seconds for run in group.runs) / 60 / len(group.runs)
        row = " | ".join([group.name, str(len(group.runs)), *cells, f"{minutes:.0f}"])
        lines.append(f"| {row} |")
    lines += ["", "| success | split | over episodes | over seeds | relative |", "|---" * 5 + "|"]
    for name, split, episodes, seeds, ratio in compared:
        over = show(seeds, "+") if seeds.n > 1 else ""
        relative = f"{ratio:+.0%}" if math.isfinite(ratio) else ""
        lines.append(f"| {name} | {split} | {show(episodes, '+')} | {over} | {relative} |")
    if moved:
        lines += ["", "| reward transfer | success |", "|---|---|"]
        lines += [f"| {name} | {show(found)} |" for name, found in moved]
    return "\n".join(lines) + "\n"


def show(found: Interval, sign: str = "") -> str:
    """A mean with its interval, where it has one."""
    if not math.isfinite(found.mean):
        return "-"
    if not math.isfinite(found.low):
        return f"{found.mean:{sign}.3f}"
    return f"{found.mean:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


if __name__ == "__main__":
    tyro.cli(LangGoal, description=__doc__)()
