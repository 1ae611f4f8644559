"""Both halves on a real cluster of a head and three nodes, which are killed while they train.

    python -m benchmarks.cluster_faults --out runs/cluster_faults

Of each half a run without a cluster is made first. Then the same run is submitted as a job, and one
after the other, by SIGKILL to every process: a node that holds runners or workers, the node of the
job's driver, the head. A new node takes the place of a lost one, as the autoscaler would see to it;
a job whose driver was lost is submitted again with --resume. In the end every record of
`metrics.jsonl`, times apart, and every weight of the model must be the undisturbed run's, bit by
bit. Exit code 1 where anything differs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
import tyro

from benchmarks.local_cluster import LocalCluster
from envs.houses.dataset import write_houses
from envs.houses.route_task import RouteTaskConfig
from rayforge.errors import RunError
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from rayforge.language.tiny_model import TinyModelConfig
from trainers.alignment.config import AlignConfig
from trainers.alignment.models import fingerprint
from trainers.alignment.sft import StartConfig
from trainers.alignment.training import newest_checkpoint
from trainers.configuration import read_configuration, to_yaml
from trainers.irl.config import IRLConfig
from trainers.runs.checkpoint import latest
from trainers.runs.folder import hardware, held

Half = Literal["irl", "align"]
Fault = Literal["worker", "learner", "head"]

FAULTS: tuple[Fault, ...] = ("worker", "learner", "head")
SHARES = {"worker": 0.2, "learner": 0.45, "head": 0.7}
"""Share of a run's iterations after which each node is killed."""
NODES = {"learner": {"learner": 1.0}, "rollout-a": {"rollout": 2.0}, "rollout-b": {"rollout": 2.0}}
"""The three nodes, of a CPU for each of these; the head has neither."""
DRIVER = f"{sys.executable} -m trainers.cli"
OURS = {
    "runners": "ray::PathRunner", "Train workers": "ray::RayTrainWorker", "scorers": "ray::Holder",
}  # fmt: skip
"""Processes that do our work on a node, and how their titles begin."""
PATIENCE_S = 300.0
"""How long a job may take to get to the next fault, or to its end."""
ORPHANED_S = 10
"""How long nodes look for a lost head before they end; Ray's own choice is a minute."""


@dataclass(frozen=True)
class Struck:
    """What a fault hit, and how the run went on."""

    half: Half
    killed: str
    at: int
    """Iterations (agents) or optimiser steps (alignment) done by then."""
    saved: int
    """Of them in a whole checkpoint."""
    went_on_from: int


@dataclass(frozen=True)
class Outcome:
    """How a disturbed run ended, against the undisturbed one."""

    half: Half
    wanted: int
    reached: int
    continuous: bool
    """Every iteration has one record, in order."""
    same_records: bool
    same_model: bool

    @property
    def good(self) -> bool:
        return (
            self.wanted == self.reached
            and self.continuous
            and self.same_records
            and self.same_model
        )


