"""What a search file says: checked as a whole, against the configurations, before Ray starts."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from rayforge.errors import ConfigurationError
from rayforge.settings import (
    MAY_CHANGE,
    NOT_LEARNT,
    RESOURCE,
    UNDER_WAY,
    AtLeast,
    changed,
    check_limits,
    everything,
    settings_with,
)
from trainers.alignment.named_code import confirmed
from trainers.configuration import (
    from_dict,
    placed,
    read_configuration,
    read_document,
    to_dict,
)
from trainers.runs.system import System
from trainers.runs.tracking import Tracker
from trainers.search.space import Space, Values, read_space, settle
from trainers.systems import find_system, is_place

OLD_NAMES = {"alignment": "align"}
"""What older search files called a system."""


@dataclass(frozen=True)
class SearchConfig:
    """Everything a search file can say."""

    system: str
    """"irl": agents; "align": language models; "both": one of each in every trial; "module:NAME":
    a system of your own."""
    space: dict[str, Any]
    """Settings by their dotted names, each `uniform`, `loguniform` ([least, most]) or `choice`
    ([...]), and optionally `when: {other: value}`."""
    metrics: dict[str, str]
    """What is optimised, each `max` or `min`; the scheduler goes by the first."""
    base: dict[str, Any] = field(default_factory=dict)
    """Settings all trials share."""
    config: str = ""
    """Configuration file that `base` changes, as `rayforge irl train --config` takes one; paths are
    relative to the search file."""
    judge: str = ""
    """As in `rayforge align train`, for trials of language models. A command or a Python function
    is taken from the command line alone (`--judge`), and named again on `--resume`."""
    name: Annotated[str, MAY_CHANGE] = ""
    """Name of the search and its folder; empty: the file's."""
    storage: Annotated[str, MAY_CHANGE] = "runs"
    """Where the search's folder goes: a folder that all nodes see, or s3://..., gs://..."""
    searcher: Literal["optuna", "random", "grid"] = "optuna"
    """What proposes trials: Optuna's tree-structured Parzen estimator, chance, or all
    combinations."""
    scheduler: Literal["asha", "pbt", "none"] = "asha"
    """"asha" ends poor trials early, "pbt" lets poor ones go on from good ones with settings
    changed a little, "none" lets all run to their end."""
    trials: Annotated[int, AtLeast(1)] = 8
    """Trials; a grid has as many as combinations, whatever stands here."""
    concurrent: Annotated[int, MAY_CHANGE, RESOURCE, AtLeast(0)] = 0
    """Trials at a time at most; 0: as many as the CPUs and GPUs allow."""
    cpus: Annotated[int, MAY_CHANGE, RESOURCE, AtLeast(0)] = 0
    """CPUs of the Ray that is started here; 0: the machine's. A cluster has its own number."""
    reports: Annotated[int, AtLeast(1)] = 8
    """Times an agent is evaluated in a trial, in even steps; a language model is after each round,
    "both" likewise."""
    grace: Annotated[int, AtLeast(1)] = 2
    """Reports that "asha" lets every trial make, and that lie between two changes of "pbt"."""
    reduction: Annotated[int, AtLeast(2)] = 2
    """Among so many trials that come equally far, "asha" lets one go on."""
    failures: Annotated[int, MAY_CHANGE, AtLeast(0)] = 1
    """Times a trial goes on from its last checkpoint after its process died."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the proposals; a trial's own is among its settings."""
    track: Annotated[tuple[Tracker, ...], MAY_CHANGE, NOT_LEARNT] = ()
    """Services that get the trials' reports as well: "wandb", "mlflow"; a trial's own setting of
    this name is not used."""

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.metrics:
            raise ValueError("metrics is empty: name what is optimised, METRIC: max or min")
        for metric, direction in self.metrics.items():
            if direction not in ("max", "min"):
                raise ValueError(f"metrics: {metric} must be max or min, got {direction!r}")
        if "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be a plain folder name, got {self.name!r}")
        if self.scheduler == "pbt" and self.searcher != "random":
            raise ValueError(
                f"scheduler pbt changes settings itself, so searcher must be random, got "
                f"{self.searcher}"
            )


