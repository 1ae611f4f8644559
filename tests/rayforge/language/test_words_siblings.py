"""Words of scripts that are written without spaces, with marks, or with pictures."""

from __future__ import annotations

import pytest

from rayforge.language.vocabulary import Vocabulary, word_spans, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("去厨房、停。", ["去", "厨", "房", "、", "停", "。"]),
        ("go to 厨房2", ["go", "to", "厨", "房", "2"]),
        ("キッチンへ", ["キ", "ッ", "チ", "ン", "へ"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("주방으로 가세요", ["주방으로", "가세요"]),
        ("اذهب إلى المطبخ", ["اذهب", "إلى", "المطبخ"]),
        ("go 🚪👨\u200d👩 e\u0301", ["go", "🚪", "👨\u200d", "👩", "é"]),
        ("don\u2019t stop\u2014now", ["don't", "stop", "\u2014", "now"]),
    ],
)
def test_words_of_many_scripts(text: str, words: list[str]) -> None:
    assert words_of(text) == words
    if "e\u0301" not in text and "\u2019" not in text:
        assert [text[begin:end] for begin, end in word_spans(text)] == words


def test_sentences_of_chinese_share_words() -> None:
    known = Vocabulary.from_texts(["去厨房"], 1)
    assert known.encode(["厨房在哪"], 8)[0][0].tolist().count(1) == 2
