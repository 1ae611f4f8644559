"""`rayforge analyse transfer` for language models: every run on every set of pairs.

A run's implicit reward decides which of two answers is better, m = beta [log pi(y_w | x) /
pi_ref(y_w | x) - log pi(y_l | x) / pi_ref(y_l | x)], and is right where m > 0. At home it is scored
on its own held-out pairs. The reference is the model that the run began with.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from envs.shifts.shift import WORDS, Shift, read_shift
from envs.shifts.words import shifted_words
from rayforge.alignment.preferences import Preference, check_source, read_preferences
from rayforge.errors import ConfigurationError, DataError, RunError
from rayforge.evaluation.calibration import calibration_error, reliability
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.evaluation.parity import total_variation_parity
from rayforge.language.vocabulary import SPECIAL, Vocabulary
from rayforge.reports.alignment import is_alignment_run
from rayforge.settings import FOLDER, AtLeast, check_limits
from trainers.alignment.config import AlignConfig
from trainers.alignment.evaluate import last_model
from trainers.alignment.models import context_length, find_model, load_model, load_tokeniser
from trainers.alignment.reading import Source, read_source
from trainers.alignment.tokens import TokenPairs, check_conversational, tokenise
from trainers.analysis.preferences import margins_of
from trainers.analysis.transfer_config import check_titles, found_runs, run_names
from trainers.analysis.transfer_results import HOME, Measured
from trainers.configuration import from_dict, placed, read_configuration

LANGUAGE_MODELS = Measured(
    "accuracy", "Accuracy",
    {
        "accuracy": "accuracy at home", "nats": "nats at home", "ece": "calibration error at home",
        "margin": "mean margin at home", "parity": "parity over which side is longer, at home",
        "parameters": "parameters",
    },
    base="dpo",
)  # fmt: skip
FEWEST = 10


@dataclass(frozen=True)
class PairsTarget:
    """Pairs that runs are scored on, and what is done to them."""

    data: Annotated[str, FOLDER] = ""
    """Preference pairs as `rayforge align train --data` reads them; "routes" makes the test pairs
    of the route task. Empty: the run's own held-out pairs."""
    routes: dict[str, Any] = field(default_factory=dict)
    """Settings of the route task, for data routes: another seed is other houses."""
    words: str = ""
    """A shift of prompts, NAME:SEVERITY: dropped, misheard, shuffled."""
    chosen: Literal["", "longer", "shorter"] = ""
    """Keep the pairs whose chosen side has more tokens, or fewer."""
    name: str = ""
    """As tables call it; empty: made of the rest."""

    def __post_init__(self) -> None:
        self.word_shift  # noqa: B018
        if self.routes and self.data != "routes":
            raise ConfigurationError('target: routes are settings of data "routes" alone')
        if not self.title:
            raise ConfigurationError("a target without data, words or chosen is the run's home")
        if self.data == "routes":
            self.route_settings  # noqa: B018

    @property
    def word_shift(self) -> Shift | None:
        return read_shift(self.words, WORDS, "target: words") if self.words else None

    @property
    def route_settings(self) -> AlignConfig:
        """A configuration whose test pairs are these; nothing of it is trained on."""
        routes = {"pairs": 1, "start_routes": 1, **self.routes}
        return from_dict(AlignConfig, {"data": "routes", "routes": routes})

    @property
    def title(self) -> str:
        routes = " ".join(f"{key} {value}" for key, value in self.routes.items())
        chosen = f"{self.chosen} chosen" if self.chosen else ""
        parts = (Path(self.data).name, routes, self.words, chosen)
        return self.name or " ".join(part for part in parts if part)


@dataclass(frozen=True)
class LanguageGrid:
    """A grid of language models' runs and targets."""

    runs: tuple[str, ...]
    """Folders of runs, or folders that hold runs (a search's too)."""
    targets: tuple[dict[str, Any], ...]
    """What runs are scored on: see `PairsTarget`."""
    pairs: Annotated[int, AtLeast(FEWEST)] = 200
    """Pairs of a target at most."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of draws and shifts."""

    def __post_init__(self) -> None:
        check_limits(self)
        check_titles([target.title for target in self.read_targets()])

    def read_targets(self) -> list[PairsTarget]:
        found = [
            from_dict(PairsTarget, one, f"targets: number {number}: ")
            for number, one in enumerate(self.targets, 1)
        ]
        return [one if one.data == "routes" else placed(one, say=False) for one in found]


@dataclass(frozen=True)
class PairsScoring:
    """A run to score on a target."""

    run: Path
    name: str
    group: str
    target: PairsTarget | None
    """None: at home."""
    pairs: int
    seed: int


def language_cells(file: Path) -> dict[str, PairsScoring]:
    """The cells of a grid's file by name.

    Raises ConfigurationError, DataError or RunError for what cannot be scored.
    """
    grid = read_configuration(LanguageGrid, file)
    for asked in grid.read_targets():
        if asked.data not in ("", "routes"):
            check_source(asked.data)
    runs = found_runs(grid.runs)
    groups = {}
    for run in runs:
        if not is_alignment_run(run):
            raise RunError(f"{run} is an agent's run: a grid is of one system, give it its own")
        last_model(run)
        groups[run] = str(read_configuration(AlignConfig, run / "config.yaml").method)
    cells = {}
    for run, name in zip(runs, run_names(runs), strict=True):
        for target in (None, *grid.read_targets()):
            title = HOME if target is None else target.title
            cells[f"{name} | {title}"] = PairsScoring(
                run, name, groups[run], target, grid.pairs, grid.seed
            )
    return cells


