"""Which settings a run may change when it goes on, and which make it another method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayforge.errors import ConfigurationError, RunError
from rayforge.reports.comparison import merge_seeds
from rayforge.reports.run_folder import read_run
from rayforge.settings import MAY_CHANGE, NOT_LEARNT, RESOURCE, UNDER_WAY, settings_with
from trainers.alignment.config import AlignConfig
from trainers.amodal.config import VideoConfig
from trainers.both.config import BothConfig
from trainers.configuration import to_yaml
from trainers.irl.adapt_config import AdaptConfig
from trainers.irl.config import IRLConfig
from trainers.runs.identity import check_settings, going_on


@pytest.mark.parametrize("kind", [IRLConfig, AlignConfig, AdaptConfig])
def test_what_may_change_on_resume_says_nothing_about_what_is_learnt(kind: type[Any]) -> None:
    # How far roll-outs may lag, and how weights are sent, follow the cluster that a run goes on in.
    # They change what is learnt, so runs that differ in them are methods of their own.
    lag = {"staleness", "sent_weights"}
    assert set(settings_with(kind, MAY_CHANGE)) - lag <= set(settings_with(kind, NOT_LEARNT))
    assert not set(settings_with(kind, UNDER_WAY)) & set(settings_with(kind, NOT_LEARNT))


@pytest.mark.parametrize("config", [IRLConfig(), AlignConfig()], ids=["irl", "align"])
def test_a_run_goes_on_with_another_tracker_and_other_threads(config: Any) -> None:
    check_settings(config, replace(config, track=("mlflow",), threads=2), "runs/x")
    with pytest.raises(ConfigurationError, match=r"^runs/x was made .*: seed was 0 and is now 1; "):
        check_settings(config, replace(config, seed=1, threads=2), "runs/x")


@pytest.mark.parametrize(
    ("config", "name"), [(IRLConfig(), "updates"), (AlignConfig(), "rounds")], ids=["irl", "align"]
)
def test_a_run_may_be_trained_longer_and_not_shorter(config: Any, name: str) -> None:
    was = getattr(config, name)
    check_settings(config, replace(config, **{name: was + 5}), "runs/x")
    with pytest.raises(ConfigurationError, match=f"{name} {was}, .* longer, got {was - 1}: give"):
        check_settings(config, replace(config, **{name: was - 1}), "runs/x")


def test_a_setting_inside_a_group_is_named_with_others() -> None:
    asked = replace(IRLConfig(), houses=replace(IRLConfig().houses, seed=4), gamma=0.5)
    with pytest.raises(ConfigurationError, match=r"gamma was 0.95 and is now 0.5 \(also houses"):
        check_settings(IRLConfig(), asked, "runs/x")


def test_seeds_of_one_method_are_one_group(tmp_path: Path) -> None:
    """Four seeds gave four groups where `track`, `open_scenes` and `runner_resource` differed."""
    changes: list[dict[str, Any]] = [
        {}, {"track": ("mlflow",)}, {"open_scenes": 8}, {"runner_resource": "rollout"},
    ]  # fmt: skip
    runs = []
    for seed, changed in enumerate(changes):
        run = tmp_path / f"run-{seed}"
        run.mkdir()
        (run / "config.yaml").write_text(to_yaml(replace(IRLConfig(), seed=seed, **changed)))
        runs.append(read_run(run))
    (group,) = merge_seeds(runs, settings_with(IRLConfig, NOT_LEARNT))
    assert len(group.runs) == 4


def test_resources_of_both_systems_are_found() -> None:
    found = settings_with(BothConfig, RESOURCE)
    assert {"irl.runners", "irl.device", "align.workers", "align.actors", "align.device"} <= {
        *found
    }


@pytest.mark.parametrize("kind", [IRLConfig, AlignConfig, VideoConfig])
def test_a_run_goes_on_with_data_that_moved(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other, run = tmp_path / "first", tmp_path / "other", tmp_path / "run"
    for folder in (first, other, run):
        folder.mkdir()
    saved = kind(data=str(first))
    (run / "config.yaml").write_text(to_yaml(saved))
    monkeypatch.chdir(run)
    assert going_on(run, saved) == going_on(run, replace(saved, data="../first")) == saved
    for name in ("../other", str(other)):  # the old one is there: these are other data
        asked = going_on(run, replace(saved, data=name))
        with pytest.raises(ConfigurationError, match=r"data was '.*first' and is now '/.*other'"):
            check_settings(saved, asked, "runs/x")
    first.rename(tmp_path / "moved")
    with pytest.raises(RunError, match=r"made with data .*first, which is not there .* --data PL"):
        going_on(run, saved)
    asked = going_on(run, replace(saved, data="../moved"))
    assert Path(asked.data).is_absolute() and Path(asked.data).samefile(tmp_path / "moved")
    check_settings(saved, asked, "runs/x")
    for name in ("houses", "../nowhere"):
        with pytest.raises(ConfigurationError, match="data was"):
            check_settings(saved, going_on(run, replace(saved, data=name)), "runs/x")
