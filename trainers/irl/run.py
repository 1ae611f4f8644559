"""One run: a folder, a data set, an algorithm, progress, checkpoints, evaluation, report."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from safetensors.torch import save
from torch.utils.tensorboard import SummaryWriter

from rayforge.errors import DivergedError, RunError
from rayforge.files import clear_parts, write_json, write_text, write_whole
from rayforge.reports.report import write_report
from trainers.cluster import own_ray, start_here
from trainers.configuration import placed, to_dict, to_yaml
from trainers.irl.ahead import pack
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.board import Board
from trainers.irl.chunks import CHUNK
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import evaluate_split, write_instructions
from trainers.irl.learner_calls import LearnerLostError
from trainers.irl.preflight import check_run, join_for_runners
from trainers.irl.run_folder import CLONED, data_folder, load_run, read_saved, resolve_split
from trainers.irl.task import Task, read_task
from trainers.irl.validation import (
    check_split,
    due,
    forget_best_after,
    keep_best,
    trained_updates,
    validate,
)
from trainers.irl.wiring import is_circuit, write_wiring
from trainers.runs.checkpoint import Checkpoint, latest, save_checkpoint
from trainers.runs.folder import clear_figures, forget_after, hardware, working_in
from trainers.runs.identity import going_on
from trainers.runs.progress import ProgressLines
from trainers.runs.prometheus import PrometheusGauges
from trainers.runs.result import Result
from trainers.runs.stopping import asked, asking, resume_with, stoppable
from trainers.runs.tracking import check_trackers, tracked


def train(
    config: IRLConfig, run: Path, resume: bool = False, command: str = "trainers.irl.run.train"
) -> Result:
    """Train, evaluate and report into the folder `run`; with `resume` go on from its checkpoint.

    `command` is what the run's files say that it was started with. Where the caller has started or
    joined Ray, that is used and left as it is.

    Raises ConfigurationError, DataError or CheckpointError before Ray starts wherever possible, and
    KeyboardInterrupt after SIGTERM or SIGINT, with a checkpoint written.
    """
    config = going_on(run, config) if resume else placed(config)
    with own_ray():
        check_run(config, run, resume)
        check_trackers(config.track)
        with working_in(run, new=not resume), stoppable(resume_with("rayforge irl train", run)):
            clear_parts(run, below=True, older_than_s=0.0)
            return _train(config, run, resume, command)


def _train(config: IRLConfig, run: Path, resume: bool, command: str) -> Result:
    saved = read_saved(run, config) if resume else None
    if resume and saved is None:
        print(f"{run} was ended before its first checkpoint: it begins anew", flush=True)
        clear_figures(run)
    anew = saved is None
    folder = data_folder(config)
    splits = [resolve_split(name, folder, config) for name in config.evaluate]
    validated = [resolve_split(config.validation, folder, config)] if config.evaluate_every else []
    task = _read(folder, config, [*splits, *validated], None if anew else run)
    for name in validated:
        check_split(task, name)
    if saved is not None and saved.state["data"] != task.fingerprint:
        raise RunError(
            f"checkpoint {saved.path} was made with other data than {folder} holds now; put the "
            "buildings and training episodes back, or start another run"
        )
    first = config.fewest_runners or config.runners
    start_ray(first, config.runner_resource, config.learners)
    write_text(run / "config.yaml", to_yaml(config))  # of a run that goes on: what may change
    if anew:
        write_text(run / "vocabulary.json", task.vocabulary.to_json())
        write_json(run / "objects.json", task.objects)
        write_json(
            run / "run.json", {"command": command, "hardware": hardware(), "data": str(folder)}
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    algorithm = LangGoalIRLConfig().for_task(config, task).build_algo()
    algorithm.start(task, fresh=anew)
    try:
        with tracked(config.track, run, config):
            figures = _Run(config, run, task, algorithm, saved).go(splits, command)
    finally:
        algorithm.stop()
    return Result(run, run / "report.html", figures)


def _read(folder: Path, config: IRLConfig, splits: list[str], resumed: Path | None) -> Task[Any]:
    """The data set, with words and objects as a resumed run knew them; says what was read."""
    print(f"reading {folder}", flush=True)
    names = tuple(dict.fromkeys(("train", *splits)))
    if resumed is None:
        task = read_task(folder, config, names, blind=True)
    else:
        _, vocabulary, objects = load_run(resumed)
        task = read_task(folder, config, names, vocabulary, objects, blind=True)
    for name, split in task.splits.items():
        print(f"  {name}: {len(split)} instructions", flush=True)
        if split.cut:
            print(
                f"warning: {name}: {split.cut} of {len(split)} instructions are longer than "
                f"max_words {config.max_words} and were cut there",
                file=sys.stderr,
            )
    return task


def start_ray(runners: int, resource: str = "", learners: int = 0) -> None:
    """Join the cluster a job runs on, or start one here; a stale head is never waited for.

    Raises ConfigurationError where the cluster cannot be joined, or has too little free.
    """
    if os.environ.get("RAY_ADDRESS"):
        join_for_runners(runners, resource, learners)
    elif not ray.is_initialized():
        start_here(runners + max(1, learners))


@dataclass
class _Clock:
    """Seconds an update takes in each phase, for the time left."""

    seconds: dict[str, float]
    updates: dict[str, int]

    def left(self, remaining: dict[str, int]) -> tuple[float, bool]:
        """Seconds that the remaining updates of each phase take, and whether all were measured.

        An update of a phase that has not begun is taken to last as long as those measured so far,
        on average.
        """
        mean = sum(self.seconds.values()) / max(1, sum(self.updates.values()))
        total, measured = 0.0, True
        for phase, count in remaining.items():
            done = self.updates.get(phase, 0)
            total += count * (self.seconds[phase] / done if done else mean)
            measured &= bool(done) or not count
        return total, measured


class _Run:
    """The loop around the algorithm."""

    def __init__(
        self,
        config: IRLConfig,
        run: Path,
        task: Task[Any],
        algorithm: LangGoalIRL,
        saved: Checkpoint | None,
    ) -> None:
        self.config, self.run, self.task, self.algorithm = config, run, task, algorithm
        self.clock = _Clock({}, {})
        self.elapsed_before, self.iteration = algorithm.seconds_before, 0
        if saved is not None:
            self._restore(saved)
        self.started = time.perf_counter()
        self.gauges = PrometheusGauges(run.name)
        self.board = Board(run / "tensorboard", self.iteration, algorithm.counts)
        self.lines = ProgressLines()

    @property
    def elapsed(self) -> float:
        return self.elapsed_before + time.perf_counter() - self.started

    def go(self, splits: list[str], command: str) -> dict[str, float]:
        saved = time.perf_counter()
        algorithm, config = self.algorithm, self.config
        try:
            with asking(self._notice), (self.run / "metrics.jsonl").open("a") as log:
                while not algorithm.finished and not asked():
                    self._keep_clone()
                    self._iterate(log)
                    if time.perf_counter() - saved > 60 * config.checkpoint_minutes:
                        self.save()
                        saved = time.perf_counter()
                self.save()
        except DivergedError as error:
            kept = latest(self.run / "checkpoints")
            of_before = (
                f"the checkpoint of before is {kept}" if kept else "no checkpoint was due yet"
            )
            raise DivergedError(f"{error}; {of_before}") from None
        except LearnerLostError as error:
            raise RunError(f"{error}; {resume_with('rayforge irl train', self.run)()}") from None
        finally:
            self.board.close()
        agent = algorithm.agent()
        found: dict[str, float] = {}
        for name in dict.fromkeys(splits):
            scores = evaluate_split(self.run, config, agent, self.task, name, command, self.elapsed)
            own = scores["agents"].get("agent", {})  # a blind split has a leaderboard's file alone
            self._show_scores(name, own)
            found |= {f"{name}/{metric}": value["mean"] for metric, value in own.items()}
        if config.generates:
            write_instructions(self.run, config, agent, self.task)
        if is_circuit(config):
            write_wiring(self.run, agent, self.task)
        print(f"report: {write_report(self.run)}", flush=True)
        return found

    def _show_scores(self, split: str, own: dict[str, Any]) -> None:
        """The agent's scores on a split in TensorBoard, at the iteration that they are of."""
        with SummaryWriter(str(self.run / "tensorboard")) as writer:
            for name, value in own.items():
                writer.add_scalar(f"evaluation/{split}/{name}", value["mean"], self.iteration)

    def _keep_clone(self) -> None:
        """Write the cloned policy down before anything else moves it (`rayforge irl reward`)."""
        algorithm, config = self.algorithm, self.config
        if config.cloning_first and algorithm.phase == "irl" and not algorithm.counts["irl"]:
            weights = {
                name: value.contiguous()
                for name, value in algorithm.agent().policy.state_dict().items()
            }
            write_whole(self.run / CLONED, lambda stream: stream.write(save(weights)))

    def _notice(self, name: str) -> None:
        print(f"{name}: writing a checkpoint after this iteration", flush=True)

    def _iterate(self, log: Any) -> None:
        algorithm, phase = self.algorithm, self.algorithm.phase
        before, began = algorithm.counts[phase], time.perf_counter()
        policy_before = trained_updates(algorithm.counts)
        result = algorithm.train()
        took, updates = time.perf_counter() - began, algorithm.counts[phase] - before
        self.iteration += 1
        validation = self._validate(policy_before)
        clock = self.clock
        spent = time.perf_counter() - began
        clock.seconds[phase] = clock.seconds.get(phase, 0.0) + spent
        clock.updates[phase] = clock.updates.get(phase, 0) + updates
        figures = _figures(result, phase)
        figures["speed/updates_per_s"] = updates / took
        figures |= self._rollout_state(phase) | validation
        figures |= self._information(phase, before)
        record = {
            "iteration": self.iteration, "time_s": round(self.elapsed, 2), "phase": phase,
            "updates": sum(algorithm.counts[k] for k in ("generator", "clone", "irl")),
            "generator_updates": algorithm.counts["generator"],
            "env_steps": algorithm.counts["env_steps"],
            "episodes": algorithm.counts["episodes"], **figures,
        }  # fmt: skip
        log.write(json.dumps(record) + "\n")
        log.flush()
        self.board.show(figures, self.iteration, algorithm.counts)
        self.gauges.show(figures)
        self._progress(phase, figures)
        if validation and keep_best(algorithm, self.run, validation, self._state()):
            self.save()  # so that a resumed run never knows of a better one that it has not made

    def _validate(self, before: int) -> dict[str, float]:
        """The scores of a validation, where one is due after this iteration or at the end."""
        config, algorithm = self.config, self.algorithm
        done = trained_updates(algorithm.counts)
        if not (due(config.evaluate_every, before, done)
                or (config.evaluate_every and algorithm.finished)):  # fmt: skip
            return {}
        return validate(algorithm, resolve_split(config.validation, self.task.folder, config))

    def _information(self, phase: str, before: int) -> dict[str, float]:
        """What the policy's weights hold, where this iteration passed the interval."""
        every, now = self.config.information_every, self.algorithm.counts[phase]
        if not every or phase == "generator" or before // every == now // every:
            return {}
        return self.algorithm.information()

    def _rollout_state(self, phase: str) -> dict[str, float]:
        """Where roll-outs stand: replay, runners in service, chunks that each is handed."""
        if phase != "irl":
            return {}
        ring, group = self.algorithm.negatives, self.algorithm.env_runner_group
        runners = group.num_healthy_remote_env_runners()
        chunks = math.ceil(self.config.episodes_per_iteration / CHUNK)
        return {
            "replay/fill": len(ring) / ring.capacity,
            "rollout/runners": float(runners),
            "rollout/queue": chunks / max(1, runners),
        }

    def _progress(self, phase: str, figures: dict[str, float]) -> None:
        remaining = self._remaining()
        left, measured = self.clock.left(remaining)
        shown = {
            "generator": ("generator/perplexity", "generator/kl"),
            "clone": ("clone/loss",),
            "irl": ("rollout/success", "rollout/length", "rollout/forced_stops",
                    "discriminator/accuracy", "policy/entropy", "rollout/env_steps_per_s"),
        }[phase]  # fmt: skip
        parts = [
            f"{n.split('/')[1].replace('_', ' ')} {figures[n]:.3g}" for n in shown if n in figures
        ]
        if "validation/success" in figures:
            parts.append(f"validated {figures['validation/success']:.3f}")
        elif remaining[phase] and not self.lines.due():
            return
        total = self.algorithm.counts[phase] + remaining[phase]
        time_left = f"{'' if measured else 'about '}{left / 60:.1f} min"
        print(
            f"{self.elapsed / 60:6.1f} min  {phase:9} {self.algorithm.counts[phase]:5d}/{total}  "
            f"{figures['speed/updates_per_s']:.2f} updates/s  {'  '.join(parts)}  left {time_left}",
            flush=True,
        )

    def _remaining(self) -> dict[str, int]:
        config, counts = self.config, self.algorithm.counts
        goals = {
            "generator": config.generator.updates if config.generates else 0,
            "clone": config.cloning_first if config.rolls_out
            else config.clone_updates + config.updates,
            "irl": config.updates if config.rolls_out else 0,
        }  # fmt: skip
        return {phase: max(0, goal - counts[phase]) for phase, goal in goals.items()}

    def save(self) -> None:
        """A checkpoint of everything a resumed run needs; metrics.jsonl belongs to it as well."""
        save_algorithm(self.algorithm, self.run / "checkpoints", self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration, "elapsed": self.elapsed, "config": to_dict(self.config),
            "data": self.task.fingerprint, "clock": vars(self.clock),
        }  # fmt: skip

    def _restore(self, saved: Checkpoint) -> None:
        algorithm, state = self.algorithm, saved.state
        restore_algorithm(algorithm, saved)
        self.iteration, self.elapsed_before = state["iteration"], state["elapsed"]
        self.clock = _Clock(**state["clock"])
        forget_after(self.run / "metrics.jsonl", self.iteration)
        forget_best_after(self.run, int(saved.path.name))
        print(
            f"resumed from {saved.path}: iteration {self.iteration}, "
            f"{len(algorithm.negatives)} episodes in the replay, as stored",
            flush=True,
        )


