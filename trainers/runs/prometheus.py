"""A run's figures as Ray's own metrics, which Prometheus collects and Grafana draws.

docs/grafana.json is the dashboard for them; docs/dashboards.md says how to open it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

GAUGES = {
    "rollout/success": "Share of training roll-outs that reach their goal",
    "rollout/length": "Actions of an episode",
    "rollout/forced_stops": "Share of roll-outs ended by the limit of steps",
    "rollout/env_steps_per_s": "Environment steps a second, of all runners together",
    "rollout/failures": "Episodes that failed in an iteration",
    "rollout/queue": "Chunks of episodes that each runner in service is handed a round",
    "rollout/runners": "Runners in service",
    "replay/fill": "Share of the replay that is filled",
    "discriminator/accuracy": "Share of steps that the discriminator tells right",
    "policy/entropy": "Entropy of the policy in nats",
    "speed/updates_per_s": "Learner updates a second",
    "review/accuracy": "Share of held-out pairs whose chosen answer the aligned model prefers",
    "review/win_rate": "Win rate of the aligned model's greedy answers against those of its start",
    "review/greedy_score": "The judge's score of the aligned model's answers",
    "alignment/round": "Round of alignment",
    "information/trace": "Trace of the Fisher information of the weights, a decision",
    "information/trace_fixed": "The same with every decision at one temperature",
    "information/uncertainty": "Mean p(1 - p) of the probe's decisions",
}
"""Figures that are exported, and what they are. Their names never change: dashboards hold them."""


def metric_name(figure: str) -> str:
    """The name in Prometheus, without the "ray_" that Ray puts before it."""
    return "rayforge_" + figure.replace("/", "_")


class PrometheusGauges:
    """Gauges of one run, tagged with its name; does nothing where Ray is not running.

    Ray takes tags of ASCII letters alone: others stand as their escapes (`t\\xfcr`).
    """

    def __init__(self, run: str) -> None:
        self.run = run.encode("ascii", "backslashreplace").decode()
        self.made: dict[str, Any] = {}

    def show(self, figures: Mapping[str, float]) -> None:
        if "ray" not in sys.modules or not sys.modules["ray"].is_initialized():
            return
        from ray.util.metrics import Gauge

        for figure in GAUGES.keys() & figures.keys():
            if figure not in self.made:
                self.made[figure] = Gauge(metric_name(figure), GAUGES[figure], ("run",))
            self.made[figure].set(float(figures[figure]), {"run": self.run})