@dataclass(frozen=True)
class ClusterFaults:
    """Kill a node, the learner's node and the head under running jobs."""

    out: Path
    """Folder for runs, logs and faults.json; it must not hold any yet."""
    halves: tuple[Half, ...] = ("irl", "align")
    faults: tuple[Fault, ...] = FAULTS
    updates: int = 160
    """Adversarial updates of the agent, two an iteration."""
    steps: int = 40
    """Optimiser steps of each of three rounds of alignment."""

    def __call__(self) -> None:
        began = time.perf_counter()
        self.out.mkdir(parents=True)
        out = self.out.resolve()
        struck: list[Struck] = []
        outcomes: list[Outcome] = []
        for half in self.halves:
            settings = out / f"{half}.yaml"
            settings.write_text(to_yaml(self._config(half, out)))
            whole, broken = out / f"{half}-undisturbed", out / f"{half}-disturbed"
            print(f"{half}: the undisturbed run", flush=True)
            _train_here(half, settings, whole)
            wanted = progress(half, whole)
            with Disturbed(half, settings, broken, wanted) as run:
                struck += run.go(self.faults)
            outcomes.append(compare(half, whole, broken))
            print(report([s for s in struck if s.half == half], outcomes[-1:]), flush=True)
        minutes = (time.perf_counter() - began) / 60
        table = report(struck, outcomes)
        print(f"\n{hardware()}; {minutes:.1f} minutes\n\n{table}")
        document = {
            "hardware": hardware(), "minutes": minutes,
            "faults": [asdict(s) for s in struck], "outcomes": [asdict(o) for o in outcomes],
        }  # fmt: skip
        (out / "faults.json").write_text(json.dumps(document, indent=1) + "\n")
        raise SystemExit(0 if all(outcome.good for outcome in outcomes) else 1)

    def _config(self, half: Half, out: Path) -> IRLConfig | AlignConfig:
        if half == "align":
            return AlignConfig(
                routes=RouteTaskConfig(pairs=256, start_routes=128, test_routes=16),
                tiny=TinyModelConfig(width=32, layers=2), start=StartConfig(10, 10),
                method="sera", rounds=3, steps=self.steps, batch=8, learning_rate=2e-4, prompts=16,
                max_new_tokens=16, evaluation_prompts=8, checkpoint_steps=5, threads=1,
                workers=2, actors=1,
            )  # fmt: skip
        houses = out / "houses"
        write_houses(houses, train_houses=2, unseen_houses=1, paths_per_house=12, seed=0)
        return IRLConfig(
            data=str(houses), network=NetworkConfig(word=16, hidden=32),
            generator=GeneratorConfig(word=16, hidden=16, latent=4, updates=8, batch=16),
            clone_updates=8, updates=self.updates, updates_per_iteration=2,
            batch=16, positives=8, negatives=8,
            episodes_per_iteration=128, warm_up=10, threads=1, runners=2,
            checkpoint_minutes=0.05, evaluate=("val_seen",),
        )  # fmt: skip


