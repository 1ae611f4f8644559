"""`rayforge analyse information`: what the weights of a run hold about their task.

Three figures of each stage (the clone and the trained policy; the rounds of an alignment run):
the trace of the Fisher information by module, the same at one temperature with p(1 - p) beside it
as the control for saturation, and the information in nats by the Gaussian form and by learnt noise.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from envs.progress import Progress
from rayforge.errors import ConfigurationError, RunError
from rayforge.evaluation.intervals import Interval
from rayforge.information.gaussian import (
    best_noise,
    gaussian_information,
    learnt_noise,
    prior_variance_of,
    rows_information,
)
from rayforge.information.probe import Trace
from rayforge.irl.decisions import Batch
from rayforge.irl.networks import Policy
from rayforge.reports.alignment import is_alignment_run
from rayforge.reports.plots import Series, line_chart
from rayforge.reports.run_folder import curve, read_run
from rayforge.reports.section import Cell, Pictures, Row, Section, Table, Text, cell
from trainers.analysis.results import note, over_batches, write_results

if TYPE_CHECKING:
    from trainers.analysis.commands import Information

SCALES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Standard deviations of injected noise, in those that the Gaussian form allows."""
NOTHING = Interval(float("nan"), float("nan"), float("nan"), 0)
"""Of a module that a stage lacks."""


def analyse_information(asked: Information, command: str) -> dict[str, Any]:
    """Measure a run and write `information.json` and `information.html`.

    Raises ConfigurationError or RunError before anything heavy is loaded wherever possible.
    """
    if asked.batches < 2:
        raise ConfigurationError(f"batches must be at least 2, got {asked.batches}")
    if asked.probe < asked.batches:
        raise ConfigurationError(
            f"a probe of {asked.probe} decisions is smaller than its {asked.batches} batches: "
            f"raise --probe to {asked.batches} at least, or ask for fewer --batches"
        )
    if not (asked.run / "config.yaml").is_file():
        raise RunError(f"{asked.run} is not a run folder: it has no config.yaml")
    aligned = is_alignment_run(asked.run)
    stages = _language_stages(asked) if aligned else _agent_stages(asked)
    document = {"run": str(asked.run), "probe": asked.probe, "stages": stages}
    sections = [_picture(stages), *_training(asked.run), _nats(stages), *_noise(stages)]
    title = f"Information in the weights of {asked.run.resolve().name}"
    write_results(asked.out or asked.run, "information", document, title, sections, command)
    return document


def _agent_stages(asked: Information) -> list[dict[str, Any]]:
    """The cloned policy, where the run kept it, and the newest one."""
    from trainers.irl.information import policy_trace, probe_of
    from trainers.irl.loading import agent_sizes, agent_with, load_weights
    from trainers.irl.run_folder import CLONED, data_folder, load_run
    from trainers.irl.task import read_task
    from trainers.runs.checkpoint import read_weights

    config, vocabulary, objects = load_run(asked.run)
    weights = load_weights(asked.run, config)
    if asked.data is not None:
        config = replace(config, data=str(asked.data))
    task = read_task(data_folder(config), config, ("train",), vocabulary, objects)
    agent = agent_with(weights, agent_sizes(config, len(vocabulary), task.world.dimension))
    policy, observer, split = agent.policy, task.world.observer(), task.splits["train"]
    # A copy: loading the clone's weights writes into the policy's own.
    kept = [("trained", {name: value.clone() for name, value in policy.state_dict().items()})]
    if (asked.run / CLONED).is_file():
        cloned = read_weights(asked.run / CLONED)
        kept.insert(0, ("clone", {name: torch.from_numpy(v) for name, v in cloned.items()}))
    stages = []
    for name, state in kept:
        policy.load_state_dict(state)
        policy.eval()
        print(f"measuring the {name} policy", flush=True)
        probe = probe_of(policy, observer, split, asked.probe, asked.batches, asked.seed)
        found = policy_trace(policy, probe, seed=asked.seed, depth=2, diagonal=True)
        stage = _stage(name, found, dict(policy.named_parameters()), asked.beta)
        if asked.noise_steps:
            stage["noise"] = _policy_noise(policy, probe, found, asked)
        stages.append(stage)
    return stages


