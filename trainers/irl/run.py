"""One run: a folder, a data set, an algorithm, progress, checkpoints, evaluation, report."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from torch.utils.tensorboard import SummaryWriter

from envs.episodes.episode import DataError
from envs.graph.buildings import Buildings
from envs.houses.dataset import write_houses
from rayforge.language.vocabulary import Vocabulary
from rayforge.reports.report import write_report
from trainers.configuration import (
    ConfigurationError,
    from_dict,
    read_configuration,
    to_dict,
    to_yaml,
)
from trainers.files import write_json, write_text, write_whole
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.checkpoint import (
    Checkpoint,
    latest,
    load_checkpoint,
    load_module,
    save_checkpoint,
)
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import evaluate
from trainers.irl.module import AgentModule, label_paths
from trainers.irl.rollout import Rollout
from trainers.irl.task import Demonstrations, Task, read_task

MAY_CHANGE = ("runners", "threads", "device", "checkpoint_minutes")
"""Settings that a resumed run may change: they do not change what is learnt. (`evaluate` decides
which buildings are read, and so their numbers in the replay.)"""


def train(config: IRLConfig, run: Path, resume: bool, command: str) -> None:
    """Train, evaluate and report into the folder `run`; with `resume` go on from its checkpoint.

    Raises ConfigurationError, DataError or CheckpointError before Ray starts wherever possible.
    """
    check_cpus(config.runners)
    saved = read_saved(run, config) if resume else None
    if not resume:
        _prepare(run)
    folder = data_folder(config)
    splits = [resolve_split(name, folder, config) for name in config.evaluate]
    task = _read(folder, config, splits, run if resume else None)
    if saved is not None and saved.state["data"] != task.fingerprint:
        raise ConfigurationError(
            f"checkpoint {saved.path} was made with other data than {folder} holds now; put the "
            "buildings and training episodes back, or start another run"
        )
    start_ray(config.runners)
    if not resume:
        write_text(run / "config.yaml", to_yaml(config))
        write_text(run / "vocabulary.json", task.vocabulary.to_json())
        write_json(run / "objects.json", task.data.objects)
        write_json(
            run / "run.json", {"command": command, "hardware": hardware(), "data": str(folder)}
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    algorithm = LangGoalIRLConfig().for_task(config, task).build_algo().start(task)
    try:
        _Run(config, run, task, algorithm, saved).go(splits, command)
    finally:
        algorithm.stop()
        ray.shutdown()


def _read(folder: Path, config: IRLConfig, splits: list[str], resumed: Path | None) -> Task:
    """The data set, with words and objects as a resumed run knew them; says what was read."""
    print(f"reading {folder}", flush=True)
    names = ("train", *dict.fromkeys(splits))
    if resumed is None:
        task = read_task(folder, config, names)
    else:
        _, vocabulary, objects = load_run(resumed)
        semantic = config.features == "semantic"
        task = read_task(folder, config, names, vocabulary, objects if semantic else None)
    for name, split in task.splits.items():
        print(f"  {name}: {len(split)} sentences", flush=True)
        if split.cut:
            print(
                f"warning: {name}: {split.cut} of {len(split)} sentences are longer than max_words "
                f"{config.max_words} and were cut there",
                file=sys.stderr,
            )
    return task


def check_cpus(runners: int) -> None:
    """Raises ConfigurationError where this machine has too few CPUs for the runners asked for.

    Ray would let them wait for ever without a word.
    """
    have = os.cpu_count() or 1
    if not os.environ.get("RAY_ADDRESS") and runners + 1 > have:
        raise ConfigurationError(
            f"runners is {runners}, which takes {runners + 1} CPUs with the learner's, but there "
            f"are {have}: ask for at most {have - 1}"
        )


def start_ray(runners: int) -> None:
    """Join the cluster a job runs on, or start one here; a stale head is never waited for.

    Raises ConfigurationError where the cluster has too few free CPUs for the runners asked for.
    """
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=True, logging_level="ERROR")
        free = int(ray.available_resources().get("CPU", 0))
        if runners > free:
            raise ConfigurationError(
                f"runners is {runners}, but the cluster at {os.environ['RAY_ADDRESS']} has {free} "
                "CPUs free: ask for fewer, or wait until others are done"
            )
    if not ray.is_initialized():
        ray.init(
            address="local", num_cpus=runners + 1, include_dashboard=False, logging_level="ERROR"
        )


def data_folder(config: IRLConfig) -> Path:
    """The folder to read; generated houses are made once and kept under the user's cache."""
    if config.data != "houses":
        folder = Path(config.data)
        if not folder.is_dir():
            raise DataError(f"data folder {folder} does not exist; `rayforge houses DIR` makes one")
        return folder
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rayforge"
    sizes = asdict(config.houses)
    folder = cache / "-".join(["houses", *map(str, sizes.values())])
    if not (folder / "houses.json").is_file():
        print(f"generating houses into {folder}", flush=True)
        write_houses(folder, **sizes)
    return folder


