"""What updates cost: the goal generator's, cloning's, adversarial ones, roll-outs between them.

    python -m benchmarks.updates [--data ../shared/data/r2r] [--out updates.json]

A short run of `rayforge irl train` with its default sizes, in one process on one thread, timed part
by part. Absolute processor times: they say nothing without the hardware, and versions are compared
by running both in turns on the same machine. Generator and policy are trained as far as the timed
updates train them, so that they stop and end instructions about where a trained one does. Without
--data the houses are generated first.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import ray
import torch
import tyro

from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.run_folder import data_folder
from trainers.irl.task import read_task
from trainers.runs.folder import hardware

T = TypeVar("T")

NAMES = {
    "generator": "generator update",
    "clone": "cloning update",
    "irl": "adversarial update",
    "roll-outs": "roll-outs and labels",
    "iteration": "iteration",
}


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one call, the mean of `calls`; `samples` are the processor's."""

    name: str
    processor: float
    clock: float
    calls: int
    samples: tuple[float, ...]


class Timed(LangGoalIRL):
    """The algorithm with a stop-watch (seconds of processor and clock) at each of its parts."""

    def start(self, task: Any, fresh: bool = True) -> LangGoalIRL:
        self.seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
        return super().start(task, fresh)

    def training_step(self) -> None:
        phase = self.phase
        self._time("iteration" if phase == "irl" else f"{phase} iteration", super().training_step)

    def roll_out(self, *args: Any, **kwargs: Any) -> Any:
        return self._time("roll-outs", lambda: super(Timed, self).roll_out(*args, **kwargs))

    def _update(self, *args: Any, **kwargs: Any) -> None:
        self._time(self.phase, lambda: super(Timed, self)._update(*args, **kwargs))

    def _time(self, name: str, call: Callable[[], T]) -> T:
        processor, clock = time.process_time(), time.perf_counter()
        result = call()
        self.seconds[name].append((time.process_time() - processor, time.perf_counter() - clock))
        return result

    def cost(self, name: str, first: int) -> Cost:
        """Of all calls from number `first` on: those before get memory and pages ready."""
        processor, clock = zip(*self.seconds[name][first:], strict=True)
        return Cost(
            NAMES[name], 1e3 * statistics.mean(processor), 1e3 * statistics.mean(clock),
            len(clock), tuple(round(1e3 * p, 1) for p in processor),
        )  # fmt: skip


@dataclass(frozen=True)
class Updates:
    """Measure what the parts of training cost."""

    data: Path | None = None
    """Folder of an R2R data set; without, houses are generated."""
    out: Path | None = None
    """JSON file for the figures."""
    updates: int = 48
    """Updates of the generator, and of cloning."""
    iterations: int = 5
    """Iterations of roll-outs and adversarial updates."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the learner runs: "cpu" or "cuda"."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        defaults, load = IRLConfig(), os.getloadavg()[0]
        config = replace(
            defaults,
            data=str(self.data or defaults.data),
            device=self.device,
            generator=replace(defaults.generator, updates=self.updates),
            clone_updates=self.updates,
            updates=self.iterations * defaults.updates_per_iteration,
            warm_up=0,
        )
        task = read_task(data_folder(config), config, ("train",))
        ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
        try:
            settings = LangGoalIRLConfig(algo_class=Timed).for_task(config, task)
            algorithm = settings.build_algo().start(task)
            while not algorithm.finished:
                algorithm.train()
            block = config.updates_per_iteration
            costs = [algorithm.cost(name, block) for name in ("generator", "clone", "irl")]
            costs += [algorithm.cost(name, 1) for name in ("roll-outs", "iteration")]
            told, described = algorithm.negatives.paths, algorithm.positives.paths
            steps = float(told.length[: len(algorithm.negatives)].mean())
            words = float((described.tokens[: len(algorithm.positives)] != 0).sum(1).mean())
            algorithm.stop()
        finally:
            ray.shutdown()
        generator, clone, _, _, iteration = (cost.processor for cost in costs)
        whole = (
            defaults.generator.updates * generator
            + defaults.clone_updates * clone
            + defaults.updates / defaults.updates_per_iteration * iteration
        ) / 60_000
        context = {
            "data": config.data,
            "hardware": hardware(),
            "device": self.device,
            "load": [round(load, 2), round(os.getloadavg()[0], 2)],
            "versions": {
                "python": platform.python_version(), "ray": ray.__version__,
                "torch": torch.__version__,
            },
            "steps_rolled_out": round(steps, 2),
            "words_written": round(words, 1),
            "default_run_minutes": round(whole, 1),
        }  # fmt: skip
        print(f"{hardware()}; load {context['load'][0]} before, {context['load'][1]} after")
        print(
            f"{config.data} on {self.device}, one thread; roll-outs of {steps:.1f} steps, "
            f"their labels of {words:.1f} words\n"
        )
        print(f"{'milliseconds':24}{'processor':>10}{'clock':>10}{'calls':>8}{'a second':>10}")
        for cost in costs:
            print(
                f"{cost.name:24}{cost.processor:>10.1f}{cost.clock:>10.1f}{cost.calls:>8}"
                f"{1e3 / cost.processor:>10.2f}"
            )
        print(f"\na run with the defaults, evaluation left out: {whole:.1f} processor minutes")
        if self.out is not None:
            rows = [asdict(cost) for cost in costs]
            self.out.write_text(json.dumps({**context, "costs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(Updates, description=__doc__)()
