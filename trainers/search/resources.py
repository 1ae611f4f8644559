"""What a trial takes and how many fit, added up before anything starts: Ray would wait for ever."""

from __future__ import annotations

from typing import Any

from rayforge.errors import ConfigurationError
from trainers.runs.system import Need
from trainers.search.config import Search


def largest(search: Search) -> Need:
    """What the most demanding trial of the space takes."""
    resources = search.system.resources

    def size(config: Any) -> tuple[float, float]:
        wanted = resources(config)
        return wanted.gpus, wanted.cpus

    return resources(search.trial(search.most(size)))


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
