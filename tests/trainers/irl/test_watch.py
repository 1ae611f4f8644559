"""Which episodes are shown, and what stands on the film's map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envs.graph.boxes import read_room_labels
from envs.graph.navigation_graph import SUFFIX, read_connectivity
from envs.houses.dataset import write_houses
from envs.houses.house import ROOM_NAMES
from trainers.irl.watch import choose_episodes, room_name
from trainers.irl.watch_walks import room_names


def episode(path: int, success: bool, *, moves: bool = True) -> dict[str, Any]:
    return {
        "scan": "house", "reference": [f"v{path}", "goal"], "success": success,
        "path": ["start", f"v{path}"] if moves else ["start"],
    }  # fmt: skip


def test_paths_that_differ_and_agents_that_move_come_first() -> None:
    three = [episode(n, n % 2 == 0) for n in range(6) for _ in range(3)]
    still = [episode(n, False, moves=False) for n in range(10, 14)]
    shown = choose_episodes([*still, *three], 6)
    assert sorted(e["reference"][0] for e in shown) == [f"v{n}" for n in range(6)]
    assert sum(e["success"] for e in shown) == 3


@pytest.mark.parametrize("count", [1, 2, 5, 9, 50])
def test_half_are_failures_where_there_are_as_many(count: int) -> None:
    lines = [episode(n, n < 3) for n in range(9)]
    shown = choose_episodes(lines, count)
    assert len(shown) == min(count, 9)
    assert len({id(e) for e in shown}) == len(shown)
    won = sum(e["success"] for e in shown)
    assert won == min(3, count - max(min(6, count // 2), min(count, 9) - 3))
    alike = [episode(0, True)] * 4
    assert choose_episodes(alike, 3) == alike[:3]


def test_films_in_habitats_axes_choose_by_the_experts_path() -> None:
    line = {"scan": "a", "expert": [[0, 0, 0], [1, 0, 0]], "success": True}
    walked = [{**line, "positions": [[0, 0, 0], [n, 0, 0]]} for n in (0, 1, 2)]
    assert choose_episodes(walked, 1) == [walked[1]]


def test_rooms_have_one_name() -> None:
    names = {label: room_name(label) for label in ROOM_NAMES}
    assert all(name and "/" not in name for name in names.values())
    assert room_name("?") == ""
    assert not any("_" in name for name in names.values())


def test_rooms_are_named_in_habitats_axes(tmp_path: Path) -> None:
    write_houses(tmp_path, train_houses=1, unseen_houses=0, paths_per_house=2, seed=0)
    file = next((tmp_path / "connectivity").glob(f"*{SUFFIX}"))
    scan = file.name.removesuffix(SUFFIX)
    graph = read_connectivity(file)
    labels = read_room_labels(tmp_path / "vp2room_label.json", [scan])
    rooms = room_names(tmp_path, scan, 0.0)
    assert {name for name, _, _ in rooms} == {
        room_name(label) for label in labels.values() if label in ROOM_NAMES
    }
    x, y = graph.positions[:, 0], graph.positions[:, 1]
    for _, across, down in rooms:
        assert x.min() <= across <= x.max() and -y.max() <= down <= -y.min()
    assert room_names(tmp_path, scan, 20.0) == []  # another storey
    assert room_names(tmp_path / "nowhere", scan, 0.0) == []
