"""Reads habitat-sim's `.navmesh` files, which many scenes come with (HM3D, Matterport3D).

A file is a header, the settings (from version 2 on), and the memory of one Detour tile; see
`PathFinder::loadNavMesh` in habitat-sim and `DetourNavMesh.h`. Nothing in it is trusted: sizes and
indices are checked before anything is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from envs.simulators.embedded.navmesh.assembly import Frame, assemble, islands_of
from envs.simulators.embedded.navmesh.heights import Heights
from envs.simulators.embedded.navmesh.walking import NavMesh
from envs.simulators.simulator import Body
from rayforge.errors import SceneError
from rayforge.readers.faults import REASON, one_line

SET_MAGIC = int.from_bytes(b"MSET", "big")
TILE_MAGIC = int.from_bytes(b"DNAV", "big")
TILE_VERSION = 7
WALK = 1
"""The flag of a polygon that one may walk on."""

SET_HEADER = np.dtype(
    [
        ("magic", "<i4"),
        ("version", "<i4"),
        ("tiles", "<i4"),
        ("origin", "<f4", 3),
        ("tile_size", "<f4", 2),
        ("most", "<i4", 2),
    ]
)
SETTINGS = np.dtype(
    [
        ("cell", "<f4"),
        ("cell_height", "<f4"),
        ("height", "<f4"),
        ("radius", "<f4"),
        ("climb", "<f4"),
        ("slope", "<f4"),
        ("others", "<f4", 7),
        ("filters", "u1", 4),
    ]
)
TILE_HEADER = np.dtype(
    [
        ("magic", "<i4"),
        ("version", "<i4"),
        ("place", "<i4", 3),
        ("user", "<u4"),
        ("polygons", "<i4"),
        ("corners", "<i4"),
        ("links", "<i4"),
        ("details", "<i4"),
        ("extras", "<i4"),
        ("triangles", "<i4"),
        ("nodes", "<i4"),
        ("jumps", "<i4"),
        ("jump_base", "<i4"),
        ("height", "<f4"),
        ("radius", "<f4"),
        ("climb", "<f4"),
        ("low", "<f4", 3),
        ("high", "<f4", 3),
        ("per_cell", "<f4"),
    ]
)
POLYGON = np.dtype(
    [
        ("link", "<u4"),
        ("corners", "<u2", 6),
        ("beside", "<u2", 6),
        ("flags", "<u2"),
        ("size", "u1"),
        ("kind", "u1"),
    ]
)
DETAIL = np.dtype(
    [("extra", "<u4"), ("triangle", "<u4"), ("extras", "u1"), ("triangles", "u1"), ("pad", "u1", 2)]
)
LINK_BYTES = 12
BEYOND = 5.0
"""Metres that a corner may be outside the scene's box (a cell or two in whole files)."""


def read_navmesh(file: Path) -> tuple[NavMesh, Body]:
    """The navigation mesh of a file and the body that it is for.

    Raises:
        SceneError: no such file, another format or version, cut off, several tiles, or indices
            that point nowhere.
    """
    try:
        return _read(file.read_bytes())
    except OSError as error:
        raise SceneError(f"{file}: {error.strerror}") from None
    except (ValueError, IndexError, OverflowError) as error:
        raise SceneError(
            f"{file}: not a .navmesh of habitat-sim that can be used ({one_line(error, REASON)}); "
            "without it the floor is found anew"
        ) from None


def _read(data: bytes) -> tuple[NavMesh, Body]:
    head = _take(data, 0, SET_HEADER, 1, "header")[0]
    if head["magic"] != SET_MAGIC or head["version"] not in (1, 2):
        raise ValueError(f"magic {head['magic']:#x}, version {head['version']}")
    if head["tiles"] != 1:
        raise ValueError(f"{head['tiles']} tiles; habitat-sim writes one")
    at = SET_HEADER.itemsize
    cell_height, slope = Body.cell_height, Body.slope
    if head["version"] == 2:
        settings = _take(data, at, SETTINGS, 1, "settings")[0]
        cell_height, slope = float(settings["cell_height"]), float(settings["slope"])
        at += SETTINGS.itemsize
    at += 8  # the tile's reference and size
    tile = _take(data, at, TILE_HEADER, 1, "tile")[0]
    if tile["magic"] != TILE_MAGIC or tile["version"] != TILE_VERSION:
        raise ValueError(f"tile magic {tile['magic']:#x}, version {tile['version']}")
    if tile["jumps"] or tile["details"] != tile["polygons"] or tile["polygons"] < 1:
        raise ValueError(f"{tile['polygons']} polygons, {tile['jumps']} off-mesh connections")
    at += TILE_HEADER.itemsize
    corners = _take(data, at, np.dtype("<f4"), 3 * int(tile["corners"]), "corners").reshape(-1, 3)
    at += corners.nbytes
    polygons = _take(data, at, POLYGON, int(tile["polygons"]), "polygons")
    at += polygons.nbytes + LINK_BYTES * int(tile["links"])
    details = _take(data, at, DETAIL, len(polygons), "details")
    at += details.nbytes
    extras = _take(data, at, np.dtype("<f4"), 3 * int(tile["extras"]), "heights").reshape(-1, 3)
    at += extras.nbytes
    triangles = _take(data, at, np.dtype("u1"), 4 * int(tile["triangles"]), "triangles")
    frame = Frame(
        low=tile["low"].copy(),
        high=tile["high"].copy(),
        cell=np.float32(1) / tile["per_cell"],
        cell_height=np.float32(cell_height),
        climb=float(tile["climb"]),
    )
    _check_frame(frame, corners, extras)
    polygon, beside = _edges(polygons, len(corners))
    heights = _heights(polygons, polygon, details, corners, extras, triangles.reshape(-1, 4))
    island = islands_of(beside)
    no_roofs = np.zeros(int(island.max()) + 1, dtype=bool)
    walkable = (polygons["flags"] & WALK) > 0
    mesh = assemble(frame, polygon, beside, heights, island, no_roofs, walkable)
    body = Body(
        height=float(tile["height"]),
        radius=float(tile["radius"]),
        climb=frame.climb,
        slope=slope,
        cell=float(frame.cell),
        cell_height=cell_height,
    )
    return mesh, body


