"""R2R in continuous environments: habitat-lab's episode files of type ``R2RVLN-v1``.

Format: Krantz et al. 2020 (R2R-CE) as habitat-lab reads it: a gzipped object with ``episodes`` and
``instruction_vocab``; beside it, where written, ``{split}_gt.json.gz`` with the ground truth, an
object of episode id -> ``actions``, ``locations`` (and ``forward_steps``, not needed here).
Positions are points of the floor in habitat's axes; ``start_rotation`` is a quaternion x, y, z, w.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from envs.episodes.continuous_episode import NO_RADIUS, ContinuousEpisode, Point
from envs.episodes.split_files import splits_of
from rayforge.errors import DataError
from rayforge.readers.content import is_blank
from rayforge.readers.faults import kind_of, one_line, shown
from rayforge.readers.json_text import read_json

EPISODE_TYPE = "R2RVLN-v1"
SCENES_PREFIX = "data/scene_datasets/"
"""habitat-lab drops it from scene ids, and so does this reader."""
_REQUIRED = (
    "episode_id",
    "trajectory_id",
    "scene_id",
    "start_position",
    "start_rotation",
    "instruction",
)
_GOAL = ("goals", "reference_path")
"""What a blind test split leaves out or empty."""
_NAME = 255
"""Characters of a file's name."""
# Where other makers of the format wrote down which one it is.
_VERSION_KEYS = ("version", "format", "type", "dataset_type")
_LAST_ACTION = 3


def read_r2r_ce(file: Path, ground_truth: Path | None = None) -> tuple[ContinuousEpisode, ...]:
    """Read one episode file, gzipped or not, in file order.

    Args:
        file: ``{split}.json.gz`` or ``{split}.json``.
        ground_truth: ``{split}_gt.json.gz``; episodes that it does not have get none.

    Raises:
        DataError: a file is missing, cut short, not JSON or of another version or format, or a
            record is malformed; names file, record and remedy.
    """
    content = read_json(file)
    records = _episode_list(file, content)
    truths = read_ground_truth(ground_truth) if ground_truth is not None else {}
    episodes: list[ContinuousEpisode] = []
    seen: dict[str, int] = {}
    for number, record in enumerate(records):
        episode = episode_from_record(f"{file}: episode {number}", record)
        if episode.episode_id in seen:
            raise DataError(
                f"{file}: episode {number} has the episode_id {shown(episode.episode_id)}"
                f" of episode {seen[episode.episode_id]}; ids are unique"
            )
        seen[episode.episode_id] = number
        if episode.episode_id in truths:
            actions, locations = truths[episode.episode_id]
            episode = replace(episode, actions=actions, locations=locations)
        episodes.append(episode)
    if truths and not any(episode_id in truths for episode_id in seen):
        raise DataError(
            f"{ground_truth}: none of its {len(truths)} episode ids is in {file}; "
            "name the ground truth of the same split"
        )
    return tuple(episodes)


def read_r2r_ce_split(folder: Path, split: str) -> tuple[ContinuousEpisode, ...]:
    """Read ``{folder}/{split}/{split}.json.gz`` (or ``.json``), with its ground truth if there.

    Raises:
        DataError: the split is not there, or `read_r2r_ce` refuses a file.
    """
    found = _either(folder / split, split)
    if found is None:
        known = ", ".join(splits_in(folder)) or (
            "none, but R2R's own files, which are walked on graphs (--env graph)"
            if splits_of(folder)
            else "none"
        )
        raise DataError(
            f"{folder / split / split}.json.gz: no such file; splits of {folder}: {known}"
        )
    return read_r2r_ce(found, _either(folder / split, f"{split}_gt"))


