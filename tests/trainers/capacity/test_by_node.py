"""Known answers of the model of roll-outs through aggregators."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from trainers.capacity.by_node import (
    NodeCosts,
    NodeSite,
    efficiency_by_node,
    round_by_node,
    saturated_by,
)

COSTS = NodeCosts(
    round_s=0.1,
    node_s=0.01,
    chunk_s=0.001,
    gather_s=0.02,
    others_s=0.3,
    weights=10**8,
    result=10**5,
    byte_s=5e-9,
)
SITE = NodeSite(work_s=0.5, spread_s=0.1, chunks_per_runner=4, runners_per_node=10, bandwidth=1e9)


def test_the_parts_of_a_round() -> None:
    found = round_by_node(COSTS, SITE, 70)
    assert found.driver == pytest.approx(0.1 + 0.07 + 0.28)
    assert found.weights == pytest.approx(3 * 0.5)  # seven nodes: three steps of a tree
    assert found.work == 2.0
    assert found.waiting == pytest.approx(0.1 * 2 * math.sqrt(2 * math.log(70)))
    assert found.gather == pytest.approx(0.2)  # the ten runners of one node
    assert found.results == pytest.approx(0.028)
    assert found.seconds == pytest.approx(
        found.driver + found.weights + 2.0 + found.waiting + found.gather + found.results
    )
    assert found.beside == pytest.approx(2.0 + found.gather)


def test_nodes_that_share_one_machine() -> None:
    found = round_by_node(COSTS, replace(SITE, shared=2.0), 70)
    assert found.weights == pytest.approx(7 * 0.3 / 2)
    assert found.gather == pytest.approx(0.02 * 70 / 2)


def test_without_costs_every_runner_works_all_the_time() -> None:
    free = NodeCosts(0, 0, 0, 0, 0, 0, 0, 0)
    site = replace(SITE, spread_s=0.0)
    assert efficiency_by_node(free, site, 1000) == 1.0
    assert saturated_by(free, replace(site, bandwidth=math.inf))["driver"] == math.inf


def test_what_saturates() -> None:
    found = saturated_by(COSTS, SITE)
    assert found["driver"] == pytest.approx(1.9 / 0.005)
    assert found["results"] == pytest.approx(2.0 * 1e9 / 4e5)
