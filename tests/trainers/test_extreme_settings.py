"""Every number of every configuration with values that no run could use: refused in one line."""

from __future__ import annotations

import math
from typing import Any

import pytest

from envs.houses.dataset import HousesConfig
from envs.houses.route_houses import RouteHousesConfig
from envs.simulators.simulator import SimulatorConfig
from rayforge.errors import ConfigurationError
from rayforge.settings import everything, value_of
from trainers.alignment.config import AlignConfig
from trainers.amodal.config import VideoConfig
from trainers.configuration import from_dict
from trainers.irl.adapt_config import AdaptConfig
from trainers.irl.config import IRLConfig
from trainers.irl.plan_config import PlanConfig

KINDS = (
    IRLConfig, AlignConfig, VideoConfig, PlanConfig, AdaptConfig, HousesConfig, RouteHousesConfig,
    SimulatorConfig,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_number_is_taken_that_single_precision_does_not_hold(kind: Any) -> None:
    for name in everything(kind):
        for value in (math.nan, math.inf, -math.inf, 1e308, -1e308, 2**63 - 1, -(2**63)):
            try:
                found = value_of(from_dict(kind, {name: value}), name)
            except ConfigurationError as error:
                assert len(str(error).splitlines()) == 1, name
                assert len(str(error)) < 400, name
                continue
            if isinstance(found, bool | str | tuple | list | None) or name.endswith("seed"):
                continue
            assert math.isfinite(found) and abs(found) < 1e30, name
            assert not isinstance(found, int) or abs(found) < 2**31, name


@pytest.mark.parametrize(
    "values",
    [{"body.cell": 0}, {"body.radius": -1}, {"body.height": 0}, {"motion.forward": 0},
     {"motion.turn": -15}, {"camera.width": 0}, {"camera.field_of_view": 180},
     {"camera.height": 10**6}],
)  # fmt: skip
def test_a_simulation_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"simulation\.\w+\.\w+ must be in"):
        from_dict(SimulatorConfig, values)
