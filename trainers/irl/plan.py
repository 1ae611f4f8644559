"""`rayforge irl plan RUN`: an agent learns the reward that plans, and what each score weighs.

The run's policy and goal generator stay as they are. The reward is trained on its demonstrations,
measured on the instructions that were held back, and kept as it was at its best there; then the
weights of all scores are fitted on the same instructions by maximum likelihood.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from rayforge.errors import ConfigurationError, DataError, DivergedError, RunError
from rayforge.files import write_json, write_whole
from rayforge.irl.agent import Agent
from rayforge.irl.batches import batch_rows
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.labelling import label_paths
from rayforge.irl.losses import discriminator_loss
from rayforge.irl.pairs import mismatched
from rayforge.irl.path_reward import Form, PathReward
from rayforge.irl.planning import (
    maximum_entropy_loss,
)
from rayforge.irl.update import cosine
from rayforge.language.vocabulary import PAD
from rayforge.paths.arrays import Paths, join_paths
from rayforge.paths.tree import PathTree, TreeBatch
from rayforge.readers.faults import one_line
from trainers.irl.algorithm import sizes_of
from trainers.irl.choices import Choices, Fitted, imagined, mapped
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_with, load_weights
from trainers.irl.plan_config import PlanConfig
from trainers.irl.planner import (
    LengthScore,
    Planner,
    RewardScore,
    Score,
    Ways,
    scores_of,
    succeeding,
)
from trainers.irl.run_folder import data_folder, load_run
from trainers.irl.task import HELD_BACK, Task, read_task
from trainers.runs.checkpoint import read_weights

CHUNK = 64
"""Paths labelled at a time."""
MISMATCHED = 0.5
"""Weight of the mismatched pairs in the classifier's loss: half as many as the others."""
IMAGINED = 16
"""Roll-outs for which weights of imagined candidates are fitted."""
FILES = "planner.safetensors", "planner.json"
KEPT = ("form", "edges", "fitted", "length", "settings")
"""What the second one holds at least."""
"""In a run's folder: the reward's weights, and settings and weights of the scores."""


def plan_run(run: Path, settings: PlanConfig, command: str) -> dict[str, Any]:
    """Train a run's reward, fit the weights and write both into the run's folder.

    Raises ConfigurationError for a run that has held nothing back or is not in navigation graphs,
    RunError where it is not whole, and DataError as the readers do.
    """
    started = time.perf_counter()
    agent = open_agent(run, ("train",))
    config, task, module = agent.config, agent.task, agent.module
    if not config.held_back:
        raise ConfigurationError(
            f"{run} has held no instructions back, on which weights could be fitted: train a run "
            "with --held-back 0.05"
        )
    train, held = task.splits["train"], task.splits[HELD_BACK]
    ways = Ways(task.data.buildings, edges_of(train), config.max_steps)
    reward: PathReward | None = None
    curve: list[dict[str, float]] = []
    if settings.reward == "own":
        reward = own_reward(run, agent)
    elif settings.reward == "kept":
        reward = read_planner(run, agent)[1]
    elif settings.reward != "none":
        reward, curve = train_reward(settings, config, task, module, ways)
    length = LengthScore.of(ways, train.paths)
    scores = scores_of(module, length, reward)
    planner = Planner(task.data.buildings, scores, {})
    fitted = {}
    for name, choices in (
        ("map", mapped(planner, ways, held, list(scores))),
        ("samples", imagined(planner, module, held, IMAGINED)),
    ):
        if not choices.good.any():
            raise DataError(
                f"{run}: no candidate succeeds for any of the instructions held back, so no "
                f'weights can be fitted for "{name}"'
            )
        own = choices.fit(choices.names)
        fitted[name] = {
            "weights": own.weights, "nats": own.nats, "success": float(own_success(choices, own)),
        }  # fmt: skip
        print(
            f"{name}: {fitted[name]['success']:.3f} of the instructions held back, weights "
            + "  ".join(f"{k} {v:.3f}" for k, v in own.weights.items()),
            flush=True,
        )
    document = {
        "settings": asdict(settings), "form": None if reward is None else reward.form,
        "policy": digest_of(module.policy),
        "edges": ways.edges, "command": command, "fitted": fitted,
        "length": length.log_ratio.tolist(), "curve": curve,
        "seconds": time.perf_counter() - started,
    }  # fmt: skip
    state = {} if reward is None else reward.state_dict()
    contiguous = {name: value.contiguous() for name, value in state.items()}
    write_whole(run / FILES[0], lambda stream: stream.write(save(contiguous)))
    write_json(run / FILES[1], document)
    return document