def _take(data: bytes, at: int, kind: np.dtype, count: int, what: str) -> np.ndarray:
    if count < 0 or at + count * kind.itemsize > len(data):
        raise ValueError(f"{count} {what} at byte {at} of {len(data)}: cut off")
    return np.frombuffer(data, kind, count, at)


def _check_frame(frame: Frame, corners: np.ndarray, extras: np.ndarray) -> None:
    numbers = np.concatenate([frame.low, frame.high, corners.ravel(), extras.ravel()])
    if not np.isfinite(numbers).all() or not 0 < frame.cell < 10:
        raise ValueError("coordinates that are no numbers")
    size = (frame.high.astype(np.float64) - frame.low).max()
    if not 0 < size < 10_000:
        raise ValueError(f"a scene of {size} m")
    points = np.concatenate([corners, extras])
    if (points < frame.low - BEYOND).any() or (points > frame.high + BEYOND).any():
        raise ValueError("a corner is outside the scene")


def _edges(polygons: np.ndarray, corners: int) -> tuple[np.ndarray, np.ndarray]:
    """`polygon` and `beside` of a `NavMesh`."""
    size = polygons["size"].astype(np.int64)
    used = np.arange(polygons["corners"].shape[1]) < size[:, None]
    polygon = np.where(used, polygons["corners"].astype(np.int32), -1)
    beside = polygons["beside"].astype(np.int32) - 1  # 0 is a wall, from 0x8000 on another tile
    beside = np.where(used & (beside < 0x7FFF), beside, -1)
    if (size < 3).any() or (size > 6).any() or polygon.max() >= corners:
        raise ValueError("a polygon has corners that are not there")
    if beside.max() >= len(polygons) or (polygons["kind"] >> 6).any():
        raise ValueError("a polygon has neighbours that are not there")
    rows, edges = np.nonzero(beside >= 0)
    there = set(zip(rows.tolist(), beside[rows, edges].tolist(), strict=True))
    if any((other, own) not in there for own, other in there):
        raise ValueError("a polygon is no neighbour of its neighbour")
    return polygon, beside


def _heights(
    polygons: np.ndarray,
    polygon: np.ndarray,
    details: np.ndarray,
    corners: np.ndarray,
    extras: np.ndarray,
    triangles: np.ndarray,
) -> Heights:
    """Triangles over corners and extra points; in the file they count from each polygon's own."""
    count = details["triangles"].astype(np.int64)
    start = np.concatenate([[0], np.cumsum(count)])
    if (count < 1).any():
        raise ValueError("a polygon has no triangles")
    owner = np.repeat(np.arange(len(details)), count)
    row = details["triangle"].astype(np.int64)[owner] + np.arange(len(owner)) - start[owner]
    if row.max() >= len(triangles):
        raise ValueError("a polygon has triangles that are not there")
    own = triangles[row, :3].astype(np.int64)
    size = polygons["size"].astype(np.int64)[owner, None]
    extra = own - size
    if (extra >= details["extras"].astype(np.int64)[owner, None]).any():
        raise ValueError("a triangle has points that are not there")
    first_extra = len(corners) + details["extra"].astype(np.int64)[owner, None]
    corner = polygon[owner[:, None], np.minimum(own, size - 1)]
    triangle = np.where(extra < 0, corner, first_extra + extra)
    points = np.concatenate([corners, extras])
    if triangle.max() >= len(points):
        raise ValueError("a triangle has points that are not there")
    rim = (triangles[row, 3, None] >> np.array([0, 2, 4])) & 1
    return Heights(points, triangle.astype(np.int32), rim > 0, start.astype(np.int32))
