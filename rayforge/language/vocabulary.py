"""Words and their numbers, learnt from the training text alone."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from rayforge.readers.faults import reading
from rayforge.readers.json_text import parse_json

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")

_JOINERS = "\u200c\u200d"
"""Stand inside words of Indic scripts and of Persian, and are no letters."""

_ALONE = "\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Characters of Chinese and Japanese, which are written without spaces: each is a word."""


_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[^\w\s]")


@cache
def _word_with_marks() -> re.Pattern[str]:
    """`_WORD` for text beyond ASCII: a letter's marks (vowel signs, accents that stand alone) are
    part of its word. Python's `\\w` knows letters and digits alone."""
    found = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c)[0] == "M")
    marks = f"[{found}\U000e0100-\U000e01ef{_JOINERS}]"
    letter = rf"(?:(?![{_ALONE}])[^\W_])"
    letters = rf"{letter}(?:{letter}|{marks})*"
    return re.compile(rf"{letters}(?:'{letters})?|[{_ALONE}]{marks}*|[^\w\s]{marks}*")


def words_of(text: str) -> list[str]:
    """Lower-case words, of any alphabet, and punctuation marks of an instruction, in order.

    Equal texts in different forms of Unicode (a letter with its accent, or an accent behind a
    letter) give equal words (form NFC).
    """
    text = text.lower().replace("\u2019", "'")
    if text.isascii():
        return _WORD.findall(text)
    return _word_with_marks().findall(unicodedata.normalize("NFC", text))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words and punctuation marks of a text stand in it: [begin, end) of each, in order.

    The words are those of `words_of`, before letters are made small and brought to form NFC.
    """
    pattern = _WORD if text.isascii() else _word_with_marks()
    return [match.span() for match in pattern.finditer(text)]


@dataclass(frozen=True)
class Vocabulary:
    """Known words in a fixed order; a word's number is its place.

    The first four are the special words of `SPECIAL`: padding, unknown, begin and end of
    instruction.
    """

    words: tuple[str, ...]
    _number: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise ValueError(f"a vocabulary begins with {SPECIAL}, got {self.words[:4]}")
        if len(set(self.words)) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise ValueError(f"vocabulary holds words twice: {twice[:5]}")
        object.__setattr__(self, "_number", {word: n for n, word in enumerate(self.words)})

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def from_texts(cls, texts: Iterable[str], min_count: int) -> Vocabulary:
        """Words that occur at least `min_count` times, most frequent first (ties by spelling)."""
        counts = Counter(word for text in texts for word in words_of(text))
        kept = sorted(
            (w for w, c in counts.items() if c >= min_count), key=lambda w: (-counts[w], w)
        )
        return cls(SPECIAL + tuple(kept))

    def encode(self, texts: Sequence[str], limit: int) -> tuple[np.ndarray, int]:
        """Token numbers of instructions: int16 [B, limit], END after the last word, padded with
        PAD.

        An instruction of more than `limit` - 1 words is cut there. Returns the array and how many
        instructions were cut.
        """
        tokens = np.full((len(texts), limit), PAD, dtype=np.int16)
        cut = 0
        for row, text in enumerate(texts):
            numbers = [self._number.get(word, UNKNOWN) for word in words_of(text)]
            if len(numbers) > limit - 1:
                numbers, cut = numbers[: limit - 1], cut + 1
            tokens[row, : len(numbers) + 1] = [*numbers, END]
        return tokens, cut

    def decode(self, tokens: np.ndarray) -> str:
        """The instruction of one row of token numbers, up to its END; special words are left
        out."""
        words = []
        for number in tokens:
            if number == END:
                break
            if number >= len(SPECIAL):
                words.append(self.words[int(number)])
        return re.sub(r" ([.,!?;:\u0964\u0965])", r"\1", " ".join(words))

    def to_json(self) -> str:
        return json.dumps(list(self.words), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The inverse of `to_json`; raises DataError for anything else."""
        with reading("the vocabulary"):
            words = parse_json(text, "the vocabulary")
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError("a vocabulary is a list of words")
            return cls(tuple(words))
