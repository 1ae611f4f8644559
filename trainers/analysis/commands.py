"""The commands `rayforge analyse ...`. What is heavy is imported when one is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rayforge.settings import WRITES_FOLDER, Above, AtLeast


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
    probe: Annotated[int, AtLeast(2)] = 1_000
    """Decisions of the frozen probe, about (of language models: tokens)."""
    batches: Annotated[int, AtLeast(2)] = 10
    """Batches of the probe; each gives one estimate of the trace."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the probe and of the labels."""
    beta: Annotated[float, Above(0)] = 1e-3
    """What a nat of information may cost, in nats of the loss."""
    noise_steps: Annotated[int, AtLeast(0)] = 60
    """Steps of the learnt noise; 0 leaves it out."""
    data: Path | None = None
    """The data folder, where it is not the run's."""
    out: Annotated[Path | None, WRITES_FOLDER] = None
    """Where the JSON and the report go; the run folder where it is left out."""

    def __call__(self) -> None:
        from trainers.analysis.information import analyse_information
        from trainers.runs.folder import command_line

        analyse_information(self, command_line())


@dataclass(frozen=True)
class Periods:
    """When damage to the data lasts: deficits until a time, or in a window, in three arms of the
    step size, as a file says (see tune_configs/analyses/periods.yaml).

    Example: rayforge analyse periods tune_configs/analyses/periods.yaml --out runs/periods
    """

    file: tyro.conf.Positional[Path]
    """The file of the study."""
    out: Annotated[Path, WRITES_FOLDER]
    """Folder of the study; the same command goes on where it was broken off."""
    processes: Annotated[int, AtLeast(0)] = 0
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
    out: Annotated[Path, WRITES_FOLDER]
    """Folder of the analysis; the same command goes on where it was broken off."""
    by: Literal["building", "half", "kind"] = "building"
    """What a task is: a building, half of a building's paths, or a building and the length of its
    instructions."""
    estimator: Literal["sampled", "variational"] = "sampled"
    """"sampled": squared scores of drawn actions. "variational": the noise that the weights of each
    row can bear."""
    split: str = "train"
    """The split whose episodes make the tasks."""
    most: Annotated[int, AtLeast(0)] = 0
    """Tasks at most; 0 takes all."""
    episodes: Annotated[int, AtLeast(2)] = 120
    """Episodes of a task at most."""
    head_steps: Annotated[int, AtLeast(0)] = 40
    """Updates of the head for each task."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of draws."""
    for_: Annotated[Path | None, tyro.conf.arg(name="for")] = None
    """Data that a new run is for: list the finished runs of --among, best start first."""
    among: Path | None = None
    """Folder of finished runs, for --for."""
    data: Path | None = None
    """The data folder, where it is not the run's."""
    processes: Annotated[int, AtLeast(0)] = 0
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
    out: Annotated[Path, WRITES_FOLDER]
    """Folder of the analysis; the same command goes on where it was broken off."""
    processes: Annotated[int, AtLeast(0)] = 0
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
    episodes: Annotated[int, AtLeast(8)] = 600
    """Episodes drawn from it at most, or pairs."""
    other: Path | None = None
    """The other corpus, where the attribute is "corpus"."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of draws; half of the routes fit, the other half test."""
    data: Path | None = None
    """The data folder, where it is not the run's."""
    out: Annotated[Path | None, WRITES_FOLDER] = None
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
