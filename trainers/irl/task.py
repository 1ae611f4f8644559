"""The task a run learns: a world, and demonstrations in it as trajectories."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import ray

from envs.continuous.demonstrations import filmed, walked
from envs.continuous.images import Images, categories_of
from envs.continuous.walks import Walk
from envs.continuous.world import SceneWorld
from envs.episodes.continuous_episode import ContinuousEpisode
from envs.episodes.episode import Episode
from envs.episodes.r2r_ce import check_scenes, read_r2r_ce_split, splits_in
from envs.graph.buildings import Buildings, heading_bin
from envs.graph.navigation_data import (
    HELD_OUT,
    HELD_OUT_SOURCES,
    SCENES,
    read_navigation_data,
)
from envs.graph.rendered_features import Rendering
from envs.graph.world import GraphWorld
from rayforge.errors import DataError
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.world import World
from rayforge.language.vocabulary import END, PAD, Vocabulary
from rayforge.paths.arrays import Paths, Walks
from trainers.irl.completing import read_completion
from trainers.irl.config import IRLConfig
from trainers.irl.source import source_words

FIRST_PATH_ID = 1_000_000_000
"""Path ids of the pairs that an adaptation makes; those of data sets are smaller."""
HELD_BACK = "held_back"
"""The split of training buildings' instructions that nothing is trained on."""


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
    their instructions as the split `held_back` at the end. Which ones does not depend on a seed,
    nor on pairs that an adaptation made: an adapted run holds back what the run before it did.

    Raises DataError, naming `source`, where no path would be left to train on.
    """
    train = splits["train"]
    made = np.array([_made_here(episode) for episode in train.episodes], bool)
    routes = len(np.unique(train.route[~made]))  # they are numbered first
    count = max(1, round(share * routes))
    if count >= routes:
        raise DataError(
            f"{source}: held_back {share} of {routes} training paths leaves none to train on; hold "
            "less back"
        )
    out = np.isin(train.route, np.random.default_rng(0).permutation(routes)[:count]) & ~made
    kept = replace(train.take(np.flatnonzero(~out)), cut=train.cut)
    return {**splits, "train": kept, HELD_BACK: train.take(np.flatnonzero(out))}


def _made_here(episode: Any) -> bool:
    number = getattr(episode, "path_id", 0)
    return isinstance(number, int) and number >= FIRST_PATH_ID


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


W = TypeVar("W", bound=World[Any])


@dataclass(frozen=True)
class Task(Generic[W]):
    """A data set read for a configuration."""

    folder: Path
    vocabulary: Vocabulary
    splits: dict[str, Demonstrations]
    world: W
    data: Any = field(default=None, repr=False)
    """What navigation graphs were read as (`NavigationData`)."""

    @property
    def objects(self) -> tuple[str, ...]:
        """Names that an agent tells apart."""
        return self.world.objects

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what a checkpoint's numbers refer to: the world's places and the training
        trajectories with their instructions."""
        digest = hashlib.sha256("\n".join(self.world.identity).encode())
        for array in self.splits["train"].paths.arrays().values():
            digest.update(array.tobytes())
        return digest.hexdigest()


def read_task(
    folder: Path, config: IRLConfig, splits: Sequence[str], vocabulary: Vocabulary | None = None,
    objects: tuple[str, ...] | None = None, *, blind: bool = False,
) -> Task[Any]:  # fmt: skip
    """Read a folder's splits for the configuration's `env`.

    Words and object names are those given, or those of the run that this one begins from, or come
    from `train`. `blind`: whether a split whose goals are not told may be among `splits`, for a
    leaderboard's file; nothing can be scored on one.

    Raises DataError as the readers do, naming file, record and remedy, and for episodes without a
    goal.
    """
    if vocabulary is None and (words := source_words(config)) is not None:
        vocabulary, objects = words
    task: Task[Any]
    if config.env == "continuous":
        task = read_scene_task(folder, config, splits, vocabulary, objects)
    else:
        known = objects if config.features in ("semantic", "rendered") else None
        task = read_graph_task(folder, config, splits, vocabulary, known)
    for name in splits:
        _check_goals(task, name, blind)
    if config.held_back and "train" in task.splits:
        task = replace(task, splits=hold_back(task.splits, config.held_back, str(folder)))
    if config.shuffled_text and "train" in task.splits:
        train = task.splits["train"]
        others = shuffled(train.building, train.route, config.seed)
        told = replace(train, paths=train.paths.with_tokens(train.paths.tokens[others]))
        task = replace(task, splits={**task.splits, "train": told})
    return task


