"""From floor cells to regions that overlap nowhere (Recast: erosion and watershed partition)."""

from __future__ import annotations

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled
from envs.simulators.embedded.navmesh.voxels import Field, Reach

SMALLEST = 20 * 20
"""Cells of the smallest island that is kept, and of the smallest region that is left unmerged
(habitat-sim's defaults: `region_min_size` and `region_merge_size` of 20)."""
EXPANSIONS = 8
"""How often a region may grow before a lower level starts new ones."""
STACKS = 8
"""Levels of distance that are sorted at a time."""


def erode(field: Field, reach: Reach) -> None:
    """Take the cells within the body's radius of an edge off the walkable ones, in place."""
    distance = np.full(len(field.column), 2**30, dtype=np.int32)
    distance[_at_edge(field.link, field.walkable, True)] = 0
    _spread(distance, field.link)
    field.walkable[distance < 2 * reach.radius] = False


def find_regions(field: Field) -> np.ndarray:
    """Region of each piece of `field`, int32 [S]: 1, 2, ...; 0 where nobody walks."""
    distance = np.full(len(field.column), 0xFFFF, dtype=np.int32)
    distance[_at_edge(field.link, field.walkable, False)] = 0
    _spread(distance, field.link)
    deepest = int(distance.max(initial=0))
    region, count = _watershed(_blurred(distance, field.link), field.walkable, field.link, deepest)
    return _merge(field, region, count)


@compiled
def _at_edge(link, walkable, every):
    """Pieces without four neighbours of their own kind; all that nobody walks if `every`."""
    edge = np.zeros(len(link), np.bool_)
    for piece in range(len(link)):
        alike = 0
        for way in range(4):
            other = link[piece, way]
            if other >= 0 and walkable[other] == walkable[piece]:
                alike += 1
        edge[piece] = alike < 4 or (every and not walkable[piece])
    return edge


@compiled
def _nearer(distance, link, piece, way, turn):
    """The distance of `piece` through its neighbour at `way` (2) and that one's at `turn` (3)."""
    best = distance[piece]
    other = link[piece, way]
    if other >= 0:
        best = min(best, distance[other] + 2)
        corner = link[other, turn]
        if corner >= 0:
            best = min(best, distance[corner] + 3)
    return best


@compiled
def _spread(distance, link):
    """Chamfer distances (2 straight, 3 across) from the pieces that are 0, in place."""
    for piece in range(len(link)):
        distance[piece] = _nearer(distance, link, piece, 0, 3)
        distance[piece] = _nearer(distance, link, piece, 3, 2)
    for piece in range(len(link) - 1, -1, -1):
        distance[piece] = _nearer(distance, link, piece, 2, 1)
        distance[piece] = _nearer(distance, link, piece, 1, 0)


@compiled
def _blurred(distance, link):
    """The mean over 3 x 3 cells; edges (distance up to 2) stay as they are."""
    blurred = distance.copy()
    for piece in range(len(link)):
        own = distance[piece]
        if own <= 2:
            continue
        total = own
        for way in range(4):
            other = link[piece, way]
            if other < 0:
                total += 2 * own
                continue
            total += distance[other]
            corner = link[other, (way + 1) & 3]
            total += distance[corner] if corner >= 0 else own
        blurred[piece] = (total + 5) // 9
    return blurred


@compiled
def _watershed(distance, walkable, link, deepest):
    """Regions that grow from the cells farthest from any edge; returns (region, ids used)."""
    count = len(link)
    region = np.zeros(count, np.int32)
    apart = np.zeros(count, np.int32)
    stacks = np.empty((STACKS, count), np.int32)
    sizes = np.zeros(STACKS, np.int64)
    work = np.empty(count, np.int32)
    changed = np.empty((count, 3), np.int32)
    ids = 1
    level = (deepest + 1) & ~1
    turn = -1
    while level > 0:
        level = max(level - 2, 0)
        turn = (turn + 1) % STACKS
        if turn == 0:
            sizes[:] = 0
            for piece in range(count):
                if not walkable[piece] or region[piece] != 0:
                    continue
                below = (level >> 1) - (distance[piece] >> 1)
                if below >= STACKS:
                    continue
                below = max(below, 0)
                stacks[below, sizes[below]] = piece
                sizes[below] += 1
        else:
            for entry in range(sizes[turn - 1]):
                piece = stacks[turn - 1, entry]
                if piece >= 0 and region[piece] == 0:
                    stacks[turn, sizes[turn]] = piece
                    sizes[turn] += 1
        stack = stacks[turn, : sizes[turn]]
        for entry in range(len(stack)):
            if region[stack[entry]] != 0:
                stack[entry] = -1
        _expand(EXPANSIONS if level > 0 else -1, stack, region, apart, walkable, link, changed)
        for entry in range(len(stack)):
            piece = stack[entry]
            if (
                piece >= 0
                and region[piece] == 0
                and _flood(piece, level, ids, region, apart, distance, walkable, link, work)
            ):
                ids += 1
    rest = 0
    for piece in range(count):
        if walkable[piece] and region[piece] == 0:
            work[rest] = piece
            rest += 1
    _expand(-1, work[:rest], region, apart, walkable, link, changed)
    return region, ids


