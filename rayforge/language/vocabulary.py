"""Words and their numbers, learnt from the training text alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Lower-case words, of any alphabet, and punctuation marks of a sentence, in order."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


@dataclass(frozen=True)
class Vocabulary:
    """Known words in a fixed order; a word's number is its place.

    The first four are the special words of `SPECIAL`: padding, unknown, begin and end of sentence.
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
        """Token numbers of sentences: int16 [B, limit], END after the last word, padded with PAD.

        A sentence of more than `limit` - 1 words is cut there. Returns the array and how many
        sentences were cut.
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
        """The sentence of one row of token numbers, up to its END; special words are left out."""
        words = []
        for number in tokens:
            if number == END:
                break
            if number >= len(SPECIAL):
                words.append(self.words[int(number)])
        return re.sub(r" ([.,!?;:])", r"\1", " ".join(words))

    def to_json(self) -> str:
        return json.dumps(list(self.words), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        return cls(tuple(json.loads(text)))
