"""W&B and MLflow as they are, both without a server: W&B's files, MLflow's data base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rayforge.errors import MachineError
from rayforge.files import write_json, write_text
from trainers.cli import main
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.runs import tracking
from trainers.runs.tracking import check_trackers, tracked

SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's key, server or project, whatever the machine has."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL",
                 "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs; MLflow takes several seconds to lay out a data base, so there is one."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def mlflow_client(runs: Path) -> Iterator[Any]:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    yield mlflow.MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")


def records(run: Path, *iterations: int, success: float = 0.5) -> None:
    with (run / "metrics.jsonl").open("a") as stream:
        for number in iterations:
            figures = {"updates": 8 * number, "rollout/success": success}
            line = {"iteration": number, "time_s": 1.0, "phase": "irl", **figures}
            stream.write(json.dumps(line) + "\n")


def history(client: Any, name: str, run: str) -> list[tuple[int, float]]:
    found = client.get_metric_history(run, name)
    return [(metric.step, metric.value) for metric in found]


def the_run(client: Any, name: str) -> Any:
    experiment = client.get_experiment_by_name("rayforge")
    (found,) = [
        run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == name
    ]
    return found


def test_what_is_missing_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_trackers(())
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"mlflow is not installed: pip install 'rayforge"):
        check_trackers(("mlflow",))
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        main(["irl", "train", "--track", "wandb", "--run", str(run)])
    assert stop.value.code == MachineError.exit_code and not run.exists()
    assert "the package wandb is not installed: pip install" in capsys.readouterr().err
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(MachineError, match="`wandb login` or set WANDB_API_KEY"):
        check_trackers(("mlflow", "wandb"))
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n login user\n password {SECRET}\n")
    (tmp_path / "netrc").chmod(0o600)
    check_trackers(("wandb",))
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with pytest.raises(MachineError, match="no key"):
        check_trackers(("wandb",))
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(("wandb",))


def test_figures_arrive_once_also_of_a_run_that_goes_on(
    runs: Path, mlflow_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setattr(tracking, "_EVERY", 0.05)
    config = IRLConfig(seed=3, track=("wandb", "mlflow"))
    run = runs / "first"
    run.mkdir()
    write_text(run / "config.yaml", to_yaml(config))
    with pytest.raises(KeyboardInterrupt), tracked(config.track, run, config):
        records(run, 1, 2)
        (run / "metrics.jsonl").open("a").write('{"iteration": 3, "upd')  # cut by a kill
        raise KeyboardInterrupt
    found = the_run(mlflow_client, "first")
    assert found.info.status == "FAILED"
    assert found.data.params["seed"] == "3" and found.data.params["network.hidden"]
    # Resumed from iteration 1: the file is cut back, and grows again.
    with tracked(config.track, run, config):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        write_text(run / "metrics.jsonl", lines[0] + "\n")
        records(run, 2, 3, 4, success=0.75)
        agent = {"success": {"mean": 0.25, "low": 0.2, "high": 0.3, "count": 9}}
        write_json(run / "evaluation_held_out.json",
                   {"split": "held_out", "agents": {"agent": agent, "random": agent}})  # fmt: skip
    found = the_run(mlflow_client, "first")
    assert found.info.status == "FINISHED"
    reached = history(mlflow_client, "rollout/success", found.info.run_id)
    assert reached == [(1, 0.5), (2, 0.5), (3, 0.75), (4, 0.75)]
    assert history(mlflow_client, "held_out/success", found.info.run_id) == [(4, 0.25)]
    for text in (run / "config.yaml", run / "tracking-id", *run.glob("wandb/**/*.yaml")):
        assert SECRET not in text.read_text()


def test_wandb_keeps_everything_where_it_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "second"
    run.mkdir()
    with tracked(("wandb",), run, IRLConfig()):
        records(run, 1, success=0.515625)
    wandb.teardown()  # as at the end of every process: its own process writes the rest
    (file,) = run.glob("wandb/offline-run-*/*.wandb")  # what `wandb sync` sends
    kept = file.read_bytes()
    assert b"rollout/success" in kept and b"0.515625" in kept and b"time_s" not in kept


def test_a_service_that_fails_does_not_end_the_run(
    runs: Path, mlflow_client: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*arguments: Any, **named: Any) -> None:
        raise ConnectionError(f"https://user:{SECRET}@example.org")

    run = runs / "third"
    run.mkdir()
    with tracked(("mlflow",), run, IRLConfig()):
        monkeypatch.setattr(type(mlflow_client), "log_batch", fail)
        records(run, 1, 2)
    told = capsys.readouterr().err
    assert told.count("warning: mlflow takes no more figures (ConnectionError)") == 1
    assert SECRET not in told
    monkeypatch.setattr(type(mlflow_client), "search_runs", fail)
    with pytest.raises(MachineError, match=r"mlflow cannot be used \(ConnectionError\)"):
        tracked(("mlflow",), run, IRLConfig()).__enter__()


def test_trials_of_a_search(runs: Path, mlflow_client: Any) -> None:
    from trainers.search.config import read_search
    from trainers.search.storage import Folder
    from trainers.search.tracking import TrackedTrials
    from trainers.search.trial import NAMES, NUMBER, REPORT

    file = Path(__file__).parents[3] / "tune_configs" / "irl.yaml"
    plan = read_search(file, {"track": ("mlflow",), "storage": str(runs), "name": "search"})
    metric = next(iter(plan.metrics))
    values = {r.key: r.ends[0] for r in plan.space.ranges}
    trial = SimpleNamespace(trial_id="ab12c_00000", config={**values, "search": plan, NUMBER: 1})
    callback = TrackedTrials(plan, Folder(str(runs), "search"), "own")
    for number in (1, 2):  # the second time as after --resume
        callback.on_trial_start(0, [], trial)
        result = {metric: number / 4, NAMES: json.dumps([metric]), REPORT: number, "config": {}}
        callback.on_trial_result(0, [], trial, result)
        callback.on_experiment_end([])
    callback.on_trial_start(0, [], trial)
    callback.on_trial_complete(0, [], trial)
    found = the_run(mlflow_client, "trial-0001")
    assert found.info.status == "FINISHED" and found.data.tags["rayforge.group"] == "search"
    assert history(mlflow_client, metric, found.info.run_id) == [(1, 0.25), (2, 0.5)]
    assert not any("Search(" in value for value in found.data.params.values())
    nothing = TrackedTrials(
        replace(plan, settings=replace(plan.settings, track=())), Folder("", ""), "own"
    )
    nothing.on_trial_start(0, [], trial)
    assert not nothing.open
