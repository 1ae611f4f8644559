"""`rayforge analyse tasks`: tasks as vectors (Task2Vec), their distances, where to start from.

The probe network is a run's policy: its trunk stays as it is for all tasks, its head (the scorer)
is fitted to each task by cloning. The Fisher information of everything but the head, with actions
drawn from the policy along the expert's states, is the task's vector: one number a row of a
weight.
"""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from envs.graph.navigation_data import check_split
from rayforge.errors import ConfigurationError, RunError, UserError
from rayforge.evaluation.intervals import Interval, bootstrap_interval
from rayforge.evaluation.reward_analysis import told_apart
from rayforge.files import write_json
from rayforge.information.gaussian import learnt_noise, prior_variance_of
from rayforge.information.probe import measure
from rayforge.information.task_vectors import (
    asymmetric_distance,
    distances,
    plane,
    rows_of,
    variational_vector,
)
from rayforge.irl.decisions import Batch, batches_of, parameters_of
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.networks import Policy
from rayforge.reports.scatter import matrix_chart, scatter_chart
from rayforge.reports.section import Cell, Pictures, Row, Section, Table, Text, cell
from trainers.analysis.attributes import check_agents_run
from trainers.analysis.results import note, write_results
from trainers.analysis.trials import check_processes, fan_out, keep_asked
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_sizes, agent_with, load_weights
from trainers.irl.run_folder import data_folder, load_run
from trainers.irl.source import source_words
from trainers.irl.task import Task, read_task
from trainers.runs.checkpoint import latest

if TYPE_CHECKING:
    from trainers.analysis.commands import Tasks

HEAD = "scorer"
"""The part of the policy that is fitted to each task and left out of its vector."""
HEAD_RATE = 4e-3
BETA = 1e-4
NOISE_STEPS = 40
AT_ONCE = 16
DISTANCE = (
    "The distance is asymmetric: that of the two tasks' vectors, less a part of how far the run's "
    "task is from the trivial one. It may be below 0; the least is best. The norm is the length of "
    "the vector of the run's task."
)
AUTO = "auto:"
"""Before a folder in `start_from`: take the nearest of the runs there."""


@dataclass(frozen=True)
class TaskOf:
    """Episodes that make a task."""

    run: Path
    data: str
    split: str
    rows: tuple[int, ...]
    estimator: str
    head_steps: int
    seed: int


@dataclass(frozen=True)
class Embedding:
    """How tasks become vectors; all that are compared share it."""

    run: Path
    """The probe network's run."""
    estimator: str
    episodes: int
    head_steps: int
    seed: int


def analyse_tasks(asked: Tasks, command: str) -> dict[str, Any]:
    """Embed tasks and write `tasks.json` and `tasks.html`.

    Raises ConfigurationError or RunError before Ray starts.
    """
    check_processes(asked.processes)
    check_agents_run(asked.run, "tasks")
    config, _, _ = load_run(asked.run)
    if config.env != "graph":
        raise ConfigurationError(f"{asked.run} is of env {config.env}: tasks are of graphs")
    if (asked.for_ is None) != (asked.among is None):
        raise ConfigurationError("--for DATA needs --among FOLDER, and the other way round")
    if asked.for_ is not None and asked.among is not None:
        return _starts(asked, command)
    data = str((asked.data or data_folder(config)).absolute())
    _, task = _probe(asked.run, data, asked.split)
    members = _members(asked, task.splits[asked.split])
    if len(members) < 2:
        raise ConfigurationError(
            f"{len(members)} task of split {asked.split} by {asked.by}: distances need two at least"
        )
    trials = {
        f"{name} ({asked.estimator})": TaskOf(
            asked.run.absolute(), data, asked.split, tuple(rows.tolist()), asked.estimator,
            asked.head_steps, asked.seed,
        )
        for name, rows in members.items()
    }  # fmt: skip
    keep_asked(asked.out, _asked(asked, data))
    rows = fan_out(embed, trials, asked.out, asked.processes, "task")
    document = summarise_tasks(list(members), list(rows.values()), asked.by)
    write_results(asked.out, "tasks", document, f"Tasks by {asked.by}", _sections(document),
                  command)  # fmt: skip
    return document


def _asked(asked: Tasks, data: str) -> dict[str, Any]:
    """What the rows of a folder have in common."""
    return {
        "run": str(asked.run.absolute()), "data": data, "split": asked.split, "by": asked.by,
        "estimator": asked.estimator, "episodes": asked.episodes, "head_steps": asked.head_steps,
        "seed": asked.seed, "for": str(asked.for_ or ""),
    }  # fmt: skip


