"""The task in 3-D scenes: episodes of R2R-CE, the expert's walks, and what was seen along them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from envs.continuous.homes import Homes
from envs.continuous.images import Images, categories_of
from envs.continuous.walks import Walk
from envs.episodes.continuous_episode import ContinuousEpisode
from envs.episodes.r2r_ce import check_scenes, read_r2r_ce_split, splits_in
from envs.graph.navigation_data import HELD_OUT, HELD_OUT_SOURCES, SCENES
from envs.simulators.opening import open_simulator
from rayforge.errors import DataError
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.irl.batches import batch_rows
from rayforge.irl.demonstrations import Demonstrations
from rayforge.language.vocabulary import Vocabulary
from rayforge.paths.arrays import Walks
from rayforge.paths.sights import Footage, Sights
from rayforge.paths.walk_observation import WalkObserver
from trainers.irl.config import IRLConfig
from trainers.irl.footage import film, filmed, walked
from trainers.irl.home_agents import HomeAgents
from trainers.irl.task import encode

TOGETHER = 128
"""Roll-outs whose images a process holds at once."""
SCENES_AT_ONCE = 4
"""Scenes that a chunk of roll-outs is drawn from: its agents share simulators and render calls."""


@dataclass(frozen=True)
class HomesWorld:
    """What every process of a run reads: scenes, categories and the demonstrations' images."""

    folder: Path
    """Below which the scenes lie."""
    scenes: tuple[str, ...]
    categories: tuple[str, ...]
    footage: Footage | None = field(repr=False)
    kind: ClassVar[type[Walks]] = Walks

    @property
    def dimension(self) -> None:
        """Images have no features before the agent's eye makes them."""

    def homes(self, config: IRLConfig) -> Homes:
        opened = partial(
            open_simulator, kind=config.simulator, config=config.simulation,
            own_process=config.simulator_processes,
        )  # fmt: skip
        kept = config.open_scenes
        if config.simulator == "habitat":
            kept = min(kept, SCENES_AT_ONCE)  # each is a process with a GL context
        return Homes(self.folder, self.scenes, opened, kept)

    def observer(self, config: IRLConfig) -> WalkObserver:
        sights = Sights(self.footage, TOGETHER)
        return WalkObserver(sights, config.simulation.motion.turn, config.max_walk)

    def agents(
        self, config: IRLConfig, observer: WalkObserver, homes: Homes | None = None,
        keep: bool = True,
    ) -> HomeAgents:  # fmt: skip
        """Agents that roll out; `keep`: whether what they saw is wanted afterwards."""
        homes = self.homes(config) if homes is None else homes
        images = Images(homes, config.simulation.camera, self.categories)
        return HomeAgents(homes, images, observer, config.simulation.motion, keep)

    def goals(self, walks: Walks) -> Walks:
        return walks

    def other_ways(
        self, config: IRLConfig, walks: Walks, count: int, rng: np.random.Generator
    ) -> None:
        """None: what would be seen along them would have to be rendered first."""


