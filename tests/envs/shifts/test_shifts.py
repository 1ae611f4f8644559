"""Shifts: severities order them, they keep what they must, and bad ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.graph.observation import ObservationTables
from envs.shifts.features import shifted_tables
from envs.shifts.images import camera, shifted_images
from envs.shifts.shift import FEATURES, IMAGES, WORDS, Shift, read_shift
from envs.shifts.words import shifted_words
from envs.simulators.simulator import Camera
from rayforge.errors import ConfigurationError
from rayforge.language.vocabulary import END, PAD, Vocabulary

VIEWS = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_changed_the_more_the_severer(name: str) -> None:
    far = []
    for severity in range(1, 6):
        found = shifted_images(VIEWS, Shift(name, severity), seed=3)
        assert found.shape == VIEWS.shape and found.dtype == np.uint8
        assert (found == shifted_images(VIEWS, Shift(name, severity), seed=3)).all()
        far.append(np.abs(found.astype(float) - VIEWS).mean())
    assert far[0] > 0 and far[4] > far[0]
    if name != "mirrored":  # which views are drawn is chance
        assert far == sorted(far)


def test_blur_of_severity_four_is_the_articles() -> None:
    """Down to 8 x 8 and back: what is constant on blocks of 4 x 4 keeps its block means' order, and
    a chequerboard of single pixels becomes grey."""
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    found = shifted_images(np.repeat(board[None, :, :, None], 3, 3), Shift("blur", 4))
    assert found.min() >= 127 and found.max() <= 128
    even = np.full((1, 32, 32, 3), 77, np.uint8)
    assert (shifted_images(even, Shift("blur", 4)) == 77).all()


def test_cameras() -> None:
    assert camera(Camera(), Shift("higher", 3)).above_floor == pytest.approx(1.75)
    assert camera(Camera(), Shift("narrower", 5)).field_of_view == pytest.approx(31.5)


@pytest.mark.parametrize("name", FEATURES)
def test_tables_keep_geometry(name: str) -> None:
    rng = np.random.default_rng(1)
    k = rng.random((4, 2)).astype(np.float32)
    tables = ObservationTables(
        rng.random((4, 12, 6)).astype(np.float16), rng.random((8, 6)).astype(np.float16),
        np.arange(8, dtype=np.int32).reshape(4, 2), k, k, k,
    )  # fmt: skip
    found = shifted_tables(tables, Shift(name, 5))
    assert found.sectors.dtype == np.float16 and np.isfinite(found.sectors).all()
    assert not np.array_equal(found.sectors, tables.sectors)
    assert not np.array_equal(found.towards, tables.towards)
    assert (found.heading == k).all() and (found.edge == tables.edge).all()


WORDS_KNOWN = Vocabulary.from_texts(["walk past the lamp then walls of talk past"], 1)


@given(st.sampled_from(WORDS), st.integers(1, 5), st.integers(0, 99))
def test_instructions_stay_instructions(name: str, severity: int, seed: int) -> None:
    tokens, _ = WORDS_KNOWN.encode(["walk past the lamp", "walls"], 8)
    found = shifted_words(tokens, Shift(name, severity), WORDS_KNOWN, seed)
    assert found.shape == tokens.shape and found.dtype == tokens.dtype
    for before, after in zip(tokens, found, strict=True):
        assert (after == END).sum() == 1
        words = after[after != PAD]
        assert words[-1] == END and len(words) > 1
        if name == "shuffled":
            assert sorted(after) == sorted(before)
        if name == "dropped":
            assert len(words) <= (before != PAD).sum()


def test_a_misheard_word_is_spelt_alike() -> None:
    tokens, _ = WORDS_KNOWN.encode(["walk " * 30], 40)
    found = WORDS_KNOWN.decode(shifted_words(tokens, Shift("misheard", 5), WORDS_KNOWN)[0])
    assert set(found.split()) <= {"walk", "walls", "talk"} and found.split().count("walk") < 25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blurr:2", "did you mean blur"),
        ("fog", "there are blur, noise"),
        ("blur:6", "from 1 to 5, got '6'"),
        ("blur:0", "from 1 to 5"),
        ("blur:x", "from 1 to 5, got 'x'"),
        ("blur:2.5", "from 1 to 5"),
    ],
)
def test_a_bad_shift_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_shift(text, IMAGES, "deficit")
    assert read_shift("blur:4", IMAGES) == Shift("blur", 4)
    assert read_shift("blur", IMAGES).severity == 3


def test_a_paraphrase_is_another_instruction_of_the_same_path() -> None:
    from envs.shifts.words import paraphrases

    route = np.array([0, 0, 1, 2, 2, 2, 3, 3])
    said = ["a", "b", "a", "c", "c", "d", "e", "e"]
    assert paraphrases(route, said).tolist() == [1, 0, 2, 5, 5, 3, 6, 7]