def _members(asked: Tasks, split: Demonstrations) -> dict[str, np.ndarray]:
    """Rows of each task by its name: at most so many episodes, drawn by the seed."""
    names = np.array([episode.scan for episode in split.episodes])
    rng = np.random.default_rng(asked.seed)
    found: dict[str, np.ndarray] = {}
    for scan in np.unique(names).tolist():
        own = np.flatnonzero(names == scan)
        if asked.by == "building":
            parts = {scan: own}
        elif asked.by == "half":
            routes = rng.permutation(np.unique(split.route[own]))
            first = np.isin(split.route[own], routes[: len(routes) // 2])
            parts = {f"{scan} a": own[first], f"{scan} b": own[~first]}
        else:
            long = split.words[own] > np.median(split.words[own])
            parts = {f"{scan} short": own[~long], f"{scan} long": own[long]}
        for name, rows in parts.items():
            if len(rows) >= 2:
                found[name] = np.sort(rng.permutation(rows)[: asked.episodes])
    names_kept = list(found)[: asked.most] if asked.most else list(found)
    return {name: found[name] for name in names_kept}


@cache
def _probe(run: Path, data: str, split: str) -> tuple[Policy, Task[Any]]:
    config, vocabulary, objects = load_run(run)
    read_as = replace(config, held_out=(), buildings=()) if split != "train" else config
    task = read_task(Path(data), replace(read_as, data=data), (split,), vocabulary, objects)
    weights = load_weights(run, config)
    agent = agent_with(weights, agent_sizes(config, len(vocabulary), task.world.dimension))
    return agent.policy, task


def embed(trial: TaskOf) -> dict[str, Any]:
    """The vector of a task, its norm, and what is told with it."""
    torch.set_num_threads(1)
    policy, task = _probe(trial.run, trial.data, trial.split)
    split = task.splits[trial.split]
    rows = np.array(trial.rows)
    policy = copy.deepcopy(policy)
    loss = fit_head(policy, task.world.observer(), split, rows, trial.head_steps, trial.seed)
    batches = batches_of(policy, task.world.observer(), split.paths, rows, AT_ONCE)
    body = dict(parameters_of(policy, HEAD))
    found = measure(body, batches, seed=trial.seed, fixed=False, diagonal=True)
    if trial.estimator == "sampled":
        vector = rows_of(found.diagonal)
    else:
        vector = variational_vector(_noise(policy, body, batches, trial.seed))
    return {
        "vector": [float(f"{v:.6g}") for v in vector.tolist()], "norm": float(vector.norm()),
        "episodes": len(rows), "decisions": found.decisions, "choices": found.choices,
        "loss": loss,
    }  # fmt: skip


def fit_head(
    policy: Policy, observer: Any, split: Demonstrations, rows: np.ndarray, steps: int, seed: int
) -> float:
    """Fit the policy's head alone to the expert's actions; the mean loss of the last steps."""
    policy.eval()
    head = list(policy.scorer.parameters())
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    for parameter in head:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(head, lr=HEAD_RATE, weight_decay=1e-4)
    losses = []
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        drawn = rows[rng.integers(len(rows), size=min(32, len(rows)))]
        (batch,) = batches_of(policy, observer, split.paths, drawn, len(drawn))
        loss = _loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    for parameter in policy.parameters():
        parameter.requires_grad_(True)
    return float(np.mean(losses[-10:])) if losses else math.nan


def _loss(batch: Batch) -> Tensor:
    log_pi, _, real = batch.log_policy()
    return -log_pi.gather(-1, batch.columns["action"][..., None]).squeeze(-1)[real].mean()


class _Deciding(torch.nn.Module):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> Tensor:
        return _loss(batch)


def _noise(
    policy: Policy, body: dict[str, Any], batches: list[Batch], seed: int
) -> dict[str, Tensor]:
    weights = {name: p.detach() for name, p in body.items()}
    whole, turn = _Deciding(policy), iter(range(10**9))

    def loss(values: dict[str, Tensor]) -> Tensor:
        named = {f"policy.{name}": value for name, value in values.items()}
        found: Tensor = functional_call(whole, named, (batches[next(turn) % len(batches)],))
        return found

    return learnt_noise(loss, weights, BETA, prior_variance_of(weights), NOISE_STEPS, 0.1, seed)


def summarise_tasks(names: list[str], rows: list[dict[str, Any]], by: str) -> dict[str, Any]:
    """Distances, the map, nearest tasks; of halves, whether those of one building are nearer."""
    vectors = np.array([row["vector"] for row in rows])
    symmetric = distances(vectors)
    far = symmetric + np.eye(len(names)) * 9
    document: dict[str, Any] = {
        "by": by, "tasks": names, "norm": [row["norm"] for row in rows],
        "choices": [row["choices"] for row in rows], "symmetric": symmetric.round(6),
        "asymmetric": distances(vectors, asymmetric=True).round(6),
        "plane": plane(symmetric).round(6),
        "nearest": [names[int(k)] for k in far.argmin(1)],
    }  # fmt: skip
    if by == "half":
        document["same_building_nearer"] = halves_nearer(names, symmetric)
    return document


def halves_nearer(names: list[str], matrix: np.ndarray) -> Interval:
    """The area under the curve of "same building" by distance, with an interval over buildings:
    for each half, how often its other half is nearer than a half of another building."""
    scans = np.array([name.rsplit(" ", 1)[0] for name in names])
    shares = []
    for scan in np.unique(scans):
        own = np.flatnonzero(scans == scan)
        others = np.flatnonzero(scans != scan)
        if len(own) == 2 and len(others):
            same = matrix[own[0], own[1]]
            pairs = matrix[np.ix_(own, others)].ravel()
            shares.append(float(told_apart(pairs, np.full(len(pairs), same)).mean))
    return bootstrap_interval(np.array(shares), samples=2_000)


def _sections(document: dict[str, Any]) -> list[Section]:
    names, flat_map = document["tasks"], np.asarray(document["plane"])
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        groups.setdefault(name.rsplit(" ", 1)[-1] if document["by"] != "building" else "", []
                          ).append(k)  # fmt: skip
    named = {"a": "first halves", "b": "second halves"} if document["by"] == "half" else {}
    points = [(named.get(g, g), flat_map[k, 0], flat_map[k, 1], [names[i] for i in k])
              for g, k in groups.items()]  # fmt: skip
    hint = "Near on the map: the probe needs the same weights for both."
    map_ = scatter_chart(
        "Map of the tasks", points, x="first direction", y="second direction",
        labels=len(names) <= 24, hint=hint,
    )  # fmt: skip
    matrix = matrix_chart("Distances", np.asarray(document["symmetric"]), names,
                          "Darker is farther. Columns are in the order of the rows.")  # fmt: skip
    rows = [
        Row(Cell(name), [Cell(near), Cell(f"{norm:.3g}"), Cell(f"{choices:.1f}")])
        for name, near, norm, choices in zip(
            names, document["nearest"], document["norm"], document["choices"], strict=True)
    ]  # fmt: skip
    sections = [
        Section("Map", [Pictures([*map_, *matrix]), note(
            "The distance is of what a frozen policy's weights are needed for, not of looks. It "
            "does not see magnitude: the norm stands beside it. Two tasks that are near may still "
            "differ in what the weights should be.")], "Which tasks are alike?"),
        Section("Nearest tasks", [Table(
            ["Task", "Nearest", "Norm", "Choices a decision"], rows,
            meanings=[("Nearest", "the other task with the least distance"),
                      ("Norm", "length of the task's vector: how much its weights matter at all"),
                      ("Choices a decision", "ways to go on at a viewpoint, in the mean")])]),
    ]  # fmt: skip
    if "same_building_nearer" in document:
        found = document["same_building_nearer"]
        text = (
            "How often the other half of a building is nearer than a half of another building, "
            "with its 95 % bootstrap interval over buildings; 0.5 is chance. Where the share is "
            "not above chance, distances between buildings are noise."
        )
        rows = [Row(Cell("The same building is nearer"), [cell(found)])]
        sections.insert(0, Section("Two halves of one building", [Table(["", "Share"], rows, text)],
                                   "Does the distance tell buildings apart at all?"))  # fmt: skip
    return sections


def finished_runs(folder: Path) -> list[Path]:
    """Runs of agents in navigation graphs below a folder that have a checkpoint, and whose data are
    still there."""
    from rayforge.reports.alignment import is_alignment_run

    places = sorted({f.parent for depth in ("", "*/", "*/*/") for f in folder.glob(
        f"{depth}config.yaml")})  # fmt: skip
    return [
        run
        for run in places
        if (run / "vocabulary.json").is_file()
        and not is_alignment_run(run)
        and latest(run / "checkpoints") is not None
        and (config := load_run(run)[0]).env == "graph"
        and (config.data == "houses" or Path(config.data).is_dir())
    ]


def ranked_starts(
    runs: list[Path], data: str, split: str, buildings: tuple[str, ...], how: Embedding, out: Path,
    processes: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Finished runs, the best start for the data first, by the asymmetric distance from the task
    that each was trained on to the new one, under the probe network `how.run`. Runs of the same
    data are equally near: of those the one with the most updates comes first."""
    trials = {"target": _whole_task(data, split, buildings, how)}
    for run in runs:
        config, _, _ = load_run(run)
        own = str(data_folder(config).absolute())
        trials[str(run)] = _whole_task(own, "train", config.buildings, how)
    rows = fan_out(embed, trials, out, processes, "task")
    target = np.array(rows["target"]["vector"])
    found = [
        {
            "run": str(run), "norm": rows[str(run)]["norm"],
            "distance": asymmetric_distance(np.array(rows[str(run)]["vector"]), target),
        }
        for run in runs
    ]  # fmt: skip
    return sorted(found, key=lambda row: (round(float(row["distance"]), 6), -_updates(row["run"])))


def _updates(run: str) -> int:
    """Updates of a run's newest checkpoint."""
    newest = latest(Path(run) / "checkpoints")
    return int(newest.name) if newest is not None else 0


def _whole_task(data: str, split: str, buildings: tuple[str, ...], how: Embedding) -> TaskOf:
    _, task = _probe(how.run, data, split)
    episodes = task.splits[split].episodes
    rows = np.array([k for k, e in enumerate(episodes) if not buildings or e.scan in buildings])
    rows = np.sort(np.random.default_rng(how.seed).permutation(rows)[: how.episodes])
    return TaskOf(
        how.run, data, split, tuple(rows.tolist()), how.estimator, how.head_steps, how.seed
    )


def start_from(settings: IRLConfig) -> IRLConfig:
    """Settings whose `start_from` is auto:FOLDER, with the nearest of the runs there in its place.

    Only runs whose networks fit count. Their data may be other data: the networks are a start, and
    all updates are made anew. Raises ConfigurationError or RunError where there is none.
    """
    folder = Path(settings.start_from.removeprefix(AUTO))
    if not folder.is_dir():
        raise ConfigurationError(f"start_from {AUTO}{folder}: there is no such folder")
    fitting, reason = [], ""
    for run in finished_runs(folder):
        try:
            source_words(replace(settings, start_from=str(run), start_anew=True))
            fitting.append(run)
        except UserError as error:
            reason = str(error)
    if not fitting:
        raise RunError(
            f"start_from {AUTO}{folder}: it holds no finished run whose networks fit"
            + (f" ({reason})" if reason else "")
        )
    how = Embedding(fitting[0].absolute(), "sampled", 120, 40, 0)
    data = str(data_folder(settings).absolute())
    with tempfile.TemporaryDirectory() as out:
        found = ranked_starts(fitting, data, "train", settings.buildings, how, Path(out), 0)
    for row in found[:5]:
        print(f"  start {row['run']}: distance {row['distance']:.4f}", flush=True)
    print(f"starting from {found[0]['run']}", flush=True)
    return replace(settings, start_from=found[0]["run"], start_anew=True)


def _starts(asked: Tasks, command: str) -> dict[str, Any]:
    assert asked.for_ is not None and asked.among is not None
    data = str(asked.for_.absolute())
    runs = finished_runs(asked.among)
    if not runs:
        raise RunError(f"{asked.among} holds no finished run of an agent in navigation graphs")
    how = Embedding(
        asked.run.absolute(), asked.estimator, asked.episodes, asked.head_steps, asked.seed
    )
    check_split(Path(data), asked.split)
    keep_asked(asked.out, _asked(asked, data))
    found = ranked_starts(runs, data, asked.split, (), how, asked.out, asked.processes)
    document = {"for": data, "starts": found}
    rows = [
        Row(Cell(row["run"]), [Cell(f"{row['distance']:.4f}"), Cell(f"{row['norm']:.3g}")])
        for row in found
    ]
    for row in found[:10]:
        print(f"  {row['distance']:.4f}  {row['run']}")
    sections = [
        Section("Where to start from", [
            Text(f"Best first, for {data}.", "muted"),
            Table(["Run", "Distance to the new task", "Norm"], rows, DISTANCE),
            note("The order is a guess without training: how good it is stands in "
                 "docs/analyses/tasks.md. Runs of the same data are equally near; of those the "
                 "one with the most updates stands first.")])
    ]  # fmt: skip
    write_json(asked.out / "starts.json", document)
    write_results(asked.out, "tasks", document, "Where to start from", sections, command)
    return document
