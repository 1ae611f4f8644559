"""A route task as files: preference pairs in TRL's JSONL format, examples, and the houses.

train.jsonl, test.jsonl    `prompt`, `chosen`, `rejected`, and behind them what is true of the
                           pair: `flipped`, `longer_chosen`, `house`, `path`, `heading`
clean.jsonl, mixed.jsonl   `prompt`, `completion`: the supervised start
houses.json                the houses of train and test, for the judge
task.json                  the configuration
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from envs.houses.dataset import read_houses, write_houses_file
from envs.houses.route_task import Example, RoutePair, RouteTask, RouteTaskConfig, make_route_task
from envs.houses.routes import Route
from rayforge.errors import DataError
from rayforge.files import whole_folder
from rayforge.readers.faults import kind_of, reading, shown
from rayforge.readers.json_text import read_json, read_json_lines

TASK_FILE = "task.json"
_FORMAT = "rayforge-routes-1"


def kept_route_task(cache: Path, config: RouteTaskConfig) -> RouteTask:
    """The task of a configuration, generated once (some 20 s) and then read from `cache`.

    The folder's name is a hash of the configuration and of the code that generates.

    Raises:
        DataError: the cache cannot be written, or what lies in it was spoilt.
    """
    folder = cache / f"routes-{config_digest(config)}"
    if (folder / TASK_FILE).is_file():
        return read_route_task(folder)
    task = make_route_task(config)
    try:
        write_route_task(folder, task)
    except DataError:
        if not (folder / TASK_FILE).is_file():  # else another process wrote it meanwhile
            raise
    return task


def config_digest(config: RouteTaskConfig) -> str:
    """16 digits that change with the configuration and with the code that generates."""
    digest = hashlib.sha256(json.dumps([_FORMAT, asdict(config)]).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def write_route_task(folder: Path, task: RouteTask) -> None:
    """Write a task into a new folder, whole or not at all; the same task gives the same bytes.

    Raises:
        DataError: the folder is there already and not empty, or cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty; name a new folder for the route task")
    try:
        with whole_folder(folder) as part:
            _write(part, task)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _write(folder: Path, task: RouteTask) -> None:
    for name, pairs in (("train", task.train), ("test", task.test)):
        _write_lines(folder / f"{name}.jsonl", map(_pair_record, pairs))
    for name, examples in (("clean", task.clean), ("mixed", task.mixed)):
        records = ({"prompt": e.prompt, "completion": e.response} for e in examples)
        _write_lines(folder / f"{name}.jsonl", records)
    seed = task.config.seed
    write_houses_file(folder, task.houses.values(), seed=seed, train_houses=len(task.houses))
    head = {"format": _FORMAT, "config": asdict(task.config)}
    (folder / TASK_FILE).write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")


def _pair_record(pair: RoutePair) -> dict[str, Any]:
    return {
        "prompt": pair.route.prompt,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "flipped": pair.flipped,
        "longer_chosen": pair.longer_chosen,
        "house": pair.route.house,
        "path": pair.route.path,
        "heading": pair.route.heading,
    }


def _write_lines(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    file.write_text(text, encoding="utf-8")


def read_route_task(folder: Path) -> RouteTask:
    """The task of a folder that `write_route_task` wrote.

    Raises:
        DataError: a file is missing, of another format, or a record in it is malformed.
    """
    file = folder / TASK_FILE
    head = read_json(file)
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise DataError(f"{file}: not a route task of format {_FORMAT!r}; make the folder again")
    known = {f.name for f in fields(RouteTaskConfig)}
    settings = head.get("config")
    if not isinstance(settings, dict) or set(settings) != known:
        raise DataError(f"{file}: config must have the keys {', '.join(sorted(known))}")
    with reading(f"{file}: config", remedy="make the folder again"):
        config = RouteTaskConfig(**{**settings, "mistaken": tuple(settings["mistaken"])})
    return RouteTask(
        config=config,
        houses=read_houses(folder),
        train=tuple(_pair(*line) for line in read_json_lines(folder / "train.jsonl")),
        test=tuple(_pair(*line) for line in read_json_lines(folder / "test.jsonl")),
        clean=tuple(_example(*line) for line in read_json_lines(folder / "clean.jsonl")),
        mixed=tuple(_example(*line) for line in read_json_lines(folder / "mixed.jsonl")),
    )


def _pair(place: str, record: Any) -> RoutePair:
    texts = ("prompt", "chosen", "rejected", "house")
    kinds = {**dict.fromkeys(texts, str), "flipped": bool, "longer_chosen": bool, "path": list}
    _check(place, record, {**kinds, "heading": float})
    path = tuple(map(str, record["path"]))
    route = Route(record["house"], path, record["heading"], record["prompt"])
    return RoutePair(
        route, record["chosen"], record["rejected"], record["flipped"], record["longer_chosen"]
    )


def _example(place: str, record: Any) -> Example:
    _check(place, record, {"prompt": str, "completion": str})
    return Example(record["prompt"], record["completion"])


def _check(place: str, record: Any, kinds: Mapping[str, type]) -> None:
    if not isinstance(record, dict):
        raise DataError(f"{place}: expected an object, found {kind_of(record)}")
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            found = shown(record[key]) if key in record else "nothing"
            raise DataError(f"{place}: {key} must be of type {kind.__name__}, found {found}")
