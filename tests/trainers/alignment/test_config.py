"""Settings that cannot work are refused with value and remedy, before anything is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from rayforge.alignment import margin
from trainers.alignment import config as module
from trainers.alignment.config import AlignConfig
from trainers.alignment.preflight import idle_notes


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beta": 0.0}, "beta must be above 0, got 0.0"),
        ({"beta": -0.1}, "beta must be above 0, got -0.1"),
        ({"responses": 1}, "responses is 1, but a pair needs two"),
        ({"temperature": 0.0}, "temperature is 0, so all responses"),
        ({"generated_share": (0.3, 0.5)}, "round 1 the model is the reference"),
        ({"generated_share": (0.0, 1.0)}, "generated_share must be in \\[0, 1\\)"),
        ({"keep": 0.0}, "keep must be in \\(0, 1\\], got 0.0"),
        ({"batch": 32, "workers": 3}, "batch 32 cannot be split into 3 equal parts"),
        ({"batch": 8, "accumulate": 16}, "cannot be split into 16"),
        ({"generator": "vllm", "device": "cuda"}, "generator vllm needs actors"),
        ({"label_smoothing": 0.5}, "label_smoothing must be in \\[0, 0.5\\)"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(AlignConfig(method="sera"), **settings)


def test_one_response_is_enough_where_nothing_is_generated() -> None:
    assert not AlignConfig(method="sera", responses=1, generated_share=(0.0,)).generates
    assert not AlignConfig(responses=1, method="dpo").generates


def test_settings_that_change_nothing_are_named() -> None:
    assert idle_notes(AlignConfig(method="sera", length_head=True)) == []
    assert idle_notes(AlignConfig(workers=2, shard=True)) == []
    assert idle_notes(AlignConfig(method="dpo", length_head=True, shard=True)) == [
        "note: shard splits a model among workers, and workers is 0: nothing is split",
        "note: method dpo chooses nothing by its margins: length_head changes nothing",
    ]


def test_all_methods_take_equally_many_steps() -> None:
    for method in get_args(module.Method):
        config = AlignConfig(method=method, score="judge", rounds=3, steps=7)
        assert config.round_count * config.round_steps == 21


def test_every_loss_has_its_reward() -> None:
    assert get_args(module.Loss) == get_args(margin.Loss)
