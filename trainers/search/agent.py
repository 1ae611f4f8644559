"""An agent's trial: the algorithm itself, trained report by report as Tune asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import PlacementGroupFactory, Trainable
from ray.tune.result import DONE

from rayforge.irl.agent import Agent
from rayforge.irl.networks import Policy
from rayforge.paths.arrays import join_paths
from rayforge.paths.observation import GraphObserver
from trainers.configuration import to_dict
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import follow, score
from trainers.irl.evaluate_walks import BATCH
from trainers.irl.evaluate_walks import score as score_walks
from trainers.irl.homes_task import HomesTask
from trainers.irl.rollout import follow_goals
from trainers.irl.run import restore_algorithm, save_algorithm
from trainers.irl.run_folder import data_folder, resolve_split
from trainers.irl.scoring import read_any_task
from trainers.irl.task import Task
from trainers.runs.checkpoint import latest, load_checkpoint
from trainers.search.config import Search
from trainers.search.resources import need


def build_agent(config: IRLConfig) -> LangGoalIRL:
    """The algorithm with its data, ready to train; on the Ray that runs already."""
    task = read_trial_task(config)
    return LangGoalIRLConfig().for_task(config, task).build_algo().start(task)


def read_trial_task(config: IRLConfig) -> Task | HomesTask:
    """The data of a configuration, with the splits that it is evaluated on."""
    folder = data_folder(config)
    splits = [resolve_split(name, folder, config) for name in config.evaluate]
    return read_any_task(folder, config, tuple(dict.fromkeys(("train", *splits))))


def updates_in_all(config: IRLConfig) -> int:
    """Updates of cloning and of what follows it; the goal generator's are not counted."""
    return config.clone_updates + config.updates if not config.rolls_out else (
        config.cloning_first + config.updates
    )  # fmt: skip


def train_until(algorithm: LangGoalIRL, share: float) -> None:
    """Train to this share of all updates, rounded up to whole iterations."""
    wanted = share * updates_in_all(algorithm.irl)
    while not algorithm.finished:
        counts = algorithm.counts
        if algorithm.phase != "generator" and counts["clone"] + counts["irl"] >= wanted:
            return
        LangGoalIRL.step(algorithm)  # of the base class: a trial's own step calls this


def agent_figures(algorithm: LangGoalIRL) -> dict[str, float]:
    """The metrics of every split, "SPLIT/METRIC", as `config.evaluate` names the splits; and how
    far training has come."""
    config, task = algorithm.irl, algorithm.task
    agent = algorithm.agent()
    figures: dict[str, float] = {}
    for name in config.evaluate:
        split = resolve_split(name, task.folder, config)
        values = _walked(agent, task, split, config) if isinstance(task, HomesTask) else (
            _followed(agent.policy, agent.observer, task, split, config)
        )  # fmt: skip
        figures |= {f"{name}/{metric}": float(v.mean()) for metric, v in values.items()}
    counts = algorithm.counts
    figures["updates"] = counts["clone"] + counts["irl"]
    figures["env_steps"] = counts["env_steps"]
    return figures


def _followed(
    policy: Policy, observer: Any, task: Task, name: str, config: IRLConfig
) -> dict[str, np.ndarray]:
    assert isinstance(observer, GraphObserver)
    split, buildings = task.splits[name], task.data.buildings
    parts = follow(policy, observer, buildings, split, split.paths.tokens)
    return score(buildings, split, join_paths([p.paths for p in parts]), config.max_steps)


def _walked(agent: Agent, task: HomesTask, name: str, config: IRLConfig) -> dict[str, np.ndarray]:
    split = task.splits[name]
    observer = task.world.observer(config)
    agents = task.world.agents(config, observer, task.homes, keep=False)
    order = np.argsort(split.building, kind="stable")  # neighbours in a batch share a scene
    parts = [
        follow_goals(agent.policy, agents, split.paths[order[start : start + BATCH]], None).paths
        for start in range(0, len(split), BATCH)
    ]
    walks = join_paths(parts)[np.argsort(order)]
    return score_walks(task.homes, split, walks, config.max_walk)


def save_agent(algorithm: LangGoalIRL, folder: Path) -> None:
    """What the trial goes on from, after a fault or as another trial's start."""
    save_algorithm(
        algorithm, folder, {"config": to_dict(algorithm.irl), "data": algorithm.task.fingerprint}
    )


def restore_agent(algorithm: LangGoalIRL, folder: Path) -> None:
    """Go on from a checkpoint, which may be another trial's, under this trial's own settings."""
    path = latest(folder)
    assert path is not None, f"{folder} holds no checkpoint"
    restore_algorithm(algorithm, load_checkpoint(path))


class AgentTrial(LangGoalIRL):
    """LangGoalIRL as Tune runs it: a step is training up to the next report, and evaluation.

    `config` is what Tune proposes: the labels of the space's settings, and "search", which says
    what they are labels of.
    """

    def __init__(self, config: Mapping[str, Any], **rest: Any) -> None:
        search: Search = config["search"]
        self.labels = {r.key: config[r.key] for r in search.space.ranges if r.key in config}
        self.reports = search.reports
        own: IRLConfig = search.trial(search.space.values(config))
        task = read_trial_task(own)
        super().__init__(LangGoalIRLConfig(type(self)).for_task(own, task), **rest)
        self.start(task)

    @classmethod
    def default_resource_request(cls, config: Any) -> PlacementGroupFactory:
        search: Search = config["search"]
        own = search.trial(search.space.values(config))
        return PlacementGroupFactory(list(need("irl", own).bundles))

    def get_auto_filled_metrics(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        # The algorithm's own configuration holds the data; what the trial was given is enough.
        filled: dict[str, Any] = Trainable.get_auto_filled_metrics(self, *arguments, **named)
        return {**filled, "config": self.labels}

    def step(self) -> dict[str, Any]:
        train_until(self, (self.iteration + 1) / self.reports)
        finished = self.finished or self.iteration + 1 >= self.reports
        return {**agent_figures(self), "finished": finished, DONE: finished}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        save_agent(self, Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        restore_agent(self, Path(checkpoint_dir))
