"""Scoring an agent on a split: greedy roll-outs beside their controls, files, the printed table."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.episodes.submission import r2r_ce_submission, r2r_submission
from envs.graph.navigation_data import HELD_OUT, HELD_OUT_SOURCES
from rayforge.errors import DataError
from rayforge.evaluation.intervals import summarise
from rayforge.files import write_json, write_text, write_whole
from rayforge.irl.agent import Agent
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.labelling import judge, label_paths
from rayforge.irl.networks import Policy
from rayforge.irl.rollout import Rollout, follow_goals, join_rollouts
from rayforge.irl.world import World
from rayforge.language.vocabulary import END
from rayforge.reports.report import write_report
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_with, load_weights
from trainers.irl.run_folder import Which, data_folder, load_run, resolve_split
from trainers.irl.task import Task, read_task, shuffled
from trainers.runs.folder import hardware

BASELINES = {
    "gcbc": "GCBC",
    "gail": "GAIL-type",
    "completion": "completion reward",
    "hindsight": "hindsight imitation",
    "forcing": "student forcing",
}
"""What reports call the methods that are not LangGoalIRL."""


def evaluate_run(
    run: Path, split: str, data: Path | None, command: str, checkpoint: Which = "last"
) -> dict[str, Any]:
    """Score a run's agent on a split of its own data folder or of another, buildings and all."""
    config, vocabulary, objects = load_run(run)
    weights = load_weights(run, config, checkpoint)
    folder = (data or data_folder(config)).absolute()
    split = resolve_split(split, folder, config)
    config = for_split(config, split)
    task = read_task(folder, config, (split,), vocabulary, objects, blind=True)
    agent = agent_with(weights, sizes_of(config, task))
    agent.attach(task.world.observer())
    document = evaluate_split(run, config, agent, task, split, command, checkpoint=checkpoint)
    print(f"report: {write_report(run)}", flush=True)
    return document


def follow(
    policy: Policy, world: World[Any], split: Demonstrations, tokens: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> Rollout[Any]:  # fmt: skip
    """The policy's greedy roll-outs of a split under instructions `tokens` [n, N], in its order."""
    observer = world.observer()
    agents, order = world.agents(observer, keep=False), world.order(split)
    parts = []
    for start in range(0, len(split), world.together):
        rows = order[start : start + world.together]
        goals = split.paths[rows].with_tokens(tokens[rows])
        parts.append(follow_goals(policy, agents, goals, None))
        if progress is not None:
            progress(min(start + world.together, len(split)), len(split))
    done, back = join_rollouts(parts), np.argsort(order, kind="stable")
    return Rollout(done.paths[back], done.probability[back], done.entropy[back])


def scores_of(policy: Policy, world: World[Any], split: Demonstrations) -> dict[str, np.ndarray]:
    """Each metric of each episode when the policy follows a split's own instructions, float64
    [n]."""
    return world.score(split, follow(policy, world, split, split.paths.tokens).paths)


def evaluate(
    policy: Policy, world: World[Any], split: Demonstrations, seed: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray], Rollout[Any]]:  # fmt: skip
    """The agent and its controls on a split.

    Returns the summaries by agent ("agent", "no text", "shuffled text", "straight", "random",
    "expert", "shortest path"), the agent's metrics of each episode, and its roll-outs in the
    split's order. "no text" and "shuffled text" are the same agent given an empty or another path's
    instruction. "expert" is the reference path, "shortest path" the way that the graph knows. A
    blind split has the agent alone.
    """
    tokens = split.paths.tokens
    silent = np.zeros_like(tokens)
    silent[:, 0] = END
    others = tokens[shuffled(split.building, split.route, seed)]

    def followed(name: str, words: np.ndarray) -> Rollout[Any]:
        ticked = None if progress is None else partial(progress, name)
        return follow(policy, world, split, words, ticked)

    own = followed("agent", tokens)
    if split.blind:
        return {}, world.score(split, own.paths), own
    walked = {
        "agent": own.paths,
        "no text": followed("no text", silent).paths,
        "shuffled text": followed("shuffled text", others).paths,
        **world.controls(split, seed),
    }
    values = {name: world.score(split, paths) for name, paths in walked.items()}
    return {name: summarise(v) for name, v in values.items()}, values["agent"], own


def for_split(config: IRLConfig, split: str) -> IRLConfig:
    """The configuration to read a split by: which buildings are held out, and which alone are
    trained in, concerns train and val_seen.

    Any other split may come from a folder that lacks those buildings.
    """
    if split in (HELD_OUT, *HELD_OUT_SOURCES):
        return config
    return replace(config, held_out=(), buildings=())


