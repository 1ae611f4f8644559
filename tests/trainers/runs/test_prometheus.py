"""Figures under the names that docs/grafana.json draws."""

import json
import re
import sys
from pathlib import Path

import pytest

from trainers.runs.prometheus import GAUGES, PrometheusGauges, metric_name

BOARD = Path(__file__).parents[3] / "docs" / "grafana.json"


def test_the_dashboard_draws_every_gauge_and_no_other() -> None:
    board = json.loads(BOARD.read_text())
    drawn = {
        re.match(r"ray_(\w+)\{run=~\"\$run\"\}$", target["expr"])[1]  # type: ignore[index]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    assert drawn == {metric_name(figure) for figure in GAUGES}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "run"]


def test_nothing_happens_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    gauges = PrometheusGauges("first")
    gauges.show({"rollout/success": 0.5})
    assert gauges.made == {}


@pytest.mark.ray
@pytest.mark.parametrize("run", ["first", "tür", "日本 %#?"])
def test_known_figures_become_gauges(cluster: None, run: str) -> None:
    gauges = PrometheusGauges(run)
    for value in (0.5, 0.75):
        gauges.show({"rollout/success": value, "critic/loss": 1.0})
    assert set(gauges.made) == {"rollout/success"}
    assert gauges.made["rollout/success"].info["name"] == "rayforge_rollout_success"
