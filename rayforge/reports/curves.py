"""Which figures of metrics.jsonl are drawn together, and how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rayforge.reports.plots import Series, line_chart
from rayforge.reports.run_folder import RunFolder, curve, phases
from rayforge.reports.section import Picture, Pictures, Section, Text


@dataclass(frozen=True)
class Chart:
    title: str
    figures: tuple[tuple[str, str], ...]  # (name in metrics.jsonl, name in the chart)
    unit: str = ""  # of the vertical axis
    hint: str = ""
    from_zero: bool = False
    reference: tuple[float, str] | None = None


CHANCE = (0.5, "chance")
LEARNING: tuple[tuple[str, tuple[Chart, ...]], ...] = (
    ("Behaviour", (
        Chart("Success", (("rollout/success", "roll-outs (sampled)"),
                          ("validation/success", "validation (greedy)")), "share of episodes",
              "Ends within 3 m of the goal. Roll-outs sample their actions; validation and the "
              "evaluation above take the likeliest ones, and succeed more often.", True),
        Chart("Episode length", (("rollout/length", "roll-outs (sampled)"),), "actions",
              "STOP included."),
        Chart("Forced stops", (("rollout/forced_stops", "roll-outs (sampled)"),),
              "share of episodes", "Ended by the step limit: rising means it never stops.", True),
        Chart("Entropy of the policy", (("rollout/entropy", "roll-outs"),
                                        ("policy/entropy", "updates")), "nats a step",
              "Near 0 it no longer explores.", True),
    )),
    ("Discriminator and reward", (
        Chart("Discriminator accuracy", (
            ("discriminator/accuracy", "both"), ("discriminator/on_positives", "positives"),
            ("discriminator/on_negatives", "negatives")), "share of trajectories",
              "At 0.5 the reward says nothing and only cloning teaches.", False, CHANCE),
        Chart("Discriminator loss", (("discriminator/loss", "loss"),), "nats"),
        Chart("Reward", (("reward/mean", "mean"), ("reward/positive", "positives"),
                         ("reward/negative", "negatives")), "reward a step",
              "All negative favours stopping at once, all positive never stopping."),
    )),
    ("Losses of policy and critics", (
        Chart("Cloning loss", (("clone/loss", "loss"),), "nats a step of the expert"),
        Chart("Policy loss", (("policy/loss", "loss"),), "loss"),
        Chart("Critic loss", (("critic/loss", "loss"),), "squared reward", from_zero=True),
        Chart("Value", (("critic/value", "mean"),), "reward", "What the critics expect."),
        Chart("Temperature", (("policy/temperature", "alpha"),), "alpha", from_zero=True),
    )),
    ("Goal generator", (
        Chart("Perplexity", (("generator/perplexity", "a word"),), "words"),
        Chart("KL term", (("generator/kl", "KL"),), "nats",
              "At 0 the latent carries nothing (collapse).", True),
    )),
    ("Information in the weights", (
        Chart("Trace of the Fisher information", (("information/trace", "trace"),
              ("information/trace_fixed", "at one temperature")), "a decision",
              "Rises while the policy learns new things. It also falls when the policy merely "
              "grows confident: believe a fall that the second curve shows too.", True),
        Chart("Uncertainty of the probe", (("information/uncertainty", "p(1 - p)"),), "mean",
              "The control for saturation.", True),
        Chart("Trace by module", (("information/instruction_encoder", "instruction"),
              ("information/sentence", "instruction"),
              ("information/trunk", "trunk"), ("information/scorer", "scorer"),
              ("information/image_encoder", "image encoder"),
              ("information/eye", "image encoder")), "a decision", from_zero=True),
    )),
    ("Speed", (
        Chart("Roll-out speed", (("speed/env_steps_per_s", "steps"),
                                 ("rollout/env_steps_per_s", "steps")),
              "environment steps a second", from_zero=True),
        Chart("Learning speed", (("speed/updates_per_s", "updates"),), "updates a second",
              "The phases differ in what an update is.", True),
        Chart("Runners", (("rollout/runners", "in service"),
                          ("rollout/queue", "chunks for each")), "actors",
              "Actors that roll out, and what each is handed a round.", True),
        Chart("Failed episodes", (("rollout/failures", "failed"),), "episodes an iteration",
              from_zero=True),
        Chart("Replay", (("replay/fill", "filled"),), "share", from_zero=True),
    )),
)  # fmt: skip
"""Charts of an agent's run, by heading."""

