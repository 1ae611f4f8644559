"""Which figures of metrics.jsonl are drawn together, and how to read them."""

from __future__ import annotations

from dataclasses import dataclass

from rayforge.reports.plots import Series, line_chart
from rayforge.reports.run_folder import RunFolder, curve, phases


@dataclass(frozen=True)
class Chart:
    title: str
    figures: tuple[tuple[str, str], ...]  # (name in metrics.jsonl, name in the chart)
    hint: str = ""
    from_zero: bool = False
    reference: tuple[float, str] | None = None


SECTIONS: tuple[tuple[str, tuple[Chart, ...]], ...] = (
    (
        "Behaviour",
        (
            Chart(
                "Success",
                (("rollout/success", "roll-outs"), ("validation/success", "validation")),
                "Share within 3 m of the goal.",
                from_zero=True,
            ),
            Chart(
                "Episode length",
                (("rollout/length", "actions"),),
                "Actions of an episode, STOP included.",
            ),
            Chart(
                "Forced stops",
                (("rollout/forced_stops", "share"),),
                "Episodes ended by the step limit: rising means it never stops.",
                from_zero=True,
            ),
            Chart(
                "Entropy of the policy",
                (("rollout/entropy", "roll-outs"), ("policy/entropy", "updates")),
                "Nats a step; near 0 it no longer explores.",
                from_zero=True,
            ),
        ),
    ),
    (
        "Discriminator and reward",
        (
            Chart(
                "Discriminator accuracy",
                (
                    ("discriminator/accuracy", "both"),
                    ("discriminator/on_positives", "positives"),
                    ("discriminator/on_negatives", "negatives"),
                ),
                "At 0.5 the reward says nothing and only cloning teaches.",
                reference=(0.5, "chance"),
            ),
            Chart("Discriminator loss", (("discriminator/loss", "loss"),)),
            Chart(
                "Reward",
                (
                    ("reward/mean", "mean"),
                    ("reward/positive", "positives"),
                    ("reward/negative", "negatives"),
                ),
                "All negative favours stopping at once, all positive never stopping.",
            ),
        ),
    ),
    (
        "Losses of policy and critics",
        (
            Chart("Cloning loss", (("clone/loss", "loss"),), "Nats a step of the expert."),
            Chart("Policy loss", (("policy/loss", "loss"),)),
            Chart("Critic loss", (("critic/loss", "loss"),), from_zero=True),
            Chart("Value", (("critic/value", "mean"),), "What the critics expect."),
            Chart("Temperature", (("policy/temperature", "alpha"),), from_zero=True),
        ),
    ),
    (
        "Goal generator",
        (
            Chart("Perplexity", (("generator/perplexity", "a word"),)),
            Chart(
                "KL term",
                (("generator/kl", "nats"),),
                "At 0 the latent carries nothing (collapse).",
                from_zero=True,
            ),
        ),
    ),
    (
        "Speed",
        (
            Chart(
                "Roll-out speed",
                (("speed/env_steps_per_s", "steps/s"), ("rollout/env_steps_per_s", "steps/s")),
                "Environment steps a second.",
                from_zero=True,
            ),
            Chart(
                "Learning speed",
                (("speed/updates_per_s", "updates/s"),),
                "Updates a second; the phases differ in what an update is.",
                from_zero=True,
            ),
            Chart(
                "Runners",
                (("rollout/runners", "in service"), ("rollout/queue", "chunks for each")),
                "Actors that roll out (0: this process does), and what each is handed a round.",
                from_zero=True,
            ),
            Chart(
                "Failed episodes",
                (("rollout/failures", "an iteration"),),
                from_zero=True,
            ),
            Chart(
                "Replay",
                (("replay/fill", "share filled"),),
                from_zero=True,
            ),
        ),
    ),
)


def learning_curves(run: RunFolder) -> list[tuple[str, str]]:
    """(heading, figures as HTML) of every section that has a figure, further ones at the end."""
    began = phases(run)
    sections = []
    for heading, charts in SECTIONS:
        drawn = "".join(_draw(run, chart, began) for chart in charts)
        if drawn:
            sections.append((heading, drawn))
    known = {name for _, charts in SECTIONS for chart in charts for name, _ in chart.figures}
    seen = {key for record in run.metrics for key in record if "/" in key}
    further = "".join(
        _draw(run, Chart(name, ((name, "value"),)), began) for name in sorted(seen - known)
    )
    if further:
        sections.append(("Further figures", further))
    return sections


def _draw(run: RunFolder, chart: Chart, began: list[tuple[float, str]]) -> str:
    series = [
        Series(label, *curve(run, name), colour=place)
        for place, (name, label) in enumerate(chart.figures)
    ]
    return line_chart(
        chart.title,
        series,
        hint=chart.hint,
        from_zero=chart.from_zero,
        reference=chart.reference,
        phases=began,
    )
