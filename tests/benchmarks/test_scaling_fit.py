"""Costs are found again in rounds that were made from them; the page and the tables show them."""

from __future__ import annotations

import pytest

from benchmarks.scaling import Sample, draw, fit, report
from trainers.capacity.rollouts import Costs

MEASURED = {
    "weights": 10**7, "chunk": 4000, "result": 10**5, "update_s": 0.5, "byte_s": 1e-9,
    "start_s": 0.01, "calls_a_second": 2000.0, "call_head_s": 1e-4,
    "pull_bytes_a_second": 1e9,
}  # fmt: skip


def made_up(runners: int, each: int) -> Sample:
    """A round whose driver takes 0.1 + 0.02 N + 0.003 chunks, and whose head is 0.01 + 0.002 N
    busy."""
    chunks = runners * each
    driver = 0.1 + 0.02 * runners + 0.003 * chunks
    clock = driver + 0.4 * each
    head = (0.01 + 0.002 * runners) * clock
    return Sample(runners, chunks, 500 * chunks, clock, driver, (0.4 * each,) * runners, head, head)


def samples() -> list[Sample]:
    return [made_up(runners, each) for runners in (1, 2, 4) for each in (1, 4)]


def test_the_costs_are_found_again() -> None:
    costs = fit(samples(), MEASURED)
    found = (costs.round_s, costs.call_s, costs.chunk_s, costs.work_s)
    assert found == pytest.approx((0.1, 0.02, 0.003, 0.4))
    assert (costs.head_share, costs.head_share_runner) == pytest.approx((0.01, 0.002))
    assert costs.spread_s == pytest.approx(0)
    assert costs.start_s == pytest.approx(0.01)


def test_the_tables_name_every_size_and_every_limit() -> None:
    costs: Costs = fit(samples(), MEASURED)
    context = {
        **MEASURED, "hardware": "two processors", "load": [0, 0], "minutes": 1, "updates": 8,
        "chunks an iteration": 2,
    }  # fmt: skip
    text = report(samples(), costs, context, each=4)
    for start in ("| 1 |", "| 2 |", "| 4 |", "| 1,000 |"):
        assert start in text
    for part in ("learner", "driver", "weights out", "results in", "object store", "head"):
        assert f"| {part} |" in text
    page = draw(samples(), costs, each=4)
    assert page.count("<svg") == 3 and "16 chunks a runner" in page
