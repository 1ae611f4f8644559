"""A data folder in Room-to-Room's layout, read into everything that training needs.

The folder holds ``R2R_{split}.json`` (or the files of R4R, REVERIE or RxR, see
`envs.episodes.split_files`), ``connectivity/{scan}_connectivity.json``, and for semantic
observations ``vp2room_label.json`` and ``BBox/`` or ``BBox.tar.gz`` (REVERIE).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from envs.episodes.episode import Episode
from envs.episodes.r2r import check_paths, read_r2r
from envs.episodes.r2r_ce import splits_in
from envs.episodes.split_files import split_file, splits_of
from envs.graph.boxes import object_words, read_boxes, read_room_labels
from envs.graph.buildings import Buildings, join_graphs
from envs.graph.features import FeatureStore, SemanticStore
from envs.graph.image_features import open_image_features
from envs.graph.navigation_graph import SUFFIX, NavigationGraph, read_connectivity
from envs.graph.observation import ObservationTables, observation_tables
from envs.graph.rendered_features import RenderedStore, Rendering
from envs.progress import Progress
from rayforge.errors import DataError
from rayforge.readers.faults import shown

SCENES = "scenes"
"""Folder of a data set's 3-D scenes, where no other is named."""
HELD_OUT = "held_out"
HELD_OUT_SOURCES = ("train", "val_seen")


@dataclass(frozen=True, eq=False)
class NavigationData:
    """Episodes by split and the buildings they need.

    Attributes:
        folder: where it was read.
        buildings: the graphs of all asked splits side by side.
        graphs: the same by building.
        splits: episodes by split, those asked for.
        tables: observations of `buildings`.
        objects: vocabulary of the semantic or rendered store; () for image stores.
    """

    folder: Path
    buildings: Buildings
    graphs: Mapping[str, NavigationGraph] = field(repr=False)
    splits: dict[str, tuple[Episode, ...]] = field(repr=False)
    tables: ObservationTables
    objects: tuple[str, ...] = field(repr=False)


