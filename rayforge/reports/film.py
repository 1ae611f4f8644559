"""Films of trajectories: the instruction, what the agent saw, both paths on a map from above."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from rayforge.reports.page import asset
from rayforge.reports.plots import shorten


def _of_pages(name: str) -> tuple[int, int, int]:
    """A colour of the pages, so that agent, expert and goal look alike in film and page."""
    found = re.search(rf"--{name}: (#\w+)", asset("style.css"))
    assert found is not None
    red, green, blue = ImageColor.getrgb(found[1])[:3]
    return red, green, blue


SIDE = 480
"""Pixels of the view's side and of the map's."""
TEXT = 168
"""Pixels of the text below them."""
MARGIN = 12
ACTIONS = ("stop", "walk on", "turn left", "turn right")
PAPER, WALL, FLOOR, INK, QUIET = (
    _of_pages(name) for name in ("paper", "line", "card", "ink", "soft")
)
AGENT, EXPERT, GOAL, BAD = (_of_pages(name) for name in ("agent", "expert", "goal", "bad"))
_FINE = 3  # the map is drawn larger and made smaller, so that its lines are smooth


@dataclass(frozen=True)
class FloorPlan:
    """The floor from above: `open` bool [rows, columns], true where one can stand; row 0 is the
    least z, column 0 the least x, both of `corner` [2] (x, z), a cell `cell` metres wide. `rooms`
    are names and where they stand, (x, z)."""

    open: np.ndarray
    corner: np.ndarray
    cell: float
    rooms: Sequence[tuple[str, float, float]] = ()

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Where points [n, 3] lie on the drawn map, float [n, 2] in pixels (across, down)."""
        found: np.ndarray = (np.asarray(points)[:, [0, 2]] - self.corner) / self.cell * self.scale
        return found

    @property
    def scale(self) -> float:
        """Pixels of a cell; the longer side fills the map."""
        found: float = SIDE / max(self.open.shape)
        return found


def draw_map(plan: FloorPlan, line: dict[str, Any], step: int) -> Image.Image:
    """The map with rooms, start, goal and its 3 m, the expert's path, and the agent's up to `step`
    with where it looks."""
    cells = np.where(plan.open[..., None], FLOOR, WALL).astype(np.uint8)
    size = [round(n * plan.scale * _FINE) for n in (plan.open.shape[1], plan.open.shape[0])]
    image = Image.new("RGB", (SIDE * _FINE, SIDE * _FINE), WALL)
    image.paste(Image.fromarray(cells).resize((size[0], size[1]), Image.Resampling.NEAREST))
    draw = ImageDraw.Draw(image)

    def at(points: Sequence[Any]) -> list[tuple[float, ...]]:
        return [tuple(p) for p in (plan.pixels(np.array(points)) * _FINE).tolist()]

    def ring(place: tuple[float, ...], radius: float, fill: Any, outline: Any, width: int) -> None:
        x, y = place
        r = radius * _FINE
        draw.ellipse((x - r, y - r, x + r, y + r), fill, outline, width * _FINE)

    (goal,), (start,), (here,) = (
        at([point]) for point in (line["goal"], line["positions"][0], line["positions"][step])
    )
    ring(goal, 3.0 / plan.cell * plan.scale, None, GOAL, 1)
    for points, colour, width in (
        (line["expert"], EXPERT, 8),
        (line["positions"][: step + 1], AGENT, 4),
    ):
        path = at(points)
        if len(path) > 1:
            draw.line(path, fill=colour, width=width * _FINE, joint="curve")
    ring(goal, 7, GOAL, FLOOR, 1)
    ring(start, 7, FLOOR, INK, 2)
    yaw = line["yaws"][step]  # 0 looks along -z, which is up, and grows to the left
    ahead = np.array([-np.sin(yaw), -np.cos(yaw)]) * _FINE
    aside = np.array([-ahead[1], ahead[0]])
    tip = np.array(here)
    arrow = [tip + 14 * ahead, tip - 9 * ahead + 9 * aside, tip - 9 * ahead - 9 * aside]
    draw.polygon([tuple(p) for p in arrow], AGENT, FLOOR, 2 * _FINE)
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    small = {"font": font(15), "stroke_width": 2, "stroke_fill": FLOOR}
    taken = [(*(np.array(place) / _FINE), 24.0) for place in (start, goal, here)]
    for name, x, z in plan.rooms:
        (place,) = plan.pixels(np.array([[x, 0.0, z]]))
        half = font(15).getlength(name) / 2 + 4
        inside = (place > (half, 12)).all() and (place < (SIDE - half, SIDE - 12)).all()
        free = all(abs(place[0] - a) > half + w or abs(place[1] - b) > 20 for a, b, w in taken)
        if inside and free:
            taken.append((*place, half))
            draw.text(tuple(place), name, QUIET, anchor="mm", **small)
    for place, name in ((start, "start"), (goal, "goal")):
        x, y = (v / _FINE for v in place)
        draw.text((x, y - 10), name, INK, anchor="md", **small)
    metre = plan.scale / plan.cell
    length = next((m for m in (1, 2, 5, 10, 20) if m * metre >= 50), 20)
    right, y = 14 + length * metre, SIDE - 16
    draw.line([(14, y - 6), (14, y), (right, y), (right, y - 6)], fill=INK, width=2)
    draw.text((right + 8, y), f"{length} m", INK, anchor="lm", **small)
    return image


