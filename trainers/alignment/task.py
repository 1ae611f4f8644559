"""What a run works on: pairs and prompts as token ids, held-out ones, a judge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import ConfigurationError, DataError
from trainers.alignment.config import AlignConfig
from trainers.alignment.judging import Judge
from trainers.alignment.models import Tokeniser, context_length
from trainers.alignment.reading import Source
from trainers.alignment.tokens import (
    Ids,
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
        if found.too_long:
            some = [f"{given[row].source}: {n}" for row, n in list(found.too_long.items())[:3]]
            more = ", ..." if len(found.too_long) > len(some) else ""
            print(
                f"warning: {len(found.too_long)} of {len(given)} {name} pairs are longer than "
                f"{limit} tokens and were left out ({', '.join(some)}{more})",
                file=sys.stderr,
            )
    asked = _different([training[row].prompt for row in tokens.rows])
    later = _different([held_out[row].prompt for row in held.rows])
    prompts, answered = (_fitting(tokeniser, some, limit, config) for some in (asked, later))
    answered = answered.take(range(min(len(answered), config.evaluation_prompts)))
    flips = [training[row].flipped for row in tokens.rows]
    known = any(flip is not None for flip in flips)
    flipped = np.array([bool(flip) for flip in flips]) if known else None
    return Task(tokens.pairs, flipped, held.pairs, prompts, answered, source.judge)


def _limit(config: AlignConfig, folder: Path) -> int:
    context = context_length(folder)
    return config.max_tokens if context is None else min(config.max_tokens, context)


def _different(prompts: Sequence[Any]) -> list[Any]:
    """Each prompt once, in the order of first appearance."""
    seen: dict[str, Any] = {}
    for prompt in prompts:
        seen.setdefault(repr(prompt), prompt)
    return list(seen.values())


def _fitting(
    tokeniser: Tokeniser, asked: Sequence[Any], limit: int, config: AlignConfig
) -> Prompts:
    """Prompts that leave room for an answer. Raises ConfigurationError where none does."""
    ids = [prompt_ids(tokeniser, prompt) for prompt in asked]
    room = [row for row, tokens in enumerate(ids) if len(tokens) + config.max_new_tokens <= limit]
    if not room and (config.generates or config.evaluation_prompts):
        raise ConfigurationError(
            f"no prompt leaves room for {config.max_new_tokens} new tokens: the shortest has "
            f"{min(map(len, ids))} and the limit is {limit} (max_tokens, or the model's context): "
            "lower max_new_tokens, raise max_tokens, or use a model with a longer context"
        )
    return Prompts(list(asked), ids).take(room)