def own_success(choices: Choices, fitted: Fitted) -> float:
    """Share of the instructions that the weights succeed for (where they were fitted)."""
    return float(choices.success(fitted.weights).mean())


class PlannedAgent(NamedTuple):
    """A run's agent in the buildings of some splits."""

    config: IRLConfig
    task: Task[Any]
    module: Agent


def open_agent(
    run: Path, splits: Sequence[str], data: Path | None = None, reading: IRLConfig | None = None
) -> PlannedAgent:
    """A run's agent, and these splits of its data folder or of another, read by its configuration
    or by `reading`.

    Raises ConfigurationError for a run that is not in navigation graphs.
    """
    config, vocabulary, objects = load_run(run)
    if config.env != "graph":
        raise ConfigurationError(
            f"{run}: planning needs navigation graphs, and this run's env is {config.env!r}"
        )
    weights = load_weights(run, config)
    folder = data or data_folder(config)
    task = read_task(folder, reading or config, splits, vocabulary, objects)
    module = agent_with(weights, sizes_of(config, task))
    module.attach(task.world.observer())
    return PlannedAgent(config, task, module)


def _why(error: Exception) -> str:
    """What went wrong, without the number that the system gives it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def read_planner(run: Path, agent: PlannedAgent) -> tuple[dict[str, Any], PathReward | None]:
    """What `plan_run` wrote into a run's folder, and the reward, if there is one.

    Raises RunError where it did not.
    """
    try:
        document = json.loads((run / FILES[1]).read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{run} has no planner ({one_line(_why(error))}): make it with `rayforge "
            f"irl plan {run}`"
        ) from error
    lacking = [name for name in KEPT if not isinstance(document, dict) or name not in document]
    if lacking:
        raise RunError(
            f"{run / FILES[1]} is no planner of this version: it has no {lacking[0]}; make it "
            f"again with `rayforge irl plan {run}`"
        )
    if document["form"] is None:
        return document, None
    sizes = sizes_of(agent.config, agent.task)
    reward = PathReward(
        sizes["vocabulary"], sizes["dimension"], agent.config.network, document["form"]
    )
    weights = read_weights(run / FILES[0])
    try:
        reward.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    except RuntimeError as error:
        raise RunError(
            f"{run / FILES[0]} is of another run or its networks have other sizes "
            f"({one_line(error, 120)}): make it again with `rayforge irl plan {run}`"
        ) from None
    return document, reward


def digest_of(policy: nn.Module) -> str:
    """What tells the weights of one policy from another's."""
    digest = hashlib.sha256()
    for name, value in sorted(policy.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_own(run: Path, document: dict[str, Any], agent: PlannedAgent) -> None:
    """Raises RunError where a planner was fitted to another policy than the agent's: a file of
    another run, or of this one before it was trained further. Older files do not say."""
    if document.get("policy", own := digest_of(agent.module.policy)) != own:
        raise RunError(
            f"{run / FILES[1]} was made for another policy than {run} has now (another run's, or "
            f"its own before more training): make it again with `rayforge irl plan {run}`"
        )


def edges_of(train: Demonstrations) -> tuple[int, int]:
    """The fewest and the most edges of described paths, but for one in a hundred at either end."""
    low, high = np.quantile(train.paths.length - 1, (0.01, 0.99), method="nearest")
    return int(low), int(high)


def own_reward(run: Path, agent: PlannedAgent) -> PathReward:
    """What a run's own method taught its reward: f of "langgoal", the classifier of "gail", and of
    "completion" its answer at the STOP.

    Raises ConfigurationError where its method has none.
    """
    config = agent.config
    if not config.adversarial:
        raise ConfigurationError(
            f'{run}: its method "{config.method}" has no reward; name another one than "own"'
        )
    forms: dict[str, Form] = {
        "langgoal": "maxent", "gail": "classifier", "completion": "completion"
    }  # fmt: skip
    taken = "reward.values." if config.method == "langgoal" else "reward."
    scorer = "scorers.0" if config.method == "langgoal" else "scorer"
    value = "values" if config.method == "langgoal" else "value"
    renamed = {
        "policy.instruction_encoder.": "network.instruction_encoder.",
        f"{taken}trunk.": "network.trunk.",
        f"{taken}{scorer}.": "network.scorer.", f"{taken}{value}.": "value.",
    }  # fmt: skip
    state = {
        name.replace(first, own, 1): torch.from_numpy(array)
        for name, array in load_weights(run, config).items()
        for first, own in renamed.items()
        if name.startswith(first)
    }
    sizes = sizes_of(config, agent.task)
    reward = PathReward(
        sizes["vocabulary"], sizes["dimension"], config.network, forms[config.method]
    )
    reward.load_state_dict(state)
    return reward


def train_reward(
    settings: PlanConfig, config: IRLConfig, task: Task[Any], module: Agent, ways: Ways
) -> tuple[PathReward, list[dict[str, float]]]:
    """The reward at its best on the held-back instructions, and how it came there.

    Raises DivergedError where its loss is no longer finite.
    """
    torch.manual_seed(settings.seed)
    assert settings.reward in ("maxent", "classifier")
    network = replace(
        config.network, dropout=settings.dropout, feature_dropout=settings.feature_dropout
    )
    sizes = sizes_of(config, task)
    reward = PathReward(sizes["vocabulary"], sizes["dimension"], network, settings.reward)
    reward.start_from(module.policy)
    pairs = Pairs(settings, task.splits["train"], generated_pairs(settings, task, module, ways))
    observer: Any = module.observer
    optimizer = torch.optim.Adam(reward.parameters(), lr=settings.learning_rate, fused=True)
    curve: list[dict[str, float]] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    losses, started = [], time.process_time()
    every = max(1, math.ceil(settings.updates / settings.checks))
    for number in range(settings.updates):
        for group in optimizer.param_groups:
            group["lr"] = cosine(settings.learning_rate, number, settings.updates)
        loss = update_loss(reward, pairs.batch(number), ways, observer, settings.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reward.parameters(), config.gradient_norm)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise DivergedError(
                f"the reward's loss is {losses[-1]} in update {number}; a smaller learning_rate "
                f"than {settings.learning_rate} may help"
            )
        optimizer.step()
        if (number + 1) % every == 0 or number + 1 == settings.updates:
            scores: dict[str, Score] = {"reward": RewardScore(reward, observer)}
            planner = Planner(ways.buildings, scores, {})
            held = mapped(planner, ways, task.splits[HELD_BACK], ["reward"]).fit(["reward"])
            reward.train()
            if best is None or held.nats < best[0]:
                state = {name: value.clone() for name, value in reward.state_dict().items()}
                best = (held.nats, state)
            point = {
                "update": number + 1, "loss": float(np.mean(losses[-every:])),
                "held_back_nats": held.nats, "seconds": time.process_time() - started,
            }  # fmt: skip
            curve.append(point)
            print("  ".join(f"{k} {v:.4g}" for k, v in point.items()), flush=True)
    if best is not None:
        reward.load_state_dict(best[1])
    return reward, curve


class Pairs:
    """The pairs that a reward is taught by, a pure function of the update's number."""

    def __init__(
        self, settings: PlanConfig, train: Demonstrations, generated: Demonstrations | None
    ) -> None:
        self.settings, self.train, self.generated = settings, train, generated
        self._words = (train.paths.tokens != PAD).sum(1)

    def batch(self, number: int) -> Taught:
        settings = self.settings
        share = 0.0 if self.generated is None else settings.generated_share
        own = max(1, round(settings.batch * (1.0 - share)))
        rows = batch_rows(self._words, own, settings.seed, number)
        rng = np.random.default_rng([settings.seed, number])
        paths: Paths = self.train.paths[rows]
        goal = self.train.goal[rows]
        wrong: Any = mismatched(self.train, rng.permutation(rows)[: len(rows) // 2], rng)
        if self.generated is not None:
            drawn = rng.integers(len(self.generated.paths), size=settings.batch - own)
            paths = join_paths([paths, self.generated.paths[drawn]])
            goal = np.concatenate([goal, self.generated.goal[drawn]])
        return Taught(paths, goal, wrong)


class Taught(NamedTuple):
    """What one update is taught by."""

    paths: Paths
    goal: np.ndarray  # int32 [G], where they lead
    wrong: Paths
    """Described paths with the instruction of another path of the building."""


def generated_pairs(
    settings: PlanConfig, task: Task[Any], module: Agent, ways: Ways
) -> Demonstrations | None:
    """Paths in training buildings that nobody described, about as long as described ones, with an
    instruction that the goal generator writes freely; None where none are asked for."""
    if not settings.generated:
        return None
    train, rng = task.splits["train"], np.random.default_rng([settings.seed, *b"generated"])
    lengths = LengthScore.of(ways, train.paths)
    places = np.flatnonzero(np.isin(task.data.buildings.building, np.unique(train.building)))
    chosen = []
    for start in rng.choice(places, settings.generated):
        tree = ways.tree((int(start), int(rng.integers(12))))
        weight = np.exp(lengths.log_ratio[tree.paths.length - 1])
        place = rng.choice(len(weight), p=weight / weight.sum())
        chosen.append(tree.paths[place : place + 1])
    paths = join_paths(chosen)
    told = [
        label_paths(module, task.world, paths[k : k + CHUNK], settings.seed + k, rephrase=False)
        for k in range(0, len(paths), CHUNK)
    ]
    kept = np.concatenate([labels.kept for labels in told])
    paths = paths.with_tokens(np.concatenate([labels.tokens for labels in told]))[kept]
    goal = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
    return Demonstrations(
        (), paths, goal, 0, task.data.buildings.building[goal], np.arange(len(paths))
    )


def update_loss(
    reward: PathReward, pairs: Taught, ways: Ways, observer: Any, smoothing: float
) -> Tensor:
    """The loss of one update.

    "maxent": every path from the start of each pair competes, and those that succeed are right.
    "classifier": right are the paths that succeed; wrong are the planner's own choice among the
    others, drawn by its reward as it is, and described paths with another path's instruction.
    """
    own = ways.trees(pairs.paths)
    trees, tokens = TreeBatch.of(own), tokens_of(pairs.paths)
    good = succeeding(ways.buildings, own, pairs.goal) & trees.present
    recalled = reward.recall(trees, trees.observe(observer))
    if reward.form == "maxent":
        return maximum_entropy_loss(reward(recalled, trees, tokens), good, trees.present)
    logit = reward.steps(recalled, trees, tokens)
    positive = (good[..., None] & trees.real).float()
    others = trees.present & ~good
    drawn = logit.detach().sum(-1).masked_fill(~others, -torch.inf)
    drawn = drawn.masked_fill(~others.any(-1, keepdim=True), 0.0).softmax(-1)
    choice = torch.multinomial(drawn, 1)
    chosen = torch.zeros_like(others).scatter(1, choice, True) & others
    negative = (chosen[..., None] & trees.real).float()
    # The same step counts of both kinds, however many paths succeed.
    positive = positive / good.sum(-1).clamp(min=1)[:, None, None]
    planned = discriminator_loss(
        logit.flatten(0, 1), positive.flatten(0, 1), negative.flatten(0, 1), smoothing
    )
    if not len(pairs.wrong):
        return planned
    other = TreeBatch.of([PathTree.of(pairs.wrong[k : k + 1]) for k in range(len(pairs.wrong))])
    told = reward.steps(
        reward.recall(other, other.observe(observer)), other, tokens_of(pairs.wrong)
    ).flatten(0, 1)
    real = other.real.flatten(0, 1).float()
    mismatch = discriminator_loss(told, torch.zeros_like(real), real, smoothing)
    return planned + MISMATCHED * mismatch


def tokens_of(paths: Paths) -> Tensor:
    """Their instructions, int64 [n, N], without columns of padding."""
    return torch.from_numpy(paths.trimmed().tokens.astype(np.int64))
