"""(b) A body that walks behind furniture, seen by a fixed camera; (c) furniture that an agent walks
past. Both in the embedded simulator: masks, depth and flow are exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from envs.progress import Progress
from envs.simulators.embedded.bodies import (
    Body,
    MovingBody,
    cameras_of,
    person,
    pet,
    true_flow,
)
from envs.simulators.embedded.rays import pixel_size
from envs.simulators.embedded.simulator import EmbeddedSimulator
from envs.simulators.embedded.stored import load_model
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses, SimulatorConfig
from envs.video.clip import VideoClip
from rayforge.errors import DataError

STRUCTURE = ("floor", "ceiling")
"""What never counts as something that may hide an object: it bounds a room."""
CLOSER = 0.1
"""Metres by which something must be nearer than the object to count as in front of it."""
COARSE = 16
"""Pixels of a side of the first look at a place."""
TRIES = 400
"""Places tried for each clip before a folder is given up."""


def walking_bodies(
    meshes: Sequence[Path], count: int, seed: int, camera: Camera, frames: int = 16
) -> list[VideoClip]:
    """Clips of setting (b) in the houses with these meshes.

    Raises DataError where the houses have no places for so many.
    """
    return _gathered(meshes, count, seed, camera, frames, _walking_body, "body")


def passed_furniture(
    meshes: Sequence[Path], count: int, seed: int, camera: Camera, frames: int = 16
) -> list[VideoClip]:
    """Clips of setting (c)."""
    return _gathered(meshes, count, seed, camera, frames, _passed_furniture, "walk")


class House:
    """An open scene and the triangles of each of its things."""

    def __init__(self, mesh: Path, camera: Camera) -> None:
        scene = find_scene(mesh)
        self.simulator = EmbeddedSimulator(scene, SimulatorConfig(camera=camera))
        self.model = load_model(scene)
        self.names = self.model.names
        self.camera = camera
        self._things: dict[int, MovingBody] = {}
        self.structure = {i for i, name in self.names.items() if name in STRUCTURE}

    def thing(self, number: int) -> MovingBody:
        """A thing of the scene, alone."""
        if number not in self._things:
            self._things[number] = self._cut_out(number)
        return self._things[number]

    def _cut_out(self, number: int) -> MovingBody:
        surface = self.model.surface
        own = surface.faces[self.model.face_id == number]
        used, faces = np.unique(own, return_inverse=True)
        return MovingBody(
            Body(
                np.ascontiguousarray(surface.vertices[used]),
                faces.reshape(-1, 3).astype(np.int32),
                np.zeros((len(own), 3), np.uint8),
            )
        )


Maker = Callable[[House, np.random.Generator, int, str], "VideoClip | None"]


def _gathered(
    meshes: Sequence[Path], count: int, seed: int, camera: Camera, frames: int, make: Maker,
    kind: str,
) -> list[VideoClip]:  # fmt: skip
    rng = np.random.default_rng(seed)
    houses: dict[Path, House] = {}
    found: list[VideoClip] = []
    with Progress(f"making clips of kind {kind}", count) as progress:
        for _ in range(TRIES * count):
            if len(found) == count:
                return found
            mesh = meshes[len(found) % len(meshes)]
            if mesh not in houses:
                houses[mesh] = House(mesh, camera)
            clip = make(houses[mesh], rng, frames, f"{kind}-{len(found):03d}")
            if clip is not None and clip.says_something:
                found.append(clip)
            progress.add(len(found) - progress.count)
    raise DataError(
        f"{meshes[0].parent}: {len(found)} of {count} clips were found in {TRIES * count} tries; "
        "ask for fewer or give more houses"
    )


def _way(house: House, rng: np.random.Generator, frames: int, pace: float) -> Poses | None:
    """Poses along a shortest path, looking where they go, `frames` or more, four times as many at
    most; None where it is too short."""
    points = house.simulator.random_points(2, int(rng.integers(1 << 30)))
    corners = house.simulator.shortest_path(points[0], points[1])
    if len(corners) < 2:
        return None
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    total = np.concatenate([[0.0], np.cumsum(lengths)])
    count = min(4 * frames, int(total[-1] / pace))
    if count < frames:
        return None
    along = pace * np.arange(count + 1)
    at = np.stack([np.interp(along, total, corners[:, a]) for a in range(3)], -1)
    step = np.diff(at, axis=0)
    yaw = np.arctan2(-step[:, 0], -step[:, 2])
    still = np.linalg.norm(step[:, [0, 2]], axis=1) < 1e-6
    for k in np.flatnonzero(still):
        yaw[k] = yaw[k - 1] if k else 0.0
    return Poses(at[:-1].astype(np.float32), yaw.astype(np.float32))


def _part(poses: Poses, start: int, frames: int) -> Poses:
    rows = slice(start, start + frames)
    return Poses(poses.position[rows], poses.yaw[rows])


def _walking_body(
    house: House, rng: np.random.Generator, frames: int, name: str
) -> VideoClip | None:
    way = _way(house, rng, frames, 0.16)
    if way is None:
        return None
    red, green, blue = (int(c) for c in rng.integers(90, 256, 3))
    looks = (red, green, blue)
    body = MovingBody(person(looks) if rng.random() < 0.6 else pet(looks))
    middle = way.position[len(way.yaw) // 2]
    places = house.simulator.random_points(12, int(rng.integers(1 << 30)))
    for place in places:
        line = middle - place
        away = float(np.hypot(line[0], line[2]))
        if not 1.8 < away < 5.0 or abs(line[1]) > 0.3:
            continue
        yaw = np.float32(np.arctan2(-line[0], -line[2]))
        count = len(way.yaw)
        eyes = Poses(
            np.repeat(place[None], count, 0).astype(np.float32), np.full(count, yaw, np.float32)
        )
        start = _best_part(*_coarse_look(house, body, eyes, way), frames, least=3)
        if start is None:
            continue
        own = _part(eyes, start, frames), _part(way, start, frames)
        clip = seen_body(house, body, *own, name)
        if clip.says_something:
            return clip
    return None


def _coarse_look(
    house: House, body: MovingBody, eyes: Poses, way: Poses
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the whole body and of what is seen of it in few pixels, [T] each."""
    camera = replace(house.camera, width=COARSE, height=COARSE, colour=False, semantic=False)
    # The camera stands still: one view of the scene serves all frames.
    depth = house.simulator.render_with(_part(eyes, 0, 1), [camera])[0].depth
    assert depth is not None
    alone = body.render(eyes, camera, way)
    visible = alone.mask & (alone.depth < np.where(depth > 0, depth, np.inf))
    return alone.mask.sum((1, 2)), visible.sum((1, 2))


