"""The search space: which settings vary, between which values, and under which condition."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from rayforge.errors import ConfigurationError
from trainers.configuration import from_dict

KINDS = ("uniform", "loguniform", "choice")
_UNIONS = (typing.Union, types.UnionType)
Values = dict[str, Any]
"""Dotted names of settings and what a trial sets them to."""


@dataclass(frozen=True)
class Range:
    """The values one setting may take, and when it is searched at all."""

    key: str
    kind: str
    """One of KINDS."""
    low: float
    high: float
    """Both ends included; equal to 0 for a choice."""
    whole: bool
    """Whether only whole numbers count."""
    choices: tuple[Any, ...]
    when: tuple[tuple[str, tuple[Any, ...]], ...]
    """(other setting, its values under which this one is searched)."""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether its conditions do, given the settings before it."""
        return all(key in values and values[key] in allowed for key, allowed in self.when)

    def draw(self, rng: np.random.Generator) -> Any:
        if self.kind == "choice":
            return self.choices[int(rng.integers(len(self.choices)))]
        if self.kind == "loguniform":
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            return min(max(round(value), int(self.low)), int(self.high)) if self.whole else value
        if self.whole:
            return int(rng.integers(int(self.low), int(self.high), endpoint=True))
        return float(rng.uniform(self.low, self.high))

    @property
    def ends(self) -> tuple[Any, ...]:
        """Its choices, or its two ends."""
        if self.kind == "choice":
            return self.choices
        ends = (self.low, self.high)
        return tuple(int(end) for end in ends) if self.whole else ends


@dataclass(frozen=True)
class Space:
    """All ranges; a condition stands after what it depends on.

    Called with an Optuna trial it suggests values, one after the other ("define by run"); an
    object and not a closure, because Tune writes its searcher to the disk.
    """

    ranges: tuple[Range, ...]

    def __call__(self, trial: Any) -> None:
        values: Values = {}
        for r in self.ranges:
            if not r.holds(values):
                continue
            if r.kind == "choice":
                label = trial.suggest_categorical(r.key, [label_of(c) for c in r.choices])
                values[r.key] = self._choice(r, label)
            elif r.whole:
                values[r.key] = trial.suggest_int(
                    r.key, int(r.low), int(r.high), log=r.kind == "loguniform"
                )
            else:
                values[r.key] = trial.suggest_float(
                    r.key, r.low, r.high, log=r.kind == "loguniform"
                )

    def draw(self, rng: np.random.Generator) -> Values:
        """One trial's values at random."""
        values: Values = {}
        for r in self.ranges:
            if r.holds(values):
                values[r.key] = r.draw(rng)
        return values

    def grid(self) -> list[Values]:
        """Every combination of choices that the conditions allow, each once.

        Raises ConfigurationError where a range has no list of choices.
        """
        for r in self.ranges:
            if r.kind != "choice":
                raise ConfigurationError(
                    f"space: a grid needs choices, but {r.key} is {r.kind}: list its values under "
                    "choice, or search at random or with optuna"
                )
        points: list[Values] = [{}]
        for r in self.ranges:
            points = [
                {**point, r.key: choice} if r.holds(point) else point
                for point, choice in product(points, r.choices)
            ]
            points = list({json.dumps(p, default=str): p for p in points}.values())
        return points

    def labels(self, values: Mapping[str, Any]) -> Values:
        """Values as plain numbers and text, as Optuna, tables and TensorBoard take them."""
        return {key: label_of(value) for key, value in values.items()}

    def values(self, labels: Mapping[str, Any]) -> Values:
        """Those of the labels that are settings of the space, as the configuration takes them."""
        known = {r.key: r for r in self.ranges}
        return {
            key: self._choice(known[key], label) if known[key].kind == "choice" else label
            for key, label in labels.items()
            if key in known
        }

    @staticmethod
    def _choice(r: Range, label: Any) -> Any:
        return next(
            c for c in r.choices if label_of(c) == label and type(label_of(c)) is type(label)
        )