@dataclass(frozen=True)
class HomesTask:
    """A data set read for a configuration; what algorithm and run ask of a task."""

    config: IRLConfig
    folder: Path
    vocabulary: Vocabulary
    splits: dict[str, Demonstrations]
    world: HomesWorld

    @property
    def objects(self) -> tuple[str, ...]:
        """Names that an agent tells apart."""
        return self.world.categories

    @cached_property
    def homes(self) -> Homes:
        """The scenes, opened in this process as they are needed."""
        return self.world.homes(self.config)

    @cached_property
    def images(self) -> Images:
        return Images(self.homes, self.config.simulation.camera, self.world.categories)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what a checkpoint's numbers refer to: scenes and training walks."""
        digest = hashlib.sha256("\n".join((*self.world.scenes, *self.world.categories)).encode())
        for array in self.splits["train"].paths.arrays().values():
            digest.update(array.tobytes())
        return digest.hexdigest()

    def batch(self, size: int, seed: int, number: int) -> np.ndarray:
        """Rows int64 [about `size`] of training pairs in supervised update `number`: all sentences
        of some walks of like length, so that one look at a walk serves them all."""
        told, lengths = self._told
        return np.concatenate([told[k] for k in batch_rows(
            lengths, max(1, size * len(told) // len(self.splits["train"])), seed, number
        )])  # fmt: skip

    @cached_property
    def _told(self) -> tuple[list[np.ndarray], np.ndarray]:
        """The rows of each training walk's sentences, and its number of actions int64 [walks]."""
        train = self.splits["train"]
        order = np.argsort(train.route, kind="stable")
        counts = np.bincount(train.route)
        told = np.split(order, np.cumsum(counts)[:-1])
        return told, np.array([int(train.paths.length[rows[0]]) for rows in told])

    def draw(self, rng: np.random.Generator, count: int, chunk: int) -> np.ndarray:
        """Rows int64 [count] of training pairs to roll out: few scenes in each `chunk` of them."""
        building = self.splits["train"].building
        rows = []
        for start in range(0, count, chunk):
            size = min(chunk, count - start)
            scenes = building[rng.integers(len(building), size=SCENES_AT_ONCE)]
            rows.append(rng.choice(np.flatnonzero(np.isin(building, scenes)), size=size))
        return np.concatenate(rows)

    def reached(self, split: Demonstrations, rows: np.ndarray, walks: Walks) -> np.ndarray:
        """Which walks, that answer these rows, are a success by R2R-CE's rules, bool [n]."""
        ends = walks.position[np.arange(len(walks)), walks.length - 1]
        metres = self.homes.geodesic_distance(walks.scene.astype(int), ends, split.goal[rows])
        return (metres < SUCCESS_METRES) & (walks.length < self.config.max_walk)

    def new_sights(self, capacity: int) -> Sights:
        """Where a learner finds images: the demonstrations' and those of kept roll-outs."""
        return Sights(self.world.footage, capacity)

    def film(self, walks: Walks) -> list[np.ndarray]:
        """What was seen along walks, uint8 [T, H, W, C] each: rendered again from their poses."""
        return film(self.images, [_walk_of(walks, row) for row in range(len(walks))],
                    walks.scene.astype(int))  # fmt: skip


def _walk_of(walks: Walks, row: int) -> Walk:
    steps = slice(0, int(walks.length[row]))
    return Walk(
        walks.position[row, steps], walks.yaw[row, steps], walks.action[row, steps],
        walks.moved[row, steps],
    )  # fmt: skip


def read_homes_task(
    folder: Path,
    config: IRLConfig,
    splits: Sequence[str],
    vocabulary: Vocabulary | None = None,
    categories: tuple[str, ...] | None = None,
) -> HomesTask:
    """Read a folder's splits; words and categories come from `train` unless they are given.

    The expert walks every episode once, and what it sees on the training episodes is rendered
    once; both are kept in the user's cache.

    Raises:
        DataError: as the readers do, naming file, record and remedy.
        SceneError: a scene that cannot be used, or an episode that does not fit its scene.
    """
    where = Path(config.scenes) if config.scenes else folder / SCENES
    episodes = _read_splits(folder, config, splits)
    episodes = {
        name: check_scenes(part, where, skip_missing=config.skip_missing)
        for name, part in episodes.items()
    }
    scenes = tuple(sorted({e.scene for part in episodes.values() for e in part}))
    world = HomesWorld(where, scenes, categories or (), None)
    homes = world.homes(config)
    try:
        if categories is None:
            training = tuple(sorted({e.scene for e in episodes.get("train", ())})) or scenes
            names = world.homes(config) if training == scenes else replace(
                world, scenes=training).homes(config)  # fmt: skip
            categories = categories_of(names)
            names.close()
        if vocabulary is None:
            texts = [episode.instruction for episode in episodes["train"]]
            vocabulary = Vocabulary.from_texts(texts, config.min_word_count)
        world = replace(world, categories=categories)
        done, footage = {}, None
        for name, part in episodes.items():
            unique, route = _routes(part)
            walks = walked(homes, config, unique)
            done[name] = _demonstrations(part, walks, route, scenes, vocabulary, config)
            if name == "train":
                images = Images(homes, config.simulation.camera, categories)
                footage = filmed(images, config, walks, _scene_numbers(unique, scenes))
    finally:
        homes.close()
    return HomesTask(config, folder, vocabulary, done, replace(world, footage=footage))


def _read_splits(
    folder: Path, config: IRLConfig, splits: Sequence[str]
) -> dict[str, tuple[ContinuousEpisode, ...]]:
    """Episodes by split; `held_out` are those of training's buildings that are kept out of it."""
    outside, only = set(config.held_out), set(config.buildings)
    names = {name for name in splits if name != HELD_OUT}
    if outside or only:
        names |= set(HELD_OUT_SOURCES) & set(splits_in(folder))
    read = {name: read_r2r_ce_split(folder, name) for name in sorted(names)}
    known = {e.scan for name in HELD_OUT_SOURCES for e in read.get(name, ())}
    for kind, named in (("held-out", outside), ("training", only - outside)):
        if unknown := sorted(named - known):
            raise DataError(
                f"{folder}: {kind} building {unknown[0]!r} has no episode in train or val_seen"
            )
    if both := sorted(outside & only):
        raise DataError(f"{folder}: building {both[0]!r} is held out and to be trained in")
    if HELD_OUT in splits and not outside:
        raise DataError(f"split {HELD_OUT!r} is asked for, but no building is held out; name some")
    parts: dict[str, tuple[ContinuousEpisode, ...]] = {}
    for name in dict.fromkeys(splits):
        if name == HELD_OUT:
            found = [e for source in HELD_OUT_SOURCES for e in read.get(source, ())]
            parts[name] = tuple(e for e in found if e.scan in outside)
        else:
            kept = read[name]
            if name in HELD_OUT_SOURCES:
                kept = tuple(e for e in kept if e.scan not in outside)
                kept = tuple(e for e in kept if e.scan in only) if only else kept
            parts[name] = kept
        if not parts[name]:
            raise DataError(f"{folder}: split {name!r} has no episodes left")
    return parts


def _routes(
    episodes: Sequence[ContinuousEpisode],
) -> tuple[list[ContinuousEpisode], np.ndarray]:
    """One episode for each different walk, and the walk's number of every episode, int64 [n]."""
    numbers: dict[tuple[object, ...], int] = {}
    unique: list[ContinuousEpisode] = []
    route = []
    for e in episodes:
        key = (e.scene, e.start, e.yaw, e.reference_path, e.goal, e.actions)
        if key not in numbers:
            numbers[key] = len(unique)
            unique.append(e)
        route.append(numbers[key])
    return unique, np.array(route, np.int64)


def _scene_numbers(episodes: Sequence[ContinuousEpisode], scenes: Sequence[str]) -> np.ndarray:
    numbers = {scene: k for k, scene in enumerate(scenes)}
    return np.array([numbers[episode.scene] for episode in episodes], np.int64)


def _demonstrations(
    episodes: Sequence[ContinuousEpisode],
    walks: Sequence[Walk],
    route: np.ndarray,
    scenes: Sequence[str],
    vocabulary: Vocabulary,
    config: IRLConfig,
) -> Demonstrations:
    """Episodes with their walks as padded arrays; sight number k is walk k."""
    longest = max(len(walk.action) for walk in walks)
    every = Walks.zeros(len(walks), longest, 1)
    for row, walk in enumerate(walks):
        steps = slice(0, len(walk.action))
        every.position[row, steps], every.yaw[row, steps] = walk.position, walk.yaw
        every.action[row, steps], every.moved[row, steps] = walk.action, walk.moved
        every.length[row] = len(walk.action)
    tokens, cut = encode(episodes, vocabulary, config)
    building = _scene_numbers(episodes, scenes)
    arrays = {**every[route].arrays(), "sights": route.astype(np.int32), "tokens": tokens}
    paths = Walks(**{**arrays, "scene": building.astype(np.int16)})
    goal = np.array([e.goal for e in episodes], np.float32)
    return Demonstrations(tuple(episodes), paths, goal, cut, building, route)