def splits_in(folder: Path) -> tuple[str, ...]:
    """Names of the splits in R2R-CE's layout that a folder holds, in alphabetical order."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(d.name for d in folder.iterdir() if _either(d, d.name) is not None))


def _either(folder: Path, stem: str) -> Path | None:
    for name in (f"{stem}.json.gz", f"{stem}.json"):
        if (folder / name).is_file():
            return folder / name
    return None


def read_ground_truth(file: Path) -> dict[str, tuple[tuple[int, ...], tuple[Point, ...]]]:
    """Episode id -> (actions, locations) of a ``{split}_gt.json.gz``.

    Raises:
        DataError: the file or a record is malformed.
    """
    content = read_json(file)
    if not isinstance(content, dict) or "episodes" in content:
        raise DataError(
            f"{file}: expected an object of episode id -> actions and locations,"
            f" found {kind_of(content)}{' with episodes' if isinstance(content, dict) else ''}"
        )
    truths: dict[str, tuple[tuple[int, ...], tuple[Point, ...]]] = {}
    for episode_id, record in content.items():
        place = f"{file}: episode {shown(episode_id)}"
        record = _object(place, record, "the record")
        _need(place, record, ("actions", "locations"))
        actions = _list(place, record["actions"], "actions")
        for k, action in enumerate(actions):
            if (
                isinstance(action, bool)
                or not isinstance(action, int)
                or not 0 <= action <= _LAST_ACTION
            ):
                raise DataError(
                    f"{place}: action {k} must be 0 (stop), 1 (forward), 2 (left) or 3 (right),"
                    f" found {shown(action)}"
                )
        truths[episode_id] = (tuple(actions), _points(place, record["locations"], "locations"))
    return truths


def missing_scenes(episodes: Iterable[ContinuousEpisode], folder: Path) -> tuple[str, ...]:
    """Scenes of the episodes of which `folder` has no file, each once, in alphabetical order."""
    scenes = sorted({episode.scene for episode in episodes})
    return tuple(scene for scene in scenes if not (folder / scene).is_file())


def check_scenes(
    episodes: Sequence[ContinuousEpisode], folder: Path, *, skip_missing: bool
) -> tuple[ContinuousEpisode, ...]:
    """The episodes whose scene is there.

    Args:
        folder: below which the scenes lie.
        skip_missing: leave episodes out instead of raising.

    Raises:
        DataError: scenes are missing and not to be skipped, or no episode is left; lists all of
            them, with the number of their episodes.
    """
    missing = set(missing_scenes(episodes, folder))
    kept = tuple(episode for episode in episodes if episode.scene not in missing)
    if missing and (not skip_missing or not kept):
        counts = dict.fromkeys(sorted(missing), 0)
        for episode in episodes:
            if episode.scene in missing:
                counts[episode.scene] += 1
        lines = "".join(f"\n  {scene} ({count} episodes)" for scene, count in counts.items())
        remedy = (
            "put them there, or name another scenes folder"
            if not kept
            else f"put them there, or go on with the other {len(kept)} episodes by --skip-missing"
        )
        raise DataError(
            f"{folder}: {len(missing)} scene files that {len(episodes) - len(kept)} of"
            f" {len(episodes)} episodes need are missing; {remedy}:{lines}"
        )
    return kept


def _episode_list(file: Path, content: Any) -> list[Any]:
    expected = f"expected episodes of type {EPISODE_TYPE} (R2R-CE)"
    if isinstance(content, list):
        raise DataError(
            f"{file}: {expected}, found a list of records; R2R's own files are of the graph"
            " setting (--env graph)"
        )
    if not isinstance(content, dict):
        raise DataError(f"{file}: {expected}, found {kind_of(content)}")
    for key in _VERSION_KEYS:
        if key in content and content[key] != EPISODE_TYPE:
            raise DataError(f"{file}: {expected}, found {key} {shown(content[key])}")
    if "episodes" not in content:
        values = list(content.values())
        if values and all(isinstance(v, dict) and "actions" in v for v in values):
            raise DataError(
                f"{file}: {expected}, found a ground-truth file; name the one without _gt"
            )
        raise DataError(
            f"{file}: {expected}, found no key 'episodes'; it has {shown(sorted(content))}"
        )
    records = content["episodes"]
    if not isinstance(records, list):
        raise DataError(f"{file}: episodes must be a list, found {kind_of(records)}")
    first = records[0] if records else None
    if isinstance(first, dict) and "instruction" not in first and "goals" in first:
        raise DataError(
            f"{file}: {expected}, found episodes without instruction"
            " (of point or object navigation)"
        )
    return records


def episode_from_record(place: str, record: Any) -> ContinuousEpisode:
    """One element of ``episodes``.

    Args:
        place: file and record, named in errors.

    Raises:
        DataError: the record is malformed.
    """
    record = _object(place, record, "the episode")
    _need(place, record, _REQUIRED)
    episode_id = record["episode_id"]
    if isinstance(episode_id, bool) or not isinstance(episode_id, int | str) or episode_id == "":
        raise DataError(
            f"{place}: episode_id must be a number or a text, found {shown(episode_id)}"
        )
    place = f"{place} (episode_id {one_line(episode_id)})"
    trajectory_id = record["trajectory_id"]
    if isinstance(trajectory_id, str) and trajectory_id.isdecimal() and len(trajectory_id) < 19:
        trajectory_id = int(trajectory_id)
    if isinstance(trajectory_id, bool) or not isinstance(trajectory_id, int):
        raise DataError(
            f"{place}: trajectory_id must be a whole number, found {shown(trajectory_id)}"
        )
    start = _point(place, record["start_position"], "start_position")
    blind = not any(record.get(key) for key in _GOAL)
    goal, radius, path = (start, NO_RADIUS, (start,)) if blind else _goal(place, record)
    info = _object(place, record.get("info") or {}, "info")
    distance = info.get("geodesic_distance")
    return ContinuousEpisode(
        episode_id=str(episode_id),
        trajectory_id=trajectory_id,
        scene=_scene(place, record["scene_id"]),
        start=start,
        yaw=_yaw(place, record["start_rotation"]),
        goal=goal,
        radius=radius,
        instruction=_instruction(place, record["instruction"]),
        reference_path=path,
        geodesic_distance=None
        if distance is None
        else _number(place, distance, "geodesic_distance"),
        blind=blind,
    )


def _goal(place: str, record: Mapping[str, Any]) -> tuple[Point, float, tuple[Point, ...]]:
    """The goal, metres around it that count, and the reference path."""
    _need(place, record, _GOAL)
    goals = _list(place, record["goals"], "goals")
    if len(goals) != 1:
        raise DataError(f"{place}: expected one goal, found {len(goals)}")
    goal = _object(place, goals[0], "the goal")
    _need(f"{place}: goal", goal, ("position", "radius"))
    radius = _number(place, goal["radius"], "the goal's radius")
    if radius <= 0:
        raise DataError(
            f"{place}: the goal's radius must be positive metres, found {shown(radius)}"
        )
    path = _points(place, record["reference_path"], "reference_path")
    if not path:
        raise DataError(f"{place}: reference_path is empty; it needs at least the goal")
    return _point(place, goal["position"], "the goal's position"), radius, path


def _scene(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"{place}: scene_id must be a file's name, found {shown(value)}")
    scene = value.removeprefix(SCENES_PREFIX)
    parts = PurePosixPath(scene)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{place}: scene_id must lie below the scenes folder, found {shown(value)}")
    if "\0" in scene or any(len(part) > _NAME for part in parts.parts):
        raise DataError(
            f"{place}: scene_id must be a name that a file may have, found {shown(value)}"
        )
    return scene


def _instruction(place: str, value: Any) -> str:
    instruction = _object(place, value, "instruction")
    _need(f"{place}: instruction", instruction, ("instruction_text",))
    text = instruction["instruction_text"]
    if not isinstance(text, str):
        raise DataError(f"{place}: instruction_text must be a text, found {shown(text)}")
    if is_blank(text):
        raise DataError(f"{place}: the instruction is empty; remove the episode or write one")
    return text


def _yaw(place: str, value: Any) -> float:
    """Yaw in (-pi, pi] of the direction that the quaternion turns -z into."""
    parts = _list(place, value, "start_rotation")
    if len(parts) != 4:
        raise DataError(f"{place}: start_rotation must be x, y, z, w, found {shown(value)}")
    x, y, z, w = (_number(place, part, "start_rotation") for part in parts)
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if abs(length - 1.0) > 0.01:
        raise DataError(
            f"{place}: start_rotation must be a unit quaternion x, y, z, w, found {shown(value)}"
        )
    sideways = 2 * (x * z + w * y)  # of the turned +z
    forward = 1 - 2 * (x * x + y * y)
    if math.hypot(sideways, forward) < 0.5:
        raise DataError(f"{place}: start_rotation looks up or down, found {shown(value)}")
    yaw = math.atan2(sideways, forward)
    return math.pi if yaw == -math.pi else yaw


def _points(place: str, value: Any, name: str) -> tuple[Point, ...]:
    points = _list(place, value, name)
    return tuple(_point(place, point, f"{name}[{k}]") for k, point in enumerate(points))


def _point(place: str, value: Any, name: str) -> Point:
    parts = _list(place, value, name)
    if len(parts) != 3:
        raise DataError(f"{place}: {name} must be x, y, z, found {shown(value)}")
    x, y, z = (_number(place, part, name) for part in parts)
    return (x, y, z)


def _number(place: str, value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{place}: {name} must be a number, found {shown(value)}")
    if not math.isfinite(value):
        raise DataError(f"{place}: {name} must be finite, found {shown(value)}")
    return float(value)


def _list(place: str, value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{place}: {name} must be a list, found {kind_of(value)}")
    return value


def _object(place: str, value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{place}: {name} must be an object, found {kind_of(value)}")
    return value


def _need(place: str, record: Mapping[str, Any], keys: Sequence[str]) -> None:
    missing = [key for key in keys if key not in record]
    if missing:
        raise DataError(f"{place}: missing key {shown(missing[0])}; it has {shown(sorted(record))}")
