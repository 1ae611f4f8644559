"""What the benchmark's page shows of a setting beyond figures: instructions on maps, and
failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.langgoal_plan import BY_SLUG, Setting
from envs.graph.boxes import read_boxes, read_room_labels
from envs.graph.buildings import Buildings, join_graphs
from envs.graph.navigation_graph import SUFFIX, read_connectivity
from rayforge.evaluation.failures import Cause, cause_of, choose_failures
from rayforge.evaluation.intervals import Interval
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.reports.benchmark import Compared, Failure, Instruction, SettingPage
from rayforge.reports.groups import Group
from rayforge.reports.small_map import small_map
from rayforge.reports.viewer import write_viewer
from trainers.irl.watch import building_map, with_steps

FAILURES, INSTRUCTIONS = 20, 6


def page_of(
    setting: Setting, groups: dict[str, Group], compared: list[Compared],
    moved: list[tuple[str, Interval]], out: Path,
) -> SettingPage:  # fmt: skip
    """A setting's part of the page. Failures and instructions are those of the full method's first
    run, on new buildings; in 3-D scenes there are no viewpoints to draw, and so none."""
    shown = groups.get("full")
    failures: list[Failure] = []
    causes: Counter[str] = Counter()
    instructions: list[Instruction] = []
    link = ""
    if shown is not None and setting.forcing and setting.new in shown.runs[0].episodes:
        run = shown.runs[0]
        episodes = list(run.episodes[setting.new])
        folder = Path(run.stated("data"))
        scans = sorted({str(e["scan"]) for e in (*episodes, *run.instructions)})
        graphs = [read_connectivity(folder / "connectivity" / f"{s}{SUFFIX}") for s in scans]
        labels_file = folder / "vp2room_label.json"
        labels = read_room_labels(labels_file, scans) if labels_file.is_file() else {}
        maps = {graph.scan: building_map(graph, labels) for graph in graphs}
        buildings = join_graphs(graphs)
        why = {e["episode_id"]: failure_cause(buildings, e) for e in episodes if not e["success"]}
        causes.update(cause.name for cause in why.values())
        chosen = choose_failures(episodes, FAILURES, seed=0)
        link = f"failures_{setting.key}.html"
        if chosen:
            _write_failures(run.folder, setting.new, chosen, maps, folder, out / link)
        failures = [
            Failure(
                str(why[e["episode_id"]]), e["instruction"], e["scan"], float(e["distance"]),
                link, str(e["episode_id"]),
                small_map(maps[e["scan"]], e["reference"], e["path"], "the agent's path beside "
                          "the demonstrated one"),
            )
            for e in chosen
        ]  # fmt: skip
        instructions = [
            Instruction(
                s["human"], s["paraphrase"], s["free"], s["scan"],
                small_map(maps[s["scan"]], s["path"], (), "the path that they describe"),
            )
            for s in run.instructions[:INSTRUCTIONS]
        ]  # fmt: skip
    apart = {slug: BY_SLUG[slug].kind == "transfer" for slug in groups}
    return SettingPage(
        setting.key, setting.title, setting.splits,
        [(slug, group) for slug, group in groups.items() if not apart[slug]], compared, moved,
        [group for slug, group in groups.items() if apart[slug]],
        dict(causes.most_common()), failures, instructions,
    )  # fmt: skip


def failure_cause(buildings: Buildings, episode: dict[str, Any]) -> Cause:
    """Why an episode of `episodes_SPLIT.jsonl` failed."""
    scan = str(episode["scan"])
    path = np.array([buildings.index(scan, v) for v in episode["path"]])
    goal = buildings.index(scan, episode["reference"][-1])
    heights = buildings.positions[:, 2]
    return cause_of(
        episode["path"], episode["reference"], buildings.distance(path, goal).tolist(),
        float(heights[goal] - heights[path[-1]]), bool(episode["forced_stop"]), SUCCESS_METRES,
    )  # fmt: skip


def _write_failures(
    run: Path, split: str, episodes: Sequence[dict[str, Any]], maps: dict[str, Any], folder: Path,
    file: Path,
) -> None:  # fmt: skip
    """The viewer's page of these episodes."""
    scans = {str(e["scan"]) for e in episodes}
    source = next((folder / n for n in ("BBox", "BBox.tar.gz") if (folder / n).exists()), None)
    boxes = read_boxes(source, scans) if source is not None else {}
    write_viewer(run, split, [with_steps(boxes, e) for e in episodes], maps, file)
