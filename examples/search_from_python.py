"""Search from Python over the settings of a system of your own, with Ray Tune.

python examples/search_from_python.py --storage runs/searches
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import yaml

from rayforge.settings import UNDER_WAY, Above
from trainers.configuration import read_configuration
from trainers.runs.system import System
from trainers.search.run import search


@dataclass(frozen=True)
class WalkConfig:
    """Walks to 3."""

    rate: Annotated[float, UNDER_WAY, Above(0)] = 0.1
    """Share of the way left that a step takes."""
    start: float = 0.0
    """Where the walk begins."""


def train(config: WalkConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    """One step a report; what a resumed walk goes on with is in the run's folder."""
    state = run / "state.json"
    place = json.loads(state.read_text()) if state.is_file() else config.start
    for _ in reports:
        place += config.rate * (3 - place)
        state.write_text(json.dumps(place))
        yield {"distance": abs(3 - place)}


WALK = System("walk", WalkConfig, metrics=lambda config: ("distance",), train=train)


def main(storage: Path = Path("runs/searches"), trials: int = 8) -> None:
    """Search; print the best settings. The folder has a report, and each trial's run folder."""
    sys.path.insert(0, str(Path(__file__).parent))  # where the system's module is found
    storage.mkdir(parents=True, exist_ok=True)
    plan = {
        "system": "search_from_python:WALK", "name": "walk", "storage": str(storage),
        "space": {"rate": {"loguniform": [0.01, 0.9]}, "start": {"choice": [0.0, 2.0]}},
        "metrics": {"distance": "min"}, "trials": trials, "reports": 4, "scheduler": "asha",
    }  # fmt: skip
    (storage / "walk.yaml").write_text(yaml.safe_dump(plan))
    search(storage / "walk.yaml", {"system": plan["system"]}, resume=False, command="Python")
    print("best:", read_configuration(WalkConfig, storage / "walk" / "best.yaml"))


if __name__ == "__main__":
    tyro.cli(main)
