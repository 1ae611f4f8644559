"""The commands `rayforge analyse ...`. What is heavy is imported when one is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


@dataclass(frozen=True)
class Information:
    """What the weights of a run hold about their task: trace of the Fisher information by module,
    information in nats, the control for saturation. Agents and language models.

    Examples:
      rayforge analyse information runs/full
      rayforge analyse information runs/sera --probe 2000
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run: an agent's or a language model's."""
    probe: int = 1_000
    """Decisions of the frozen probe, about (of language models: tokens)."""
    batches: int = 10
    """Batches of the probe; each gives one estimate of the trace."""
    seed: int = 0
    """Seed of the probe and of the labels."""
    beta: float = 1e-3
    """What a nat of information may cost, in nats of the loss."""
    noise_steps: int = 60
    """Steps of the learnt noise; 0 leaves it out."""
    data: Path | None = None
    """The data folder, where it is not the run's."""
    out: Path | None = None
    """Where the JSON and the report go; the run folder where it is left out."""

    def __call__(self) -> None:
        from trainers.analysis.information import analyse_information
        from trainers.runs.folder import command_line

        analyse_information(self, command_line())


@dataclass(frozen=True)
class Periods:
    """When damage to the data lasts: deficits until a time, or in a window, in three arms of the
    step size, as a file says (see tune_configs/periods.yaml).

    Example: rayforge analyse periods tune_configs/periods.yaml --out runs/periods
    """

    file: tyro.conf.Positional[Path]
    """The file of the study."""
    out: Path
    """Folder of the study; the same command goes on where it was broken off."""
    processes: int = 0
    """Trials at a time, each in a Ray process; 0 runs them in this process."""

    def __call__(self) -> None:
        from trainers.analysis.periods import analyse_periods
        from trainers.runs.folder import command_line

        analyse_periods(self.file, self.out, self.processes, command_line())


@dataclass(frozen=True)
class Tasks:
    """Tasks as vectors after Task2Vec: distances, a map, which finished run to start from.

    Examples:
      rayforge analyse tasks runs/r2r --by building --out runs/tasks
      rayforge analyse tasks runs/r2r --by half --out runs/halves
      rayforge analyse tasks runs/r2r --for runs/houses --among runs --out runs/start
    """

    run: tyro.conf.Positional[Path]
    """The run whose policy is the probe network; frozen, but for its head."""
    out: Path
    """Folder of the analysis; the same command goes on where it was broken off."""
    by: Literal["building", "half", "kind"] = "building"
    """What a task is: a building, half of a building's paths, or a building and the length of its
    instructions."""
    estimator: Literal["sampled", "variational"] = "sampled"
    """"sampled": squared scores of drawn actions. "variational": the noise that the weights of each
    row can bear."""
    split: str = "train"
    """The split whose episodes make the tasks."""
    most: int = 0
    """Tasks at most; 0 takes all."""
    episodes: int = 120
    """Episodes of a task at most."""
    head_steps: int = 40
    """Updates of the head for each task."""
    seed: int = 0
    """Seed of draws."""
    for_: Annotated[Path | None, tyro.conf.arg(name="for")] = None
    """Data that a new run is for: list the finished runs of --among, best start first."""
    among: Path | None = None
    """Folder of finished runs, for --for."""
    data: Path | None = None
    """The data folder, where it is not the run's."""
    processes: int = 0
    """Tasks at a time, each in a Ray process; 0 runs them in this process."""

    def __call__(self) -> None:
        from trainers.analysis.tasks import analyse_tasks
        from trainers.runs.folder import command_line

        analyse_tasks(self, command_line())


@dataclass(frozen=True)
class Transfer:
    """How runs do under shift: every run on every target, and which figure at home predicts it.

    Examples:
      rayforge analyse transfer tune_configs/analyses/transfer.yaml --out runs/transfer
      rayforge analyse transfer tune_configs/analyses/transfer_language.yaml --out runs/shifts
    """

    file: tyro.conf.Positional[Path]
    """The file of the grid: runs (or how to make them) and targets."""
    out: Path
    """Folder of the analysis; the same command goes on where it was broken off."""
    processes: int = 0
    """Cells at a time, each in a Ray process; 0 runs them in this process."""

    def __call__(self) -> None:
        from trainers.analysis.transfer import analyse_transfer
        from trainers.runs.folder import command_line

        analyse_transfer(self.file, self.out, self.processes, command_line())


@dataclass(frozen=True)
class Parity:
    """Whether a run serves groups alike, and what an explicit second head does about it.

    The attribute is of texts, buildings, rooms or corpora. Attributes of people are not inferred.

    Examples:
      rayforge analyse parity runs/r2r --attribute room --split val_unseen
      rayforge analyse parity runs/dpo --attribute length
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run: an agent's or a language model's."""
    attribute: str
    """"length" (of the instruction, or which answer is longer), "building", "room" (of the goal),
    "corpus" (this data against --other)."""
    split: str = "val_unseen"
    """The split that is scored, of an agent's run."""
    episodes: int = 600
    """Episodes drawn from it at most, or pairs."""
    other: Path | None = None
    """The other corpus, where the attribute is "corpus"."""
    seed: int = 0
    """Seed of draws; half of the routes fit, the other half test."""
    data: Path | None = None
    """The data folder, where it is not the run's."""
    out: Path | None = None
    """Where the JSON and the report go; the run folder where it is left out."""

    def __call__(self) -> None:
        from trainers.analysis.parity import analyse_parity
        from trainers.runs.folder import command_line

        analyse_parity(self, command_line())


COMMANDS: dict[str, type[Any]] = {
    "information": Information,
    "periods": Periods,
    "tasks": Tasks,
    "transfer": Transfer,
    "parity": Parity,
}
