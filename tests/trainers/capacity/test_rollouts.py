"""Known answers of the model of scaling."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from trainers.capacity.rollouts import Costs, Site, efficiency, half_efficient, limits, round_of

FREE = Costs(
    round_s=0, call_s=0, chunk_s=0, work_s=0.5, spread_s=0, update_s=0.1, weights=0, result=0,
    byte_s=0, head_share=0, head_share_runner=1e-6, start_s=0,
)  # fmt: skip
SITE = Site(bandwidth=1e9, runners_per_node=10, chunks_per_runner=2, store=1e9)


def test_without_costs_every_runner_works_all_the_time() -> None:
    assert round_of(FREE, SITE, 1000).seconds == 1.0
    assert efficiency(FREE, SITE, 1000) == 1.0


def test_the_parts_of_a_round() -> None:
    costs = replace(
        FREE, round_s=0.1, call_s=0.01, chunk_s=0.002, weights=10**7, result=10**5, spread_s=0.1
    )
    found = round_of(costs, SITE, 100)
    assert found.driver == pytest.approx(0.1 + 1.0 + 0.4)
    assert found.weights_out == pytest.approx(10 * 0.01)  # ten nodes pull 10 MB each
    assert found.work == pytest.approx(1.0 + 0.1 * math.sqrt(2) * math.sqrt(2 * math.log(100)))
    assert found.results_in == pytest.approx(200 * 1e-4)


def test_a_slow_object_manager_counts_for_more_than_the_network() -> None:
    costs = replace(FREE, result=10**6, byte_s=1e-8)
    assert round_of(costs, SITE, 10).results_in == pytest.approx(20 * 0.01)


def test_runners_that_share_processors() -> None:
    assert efficiency(FREE, replace(SITE, cores=2), 8) == pytest.approx(0.25)
    assert efficiency(FREE, replace(SITE, cores=2), 2) == 1.0


def test_where_half_of_the_time_is_lost() -> None:
    costs = replace(FREE, call_s=0.01)  # T = 1 + N / 100
    assert half_efficient(costs, SITE) == 100
    assert half_efficient(replace(FREE, round_s=2.0), SITE) == 0


def test_where_each_part_saturates() -> None:
    costs = replace(FREE, call_s=0.01, weights=10**8, result=10**6, head_share=0.1)
    found = {limit.part: limit.runners for limit in limits(costs, SITE, updates=10, chunks=4)}
    assert found == pytest.approx(
        {
            "learner": 2.0,  # 4 chunks of half a second against ten updates of a tenth
            "driver": 100.0,
            "weights out": 100.0,
            "results in": 500.0,
            "object store": 500.0,
            "head": 900_000.0,
        }
    )
    assert limits(costs, SITE, 10, 4)[0].part == "learner"


def test_what_takes_nothing_never_saturates() -> None:
    found = {limit.part: limit.runners for limit in limits(FREE, SITE, updates=10, chunks=4)}
    assert found["driver"] == found["results in"] == math.inf
