"""Memory that `rayforge plan` says of an agent's run against what it takes, at three sizes.

    python -m benchmarks.agent_memory --out runs/agent-memory

`rayforge irl train` runs with one runner for a few updates of every kind, in processes of its own.
The highest resident memory of the learner's process and of the runner's is read while they live.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import tyro

from benchmarks.capacity import resident_at_most
from envs.houses.dataset import write_houses
from rayforge.files import write_text
from trainers.capacity import agents
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.machine import processors

HIDDEN = (64, 128, 256)


def configuration(data: Path, hidden: int) -> IRLConfig:
    """The default agent at a size, for a few updates of each kind."""
    full = IRLConfig()
    return replace(
        full, data=str(data), runners=1, threads=1, evaluate=(), evaluate_every=0,
        network=replace(full.network, hidden=hidden),
        generator=replace(full.generator, hidden=hidden, updates=2),
        clone_updates=2, updates=8, warm_up=0,
    )  # fmt: skip


def measure(config: IRLConfig, run: Path) -> dict[str, float]:
    """Highest resident bytes of the learner's process and of its runner's."""
    file = run.with_suffix(".yaml")
    write_text(file, to_yaml(config))
    command = [
        sys.executable, "-m", "trainers.cli", "irl", "train", "--config", str(file), "--run",
        str(run),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=os.environ, stdout=said, stderr=said)
        found: dict[str, float] = {}
        while process.poll() is None:
            for name, pid in processes(process.pid).items():
                try:
                    found[name] = max(found.get(name, 0.0), resident_at_most(str(pid)))
                except (OSError, StopIteration):
                    continue  # it has just ended
            time.sleep(0.2)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode()[-2000:])
    return found


def processes(learner: int) -> dict[str, int]:
    """Process ids by the plan's names."""
    found = {"the learner": learner}
    try:
        for child in psutil.Process(learner).children(recursive=True):
            title = " ".join(child.cmdline())
            if title.startswith("ray::") and "Runner" in title:
                found["runner"] = child.pid
    except psutil.Error:
        pass  # a process that ended while it was looked at
    return found


@dataclass(frozen=True)
class AgentMemory:
    """Planned against measured memory of an agent's run."""

    out: Path = Path("runs/agent-memory")
    hidden: tuple[int, ...] = HIDDEN

    def __call__(self) -> None:
        print(f"{processors()} CPUs")
        self.out.mkdir(parents=True, exist_ok=True)
        houses = (self.out / "houses").resolve()
        if not houses.is_dir():
            write_houses(houses, train_houses=12, unseen_houses=1, paths_per_house=40, seed=0)
        rows = []
        for hidden in self.hidden:
            config = configuration(houses, hidden)
            size = agents.size_of(config)
            needs = {p.name: p.need for p in agents.processes(config, size)}
            run = self.out / f"hidden-{hidden}-{time.time_ns()}"
            for name, measured in measure(config, run).items():
                planned = needs[name].host_bytes
                rows.append(
                    {
                        "hidden": hidden, "parameters": size.parameters, "steps": size.steps,
                        "process": name, "parts": needs[name].host, "planned": planned,
                        "measured": measured,
                    }
                )  # fmt: skip
                print(
                    f"hidden {hidden:>4}, {size.parameters / 1e6:5.2f} M parameters, {name:<12} "
                    f"planned {planned / 1e9:.2f} GB, measured {measured / 1e9:.2f} GB, ratio "
                    f"{planned / measured:.3f}", flush=True,
                )  # fmt: skip
        write_text(self.out / "agent_memory.json", json.dumps(rows, indent=1))


if __name__ == "__main__":
    tyro.cli(AgentMemory, description=__doc__)()
