"""Configurations: YAML there and back, and errors that name the key, the value and the remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.houses.dataset import HousesConfig
from rayforge.errors import ConfigurationError
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from trainers.alignment.config import AlignConfig
from trainers.configuration import (
    from_dict,
    placed,
    read_configuration,
    to_dict,
    to_yaml,
)
from trainers.irl.config import IRLConfig

EVERYTHING_ELSE = IRLConfig(
    data="../r2r", held_out=("a", "b"), features="clip.hdf5", neighbour_rooms=True,
    houses=HousesConfig(train_houses=3, seed=9), method="gcbc", text=False, warm_start=False,
    network=NetworkConfig(word=7, hidden=8, dropout=0.0),
    generator=GeneratorConfig(latent=3, top_p=0.0, learning_rate=1e-5),
    learning_rate=3e-7, runners=2, seed=11, evaluate=(),
)  # fmt: skip


@dataclass(frozen=True)
class Inner:
    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"inner.size must not be negative, got {self.size}")


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    rate: float = 0.5
    whole: bool = False
    kind: Literal["x", "y"] = "x"
    file: Path | None = None
    names: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize("config", [IRLConfig(), EVERYTHING_ELSE], ids=["defaults", "others"])
def test_yaml_there_and_back(config: IRLConfig, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    assert read_configuration(IRLConfig, file) == config
    assert from_dict(IRLConfig, to_dict(config)) == config
    assert list(to_dict(config)) == [f.name for f in fields(IRLConfig)], "in the order written"


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(max_size=8),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    whole=st.booleans(),
    kind=st.sampled_from(["x", "y"]),
    file=st.none() | st.sampled_from([Path("a/b"), Path("/")]),
    names=st.lists(st.text(max_size=5), max_size=3),
    size=st.integers(0, 10**12),
)
def test_any_values_come_back(
    name: str, rate: float, whole: bool, kind: Any, file: Path | None, names: list[str], size: int
) -> None:
    config = Outer(name, rate, whole, kind, file, tuple(names), Inner(size))
    assert from_dict(Outer, yaml.safe_load(to_yaml(config))) == config


def test_what_is_left_out_keeps_its_default() -> None:
    assert from_dict(IRLConfig, {}) == IRLConfig()
    config = from_dict(IRLConfig, {"network": {"hidden": 32}, "seed": 3})
    assert config == IRLConfig(network=NetworkConfig(hidden=32), seed=3)


def test_dotted_keys_are_nested_ones() -> None:
    dotted = from_dict(IRLConfig, {"network.hidden": 32, "generator.top_p": 0.5, "network.word": 9})
    assert dotted.network == NetworkConfig(hidden=32, word=9)
    assert dotted.generator == GeneratorConfig(top_p=0.5)
    mixed = from_dict(Outer, {"inner": {"size": 4}, "inner.size": 5})
    assert mixed.inner.size == 5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rat": 1e-3}, "unknown setting learning_rat; did you mean learning_rate?"),
        ({"network": {"hiden": 3}}, "unknown setting network.hiden; did you mean network.hidden?"),
        ({"generator.latnet": 3}, "unknown setting generator.latnet; did you mean generator.lat"),
        ({"seed.x": 1}, "seed must be of type int, got {'x': 1}"),
        ({"seed": "three"}, "seed must be of type int, got 'three'"),
        ({"seed": 1.5}, "seed must be of type int, got 1.5"),
        ({"seed": True}, "seed must be of type int, got True"),
        ({"seed": None}, "seed must be of type int, got None"),
        ({"gamma": "high"}, "gamma must be of type float, got 'high'"),
        ({"gamma": True}, "gamma must be of type float, got True"),
        ({"text": 1}, "text must be of type bool, got 1"),
        ({"text": "yes"}, "text must be of type bool, got 'yes'"),
        ({"data": 5}, "data must be of type str, got 5"),
        ({"held_out": "house"}, "held_out must be a list, got 'house'"),
        ({"held_out": ["a", 1]}, "held_out must be of type str, got 1"),
        ({"method": "dagger"}, "forcing, got 'dagger'"),
        ({"network": 3}, "network holds settings of its own, got 3"),
        ({"network": None}, "network holds settings of its own, got None"),
    ],
)
def test_wrong_keys_and_types_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_dict(IRLConfig, values)
    assert said in str(caught.value)


def test_an_unknown_key_without_a_near_one_lists_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="unknown setting zzz; there are name, rate,"):
        from_dict(Outer, {"zzz": 1})


def test_numbers_are_read_as_yaml_writes_them(tmp_path: Path) -> None:
    """YAML reads 1e-3 as a string and 1 as an integer; both are numbers to a user."""
    file = tmp_path / "config.yaml"
    file.write_text("learning_rate: 1e-3\ngamma: 1\nheld_out: [a]\n")
    assert read_configuration(IRLConfig, file) == IRLConfig(
        learning_rate=1e-3, gamma=1.0, held_out=("a",)
    )


WRONG: list[tuple[str, Any]] = [
    *(
        (name, 0)
        for name in (
            "min_word_count", "max_words", "batch", "positives", "negatives",
            "updates_per_iteration", "episodes_per_iteration", "replay", "replay_window",
        )
    ),
    *((name, -1) for name in ("clone_updates", "updates", "runners", "threads", "seed")),
    ("gamma", 1.01), ("gamma", -0.1), ("gamma", float("nan")), ("polyak", 2.0),
    ("augment_probability", -0.5), ("max_steps", 1), ("max_words", 1),
    ("label_smoothing", 0.5), ("label_smoothing", -0.1), ("temperature", 0.0),
    ("entropy_target", -1.0), ("imitation_weight", -1.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_values_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as direct:
        replace(IRLConfig(), **{name: value})
    assert str(value) in str(direct.value)
    with pytest.raises(ConfigurationError, match=name):
        from_dict(IRLConfig, {name: value})


def test_ranges_of_nested_settings_are_checked_too() -> None:
    with pytest.raises(ConfigurationError, match="hidden must be even, got 15"):
        from_dict(IRLConfig, {"network.hidden": 15})
    with pytest.raises(ConfigurationError, match="train_houses"):
        from_dict(IRLConfig, {"houses": {"train_houses": 0}})
    with pytest.raises(ConfigurationError, match=r"inner\.size must not be negative, got -1"):
        from_dict(Outer, {"inner.size": -1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sed: 3\n", "unknown setting sed; did you mean seed?"),
        ("", "holds no settings"),
        ("- 1\n- 2\n", "holds no settings"),
        ("seed: [1\n", "cannot be read"),
        ("gamma: 7\n", "gamma must be in [0, 1], got 7.0"),
    ],
)
def test_errors_in_a_file_name_it(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(IRLConfig, file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: no such file"):
        read_configuration(IRLConfig, tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_configuration(IRLConfig, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigurationError, match=r"binary\.yaml: cannot be read"):
        read_configuration(IRLConfig, tmp_path / "binary.yaml")


def test_rungs_are_configurations_and_not_forks() -> None:
    full = IRLConfig()
    assert full.adversarial
    assert full.generates
    base = replace(full, augment=False, relabel=False)
    assert base.adversarial
    assert not base.generates
    cloning = replace(full, method="gcbc")
    assert not cloning.adversarial
    assert not cloning.generates
    assert full.cloning_first == full.clone_updates
    assert replace(full, warm_start=False).cloning_first == 0
    assert replace(cloning, warm_start=False).cloning_first == full.clone_updates
    assert asdict(replace(base, augment=True, relabel=True)) == asdict(full)


def test_baselines_have_what_they_learn_from_and_no_more() -> None:
    full = IRLConfig()
    networks = {
        method: (run.adversarial, run.generates, run.rolls_out)
        for method in ("gcbc", "gail", "completion", "hindsight", "forcing")
        for run in (replace(full, method=method),)  # type: ignore[arg-type]
    }
    assert networks == {
        "gcbc": (False, False, False),
        "gail": (True, False, True),
        "completion": (True, False, True),
        "hindsight": (False, True, True),
        "forcing": (False, False, True),
    }
    transferred = replace(full, reward_from="runs/other")
    assert transferred.adversarial and not transferred.generates
    assert transferred.cloning_first == 0, "a policy from scratch"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "forcing", "env": "continuous"}, "forcing.*env must be"),
        ({"method": "gail", "reward_from": "x"}, "reward_from needs method"),
        ({"reward_from": "x", "start_from": "y"}, "leave start_from out"),
        ({"likeliest_left_out": 1.5}, "likeliest_left_out must be in"),
    ],
)
def test_methods_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IRLConfig(**settings)


def test_places_are_kept_as_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert placed(IRLConfig()) == IRLConfig(), "what is not there stays a name"
    assert placed(AlignConfig(data="nobody/pairs:train")).data == "nobody/pairs:train"
    for name in ("houses", "mine", "runs", "tiny", "semantic"):
        (tmp_path / name).mkdir()
    (tmp_path / "f.h5").touch()
    here = placed(
        IRLConfig(data="./mine", features="f.h5", start_from="runs", extra_demonstrations="none")
    )
    assert here.data == str(tmp_path / "mine") and here.features == str(tmp_path / "f.h5")
    assert here.start_from == str(tmp_path / "runs") and here.extra_demonstrations == "none"
    assert capsys.readouterr().out == ""
    # A folder that is named like a default wins, and that is said; features are no folder.
    assert placed(IRLConfig()).data == str(tmp_path / "houses")
    assert placed(IRLConfig()).features == "semantic"
    assert f"data: houses is the folder {tmp_path}/houses here" in capsys.readouterr().out
    words = placed(AlignConfig(data="mine:test", judge=""))
    assert words.data == f"{tmp_path}/mine:test" and words.model == str(tmp_path / "tiny")
    assert placed(words) == words


def test_settings_are_read_by_their_old_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("spared: 0.5\nrecent: 77\nfurther: more.json\n")
    found = read_configuration(IRLConfig, file)
    assert (found.likeliest_left_out, found.replay_window) == (0.5, 77)
    assert found.extra_demonstrations == "more.json"
    assert from_dict(IRLConfig, to_dict(found)) == found
    file.write_text("spared: 0.5\nlikeliest_left_out: 0.5\n")
    with pytest.raises(ConfigurationError, match="spared is the old name of likeliest_left_out"):
        read_configuration(IRLConfig, file)