def resolve_split(name: str, folder: Path, config: IRLConfig) -> str:
    """ "unseen" is `held_out` where buildings are held out, else `val_unseen`."""
    if name != "unseen":
        return name
    return "held_out" if config.held_out else "val_unseen"


def hardware() -> str:
    """Processor, cores, memory and accelerator, for the reader of a figure."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            ln.split(":", 1)[1].strip()
            for ln in cpuinfo.read_text().splitlines()
            if "model name" in ln
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {device}"


def _prepare(run: Path) -> None:
    """Make the run folder; raises ConfigurationError where it is taken or cannot be written."""
    if (run / "config.yaml").exists():
        raise ConfigurationError(
            f"{run} holds a run already: name another folder, or go on with --resume {run}"
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_text(run / ".writable", "")
        (run / ".writable").unlink()
    except OSError as error:
        raise ConfigurationError(f"run folder {run} cannot be written: {error}") from error


@dataclass
class _Clock:
    """Seconds an update takes in each phase, for the time left."""

    seconds: dict[str, float]
    updates: dict[str, int]

    def left(self, remaining: dict[str, int]) -> float | None:
        total = 0.0
        for phase, count in remaining.items():
            if not count:
                continue
            if not self.updates.get(phase):
                return None
            total += count * self.seconds[phase] / self.updates[phase]
        return total


class _Run:
    """The loop around the algorithm."""

    def __init__(
        self,
        config: IRLConfig,
        run: Path,
        task: Task,
        algorithm: LangGoalIRL,
        saved: Checkpoint | None,
    ) -> None:
        self.config, self.run, self.task, self.algorithm = config, run, task, algorithm
        self.clock = _Clock({}, {})
        self.elapsed_before, self.iteration = 0.0, 0
        self.stopped: str | None = None
        if saved is not None:
            self._restore(saved)
        self.started = time.perf_counter()
        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=self.iteration + 1)

    @property
    def elapsed(self) -> float:
        return self.elapsed_before + time.perf_counter() - self.started

    def go(self, splits: list[str], command: str) -> None:
        previous = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
        saved = time.perf_counter()
        algorithm, config = self.algorithm, self.config
        try:
            with (self.run / "metrics.jsonl").open("a") as log:
                while not algorithm.finished and self.stopped is None:
                    self._iterate(log)
                    if time.perf_counter() - saved > 60 * config.checkpoint_minutes:
                        self.save()
                        saved = time.perf_counter()
            self.save()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.writer.close()
        if self.stopped:
            raise KeyboardInterrupt(
                f"stopped by {self.stopped}; go on with: rayforge irl train --resume {self.run}"
            )
        module = local_module(algorithm)
        for name in dict.fromkeys(splits):
            evaluate_split(self.run, config, module, self.task, name, command, self.elapsed)
        if config.generates:
            write_sentences(self.run, config, module, self.task)
        print(f"report: {write_report(self.run)}", flush=True)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = signal.Signals(number).name
        print(f"{self.stopped}: writing a checkpoint after this iteration", flush=True)

    def _iterate(self, log: Any) -> None:
        algorithm, phase = self.algorithm, self.algorithm.phase
        before, began = algorithm.counts[phase], time.perf_counter()
        result = algorithm.train()
        took, updates = time.perf_counter() - began, algorithm.counts[phase] - before
        self.iteration += 1
        clock = self.clock
        clock.seconds[phase] = clock.seconds.get(phase, 0.0) + took
        clock.updates[phase] = clock.updates.get(phase, 0) + updates
        figures = _figures(result, phase)
        figures["speed/updates_per_s"] = updates / took
        record = {
            "iteration": self.iteration, "time_s": round(self.elapsed, 2), "phase": phase,
            "updates": sum(algorithm.counts[k] for k in ("generator", "clone", "irl")),
            "env_steps": algorithm.counts["env_steps"], **figures,
        }  # fmt: skip
        log.write(json.dumps(record) + "\n")
        log.flush()
        for name, value in figures.items():
            self.writer.add_scalar(name, value, self.iteration)
        self._progress(phase, figures)

    def _progress(self, phase: str, figures: dict[str, float]) -> None:
        remaining = self._remaining()
        left = self.clock.left(remaining)
        shown = {
            "generator": ("generator/perplexity", "generator/kl"),
            "clone": ("clone/loss",),
            "irl": ("rollout/success", "rollout/length", "rollout/forced_stops",
                    "discriminator/accuracy", "policy/entropy", "rollout/env_steps_per_s"),
        }[phase]  # fmt: skip
        parts = [
            f"{n.split('/')[1].replace('_', ' ')} {figures[n]:.3g}" for n in shown if n in figures
        ]
        total = self.algorithm.counts[phase] + remaining[phase]
        time_left = "?" if left is None else f"{left / 60:.1f} min"
        print(
            f"{self.elapsed / 60:6.1f} min  {phase:9} {self.algorithm.counts[phase]:5d}/{total}  "
            f"{figures['speed/updates_per_s']:.2f} updates/s  {'  '.join(parts)}  left {time_left}",
            flush=True,
        )

    def _remaining(self) -> dict[str, int]:
        config, counts = self.config, self.algorithm.counts
        goals = {
            "generator": config.generator.updates if config.generates else 0,
            "clone": config.cloning_first if config.adversarial
            else config.clone_updates + config.updates,
            "irl": config.updates if config.adversarial else 0,
        }  # fmt: skip
        return {phase: max(0, goal - counts[phase]) for phase, goal in goals.items()}

    def save(self) -> None:
        """A checkpoint of everything a resumed run needs; metrics.jsonl belongs to it as well."""
        algorithm = self.algorithm
        learner = algorithm.learner_group.get_state(components=COMPONENT_LEARNER)[COMPONENT_LEARNER]
        number = sum(algorithm.counts[k] for k in ("generator", "clone", "irl"))
        replay = {
            f"{name}_{key}": value
            for name, ring in (("told", algorithm.told), ("relabelled", algorithm.relabelled))
            for key, value in ring.state().items()
        }
        save_checkpoint(
            self.run / "checkpoints", number,
            learner[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID], learner["optimizer"], replay,
            {
                "counts": algorithm.counts, "iteration": self.iteration, "elapsed": self.elapsed,
                "config": to_dict(self.config), "data": self.task.fingerprint,
                "clock": vars(self.clock),
            },
        )  # fmt: skip

    def _restore(self, saved: Checkpoint) -> None:
        algorithm, state = self.algorithm, saved.state
        algorithm.counts = state["counts"]
        for name, ring in (("told", algorithm.told), ("relabelled", algorithm.relabelled)):
            own = {k[len(name) + 1 :]: v for k, v in saved.replay.items() if k.startswith(name)}
            ring.restore(own)
        algorithm.learner_group.set_state(
            {
                COMPONENT_LEARNER: {
                    COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: saved.module},
                    "optimizer": saved.optimizers,
                }
            }
        )
        torch.set_rng_state(torch.from_numpy(saved.random))
        self.iteration, self.elapsed_before = state["iteration"], state["elapsed"]
        self.clock = _Clock(**state["clock"])
        _forget_after(self.run / "metrics.jsonl", self.iteration)
        print(
            f"resumed from {saved.path}: iteration {self.iteration}, "
            f"{len(algorithm.told)} episodes in the replay, as stored",
            flush=True,
        )


def read_saved(run: Path, config: IRLConfig) -> Checkpoint:
    """The newest checkpoint of a run, to go on from under `config`.

    Raises ConfigurationError where there is none or it was made with other settings, and
    CheckpointError where it is not whole.
    """
    path = latest(run / "checkpoints")
    if path is None:
        raise ConfigurationError(f"{run} has no checkpoint to resume from: start another run")
    saved = load_checkpoint(path)
    check_same(from_dict(IRLConfig, saved.state["config"]), config, path)
    return saved


def check_same(saved: IRLConfig, asked: IRLConfig, path: Path) -> None:
    """Raises ConfigurationError where a checkpoint was made with other settings that matter."""
    same = replace(saved, **{name: getattr(asked, name) for name in MAY_CHANGE})
    if same == asked:
        return
    flat_saved, flat_asked = _flat(to_dict(same)), _flat(to_dict(asked))
    different = [k for k in flat_asked if flat_saved.get(k) != flat_asked[k]]
    first = different[0]
    raise ConfigurationError(
        f"checkpoint {path} was made with another configuration: {first} was "
        f"{flat_saved.get(first)!r} and is now {flat_asked[first]!r}"
        + (f" (also {', '.join(different[1:4])})" if different[1:] else "")
        + "; restore config.yaml or start another run"
    )


def _flat(values: dict[str, Any], place: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{place}{key}.")
        else:
            flat[f"{place}{key}"] = value
    return flat


def _forget_after(metrics: Path, iteration: int) -> None:
    """Drop the lines after a checkpoint: the resumed run writes them again."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["iteration"] > iteration:
            break
        kept.append(line)
    write_text(metrics, "".join(f"{line}\n" for line in kept))


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


