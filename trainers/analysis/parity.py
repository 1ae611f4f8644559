"""`rayforge analyse parity`: whether a run serves groups alike, and the explicit second head.

After Lohaus et al. (NeurIPS 2022). Agents: the decision is STOP, right within 3 m of the goal, and
what is held equal is success. The agent is walked on past its STOPs; any rule for stopping is then
scored on the same walks. Language models: the decision is which of two answers is better, by the
implicit reward, and the attribute is which one is longer. Half of the routes or pairs fit every
weight; the other half tests it. Attributes of people are not inferred.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rayforge.errors import ConfigurationError, RunError
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.evaluation.parity import (
    awareness,
    difference_interval,
    fit_logistic,
    fit_merged,
    group_thresholds,
    parity_curve,
    rate_difference,
    recover,
    regularised_head,
    two_groups,
)
from rayforge.reports.alignment import is_alignment_run
from trainers.analysis.attributes import AGENTS, LANGUAGE, check_attribute, values_of
from trainers.analysis.parity_page import parity_sections
from trainers.analysis.results import write_results

if TYPE_CHECKING:
    from trainers.analysis.commands import Parity

REGULARISED = 20.0
"""Weight of the parity penalty in regularised training, the paper's strongest."""
DECISIONS = 3_000
"""Decisions that the probes are fitted to and tested on at most."""


@dataclass(frozen=True)
class Decisions:
    """n decisions with their frozen features; rows of `fit` choose weights, those of `test`
    score."""

    f: np.ndarray
    """The decision's logit: 1 is predicted above 0."""
    y: np.ndarray
    s: np.ndarray
    features: np.ndarray
    fit: np.ndarray
    test: np.ndarray


def analyse_parity(asked: Parity, command: str) -> dict[str, Any]:
    """Audit a run and write `parity_ATTRIBUTE.json` and `.html`.

    Raises ConfigurationError, DataError or RunError before anything heavy is loaded.
    """
    if not (asked.run / "config.yaml").is_file():
        raise RunError(f"{asked.run} is not a run folder: it has no config.yaml")
    if asked.episodes < 8:
        raise ConfigurationError(f"episodes must be at least 8, got {asked.episodes}")
    aligned = is_alignment_run(asked.run)
    whose = "a language model's run" if aligned else "an agent's run"
    check_attribute(asked.attribute, LANGUAGE if aligned else AGENTS, whose)
    if (asked.attribute == "corpus") != (asked.other is not None):
        raise ConfigurationError("attribute corpus needs --other DATA, and the others go without")
    if aligned:
        decisions, extra = _language(asked)
    else:
        decisions, extra = _agent(asked)
    document = {
        "run": str(asked.run), "attribute": asked.attribute, "decisions": len(decisions.y),
        **summarise_parity(decisions, extra.pop("length", None)), **extra,
    }  # fmt: skip
    title = f"Parity by {asked.attribute}: {asked.run.resolve().name}"
    write_results(asked.out or asked.run, f"parity_{asked.attribute}", document, title,
                  parity_sections(document), command)  # fmt: skip
    return document