def _language_stages(asked: Information) -> list[dict[str, Any]]:
    """The model after every round, by layer; the probe is that of the first round's pairs."""
    from trainers.alignment.information import layer_name, model_trace, probe_texts
    from trainers.alignment.models import load_weights
    from trainers.alignment.tokens import read_pairs

    folders = [asked.run / "rounds" / str(n) / "model" for n in range(1, 1000)]
    folders = [folder for folder in folders if (folder / "config.json").is_file()]
    if not folders:
        raise RunError(f"{asked.run} has no finished round yet; train it first")
    pairs = read_pairs(asked.run / "rounds" / "1" / "pairs.parquet")
    texts = probe_texts(pairs, asked.probe, asked.seed)
    start = asked.run / "start"
    stages = []
    whole = ([start] if (start / "config.json").is_file() else []) + folders
    for number, folder in enumerate(whole, 1):
        print(f"measuring {folder} ({number}/{len(whole)})", flush=True)
        found = model_trace(folder, texts, asked.batches, seed=asked.seed, diagonal=True)
        model = load_weights(folder, torch.float32)
        named = {layer_name(n): p for n, p in model.named_parameters()}
        name = "start" if folder == start else f"round {folder.parent.name}"
        stages.append(_stage(name, found, named, asked.beta))
    return stages


def _stage(name: str, found: Trace, weights: dict[str, Any], beta: float) -> dict[str, Any]:
    """The figures of one stage, with intervals."""
    values = {n: w.detach() for n, w in weights.items() if n in found.diagonal}
    prior = prior_variance_of(values)
    nats: dict[str, float] = {}
    for key, curvature in found.diagonal.items():
        module = key.split(".")[0]
        own = float(gaussian_information(values[key].flatten(), curvature.flatten(), beta, prior))
        nats[module] = nats.get(module, 0.0) + own
    return {
        "stage": name,
        "trace": over_batches(found.total),
        "trace_fixed": over_batches(found.fixed),
        "uncertainty": found.uncertainty,
        "decisions": found.decisions,
        "choices": found.choices,
        "modules": {n: over_batches(v) for n, v in found.modules.items()},
        "nats": {"beta": beta, "prior_variance": prior, "total": sum(nats.values()), **nats},
    }