class Disturbed:
    """One job, the cluster it runs on, and what is done to both."""

    def __init__(self, half: Half, settings: Path, run: Path, wanted: int) -> None:
        self.half, self.settings, self.run, self.wanted = half, settings, run, wanted
        self.jobs = 0
        self.lines: list[str] = []
        self.job: subprocess.Popen[str] | None = None

    def __enter__(self) -> Disturbed:
        self._start_cluster()
        return self

    def __exit__(self, *error: object) -> None:
        self.cluster.close()
        if self.job is not None:
            self.job.kill()

    def go(self, faults: Sequence[Fault]) -> list[Struck]:
        """Submit the job, let every fault happen to it, see it end. Raises RuntimeError with the
        job's last lines where it does not."""
        self._submit()
        struck = []
        for fault in faults:
            self._wait(partial(self._ready_for, fault))
            victim = "head" if fault == "head" else self._node_of(fault)
            holds = _held_by(self.cluster.nodes[victim].family())
            self.cluster.kill(victim)
            moment = time.time()
            at, saved = progress(self.half, self.run), checkpointed(self.half, self.run)
            print(f"{self.half}: killed {victim} ({holds}) after {at} of {self.wanted}", flush=True)
            if fault == "head":
                self._lose_job()
                self.cluster.close()
                self._start_cluster()
                self._submit()
            else:
                kind = victim.split(".")[0]
                self.cluster.start_node(f"{kind}.{self.jobs}", NODES[kind])
                if fault == "learner":
                    self._lose_job()
                    self._submit()
            # A driver may write on after its head has gone, to the end even.
            self._wait(partial(self._is_beyond, progress(self.half, self.run)))
            went_on = at if self.half == "irl" and fault == "worker" else self._went_on(moment)
            struck.append(Struck(self.half, f"{victim} ({holds})", at, saved, went_on))
        self._wait(lambda: self._ended() == 0)
        return struck

    def _start_cluster(self) -> None:
        self.cluster = LocalCluster(
            settings={
                "RAY_scheduler_spread_threshold": "0.0",  # as in cluster.yaml
                "RAY_gcs_rpc_server_reconnect_timeout_s": str(ORPHANED_S),
            }
        )
        self.cluster.start_head(0)
        for name, offers in NODES.items():
            self.cluster.start_node(name, offers)

    def _submit(self) -> None:
        """The job, or the job again with --resume; its lines go to a log of its own."""
        self.jobs += 1
        how = ["--resume", str(self.run)]
        if self.jobs == 1:
            how = ["--config", str(self.settings), "--run", str(self.run)]
            if self.half == "irl":
                how += ["--runner-resource", "rollout"]
        self.lines = []
        self.job = self.cluster.submit(
            f"{self.half}-{self.jobs}", sys.executable, "-m", "trainers.cli", self.half, "train",
            *how, options=("--entrypoint-resources", json.dumps({"learner": 1})),
        )  # fmt: skip
        log = self.run.with_name(f"{self.run.name}-job-{self.jobs}.log")
        threading.Thread(target=_keep, args=(self.job, self.lines, log), daemon=True).start()

    def _ended(self) -> int | None:
        assert self.job is not None
        return self.job.poll()

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Raises RuntimeError where the job fails, or takes too long to come so far."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if self._ended() or time.monotonic() > deadline:
                raise RuntimeError(
                    f"job {self.jobs} of {self.half} "
                    + ("failed" if self._ended() else "did not get on")
                    + f" at {progress(self.half, self.run)} of {self.wanted}, its last lines:\n"
                    + "".join(self.lines[-20:])
                )
            self.cluster.mend()
            time.sleep(0.05)

    def _is_beyond(self, count: int) -> bool:
        """Whether the job has got further than `count`, or to its end."""
        return progress(self.half, self.run) > count or self._ended() == 0

    def _ready_for(self, fault: Fault) -> bool:
        if progress(self.half, self.run) < SHARES[fault] * self.wanted:
            return False
        return fault == "head" or bool(self._node_of(fault))

    def _node_of(self, fault: Fault) -> str:
        """A node that holds runners or workers but not the driver, or the driver's; "" if none."""
        for name, node in self.cluster.nodes.items():
            family = node.family()
            drives = any(_title(process).startswith(DRIVER) for process in family)
            works = any(_title(process).startswith(tuple(OURS.values())) for process in family)
            if drives if fault == "learner" else works and not drives:
                return name
        return ""

    def _lose_job(self) -> None:
        """Wait until the head knows, where it lives, and no process is left that would write to the
        run. (The submitting command ends sooner: it was following the lost node.)"""
        deadline = time.monotonic() + PATIENCE_S
        while self._runs() or _taken(self.run):
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {self.jobs} of {self.half} lives on without its node")
            time.sleep(0.2)

    def _runs(self) -> bool:
        if "head" not in self.cluster.nodes:
            return False
        job = self.cluster.ask("GET", f"/api/jobs/{self.half}-{self.jobs}", self.cluster.token)
        return job["status"] in ("PENDING", "RUNNING")

    def _went_on(self, moment: float) -> int:
        """Up to where the records of before `moment` were kept."""
        if self.half == "irl":
            self._wait(lambda: bool(self._resumed()))  # the job's lines come after its records
            return self._resumed()[-1]
        kept = [r["updates"] for r in records(self.run) if r["time"] < moment]
        return max(kept, default=0)

    def _resumed(self) -> list[int]:
        """The iterations that the job said it resumed from."""
        told = re.findall(r"resumed from .*: iteration (\d+)", "".join(self.lines))
        return [int(iteration) for iteration in told]


def _keep(job: subprocess.Popen[str], lines: list[str], log: Path) -> None:
    assert job.stdout is not None
    with log.open("w") as file:
        for line in job.stdout:
            lines.append(line)
            file.write(line)
            file.flush()