def summarise_parity(d: Decisions, length: np.ndarray | None) -> dict[str, Any]:
    """Every rule's accuracy and difference of rates on the test half, the curve, awareness, and the
    two recoveries. `length` [n]: difference in length, for length control."""
    scale = d.features[d.fit].std(0) + 1e-6
    x = (d.features - d.features[d.fit].mean(0)) / scale
    head = fit_logistic(x[d.fit], d.s[d.fit], ridge=1e-2)
    g = head.logits(x)
    plain = abs(rate_difference(d.f[d.fit] > 0, d.s[d.fit]))
    slack = max(0.01, plain / 10)
    merged = fit_merged(d.f[d.fit], g[d.fit], d.y[d.fit], d.s[d.fit], slack)
    fair = _regularised(x, d, REGULARISED)
    unfair = _regularised(x, d, 0.0)
    low, high = group_thresholds(d.f[d.fit], d.y[d.fit], g[d.fit] > 0, slack)
    rules = {
        "as it is": d.f,
        "second head, f + b g + c": merged.logits(d.f, g),
        "regularised last layer": fair,
        "last layer, no penalty": unfair,
        "group thresholds": d.f - np.where(g > 0, high, low),
    }
    if length is not None:
        slope = np.polyfit(length[d.fit], d.f[d.fit], 1)[0]
        rules["length control"] = d.f - slope * length
    scored = {}
    for name, logit in rules.items():
        right = ((logit > 0) == (d.y > 0.5))[d.test].astype(np.float64)
        scored[name] = {
            "accuracy": bootstrap_interval(right, samples=2_000),
            "difference": difference_interval((logit > 0)[d.test], d.s[d.test]),
        }
    told, constant = awareness(d.features, d.s, d.fit, d.test)
    fair_code = np.stack([fair, d.f], 1)
    return {
        "slack": slack, "b": merged.b, "c": merged.c, "rules": scored,
        "curve": parity_curve(d.f, g, d.y, d.s, d.fit, d.test, steps=11),
        "awareness": {"features": told, "constant": constant,
                      "logits": awareness(fair_code, d.s, d.fit, d.test)[0]},
        "fair_from_merged": recover(fair, unfair, g, d.fit, d.test)._asdict(),
        "unfair_from_fair": recover(unfair, fair, g, d.fit, d.test)._asdict(),
    }  # fmt: skip


def _regularised(x: np.ndarray, d: Decisions, weight: float) -> np.ndarray:
    """Logits [n] of a last layer that is trained on the fit half with the parity penalty."""
    own, y, s = (torch.tensor(v[d.fit], dtype=torch.float32) for v in (x, d.y, d.s))
    w = regularised_head(own, y, s, weight).numpy().astype(np.float64)
    return np.asarray(x @ w[:-1] + w[-1])


@dataclass(frozen=True)
class Walked:
    """B agents walked on past their STOPs, T steps."""

    stop: np.ndarray  # float64 [B, T]: log pi(STOP) less that of the best move; above 0 they stop
    codes: np.ndarray  # float32 [B, T, H], the policy's last features
    near: np.ndarray  # bool [B, T], within 3 m of the goal
    real: np.ndarray  # bool [B, T]


@torch.inference_mode()
def walk_on(policy: Any, world: Any, split: Any) -> Walked:
    """Walk greedily without ever stopping, and note what every STOP would have been worth."""
    policy.eval()
    agents = world.agents(world.observer(), keep=False)
    count, limit = len(split), agents.max_steps
    agents.start(split.paths)
    stop, near, real = (np.zeros((count, limit)) for _ in range(3))
    codes: np.ndarray | None = None
    rows = np.arange(count)
    actions = np.zeros((count, limit), np.int8)
    instructions = policy.instruction_encoder(torch.from_numpy(split.paths.tokens).long())
    memory = None
    print(f"walking {count} episodes past their STOPs", flush=True)
    for step in range(limit):
        seen = agents.observe(policy, rows, step)
        code, memory = policy.trunk.step(seen, instructions, memory)
        scores = policy.scorer(code, seen).masked_fill(~seen.legal, -torch.inf)[:, 0]
        move = scores[:, 1:].max(1).values
        if codes is None:
            codes = np.zeros((count, limit, code.shape[-1]), np.float32)
        codes[rows, step], real[rows, step] = code[:, 0].numpy(), 1.0
        margin = torch.where(move.isfinite(), scores[:, 0] - move, 30.0)
        stop[rows, step] = margin.clamp(-30, 30).numpy()
        taken = torch.where(move.isfinite(), scores[:, 1:].argmax(1) + 1, 0).numpy()
        actions[rows, step] = taken
        going = agents.act(rows, taken)
        if not going.all():
            keep = torch.from_numpy(np.flatnonzero(going))
            rows = rows[going]
            instructions = type(instructions)(
                *(part.index_select(0, keep) for part in instructions)
            )
            memory = tuple(part[keep] for part in memory)
        if not len(rows):
            break
    assert codes is not None
    lengths = real.sum(1).astype(np.int16)
    paths = agents.paths(actions, lengths, split.paths.tokens)
    # Padding repeats the last viewpoint, so that distances stay inside one building.
    at = paths.viewpoint[:, :limit].astype(np.int64)
    last = at[np.arange(count), lengths - 1][:, None]
    at = np.where(np.arange(at.shape[1]) < lengths[:, None], at, last)
    metres = world.buildings.distance(at, split.goal[:, None])
    near[:, : metres.shape[1]] = metres < SUCCESS_METRES
    return Walked(stop, codes, near > 0.5, real > 0.5)