class _Deciding(nn.Module):
    """A policy as a function of its weights: the loss and accuracy on one batch."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        log_pi, _, real = batch.log_policy()
        taken = batch.columns["action"]
        loss = -log_pi.gather(-1, taken[..., None]).squeeze(-1)[real].mean()
        return loss, (log_pi.masked_fill(log_pi == 0, -torch.inf).argmax(-1) == taken)[real]


def _policy_noise(
    policy: Policy, probe: list[Batch], found: Trace, asked: Information
) -> dict[str, Any]:
    """Nats by learnt noise, and accuracy on the demonstrations against injected noise."""
    whole = _Deciding(policy)
    weights = {n: p.detach() for n, p in policy.named_parameters()}
    prior = prior_variance_of(weights)
    turn = iter(range(10**9))

    def run(values: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        named = {f"policy.{n}": v for n, v in values.items()}
        result: tuple[Tensor, Tensor] = functional_call(whole, named, (batch,))
        return result

    with Progress("learning the noise", asked.noise_steps) as progress:

        def loss(values: dict[str, Tensor]) -> Tensor:
            progress.add()
            return run(values, probe[next(turn) % len(probe)])[0]

        logs = learnt_noise(loss, weights, asked.beta, prior, asked.noise_steps, seed=asked.seed)
    own = rows_information(weights, logs, prior)
    generator = torch.Generator().manual_seed(asked.seed)
    curve_of = []
    for scale in SCALES:
        right = []
        with torch.no_grad():
            noisy = {
                n: w
                + scale
                * best_noise(found.diagonal[n], asked.beta, prior).sqrt()
                * torch.randn(w.shape, generator=generator)
                for n, w in weights.items()
            }
            right = [run(noisy, batch)[1].double() for batch in probe]
        curve_of.append({"scale": scale, "accuracy": float(torch.cat(right).mean())})
    return {"nats": sum(own.values()), "steps": asked.noise_steps, "accuracy": curve_of}


def _picture(stages: list[dict[str, Any]]) -> Section:
    rows = [
        Row(
            Cell(stage["stage"], f"{stage['decisions']:,} decisions, "
                                 f"{stage['choices']:.1f} choices each"),
            [cell(stage["trace"]), cell(stage["trace_fixed"]), Cell(f"{stage['uncertainty']:.4f}")],
        )
        for stage in stages
    ]  # fmt: skip
    names = list(stages[-1]["modules"])
    x = np.arange(len(names), dtype=float)
    profile = [
        Series(s["stage"], x, np.array([found.mean for found in own]), colour=k % 8, spans=own)
        for k, s in enumerate(stages)
        for own in [[s["modules"].get(n, NOTHING) for n in names]]
    ]
    layers = [
        Row(Cell(n), [cell(s["modules"][n]) if n in s["modules"] else Cell("—") for s in stages])
        for n in names
    ]
    return Section(
        "Trace of the Fisher information",
        [
            Text("The trace per decision: how far the outputs move when the weights do.", "muted"),
            Table(["Stage", "Trace", "At one temperature", "p(1 - p)"], rows,
                  "Means over batches of the probe with a 95 % Student t interval, of one run.", [
                      ("At one temperature", "the trace with the logits of each decision scaled to "
                                             "one spread: confidence is taken out"),
                      ("p(1 - p)", "its mean over choices: near 0 the policy is sure, and every "
                                   "trace is small"),
                  ]),
            note("A trace that falls from one stage to the next does not show that anything was "
                 "forgotten: a policy that only grows confident has a smaller trace too. Believe a "
                 "fall that the column at one temperature shows as well."),
            Pictures(line_chart("Profile over modules", profile, x="module, input to output",
                                y="trace", from_zero=True, last_values=False,
                                hint="0: " + ", ".join(names[:1]) + f"; {len(names) - 1}: "
                                     + names[-1] + ". With 95 % intervals.")),
            Section("By module", [Table(["Module", *[s["stage"] for s in stages]], layers)],
                    folded=True),
        ],
        "How much of the weights does the task need?",
    )  # fmt: skip


def _training(run: Path) -> list[Section]:
    """Trace, success and loss on one axis of updates, each over its own greatest value."""
    record = read_run(run)
    wanted = (
        ("information/trace", "trace"), ("information/trace_fixed", "trace at one temperature"),
        ("rollout/success", "success of roll-outs"), ("clone/loss", "cloning loss"),
        ("review/accuracy", "held-out accuracy"), ("train/loss", "training loss"),
    )  # fmt: skip
    series = []
    for place, (figure, name) in enumerate(wanted):
        x, y = curve(record, figure)
        known = y[np.isfinite(y)]
        if len(known) > 1 and np.abs(known).max() > 0:
            series.append(Series(name, x, y / np.abs(known).max(), colour=place))
    if not any(s.name.startswith("trace") for s in series):
        text = "This run was trained without --information-every: there is no curve over updates."
        return [Section("While it trained", [Text(text, "gone")])]
    drawn = line_chart("Trace, success and loss", series, y="share of each one's greatest value",
                       last_values=False)  # fmt: skip
    return [Section("While it trained", [Pictures(drawn)], "Does it rise and then fall?")]


def _nats(stages: list[dict[str, Any]]) -> Section:
    modules = [k for k in stages[-1]["nats"] if k not in ("beta", "prior_variance", "total")]
    rows = [
        Row(Cell(s["stage"]), [Cell(f"{s['nats']['total']:,.0f}"),
                               *[Cell(f"{s['nats'].get(m, 0.0):,.0f}") for m in modules]])
        for s in stages
    ]  # fmt: skip
    below = (
        f"KL of the noise that a loss of {stages[0]['nats']['beta']:g} a nat allows from a normal "
        "law of the weights' own mean square; diagonal Fisher in the place of the Hessian."
    )
    return Section("Information in nats", [Table(["Stage", "All", *modules], rows, below)])


def _noise(stages: list[dict[str, Any]]) -> list[Section]:
    noisy = [s for s in stages if "noise" in s]
    if not noisy:
        return []
    series = [
        Series(
            s["stage"], np.array([p["scale"] for p in s["noise"]["accuracy"]]),
            np.array([p["accuracy"] for p in s["noise"]["accuracy"]]), colour=k,
        )
        for k, s in enumerate(noisy)
    ]  # fmt: skip
    rows = [Row(Cell(s["stage"]), [Cell(f"{s['noise']['nats']:,.0f}")]) for s in noisy]
    return [
        Section(
            "Learnt noise",
            [
                Table(["Stage", "Nats"], rows, "By the noise that was found by trying, one law a "
                      f"row of each weight, {noisy[0]['noise']['steps']} steps: an upper bound."),
                Pictures(line_chart("Accuracy under injected noise", series,
                                    x="noise, in what the Gaussian form allows",
                                    y="share of the expert's actions told")),
            ],
        )
    ]  # fmt: skip