def evaluate_split(
    run: Path, config: IRLConfig, agent: Agent, task: Task[Any], name: str,
    command: str,
    seconds: float | None = None,
    checkpoint: Which = "last",
) -> dict[str, Any]:  # fmt: skip
    """Score a split and write `evaluation_NAME.json` and `episodes_NAME.jsonl`; print the table.

    A blind split is not scored: `submission_NAME.json` is what its leaderboard takes.
    """
    split = task.splits[name]
    if not len(split):
        raise DataError(f"split {name} of {task.folder} has no episodes")
    ticker = _Ticker(name)
    agents, values, own = evaluate(agent.policy, task.world, split, config.seed, ticker)
    lines = task.world.record(split, values, own)
    if split.blind:
        return write_submission(run, name, split, lines, command)
    document = {
        "split": name, "data": str(task.folder), "method": method_name(config),
        "seed": config.seed, "features": features_name(config), "hardware": hardware(),
        "command": command, "train_seconds": seconds, "checkpoint": checkpoint, "agents": agents,
    }  # fmt: skip
    write_json(run / f"evaluation_{name}.json", document)
    write_whole(
        run / f"episodes_{name}.jsonl",
        lambda stream: stream.writelines((json.dumps(line) + "\n").encode() for line in lines),
    )
    print_table(document)
    return document


def write_submission(
    run: Path, name: str, split: Demonstrations, lines: list[dict[str, Any]], command: str
) -> dict[str, Any]:
    """Write `submission_NAME.json` for a blind split, from the records of its episodes."""
    file = run / f"submission_{name}.json"
    walks = "positions" in lines[0]
    write_json(file, r2r_ce_submission(lines) if walks else r2r_submission(split.episodes, lines))
    print(
        f"\n{name}: {len(split)} episodes, and no goal is told: nothing is scored. The file for the"
        f" leaderboard: {file}",
        flush=True,
    )
    return {"split": name, "submission": str(file), "command": command, "agents": {}}


def method_name(config: IRLConfig) -> str:
    """The baseline's name, or "LangGoalIRL" with its rung: base, +augment, +relabel or full."""
    text = "" if config.text else ", no text"
    text += ", shuffled text" if config.shuffled_text else ""
    text += ", adapted (transductive)" if config.extra_demonstrations else ""
    if config.reward_from:
        return f"transferred reward{text}"
    if config.method != "langgoal":
        return f"{BASELINES[config.method]}{text}"
    rung = {(False, False): "base", (True, False): "+augment", (False, True): "+relabel"}
    return f"LangGoalIRL {rung.get((config.augment, config.relabel), 'full')}{text}"


def features_name(config: IRLConfig) -> str:
    if config.env == "continuous":
        camera = config.simulation.camera
        on = {"RGB": camera.colour, "D": camera.depth, "semantic": camera.semantic}
        sensors = "-".join(name for name in on if on[name])
        return f"{sensors} {camera.width} x {camera.height}, {config.simulator} simulator"
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


def write_instructions(run: Path, config: IRLConfig, agent: Agent, task: Task[Any]) -> None:
    """Samples of the goal generator: a human instruction, its paraphrase, a free instruction."""
    name = next((s for s in task.splits if s != "train"), "train")
    split = task.splits[name]
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(len(split), size=min(40, len(split)), replace=False))
    paths = split.paths[rows]
    episodes = [split.episodes[int(row)] for row in rows]
    world = task.world
    places = [world.way(episode) for episode in episodes]
    if (frames := world.new_frame_store(len(rows))) is not None:
        paths = paths.with_frames(frames.keep(world.film(paths)))
        agent.attach(world.observer(frames))
    human = judge(agent, world, paths, paths.tokens[:, None], config.seed)
    free = label_paths(agent, world, paths, config.seed, rephrase=False)
    other = label_paths(agent, world, paths, config.seed, rephrase=True)
    lines = [
        {
            "scan": episode.scan, "path": list(place), "human": episode.instruction,
            "paraphrase": task.vocabulary.decode(other.tokens[row]),
            "free": task.vocabulary.decode(free.tokens[row]),
            "scores": {
                "human": _told(human.follower[row, 0], human.speaker[row, 0]),
                "paraphrase": _told(other.follower[row], other.speaker[row], other.kept[row]),
                "free": _told(free.follower[row], free.speaker[row], free.kept[row]),
            },
        }
        for row, (episode, place) in enumerate(zip(episodes, places, strict=True))
    ]  # fmt: skip
    write_text(run / "sentences.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _told(follower: Any, speaker: Any, kept: Any = True) -> dict[str, Any]:
    """Scores as a reader understands them: probabilities of the path, an action and in all."""
    return {
        "follower": _probability(follower), "generator": _probability(speaker), "kept": bool(kept)
    }  # fmt: skip


def _probability(log: Any) -> float | None:
    """exp of a score; None where instructions are not judged."""
    value = float(log)
    return None if math.isnan(value) else round(math.exp(value), 4)