def _train_here(half: Half, settings: Path, run: Path) -> None:
    """The same configuration without a cluster: Ray on this machine alone, a driver that lives."""
    command = [sys.executable, "-m", "trainers.cli", half, "train", "--config", str(settings)]
    if half == "irl":
        command += ["--runners", "0"]  # their number changes nothing
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_raylet_start_wait_time_s": "180"}
    done = subprocess.run(
        [*command, "--run", str(run)], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the undisturbed run failed:\n{done.stderr}")


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _held_by(family: Sequence[psutil.Process]) -> str:
    """What a node holds of ours, in words."""
    titles = [_title(process) for process in family]
    starts = {"driver": DRIVER, **OURS}
    counts = {name: sum(t.startswith(start) for t in titles) for name, start in starts.items()}
    return ", ".join(f"{name}: {count}" for name, count in counts.items() if count) or "Ray alone"


def _taken(run: Path) -> bool:
    try:
        with held(run):
            return False
    except RunError:
        return True


def records(run: Path) -> list[dict[str, Any]]:
    """What a run has recorded; the last line may still be being written."""
    found = []
    file = run / "metrics.jsonl"
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def progress(half: Half, run: Path) -> int:
    """Iterations of the agent, or optimiser steps of alignment, that are recorded."""
    key = "iteration" if half == "irl" else "updates"
    return max((int(record[key]) for record in records(run)), default=0)


def checkpointed(half: Half, run: Path) -> int:
    """Of those, how many are in a whole checkpoint."""
    if half == "irl":
        newest = latest(run / "checkpoints")
        return json.loads((newest / "state.json").read_text())["iteration"] if newest else 0
    steps = read_configuration(AlignConfig, run / "config.yaml").steps
    done = 0
    for folder in (run / "rounds").iterdir():
        if (folder / "model" / "config.json").is_file():
            done = max(done, int(folder.name) * steps)
        whole = newest_checkpoint(folder / "checkpoints")
        if whole is not None:
            done = max(done, (int(folder.name) - 1) * steps + int(whole.name.split("-")[1]))
    return done


def compare(half: Half, whole: Path, broken: Path) -> Outcome:
    """The disturbed run against the undisturbed one."""
    theirs, own = records(whole), records(broken)
    if half == "irl":
        counters = [record["iteration"] for record in own]
        continuous = counters == list(range(1, len(own) + 1))
    else:
        steps = [record["updates"] for record in own if record["phase"] == "train"]
        places = [(record["round"], record["phase"], record["updates"]) for record in own]
        continuous = steps == list(range(1, len(steps) + 1)) and len(set(places)) == len(places)
    return Outcome(
        half, progress(half, whole), progress(half, broken), continuous,
        [_untimed(record) for record in own] == [_untimed(record) for record in theirs],
        _weights(half, whole) == _weights(half, broken),
    )  # fmt: skip


def _untimed(record: dict[str, Any]) -> dict[str, Any]:
    """Without what tells the clock, or how many runners were in service."""
    queued = ("rollout/runners", "rollout/queue")
    return {
        name: value for name, value in record.items()
        if not name.startswith(("time", "speed/")) and not name.endswith("_per_s")
        and name not in queued
    }  # fmt: skip


def _weights(half: Half, run: Path) -> str:
    """A hash of the weights in the end."""
    if half == "align":
        last = max((run / "rounds").iterdir(), key=lambda folder: int(folder.name))
        return fingerprint(last / "model").hash
    newest = latest(run / "checkpoints")
    assert newest is not None
    state = json.loads((newest / "state.json").read_text())
    return str(state["files"]["module.safetensors"]["sha256"])


def report(struck: Sequence[Struck], outcomes: Sequence[Outcome]) -> str:
    """A Markdown row a fault, then a row a run."""
    ends = {outcome.half: outcome for outcome in outcomes}
    lines = [
        "| half | killed | at | in a checkpoint | went on from | reached / wanted | counters "
        "continuous | records and model equal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fault in struck:
        end = ends[fault.half]
        equal = end.same_records and end.same_model
        lines.append(
            f"| {fault.half} | {fault.killed} | {fault.at} | {fault.saved} | {fault.went_on_from} "
            f"| {end.reached} / {end.wanted} | {_word(end.continuous)} | {_word(equal)} |"
        )
    return "\n".join(lines)


def _word(good: bool) -> str:
    return "yes" if good else "NO"


if __name__ == "__main__":
    tyro.cli(ClusterFaults)()
