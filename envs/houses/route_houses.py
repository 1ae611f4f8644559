"""Routes as a data set in Room-to-Room's layout: what an agent needs to obey instructions.

`write_route_houses` gives an agent its training: houses of their own, instructions that arrive.
`kept_route_maps` gives it the maps of a route task's houses, in which it is asked to act. There the
split `routes` holds every route of the task, first those of the training pairs and then those of
the test, with its prompt where other data sets have an instruction: the instruction to be followed
comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from envs.episodes.r2r import write_r2r
from envs.houses.dataset import write_graph, write_houses_file, write_labels
from envs.houses.house import House
from envs.houses.route_folder import config_digest
from envs.houses.route_task import RouteTask, Told, told_routes
from envs.houses.routes import Route
from rayforge.errors import DataError
from rayforge.files import whole_folder
from rayforge.settings import AtLeast, check_limits

ROUTES = "routes"
"""The split of a task's routes."""
_FIRST = {"train": 30_000, "val_seen": 30_000, "val_unseen": 40_000}
"""Number of a split's first house. The route task's own houses have numbers below these."""


@dataclass(frozen=True)
class RouteHousesConfig:
    """What a follower learns from."""

    routes: Annotated[int, AtLeast(1)] = 2048
    """Routes of the split train, each with two instructions."""
    validation_routes: Annotated[int, AtLeast(1)] = 200
    """Routes of val_seen (the same houses) and of val_unseen (houses of their own)."""
    routes_per_house: Annotated[int, AtLeast(1)] = 40
    """At most: fewer routes of a house are more houses."""
    seed: Annotated[int, AtLeast(0)] = 0
    """The same seed gives the same bytes."""

    def __post_init__(self) -> None:
        check_limits(self)


def write_route_houses(folder: Path, config: RouteHousesConfig) -> int:
    """Write a data set of routes with good instructions, whole or not at all; returns how many
    houses it has. None of them is a house of the route task.

    Raises DataError where the folder is not empty or cannot be written.
    """
    _check_free(folder.resolve())
    splits: dict[str, list[Told]] = {}
    houses: dict[str, House] = {}
    prompts: set[str] = set()
    for split, first in _FIRST.items():
        wanted = config.routes if split == "train" else config.validation_routes
        told, used = told_routes(
            config.seed, split, wanted, first, config.routes_per_house, prompts
        )
        splits[split] = told
        houses |= used
    _write(folder, {s: [(t.route, t.instructions) for t in ts] for s, ts in splits.items()}, houses,
           config.seed)  # fmt: skip
    return len(houses)


def kept_route_maps(cache: Path, task: RouteTask) -> Path:
    """The folder of a task's houses and routes, written once."""
    folder = cache / f"maps-{config_digest(task.config)}"
    if not (folder / "houses.json").is_file():
        routes = [pair.route for pair in (*task.train, *task.test)]
        try:
            _write(folder, {ROUTES: [(r, (r.prompt,)) for r in routes]}, task.houses,
                   task.config.seed)  # fmt: skip
        except DataError:
            if not (folder / "houses.json").is_file():  # else another process wrote it meanwhile
                raise
    return folder


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name a new folder")


def _write(
    folder: Path,
    splits: Mapping[str, Sequence[tuple[Route, Sequence[str]]]],
    houses: Mapping[str, House],
    seed: int,
) -> None:
    folder = folder.resolve()
    _check_free(folder)
    try:
        with whole_folder(folder) as part:
            (part / "connectivity").mkdir()
            (part / "BBox").mkdir()
            for house in houses.values():
                write_graph(part, house)
            write_labels(part / "vp2room_label.json", list(houses.values()))
            write_houses_file(part, houses.values(), seed=seed, train_houses=len(houses))
            number = 0
            for split, told in splits.items():
                records = []
                for route, instructions in told:
                    records.append(
                        {
                            "scan": route.house, "path_id": number, "path": list(route.path),
                            "heading": route.heading,
                            "instructions": [text.strip() for text in instructions],
                        }
                    )  # fmt: skip
                    number += 1
                write_r2r(part / f"R2R_{split}.json", records)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from error
