"""Writes generated houses as a Room-to-Room data set in 2-D and 3-D, and reads the houses back."""

import hashlib
import json
import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.episodes.r2r import write_r2r
from envs.graph.navigation_graph import NavigationGraph, write_connectivity
from envs.houses.building import build_house
from envs.houses.describing import Describer, instruction_words
from envs.houses.house import ROOM_NAMES, House, house_from_record, house_record
from envs.houses.paths import paths_in
from envs.houses.scenes import SCENES, write_episodes, write_scene
from envs.houses.viewpoints import line_of_sight
from envs.houses.views import boxes
from envs.houses.wording import Wording
from envs.progress import Progress
from rayforge.errors import DataError
from rayforge.files import whole_folder
from rayforge.readers.faults import kind_of, shown
from rayforge.readers.json_text import read_json
from rayforge.settings import check_limits

HOUSES_FILE = "houses.json"
SPLITS = ("train", "val_seen", "val_unseen")
_PATIENCE = 20  # paths of a house that may be given up, and half as many as are wanted
_FORMAT = "rayforge-houses-1"
_OWN = {f"R2R_{split}.json" for split in SPLITS} | {
    "connectivity",
    "BBox",
    "vp2room_label.json",
    HOUSES_FILE,
    SCENES,
    *SPLITS,
}