@dataclass(frozen=True)
class _Loaded:
    source: Source
    start: Path
    limit: int
    config: AlignConfig


@cache
def _loaded(run: Path) -> _Loaded:
    """What a run's own configuration names: its pairs, and the model that it began with."""
    config = replace(read_configuration(AlignConfig, run / "config.yaml"), judge="")
    source = read_source(config)
    start = source.start() if config.model == "tiny" else find_model(config.model)
    limit = min(config.max_tokens, context_length(start) or config.max_tokens)
    return _Loaded(source, start, limit, config)


@cache
def _pairs_of(data: str, routes: str) -> tuple[Preference, ...]:
    import yaml

    if data == "routes":
        made = PairsTarget(data=data, routes=yaml.safe_load(routes)).route_settings
        return tuple(read_source(made).held_out)
    return tuple(read_preferences(data).pairs)


def score_pairs(scoring: PairsScoring) -> dict[str, Any]:
    """The figures of a run on a target's pairs. Raises DataError where too few are left."""
    import yaml

    torch.set_num_threads(1)
    loaded, target = _loaded(scoring.run), scoring.target
    given = list(loaded.source.held_out)
    if target is not None and target.data:
        given = list(_pairs_of(target.data, yaml.safe_dump(target.routes)))
    if target is not None and (shift := target.word_shift) is not None:
        given = with_shifted_prompts(given, shift, scoring.seed)
    tokeniser = load_tokeniser(loaded.start)
    check_conversational(tokeniser, given, loaded.start)
    pairs = tokenise(tokeniser, given, loaded.limit).pairs
    longer = np.sign(np.diff(-pairs.lengths(), axis=1)[:, 0])
    rows = np.arange(len(pairs))
    if target is not None and target.chosen:
        rows = rows[longer == (1 if target.chosen == "longer" else -1)]
    rows = np.sort(np.random.default_rng(scoring.seed).permutation(rows)[: scoring.pairs])
    title = HOME if target is None else target.title
    if len(rows) < FEWEST:
        raise DataError(
            f"{scoring.run}: target {title} has {len(rows)} pairs that fit the model: a rate takes "
            f"{FEWEST} at least"
        )
    margin, parameters = _margins(scoring.run, loaded, pairs.take(rows))
    right = (margin > 0).astype(np.float64)
    probability = 1 / (1 + np.exp(-np.abs(margin)))
    sides, apart = longer[rows], len(np.unique(longer[rows])) > 1
    return {
        "run": scoring.name, "group": scoring.group, "target": title, "episodes": len(rows),
        "accuracy": float(right.mean()),
        "accuracy_interval": list(bootstrap_interval(right, samples=1_000)),
        "nats": float(-logsigmoid(torch.from_numpy(margin)).mean()),
        "ece": calibration_error(probability, right),
        "reliability": reliability(probability, right), "margin": float(margin.mean()),
        "parity": total_variation_parity(right, sides, 2) if apart else float("nan"),
        "parameters": parameters,
    }  # fmt: skip


def _margins(run: Path, loaded: _Loaded, pairs: TokenPairs) -> tuple[np.ndarray, int]:
    """m of every pair, float64 [n], and the model's parameters."""
    policy = load_model(last_model(run), "cpu", False)
    reference = load_model(loaded.start, "cpu", False)
    margin = loaded.config.beta * (margins_of(policy, pairs) - margins_of(reference, pairs))
    return margin.double().numpy(), sum(p.numel() for p in policy.parameters())


def with_shifted_prompts(pairs: list[Preference], shift: Shift, seed: int) -> list[Preference]:
    """The pairs with the words of their prompts under a shift (of a conversation: of what the user
    says); words are what stands between spaces."""
    texts = [text for pair in pairs for text in _asked(pair.prompt)]
    said = iter(shifted_texts(texts, shift, seed))
    return [replace(pair, prompt=_with_asked(pair.prompt, said)) for pair in pairs]


def shifted_texts(texts: list[str], shift: Shift, seed: int) -> list[str]:
    """Texts with their words under a shift; at least one word of each is left."""
    words = [text.split() for text in texts]
    vocabulary = Vocabulary((*SPECIAL, *sorted({word for some in words for word in some})))
    number = {word: row for row, word in enumerate(vocabulary.words)}
    tokens = np.zeros((len(words), max(map(len, words), default=0)), np.int32)
    for row, some in enumerate(words):
        tokens[row, : len(some)] = [number[word] for word in some]
    moved = shifted_words(tokens, shift, vocabulary, seed)
    return [" ".join(vocabulary.words[t] for t in row if t) for row in moved.tolist()]


def _asked(prompt: Any) -> list[str]:
    if isinstance(prompt, str):
        return [prompt]
    return [message["content"] for message in prompt if message["role"] == "user"]


def _with_asked(prompt: Any, said: Any) -> Any:
    if isinstance(prompt, str):
        return next(said)
    return [
        {**message, "content": next(said)} if message["role"] == "user" else message
        for message in prompt
    ]
