"""What a system is to the rest of RayForge: one record that search, reports and commands read.

A system is a package: a configuration, a way to train, and one `System` that names them. Nothing
else in RayForge has to be changed for it (`trainers.systems` finds it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Bundle = dict[str, float]
"""What Ray reserves for one process: {"CPU": 1.0, "GPU": 1.0}."""


@dataclass(frozen=True)
class Need:
    """CPUs and GPUs of one trial."""

    bundles: tuple[Bundle, ...] = ({"CPU": 1.0},)
    """What Tune reserves: the trial's own process, then its actors."""
    outside: Bundle = field(default_factory=dict)
    """What Ray Train's workers take beside that, in a reservation of their own."""
    parts: str = "1 for the trial"
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


def one_process(config: Any) -> Need:
    """A trial that takes one CPU and starts no other process."""
    return Need()


def nothing(config: Any) -> None:
    """Nothing to make or to check."""


def as_asked(config: Any, asked: int) -> int:
    """As many reports as the search asks for."""
    return asked


def whole(config: Any) -> dict[str, Any]:
    """One configuration, which one command takes."""
    return {"": config}


@dataclass(frozen=True)
class System:
    """One system. Its functions import what is heavy when they are called, not before: `--help`
    reads the record too."""

    name: str
    """What commands and search files call it."""
    configuration: type[Any]
    """A frozen dataclass: the command line, the YAML file and the names of a search space."""
    metrics: Callable[[Any], tuple[str, ...]]
    """The figures that each report of a configuration holds, by name."""
    train: Callable[[Any, Path, range], Iterator[dict[str, float]]]
    """`train(config, run, reports)` trains in the run folder and yields the figures of each report,
    one for each number in `reports`, which are even steps of the whole training and end with it.

    It goes on with what the folder holds. When it yields, all that a resumed training needs is in
    the folder. The folder may already hold the state of the first report, where a kill came before
    anybody took notice of it: then it is reported again.
    """
    resources: Callable[[Any], Need] = one_process
    """What a trial of a configuration takes."""
    prepare: Callable[[Any], None] = nothing
    """Checks and makes what all trials of a configuration read. Raises UserError."""
    check_file: Callable[[Any], None] = nothing
    """Raises ConfigurationError for what a file must not ask for, such as code to be run."""
    reports: Callable[[Any, int], int] = as_asked
    """`reports(config, asked)`: how many a trial makes, of as many as a search asks for."""
    parts: Callable[[Any], dict[str, Any]] = whole
    """The configurations that commands take, by what is added to the name of their file."""
    use: tuple[str, ...] = ()
    """The commands that use what was trained; "{run}" stands for the run folder."""
    commands: Mapping[str, type[Any]] = field(default_factory=dict)
    """Its own commands by name, each a dataclass that is called."""
