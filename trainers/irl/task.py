"""The task a run learns: buildings, what is seen in them, and demonstrations as paths."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import ray

from envs.episodes.episode import Episode
from envs.graph.buildings import Buildings, heading_bin
from envs.graph.navigation_data import SCENES, NavigationData, read_navigation_data
from envs.graph.observation import ObservationTables
from envs.graph.rendered_features import Rendering
from envs.graph.shortest_paths import other_ways
from envs.graph.simulator import GraphSimulator
from rayforge.errors import DataError
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.irl.batches import batch_rows
from rayforge.irl.demonstrations import Demonstrations
from rayforge.language.vocabulary import END, PAD, Vocabulary
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GraphObserver
from trainers.irl.config import IRLConfig
from trainers.irl.rollout import Goals, GraphAgents

HELD_BACK = "held_back"
"""The split of training buildings' instructions that nothing is trained on."""


@dataclass(frozen=True)
class World:
    """What every process of a run reads: about a hundred megabytes for R2R's buildings."""

    buildings: Buildings
    tables: ObservationTables
    kind: ClassVar[type[Paths]] = Paths

    @property
    def dimension(self) -> int:
        """Features of a view."""
        return self.tables.dimension

    def observer(self, config: IRLConfig) -> GraphObserver:
        return GraphObserver.from_tables(self.tables, config.max_steps)

    def agents(self, config: IRLConfig, observer: GraphObserver) -> GraphAgents:
        return GraphAgents(observer, GraphSimulator(self.buildings, config.max_steps))

    def goals(self, paths: Paths) -> Goals:
        return Goals.of(paths)

    def other_ways(
        self, config: IRLConfig, paths: Paths, count: int, rng: np.random.Generator
    ) -> tuple[Paths, np.ndarray]:
        """For each path `count` others from the same start, see `envs.graph.shortest_paths`."""
        return other_ways(self.buildings, paths, count, config.max_steps, rng)


class Shared:
    """A read-only value that every process of a run shares: in place here, once in Ray's store.

    RLlib copies its configuration many times over; copies of this hold the same value.
    """

    def __init__(self, value: Any = None, reference: ray.ObjectRef | None = None) -> None:
        self._value = value
        self._reference = reference

    def get(self) -> Any:
        if self._value is None:
            self._value = ray.get(self._reference)
        return self._value

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reference is None:
            self._reference = ray.put(self._value)
        return Shared, (None, self._reference)


def hold_back(
    splits: dict[str, Demonstrations], share: float, source: str
) -> dict[str, Demonstrations]:
    """Splits with that share of the reference paths of `train` taken out of it, at least one, and
    their instructions as the split `held_back` at the end. Which ones does not depend on a seed.

    Raises DataError, naming `source`, where no path would be left to train on.
    """
    train = splits["train"]
    routes = int(train.route.max(initial=-1)) + 1
    count = max(1, round(share * routes))
    if count >= routes:
        raise DataError(
            f"{source}: held_back {share} of {routes} training paths leaves none to train on; hold "
            "less back"
        )
    out = np.isin(train.route, np.random.default_rng(0).permutation(routes)[:count])
    kept = replace(train.take(np.flatnonzero(~out)), cut=train.cut)
    return {**splits, "train": kept, HELD_BACK: train.take(np.flatnonzero(out))}


def demonstrations(
    episodes: Sequence[Episode],
    buildings: Buildings,
    vocabulary: Vocabulary,
    config: IRLConfig,
    source: str,
) -> Demonstrations:
    """Episodes as padded arrays; `source` says in errors where they are from.

    Raises DataError where a reference path needs more actions than `max_steps`.
    """
    count = len(episodes)
    longest = max((len(e.path) for e in episodes), default=1)
    if longest > config.max_steps:
        worst = next(e for e in episodes if len(e.path) == longest)
        raise DataError(
            f"{source}, building {worst.scan}, episode {worst.episode_id}: its path takes "
            f"{longest} actions (STOP included), but max_steps is {config.max_steps}: raise it"
        )
    viewpoint = np.zeros((count, longest), np.int32)
    heading = np.zeros((count, longest), np.int8)
    action = np.zeros((count, longest), np.int8)
    for row, episode in enumerate(episodes):
        places = [buildings.index(episode.scan, name) for name in episode.path]
        facing = int(heading_bin(episode.heading))
        for step, place in enumerate(places):
            viewpoint[row, step], heading[row, step] = place, facing
            if step + 1 < len(places):
                slot = int(np.flatnonzero(buildings.neighbours[place] == places[step + 1])[0])
                action[row, step] = 1 + slot
                facing = int(heading_bin(buildings.heading[place, slot]))
    tokens, cut = encode(episodes, vocabulary, config)
    length = np.array([len(e.path) for e in episodes], np.int16)
    paths = Paths(viewpoint, heading, action, length, tokens)
    goal = viewpoint[np.arange(count), np.maximum(length - 1, 0)] if count else np.zeros(0, int)
    numbers: dict[tuple[str, ...], int] = {}
    route = [numbers.setdefault((e.scan, *e.path), len(numbers)) for e in episodes]
    return Demonstrations(
        tuple(episodes), paths, goal.astype(np.int32), cut,
        buildings.building[viewpoint[:, 0]], np.array(route, np.int64),
    )  # fmt: skip


