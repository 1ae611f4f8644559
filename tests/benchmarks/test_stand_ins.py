"""Costs are found again in rounds made from them; tables name all sizes; speed is by the clock."""

from __future__ import annotations

import numpy as np
import pytest
from ray.rllib.core import DEFAULT_MODULE_ID

from benchmarks.beside import figures_of
from benchmarks.beside import report as beside_report
from benchmarks.stand_ins import A_NODE, Sample, fit, report
from trainers.capacity.by_node import NodeSite, round_by_node
from trainers.irl.config import IRLConfig

WEIGHTS = {DEFAULT_MODULE_ID: {"w": np.zeros(250_000, np.float32)}}


def made_up(stand_ins: int) -> Sample:
    """Driver 0.05 + 0.01 n + 0.0005 chunks, others 0.2 n + 0.003 chunks, on two processors."""
    nodes, chunks = -(-stand_ins // A_NODE), 4 * stand_ins
    driver = 0.05 + 0.01 * nodes + 0.0005 * chunks
    clock = 4 * 0.5 + driver + (0.2 * nodes + 0.003 * stand_ins) / 2
    others = 0.2 * nodes + 0.003 * chunks
    return Sample(stand_ins, nodes, chunks, clock, driver, others, 64 * chunks)


def test_the_costs_are_found_again_and_forecast_the_rest() -> None:
    samples = [made_up(count) for count in (8, 32, 64, 128)]
    costs = fit(samples, WEIGHTS)
    assert (costs.round_s, costs.node_s, costs.chunk_s) == pytest.approx((0.05, 0.01, 0.0005))
    assert costs.gather_s == pytest.approx(0.003)
    assert costs.others_s == pytest.approx(0.2)
    context = {"hardware": "two processors", "load": [0, 0], "wait_s": 0.5, "chunks": 4}
    text = report([*samples, made_up(256)], samples[:1], costs, context)
    for start in ("| 8 |", "| 256 |", "| 1,000 | 4 |", "| 1,000 | 8 |", "| 8, each called by"):
        assert start in text
    here = NodeSite(0.5, 0.0, 4, A_NODE, shared=2.0)
    assert round_by_node(costs, here, 256).seconds == pytest.approx(made_up(256).clock)


def test_speeds_are_from_the_second_round_on() -> None:
    records = [
        {"time_s": 10.0, "env_steps": 1000, "updates": 8, "rollout/importance_mean": 1.0},
        {"time_s": 14.0, "env_steps": 3000, "updates": 16, "rollout/importance_mean": 2.0},
    ]
    run = figures_of(IRLConfig(), records, {"val_seen": 0.5})
    assert (run.env_steps, run.steps_a_second, run.updates_a_second) == (3000, 500.0, 2.0)
    assert run.importance == {"mean": 1.5}
    assert "| mean | 0 | 3,000 | 500 | 2.00 | 0.500 |" in beside_report([run])
