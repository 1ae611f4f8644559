"""Features of rendered panoramas: what a camera sees at every viewpoint of a 3-D scene.

A small fixed descriptor, not a learnt one (designed here): colours and depths in four quarters of
a view, and how much of it each category fills. It is kept on the disk, one file a building.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from envs.graph.buildings import HEADING_BINS, VIEWS, Buildings
from envs.graph.navigation_graph import NavigationGraph
from envs.progress import Progress
from envs.simulators.opening import Kind, open_simulator
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Poses, SimulatorConfig, Views
from rayforge.cache import cache_folder, make_cache_folder
from rayforge.errors import DataError
from rayforge.files import write_whole

PIXELS = 64
"""Side of the square images of 90 degrees that views of 30 degrees are cut from."""
LOOK = 16
"""Numbers of colour and depth: red, green, blue and depth of four quarters."""
FAR = 10.0
"""Metres of depth that count as 1."""
_MADE = 1  # counted up when the descriptor changes, so that older files are not taken


@dataclass(frozen=True)
class Rendering:
    """Where scenes are and what renders them."""

    scenes: Path
    """Folder of scenes: `{scan}/{scan}.glb`, also one folder down, as in `mp3d/{scan}/...`."""
    simulator: Kind = "embedded"
    config: SimulatorConfig = field(default_factory=SimulatorConfig)
    """Of its camera only the GPU that renders matters: views are always the same."""
    raised: float = 0.0
    """Metres that the camera stands above its viewpoint: a shift."""
    field: float = 1.0
    """Share of the field of view that is left: a shift."""


class _Panoramas(NamedTuple):
    """What is kept of a building of V viewpoints and K categories."""

    look: np.ndarray  # float16 [V, 36, LOOK]
    share: np.ndarray  # float16 [V, 36, K]
    names: tuple[str, ...]


class RenderedStore:
    """36 views of LOOK + categories numbers; the share of a category counts by its square root,
    so that a lamp is seen beside a wall."""

    pooling: Literal["max", "mean"] = "mean"

    def __init__(
        self,
        graphs: Sequence[NavigationGraph],
        rendering: Rendering,
        categories: tuple[str, ...] | None,
        training: Sequence[str],
    ) -> None:
        """Render what is not on the disk yet, with progress.

        Args:
            graphs: buildings, whose viewpoints are the places of cameras.
            rendering: scenes and simulator.
            categories: what is told apart; None: those of the `training` buildings among `graphs`
                (of all, where none is), the most frequent first.
            training: buildings of the training split.

        Raises:
            DataError: buildings without a scene (a list).
            SceneError: a scene that cannot be used.
        """
        files = _scene_files([graph.scan for graph in graphs], rendering.scenes)
        kept: dict[str, _Panoramas] = {}
        with Progress("rendering panoramas", len(graphs)) as progress:
            for graph in graphs:
                kept[graph.scan] = _panoramas(graph, files[graph.scan], rendering)
                progress.add()
        if categories is None:
            chosen = [scan for scan in training if scan in kept] or list(kept)
            counts = Counter(name for scan in chosen for name in kept[scan].names)
            categories = tuple(sorted(counts, key=lambda name: (-counts[name], name)))
        self.categories = categories
        self.dimension = LOOK + len(categories)
        self._rows = {graph.scan: graph.rows for graph in graphs}
        self._views = {scan: self._arranged(panoramas) for scan, panoramas in kept.items()}

    def _arranged(self, panoramas: _Panoramas) -> np.ndarray:
        """float16 [V, 36, D] with the categories in this store's order."""
        views = np.zeros((*panoramas.look.shape[:2], self.dimension), np.float16)
        views[..., :LOOK] = panoramas.look
        places = {name: LOOK + k for k, name in enumerate(self.categories)}
        for column, name in enumerate(panoramas.names):
            if name in places:
                views[..., places[name]] = np.sqrt(panoramas.share[..., column])
        return views

    def panorama(self, scan: str, viewpoint: str) -> np.ndarray:
        views: np.ndarray = self._views[scan][self._rows[scan][viewpoint]]
        return views

    def towards(self, scan: str, viewpoint: str, neighbour: str, view: int) -> np.ndarray:
        look: np.ndarray = self.panorama(scan, viewpoint)[view]
        return look

    def check(self, buildings: Buildings) -> None:
        for scan, viewpoint in buildings.places():
            if viewpoint not in self._rows.get(scan, {}):
                raise DataError(f"building {scan}: viewpoint {viewpoint} was not rendered")