@dataclass(frozen=True)
class Search:
    """A checked search: what a trial is made from."""

    settings: SearchConfig
    system: System
    base: dict[str, Any]
    """All settings of the base configuration."""
    space: Space
    points: tuple[Values, ...]
    """The trials' settings where they are known beforehand: a random search's, a grid's."""

    @property
    def kind(self) -> type[Any]:
        return self.system.configuration

    def trial(self, values: Mapping[str, Any]) -> Any:
        """The configuration of a trial. Raises ConfigurationError where values do not fit."""
        config = placed(settle(self.kind, self.base, values), say=False)
        self.system.check_file(config)
        return judged(config, self.settings.judge)

    def with_judge(self, judge: str) -> Search:
        """The same search, its trials judged by `judge`."""
        return replace(self, settings=replace(self.settings, judge=judge))

    @property
    def metrics(self) -> dict[str, str]:
        return self.settings.metrics

    @property
    def trials(self) -> int:
        return len(self.points) or self.settings.trials

    @property
    def reports(self) -> int:
        """Reports of a trial at most."""
        asked = self.settings.reports
        return self.system.reports(
            self.trial(self.most(lambda config: self.system.reports(config, asked))), asked
        )

    def most(self, of: Callable[[Any], Any]) -> Values:
        """Values of the space, its ends and choices, under which a configuration has the most of
        something, found setting by setting."""
        values: Values = {}
        for r in (*self.space.ranges, *self.space.ranges):  # again: one may open the way for others
            for end in r.ends:
                tried = {**values, r.key: end}
                with suppress(ConfigurationError):  # ends that do not go together
                    if of(self.trial(tried)) > of(self.trial(values)):
                        values = tried
        return values


def read_search(file: Path, changes: Mapping[str, Any] | None = None) -> Search:
    """A search file, with changes of its settings (from the command line), checked throughout.

    Raises ConfigurationError, with the nearest right name for an unknown key.
    """
    document, changes = renamed(read_document(file), file), dict(changes or {})
    named = str(document.get("system"))
    if is_place(named) and changes.get("system") != named:
        raise ConfigurationError(
            f"{file}: system {named} is code that would be imported: confirm it on the command "
            f"line, with --system {named}"
        )
    try:
        asked = replace(from_dict(SearchConfig, document), **changes)
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    named = str(changes.get("judge", ""))
    judge = confirmed(str(document.get("judge", "")), named, str(file))
    asked = replace(asked, name=asked.name or file.stem, judge=judge)
    try:
        return make_search(asked, file.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def renamed(document: Mapping[str, Any], file: Path | str) -> dict[str, Any]:
    """The settings of a search file under today's names; says which were renamed."""
    found = dict(document)
    if "half" in found and "system" not in found:
        old = str(found.pop("half"))
        found["system"] = OLD_NAMES.get(old, old)
        print(
            f"{file}: `half: {old}` is an old name: write `system: {found['system']}`",
            file=sys.stderr,
        )
    return found


def make_search(asked: SearchConfig, folder: Path) -> Search:
    """A search from its settings; `folder` is what the path in `config` is relative to."""
    import numpy as np

    system = find_system(asked.system)
    kind = system.configuration
    start: dict[str, Any] = {}
    if asked.config:
        start = to_dict(read_configuration(kind, folder / asked.config))
    try:
        base = to_dict(placed(from_dict(kind, merged(start, asked.base))))
    except ConfigurationError as error:
        raise ConfigurationError(f"base: {error}") from None
    space = read_space(kind, base, asked.space)
    _check_scheduler(asked, kind, space)
    points: list[Values] = []
    if asked.searcher == "grid":
        points = space.grid()
    elif asked.searcher == "random":
        rng = np.random.default_rng(asked.seed)
        points = [space.draw(rng) for _ in range(asked.trials)]
    search = Search(asked, system, base, space, tuple(points))
    for number, point in enumerate(points, 1):
        try:
            search.trial(point)
        except ConfigurationError as error:
            raise ConfigurationError(f"space: trial {number} could not run: {error}") from None
    for values in ({}, *({r.key: choice} for r in space.ranges for choice in r.choices)):
        try:
            config = settle(kind, base, values)
        except ConfigurationError:
            continue  # a choice that only goes with others
        system.check_file(config)
    check_metrics(search)
    return search


def judged(config: Any, judge: str) -> Any:
    """A trial's configuration with a judge. Raises ConfigurationError where nothing is judged."""
    if not judge:
        return config
    name = next((n for n in everything(type(config)) if n.rpartition(".")[2] == "judge"), None)
    if name is None:
        raise ConfigurationError("judge is for searches over language models: leave it out")
    return changed(config, {name: judge})


def merged(start: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes of them, level by level."""
    result = dict(start)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = merged(inner, value)
        result[key] = value
    return result


def _check_scheduler(asked: SearchConfig, kind: type[Any], space: Space) -> None:
    if asked.scheduler != "pbt":
        return
    changeable = settings_with(kind, UNDER_WAY)
    for r in space.ranges:
        if r.key not in changeable or r.when:
            why = "is searched under a condition" if r.when else "cannot change under way"
            raise ConfigurationError(
                f"space: {r.key} {why}, as scheduler pbt needs: take asha or none, or search only "
                f"{', '.join(changeable)}"
            )


def check_metrics(search: Search) -> None:
    """Raises ConfigurationError for a metric that no trial would report."""
    there = search.system.metrics(search.trial({}))
    for metric in search.metrics:
        if metric not in there:
            near = difflib.get_close_matches(metric, there, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigurationError(
                f"metrics: no trial reports {metric}{hint} Reported: {', '.join(there)}"
            )
