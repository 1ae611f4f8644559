"""The walkable floor of a scene: built from triangles, kept in a file, asked by the simulator."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from envs.simulators.embedded.navmesh.assembly import (
    Frame,
    assemble,
    islands_of,
    triangle_areas,
)
from envs.simulators.embedded.navmesh.contours import find_outlines
from envs.simulators.embedded.navmesh.geodesic import distances, shortest_way
from envs.simulators.embedded.navmesh.habitat_file import read_navmesh
from envs.simulators.embedded.navmesh.heights import find_heights
from envs.simulators.embedded.navmesh.polygons import Polygons, find_polygons
from envs.simulators.embedded.navmesh.regions import erode, find_regions
from envs.simulators.embedded.navmesh.voxels import Field, find_field, grid_of, reach_of
from envs.simulators.embedded.navmesh.walking import NavMesh, nearest, try_steps
from envs.simulators.simulator import Action, Body, Motion, Moved, Poses, Rules
from rayforge.errors import SceneError
from rayforge.files import write_whole
from rayforge.readers.faults import REASON, one_line

FORMAT = 2
"""Changes with whatever changes the floor that is found; older files are built anew."""
MOST_COLUMNS = 100_000_000
"""Columns of cells in a scene: 500 m x 500 m at 5 cm."""
BESIDE = 0.01
"""Metres that a navigable point may be beside the floor (habitat-sim)."""
ABOVE = 0.5
"""Metres that a navigable point may be above or below the floor (habitat-sim's default)."""
COLLISION = 1e-5
"""Square metres that a step must be shorter than asked to count as a collision (habitat-sim)."""


@dataclass(frozen=True)
class FloorMap:
    """Where a body can stand and walk. Points are float32 [N, 3], metres, +y up.

    Answers are those of habitat-sim's `PathFinder` on the navigation mesh that it computes from
    the same triangles: a point finds the floor within 2 m beside and 4 m above or below it, floors
    under 1 m² are left out, and a path is the straightened best way over polygons (a few per cent
    longer than the shortest one at times, and not always the same both ways).
    """

    mesh: NavMesh
    body: Body
    rules: Rules = "0.3.4"

    @staticmethod
    def build(
        vertices: np.ndarray,
        faces: np.ndarray,
        body: Body,
        name: str = "the mesh",
        rules: Rules = "0.3.4",
    ) -> FloorMap:
        """Find the floor of a mesh.

        Args:
            vertices: float32 [V, 3], metres, +y up.
            faces: int32 [F, 3], counter-clockwise seen from the side one can stand on.
            body: who walks there.
            name: the scene, for errors.
            rules: of which habitat-sim.

        Raises:
            SceneError: no triangles, coordinates that are no numbers, a scene larger than a floor
                can be, or no floor that the body can walk on.
        """
        vertices = np.ascontiguousarray(vertices, dtype=np.float32)
        faces = np.ascontiguousarray(faces, dtype=np.int32)
        _check_mesh(vertices, faces, body, name)
        field = find_field(vertices, faces, body, rules)
        erode(field, reach_of(body))
        region = find_regions(field)
        polygons = find_polygons(find_outlines(field, region))
        if len(polygons.polygon) == 0:
            raise SceneError(
                f"{name}: no floor for a body {body.height} m high and {body.radius} m in radius "
                f"among {len(faces)} faces; is +y up, is the unit the metre, do the floor's faces "
                "look up?"
            )
        heights = find_heights(field, region, polygons)
        top = vertices[:, 1].max() + np.float32(reach_of(body).height) * field.grid.cell_height
        high = np.array([vertices[:, 0].max(), top, vertices[:, 2].max()], dtype=np.float32)
        frame = Frame(field.grid.low, high, field.grid.cell, field.grid.cell_height, body.climb)
        island = islands_of(polygons.beside)
        is_roof = _roofs(field, region, polygons, island)
        mesh = assemble(frame, polygons.polygon, polygons.beside, heights, island, is_roof)
        return FloorMap(mesh, body, rules)

    @staticmethod
    def read_navmesh(file: Path, top: float, rules: Rules = "0.3.4") -> FloorMap:
        """The floor of a `.navmesh` file that habitat-sim wrote; `body` is the one in the file.

        Args:
            file: the navigation mesh.
            top: metres, the scene's highest point: an island with less than the body's height
                below it has no ceiling and counts as a roof.
            rules: of which habitat-sim; steps follow them, the floor is the file's.

        Raises:
            SceneError: not such a file, of another version, or cut off.
        """
        mesh, body = read_navmesh(file)
        lowest = np.full(int(mesh.island.max()) + 1, np.inf)
        owner = np.repeat(mesh.island, np.diff(mesh.start))
        np.minimum.at(lowest, owner, mesh.points[mesh.triangle, 1].min(axis=1))
        return FloorMap(mesh._replace(is_roof=top - lowest < body.height), body, rules)

    def is_for(self, body: Body) -> bool:
        """Whether the floor was found for such a body on such cells (within float32)."""
        return all(
            abs(own - other) < 1e-5
            for own, other in zip(asdict(self.body).values(), asdict(body).values(), strict=True)
        )

    @staticmethod
    def cached(
        vertices: np.ndarray,
        faces: np.ndarray,
        body: Body,
        folder: Path,
        name: str = "the mesh",
        rules: Rules = "0.3.4",
    ) -> FloorMap:
        """`build`, or what an earlier call with the same arguments left in `folder`."""
        vertices = np.ascontiguousarray(vertices, dtype=np.float32)
        faces = np.ascontiguousarray(faces, dtype=np.int32)
        key = hashlib.blake2b(digest_size=16)
        key.update(repr((FORMAT, rules, vertices.shape, faces.shape, asdict(body))).encode())
        key.update(vertices.data)
        key.update(faces.data)
        file = folder / f"{key.hexdigest()}.floor.npz"
        if file.exists():
            try:
                return FloorMap.load(file, rules)
            except SceneError:
                file.unlink(missing_ok=True)  # cut off or of another version: build it again
        floor = FloorMap.build(vertices, faces, body, name, rules)
        floor.save(file)
        return floor

    def save(self, file: Path) -> None:
        """Write the whole file or none of it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = self.mesh._asdict()
        body = np.array(list(asdict(self.body).values()))
        write_whole(
            file,
            lambda stream: np.savez_compressed(
                stream, format=np.array(FORMAT), body=body, **arrays
            ),
        )

    @staticmethod
    def load(file: Path, rules: Rules = "0.3.4") -> FloorMap:
        """Raises SceneError for a file that is not a floor of this version."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                if int(arrays["format"]) != FORMAT:
                    raise SceneError(
                        f"{file}: format {int(arrays['format'])}, not {FORMAT}; delete it"
                    )
                body = Body(*(float(value) for value in arrays["body"]))
                mesh = NavMesh(**{name: arrays[name] for name in NavMesh._fields})
        except (KeyError, OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            if isinstance(error, SceneError):
                raise
            raise SceneError(
                f"{file}: not a floor ({one_line(error, REASON)}); delete it to build it again"
            ) from None
        return FloorMap(mesh, body, rules)

    def snap(self, points: np.ndarray) -> np.ndarray:
        """The nearest walkable points, float32 [N, 3]; NaN where there is none near."""
        found: np.ndarray = nearest(self.mesh, _points(points))[1]
        return found

    def navigable(self, points: np.ndarray) -> np.ndarray:
        """Whether a body can stand there, bool [N]; see `BESIDE` and `ABOVE`."""
        points = _points(points)
        polygon, found = nearest(self.mesh, points)
        off = found - points
        beside = np.hypot(off[:, 0], off[:, 2])
        value: np.ndarray = (polygon >= 0) & (np.abs(off[:, 1]) <= ABOVE) & (beside <= BESIDE)
        return value

    def random_points(self, count: int, seed: int) -> np.ndarray:
        """Points of the largest connected floor that is no roof, uniform by area, [count, 3]."""
        chance = np.random.default_rng(seed)
        mesh = self.mesh
        area = triangle_areas(mesh.points, mesh.triangle)
        owner = np.repeat(np.arange(len(mesh.size)), np.diff(mesh.start))
        area = np.where(mesh.usable[owner], area, 0)
        area_of_island = np.bincount(mesh.island[owner], weights=area, minlength=len(mesh.is_roof))
        indoors = np.where(mesh.is_roof, 0, area_of_island)
        largest = (indoors if indoors.any() else area_of_island).argmax()
        area = np.where(mesh.island[owner] == largest, area, 0)
        chosen = chance.choice(len(area), size=count, p=area / area.sum())
        a, b, c = (mesh.points[mesh.triangle[chosen, k]] for k in range(3))
        root, share = np.sqrt(chance.random((count, 1))), chance.random((count, 1))
        points = (1 - root) * a + root * (1 - share) * b + root * share * c
        return self.snap(points)

    def step(self, poses: Poses, actions: np.ndarray, motion: Motion) -> Moved:
        """One low-level action each, int64 [N]; STOP stays.

        An agent that meets a wall slides along it (or stops there, by `motion.sliding`; see
        `Rules` for what 0.3.4 makes of that). A turn also puts it on the floor below or above it,
        as habitat-sim's turns do.
        """
        position = _points(poses.position)
        yaw = np.asarray(poses.yaw, dtype=np.float32)
        if not (np.isfinite(position).all() and np.isfinite(yaw).all()):
            row = int(np.flatnonzero(~np.isfinite(position).all(axis=1) | ~np.isfinite(yaw))[0])
            raise SceneError(f"agent {row} stands at {_text(position[row])}, yaw {yaw[row]}")
        turn = np.float32(np.radians(motion.turn))
        turned = yaw + turn * ((actions == Action.TURN_LEFT).astype(np.float32))
        turned -= turn * (actions == Action.TURN_RIGHT)
        length = np.where(actions == Action.MOVE_FORWARD, np.float32(motion.forward), np.float32(0))
        aim = position.copy()
        aim[:, 0] -= np.sin(yaw) * length
        aim[:, 2] -= np.cos(yaw) * length
        reached = try_steps(self.mesh, position, aim, motion.sliding, self.rules != "0.3.3")
        asked = ((aim - position) ** 2).sum(axis=1)
        walked = ((reached - position) ** 2).sum(axis=1)
        stays = actions == Action.STOP
        reached[stays] = position[stays]
        return Moved(Poses(reached, turned), ~stays & (walked + COLLISION < asked))

    def geodesic_distance(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Metres a body walks between each pair, float32 [N]; inf where it cannot."""
        starts, ends = _points(starts), _points(ends)
        first, on_first = nearest(self.mesh, starts)
        last, on_last = nearest(self.mesh, ends)
        found: np.ndarray = distances(self.mesh, first, last, on_first, on_last, starts, ends)
        return found

    def shortest_path(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Corners [K, 3] of the walk between two points [3]; K = 0 where there is none."""
        ends = _points(np.stack([start, end]))
        polygon, found = nearest(self.mesh, ends)
        value: np.ndarray = shortest_way(
            self.mesh, polygon[0], polygon[1], found[0], found[1], ends[0], ends[1]
        )
        return value


def _points(points: np.ndarray) -> np.ndarray:
    points = np.ascontiguousarray(points, dtype=np.float32)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points are [N, 3], not {list(points.shape)}")
    return points


def _text(point: np.ndarray) -> str:
    return "({:.2f}, {:.2f}, {:.2f})".format(*point.tolist())


def _check_mesh(vertices: np.ndarray, faces: np.ndarray, body: Body, name: str) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise SceneError(
            f"{name}: vertices are [V, 3] and faces [F, 3], not {list(vertices.shape)} and "
            f"{list(faces.shape)}"
        )
    if len(vertices) == 0 or len(faces) == 0:
        raise SceneError(f"{name}: {len(vertices)} vertices and {len(faces)} faces; it is empty")
    if not np.isfinite(vertices).all():
        row = int(np.flatnonzero(~np.isfinite(vertices).all(axis=1))[0])
        raise SceneError(f"{name}: vertex {row} is {vertices[row].tolist()}; repair the mesh")
    if faces.min() < 0 or faces.max() >= len(vertices):
        row = int(np.flatnonzero(((faces < 0) | (faces >= len(vertices))).any(axis=1))[0])
        raise SceneError(
            f"{name}: face {row} is {faces[row].tolist()} of {len(vertices)} vertices; "
            "repair the mesh"
        )
    grid = grid_of(vertices, body)
    if grid.width * grid.depth > MOST_COLUMNS:
        raise SceneError(
            f"{name}: {grid.width * body.cell:.0f} m x {grid.depth * body.cell:.0f} m is larger "
            "than any home; is the unit the metre?"
        )


def _roofs(field: Field, region: np.ndarray, polygons: Polygons, island: np.ndarray) -> np.ndarray:
    """Which islands are roofs, bool [islands]: most of it lies over others, under the open sky."""
    island_of = np.full(int(region.max()) + 1, -1, dtype=np.int64)
    island_of[polygons.region] = island
    island_of[0] = -1
    own = island_of[region]
    # Pieces are sorted by column and upwards: the lowest floor of a piece's column is the first.
    lowest = field.start[field.column]
    under_sky = (own >= 0) & ~field.covered
    over_other = under_sky & (lowest < np.arange(len(own))) & (own[lowest] >= 0)
    over_other &= own[lowest] != own
    islands = int(island.max()) + 1
    cells = np.bincount(own[own >= 0], minlength=islands)
    roof = np.bincount(own[over_other], minlength=islands)
    return 2 * roof > cells