def draw_frame(
    view: np.ndarray, plan: FloorPlan, line: dict[str, Any], step: int, number: str
) -> np.ndarray:
    """One frame uint8 [H, W, 3] of a trajectory: `view` uint8 [h, w, 3] is what was seen at
    `step`, `number` says which of how many trajectories it is."""
    width, height = 2 * SIDE + 3 * MARGIN, SIDE + TEXT + 2 * MARGIN
    image = Image.new("RGB", (width - width % 16, height - height % 16), PAPER)
    seen = Image.fromarray(view).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    image.paste(seen, (MARGIN, MARGIN))
    image.paste(draw_map(plan, line, step), (2 * MARGIN + SIDE, MARGIN))
    draw = ImageDraw.Draw(image)
    top, last = SIDE + 2 * MARGIN, step == len(line["actions"]) - 1
    doing = f"{ACTIONS[line['actions'][step]]} (p {line['probability'][step]:.2f})"
    head = f"Trajectory {number}, {shorten(line['scan'], 16)}    step {step + 1}"
    draw.text((MARGIN, top), f"{head} of {len(line['actions'])}: {doing}", INK, font(17))
    if last:
        said = f"{'arrived' if line['success'] else 'missed'}, {line['distance']:.1f} m from goal"
        said += ", step limit" if line["forced_stop"] else ""
        colour = GOAL if line["success"] else BAD
        draw.text((image.width - MARGIN, top), said, colour, font(17), anchor="ra")
    else:
        left = image.width - MARGIN
        for name, colour in (("goal and 3 m", GOAL), ("expert", EXPERT), ("agent", AGENT)):
            left -= round(font(15).getlength(name))
            draw.text((left, top + 1), name, QUIET, font(15))
            left -= 20
            draw.rectangle((left, top + 6, left + 14, top + 14), fill=colour)
            left -= 16
    for row, words in enumerate(_wrapped(line["instruction"], image.width - 2 * MARGIN)):
        draw.text((MARGIN, top + 32 + 27 * row), words, INK, font(21))
    return np.asarray(image)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Frames uint8 [H, W, 3] in a grid, a row a trajectory, at half their size."""
    height, width = (n // 2 for n in rows[0][0].shape[:2])
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * width, len(rows) * height), FLOOR)
    for down, row in enumerate(rows):
        for across, frame in enumerate(row):
            small = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(small, (across * width, down * height))
    return sheet


def write_film(file: Path, frames: Iterable[np.ndarray], per_second: int) -> None:
    """Write frames as an MP4 (H.264) that browsers play."""
    import imageio.v2 as imageio

    writer: Any = imageio.get_writer(  # imageio's annotations lack what its writers do
        file, format="FFMPEG", fps=per_second, codec="libx264", quality=7, macro_block_size=16
    )  # fmt: skip
    with writer as film:
        for frame in frames:
            film.append_data(frame)


@cache
def font(size: int) -> Any:
    """The typeface of films, `size` pixels high."""
    return ImageFont.load_default(size)


def _wrapped(text: str, width: float, most: int = 4) -> list[str]:
    """Lines of at most `width` pixels; what does not fit into `most` of them ends in dots."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(21).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]