@compiled
def _expand(rounds, stack, region, apart, walkable, link, changed):
    """Give the pieces on `stack` the nearest neighbour's region, ring by ring, in place.

    `rounds` rings at most, -1 for all of them. Pieces that got a region leave the stack (-1).
    """
    while len(stack) > 0 and rounds != 0:
        rounds -= 1
        news = 0
        for entry in range(len(stack)):
            piece = stack[entry]
            if piece < 0:
                continue
            nearest = 0xFFFF
            found = 0
            for way in range(4):
                other = link[piece, way]
                if other < 0 or not walkable[other] or region[other] == 0:
                    continue
                if apart[other] + 2 < nearest:
                    found = region[other]
                    nearest = apart[other] + 2
            if found:
                stack[entry] = -1
                changed[news, 0] = piece
                changed[news, 1] = found
                changed[news, 2] = nearest
                news += 1
        if news == 0:
            break
        for new in range(news):
            region[changed[new, 0]] = changed[new, 1]
            apart[changed[new, 0]] = changed[new, 2]


@compiled
def _flood(seed, level, own, region, apart, distance, walkable, link, stack):
    """Fill region `own` from `seed` down to two levels lower, off other regions' borders."""
    stack[0] = seed
    waiting = 1
    region[seed] = own
    apart[seed] = 0
    lowest = max(level - 2, 0)
    filled = 0
    while waiting:
        waiting -= 1
        piece = stack[waiting]
        beside_other = False
        for way in range(4):
            other = link[piece, way]
            if other < 0 or not walkable[other]:
                continue
            if region[other] != 0 and region[other] != own:
                beside_other = True
                break
            corner = link[other, (way + 1) & 3]
            if corner < 0 or not walkable[corner]:
                continue
            if region[corner] != 0 and region[corner] != own:
                beside_other = True
                break
        if beside_other:
            region[piece] = 0
            continue
        filled += 1
        for way in range(4):
            other = link[piece, way]
            if other < 0 or not walkable[other]:
                continue
            if distance[other] >= lowest and region[other] == 0:
                region[other] = own
                apart[other] = 0
                stack[waiting] = other
                waiting += 1
    return filled > 0


@compiled
def _neighbours_around(seed, way, region, link):
    """Regions met on a walk around the border that `seed` has at `way` (0: none), in order."""
    met = np.empty(64, np.int32)
    other = link[seed, way]
    current = region[other] if other >= 0 else 0
    met[0] = current
    count = 1
    piece, facing = seed, way
    for _ in range(4 * len(link)):
        other = link[piece, facing]
        beyond = region[other] if other >= 0 else 0
        if beyond != region[piece]:
            if beyond != current:
                current = beyond
                if count == len(met):
                    longer = np.empty(2 * count, np.int32)
                    longer[:count] = met
                    met = longer
                met[count] = current
                count += 1
            facing = (facing + 1) & 3
        else:
            piece = other
            facing = (facing + 3) & 3
        if piece == seed and facing == way:
            break
    return met[:count]


@compiled
def _border_seeds(region, link, count):
    """The first piece of each region at a border and the side it is on; -1 where none."""
    seed = np.full(count, -1, np.int32)
    side = np.zeros(count, np.int32)
    for piece in range(len(link)):
        own = region[piece]
        if own == 0 or seed[own] >= 0:
            continue
        for way in range(4):
            other = link[piece, way]
            if (region[other] if other >= 0 else 0) != own:
                seed[own] = piece
                side[own] = way
                break
    return seed, side