def _check_goals(task: Task[Any], name: str, blind: bool) -> None:
    """Refuse what would be scored against the start: episodes whose goal is a leaderboard's secret.

    A path of one viewpoint in the training split is a demonstration of STOP.
    """
    split = task.splits[name]
    if name == "train" or (blind and split.blind):
        return
    without = [e.episode_id for e in split.episodes if e.blind]
    if not without:
        return
    if split.blind:
        raise DataError(
            f"split {name} of {task.folder} has starts and no goals, as a blind test split: "
            f"nothing can be scored on it; `rayforge irl evaluate RUN --split {name}` writes the "
            "file for its leaderboard"
        )
    raise DataError(
        f"split {name} of {task.folder}: {len(without)} of {len(split)} episodes have a start and "
        f"no goal, the first is {without[0]}; put them into a split of their own"
    )


def shuffled(building: np.ndarray, route: np.ndarray, seed: int) -> np.ndarray:
    """For each row of buildings and paths, int [n], a row of another path, near if possible."""
    rng = np.random.default_rng(seed)
    rows = np.arange(len(building))
    other = rows.copy()
    for row in rows:
        near = rows[(building == building[row]) & (route != route[row])]
        choice = near if len(near) else rows[route != route[row]]
        other[row] = rng.choice(choice) if len(choice) else row
    return other


def read_graph_task(
    folder: Path, config: IRLConfig, splits: Sequence[str], vocabulary: Vocabulary | None = None,
    objects: tuple[str, ...] | None = None,
) -> Task[GraphWorld]:  # fmt: skip
    """`read_task` of navigation graphs, as the splits stand there."""
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
        extra_demonstrations=Path(config.extra_demonstrations)
        if config.extra_demonstrations
        else None,
    )
    if vocabulary is None:
        texts = [episode.instruction for episode in data.splits["train"]]
        vocabulary = Vocabulary.from_texts(texts, config.min_word_count)
    world = GraphWorld(data.buildings, data.tables, config.max_steps, data.objects)
    parts = {
        name: demonstrations(
            episodes, data.buildings, vocabulary, config, f"{folder}: split {name}"
        )
        for name, episodes in data.splits.items()
    }
    return Task(data.folder, vocabulary, parts, world, data)


def read_scene_task(
    folder: Path,
    config: IRLConfig,
    splits: Sequence[str],
    vocabulary: Vocabulary | None = None,
    objects: tuple[str, ...] | None = None,
) -> Task[SceneWorld]:
    """`read_task` of 3-D scenes, as the splits stand there.

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
    world = SceneWorld(
        where, scenes, objects or (), None, config.simulation, config.simulator,
        config.simulator_processes, config.open_scenes, config.max_walk,
    )  # fmt: skip
    homes = world.new_homes()
    try:
        if objects is None:
            training = tuple(sorted({e.scene for e in episodes.get("train", ())})) or scenes
            names = replace(world, scenes=training).new_homes()
            objects = categories_of(names)
            names.close()
        if vocabulary is None:
            texts = [episode.instruction for episode in episodes["train"]]
            vocabulary = Vocabulary.from_texts(texts, config.min_word_count)
        world = replace(world, objects=objects)
        done, frame_file = {}, None
        for name, part in episodes.items():
            unique, route = _routes(part)
            walks = walked(homes, config.simulation, config.simulator, config.max_walk, unique)
            done[name] = _demonstrations(part, walks, route, scenes, vocabulary, config)
            if name == "train":
                images = Images(homes, config.simulation.camera, objects)
                numbers = _scene_numbers(unique, scenes)
                frame_file = filmed(images, config.simulation, config.simulator, walks, numbers)
    finally:
        homes.close()
    completion = read_completion(config, vocabulary, objects)
    world = replace(world, frame_file=frame_file, completion=completion)
    return Task(folder, vocabulary, done, world)


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
    arrays = {**every[route].arrays(), "frames": route.astype(np.int32), "tokens": tokens}
    paths = Walks(**{**arrays, "scene": building.astype(np.int16)})
    goal = np.array([e.goal for e in episodes], np.float32)
    return Demonstrations(tuple(episodes), paths, goal, cut, building, route)
