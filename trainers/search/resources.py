"""What a trial takes and how many fit, added up before anything starts: Ray would wait for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayforge.errors import ConfigurationError
from rayforge.settings import RESOURCE, settings_with
from trainers.alignment.config import AlignConfig
from trainers.irl.config import IRLConfig
from trainers.search.config import Half, Search

Bundle = dict[str, float]


@dataclass(frozen=True)
class Need:
    """CPUs and GPUs of one trial."""

    bundles: tuple[Bundle, ...]
    """What Tune reserves: the trial's own process, then its actors."""
    outside: Bundle
    """What Ray Train's workers take beside that, in a reservation of their own."""
    parts: str
    """The sum in words."""

    @property
    def cpus(self) -> float:
        return self._sum("CPU")

    @property
    def gpus(self) -> float:
        return self._sum("GPU")

    def _sum(self, what: str) -> float:
        inside = sum(bundle.get(what, 0.0) for bundle in self.bundles)
        return inside + self.outside.get(what, 0.0)


def need(half: Half, config: Any) -> Need:
    """What a trial of this configuration takes."""
    if half == "irl":
        return _agent(config)
    if half == "alignment":
        return _language(config)
    agent, language = (_agent(config.irl), _language(config.align))
    # The halves take turns, but Ray reserves for a trial's whole life.
    gpu = max(agent.gpus, 1.0 if config.align.device == "cuda" else 0.0)
    first = {"CPU": 1.0, **({"GPU": gpu} if gpu else {})}
    return Need(
        (first, *agent.bundles[1:], *language.bundles[1:]),
        language.outside,
        f"1 for the trial + {config.irl.runners} runners + {config.align.workers} workers + "
        f"{config.align.actors} actors",
    )


def _agent(config: IRLConfig) -> Need:
    first = {"CPU": 1.0, **({"GPU": 1.0} if config.device == "cuda" else {})}
    runner = {"CPU": 1.0, **({config.runner_resource: 1.0} if config.runner_resource else {})}
    return Need(
        (first, *(runner for _ in range(config.runners))), {},
        f"1 for the learner + {config.runners} runners",
    )  # fmt: skip


def _language(config: AlignConfig) -> Need:
    gpu = {"GPU": 1.0} if config.device == "cuda" else {}
    # With workers the trial's own process takes turns with them; Ray takes no zero. What neither
    # workers nor actors do on the GPU, sampling and scoring, it does itself.
    first: Bundle = {"CPU": 0.01 if config.workers else 1.0, **(gpu if not config.actors else {})}
    actors = tuple({"CPU": 1.0, **gpu} for _ in range(config.actors))
    outside: Bundle = {"CPU": float(config.workers)} if config.workers else {}
    if config.workers and gpu:
        outside["GPU"] = float(config.workers)
    own = "" if config.workers else "1 for the trial + "
    return Need(
        (first, *actors), outside, f"{own}{config.workers} workers + {config.actors} actors"
    )


def largest(search: Search) -> Need:
    """What the most demanding trial of the space takes."""
    values: dict[str, Any] = {}
    sizes = settings_with(search.kind, RESOURCE)
    for r in search.space.ranges:
        if r.key in sizes:
            ends = [end for end in r.ends if end != "cpu"]
            values[r.key] = max(ends) if ends else "cpu"
    return need(search.settings.half, search.trial(values))


def concurrency(
    search: Search, cpus: float, gpus: float, where: str, spare: float = 0.0
) -> int:  # fmt: skip
    """Trials that can run at a time, as asked for or as many as fit, whichever is less.

    `spare` are CPUs beyond `cpus` that Ray was told of for processes that only wait.
    Raises ConfigurationError with the sum where not even one fits.
    """
    wanted = largest(search)
    for name, takes, have in (("CPUs", wanted.cpus, cpus), ("GPUs", wanted.gpus, gpus)):
        # The hundredth of a CPU of a trial that only waits always finds a place.
        if int(takes) > have:
            raise ConfigurationError(
                f"a trial takes {int(takes)} {name} ({wanted.parts}), but {where} has {have:g}: "
                "lower runners, workers or actors, or search where there are more"
            )
    fit = [int(cpus // (int(wanted.cpus) if spare else wanted.cpus))]
    if wanted.gpus:
        fit.append(int(gpus // wanted.gpus))
    most = max(1, min(fit))
    asked = search.settings.concurrent
    if asked > most:
        print(
            f"concurrent is {asked}, but only {most} trials of {int(wanted.cpus)} CPUs "
            f"({wanted.parts}) fit {where}'s {cpus:g}: {most} at a time",
            flush=True,
        )
    return min(asked or most, most, search.trials)
