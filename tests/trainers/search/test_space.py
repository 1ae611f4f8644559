"""The search space: what is accepted, drawn, enumerated, and turned into configurations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.errors import ConfigurationError
from trainers.configuration import to_dict
from trainers.irl.config import IRLConfig
from trainers.search.space import label_of, read_space, settle

BASE = to_dict(IRLConfig())

SPACE = {
    "augment_probability": {"uniform": [0.2, 0.8], "when": {"augment": True}},
    "learning_rate": {"loguniform": ["1e-4", 1e-2]},
    "network.hidden": {"choice": [32, 64]},
    "batch": {"uniform": [8, 64]},
    "augment": {"choice": [True, False]},
    "evaluate": {"choice": [["val_seen"], ["val_seen", "unseen"]]},
}


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_what_is_drawn_lies_in_its_range_and_makes_a_configuration(seed: int) -> None:
    space = read_space(IRLConfig, BASE, SPACE)
    drawn = space.draw(np.random.default_rng(seed))
    assert 1e-4 <= drawn["learning_rate"] <= 1e-2
    assert isinstance(drawn["batch"], int) and 8 <= drawn["batch"] <= 64
    assert ("augment_probability" in drawn) == drawn["augment"]
    config = settle(IRLConfig, BASE, drawn)
    assert config.network.hidden == drawn["network.hidden"]
    assert config.evaluate == drawn["evaluate"]
    # Labels are what Optuna and tables take; they lead back to the same values.
    labels = space.labels(drawn)
    assert all(isinstance(label, str | int | float | bool) for label in labels.values())
    assert space.values({**labels, "not a setting": 1}) == drawn


def test_optuna_is_asked_for_the_same_settings_as_chance_draws() -> None:
    import optuna

    space = read_space(IRLConfig, BASE, SPACE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(12):
        trial = study.ask()
        space(trial)
        assert ("augment_probability" in trial.params) == trial.params["augment"]
        assert space.values(trial.params)["evaluate"] in (("val_seen",), ("val_seen", "unseen"))
        seen.add(trial.params["augment"])
    assert seen == {True, False}


def test_a_grid_has_every_allowed_combination_once() -> None:
    space = read_space(
        IRLConfig,
        BASE,
        {
            "potential_shaping": {"choice": [True, False], "when": {"relabel": [False]}},
            "relabel": {"choice": [True, False]},
            "batch": {"choice": [8, 16]},
        },
    )
    points = [tuple(sorted(point.items())) for point in space.grid()]
    assert len(points) == len(set(points)) == 2 * (1 + 2)


def test_a_grid_of_a_range_is_refused() -> None:
    space = read_space(IRLConfig, BASE, {"gamma": {"uniform": [0.9, 0.99]}})
    with pytest.raises(ConfigurationError, match="gamma is uniform: list its values under choice"):
        space.grid()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"policy_lerning_rate": {"uniform": [0, 1]}}, "did you mean policy_learning_rate"),
        ({"network.hiden": {"choice": [8]}}, "did you mean network.hidden"),
        ({"network": {"choice": [8]}}, "network"),
        ({"gamma": {"uniform": [0.9, 1.2]}}, r"gamma must be in \[0, 1\], got 1.2"),
        ({"gamma": {"uniform": [0.9, 0.8]}}, "must rise"),
        ({"warm_up": {"loguniform": [0, 8]}}, "must rise from above 0"),
        ({"gamma": {"normal": [0.9, 0.1]}}, "one of uniform, loguniform, choice"),
        ({"gamma": {"uniform": [0.9]}}, r"must be \[least, most\]"),
        ({"gamma": {"choice": []}}, "must be a list of values"),
        ({"gamma": 0.9}, "must say how it varies"),
        ({"batch": {"uniform": [8.5, 16]}}, "batch must be of type int"),
        ({"method": {"choice": ["gcbc", "airl"]}}, "method must be one of langgoal, gcbc"),
        ({"method": {"uniform": ["gcbc", "langgoal"]}}, "needs a choice"),
        ({"gamma": {"choice": [0.9], "when": {"augment": True}}}, "augment, which is not searched"),
        ({}, "space is empty"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(entry: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_space(IRLConfig, BASE, entry)


def test_conditions_in_a_circle_and_conditions_that_never_hold_are_refused() -> None:
    circle = {
        "gamma": {"uniform": [0.9, 1.0], "when": {"relabel": True}},
        "relabel": {"choice": [True, False], "when": {"gamma": 0.9}},
    }
    with pytest.raises(ConfigurationError, match="depends on itself"):
        read_space(IRLConfig, BASE, circle)
    never = {
        "batch": {"choice": [8, 16]},
        "gamma": {"uniform": [0.9, 1.0], "when": {"batch": 32}},
    }
    with pytest.raises(ConfigurationError, match="none of its choices"):
        read_space(IRLConfig, BASE, never)


def test_true_is_not_one() -> None:
    space = read_space(IRLConfig, BASE, {"relabel": {"choice": [True, False]}})
    assert space.values({"relabel": False})["relabel"] is False
    assert label_of((1, 2)) == "[1, 2]"
