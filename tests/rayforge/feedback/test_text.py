"""Text encoders: what is learnt, the static vectors of a package, any transformers folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rayforge.errors import ConfigurationError
from rayforge.feedback.encoder import EncoderConfig, Pair, Query, train_encoder
from rayforge.feedback.labeller import Dialogue, Labeller, LabellerConfig, Turn
from rayforge.feedback.labelling import label_dialogues
from rayforge.feedback.rephrases import RephraseConfig, Said, Session, find_rephrases, train_reader
from rayforge.feedback.text import BUCKETS, GRAMS, STATIC, fixed_vectors, hashes
from rayforge.language.tiny_model import TinyModelConfig, make_tiny_model, make_tokeniser

TEXTS = ["go to the kitchen", "find the red chair", "stop at the stairs", "turn left"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A transformers model with random weights, saved as its authors save one."""
    place = tmp_path_factory.mktemp("model")
    config = TinyModelConfig(width=16, layers=1, inner=32, context=64, vocabulary=512)
    tokeniser = make_tokeniser(TEXTS, config.vocabulary)
    make_tiny_model(config, tokeniser).save_pretrained(place)
    tokeniser.save_pretrained(place)
    return str(place)


def test_a_word_is_rows_of_the_table_and_likes_share_some() -> None:
    one, other = hashes("kitchen"), hashes("kitchan")
    assert one.shape == (GRAMS,)
    assert ((one >= 0) & (one < BUCKETS)).all()
    assert one[0] != other[0]
    assert len(set(one[4:].tolist()) & set(other[4:].tolist())) >= 4
    assert hashes("Kitchen")[0] == one[0]
    assert hashes("Kitchen")[1] != one[1]  # its shape


def test_static_vectors_know_what_words_mean() -> None:
    pytest.importorskip("wordllama")
    vectors = fixed_vectors(STATIC)
    assert vectors is not None
    sofa, couch, seven = vectors.alone(["sofa", "couch", "seven"])
    unit = [v / np.linalg.norm(v) for v in (sofa, couch, seven)]
    assert unit[0] @ unit[1] > 0.3 + unit[0] @ unit[2]
    (none, two) = vectors.vectors([[], ["Sofa", "xqzw\ud800"]])
    assert none.shape == (0, 256)
    assert np.array_equal(two[0], sofa)


def test_vectors_of_a_model_depend_on_the_sentence_and_alone_on_none(folder: str) -> None:
    vectors = fixed_vectors(folder)
    assert vectors is not None
    first, empty, last = vectors.vectors([["go", "to", "kitchen"], [], ["find", "kitchen"]])
    assert (first.shape, empty.shape, last.shape) == ((3, 16), (0, 16), (2, 16))
    assert not np.allclose(first[2], last[1], atol=1e-4)
    assert np.array_equal(vectors.alone(["kitchen"]), vectors.alone(["go", "kitchen"])[1:])
    long = vectors.vectors([["kitchen"] * 500])[0]
    assert long.shape == (500, 16)  # what the model cannot read is zero
    assert not long[-1].any()


def test_every_part_takes_any_text_encoder(folder: str) -> None:
    for text in ("small", folder):
        pairs = [Pair(Query(f"please {t}"), t) for t in TEXTS]
        encoder = train_encoder(EncoderConfig(text, 8, epochs=1), pairs)
        assert np.linalg.norm(encoder.encode(TEXTS), axis=1) == pytest.approx(np.ones(4), abs=1e-5)
        model = Labeller(LabellerConfig(text=text, word=8, hidden=8, heads=1, layers=1)).eval()
        assert len(label_dialogues(model, [Dialogue((Turn("go"), Turn("")))])[0]) == 2
        config = RephraseConfig(text=text, width=8, heads=1, layers=1, epochs=1)
        sessions = [Session((Said("go up"), Said("up")), (1, 0, 2))]
        assert len(find_rephrases(train_reader(config, sessions), sessions)) == 1


def test_what_is_no_text_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="small, wordllama or the folder"):
        fixed_vectors("bert")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="no model and tokeniser") as error:
        fixed_vectors(str(tmp_path))
    assert "\n" not in str(error.value)