def _without_repeats(ring: list[int]) -> list[int]:
    """A cyclic list without equal neighbours."""
    following = ring[1:] + ring[:1]
    kept = [value for value, after in zip(ring, following, strict=True) if value != after]
    return kept or ring[:1]


def _stacked(field: Field, region: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of regions that lie above each other somewhere."""
    pairs: set[tuple[int, int]] = set()
    for apart in range(1, int(np.diff(field.start).max(initial=1))):
        same = field.column[apart:] == field.column[:-apart]
        both = np.stack([region[apart:][same], region[:-apart][same]], axis=1)
        for one, other in np.unique(both[(both > 0).all(axis=1)], axis=0).tolist():
            pairs |= {(one, other), (other, one)}
    return pairs


def _merge(field: Field, region: np.ndarray, ids: int) -> np.ndarray:
    """Drop islands under `SMALLEST` cells, join small regions to neighbours, number the rest."""
    size = np.bincount(region, minlength=ids).tolist()
    seed, side = _border_seeds(region, field.link, ids)
    around = [
        _without_repeats(_neighbours_around(piece, way, region, field.link).tolist())
        if piece >= 0
        else []
        for piece, way in zip(seed.tolist(), side.tolist(), strict=True)
    ]
    above: list[set[int]] = [set() for _ in range(ids)]
    for one, other in _stacked(field, region):
        above[one].add(other)
    name = list(range(ids))
    name[0] = 0
    overlapping = [number in above[number] for number in range(ids)]
    _drop_small_islands(name, size, around)
    merged = True
    while merged:
        merged = False
        for number in range(1, ids):
            if name[number] == 0 or overlapping[number] or size[number] == 0:
                continue
            if size[number] > SMALLEST and 0 in around[number]:
                continue
            target = _smallest_neighbour(number, name, size, around, above, overlapping)
            if target == name[number]:
                continue
            old = name[number]
            if not _join(target, number, name, size, around, above):
                continue
            for other in range(ids):
                if name[other] == 0:
                    continue
                if name[other] == old:
                    name[other] = target
                if old in around[other]:
                    renamed = [target if value == old else value for value in around[other]]
                    around[other] = _without_repeats(renamed)
                if old in above[other]:
                    above[other] = (above[other] - {old}) | {target}
            merged = True
    kept = sorted(set(name) - {0}, key=name.index)
    number_of = {old: new for new, old in enumerate(kept, start=1)} | {0: 0}
    found: np.ndarray = np.array([number_of[old] for old in name], dtype=np.int32)[region]
    return found


def _drop_small_islands(name: list[int], size: list[int], around: list[list[int]]) -> None:
    seen = [False] * len(name)
    for number in range(1, len(name)):
        if size[number] == 0 or seen[number]:
            continue
        seen[number] = True
        waiting, island, cells = [number], [], 0
        while waiting:
            one = waiting.pop()
            island.append(one)
            cells += size[one]
            for other in around[one]:
                if name[other] != 0 and not seen[other]:
                    seen[other] = True
                    waiting.append(other)
        if cells < SMALLEST:
            for one in island:
                name[one] = size[one] = 0


def _smallest_neighbour(
    number: int,
    name: list[int],
    size: list[int],
    around: list[list[int]],
    above: list[set[int]],
    overlapping: list[bool],
) -> int:
    """The smallest region that `number` may join (one shared border, not above it), or itself."""
    best, target = 0xFFFFFFF, name[number]
    for other in around[number]:
        if name[other] == 0 or overlapping[other] or size[other] >= best:
            continue
        if around[number].count(name[other]) > 1 or name[other] in above[number]:
            continue
        if around[other].count(name[number]) > 1 or name[number] in above[other]:
            continue
        best, target = size[other], name[other]
    return target


def _join(
    target: int,
    number: int,
    name: list[int],
    size: list[int],
    around: list[list[int]],
    above: list[set[int]],
) -> bool:
    """Put region `number` into `target`; whether both knew of the border between them."""
    ours, theirs = around[target], around[number]
    if name[number] not in ours or name[target] not in theirs:
        return False
    gap, other_gap = ours.index(name[number]), theirs.index(name[target])
    ring = ours[gap + 1 :] + ours[:gap] + theirs[other_gap + 1 :] + theirs[:other_gap]
    around[target] = _without_repeats(ring) if ring else []
    above[target] |= above[number]
    size[target] += size[number]
    size[number] = 0
    around[number] = []
    return True