def success_under(walked: Walked, logit: np.ndarray) -> np.ndarray:
    """Success [B] where an agent stops in the first step with a logit above 0, else in the last."""
    stops = (logit > 0) & walked.real
    last = walked.real.sum(1) - 1
    at = np.where(stops.any(1), stops.argmax(1), last)
    return np.asarray(walked.near[np.arange(len(at)), at], np.float64)


def _agent(asked: Parity) -> tuple[Decisions, dict[str, Any]]:
    from trainers.irl.evaluate import for_split
    from trainers.irl.loading import agent_sizes, agent_with, load_weights
    from trainers.irl.run_folder import data_folder, load_run, resolve_split
    from trainers.irl.task import read_task

    config, vocabulary, objects = load_run(asked.run)
    if config.env != "graph":
        raise ConfigurationError(f"{asked.run} is of env {config.env}: parity is of graphs")
    weights = load_weights(asked.run, config)
    name = resolve_split(asked.split, asked.data or data_folder(config), config)
    parts = []
    for folder in [asked.data or data_folder(config), *([asked.other] if asked.other else [])]:
        task = read_task(folder.absolute(), for_split(config, name), (name,), vocabulary, objects)
        split = task.splits[name]
        rng = np.random.default_rng(asked.seed)
        split = split.take(np.sort(rng.permutation(len(split))[: asked.episodes]))
        agent = agent_with(weights, agent_sizes(config, len(vocabulary), task.world.dimension))
        values = (
            np.full(len(split), str(folder))
            if asked.attribute == "corpus"
            else values_of(asked.attribute, task, split)
        )
        parts.append((walk_on(agent.policy, task.world, split), values, split.route))
    values = np.concatenate([v for _, v, _ in parts])
    try:
        group = two_groups(values, asked.attribute)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    walked = Walked(*(np.concatenate([getattr(w, n) for w, _, _ in parts])
                      for n in ("stop", "codes", "near", "real")))  # fmt: skip
    route = np.concatenate([r + 10**6 * k for k, (_, _, r) in enumerate(parts)])
    own = np.random.default_rng(asked.seed).permutation(np.unique(route))
    fits = np.isin(route, own[: len(own) // 2])
    row, step = np.nonzero(walked.real)
    drawn = np.random.default_rng(asked.seed).permutation(len(row))[:DECISIONS]
    row, step = row[drawn], step[drawn]
    d = Decisions(
        walked.stop[row, step], walked.near[row, step].astype(float), group[row],
        walked.codes[row, step].astype(np.float64), np.flatnonzero(fits[row]),
        np.flatnonzero(~fits[row]),
    )  # fmt: skip
    if not len(d.fit) or not len(d.test) or len(np.unique(d.s[d.fit])) < 2:
        raise ConfigurationError(
            f"attribute {asked.attribute} has one value alone in half of the routes: give more "
            "--episodes"
        )
    return d, {"success": _success(walked, group, values, d, fits), "groups": _groups(values)}


def _groups(values: np.ndarray) -> list[str]:
    """What `two_groups` holds against each other, in words."""
    if values.dtype.kind in "iuf":
        return [f"more than {np.median(values):g} words", "the others"]
    kinds, counts = np.unique(values, return_counts=True)
    return [str(kinds[counts.argmax()]), "the others"]


def _success(
    walked: Walked, group: np.ndarray, values: np.ndarray, d: Decisions, fits: np.ndarray
) -> dict[str, Any]:
    """Success by group and by value before and after the second head, on the test routes; (b, c) of
    the most success under the least difference in it, tried on the fit routes."""
    scale = d.features[d.fit].std(0) + 1e-6
    mean = d.features[d.fit].mean(0)
    head = fit_logistic((d.features[d.fit] - mean) / scale, d.s[d.fit], ridge=1e-2)
    g = head.logits((walked.codes - mean) / scale)
    before = success_under(walked, walked.stop)
    gap = abs(rate_difference(before[fits], group[fits]))
    best = (0.0, 0.0, float(before[fits].mean()), gap)
    fit_walks = Walked(walked.stop[fits], walked.codes[fits], walked.near[fits], walked.real[fits])
    slack = max(0.02, gap / 2)
    for b in np.linspace(-3, 3, 25):
        for c in np.linspace(-3, 3, 25):
            tried = success_under(fit_walks, walked.stop[fits] + b * g[fits] + c)
            found = abs(rate_difference(tried, group[fits]))
            inside, was = found <= slack, best[3] <= slack
            if (inside and not was) or (inside == was and tried.mean() > best[2]):
                best = (float(b), float(c), float(tried.mean()), found)
    after = success_under(walked, walked.stop + best[0] * g + best[1])
    test = ~fits
    kinds = np.asarray(values)
    by_value = {}
    if kinds.dtype.kind not in "iuf":
        names, counts = np.unique(kinds[test], return_counts=True)
        for name in names[np.argsort(-counts)][:12]:
            own = test & (kinds == name)
            by_value[str(name)] = {
                "before": bootstrap_interval(before[own], samples=1_000),
                "after": bootstrap_interval(after[own], samples=1_000),
            }
    return {
        "b": best[0], "c": best[1],
        "before": bootstrap_interval(before[test], samples=2_000),
        "after": bootstrap_interval(after[test], samples=2_000),
        "difference_before": difference_interval(before[test], group[test]),
        "difference_after": difference_interval(after[test], group[test]),
        "by_value": by_value,
    }  # fmt: skip


def _language(asked: Parity) -> tuple[Decisions, dict[str, Any]]:
    """Pairs of a run's held-out data in both orders, judged by its newest model."""
    from trainers.alignment.config import AlignConfig
    from trainers.alignment.models import load_model
    from trainers.alignment.run import prepare_run
    from trainers.analysis.preferences import margins_of, mean_codes
    from trainers.configuration import read_configuration

    config = replace(read_configuration(AlignConfig, asked.run / "config.yaml"), judge="")
    folders = [asked.run / "rounds" / str(n) / "model" for n in range(1, 1000)]
    folders = [folder for folder in folders if (folder / "config.json").is_file()]
    if not folders:
        raise RunError(f"{asked.run} has no finished round yet; train it first")
    prepared = prepare_run(config)
    pairs = prepared.task.held_out
    rng = np.random.default_rng(asked.seed)
    pairs = pairs.take(np.sort(rng.permutation(len(pairs))[: asked.episodes]))
    policy = load_model(folders[-1], "cpu", False)
    reference = load_model(prepared.initial.folder, "cpu", False)
    margin = (margins_of(policy, pairs) - margins_of(reference, pairs)).double().numpy()
    features = mean_codes(policy, pairs)
    lengths = pairs.lengths()
    longer = (lengths[:, 0] - lengths[:, 1]).astype(np.float64)
    kept = np.flatnonzero(longer != 0)
    if not len(kept) or not (longer[kept] > 0).any() or not (longer[kept] < 0).any():
        raise ConfigurationError(
            f"attribute length has one value alone in the held-out pairs of {asked.run}: parity "
            "needs pairs whose chosen side is longer and such whose rejected side is"
        )
    first = np.random.default_rng(asked.seed).random(len(kept)) < 0.5
    sign = np.where(first, 1.0, -1.0)
    half = np.random.default_rng(asked.seed + 1).permutation(len(kept))
    d = Decisions(
        sign * margin[kept], first.astype(float), (sign * longer[kept] > 0).astype(float),
        sign[:, None] * features[kept], half[: len(half) // 2], half[len(half) // 2 :],
    )  # fmt: skip
    return d, {"length": sign * longer[kept]}