ROUNDS: tuple[tuple[str, tuple[Chart, ...]], ...] = (
    ("", (
        Chart("Judge's score", (("review/greedy_score", "greedy"),
                                ("review/sampled_score", "sampled")), "score",
              "Success by execution, or a reward model's score."),
        Chart("Win rate against the start", (("review/win_rate", "greedy"),), "share of prompts",
              "Ties count half.", False, (0.5, "as good as the start")),
        Chart("Held-out accuracy", (("review/accuracy", "implicit reward"),), "share of pairs",
              "", False, CHANCE),
        Chart("Kept share", (("select/kept_share", "given pairs"),), "share", from_zero=True),
        Chart("Generated share", (("select/generated_share", "of the training set"),), "share",
              from_zero=True),
        Chart("Length gap", (("select/length_gap", "given"), ("generate/length_gap", "generated")),
              "tokens", "Chosen minus rejected in what was kept; rising means length is learnt."),
        Chart("Divergence from the start", (("review/kl_per_token", "KL"),), "nats a token",
              from_zero=True),
        Chart("On-policy accuracy", (("generate/accuracy", "score against judge"),),
              "share of own pairs", "Below 0.5 the model's own pairs teach the wrong thing.",
              False, CHANCE),
        Chart("Flip detection", (("select/flip_auc", "AUC"),), "area under the curve", "", False,
              CHANCE),
        Chart("Length of answers", (("review/response_tokens", "sampled"),), "tokens"),
        Chart("Diversity of answers", (("review/distinct_2", "distinct-2"),), "share of bigrams"),
        Chart("Trace of the Fisher information", (("information/trace", "trace"),
              ("information/trace_fixed", "at one temperature")), "a token",
              "On held-out texts; it also falls where the model merely grows confident.", True),
        Chart("Training loss", (("train/loss", "loss"),), "nats a pair"),
        Chart("Training accuracy", (("train/accuracy", "pairs ordered as labelled"),),
              "share of pairs", "", False, CHANCE),
        Chart("Log-probability of the sides", (("train/chosen_log_probability", "chosen"),
              ("train/rejected_log_probability", "rejected")), "nats a response",
              "Both may fall."),
    )),
)  # fmt: skip
"""Charts of an alignment run."""


def learning(
    run: RunFolder, charts: Sequence[tuple[str, Sequence[Chart]]], x: str, how_to_read: str
) -> Section:
    """The learning curves of a run over `x`, known charts first and then every further figure."""
    began = phases(run) if charts is LEARNING else []
    flat: list[str] = []
    known = {name for _, some in charts for chart in some for name, _ in chart.figures}
    seen = {key for record in run.metrics for key in record if "/" in key}
    further = tuple(Chart(name, ((name, "value"),)) for name in sorted(seen - known))
    parts: list[Section] = []
    for heading, some in (*charts, ("Further figures", further if charts is LEARNING else ())):
        pictures = [p for chart in some for p in _draw(run, chart, x, began, flat)]
        if pictures:
            parts.append(Section(heading, [Pictures(pictures)]))
    if not parts:
        return Section("Learning", [Text("No learning curve yet: metrics.jsonl holds no figure.",
                                         "gone")])  # fmt: skip
    note = [Text(f"Always 0, and not drawn: {', '.join(flat)}.", "muted")] if flat else []
    return Section("Learning", [Text(how_to_read, "muted"), *parts, *note])


def _draw(
    run: RunFolder, chart: Chart, x: str, began: list[tuple[float, str]], flat: list[str]
) -> list[Picture]:
    """The chart, or nothing where its figures are always 0: its name then joins `flat`."""
    series = [
        Series(label, *curve(run, name), colour=place)
        for place, (name, label) in enumerate(chart.figures)
    ]
    values = [s.finite for s in series if len(s.finite)]
    if values and not np.concatenate(values).any():
        flat.append(chart.title)
        return []
    return line_chart(
        chart.title, series, hint=chart.hint, x=x, y=chart.unit, from_zero=chart.from_zero,
        reference=chart.reference, phases=began,
    )  # fmt: skip
