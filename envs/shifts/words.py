"""Shifts of instructions: token numbers int16 [B, N] in and out, severities 1 to 5."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from envs.shifts.shift import WORDS, Shift
from rayforge.language.vocabulary import END, PAD, SPECIAL, Vocabulary

SHARE = (0.1, 0.2, 0.35, 0.5, 0.7)
"""Share of an instruction's words that are dropped, misheard or moved."""


def paraphrases(route: np.ndarray, said: Sequence[str]) -> np.ndarray:
    """For each of B instructions a row whose instruction is another one of the same path, int64
    [B]; its own row where there is none.

    Args:
        route: numbers of the paths, int [B].
        said: the B instructions.
    """
    found = np.arange(len(route))
    for number in np.unique(route):
        rows = np.flatnonzero(route == number).tolist()
        for place, row in enumerate(rows):
            others = rows[place + 1 :] + rows[:place]
            found[row] = next((other for other in others if said[other] != said[row]), row)
    return found


def shifted_words(
    tokens: np.ndarray, shift: Shift, vocabulary: Vocabulary, seed: int = 0
) -> np.ndarray:
    """Instructions under a shift of `WORDS`; one word at least is left, and END stays the last.

    "dropped": words are left out. "misheard": a word becomes the known word that is spelt most
    like it. "shuffled": words change places with each other.
    """
    if shift.name not in WORDS:
        raise ValueError(f"{shift.name} is no shift of words; there are {', '.join(WORDS)}")
    share, rng = SHARE[shift.severity - 1], np.random.default_rng((seed, shift.severity))
    near = _nearest(tokens, vocabulary) if shift.name == "misheard" else {}
    found = np.full_like(tokens, PAD)
    for row, numbers in enumerate(tokens):
        words = numbers[(numbers != PAD) & (numbers != END)]
        chosen = rng.random(len(words)) < share
        if shift.name == "dropped":
            if len(words) and chosen.all():
                chosen[0] = False
            words = words[~chosen]
        elif shift.name == "misheard":
            heard = [near.get(w, w) for w in words.tolist()]
            words = np.where(chosen, np.array(heard, tokens.dtype), words)
        else:
            places = np.flatnonzero(chosen)
            words = words.copy()
            words[places] = words[rng.permutation(places)]
        end = (numbers == END).any()
        found[row, : len(words)] = words
        if end:
            found[row, len(words)] = END
    return found


def _nearest(tokens: np.ndarray, vocabulary: Vocabulary) -> dict[int, int]:
    """The other known word that shares most pairs of letters with each word that occurs (Dice)."""
    known = vocabulary.words[len(SPECIAL) :]
    letters = sorted({a + b for word in known for a, b in _pairs(word)})
    place = {pair: k for k, pair in enumerate(letters)}
    table = np.zeros((len(known), len(letters)), np.float32)
    for row, word in enumerate(known):
        for a, b in _pairs(word):
            table[row, place[a + b]] = 1.0
    sizes = table.sum(1)
    found = {}
    for number in np.unique(tokens).tolist():
        row = number - len(SPECIAL)
        if 0 <= row < len(known):
            dice = 2 * (table @ table[row]) / np.maximum(sizes + sizes[row], 1.0)
            dice[row] = -1.0
            found[number] = int(dice.argmax()) + len(SPECIAL)
    return found


def _pairs(word: str) -> list[tuple[str, str]]:
    marked = f"<{word}>"
    return list(pairwise(marked))