def _figures(result: dict[str, Any], phase: str) -> dict[str, float]:
    """This iteration's figures, of the parts that took part in it."""
    parts = {
        "generator": ("generator/",),
        "clone": ("clone/",),
        "irl": ("clone/", "discriminator/", "reward/", "critic/", "policy/"),
    }[phase]
    learner = result.get("learners", {}).get(DEFAULT_MODULE_ID, {})
    figures = {k: float(v) for k, v in learner.items() if k.startswith(parts)}
    if phase == "irl":
        figures |= {f"rollout/{k}": float(v) for k, v in result.get("rollout", {}).items()}
    return {k: v for k, v in figures.items() if np.isfinite(v)}


def save_algorithm(algorithm: LangGoalIRL, folder: Path, state: dict[str, Any]) -> Path:
    """A checkpoint in `folder` of everything the algorithm goes on from, and of `state`."""
    learner = algorithm.learner_group.get_state(components=COMPONENT_LEARNER)[COMPONENT_LEARNER]
    number = sum(algorithm.counts[k] for k in ("generator", "clone", "irl"))
    replay = {
        f"{name}_{key}": value
        for name, ring in (("negatives", algorithm.negatives), ("positives", algorithm.positives))
        for key, value in ring.state().items()
    }
    under_way, rounds = pack(list(algorithm.ahead.values()))
    more = {"ahead": rounds} if rounds else {}
    return save_checkpoint(
        folder, number, learner[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID], learner["optimizer"],
        replay | under_way, {"counts": algorithm.counts, **more, **state},
    )  # fmt: skip


def restore_algorithm(algorithm: LangGoalIRL, saved: Checkpoint) -> None:
    """Go on from a checkpoint: counts, replays, networks, optimisers, random numbers."""
    algorithm.counts = dict(saved.state["counts"])
    for name, ring in (("negatives", algorithm.negatives), ("positives", algorithm.positives)):
        own = {k[len(name) + 1 :]: v for k, v in saved.replay.items() if k.startswith(name)}
        ring.restore(own)
    algorithm.show_again()
    algorithm.learner_group.set_state(
        {
            COMPONENT_LEARNER: {
                COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: saved.module},
                "optimizer": saved.optimizers,
            }
        }
    )
    torch.set_rng_state(torch.from_numpy(saved.random))
    if "ahead" in saved.state:
        algorithm.restore_ahead(saved.state["ahead"], saved.replay)
