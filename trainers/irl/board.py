"""A run's figures in TensorBoard, over iterations and over what the agent did until then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

AXES = {"env_steps": "over_env_steps", "episodes": "over_episodes"}
"""Counts that are axes too, and the name of the TensorBoard run that has each as its axis."""
DRAWN = ("rollout/", "validation/", "policy/entropy")
"""What is drawn over these: TensorBoard would show everything three times."""


class Board:
    """Events below a run's `tensorboard` folder; what an earlier attempt wrote after the place
    where this one goes on is hidden."""

    def __init__(self, folder: Path, iteration: int, counts: Mapping[str, int]) -> None:
        self.folder, self.before = folder, dict(counts)
        self.writer = SummaryWriter(str(folder), purge_step=iteration + 1)
        self.others: dict[str, SummaryWriter] = {}

    def show(self, figures: Mapping[str, float], iteration: int, counts: Mapping[str, int]) -> None:
        """Figures of an iteration; over steps and episodes only once there are some."""
        for name, value in figures.items():
            self.writer.add_scalar(name, value, iteration)
        for count, folder in AXES.items():
            for name in (n for n in figures if n.startswith(DRAWN) and counts[count]):
                if count not in self.others:
                    self.others[count] = SummaryWriter(
                        str(self.folder / folder), purge_step=self.before[count] + 1
                    )
                self.others[count].add_scalar(name, figures[name], counts[count])

    def close(self) -> None:
        for writer in (self.writer, *self.others.values()):
            writer.close()
