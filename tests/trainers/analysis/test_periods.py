"""Periods: known answers of the protocol (checks 8, 9), the command at a tiny size, bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from rayforge.errors import ConfigurationError
from rayforge.evaluation.sensitivity import rates, rises_then_falls, sensitivity
from trainers import cli
from trainers.analysis.periods_config import PeriodsConfig, Trial, read_periods, trials_of
from trainers.analysis.transfer_config import read_transfer


def _linear(onset: int, arm: str, seeds: int = 6) -> float:
    """Squared weight error of the sheet's two-layer linear network whose second input is hidden
    during [0, onset), after 160 clean steps more."""
    target, clean, decay = np.array([1.0, 0.7]), 160, 0.02
    steps = onset + clean
    rate = rates(arm, 0.05, 0.98, onset, steps)  # type: ignore[arg-type]
    errors = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        first, second = 0.3 * rng.normal(size=(4, 2)), 0.3 * rng.normal(size=4)
        for t in range(steps):
            seen = np.array([1.0, 0.0 if t < onset else 1.0])
            gap = (second @ first - target) * seen  # gradient under unit covariance of what is seen
            first, second = (
                first - rate[t] * (np.outer(second, gap) + decay * first),
                second - rate[t] * (first @ gap + decay * second),
            )
        errors.append(float(np.square(second @ first - target).sum()))
    return float(np.mean(errors))


def test_the_schedule_alone_makes_or_reverses_the_effect() -> None:
    """Check 9. The sheet does not say how its weights start: the direction is held, not digits."""
    running = [_linear(onset, "running") for onset in (0, 40, 160)]
    restarted = [_linear(onset, "restarted") for onset in (0, 40, 160)]
    assert running[0] < running[1] < running[2] and running[2] > 3 * running[0]
    assert restarted[0] > restarted[2]


def test_step_sizes_of_the_arms() -> None:
    running = rates("running", 1.0, 0.5, 2, 4)
    assert running.tolist() == [1.0, 0.5, 0.25, 0.125]
    assert rates("restarted", 1.0, 0.5, 2, 4).tolist() == [1.0, 0.5, 1.0, 0.5]
    constant = rates("constant", 1.0, 0.5, 2, 4)
    assert np.ptp(constant) == 0
    assert constant[0] ** 2 == pytest.approx(0.5)  # the geometric mean of two clean steps
    with pytest.raises(ValueError, match="unknown arm"):
        rates("warm", 1.0, 0.5, 0, 2)  # type: ignore[arg-type]


def test_sensitivity_and_shape() -> None:
    assert sensitivity(np.array([0.8, 0.5]), np.array([0.4, 0.5])).tolist() == [50.0, 0.0]
    assert rises_then_falls(np.array([1, 5, 3, 2]))
    assert not rises_then_falls(np.array([1, 2, 3])) and not rises_then_falls(np.array([3, 2, 1]))


def test_trials_have_equal_clean_blocks_and_each_a_name() -> None:
    config = PeriodsConfig("x", onsets=(0, 3), seeds=(0, 1), length=2, clean=5)
    trials = trials_of(config)
    assert len(trials) == 3 * 2 * (2 + 1 + 2)
    for trial in trials.values():
        clean = sum(not trial.damaged(k) for k in range(trial.blocks))
        assert clean == (0 if trial.experiment == "damaged" else 5)
    at_the_end = trials_of(PeriodsConfig("x", onsets=(0, 5), seeds=(0,), length=2, clean=5))
    assert "removal running 0-5 seed 0" in at_the_end  # its clean blocks follow, a window's do not
    assert "window running 5-7 seed 0" not in at_the_end
    window = trials["window running 3-5 seed 1"]
    assert [window.damaged(k) for k in range(7)] == [False] * 3 + [True] * 2 + [False] * 2
    assert Trial(config, "control", "running", 0, 0, 0).blocks == 5


TINY = {
    "onsets": [0, 1], "length": 1, "clean": 2, "arms": ["running", "restarted"], "seeds": [0, 1],
}  # fmt: skip


@pytest.fixture(scope="module")
def studied(houses: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("periods")
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**TINY, "data": str(houses), "views": 64}))
    cli.main(["analyse", "periods", str(file), "--out", str(folder / "out")])
    return folder


def test_rooms_at_a_tiny_size(studied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads((studied / "out" / "periods.json").read_text())
    arm = found["arms"]["running"]
    assert found["trials"] == 2 * 2 * (2 + 1 + 2)
    assert arm["reading"]["learnt"] == (arm["control"]["low"] > arm["chance"])
    assert len(arm["curve"]["trace"]) == 2 and arm["window"][1]["onset"] == 1
    assert arm["removal"][0]["sensitivity"]["mean"] == 0  # nothing was removed: the control itself
    before = (studied / "out" / "rows.jsonl").read_text()
    cli.main(["analyse", "periods", str(studied / "study.yaml"), "--out", str(studied / "out")])
    assert (studied / "out" / "rows.jsonl").read_text() == before
    with pytest.raises(SystemExit):
        other = {**yaml.safe_load((studied / "study.yaml").read_text()), "clean": 3}
        (studied / "other.yaml").write_text(yaml.safe_dump(other))
        cli.main(["analyse", "periods", str(studied / "other.yaml"), "--out", str(studied / "out")])
    assert "clean was 2 and is now 3" in capsys.readouterr().err


def test_a_null_deficit_costs_nothing(houses: Path) -> None:
    """Check 8: trials of one seed are paired to the bit."""
    from envs.shifts.shift import Shift
    from trainers.analysis.rooms import Epoch, accuracy, room_split, train_recogniser

    split = room_split(str(houses), 64, 38)
    epochs = [Epoch(k < 1, 0.1) for k in range(2)]
    plain = train_recogniser(split, epochs, None, 0)
    again = train_recogniser(split, [Epoch(False, 0.1)] * 2, Shift("blur", 4), 0)
    hurt = train_recogniser(split, epochs, Shift("blur", 4), 0)
    assert accuracy(plain, split.test) == accuracy(again, split.test)
    assert any(
        not (a == b).all() for a, b in zip(plain.parameters(), hurt.parameters(), strict=True)
    )


def test_the_undisturbed_recogniser_learns(houses: Path) -> None:
    """A network that names the most frequent kind has nothing that a deficit could cost."""
    from trainers.analysis.rooms import Epoch, accuracy, most_frequent, room_split, train_recogniser

    split = room_split(str(houses), 400, 240)
    network = train_recogniser(split, [Epoch(False, 0.05)] * 8, None, 0)
    assert accuracy(network, split.train) > 0.2 + most_frequent(split._replace(test=split.train))


@pytest.mark.parametrize("deficit", ["noise:5", "dropped:5", "withheld"])
def test_clones_at_a_tiny_size(houses: Path, deficit: str) -> None:
    from trainers.analysis.periods import run_trial

    config = PeriodsConfig(
        str(houses), subject="clone", deficit=deficit, clean=2, updates=1, onsets=(0, 1),
        base={"network": {"word": 8, "hidden": 8}, "batch": 4, "max_steps": 10},
    )  # fmt: skip
    control = run_trial(Trial(config, "control", "running", 0, 0, 0))
    window = run_trial(Trial(config, "window", "running", 0, 1, 0))
    assert len(control["curve"]) == 2 and control["curve"][0]["trace"] > 0
    assert 0 <= window["score"] <= 1 and window["curve"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deficit": "blurr:2"}, "did you mean blur"),
        ({"deficit": "blur:7"}, "from 1 to 5"),
        ({"deficit": "dropped:2"}, "unknown shift 'dropped'"),
        ({"onsets": [0, 9]}, "a window that begins at 9 ends beyond training"),
        ({"onsets": [-1]}, "onsets must not be negative"),
        ({"onsets": [0, 0]}, "onsets: 0 stands twice"),
        ({"seeds": [-1]}, "seeds must not be negative"),
        ({"seeds": [1, 1]}, "seeds: 1 stands twice"),
        ({"arms": ["runing"]}, "did you mean running"),
        ({"experiments": []}, "experiments is empty"),
        ({"subject": "room"}, "subject must be one of"),
        ({"onset": [1]}, "did you mean onsets"),
        ({"clean": 0}, "clean must be"),
    ],
)
def test_a_bad_file_is_one_line(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**TINY, "data": "nowhere", **changes}))
    with pytest.raises(ConfigurationError, match=message):
        read_periods(file)


def test_the_files_of_the_repository_are_whole() -> None:
    folder = Path(__file__).parents[3] / "tune_configs" / "analyses"
    files = sorted(folder.glob("periods*.yaml"))
    assert {read_periods(file).subject for file in files} == {"rooms", "clone", "preferences"}
    grid = read_transfer(folder / "transfer.yaml")
    assert grid.made is not None and len(grid.read_targets()) == 20
    made = grid.made
    assert len(made.sources) * len(made.variants) * len(made.seeds) == 24
