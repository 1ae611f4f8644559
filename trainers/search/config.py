"""What a search file says: checked as a whole, against the configurations, before Ray starts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from rayforge.errors import ConfigurationError
from rayforge.settings import MAY_CHANGE, UNDER_WAY, settings_with
from trainers.alignment.config import AlignConfig
from trainers.alignment.named_code import recorded, runs_code
from trainers.configuration import from_dict, read_configuration, to_dict
from trainers.irl.config import IRLConfig
from trainers.runs.tracking import Tracker
from trainers.search.space import Space, Values, read_space, settle

Half = Literal["irl", "alignment", "both"]

NAVIGATION = (
    "success", "spl", "oracle_success", "navigation_error", "ndtw", "sdtw", "path_length",
    "forced_stop",
)  # fmt: skip
"""What an agent reports of each split it is evaluated on."""
REVIEW = ("review/accuracy", "review/margin")
"""What a language model reports after each round."""
ANSWERS = ("review/kl_per_token", "review/response_tokens", "review/finished", "review/distinct_2")
"""What it reports where it answers prompts."""


@dataclass(frozen=True)
class BothConfig:
    """An agent and a language model trained in one trial, in turns, out of one budget."""

    irl: IRLConfig = field(default_factory=IRLConfig)
    """The agent's settings."""
    align: AlignConfig = field(default_factory=AlignConfig)
    """The language model's."""
    budget: int = 0
    """Updates of a trial: the agent's adversarial ones and the language model's optimiser steps
    together; 0 leaves both as their own settings have them."""
    agent_share: float = 0.5
    """The agent's share of the budget."""

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise ValueError(f"budget must not be negative, got {self.budget}")
        if not 0.0 < self.agent_share < 1.0:
            raise ValueError(f"agent_share must be in (0, 1), got {self.agent_share}")
        least = self.align.rounds + 1
        if 0 < self.budget < least:
            raise ValueError(
                f"budget {self.budget} is less than an update for the agent and a step for each of "
                f"{self.align.rounds} rounds: give at least {least}"
            )

    def halves(self) -> tuple[IRLConfig, AlignConfig]:
        """Both configurations with their shares of the budget.

        A round takes whole steps, so the agent's share is what the rounds leave.
        """
        if not self.budget:
            return self.irl, self.align
        rounds = self.align.rounds
        wanted = round(self.budget * (1 - self.agent_share) / rounds)
        steps = min(max(1, wanted), (self.budget - 1) // rounds)
        return (
            replace(self.irl, updates=self.budget - steps * rounds),
            replace(self.align, steps=steps),
        )


KINDS: dict[Half, type[Any]] = {"irl": IRLConfig, "alignment": AlignConfig, "both": BothConfig}
"""The configuration that each half's settings are names of."""


@dataclass(frozen=True)
class SearchConfig:
    """Everything a search file can say."""

    half: Half
    """"irl": agents; "alignment": language models; "both": one of each in every trial."""
    space: dict[str, Any]
    """Settings by their dotted names, each `uniform`, `loguniform` ([least, most]) or `choice`
    ([...]), and optionally `when: {other: value}`."""
    metrics: dict[str, str]
    """What is optimised, each `max` or `min`; the scheduler goes by the first."""
    base: dict[str, Any] = field(default_factory=dict)
    """Settings all trials share."""
    config: str = ""
    """Configuration file that `base` changes, as `rayforge irl train --config` takes one; paths are
    relative to the search file. Not for "both"."""
    name: str = ""
    """Name of the search and its folder; empty: the file's."""
    storage: str = "runs"
    """Where the search's folder goes: a folder that all nodes see, or s3://..., gs://..."""
    searcher: Literal["optuna", "random", "grid"] = "optuna"
    """What proposes trials: Optuna's tree-structured Parzen estimator, chance, or all
    combinations."""
    scheduler: Literal["asha", "pbt", "none"] = "asha"
    """"asha" ends poor trials early, "pbt" lets poor ones go on from good ones with settings
    changed a little, "none" lets all run to their end."""
    trials: int = 8
    """Trials; a grid has as many as combinations, whatever stands here."""
    concurrent: int = 0
    """Trials at a time at most; 0: as many as the CPUs and GPUs allow."""
    cpus: Annotated[int, MAY_CHANGE] = 0
    """CPUs of the Ray that is started here; 0: the machine's. A cluster has its own number."""
    reports: int = 8
    """Times an agent is evaluated in a trial, in even steps; a language model is after each round,
    "both" likewise."""
    grace: int = 2
    """Reports that "asha" lets every trial make, and that lie between two changes of "pbt"."""
    reduction: int = 2
    """Of so many trials that come as far, "asha" lets one go on."""
    failures: int = 1
    """Times a trial goes on from its last checkpoint after its process died."""
    seed: int = 0
    """Seed of the proposals; a trial's own is among its settings."""
    track: tuple[Tracker, ...] = ()
    """Services that get the trials' reports as well: "wandb", "mlflow"; a trial's own setting of
    this name is not used."""

    def __post_init__(self) -> None:
        for name, least in (
            ("trials", 1), ("concurrent", 0), ("cpus", 0), ("reports", 1), ("grace", 1),
            ("reduction", 2), ("failures", 0), ("seed", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.metrics:
            raise ValueError("metrics is empty: name what is optimised, METRIC: max or min")
        for metric, direction in self.metrics.items():
            if direction not in ("max", "min"):
                raise ValueError(f"metrics: {metric} must be max or min, got {direction!r}")
        if "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be a plain folder name, got {self.name!r}")
        if self.half == "both" and self.config:
            raise ValueError(
                'config names one half\'s file: put the settings of "both" under base, as irl and '
                "align"
            )
        if self.scheduler == "pbt" and self.searcher != "random":
            raise ValueError(
                f"scheduler pbt changes settings itself, so searcher must be random, got "
                f"{self.searcher}"
            )


@dataclass(frozen=True)
class Search:
    """A checked search: what a trial is made from."""

    settings: SearchConfig
    base: dict[str, Any]
    """All settings of the base configuration."""
    space: Space
    points: tuple[Values, ...]
    """The trials' settings where they are known beforehand: a random search's, a grid's."""

    @property
    def kind(self) -> type[Any]:
        return KINDS[self.settings.half]

    def trial(self, values: Mapping[str, Any]) -> Any:
        """The configuration of a trial. Raises ConfigurationError where values do not fit."""
        return settle(self.kind, self.base, values)

    @property
    def metrics(self) -> dict[str, str]:
        return self.settings.metrics

    @property
    def trials(self) -> int:
        return len(self.points) or self.settings.trials

    @property
    def reports(self) -> int:
        """Reports of a trial at most."""
        half = self.settings.half
        if half == "irl":
            return self.settings.reports
        key = "rounds" if half == "alignment" else "align.rounds"
        config = self.trial({})
        rounds = [(config if half == "alignment" else config.align).round_count]
        rounds += [int(end) for r in self.space.ranges if r.key == key for end in r.ends]
        return max(rounds)


def read_search(file: Path, changes: Mapping[str, Any] | None = None) -> Search:
    """A search file, with changes of its settings (from the command line), checked throughout.

    Raises ConfigurationError, with the nearest right name for an unknown key.
    """
    asked = read_configuration(SearchConfig, file)
    try:
        asked = replace(asked, **dict(changes or {}))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    asked = replace(asked, name=asked.name or file.stem)
    try:
        return make_search(asked, file.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def make_search(asked: SearchConfig, folder: Path) -> Search:
    """A search from its settings; `folder` is what the path in `config` is relative to."""
    import numpy as np

    kind = KINDS[asked.half]
    start: dict[str, Any] = {}
    if asked.config:
        start = to_dict(read_configuration(kind, folder / asked.config))
    try:
        base = to_dict(from_dict(kind, merged(start, asked.base)))
    except ConfigurationError as error:
        raise ConfigurationError(f"base: {error}") from None
    space = read_space(kind, base, asked.space)
    _check_judges(base, space)
    _check_scheduler(asked, space)
    points: list[Values] = []
    if asked.searcher == "grid":
        points = space.grid()
    elif asked.searcher == "random":
        rng = np.random.default_rng(asked.seed)
        points = [space.draw(rng) for _ in range(asked.trials)]
    search = Search(asked, base, space, tuple(points))
    for number, point in enumerate(points, 1):
        try:
            search.trial(point)
        except ConfigurationError as error:
            raise ConfigurationError(f"space: trial {number} could not run: {error}") from None
    check_metrics(search)
    return search


def _check_judges(base: Mapping[str, Any], space: Space) -> None:
    """Raises ConfigurationError for a judge that runs code: a search file may be anybody's."""
    judges = [base.get("judge"), base.get("align", {}).get("judge")]
    judges += [c for r in space.ranges if r.key in ("judge", "align.judge") for c in r.choices]
    for judge in judges:
        if isinstance(judge, str) and runs_code(judge):
            raise ConfigurationError(
                f"a search file names code as judge ({recorded(judge)[:80]}), which is not run "
                "from a file: name a reward model's folder, or leave judge out"
            )


def merged(start: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes of them, level by level."""
    result = dict(start)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = merged(inner, value)
        result[key] = value
    return result


def _check_scheduler(asked: SearchConfig, space: Space) -> None:
    if asked.scheduler != "pbt":
        return
    changeable = settings_with(KINDS[asked.half], UNDER_WAY)
    for r in space.ranges:
        if r.key not in changeable or r.when:
            why = "is searched under a condition" if r.when else "cannot change under way"
            raise ConfigurationError(
                f"space: {r.key} {why}, as scheduler pbt needs: take asha or none, or search only "
                f"{', '.join(changeable)}"
            )


def reported(half: Half, config: Any) -> tuple[str, ...]:
    """The metrics that a trial of this configuration reports."""
    if half == "irl":
        return tuple(f"{split}/{name}" for split in config.evaluate for name in NAVIGATION)
    if half == "alignment":
        if not config.evaluation_prompts:
            return REVIEW
        judged: tuple[str, ...] = ()
        if config.judge or config.data == "routes":
            judged = ("win_rate",)
            if not config.judge.startswith("command:"):
                judged += ("review/greedy_score", "review/sampled_score")
        return (*judged, *REVIEW, *ANSWERS)
    irl, align = config.halves()
    return tuple(
        f"{prefix}/{name}"
        for prefix, part, inner in (("irl", "irl", irl), ("align", "alignment", align))
        for name in reported(part, inner)  # type: ignore[arg-type]
    )


def check_metrics(search: Search) -> None:
    """Raises ConfigurationError for a metric that no trial would report."""
    there = reported(search.settings.half, search.trial({}))
    for metric in search.metrics:
        if metric not in there:
            near = difflib.get_close_matches(metric, there, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigurationError(
                f"metrics: no trial reports {metric}{hint} Reported: {', '.join(there)}"
            )
