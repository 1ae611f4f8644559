"""What goes wrong between what a person means to say and what is heard.

Designed here. A recogniser confuses words that sound alike, so that its errors come again: a word
is heard as one of a few others, the same for everybody. People, too, say less than they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rayforge.language.vocabulary import words_of

SOUND, VAGUE, AMBIGUOUS, PRIVATE = "sound", "vague", "ambiguous", "private"
KINDS = (SOUND, VAGUE, AMBIGUOUS, PRIVATE)
"""sound: a word was misheard; vague: only the last clause was said; ambiguous: only the kind of
room was said; private: a name that only this user knows."""
CONFUSIONS = 2
"""Words at most that a word is taken for."""

_SOUNDS = (
    (r"[^a-z]", ""), (r"ph", "f"), (r"gh(?=t|$)", ""), (r"wh", "w"), (r"kn", "n"), (r"wr", "r"),
    (r"ck|q", "k"), (r"c(?=[eiy])", "s"), (r"c", "k"), (r"x", "ks"), (r"sh|ch|tch|j|zh", "S"),
    (r"th", "T"), (r"[td]", "t"), (r"[bp]", "p"), (r"[kg]", "k"), (r"[fv]", "f"), (r"[sz]", "s"),
    (r"[mn]", "n"), (r"(.)\1+", r"\1"), (r"e$", ""), (r"[aeiouy]+", "a"),
)  # fmt: skip
"""Letters to sounds, in order: voiced and voiceless are one, as are all vowels."""


def sound_of(word: str) -> str:
    """A rough code of how an English word sounds; words of one code sound alike."""
    code = word.lower()
    for pattern, sound in _SOUNDS:
        code = re.sub(pattern, sound, code)
    return code


def confusions(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each word those among `words` that it is taken for: `CONFUSIONS` at most, of the same
    sound first, then of one sound more, less or other; () where nothing sounds like it."""
    known = sorted({word for word in words if len(word) > 2 and word.isalpha()})
    of_code: dict[str, list[str]] = {}
    for word in known:
        code = sound_of(word)
        for key in {code, *(code[:k] + code[k + 1 :] for k in range(len(code)))}:
            if len(key) > 1:
                of_code.setdefault(key, []).append(word)
    found = {}
    for word in known:
        code = sound_of(word)
        keys = [code, *(code[:k] + code[k + 1 :] for k in range(len(code)))]
        near = [(other, sound_of(other)) for key in keys for other in of_code.get(key, ())]
        ranked = sorted(
            {(c != code, abs(len(other) - len(word)), other) for other, c in near if other != word}
        )
        found[word] = tuple(other for _, _, other in ranked[:CONFUSIONS])
    return found


def misheard(
    text: str, table: Mapping[str, tuple[str, ...]], rate: float, rng: np.random.Generator
) -> str:
    """`text` with each word that can be confused replaced with probability `rate`."""
    if rate <= 0:
        return text
    pieces = re.split(r"([A-Za-z]+)", text)
    draws = rng.random(len(pieces))
    for place in range(1, len(pieces), 2):
        others = table.get(pieces[place].lower(), ())
        if others and draws[place] < rate:
            # What is left of the draw chooses, so that a text takes as many numbers as pieces.
            pieces[place] = others[int(draws[place] / rate * len(others))]
    return "".join(pieces)


def last_clause(text: str) -> str:
    """The last clause of an instruction: what somebody says who thinks the rest goes without
    saying. The whole text where it has one clause alone."""
    clauses = clauses_of(text)
    return clauses[-1] if clauses else text


def clauses_of(text: str) -> list[str]:
    """The clauses of an instruction, cut at full stops, commas, "and" and "then"; pieces of fewer
    than three words stay with the one before."""
    found: list[str] = []
    for piece in re.split(r"[.,;!?]+|\band\b|\bthen\b", text, flags=re.IGNORECASE):
        piece = " ".join(piece.split())
        if not piece:
            continue
        if found and len(piece.split()) < 3:
            found[-1] = f"{found[-1]} {piece}"
        else:
            found.append(piece)
    return found


def vocabulary_of(texts: Sequence[str]) -> list[str]:
    """The words of texts, most frequent first."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in words_of(text):
            counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=lambda word: (-counts[word], word))