def _best_part(whole: np.ndarray, seen: np.ndarray, frames: int, least: int) -> int | None:
    """Where the part of so many frames begins in which the object is whole at times and hidden in
    part most often; None where there is none. Fewer than `least` pixels are no view of it."""
    share = 1.0 - seen / np.maximum(whole, 1)
    large = whole >= least
    counts = np.cumsum(
        np.pad([(share < 0.1) & large, (share > 0.08) & (share < 0.75) & large, seen == 0],
               ((0, 0), (1, 0))), 1,
    )  # fmt: skip
    full, in_part, gone = counts[:, frames:] - counts[:, :-frames]
    fits = (full >= 2) & (in_part >= 3) & (gone <= frames // 3)
    if not fits.any():
        return None
    return int(np.where(fits, in_part, -1).argmax())


def seen_body(house: House, body: MovingBody, eyes: Poses, way: Poses, name: str) -> VideoClip:
    """A clip of a body at `way` [T], seen from `eyes` [T]."""
    camera = house.camera
    views = house.simulator.render(eyes)
    assert views.colour is not None and views.depth is not None and views.semantic is not None
    alone = body.render(eyes, camera, way)
    scene = np.where(views.depth > 0, views.depth, np.inf)
    visible = alone.mask & (alone.depth < scene)
    depth = np.where(visible, alone.depth, views.depth).astype(np.float32)
    frames = np.where(visible[..., None], alone.colour, views.colour).astype(np.uint8)
    others = _in_front(house, views.semantic, views.depth, depth, visible)
    return _clip(house, name, frames, visible, others, alone.mask, depth, eyes, way)


def _passed_furniture(
    house: House, rng: np.random.Generator, frames: int, name: str
) -> VideoClip | None:
    way = _way(house, rng, frames, 0.12)
    if way is None:
        return None
    # It looks around: most walks look aside.
    aside = np.float32(rng.choice([0.0, 0.7, -0.7, 1.3, -1.3]))
    smooth = np.convolve(np.pad(np.unwrap(way.yaw), 2, "edge"), np.ones(5) / 5, "valid")
    eyes = Poses(way.position, (smooth + aside).astype(np.float32))
    camera = replace(house.camera, width=COARSE, height=COARSE, colour=False)
    coarse = house.simulator.render_with(eyes, [camera])[0].semantic
    assert coarse is not None
    numbers, counts = np.unique(coarse[coarse > 0], return_counts=True)
    things = [
        int(n) for n, c in zip(numbers, counts, strict=True)
        if c >= 4 * frames and house.names[int(n)] not in (*STRUCTURE, "wall", "door", "window")
    ]  # fmt: skip
    for number in rng.permutation(things)[:6]:
        body = house.thing(int(number))
        alone = body.render(eyes, camera, _nowhere(len(eyes.yaw)))
        seen = (coarse == number).sum((1, 2))
        start = _best_part(alone.mask.sum((1, 2)), seen, frames, least=4)
        if start is None:
            continue
        clip = seen_thing(house, int(number), _part(eyes, start, frames), name)
        if clip.says_something:
            return clip
    return None


def _nowhere(count: int) -> Poses:
    """Poses of what stands where its triangles are."""
    return Poses(np.zeros((count, 3), np.float32), np.zeros(count, np.float32))


def seen_thing(house: House, number: int, eyes: Poses, name: str) -> VideoClip:
    """A clip of a thing of the scene, by its semantic id, seen from `eyes` [T]."""
    views = house.simulator.render(eyes)
    assert views.colour is not None and views.depth is not None and views.semantic is not None
    alone = house.thing(number).render(eyes, house.camera, _nowhere(len(eyes.yaw)))
    visible = views.semantic == number
    others = _in_front(house, views.semantic, views.depth, views.depth, visible)
    truth = alone.mask | visible
    return _clip(house, name, views.colour, visible, others, truth, views.depth, eyes, None)


def _in_front(
    house: House, semantic: np.ndarray, scene: np.ndarray, depth: np.ndarray, visible: np.ndarray
) -> np.ndarray:
    """What may hide the object, bool [T, H, W]: what stands nearer than the median of its visible
    depth, or than that of the last frame in which it was seen; floors and ceilings never do."""
    found = np.zeros_like(visible)
    known = (np.median(d[v]) for d, v in zip(depth, visible, strict=True) if v.any())
    metres = float(next(known, 0.0))
    bounds = np.isin(semantic, list(house.structure))
    for step in range(len(visible)):
        if visible[step].any():
            metres = float(np.median(depth[step][visible[step]]))
        found[step] = (scene[step] > 0) & (scene[step] < metres - CLOSER)
    near: np.ndarray = found & ~bounds & ~visible
    return near


def _clip(
    house: House, name: str, frames: np.ndarray, visible: np.ndarray, others: np.ndarray,
    truth: np.ndarray, depth: np.ndarray, eyes: Poses, way: Poses | None,
) -> VideoClip:  # fmt: skip
    cameras = cameras_of(eyes, house.camera)
    flows = []
    for step in (1, -1):
        number = np.clip(np.arange(len(frames)) + step, 0, len(frames) - 1)
        there = type(cameras)(cameras.rotation[number], cameras.position[number])
        bodies = None if way is None else (way, Poses(way.position[number], way.yaw[number]))
        moving = None if way is None else visible
        flows.append(true_flow(depth, cameras, there, house.camera, moving, bodies))
    flows[0][-1], flows[1][0] = 0.0, 0.0  # nothing comes after, nothing before
    return VideoClip(
        name, frames, visible, others, flows[0], flows[1], truth, depth, cameras.rotation,
        cameras.position, pixel_size(house.camera),
    )  # fmt: skip
