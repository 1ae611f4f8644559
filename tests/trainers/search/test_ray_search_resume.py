"""The real command, killed in the middle and resumed: every trial once, with its own number."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import yaml
from mlflow import MlflowClient

from rayforge.errors import ConfigurationError
from trainers import cli
from trainers.configuration import read_configuration, to_dict
from trainers.irl.config import IRLConfig
from trainers.search.run import FILE, search
from trainers.search.snapshots import TRIAL
from trainers.search.state import STATE
from trainers.search.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]  # several searches one after the other

ENDS = re.compile(r"trial +(\d+)  (?:is finished|was stopped early)", re.MULTILINE)
STARTS = re.compile(r"trial +(\d+)  starts", re.MULTILINE)


def tune(file: Path, log: Path, *arguments: str) -> subprocess.Popen[str]:
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "trainers.cli", "tune", str(file), *arguments],
            stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={
                **os.environ, "OMP_NUM_THREADS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "0",
                "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
            },
        )  # fmt: skip


def killed_and_resumed(folder: Path, tiny: IRLConfig, until: re.Pattern[str], **asked: Any) -> str:
    """Kill the search once `until` stands in its output; resume it; what it said after that."""
    file = folder / "mine.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "system": "irl",
                "base": json.loads(json.dumps({**to_dict(tiny), "evaluate": ["val_unseen"]})),
                "space": {
                    "learning_rate": {"loguniform": [1e-3, 1e-1]},
                    "imitation_weight": {"uniform": [0.0, 2.0]},
                },
                "metrics": {"val_unseen/navigation_error": "min"},
                "storage": str(folder),
                **asked,
            }
        )
    )
    first = tune(file, folder / "first.log")
    while not until.search((folder / "first.log").read_text()):
        assert first.poll() is None, (folder / "first.log").read_text()
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    traps = poison(folder / "mine", folder / "code ran")
    moved = folder / "moved"
    moved.mkdir()
    for name in ("mine", "mlflow.db"):
        if (folder / name).exists():
            (folder / name).rename(moved / name)
    resumed = tune(file, folder / "second.log", "--resume", "--storage", str(moved))
    assert resumed.wait(900) == 0, (folder / "second.log").read_text()
    for name in ("mine", "mlflow.db"):
        if (moved / name).exists():
            (moved / name).rename(folder / name)
    assert traps > 20 and not (folder / "code ran").exists()
    return (folder / "second.log").read_text()


class Payload:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.mark}'",)


def poison(search: Path, mark: Path) -> int:
    """Put pickles that leave `mark` wherever Tune, RLlib or older searches keep any; how many."""
    pickled = pickle.dumps(Payload(mark))
    hexed = json.dumps({"_type": "CLOUDPICKLE_FALLBACK", "value": pickled.hex()})
    state = {
        "trial_data": [[hexed, json.dumps({"trial_metadata": json.loads(hexed)})]],
        "runner_data": json.loads(hexed), "stats": {"start_time": json.loads(hexed)},
    }  # fmt: skip
    planted: list[Path] = []

    def plant(file: Path, data: bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        planted.append(file)

    started = [search, *search.glob("tune-*")]
    runs = [*search.glob("tune-*/trial-*/checkpoint_*"), *search.glob("trial-*")]
    assert runs
    for folder in [*started, *runs, *(r / "checkpoints" / "00000000" for r in runs)]:
        for name in (
            "tuner.pkl", "trainable.pkl", "searcher-state-2026-11-28_08-00-00.pkl", "params.pkl",
            "search_gen_state-2026-11-28_08-00-00.json", "error.pkl", "dict_checkpoint.pkl",
            ".tune_metadata", "algorithm_state.pkl", "class_and_ctor_args.pkl", "rllib.pkl",
            "module_state.pkl", "optimizer_state.pkl", "callbacks.pkl",
        ):  # fmt: skip
            plant(folder / name, pickled)
        for name in ("experiment_state-2026-11-28_08-00-00.json", ".metadata.json", "params.json"):
            plant(folder / name, json.dumps(state).encode())
    with zipfile.ZipFile(search / "state.zip", "w") as archive:
        archive.writestr("tuner.pkl", pickled)
    return len(planted)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "mine" / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_asha_and_optuna_go_on_with_what_is_missing(
    cluster: None, tiny: IRLConfig, tmp_path: Path
) -> None:
    second = killed_and_resumed(
        tmp_path, tiny, ENDS, scheduler="asha", searcher="optuna", trials=3, reports=2, grace=1,
        concurrent=1, track=["mlflow"],
    )  # fmt: skip
    before = set(ENDS.findall((tmp_path / "first.log").read_text()))
    after = STARTS.findall(second)
    assert before and not before & set(after)
    assert sorted(before | set(after)) == ["1", "2", "3"] and len(after) == len(set(after))
    rows = rows_of(tmp_path)
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    assert len({row["learning_rate"] for row in rows}) == 3  # Optuna did not begin anew
    # Each trial is judged against all before it, those before the kill too.
    trials = json.loads((tmp_path / "mine" / STATE).read_text())["trials"]
    errors = [t["reports"][0]["figures"]["val_unseen/navigation_error"] for t in trials]
    assert rows[0]["status"] == "finished"
    for number in (1, 2):
        wanted = "stopped" if errors[number] > np.median(errors[:number]) else "finished"
        assert rows[number]["status"] == wanted
    # In MLflow every trial is one run, with all its reports, whichever process they came from.
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("rayforge").experiment_id
    shown = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
    assert sorted(shown) == [f"{TRIAL}{number:04d}" for number in (1, 2, 3)]
    for row in rows:
        run = shown[f"{TRIAL}{int(row['trial']):04d}"]
        sent = client.get_metric_history(run, "val_unseen/navigation_error")
        assert [m.step for m in sent] == list(range(1, int(row["reports"]) + 1))
    # The last trial: the kill may come between the first one's last line and its settings.
    events = list((tmp_path / "mine").glob(f"tensorboard/{TRIAL}0003/events.out.tfevents.*"))
    assert any(b"hparams" in file.read_bytes() for file in events)
    best = read_configuration(IRLConfig, tmp_path / "mine" / "best.yaml")
    assert best.houses == tiny.houses and best.evaluate == ("val_unseen",)
    # Of Tune's own files nothing is left; what was planted elsewhere was never read.
    assert not list((tmp_path / "mine").glob("tune-*/**/*.pkl"))
    assert not (tmp_path / "code ran").exists()
    run = tmp_path / "mine" / f"{TRIAL}0002"
    for command in (["irl", "evaluate", str(run), "--split", "val_unseen"], ["report", str(run)]):
        cli.main(command)
    assert (run / "evaluation_val_unseen.json").is_file() and (run / "report.html").is_file()
    assert not (tmp_path / "code ran").exists()


def test_a_population_goes_on_with_its_members(
    cluster: None, tiny: IRLConfig, tmp_path: Path
) -> None:
    killed_and_resumed(
        tmp_path, tiny, re.compile(r"report 2"), scheduler="pbt", searcher="random", trials=3,
        reports=4, grace=1,
    )  # fmt: skip
    rows = rows_of(tmp_path)
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    assert {row["status"] for row in rows} == {"finished"}
    assert {row["reports"] for row in rows} == {"4"}
    for row in rows:
        assert 1e-3 <= float(row["learning_rate"]) <= 1e-1
    # Some member went on from a better one's checkpoint, under settings changed a little, before or
    # after the kill; and they are what it has in the end.
    trials = json.loads((tmp_path / "mine" / STATE).read_text())["trials"]
    assert any(trial["takeovers"] for trial in trials)
    for row, trial in zip(rows, trials, strict=True):
        run = tmp_path / "mine" / f"{TRIAL}{int(row['trial']):04d}"
        now = (trial["takeover"] or trial)["settings"]
        for key in ("learning_rate", "imitation_weight"):
            assert float(row[key]) == trial["settings"][key]
            assert getattr(read_configuration(IRLConfig, run / "config.yaml"), key) == now[key]


def test_more_cpus_than_a_cluster_has_are_told_with_the_sum(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "system": "irl",
                "base": {"runners": 8, "evaluate": ["val_unseen"]},
                "space": {"gamma": {"uniform": [0.9, 0.95]}},
                "metrics": {"val_unseen/success": "max"},
            }
        )
    )
    there = int(ray.cluster_resources()["CPU"])
    wanted = rf"takes 9 CPUs \(1 for the learner \+ 8 runners\), but the cluster has {there}"
    with pytest.raises(ConfigurationError, match=wanted):
        search(file, {"storage": str(tmp_path)}, False, "rayforge tune")
    assert Folder(str(tmp_path), "mine").read(FILE) is None