def _scene_files(scans: Sequence[str], folder: Path) -> dict[str, Path]:
    files = {}
    for scan in scans:
        places = [folder / scan / f"{scan}.glb", *sorted(folder.glob(f"*/{scan}/{scan}.glb"))]
        found = next((place for place in places if place.is_file()), None)
        if found is not None:
            files[scan] = found
    missing = [scan for scan in scans if scan not in files]
    if missing:
        raise DataError(
            f"{folder}: no scene for {len(missing)} of {len(scans)} buildings "
            f"({', '.join(missing[:8])}{', ...' if missing[8:] else ''}): rendered features need "
            "SCAN/SCAN.glb for each; name the folder with --scenes"
        )
    return files


def _panoramas(graph: NavigationGraph, mesh: Path, rendering: Rendering) -> _Panoramas:
    """The building's views, from the disk where they are there."""
    kept = mesh.stat()
    made_of = [
        _MADE, str(mesh.resolve()), kept.st_size, kept.st_mtime_ns, rendering.simulator,
        list(graph.viewpoints), graph.positions.round(4).tolist(),
        asdict(rendering.config.body) if rendering.simulator == "habitat" else None,
    ]  # fmt: skip
    if rendering.raised or rendering.field != 1.0:
        made_of += [rendering.raised, rendering.field]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    file = cache_folder("panoramas") / f"{graph.scan}-{key}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as archive:
            return _Panoramas(archive["look"], archive["share"], tuple(archive["names"].tolist()))
    made = _render(graph, mesh, rendering)
    make_cache_folder("panoramas")
    names = np.array(made.names, dtype=np.str_)
    write_whole(
        file, lambda stream: np.savez(stream, look=made.look, share=made.share, names=names)
    )
    return made


def _render(graph: NavigationGraph, mesh: Path, rendering: Rendering) -> _Panoramas:
    camera = replace(
        rendering.config.camera, width=PIXELS, height=PIXELS,
        field_of_view=90.0 * rendering.field, colour=True, depth=True, semantic=True,
    )  # fmt: skip
    config = replace(rendering.config, camera=camera)
    simulator = open_simulator(find_scene(mesh), rendering.simulator, config)
    try:
        names = tuple(sorted(set(simulator.names.values())))
        # From z up to y up; the camera stands where the viewpoint is.
        place = graph.positions[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0])
        place[:, 1] += rendering.raised - camera.above_floor
        yaw = -np.arange(HEADING_BINS) * (2 * np.pi / HEADING_BINS)
        look = np.zeros((len(place), VIEWS, LOOK), np.float16)
        share = np.zeros((len(place), VIEWS, len(names)), np.float16)
        table = np.full(max(simulator.names, default=0) + 1, len(names), np.int64)
        for thing, name in simulator.names.items():
            table[thing] = names.index(name)
        for row, point in enumerate(place):
            poses = Poses(
                np.repeat(point[None], HEADING_BINS, 0).astype(np.float32), yaw.astype(np.float32)
            )
            look[row], share[row] = _describe(simulator.render(poses), table, len(names))
    finally:
        simulator.close()
    return _Panoramas(look, share, names)


def _describe(views: Views, table: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """[36, LOOK] and [36, count] of the images of twelve headings, by view h + 12 * row.

    A view spans 30 degrees about a heading; row 0 looks from 45 to 15 degrees downwards, row 1
    ahead, row 2 upwards: cut from one image of 90 degrees.
    """
    assert views.colour is not None and views.depth is not None and views.semantic is not None
    half, edge = PIXELS // 2, PIXELS / 2 * np.tan(np.pi / 12)
    left, right = round(half - edge), round(half + edge)
    bands = ((right, PIXELS), (left, right), (0, left))  # down, ahead, up
    number = table[np.minimum(views.semantic, len(table) - 1)]
    look, share = np.zeros((VIEWS, LOOK)), np.zeros((VIEWS, count))
    for level, (top, bottom) in enumerate(bands):
        rows = slice(level * HEADING_BINS, (level + 1) * HEADING_BINS)
        colour = views.colour[:, top:bottom, left:right] / 255.0
        depth = np.minimum(views.depth[:, top:bottom, left:right, None], FAR) / FAR
        seen = np.concatenate([colour, depth], -1)
        middle = (seen.shape[1] // 2, seen.shape[2] // 2)
        quarters = [
            part.mean((1, 2))
            for across in (seen[:, : middle[0]], seen[:, middle[0] :])
            for part in (across[:, :, : middle[1]], across[:, :, middle[1] :])
        ]
        look[rows] = np.concatenate(quarters, -1)
        flat = number[:, top:bottom, left:right].reshape(HEADING_BINS, -1)
        for heading in range(HEADING_BINS):
            counts = np.bincount(flat[heading], minlength=count + 1)[:count]
            share[level * HEADING_BINS + heading] = counts / flat.shape[1]
    return look, share
