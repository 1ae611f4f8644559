"""What a run works on: pairs and prompts as token ids, held-out ones, a judge."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rayforge.alignment.preferences import Preference
from rayforge.errors import ConfigurationError, DataError
from trainers.alignment.config import AlignConfig
from trainers.alignment.judging import Judge
from trainers.alignment.models import Tokeniser, context_length, vocabulary_size
from trainers.alignment.outside import Outside, outside_score
from trainers.alignment.reading import Source, text_of
from trainers.alignment.tokens import (
    Ids,
    Tokenised,
    TokenPairs,
    check_conversational,
    prompt_ids,
    tokenise,
)


@dataclass(frozen=True)
class Prompts:
    """n different prompts, as asked and as token ids."""

    asked: list[Any]
    ids: list[Ids]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> Prompts:
        return Prompts([self.asked[r] for r in rows], [self.ids[r] for r in rows])


class Said(NamedTuple):
    """A preference pair as text."""

    prompt: Any
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Task:
    """Data and judge of a run, read and checked before anything is trained."""

    pairs: TokenPairs
    flipped: np.ndarray | None
    """bool [n]: pairs whose labels are known to be wrong, where the data says so."""
    held_out: TokenPairs
    prompts: Prompts
    """Prompts of the training pairs."""
    evaluation: Prompts
    """Held-out prompts that are answered after every round."""
    judge: Judge | None
    said: list[Said]
    """Each of `pairs` as text."""
    outside: Outside | None
    """What scores from outside, where `score` names something."""

    @property
    def fingerprint(self) -> str:
        return f"{self.pairs.fingerprint}-{self.held_out.fingerprint}"


def make_task(config: AlignConfig, tokeniser: Tokeniser, folder: Path, source: Source) -> Task:
    """What a source holds as token ids of the model in `folder`.

    Raises ConfigurationError for what cannot be trained on: conversations without a chat template,
    nothing short enough, no held-out pairs.
    """
    training, held_out = source.training, source.held_out
    if not training or not held_out:
        raise DataError(
            f"there are {len(training)} pairs for training and {len(held_out)} held out; both are "
            "needed: give more data, or --evaluation FILE"
        )
    check_conversational(tokeniser, [*training, *held_out], folder)
    limit = _limit(config, folder)
    tokens = tokenise(tokeniser, training, limit)
    held = tokenise(tokeniser, held_out, limit)
    for name, found, given in (("training", tokens, training), ("held-out", held, held_out)):
        for line in left_out(found, given, name, limit):
            print(line, file=sys.stderr, flush=True)
    _check_vocabulary(folder, tokeniser, tokens.pairs, held.pairs)
    asked = _different([training[row] for row in tokens.rows])
    later = _different([held_out[row] for row in held.rows])
    prompts, answered = (_fitting(tokeniser, some, limit, config) for some in (asked, later))
    answered = answered.take(range(min(len(answered), config.evaluation_prompts)))
    flips = [training[row].flipped for row in tokens.rows]
    known = any(flip is not None for flip in flips)
    flipped = np.array([bool(flip) for flip in flips]) if known else None
    said = [
        Said(pair.prompt, text_of(pair.chosen), text_of(pair.rejected))
        for pair in (training[row] for row in tokens.rows)
    ]
    return Task(
        tokens.pairs, flipped, held.pairs, prompts, answered, source.judge, said,
        outside_score(config, source),
    )  # fmt: skip


def _limit(config: AlignConfig, folder: Path) -> int:
    context = context_length(folder)
    return config.max_tokens if context is None else min(config.max_tokens, context)


def left_out(found: Tokenised, given: Sequence[Preference], name: str, limit: int) -> Iterator[str]:
    """Warnings of what tokenising left out or found odd, each with its count and first records."""

    def some(rows: Sequence[int], said: Mapping[int, Any] | None = None) -> str:
        shown = [f"{given[r].source}: {said[r]}" if said else given[r].source for r in rows[:3]]
        return ", ".join(shown) + (", ..." if len(rows) > len(shown) else "")

    n = len(given)
    if found.too_long:
        yield (
            f"warning: {len(found.too_long)} of {n} {name} pairs are longer than {limit} tokens "
            f"and were left out ({some(list(found.too_long), found.too_long)})"
        )
    if found.refused:
        yield (
            f"warning: the chat template refuses {len(found.refused)} of {n} {name} pairs, which "
            f"were left out ({some(list(found.refused), found.refused)})"
        )
    if found.alike:
        yield (
            f"warning: the chat template prints both sides of {len(found.alike)} of {n} {name} "
            f"pairs alike; they were left out ({some(found.alike)})"
        )
    if found.without_tools:
        yield (
            f"warning: the chat template does not print the tools of {len(found.without_tools)} of "
            f"{n} {name} pairs ({some(found.without_tools)})"
        )
    if found.without_system:
        yield (
            "warning: the chat template does not print the system turn of "
            f"{len(found.without_system)} of {n} {name} pairs ({some(found.without_system)})"
        )
    if found.merged:
        row = next(iter(found.merged))
        yield (
            f"warning: the prompt of {len(found.merged)} of {n} {name} pairs does not end where a "
            f"token does, or is rendered differently before a response ({given[row].source}: "
            f"{found.merged[row][-40:]!r}): the model is trained on another context than it is "
            "asked in; end prompts at the border of a token, with no space behind them"
        )


def _check_vocabulary(folder: Path, tokeniser: Tokeniser, *pairs: TokenPairs) -> None:
    """Raises ConfigurationError where the data hold tokens that the model does not know."""
    known = vocabulary_size(folder)
    sides = [side for some in pairs for part in (some.prompt, some.chosen, some.rejected)
             for side in part]  # fmt: skip
    largest = max(max(ids, default=0) for ids in [*sides, (tokeniser.pad_token_id,)])
    if known is not None and largest >= known:
        raise ConfigurationError(
            f"the tokeniser of {folder} gives token {largest} "
            f"({tokeniser.convert_ids_to_tokens(largest)!r}), but its model has {known} tokens: "
            "name a folder whose tokeniser and model belong together"
        )


def _different(pairs: Sequence[Preference]) -> list[Preference]:
    """The first pair of each prompt, in the order of first appearance."""
    seen: dict[str, Preference] = {}
    for pair in pairs:
        seen.setdefault(repr((pair.prompt, pair.tools, dict(pair.template))), pair)
    return list(seen.values())


def _fitting(
    tokeniser: Tokeniser, asked: Sequence[Preference], limit: int, config: AlignConfig
) -> Prompts:
    """Prompts that leave room for an answer. Raises ConfigurationError where none does."""
    ids = [prompt_ids(tokeniser, pair.prompt, pair.tools, pair.template) for pair in asked]
    room = [row for row, tokens in enumerate(ids) if len(tokens) + config.max_new_tokens <= limit]
    if not room and (config.generates or config.evaluation_prompts):
        raise ConfigurationError(
            f"no prompt leaves room for {config.max_new_tokens} new tokens: the shortest has "
            f"{min(map(len, ids))} and the limit is {limit} (max_tokens, or the model's context): "
            "lower max_new_tokens, raise max_tokens, or use a model with a longer context"
        )
    return Prompts([pair.prompt for pair in asked], ids).take(room)
