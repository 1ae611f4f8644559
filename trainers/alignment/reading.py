"""Where preference pairs come from: the generated route task, or what a user names."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.houses.route_folder import kept_route_task
from envs.houses.route_houses import kept_route_maps
from envs.houses.route_task import RoutePair, RouteTask
from envs.houses.route_wording import every_wording
from rayforge.alignment.preferences import Preference, preference_key, read_preferences
from rayforge.cache import make_cache_folder
from rayforge.errors import ConfigurationError
from trainers.alignment.config import AlignConfig
from trainers.alignment.judging import Example, Judge, ScoringJudge, named_judge
from trainers.alignment.sft import (
    Phase,
    route_phases,
    supervised_start,
)


@dataclass(frozen=True)
class Maps:
    """Where prompts can be acted on: routes in the houses of a folder."""

    folder: Callable[[], Path]
    """The folder, which is made at the first call (`envs.houses.route_houses`)."""
    rows: Mapping[Any, int]
    """The route of each prompt."""
    unseen: Sequence[str]
    """Houses of the test."""


@dataclass(frozen=True)
class Source:
    """Pairs as text, a judge, and how the tiny model's start is made from them."""

    training: Sequence[Preference]
    held_out: Sequence[Preference]
    judge: Judge | None
    start: Callable[[], Path]
    maps: Maps | None = None
    """Of routes alone."""


def read_source(config: AlignConfig) -> Source:
    """Pairs and judge that a configuration names.

    Raises ConfigurationError or DataError where they cannot be read.
    """
    return _routes(config) if config.data == "routes" else _files(config)


def _routes(config: AlignConfig) -> Source:
    task = kept_route_task(make_cache_folder("routes"), config.routes)
    execution = task.judge()

    def score(prompts: Sequence[Any], responses: Sequence[str]) -> np.ndarray:
        return execution(prompts, responses).astype(np.float64)

    def start() -> Path:
        phases = route_phases(task, config.start)
        return supervised_start(
            make_cache_folder("starts"), config.tiny, _route_texts(task), phases, config.start
        )

    training = [_preference(pair, f"training route {row}") for row, pair in enumerate(task.train)]
    judge = named_judge(config.judge, config.device, _example(training))
    return Source(
        training,
        [_preference(pair, f"test route {row}") for row, pair in enumerate(task.test)],
        judge or ScoringJudge("execution", score, succeeds=True),
        start,
        Maps(
            partial(kept_route_maps, make_cache_folder("routes"), task),
            {p.route.prompt: row for row, p in enumerate((*task.train, *task.test))},
            sorted({pair.route.house for pair in task.test}),
        ),
    )


def _route_texts(task: RouteTask) -> list[str]:
    """All words of the task, whatever its cue and flips: those must not change the start."""
    routes = [pair.route for pair in (*task.train, *task.test)]
    examples = [text for e in (*task.clean, *task.mixed) for text in (e.prompt, e.response)]
    return [*every_wording(), *(route.prompt for route in routes), *examples]


def _preference(pair: RoutePair, source: str) -> Preference:
    texts = (pair.route.prompt, pair.chosen, pair.rejected)
    return Preference(*texts, preference_key(*texts), source, pair.flipped)


def _files(config: AlignConfig) -> Source:
    training = _read(config.data)
    if config.evaluation:
        held_out = _read(config.evaluation)
    else:
        training, held_out = split_off(training)
    judge = named_judge(config.judge, config.device, _example(training))
    if judge is None and config.judge == "execution":
        raise ConfigurationError(
            f"judge is execution, which only the data routes have, not {config.data}: name a "
            'reward model\'s folder, "command: ..." or MODULE:FUNCTION, or leave it empty'
        )

    def start() -> Path:
        examples = [{"prompt": p.prompt, "completion": p.chosen} for p in training]
        texts = [text_of(part) for p in training for part in (p.prompt, p.chosen, p.rejected)]
        phases = [Phase(examples, config.start.steps)]
        return supervised_start(
            make_cache_folder("starts"), config.tiny, texts, phases, config.start
        )

    return Source(training, held_out, judge, start)


def _read(name: str) -> list[Preference]:
    found = read_preferences(name)
    print(found.report(), file=sys.stderr if found.dropped else sys.stdout, flush=True)
    return found.pairs


def text_of(part: Any) -> str:
    """A text, or messages as one."""
    return part if isinstance(part, str) else "\n".join(message["content"] for message in part)


def split_off(pairs: Sequence[Preference]) -> tuple[list[Preference], list[Preference]]:
    """(training, held-out): about a tenth of the prompts are held out, by a hash of the prompt.

    All pairs of a prompt fall on the same side, whatever their order or number.
    """

    def held(pair: Preference) -> bool:
        text = json.dumps(pair.prompt, sort_keys=True)
        return hashlib.sha256(text.encode()).digest()[0] < 26

    return [p for p in pairs if not held(p)], [p for p in pairs if held(p)]


def _example(pairs: Sequence[Preference]) -> Example:
    """What a judge is tried on: the first pair."""
    if not pairs:
        return "", "", ""
    first = pairs[0]
    return first.prompt, text_of(first.chosen), text_of(first.rejected)