@dataclass(frozen=True)
class HousesConfig:
    """What to generate."""

    train_houses: int = 40
    """Houses of the splits train and val_seen."""
    unseen_houses: int = 10
    """Further houses, of the split val_unseen."""
    paths_per_house: int = 60
    """Paths of a house in train, and in val_unseen; val_seen has a tenth of it, one at least. Each
    path has three instructions. A house with fewer suitable paths gives those it has."""
    seed: int = 0
    """The same seed gives the same bytes; another one gives other houses under the same names."""
    scenes: bool = True
    """Also write every house as a 3-D scene, and its paths as R2R-CE episodes."""

    def __post_init__(self) -> None:
        check_limits(self)
        for name, least in (
            ("train_houses", 1),
            ("unseen_houses", 0),
            ("paths_per_house", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")
        if self.train_houses + self.unseen_houses > 100_000:
            raise ValueError(
                f"at most 100000 houses fit the names house00000 to house99999, "
                f"got {self.train_houses + self.unseen_houses}"
            )


@dataclass(frozen=True)
class HousesSummary:
    """What was written."""

    houses: int
    viewpoints: int
    paths: Mapping[str, int]
    """Paths by split."""
    instructions: Mapping[str, int]
    """Instructions by split."""
    templates: int
    """Different clause templates in the training instructions."""
    words: int
    """Different words in the training instructions."""


def generator_version() -> str:
    """Eight digits that change with the generator's code: houses kept by an earlier one are not
    taken for its own."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def write_houses(
    folder: Path,
    *,
    train_houses: int,
    unseen_houses: int,
    paths_per_house: int,
    seed: int,
    scenes: bool = True,
) -> HousesSummary:
    """Write a data set of generated houses in R2R's layout, and in R2R-CE's.

    `R2R_{train,val_seen,val_unseen}.json`, `connectivity/`, `BBox/`, `vp2room_label.json`, and
    `houses.json` with the houses themselves, from which `read_houses` rebuilds them. With `scenes`,
    the same in 3-D: `scenes/{scan}/{scan}.glb` with semantics and stage configuration, and
    `{split}/{split}.json.gz` with the same paths and instructions as R2R-CE episodes. Training
    instructions never use the held-out wordings, every validation instruction does, and no
    validation instruction has a word that the training instructions lack.

    All is written beside `folder` under a temporary name, which is renamed at the end: a folder
    is either whole or not there.

    Args:
        folder: where to write; made if missing. It may hold an earlier data set of this function,
            which is replaced, and nothing else.
        train_houses, unseen_houses, paths_per_house, seed, scenes: see `HousesConfig`.

    Raises:
        DataError: the folder holds something else, or cannot be written.
        ValueError: a number out of range.
    """
    config = HousesConfig(train_houses, unseen_houses, paths_per_house, seed, scenes)
    folder = folder.resolve()
    _check_replaceable(folder)
    try:
        with whole_folder(folder, replace=True) as part:
            summary = _write(part, config)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return summary


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder")
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in _OWN)
    if foreign:
        raise DataError(
            f"{folder} holds {foreign[0]!r}, which is no part of a generated data set; "
            "name an empty or a new folder"
        )
    if any(folder.iterdir()) and not (folder / HOUSES_FILE).is_file():
        raise DataError(
            f"{folder} holds a data set without {HOUSES_FILE}, which was not generated here; "
            "name an empty or a new folder"
        )


def _write(folder: Path, config: HousesConfig) -> HousesSummary:
    total = config.train_houses + config.unseen_houses
    houses: list[House] = []
    records: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    wordings: list[Wording] = []
    left: dict[str, list[tuple[tuple[int, ...], float]]] = {}
    (folder / "connectivity").mkdir()
    (folder / "BBox").mkdir()
    with Progress("generating houses", total) as progress:
        for index in range(total):
            house = build_house(config.seed, index)
            houses.append(house)
            write_graph(folder, house)
            if config.scenes:
                write_scene(folder / SCENES, house, config.seed)
            rng = random.Random(f"rayforge paths {config.seed} {index}")
            describer = Describer(house)
            paths = [
                (p, round(rng.uniform(0, 2 * math.pi), 3)) for p in paths_in(rng, describer.map)
            ]
            if index < config.train_houses:
                told, paths = _tell(rng, describer, paths, config.paths_per_house)
                wordings += [w for _, _, group in told for w in group]
                _add(records["train"], describer, told)
            left[house.scan] = paths
            progress.add()
    # The validation instructions may use the words of the training instructions only, so they come
    # last.
    words = {w for wording in wordings for w in instruction_words(wording.text)}
    with Progress("writing validation instructions", total) as progress:
        for index, house in enumerate(houses):
            split = "val_seen" if index < config.train_houses else "val_unseen"
            few = max(1, config.paths_per_house // 10)
            count = few if split == "val_seen" else config.paths_per_house
            rng = random.Random(f"rayforge validation {config.seed} {index}")
            describer = Describer(house)
            told, _ = _tell(rng, describer, left[house.scan], count, words)
            _add(records[split], describer, told)
            progress.add()
    write_labels(folder / "vp2room_label.json", houses)
    write_houses_file(folder, houses, seed=config.seed, train_houses=config.train_houses)
    number = 0
    for split in SPLITS:
        for record in records[split]:
            record["path_id"] = number
            number += 1
        write_r2r(folder / f"R2R_{split}.json", records[split])
    if config.scenes:
        write_episodes(folder, records, houses)
    return HousesSummary(
        houses=total,
        viewpoints=sum(len(h.viewpoints) for h in houses),
        paths={split: len(records[split]) for split in SPLITS},
        instructions={s: sum(len(r["instructions"]) for r in records[s]) for s in SPLITS},
        templates=len({t for w in wordings for t in w.templates}),
        words=len(words),
    )


_Told = list[tuple[tuple[int, ...], float, tuple[Wording, ...]]]


def _tell(
    rng: random.Random,
    describer: Describer,
    paths: Sequence[tuple[tuple[int, ...], float]],
    count: int,
    words: Collection[str] | None = None,
) -> tuple[_Told, list[tuple[tuple[int, ...], float]]]:
    """Instructions for the first `count` paths that can be told, and the paths left over."""
    told: _Told = []
    for k, (path, heading) in enumerate(paths):
        # With few training words hardly a path can be told: do not search for long.
        if len(told) == count or k - len(told) > _PATIENCE + count // 2:
            return told, list(paths[k:])
        group = describer.instructions(rng, path, heading, held_out=words is not None, words=words)
        if group is not None:
            told.append((path, heading, group))
    return told, []


def _add(records: list[dict[str, Any]], describer: Describer, told: _Told) -> None:
    ids = [v.id for v in describer.house.viewpoints]
    for path, heading, group in told:
        records.append(
            {
                "distance": round(float(describer.map.distance[path[0], path[-1]]), 2),
                "scan": describer.house.scan,
                "path_id": -1,
                "path": [ids[v] for v in path],
                "heading": heading,
                "instructions": [w.text for w in group],
            }
        )


def write_graph(folder: Path, house: House) -> None:
    """Write a house's navigation graph and the boxes seen from its viewpoints into the folders
    `connectivity` and `BBox`."""
    adjacency = np.zeros((len(house.viewpoints), len(house.viewpoints)), dtype=bool)
    for a, b in house.edges:
        adjacency[a, b] = adjacency[b, a] = True
    graph = NavigationGraph(
        scan=house.scan,
        viewpoints=tuple(v.id for v in house.viewpoints),
        positions=house.positions,
        adjacency=adjacency,
        visible=line_of_sight(house),
    )
    write_connectivity(folder / "connectivity" / f"{house.scan}_connectivity.json", graph)
    for viewpoint, record in zip(house.viewpoints, boxes(house), strict=True):
        file = folder / "BBox" / f"{house.scan}_{viewpoint.id}.json"
        file.write_text(json.dumps({viewpoint.id: record}), encoding="utf-8")


def write_labels(file: Path, houses: Sequence[House]) -> None:
    """Write the rooms of all viewpoints in the format of `vp2room_label.json`."""
    letters = list(ROOM_NAMES)
    panoramas: dict[str, dict[str, Any]] = {}
    for house in houses:
        table = panoramas.setdefault(house.scan, {})
        for k, viewpoint in enumerate(house.viewpoints):
            label = house.rooms[viewpoint.room].label
            entry: dict[str, Any] = {
                "name": viewpoint.id,
                "panorama_index": str(k),
                "region_index": str(viewpoint.room),
                "position": [f"{c:.6g}" for c in viewpoint.position],
            }
            for prefix in ("", "region_"):
                entry[f"{prefix}label"] = label
                entry[f"{prefix}label_info"] = ROOM_NAMES[label]
                entry[f"{prefix}label_index"] = letters.index(label)
            table[viewpoint.id] = entry
    info = {
        "label_name": {**ROOM_NAMES, "-": "no label"},
        "label2index": {letter: k for k, letter in enumerate(letters)},
        "index2label": {str(k): letter for k, letter in enumerate(letters)},
    }
    file.write_text(json.dumps({"label_info": info, "pano_info": panoramas}), encoding="utf-8")


def write_houses_file(
    folder: Path, houses: Iterable[House], *, seed: int, train_houses: int
) -> None:
    """Write `houses.json`, from which `read_houses` rebuilds the houses."""
    head = {"format": _FORMAT, "seed": seed, "train_houses": train_houses}
    lines = ",\n".join(json.dumps(house_record(h)) for h in houses)
    text = json.dumps(head)[:-1] + f', "houses": [\n{lines}\n]}}\n'
    (folder / HOUSES_FILE).write_text(text, encoding="utf-8")


def read_houses(folder: Path) -> dict[str, House]:
    """The houses of a folder that `write_houses` wrote, by scan name, in order.

    Raises:
        DataError: `houses.json` is missing, of another format, or a record in it is malformed.
    """
    file = folder / HOUSES_FILE
    content = read_json(file)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{file}: expected format {_FORMAT!r}, found {shown(found)}; "
            "write the folder again with `rayforge houses`"
        )
    houses: dict[str, House] = {}
    records = content.get("houses", [])
    if not isinstance(records, list):
        raise DataError(f"{file}: houses must be a list, found {kind_of(records)}")
    for number, record in enumerate(records):
        place = f"{file}: house {number}"
        if not isinstance(record, dict):
            raise DataError(f"{place}: expected an object, found {kind_of(record)}")
        house = house_from_record(record, place)
        if house.scan in houses:
            raise DataError(f"{place}: building {house.scan} stands twice")
        houses[house.scan] = house
    return houses
