"""Frozen dataclasses to and from YAML; an unknown key is an error with the nearest right one."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from rayforge.errors import ConfigurationError

T = TypeVar("T")


def read_configuration(kind: type[T], file: Path) -> T:
    """A dataclass of type `kind` from a YAML file; what the file leaves out keeps its default."""
    try:
        document = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise ConfigurationError(f"configuration {file} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"configuration {file} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"configuration {file} holds no settings (key: value)")
    try:
        return from_dict(kind, document)
    except ConfigurationError as error:
        raise ConfigurationError(f"configuration {file}: {error}") from None


def from_dict(kind: type[T], values: dict[str, Any], place: str = "") -> T:
    """A dataclass from nested dictionaries; also accepts dotted keys ("network.hidden")."""
    types_of = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    nested: dict[str, Any] = {}
    for key, value in values.items():
        head, _, rest = str(key).partition(".")
        if head not in names:
            near = difflib.get_close_matches(head, names, 1, 0.5)
            hint = (
                f"; did you mean {place}{near[0]}?" if near else f"; there are {', '.join(names)}"
            )
            raise ConfigurationError(f"unknown setting {place}{key}{hint}")
        if rest or isinstance(value, dict):
            inner = {rest: value} if rest else value
            nested[head] = {**nested.get(head, {}), **inner}
        else:
            nested[head] = value
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
            raise ConfigurationError(f"{place} holds settings of its own, got {value!r}")
        return from_dict(kind, value, f"{place}.")
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(f"{place} must be a list, got {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(_convert(inner, v, place) for v in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place} must be KEY: VALUE, got {value!r}")
        return value
    if origin is typing.Literal:
        if value not in typing.get_args(kind):
            choices = ", ".join(map(str, typing.get_args(kind)))
            raise ConfigurationError(f"{place} must be one of {choices}, got {value!r}")
        return value
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, place)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):
        try:  # YAML reads 1e-3 as a string
            return float(value)
        except ValueError:
            pass
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigurationError(f"{place} must be of type {kind.__name__}, got {value!r}")
    return value