def local_module(algorithm: LangGoalIRL) -> AgentModule:
    """The agent with the newest weights, in this process and on the CPU."""
    config = algorithm.config
    spec = config.get_multi_rl_module_spec(
        spaces={DEFAULT_MODULE_ID: (config.observation_space, config.action_space)},
        inference_only=True,
    )
    module: AgentModule = spec.build()[DEFAULT_MODULE_ID].unwrapped()
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
    )
    module.set_state(state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID])
    module.attach(algorithm.task.world)
    module.eval()
    return module


def evaluate_split(
    run: Path, config: IRLConfig, module: AgentModule, task: Task, name: str, command: str,
    seconds: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Score a split and write `evaluation_NAME.json` and `episodes_NAME.jsonl`; print the table."""
    split = task.splits[name]
    if not len(split):
        raise DataError(f"split {name} of {task.data.folder} has no episodes")
    agents, values, own = evaluate(
        module.policy, module.observer, task.data.buildings, split, config.seed, _Ticker(name)
    )
    document = {
        "split": name, "data": str(task.data.folder), "method": method_name(config),
        "seed": config.seed, "features": features_name(config), "hardware": hardware(),
        "command": command, "train_seconds": seconds, "agents": agents,
    }  # fmt: skip
    write_json(run / f"evaluation_{name}.json", document)
    lines = episode_lines(split, task.data.buildings, values, own, config.max_steps)
    write_whole(
        run / f"episodes_{name}.jsonl",
        lambda stream: stream.writelines((json.dumps(line) + "\n").encode() for line in lines),
    )
    print_table(document)
    return document


def episode_lines(
    split: Demonstrations, buildings: Buildings, values: dict[str, np.ndarray], own: Rollout,
    max_steps: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """One record an episode: what `rayforge irl watch` and the report read."""
    lines = []
    for row, episode in enumerate(split.episodes):
        count = int(own.paths.length[row])
        lines.append(
            {
                "episode_id": episode.episode_id, "scan": episode.scan,
                "instruction": episode.instruction,
                "path": [buildings.viewpoint_ids[v] for v in own.paths.viewpoint[row, :count]],
                "headings": (own.paths.heading[row, :count] * (np.pi / 6)).round(4).tolist(),
                "probability": [round(float(p), 4) for p in own.probability[row, :count]],
                "reference": list(episode.path),
                "success": bool(values["success"][row]),
                "distance": round(float(values["navigation_error"][row]), 3),
                "spl": round(float(values["spl"][row]), 4),
                "forced_stop": count == max_steps,
            }
        )  # fmt: skip
    return lines


def method_name(config: IRLConfig) -> str:
    """ "GCBC", or "LangGoalIRL" with its rung: base, +augment, +relabel or full."""
    text = "" if config.text else ", no text"
    if not config.adversarial:
        return f"GCBC{text}"
    rung = {(False, False): "base", (True, False): "+augment", (False, True): "+relabel"}
    return f"LangGoalIRL {rung.get((config.augment, config.relabel), 'full')}{text}"


def features_name(config: IRLConfig) -> str:
    if config.features != "semantic":
        return config.features
    seen = "visible" if config.neighbour_rooms else "hidden"
    return f"semantic, neighbours' rooms {seen}"


class _Ticker:
    """A line every five seconds of a long evaluation."""

    def __init__(self, split: str) -> None:
        self.split, self.last = split, time.perf_counter()

    def __call__(self, agent: str, done: int, total: int) -> None:
        if time.perf_counter() - self.last > 5:
            self.last = time.perf_counter()
            print(f"  evaluating {self.split}, {agent}: {done}/{total}", flush=True)


def print_table(document: dict[str, Any]) -> None:
    """The agents of an evaluation, success and SPL with 95 % intervals."""
    count = int(document["agents"]["agent"]["success"]["count"])
    print(f"\n{document['split']}: {count} episodes, {document['features']}")
    print(
        f"  {'':22}{'success':>22}{'SPL':>22}{'oracle':>8}{'nDTW':>7}{'error m':>9}{'length m':>10}"
    )
    for agent, metrics in document["agents"].items():
        label = document["method"] if agent == "agent" else agent
        spans = [
            f"{m['mean']:.3f} [{m['low']:.3f}, {m['high']:.3f}]"
            for m in (metrics["success"], metrics["spl"])
        ]
        rest = [metrics[n]["mean"] for n in ("oracle_success", "ndtw")]
        metres = [metrics[n]["mean"] for n in ("navigation_error", "path_length")]
        print(
            f"  {label:22}{spans[0]:>22}{spans[1]:>22}{rest[0]:8.3f}{rest[1]:7.3f}"
            f"{metres[0]:9.2f}{metres[1]:10.2f}"
        )
    print(flush=True)


def write_sentences(run: Path, config: IRLConfig, module: AgentModule, task: Task) -> None:
    """Samples of the goal generator: a human sentence, its paraphrase, a free sentence."""
    name = next((s for s in task.splits if s != "train"), "train")
    split = task.splits[name]
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(len(split), size=min(40, len(split)), replace=False))
    paths = split.paths[rows]
    free = label_paths(module, paths, config.max_words, config.seed, rephrase=False)
    other = label_paths(module, paths, config.max_words, config.seed, rephrase=True)
    lines = [
        {
            "scan": split.episodes[row].scan, "path": list(split.episodes[row].path),
            "human": split.episodes[row].instruction,
            "paraphrase": task.vocabulary.decode(b), "free": task.vocabulary.decode(a),
        }
        for row, a, b in zip(rows, free, other, strict=True)
    ]  # fmt: skip
    write_text(run / "sentences.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def command_line() -> str:
    """The command as typed, for the reader of a figure."""
    return shlex.join(["rayforge", *sys.argv[1:]])


def evaluate_run(run: Path, split: str, data: Path | None, command: str) -> dict[str, Any]:
    """Score a run's agent on a split of its own data folder or of another, buildings and all."""
    config, vocabulary, objects = load_run(run)
    checkpoint = latest(run / "checkpoints")
    if checkpoint is None:
        raise ConfigurationError(f"{run} has no checkpoint yet; train it first")
    weights, state = load_module(checkpoint)
    check_same(from_dict(IRLConfig, state["config"]), config, checkpoint)
    folder = data or data_folder(config)
    split = resolve_split(split, folder, config)
    semantic = config.features == "semantic"
    task = read_task(folder, config, (split,), vocabulary, objects if semantic else None)
    sizes = {
        "config": config, "vocabulary": len(vocabulary),
        "dimension": int(task.data.tables.towards.shape[1]),
    }  # fmt: skip
    module = AgentModule(inference_only=True, model_config=sizes)
    own = {k: torch.from_numpy(v) for k, v in weights.items() if k in module.state_dict()}
    module.load_state_dict(own)
    module.attach(task.world)
    module.eval()
    document = evaluate_split(run, config, module, task, split, command)
    print(f"report: {write_report(run)}", flush=True)
    return document


def load_run(run: Path) -> tuple[IRLConfig, Vocabulary, tuple[str, ...]]:
    """Configuration, vocabulary and object names of a run folder."""
    config = read_configuration(IRLConfig, run / "config.yaml")
    try:
        vocabulary = Vocabulary.from_json((run / "vocabulary.json").read_text())
        objects = tuple(json.loads((run / "objects.json").read_text()))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{run} is not a whole run folder: {error}") from error
    return config, vocabulary, objects
