"""What a trained run's reward knows, and what training by it did to the cloned policy.

On one split, usually of new buildings: does the reward tell right instructions from wrong ones and
right paths from wrong ones; does it grow with progress towards the goal; how far is the policy from
the clone it started as; and, in generated houses, how many generated instructions lead where the
path went, by an oracle that executes them. Written to `reward_SPLIT.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.graph.agents import roll_out
from envs.graph.buildings import Buildings
from envs.graph.simulator import GraphSimulator
from envs.graph.world import GraphWorld
from envs.houses.checking import Outcome, check
from envs.houses.dataset import HOUSES_FILE, read_houses
from envs.houses.house import House
from rayforge.errors import ConfigurationError, RunError
from rayforge.evaluation.intervals import Interval, bootstrap_interval, paired_difference
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.evaluation.reward_analysis import divergence, rank_correlation, told_apart
from rayforge.files import write_json
from rayforge.irl.agent import Agent
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.labelling import label_paths
from rayforge.irl.networks import Policy
from rayforge.irl.pairs import path_batch
from rayforge.language.vocabulary import Vocabulary
from rayforge.paths.arrays import Paths, join_paths
from rayforge.paths.observation import GraphObserver
from rayforge.reports.report import write_report
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import for_split, method_name, scores_of
from trainers.irl.run_folder import CLONED, data_folder, load_run, resolve_split
from trainers.irl.task import Task, read_task, shuffled
from trainers.runs.checkpoint import latest, load_module, read_weights

BATCH = 128


@dataclass(frozen=True)
class Judged:
    """Paths as a reward and the policy see them."""

    reward: np.ndarray  # float64 [n, T], the reward of each action taken; 0 in the padding
    logit: np.ndarray  # float64 [n, T], the discriminator's
    log_pi: np.ndarray  # float64 [n, T], of the actions taken
    log_policy: np.ndarray  # float32 [n, T, A], of all actions
    legal: np.ndarray  # bool [n, T, A]
    real: np.ndarray  # bool [n, T]


@torch.inference_mode()
def judge(agent: Agent, paths: Paths, policy: Policy | None = None) -> Judged:
    """Reward, discriminator and policy (the agent's own, or `policy`) along whole paths.

    A run without a reward has zeros there. A completion classifier speaks at the STOP alone.
    """
    policy = agent.policy if policy is None else policy
    parts: list[Judged] = []
    observer, width = agent.observer, paths.action.shape[1]
    assert isinstance(observer, GraphObserver)
    actions = observer.table_edge.shape[1] + 1
    for start in range(0, len(paths), BATCH):
        columns = path_batch(paths[start : start + BATCH])
        batch = {name: torch.from_numpy(values) for name, values in columns.items()}
        length, action = batch["length"], batch["action"]
        seen = agent.observe(batch)
        log_pi = policy(seen, policy.instruction_encoder(batch["tokens"]), length)
        taken = log_pi.gather(-1, action[..., None]).squeeze(-1)
        steps = torch.arange(action.shape[1])
        real, ends = steps < length[:, None], steps == length[:, None] - 1
        f = torch.zeros_like(taken)
        if agent.config.adversarial:
            own = agent.reward_instruction_encoder
            read = agent.policy.instruction_encoder if own is None else own
            f = agent.reward(seen, read(batch["tokens"]), length, action)
        logit = f - taken if agent.config.method == "langgoal" else f
        counted = ends if agent.config.method == "completion" else real
        spare = width - action.shape[1]

        def wide(values: torch.Tensor, mask: torch.Tensor, spare: int = spare) -> np.ndarray:
            return np.pad((values * mask).double().numpy(), ((0, 0), (0, spare)))

        both = ((0, 0), (0, spare), (0, actions - log_pi.shape[-1]))
        parts.append(
            Judged(
                wide(f, counted), wide(logit, counted), wide(taken, real),
                np.pad(log_pi.numpy(), both), np.pad(seen.legal.numpy(), both),
                np.pad(real.numpy(), ((0, 0), (0, spare))),
            )
        )  # fmt: skip
    names = ("reward", "logit", "log_pi", "log_policy", "legal", "real")
    return Judged(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def find_reward_analysis(
    run: Path, split: str, data: Path | None, episodes: int, seed: int, command: str
) -> dict[str, Any]:
    """Compute, write and print what the reward of a run knows, on `episodes` episodes of a split at
    most.

    Raises ConfigurationError for a run without a checkpoint, or one in 3-D scenes.
    """
    config, vocabulary, objects = load_run(run)
    if config.env != "graph":
        raise ConfigurationError(
            f"{run} is a run in 3-D scenes; `irl reward` needs navigation graphs"
        )
    checkpoint = latest(run / "checkpoints")
    if checkpoint is None:
        raise RunError(f"{run} has no checkpoint yet; train it first")
    weights, _ = load_module(checkpoint)
    folder = data or data_folder(config)
    split = resolve_split(split, folder, config)
    config = for_split(config, split)
    task: Task[GraphWorld] = read_task(folder, config, (split,), vocabulary, objects)
    agent = Agent(**sizes_of(config, task))
    agent.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    agent.attach(task.world.observer())
    agent.eval()
    whole, rng = task.splits[split], np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(whole))[:episodes])
    part = Demonstrations(
        tuple(whole.episodes[int(row)] for row in rows), whole.paths[rows], whole.goal[rows],
        whole.cut, whole.building[rows], whole.route[rows],
    )  # fmt: skip
    cloned = _cloned(run, sizes_of(config, task))
    houses = read_houses(folder) if (folder / HOUSES_FILE).is_file() else None
    found = figures(agent, task, part, cloned, houses, config, vocabulary, seed)
    document = {
        "split": split, "data": str(folder), "method": method_name(config), "seed": seed,
        "episodes": len(part), "command": command,
        "figures": found,
    }  # fmt: skip
    write_json(run / f"reward_{split}.json", document)
    print(f"{split}: {len(part)} episodes, {document['method']}")
    for name, figure in found.items():
        low, high = figure["low"], figure["high"]
        limits = f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else ""
        print(f"  {name:64} {figure['mean']:8.3f}{limits}")
    print(f"report: {write_report(run)}", flush=True)
    return document


def figures(
    agent: Agent, task: Task[GraphWorld], split: Demonstrations, cloned: Policy | None,
    houses: dict[str, House] | None, config: IRLConfig, vocabulary: Vocabulary, seed: int,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Every figure of a split by name, as in `Interval.as_dict`."""
    buildings, observer = task.world.buildings, task.world.observer()
    rolled_out = sampled(agent.policy, observer, buildings, split, seed)
    found: dict[str, Interval] = {}
    if config.adversarial:
        found |= _right_and_wrong(agent, buildings, split, rolled_out, seed)
        found |= _progress(agent, buildings, split, rolled_out)
    if cloned is not None:
        found |= _against_clone(agent, cloned, task.world, split)
    if houses is not None and agent.generator is not None:
        found |= _accepted(agent, task.world, split, rolled_out, houses, vocabulary, seed)
    return {name: value.as_dict() for name, value in found.items()}


def sampled(
    policy: Policy, observer: GraphObserver, buildings: Buildings, split: Demonstrations, seed: int
) -> Paths:
    """One sampled roll-out an instruction, as in training."""
    simulator = GraphSimulator(buildings, observer.max_steps)
    rng = np.random.default_rng([seed, 1])
    parts = []
    for start in range(0, len(split), BATCH):
        goals = split.paths[start : start + BATCH]
        draws = rng.random((len(goals), observer.max_steps), np.float32)
        parts.append(roll_out(policy, observer, simulator, goals, draws).paths)
    return join_paths(parts)


def _right_and_wrong(
    agent: Agent, buildings: Buildings, split: Demonstrations, rolled_out: Paths, seed: int
) -> dict[str, Interval]:
    """Own instructions against those of other paths of the building; own paths against others of
    the building, and against the agent's own that did not arrive. Scores are sums over steps."""
    other = shuffled(split.building, split.route, seed)
    kept = np.flatnonzero(split.route[other] != split.route)
    right = judge(agent, split.paths)
    wrong_instruction = judge(agent, split.paths.with_tokens(split.paths.tokens[other]))
    wrong_path = judge(agent, split.paths[other].with_tokens(split.paths.tokens))
    own = judge(agent, rolled_out)
    lost = np.flatnonzero(_left(buildings, split, rolled_out)[:, -1] >= SUCCESS_METRES)
    found: dict[str, Interval] = {}
    scores: tuple[tuple[str, Callable[[Any], np.ndarray]], ...] = (
        ("reward", lambda judged: judged.reward.sum(1)),
        ("discriminator", lambda judged: judged.logit.sum(1)),
        ("policy's likelihood", lambda judged: judged.log_pi.sum(1)),
    )
    for name, score_of in scores:
        a = score_of(right)
        cases = (
            ("right instruction over another's", wrong_instruction, kept),
            ("right path over another's", wrong_path, kept),
            ("right path over a roll-out that failed", own, lost),
        )
        for case, judged, rows in cases:
            found[f"{case}, by {name}"] = told_apart(a[rows], score_of(judged)[rows])
    return found


def _left(buildings: Buildings, split: Demonstrations, paths: Paths) -> np.ndarray:
    """Metres to the goal in each state, [n, T]; after the STOP the last value is repeated."""
    steps = np.minimum(np.arange(paths.action.shape[1]), paths.length[:, None] - 1)
    places = np.take_along_axis(paths.viewpoint, steps.astype(np.int64), 1)
    metres: np.ndarray = buildings.distance(places, split.goal[:, None])
    return metres


def _progress(
    agent: Agent, buildings: Buildings, split: Demonstrations, rolled_out: Paths
) -> dict[str, Interval]:
    """Rank correlation of the reward along sampled roll-outs with metres gained on the goal."""
    judged, left = judge(agent, rolled_out), _left(buildings, split, rolled_out)
    gained = left[:, :-1] - left[:, 1:]
    moves = judged.real[:, :-1] & (rolled_out.action[:, :-1] > 0)
    whole = rank_correlation(judged.reward.sum(1), left[:, 0] - left[:, -1])
    found = {"reward of a roll-out with its progress (rank correlation)": whole}
    if agent.config.method != "completion":
        single = rank_correlation(judged.reward[:, :-1][moves], gained[moves])
        # Steps of one roll-out are not independent: no interval.
        found["reward of a move with its progress (rank correlation)"] = Interval(
            single.mean, np.nan, np.nan, single.n
        )
        discriminator = judged.logit[:, :-1][moves]
        found["discriminator of a move with its progress (rank correlation)"] = Interval(
            rank_correlation(discriminator, gained[moves]).mean, np.nan, np.nan, single.n
        )
    return found


def _against_clone(
    agent: Agent, cloned: Policy, world: GraphWorld, split: Demonstrations
) -> dict[str, Interval]:  # fmt: skip
    """The policy against the one that was cloned: in the expert's states, and by success."""
    before, now = judge(agent, split.paths, cloned), judge(agent, split.paths)
    steps = before.real.sum(1)
    kl = divergence(before.log_policy, now.log_policy, before.legal) * before.real
    chosen = [np.where(j.legal, j.log_policy, -np.inf).argmax(-1) for j in (before, now)]
    agree = (chosen[0] == chosen[1]) & before.real
    success = []
    for policy in (cloned, agent.policy):
        success.append(scores_of(policy, world, split)["success"])
    return {
        "KL(cloned || now), nats a step of the expert's": bootstrap_interval(kl.sum(1) / steps),
        "best actions that agree with the clone's": bootstrap_interval(agree.sum(1) / steps),
        "success when cloned": bootstrap_interval(success[0]),
        "success now": bootstrap_interval(success[1]),
        "success now minus when cloned": paired_difference(success[1], success[0]),
    }


def _accepted(
    agent: Agent, world: GraphWorld, split: Demonstrations, rolled_out: Paths,
    houses: dict[str, House], vocabulary: Vocabulary, seed: int,
) -> dict[str, Interval]:  # fmt: skip
    """Share of instructions that lead, by the oracle, from the path's start to its end. Human ones
    are spelt as the vocabulary has them, without words it does not know."""
    scans = [e.scan for e in split.episodes]
    reference = [tuple(e.path) for e in split.episodes]
    names = world.buildings.viewpoint_ids
    went = [
        tuple(names[v] for v in rolled_out.viewpoint[row, : int(rolled_out.length[row])])
        for row in range(len(rolled_out))
    ]
    heading = [float(e.heading) for e in split.episodes]
    told = {
        "human instructions": (split.paths.tokens, reference),
        "paraphrases": (label_paths(agent, world, split.paths, seed, True).tokens, reference),
        "free instructions, expert paths": (
            label_paths(agent, world, split.paths, seed, False).tokens, reference
        ),
        "relabelled roll-outs": (label_paths(agent, world, rolled_out, seed, False).tokens, went),
    }  # fmt: skip
    found = {}
    for name, (tokens, paths) in told.items():
        outcomes = [
            check(vocabulary.decode(tokens[row]), houses[scans[row]], paths[row], heading[row])
            for row in range(len(split))
        ]
        arrives = np.array([o.outcome is Outcome.ARRIVES for o in outcomes], float)
        found[f"{name} that the oracle accepts"] = bootstrap_interval(arrives)
    return found


def _cloned(run: Path, sizes: dict[str, Any]) -> Policy | None:
    """The run's policy as it was cloned, where the run kept it."""
    if not (run / CLONED).is_file():
        return None
    other = Agent(**sizes, acting_only=True)
    weights = read_weights(run / CLONED)
    other.policy.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return other.policy.eval()
