"""Words and their numbers: what is kept, what is unknown, what is cut."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rayforge.language.vocabulary import (
    BEGIN,
    END,
    PAD,
    SPECIAL,
    UNKNOWN,
    Vocabulary,
    words_of,
)

TEXT = st.text(st.sampled_from("abz09 '.,!?;:-()\"\nA"), max_size=40)


def test_words_of_an_instruction() -> None:
    text = "Exit the TV-room, don't stop; it's 2 m (or 3)."
    expected = "exit the tv - room , don't stop ; it's 2 m ( or 3 ) ."
    assert words_of(text) == expected.split()
    assert words_of("  \n ") == []


def test_words_of_other_alphabets_and_apostrophes() -> None:
    assert words_of("Don\u2019t enter the Café-Bar, Küche_2") == [
        "don't", "enter", "the", "café", "-", "bar", ",", "küche", "2",
    ]  # fmt: skip


def test_most_frequent_first_and_ties_by_spelling() -> None:
    texts = ["the bed the lamp", "the lamp", "a bed", "sofa"]
    vocabulary = Vocabulary.from_texts(texts, min_count=1)
    assert vocabulary.words == (*SPECIAL, "the", "bed", "lamp", "a", "sofa")
    assert Vocabulary.from_texts(texts, 2).words == (*SPECIAL, "the", "bed", "lamp")
    assert (PAD, UNKNOWN, BEGIN, END) == (0, 1, 2, 3)
    assert len(vocabulary) == 9


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(TEXT, max_size=8), seed=st.integers(0, 9))
def test_order_does_not_depend_on_the_order_of_texts(texts: list[str], seed: int) -> None:
    mixed = texts.copy()
    random.Random(seed).shuffle(mixed)
    ours = Vocabulary.from_texts(texts, 1)
    assert Vocabulary.from_texts(mixed, 1) == ours
    assert set(ours.words[4:]) == {word for text in texts for word in words_of(text)}


@settings(max_examples=150, deadline=None)
@given(text=TEXT)
@example("walk . . then !")
@example("'tis o'clock' s")
def test_known_words_come_back(text: str) -> None:
    vocabulary = Vocabulary.from_texts([text], 1)
    tokens, cut = vocabulary.encode([text], 60)
    assert cut == 0
    assert words_of(vocabulary.decode(tokens[0])) == words_of(text)
    count = len(words_of(text))
    assert tokens[0, count] == END
    assert not tokens[0, count + 1 :].any()
    assert (tokens[0, :count] >= len(SPECIAL)).all()


def test_an_instruction_reads_as_it_was_written() -> None:
    text = "go left, past the lamp; then wait: there. ok?"
    vocabulary = Vocabulary.from_texts([text], 1)
    assert vocabulary.decode(vocabulary.encode([text], 40)[0][0]) == text


def test_unknown_words_are_marked_and_left_out_again() -> None:
    vocabulary = Vocabulary.from_texts(["go to the bed", "go to the lamp"], 2)
    tokens, _ = vocabulary.encode(["Go to the sofa now"], 8)
    number = vocabulary.words.index
    known = [number("go"), number("to"), number("the")]
    assert tokens[0].tolist() == [*known, UNKNOWN, UNKNOWN, END, PAD, PAD]
    assert vocabulary.decode(tokens[0]) == "go to the"


def test_special_words_cannot_be_written() -> None:
    vocabulary = Vocabulary.from_texts(["go <eos> <pad>"], 1)
    tokens, _ = vocabulary.encode(["go <eos> go"], 12)
    assert (tokens[0] == END).sum() == 1
    assert vocabulary.decode(tokens[0]) == "go < eos > go"


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 12), max_size=6), limit=st.integers(2, 9))
def test_long_instructions_are_cut_and_counted(sizes: list[int], limit: int) -> None:
    vocabulary = Vocabulary.from_texts(["go on and on"], 1)
    texts = [" ".join(["on"] * size) for size in sizes]
    tokens, cut = vocabulary.encode(texts, limit)
    assert tokens.shape == (len(sizes), limit)
    assert tokens.dtype == np.int16
    assert cut == sum(size > limit - 1 for size in sizes)
    for row, size in zip(tokens, sizes, strict=True):
        kept = min(size, limit - 1)
        assert (row[:kept] == vocabulary.words.index("on")).all()
        assert row[kept] == END
        assert not row[kept + 1 :].any()


def test_decoding_ends_at_the_end() -> None:
    vocabulary = Vocabulary.from_texts(["go on"], 1)
    go, on = vocabulary.words.index("go"), vocabulary.words.index("on")
    assert vocabulary.decode(np.array([BEGIN, go, UNKNOWN, END, on])) == "go"
    assert vocabulary.decode(np.array([go, on])) == "go on"
    assert vocabulary.decode(np.array([END])) == ""


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXT, max_size=5))
def test_json_gives_the_same_vocabulary_back(texts: list[str]) -> None:
    vocabulary = Vocabulary.from_texts(texts, 1)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary
    np.testing.assert_array_equal(again.encode(texts, 9)[0], vocabulary.encode(texts, 9)[0])


def test_a_wrong_list_of_words_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with"):
        Vocabulary(("go", "on"))
    with pytest.raises(ValueError, match=r"twice: \['go'\]"):
        Vocabulary((*SPECIAL, "go", "on", "go"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "\u0926\u0930\u0935\u093e\u091c\u093c\u0947 \u0938\u0947 \u091c\u093e\u0913\u0964",
            4,
        ),  # Hindi
        ("\u0c24\u0c32\u0c41\u0c2a\u0c41 \u0c28\u0c41\u0c02\u0c21\u0c3f.", 3),  # Telugu
        ("\u0915\u094d\u200d\u0937", 1),  # a joiner inside
        ("\u0e1b\u0e23\u0e30\u0e15\u0e39", 1),  # Thai
        ("\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd", 1),  # Hebrew with points
        ("\u0645\u0631\u062d\u0628\u064b\u0627", 1),  # Arabic with a vowel
        ("K\u00fcche", 1),
        ("Ku\u0308che", 1),
        ("x\u0301y's \u2764\ufe0f", 2),
    ],
)
def test_marks_belong_to_their_words(text: str, words: int) -> None:
    found = words_of(text)
    assert len(found) == words
    assert "".join(found) == "".join(unicodedata.normalize("NFC", text.lower()).split())


@given(st.text())
def test_forms_of_one_text_are_one(text: str) -> None:
    composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert words_of(apart) == words_of(composed)


@pytest.mark.parametrize("text", ["3", "{}", "[1]", "[", '["<pad>"]', "[" * 100_000])
def test_what_is_no_vocabulary(text: str) -> None:
    with pytest.raises(ValueError):
        Vocabulary.from_json(text)
