"""The commands of amodal segmentation: `rayforge amodal ...`. What is heavy is imported late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rayforge.settings import AtLeast
from trainers.amodal.config import VideoConfig
from trainers.runs.folder import named_folder


@dataclass(frozen=True)
class AmodalTrain:
    """Train a network that completes an object's outline where something hides it, from visible
    masks and flow alone.

    Examples:
      rayforge amodal train --data body --run runs/body
      rayforge amodal train --data my_clips --flow depth --run runs/own
      rayforge amodal train --resume runs/body
    """

    settings: Annotated[VideoConfig, tyro.conf.arg(name="")]
    run: Path | None = None
    """Folder of the run; it must not hold one yet."""
    resume: Path | None = None
    """A run to go on with from its last checkpoint, under its own settings."""

    def __call__(self) -> None:
        run = named_folder(self.run, self.resume)
        from trainers.amodal.system import AMODAL
        from trainers.configuration import placed
        from trainers.runs.train import train

        settings = self.settings if self.resume else placed(self.settings)
        train(AMODAL, "amodal", settings, run, self.resume is not None)


@dataclass(frozen=True)
class AmodalEvaluate:
    """Score a run: IoU with the true masks, whole and hidden part, beside two controls.

    Example: rayforge amodal evaluate runs/body --adaptation 20
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    test: Path | None = None
    """A folder of clips, instead of the run's own."""
    adaptation: Annotated[int, AtLeast(0)] = 0
    """Self-supervised updates on each clip before it is scored."""

    def __call__(self) -> None:
        from trainers.amodal.evaluate import evaluate
        from trainers.runs.folder import command_line

        evaluate(self.run, str(self.test or ""), self.adaptation, command_line())


@dataclass(frozen=True)
class AmodalWatch:
    """Make a film (MP4) and a contact sheet (PNG) of a run's scored clips: the visible outline, the
    completed one, the true one, and where they differ.

    Example: rayforge amodal watch runs/body
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    clips: Annotated[int, AtLeast(1)] = 6
    """Clips shown at most."""

    def __call__(self) -> None:
        from trainers.amodal.watch import watch

        film = watch(self.run, self.clips)
        print(f"{film} and {film.with_suffix('.png')}")