def label_of(value: Any) -> Any:
    """A choice as a plain value: lists and the like as JSON text."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)


def settle(kind: type[Any], base: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """The configuration of a trial: the base's settings, then the trial's."""
    return from_dict(kind, {**base, **values})


def read_space(
    kind: type[Any], base: Mapping[str, Any], document: Mapping[str, Mapping[str, Any]]
) -> Space:
    """A search space from a file's entries, each tried out on the configuration.

    Raises ConfigurationError for an unknown setting (with the nearest right name), a value that
    the configuration refuses, a range that does not fit the setting's type, a condition that
    cannot hold.
    """
    if not document:
        raise ConfigurationError(
            "space is empty: name a setting and its values, for instance "
            "learning_rate: {loguniform: [1.0e-4, 1.0e-2]}"
        )
    ranges: dict[str, Range] = {}
    for key in _in_order(document):
        ranges[key] = _read_range(kind, base, key, document[key], ranges)
    return Space(tuple(ranges.values()))


def _in_order(document: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The settings, those that conditions name before those that depend on them."""
    order: list[str] = []
    left = list(document)
    while left:
        ready = [k for k in left if all(other in order for other in _conditions(k, document[k]))]
        if not ready:
            key = left[0]
            unknown = [o for o in _conditions(key, document[key]) if o not in document]
            why = (
                f"depends on {unknown[0]}, which is not searched: add it, or drop `when`"
                if unknown
                else f"depends on itself by way of {', '.join(_conditions(key, document[key]))}"
            )
            raise ConfigurationError(f"space: {key} {why}")
        order += ready
        left = [k for k in left if k not in ready]
    return order


def _conditions(key: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(
            f"space: {key} must say how it varies, for instance {{choice: [...]}}, got {entry!r}"
        )
    when = entry.get("when", {})
    if not isinstance(when, Mapping):
        raise ConfigurationError(f"space: when of {key} must be SETTING: VALUE, got {when!r}")
    return dict(when)


def _read_range(
    kind: type[Any], base: Mapping[str, Any], key: str, entry: Mapping[str, Any],
    earlier: Mapping[str, Range],
) -> Range:  # fmt: skip
    given = [name for name in entry if name != "when"]
    if len(given) != 1 or given[0] not in KINDS:
        raise ConfigurationError(
            f"space: {key} must have one of {', '.join(KINDS)} (and `when`), got {', '.join(given)}"
        )
    how, numbers = given[0], entry[given[0]]
    if not isinstance(numbers, list) or not numbers or (how != "choice" and len(numbers) != 2):
        wanted = "a list of values" if how == "choice" else "[least, most]"
        raise ConfigurationError(f"space: {how} of {key} must be {wanted}, got {numbers!r}")
    when = _read_conditions(kind, base, key, entry, earlier)
    needed = _satisfied(when, earlier)
    tried = tuple(_tried(kind, base, key, value, needed) for value in numbers)
    if how == "choice":
        return Range(key, how, 0.0, 0.0, False, tried, when)
    leaf = _type_of(kind, key)
    low, high = tried
    if leaf not in (int, float):
        raise ConfigurationError(f"space: {key} is no number, so it needs a choice, not {how}")
    if not low < high or (how == "loguniform" and not low > 0):
        raise ConfigurationError(
            f"space: {how} of {key} must rise{' from above 0' if how == 'loguniform' else ''}, got "
            f"{list(numbers)}"
        )
    return Range(key, how, low, high, leaf is int, (), when)


def _read_conditions(
    kind: type[Any], base: Mapping[str, Any], key: str, entry: Mapping[str, Any],
    earlier: Mapping[str, Range],
) -> tuple[tuple[str, tuple[Any, ...]], ...]:  # fmt: skip
    when = []
    for other, allowed in _conditions(key, entry).items():
        values = allowed if isinstance(allowed, list) else [allowed]
        tried = tuple(
            _tried(kind, base, other, v, _satisfied(earlier[other].when, earlier)) for v in values
        )
        if earlier[other].kind == "choice" and not set(tried) & set(earlier[other].choices):
            raise ConfigurationError(
                f"space: {key} is searched when {other} is {allowed}, which is none of its choices "
                f"{list(earlier[other].choices)}"
            )
        when.append((other, tried))
    return tuple(when)


def _satisfied(when: Sequence[tuple[str, tuple[Any, ...]]], earlier: Mapping[str, Range]) -> Values:
    """Settings under which conditions hold, and the conditions of those in turn."""
    needed: Values = {}
    for key, allowed in when:
        needed |= {**_satisfied(earlier[key].when, earlier), key: allowed[0]}
    return needed


def _tried(
    kind: type[Any], base: Mapping[str, Any], key: str, value: Any, needed: Mapping[str, Any]
) -> Any:
    """The value as the configuration holds it, once it was accepted."""
    try:
        config = settle(kind, base, {**needed, key: value})
    except ConfigurationError as error:
        raise ConfigurationError(f"space: {error}") from None
    for part in key.split("."):
        config = getattr(config, part)
    if dataclasses.is_dataclass(config):
        names = ", ".join(f"{key}.{f.name}" for f in dataclasses.fields(config))
        raise ConfigurationError(f"space: {key} holds settings of its own: {names}")
    return config


def _type_of(kind: type[Any], key: str) -> Any:
    for part in key.split("."):
        kind = typing.get_type_hints(kind)[part]
    if typing.get_origin(kind) in _UNIONS:  # a number, or None for its default
        kind, *others = (o for o in typing.get_args(kind) if o is not type(None))
        assert not others, f"{key} is of several types"
    return kind