def encode(
    episodes: Sequence[Any], vocabulary: Vocabulary, config: IRLConfig
) -> tuple[np.ndarray, int]:
    """Their instructions as tokens int16 [n, N], and how many were cut at the limit."""
    tokens, cut = vocabulary.encode([e.instruction for e in episodes], config.max_words)
    if not config.text:
        tokens[:] = PAD
        tokens[:, 0] = END
    return tokens, cut


@dataclass(frozen=True)
class Task:
    """A data set read for a configuration."""

    data: NavigationData
    vocabulary: Vocabulary
    splits: dict[str, Demonstrations]

    @property
    def world(self) -> World:
        return World(self.data.buildings, self.data.tables)

    @property
    def folder(self) -> Path:
        return self.data.folder

    @property
    def objects(self) -> tuple[str, ...]:
        """Names that an agent tells apart."""
        return self.data.objects

    def batch(self, size: int, seed: int, number: int) -> np.ndarray:
        """Rows int64 [<= size] of training pairs in supervised update `number`."""
        return batch_rows(self._words, size, seed, number)

    @cached_property
    def _words(self) -> np.ndarray:
        """Tokens of each training sentence, int64 [n]."""
        count: np.ndarray = (self.splits["train"].paths.tokens != PAD).sum(1)
        return count

    def draw(self, rng: np.random.Generator, count: int, chunk: int) -> np.ndarray:
        """Rows int64 [count] of training pairs to roll out."""
        return rng.integers(len(self.splits["train"]), size=count)

    def reached(self, split: Demonstrations, rows: np.ndarray, paths: Paths) -> np.ndarray:
        """Which paths, that answer these rows, are a success by R2R's rules, bool [n]."""
        ends = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
        metres: np.ndarray = self.data.buildings.distance(ends, split.goal[rows])
        return metres < SUCCESS_METRES

    def advice(
        self, split: Demonstrations, rows: np.ndarray, paths: Paths, limit: int
    ) -> np.ndarray:
        """What the shortest path to the goals of `rows` would do in each state of `paths` that
        answer them, int8 [n, T]: STOP at the goal, as the last of `limit` actions, and in the
        padding."""
        steps = np.arange(paths.action.shape[1])
        goes_on = (steps < paths.length[:, None]) & (steps < limit - 1)
        goal = split.goal[rows][:, None]
        slot = self.data.buildings.next_slot(np.where(goes_on, paths.viewpoint, goal), goal)
        return (slot + 1).astype(np.int8)

    def new_sights(self, capacity: int) -> None:
        """Graphs have features in tables and no images."""

    def film(self, paths: Paths) -> None:
        """Graphs have features in tables and no images."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what a checkpoint's numbers refer to: the viewpoints and the training paths
        with their sentences."""
        digest = hashlib.sha256("\n".join(self.data.buildings.viewpoint_ids).encode())
        paths = self.splits["train"].paths
        for f in fields(paths):
            digest.update(getattr(paths, f.name).tobytes())
        return digest.hexdigest()


def read_task(
    folder: Path,
    config: IRLConfig,
    splits: Sequence[str],
    vocabulary: Vocabulary | None = None,
    objects: tuple[str, ...] | None = None,
) -> Task:
    """Read a folder's splits; words and object names come from `train` unless they are given.

    Raises DataError as the readers do, naming file and record.
    """
    data = read_navigation_data(
        folder,
        splits=splits,
        held_out=config.held_out,
        only=config.buildings,
        features=config.features,
        neighbour_rooms=config.neighbour_rooms,
        objects=objects,
        rendering=Rendering(
            Path(config.scenes) if config.scenes else Path(folder) / SCENES,
            config.simulator,
            config.simulation,
        ),
        further=Path(config.further) if config.further else None,
    )
    if vocabulary is None:
        texts = [episode.instruction for episode in data.splits["train"]]
        vocabulary = Vocabulary.from_texts(texts, config.min_word_count)
    return Task(
        data,
        vocabulary,
        {
            name: demonstrations(
                episodes, data.buildings, vocabulary, config, f"{folder}: split {name}"
            )
            for name, episodes in data.splits.items()
        },
    )
