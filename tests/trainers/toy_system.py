"""A system from outside RayForge: a number that walks to 3, as plain as one can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rayforge.settings import UNDER_WAY, Above
from trainers.runs.system import System


@dataclass(frozen=True)
class ToyConfig:
    """Walks to 3 in steps of `rate` times what is left."""

    rate: Annotated[float, UNDER_WAY, Above(0)] = 0.1
    """Share of what is left that a step takes."""
    start: float = 0.0
    """Where the walk begins."""
    steps: int = 40
    """Steps in all."""


def train(config: ToyConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    file = run / "state.json"
    state = json.loads(file.read_text()) if file.is_file() else {"step": 0, "x": config.start}
    for number in reports:
        while state["step"] * (reports.stop - 1) < config.steps * number:
            state = {"step": state["step"] + 1, "x": state["x"] + config.rate * (3 - state["x"])}
        file.write_text(json.dumps(state))
        yield {"distance": abs(3 - state["x"])}


TOY = System(name="toy", configuration=ToyConfig, metrics=lambda config: ("distance",), train=train)
