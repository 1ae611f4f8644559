"""Films and contact sheets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayforge.reports.film import (
    AGENT,
    EXPERT,
    GOAL,
    FloorPlan,
    contact_sheet,
    draw_frame,
    draw_map,
    write_film,
)
from rayforge.reports.page import asset


@pytest.fixture
def plan() -> FloorPlan:
    return FloorPlan(np.ones((40, 40), bool), np.array([10.0, -20.0]), 0.1)


@pytest.fixture
def line() -> dict[str, Any]:
    """An agent that walks along +x while the expert goes along +z."""
    return {
        "scan": "house00000", "instruction": "Walk on. " * 60, "actions": [1, 1, 0],
        "probability": [0.5, 0.25, 1.0], "yaws": [-np.pi / 2] * 3,
        "positions": [[11.0, 0.0, -19.0], [12.0, 0.0, -19.0], [13.0, 0.0, -19.0]],
        "expert": [[11.0, 0.0, -19.0], [11.0, 0.0, -17.0]], "goal": [11.0, 0.0, -17.0],
        "success": False, "distance": 3.5, "forced_stop": True,
    }  # fmt: skip


def test_the_map_has_x_to_the_right_and_z_downwards(plan: FloorPlan, line: dict[str, Any]) -> None:
    image = np.asarray(draw_map(plan, line, 2)).astype(int)

    def shows(image: np.ndarray, x: float, z: float, colour: tuple[int, ...]) -> bool:
        across, down = plan.pixels(np.array([[x, 0.0, z]]))[0].round().astype(int)
        return bool(np.abs(image[down, across] - colour).max() < 16)  # lines have soft edges

    assert shows(image, 12.0, -19.0, AGENT)
    assert shows(image, 11.0, -18.2, EXPERT)
    assert shows(image, 11.0, -17.0, GOAL)
    early = np.asarray(draw_map(plan, line, 0)).astype(int)  # the path is drawn as it is walked
    assert not shows(early, 12.5, -19.0, AGENT)


def test_the_agent_moves_and_rooms_have_names(plan: FloorPlan, line: dict[str, Any]) -> None:
    first, last = (np.asarray(draw_map(plan, line, step)).astype(int) for step in (0, 2))
    assert (first != last).any()
    named = replace(plan, rooms=[("kitchen", 12.5, -17.5), ("far away", 40.0, 0.0)])
    changed = (np.asarray(draw_map(named, line, 0)).astype(int) != first).any(-1)
    down, across = np.nonzero(changed)
    (place,) = plan.pixels(np.array([[12.5, 0.0, -17.5]]))
    assert abs(across.mean() - place[0]) < 4 and abs(down.mean() - place[1]) < 8


def test_film_and_pages_have_one_palette() -> None:
    style = asset("style.css")
    for name, colour in (("agent", AGENT), ("expert", EXPERT), ("goal", GOAL)):
        assert f"--{name}: #{''.join(f'{part:02x}' for part in colour)}" in style


def test_film_and_sheet_hold_every_frame(
    plan: FloorPlan, line: dict[str, Any], tmp_path: Path
) -> None:
    import imageio.v2 as imageio

    view = np.full((64, 64, 3), 90, np.uint8)
    frames = [draw_frame(view, plan, line, step, "1/1") for step in range(3)]
    assert all(n % 16 == 0 for n in frames[0].shape[:2])
    write_film(tmp_path / "film.mp4", frames, 8)
    with imageio.get_reader(tmp_path / "film.mp4") as reader:
        shown = [np.asarray(frame) for frame in reader]
    assert len(shown) == 3 and shown[0].shape == frames[0].shape
    assert np.abs(shown[2].astype(int) - frames[2]).mean() < 8
    sheet = contact_sheet([frames, frames[:1]])
    assert sheet.size == (3 * (frames[0].shape[1] // 2), 2 * (frames[0].shape[0] // 2))
