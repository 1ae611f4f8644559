"""Requests as numbers: words hashed into a table that is learnt, and vectors that stand fixed.

`text` names the fixed part: "small" has none, "wordllama" takes the static vectors that this
package ships, anything else is the folder of a transformers model.
"""

from __future__ import annotations

import importlib.util
import unicodedata
import zlib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from rayforge.errors import ConfigurationError
from rayforge.language.vocabulary import word_spans
from rayforge.readers.faults import one_line

SMALL, STATIC = "small", "wordllama"
BUCKETS = 2**14
"""Rows of the table that hashes point into; row 0 is padding."""
GRAMS = 12
"""Hashes of a word: itself, its shape, its first and last three letters, up to eight trigrams."""


class FixedVectors(Protocol):
    """Vectors of words that are not learnt here."""

    width: int

    def vectors(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Words of each sentence -> float32 [words, width] of each."""

    def alone(self, words: Sequence[str]) -> np.ndarray:
        """Words without a sentence -> float32 [words, width]."""


def spans_of(text: str) -> list[tuple[int, int]]:
    """[begin, end) of the words of a request; an apostrophe parts them ("John", "'", "s"), because
    a name ends before it."""
    found: list[tuple[int, int]] = []
    for begin, end in word_spans(text):
        start = begin
        for place in range(begin, end):
            if text[place] in "'\u2019" and end - begin > 1:
                found += [(start, place)] if place > start else []
                found.append((place, place + 1))
                start = place + 1
        found += [(start, end)] if start < end else []
    return found


def words_in(text: str) -> list[str]:
    """The words of a request as they stand, capitals kept."""
    return [text[begin:end] for begin, end in spans_of(text)]


@lru_cache(maxsize=100_000)
def normal(text: str) -> str:
    """A request as tables and comparisons take it: small letters, form NFKC, single spaces, no
    punctuation. "" where no letter or digit is left."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = [plain[begin:end] for begin, end in word_spans(plain)]
    return " ".join(word for word in words if word[0].isalnum())


@lru_cache(maxsize=200_000)
def hashes(word: str) -> np.ndarray:
    """int64 [GRAMS] of one word: rows of the learnt table, padded with 0."""
    small = word.lower()
    framed = f"<{small}>"
    trigrams = [framed[n : n + 3] for n in range(max(0, len(framed) - 2))][: GRAMS - 4]
    features = [
        f"w:{small}", f"x:{_shape(word)}", f"p:{small[:3]}", f"s:{small[-3:]}",
        *(f"t:{gram}" for gram in trigrams),
    ]  # fmt: skip
    found = np.zeros(GRAMS, np.int64)
    found[: len(features)] = [
        1 + zlib.crc32(feature.encode("utf-8", "surrogatepass")) % (BUCKETS - 1)
        for feature in features
    ]
    return found


def _shape(word: str) -> str:
    """Capital first "Aa", capitals alone "A", with digits "0", marks ".", all others "a"."""
    if not any(letter.isalnum() for letter in word):
        return f".{word[:1]}"
    if any(letter.isdigit() for letter in word):
        return f"0{min(len(word), 4)}"
    if word.isupper() and len(word) > 1:
        return "A"
    return "Aa" if word[:1].isupper() else "a"


@cache
def fixed_vectors(text: str) -> FixedVectors | None:
    """The fixed vectors that a setting names; None for "small".

    Raises ConfigurationError where the package is not installed or the folder holds no model.
    """
    if text == SMALL:
        return None
    if text == STATIC:
        return StaticVectors()
    if not (Path(text) / "config.json").is_file():
        raise ConfigurationError(
            f"text must be {SMALL}, {STATIC} or the folder of a transformers model (it has a"
            f" config.json), got {text[:80]!r}"
        )
    return ContextVectors(Path(text))


class StaticVectors:
    """Vectors of 256 numbers for 32,000 pieces of words, which the package `wordllama` ships; a
    word is the mean of its pieces. The package's files are read, its code is not run: importing
    it changes the process's logging."""

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        found = importlib.util.find_spec("wordllama")
        places = found.submodule_search_locations if found else None
        if not places:
            raise ConfigurationError(
                "text wordllama needs the package wordllama: pip install 'rayforge[feedback]', or"
                " take text small"
            )
        folder = Path(places[0])
        weights = load_file(folder / "weights" / "l2_supercat_256.safetensors")
        self.table = weights["embedding.weight"].astype(np.float32)
        # Scaled so that a number is about 1, as layers behind it expect.
        self.table /= self.table.std()
        self.width = self.table.shape[1]
        file = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
        self._tokenizer = Tokenizer.from_file(str(file))
        self._known: dict[str, np.ndarray] = {}

    def vectors(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        new = sorted({w.lower() for words in sentences for w in words} - self._known.keys())
        if len(self._known) + len(new) > 500_000:  # hostile logs: every word a new one
            self._known.clear()
            new = sorted({w.lower() for words in sentences for w in words})
        pieces = self._tokenizer.encode_batch(_sound(new), add_special_tokens=False)
        for word, piece in zip(new, pieces, strict=True):
            ids = np.minimum(np.array(piece.ids, np.int64), len(self.table) - 1)
            vector = self.table[ids].mean(0) if len(ids) else np.zeros(self.width)
            self._known[word] = vector.astype(np.float32)
        empty = np.zeros((0, self.width), np.float32)
        return [np.stack([self._known[w.lower()] for w in s]) if s else empty for s in sentences]

    def alone(self, words: Sequence[str]) -> np.ndarray:
        return self.vectors([words])[0]


def _sound(words: Sequence[str]) -> list[str]:
    """Words without halves of surrogate pairs, which no tokeniser takes."""
    return [word.encode("utf-8", "replace").decode() for word in words]


class ContextVectors:
    """The last layer of a transformers model; a word is the mean of its pieces."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        try:
            # Nothing of the folder is run or unpickled.
            own = {"local_files_only": True, "trust_remote_code": False}
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **own)
            self._model, found = AutoModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **own
            )
            self._model.eval()
        except Exception as error:
            raise ConfigurationError(
                f"text {folder}: no model and tokeniser that transformers reads"
                f" ({type(error).__name__}); name the folder of a saved model"
            ) from None
        # A classifier's pooler is not asked for; what else is missing would be noise.
        missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
        if missing:
            raise ConfigurationError(
                f"text {folder}: its *.safetensors lack {len(missing)} weights of the model that"
                f" config.json describes ({one_line(missing[0])}); name the folder of a whole model"
            )
        if not self._tokenizer.is_fast:
            raise ConfigurationError(f"text {folder}: the tokeniser must be a fast one")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._limit = int(getattr(self._model.config, "max_position_embeddings", 512))
        self._torch = torch
        self._known: dict[str, np.ndarray] = {}
        self.width = int(self._model.config.hidden_size)

    def vectors(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for first in range(0, len(sentences), 64):
            found += self._batch(sentences[first : first + 64])
        return found

    def alone(self, words: Sequence[str]) -> np.ndarray:
        new = sorted(set(words) - self._known.keys())
        if len(self._known) + len(new) > 100_000:
            self._known.clear()
            new = sorted(set(words))
        for word, vector in zip(new, self.vectors([[word] for word in new]), strict=True):
            self._known[word] = vector[0]
        return np.stack([self._known[word] for word in words])

    def _batch(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        filled = [_sound(words) or ["."] for words in sentences]
        encoded = self._tokenizer(
            filled, is_split_into_words=True, padding=True, truncation=True,
            max_length=self._limit, return_tensors="pt",
        )  # fmt: skip
        with self._torch.no_grad():
            states = self._model(**encoded).last_hidden_state.float().numpy()
        found = []
        for row, words in enumerate(sentences):
            total = np.zeros((len(words), self.width), np.float32)
            count = np.zeros(len(words), np.float32)
            for place, word in enumerate(encoded.word_ids(row)):
                if word is not None and word < len(words):
                    total[word] += states[row, place]
                    count[word] += 1
            found.append(total / np.maximum(count, 1)[:, None])
        return found