def read_navigation_data(
    folder: Path,
    *,
    splits: Sequence[str],
    held_out: Sequence[str] = (),
    only: Sequence[str] = (),
    features: str = "semantic",
    neighbour_rooms: bool = False,
    objects: tuple[str, ...] | None = None,
    min_object_count: int = 5,
    rendering: Rendering | None = None,
    extra_demonstrations: Path | None = None,
) -> NavigationData:
    """Read and check a data folder; nothing but the buildings of `splits` is loaded.

    Args:
        folder: layout above.
        splits: names of splits (``R2R_{split}.json``, `split_file`), and ``held_out`` where
            `held_out` is not empty.
        held_out: buildings that are taken out of ``train`` and ``val_seen``; their episodes from
            both files form the split ``held_out``.
        only: where not empty, the only buildings that ``train`` and ``val_seen`` keep.
        features: "semantic", "rendered" (views of the 3-D scenes), or the path of a ``.tsv``,
            ``.tsv.gz``, ``.h5`` or ``.hdf5`` file.
        neighbour_rooms: see `SemanticStore`; semantic features only.
        objects: the vocabulary of semantic or rendered features. None: the words of the training
            buildings (those of ``R2R_train.json`` without `held_out`), or of the asked splits'
            buildings where the folder has no training split.
        min_object_count: how often a word has to occur among them (semantic features).
        rendering: scenes and simulator of rendered features; by default ``scenes`` in the folder.
        extra_demonstrations: another file of R2R's format, whose episodes join ``train``; their
            path ids are not used there. Its buildings have no part in the words of `objects`.

    Raises:
        DataError: anything malformed, missing or unknown, naming file, record and remedy.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if features != "semantic" and neighbour_rooms:
        raise DataError("neighbour_rooms belongs to semantic features; image features have none")
    by_file = _read_splits(folder, splits, held_out, only)
    if extra_demonstrations is not None and "train" in splits:
        by_file.append(_Part("train", extra_demonstrations, read_r2r(extra_demonstrations)))
    _check_ids(folder, splits, by_file)
    _check_told(by_file)
    scans = sorted({episode.scan for part in by_file for episode in part.episodes})
    graphs: dict[str, NavigationGraph] = {}
    with Progress("reading navigation graphs", len(scans)) as progress:
        for scan in scans:
            graphs[scan] = read_connectivity(folder / "connectivity" / f"{scan}{SUFFIX}")
            progress.add()
    for part in by_file:
        check_paths(part.file, part.episodes, graphs)
    words_wanted = objects is None and features in ("semantic", "rendered")
    surroundings = read_surroundings(
        folder,
        graphs,
        features=features,
        neighbour_rooms=neighbour_rooms,
        objects=objects,
        training_scans=_training_scans(folder, held_out, only) if words_wanted else (),
        min_object_count=min_object_count,
        rendering=rendering,
    )
    return NavigationData(
        folder=folder,
        buildings=surroundings.buildings,
        graphs=graphs,
        splits={
            split: tuple(e for part in by_file if part.split == split for e in part.episodes)
            for split in splits
        },
        tables=surroundings.tables,
        objects=surroundings.objects,
    )


class Surroundings(NamedTuple):
    """Buildings and what is seen in them."""

    buildings: Buildings
    tables: ObservationTables
    objects: tuple[str, ...]
    """Vocabulary of the semantic or rendered store; () for image stores."""


def read_surroundings(
    folder: Path,
    graphs: Mapping[str, NavigationGraph],
    *,
    features: str,
    neighbour_rooms: bool,
    objects: tuple[str, ...] | None,
    training_scans: Sequence[str] = (),
    min_object_count: int = 5,
    rendering: Rendering | None = None,
) -> Surroundings:
    """What is seen in the buildings of `graphs`; no episode is read. Arguments as above.

    Without `objects`, the words of `training_scans` (or of these buildings) are the vocabulary.
    """
    scans = sorted(graphs)
    buildings = join_graphs([graphs[scan] for scan in scans])
    store: FeatureStore
    if features == "semantic":
        source = _box_source(folder)
        if objects is None:
            training_scans = training_scans or scans
            boxes = read_boxes(source, {*scans, *training_scans})
            objects = object_words(boxes, training_scans, min_object_count)
        else:
            boxes = read_boxes(source, scans)
        labels_file = folder / "vp2room_label.json"
        store = SemanticStore(
            buildings,
            read_room_labels(labels_file, scans),
            boxes,
            objects,
            neighbour_rooms=neighbour_rooms,
            labels_file=str(labels_file),
        )
    elif features == "rendered":
        store = RenderedStore(
            list(graphs.values()),
            Rendering(folder / SCENES) if rendering is None else rendering,
            objects,
            list(training_scans),
        )
        objects = store.categories
    else:
        store, objects = open_image_features(Path(features), scans), ()
    return Surroundings(buildings, observation_tables(buildings, store), objects)


class _Part(NamedTuple):
    """What one file gives to one split."""

    split: str
    file: Path
    episodes: tuple[Episode, ...]


def check_split(folder: Path, split: str) -> Path:
    """The file of a split of a data folder. Raises DataError where there is none."""
    file = split_file(folder, split)
    if not file.exists():
        raise DataError(
            f"{folder}: no split {shown(split)} (no file {file.name});"
            f" it has {_known_splits(folder)}"
        )
    return file


def _read_splits(
    folder: Path, splits: Sequence[str], held_out: Sequence[str], only: Sequence[str]
) -> list[_Part]:
    if not splits:
        raise DataError(f"{folder}: no split asked for; it has {_known_splits(folder)}")
    if len(set(splits)) != len(splits):
        raise DataError(f"splits: {', '.join(splits)} names a split twice")
    if HELD_OUT in splits and not held_out:
        raise DataError(f"split {HELD_OUT!r} is asked for, but no building is held out; name some")
    files = {split: check_split(folder, split) for split in splits if split != HELD_OUT}
    sources = {split: split_file(folder, split) for split in HELD_OUT_SOURCES}
    if held_out or only:
        files = files | {split: file for split, file in sources.items() if file.exists()}
    episodes = {split: read_r2r(file) for split, file in files.items()}
    outside = set(held_out)
    _check_known(folder, "held-out", held_out, episodes)
    _check_known(folder, "training", only, episodes)
    if both := sorted(outside & set(only)):
        raise DataError(f"{folder}: building {shown(both[0])} is held out and to be trained in")
    parts = []
    for split in splits:
        if split == HELD_OUT:
            parts += [
                _Part(split, files[source], _of(episodes[source], outside, True))
                for source in HELD_OUT_SOURCES
                if source in files
            ]
        else:
            kept = episodes[split]
            if split in HELD_OUT_SOURCES:
                kept = _of(kept, outside, False)
                kept = _of(kept, set(only), True) if only else kept
            parts.append(_Part(split, files[split], kept))
    return parts


def _check_ids(folder: Path, splits: Sequence[str], parts: Sequence[_Part]) -> None:
    for split in splits:
        ids = [e.episode_id for part in parts if part.split == split for e in part.episodes]
        if not ids:
            raise DataError(f"{folder}: split {shown(split)} has no episodes left")
        if len(set(ids)) != len(ids):
            twice = max(ids, key=ids.count)
            raise DataError(
                f"{folder}: split {shown(split)}: episode {twice} is in two of its files"
            )


def _check_told(parts: Sequence[_Part]) -> None:
    for part in parts:
        if part.split == "train" and part.episodes and all(e.blind for e in part.episodes):
            raise DataError(
                f"{part.file}: its paths are of one viewpoint, the start, as in a blind test split;"
                " name it otherwise and train on paths that reach their goals"
            )


def _of(episodes: Sequence[Episode], scans: set[str], inside: bool) -> tuple[Episode, ...]:
    return tuple(episode for episode in episodes if (episode.scan in scans) == inside)


def _known_splits(folder: Path) -> str:
    if known := splits_of(folder):
        return f"{', '.join(known)}, and {HELD_OUT} where buildings are held out"
    walked = splits_in(folder)
    meant = " but those of R2R-CE, which are walked in 3-D scenes (--env continuous)"
    return f"none{meant if walked else ' (no R2R_*.json)'}"


def _check_known(
    folder: Path, kind: str, scans: Sequence[str], episodes: Mapping[str, Sequence[Episode]]
) -> None:
    known = sorted({e.scan for s in HELD_OUT_SOURCES for e in episodes.get(s, ())})
    for scan in scans:
        if scan not in known:
            raise DataError(
                f"{folder}: {kind} building {shown(scan)} is in neither train nor"
                f" val_seen{nearest_name(scan, known)}"
            )


def nearest_name(name: str, known: Sequence[str]) -> str:
    """ "; the nearest name is ..." for a message about an unknown name; "" where none is known."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest name is {near[0]}" if near else ""


def _training_scans(folder: Path, held_out: Sequence[str], only: Sequence[str]) -> list[str]:
    file = split_file(folder, "train")
    if not file.exists():
        return []
    return sorted(only or {episode.scan for episode in read_r2r(file)} - set(held_out))


def _box_source(folder: Path) -> Path:
    for name in ("BBox", "BBox.tar.gz"):
        if (folder / name).exists():
            return folder / name
    raise DataError(f"{folder}: semantic features need BBox/ or BBox.tar.gz (REVERIE's boxes)")
