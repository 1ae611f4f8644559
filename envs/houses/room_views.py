"""Views of rooms in generated houses, labelled by the kind of room: images to learn from.

What is seen from every viewpoint of a house, a few headings each. Rendered once and kept in the
user's cache.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from envs.houses.dataset import HOUSES_FILE, read_houses
from envs.houses.house import CAMERA_HEIGHT, ROOM_NAMES
from envs.houses.scenes import SCENES
from envs.progress import Progress
from envs.simulators.embedded.embree import EmbreeRenderer
from envs.simulators.embedded.stored import load_model
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses
from rayforge.cache import cache_folder, make_cache_folder
from rayforge.errors import DataError
from rayforge.files import write_whole

PIXELS = 32
HEADINGS = 8
_MADE = 1  # counted up when what is rendered changes


@dataclass(frozen=True)
class RoomViews:
    """n views."""

    images: np.ndarray
    """uint8 [n, H, W, 3]."""
    label: np.ndarray
    """int64 [n], number of the kind in `kinds`."""
    building: np.ndarray
    """int64 [n], number of the house in the folder's order."""
    viewpoint: np.ndarray
    """int64 [n]: views from one viewpoint share it."""
    kinds: tuple[str, ...]
    """Names of the kinds of room, most frequent first."""

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: np.ndarray) -> RoomViews:
        return replace(
            self, images=self.images[rows], label=self.label[rows], building=self.building[rows],
            viewpoint=self.viewpoint[rows],
        )  # fmt: skip


def room_views(
    folder: Path, kinds: int = 6, headings: int = HEADINGS, camera: Camera | None = None,
    houses: Sequence[int] | None = None,
) -> RoomViews:  # fmt: skip
    """Views from all viewpoints of a folder of generated houses, of the `kinds` most frequent kinds
    of room; doorways, which show two rooms, are left out.

    Args:
        camera: another than 32 x 32 pixels, 90 degrees, 1.25 m above the floor.
        houses: numbers of the houses; None: all.

    Raises DataError where the folder holds no generated houses or no scenes.
    """
    seen = camera or Camera(PIXELS, PIXELS, depth=False, semantic=False)
    found = read_houses(folder)
    names = [list(found)[k] for k in houses] if houses is not None else list(found)
    kept = (folder / HOUSES_FILE).stat()
    made_of = [_MADE, str(folder.resolve()), kept.st_size, kept.st_mtime_ns, headings, names,
               asdict(seen)]  # fmt: skip
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    file = cache_folder("room-views") / f"{key}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
    else:
        parts = _render(folder, names, list(found), headings, seen)
        make_cache_folder("room-views")
        write_whole(file, lambda stream: np.savez(stream, **parts))  # type: ignore[arg-type]
    letters = parts["letter"]
    frequent = [letter for letter, _ in Counter(letters.tolist()).most_common(kinds)]
    if len(frequent) < 2:
        raise DataError(f"{folder}: its houses have one kind of room alone")
    rows = np.flatnonzero(np.isin(letters, frequent))
    label = np.array([frequent.index(letter) for letter in letters[rows]], np.int64)
    return RoomViews(
        parts["images"][rows], label, parts["building"][rows], parts["viewpoint"][rows],
        tuple(ROOM_NAMES[letter] for letter in frequent),
    )  # fmt: skip


def _render(
    folder: Path, names: Sequence[str], order: Sequence[str], headings: int, camera: Camera
) -> dict[str, np.ndarray]:
    houses = read_houses(folder)
    images, letters, building, viewpoint = [], [], [], []
    number = 0
    yaw = -np.arange(headings) * (2 * np.pi / headings)
    with Progress("rendering rooms", len(names)) as progress:
        for name in names:
            house = houses[name]
            mesh = folder / SCENES / name / f"{name}.glb"
            if not mesh.is_file():
                raise DataError(
                    f"{mesh}: there is no scene of this house; write the folder again with "
                    "`rayforge houses`, scenes included"
                )
            # Nobody walks here: the renderer alone, without the floor that a simulator finds.
            renderer = EmbreeRenderer(load_model(find_scene(mesh)))
            for place in house.viewpoints:
                if place.door >= 0:
                    continue
                x, y, z = place.position
                # From z up to y up; the floor is as far below as the camera of graphs stands.
                point = np.array([x, z - CAMERA_HEIGHT, -y], np.float32)
                poses = Poses(np.repeat(point[None], headings, 0), yaw.astype(np.float32))
                views = renderer.render(poses, camera).colour
                assert views is not None
                images.append(views)
                letters += [house.rooms[place.room].label] * headings
                building += [order.index(name)] * headings
                viewpoint += [number] * headings
                number += 1
            progress.add()
    return {
        "images": np.concatenate(images), "letter": np.array(letters, np.str_),
        "building": np.array(building, np.int64), "viewpoint": np.array(viewpoint, np.int64),
    }  # fmt: skip
