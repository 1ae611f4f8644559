"""Frozen dataclasses to and from YAML; an unknown key is an error with the nearest right one."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import sys
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from rayforge.errors import ConfigurationError, RunError
from rayforge.readers.faults import looked_in, one_line, shown
from rayforge.readers.json_text import read_object
from rayforge.readers.yaml_text import read_yaml
from rayforge.settings import (
    FILE,
    FOLDER,
    Formerly,
    annotated,
    before_named,
    changed,
    settings_with,
    value_of,
)

T = TypeVar("T")
RUN_FILE = "config.yaml"
"""In the folder of a run."""


def read_configuration(kind: type[T], file: Path) -> T:
    """A dataclass of type `kind` from a YAML file; what the file leaves out keeps its default.

    Raises ConfigurationError for what the file holds, RunError for a folder without a run and for
    the run of another system.
    """
    if file.name == RUN_FILE and not file.exists():
        there = file.parent.is_dir()
        why = f"it has no {RUN_FILE}" if there else "there is no such folder"
        raise RunError(
            f"{file.parent} is not a run folder: {why}{'' if there else looked_in(file.parent)}"
        )
    document = read_document(file)
    try:
        return from_dict(kind, document)
    except ConfigurationError as error:
        made = _made_by(file.parent) if file.name == RUN_FILE else ""
        if made and not fits(kind, document):
            raise RunError(
                f"{file.parent} is the run of another system than is needed here: it was made by "
                f"{made}"
            ) from None
        whose = f" (the run was made by: {made})" if made else ""
        raise ConfigurationError(f"configuration {file}: {error}{whose}") from None


def fits(kind: type[Any], document: dict[str, Any]) -> bool:
    """Whether at least half of the settings in a file are names of `kind`: it is one of them then,
    of an older version perhaps."""
    names = {field.name for field in dataclasses.fields(kind)}
    known = sum(str(key).partition(".")[0] in names for key in document)
    return known >= len(document) / 2


def _made_by(run: Path) -> str:
    """The command that a run folder says it was made by, as far as it names a system."""
    try:
        words = str(read_object(run / "run.json", RunError).get("command", "")).split()
    except RunError:
        return ""
    return one_line(" ".join(words[:3]))


def read_document(file: Path) -> dict[str, Any]:
    """The settings in a YAML file as they stand there."""
    document = read_yaml(file)
    if not isinstance(document, dict):
        raise ConfigurationError(f"configuration {file} holds no settings (key: value)")
    return document


def from_dict(kind: type[T], values: dict[str, Any], place: str = "") -> T:
    """A dataclass from nested dictionaries; also accepts dotted keys ("network.hidden")."""
    types_of = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    hints = annotated(cast(Any, kind))
    old = {s.name: n for n, _, said in hints for s in said if isinstance(s, Formerly)}
    nested: dict[str, Any] = {}
    for key, value in values.items():
        head, _, rest = str(key).partition(".")
        if head in old:
            if old[head] in values:
                raise ConfigurationError(
                    f"{place}{head} is the old name of {place}{old[head]}, which is there too: "
                    "drop one"
                )
            _say_renamed(f"{place}{head}", f"{place}{old[head]}")
            head = old[head]
        if head not in names:
            near = difflib.get_close_matches(head, names, 1, 0.5)
            hint = (
                f"; did you mean {place}{near[0]}?" if near else f"; there are {', '.join(names)}"
            )
            raise ConfigurationError(f"unknown setting {place}{one_line(key)}{hint}")
        if rest or isinstance(value, dict):
            inner = {rest: value} if rest else value
            nested[head] = {**nested.get(head, {}), **inner}
        else:
            nested[head] = value
    nested = {**before_named(kind, nested), **nested}
    arguments = {k: _convert(types_of[k], v, f"{place}{k}") for k, v in nested.items()}
    needed = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in needed if name not in arguments]
    if missing:
        raise ConfigurationError(f"{place}{missing[0]} is missing: it has no default")
    try:
        return kind(**arguments)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


@cache
def _say_renamed(old: str, new: str) -> None:
    """Once a process: a run's settings are read many times."""
    print(f"setting {old} is an old name: write {new}", file=sys.stderr)


def placed(config: T, say: bool = True) -> T:
    """A configuration whose files and folders have absolute paths, so that a run that keeps it is
    read from any directory alike.

    What is not on the disk stays as it is: the name of a data set or a model, or of a default
    ("houses"). A file or folder that has a default's name wins over it, and with `say` that is
    said.
    """
    values = {}
    for nature in (FOLDER, FILE):
        for name in settings_with(type(config), nature):
            value = value_of(config, name)
            path, colon, split = value, "", ""
            if not Path(path).exists():
                path, colon, split = path.rpartition(":")  # a folder of data, and its split
            found = Path(path).is_file() if nature is FILE else Path(path).exists()
            if path and found:
                values[name] = f"{Path(path).absolute()}{colon}{split}"
                if say and value == value_of(type(config)(), name):
                    print(f"{name}: {value} is the folder {values[name]} here", flush=True)
    return cast(T, changed(config, values))


def to_dict(config: Any) -> dict[str, Any]:
    """Nested dictionaries of plain values in the order of the fields, as `from_dict` takes them."""
    document: dict[str, Any] = _plain(dataclasses.asdict(config))
    return document


def to_yaml(config: Any) -> str:
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _convert(kind: Any, value: Any, place: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place} holds settings of its own, got {shown(value)}")
        return from_dict(kind, value, f"{place}.")
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(f"{place} must be a list, got {shown(value)}")
        inner = typing.get_args(kind)[0]
        return tuple(_convert(inner, v, place) for v in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place} must be KEY: VALUE, got {shown(value)}")
        if other := [key for key in value if not isinstance(key, str)]:
            raise ConfigurationError(f"{place}: a key must be a text, got {shown(other[0])}")
        return value
    if origin is typing.Literal:
        if value not in typing.get_args(kind):
            choices = ", ".join(map(str, typing.get_args(kind)))
            raise ConfigurationError(f"{place} must be one of {choices}, got {shown(value)}")
        return value
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, place)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML reads 1e-3 as a string
            value = float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"{place} must be a finite number, got {value}")
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigurationError(f"{place} must be of type {kind.__name__}, got {shown(value)}")
    return value
