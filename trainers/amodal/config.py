"""The one configuration of `rayforge amodal train`: command line, YAML file and search space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rayforge.amodal.config import AmodalConfig
from rayforge.settings import FOLDER, MAY_CHANGE, MAY_GROW, NOT_LEARNT, AtLeast


@dataclass(frozen=True)
class VideoConfig(AmodalConfig):
    """A network that completes an object's outline, its losses, from which clips, for how long."""

    data: Annotated[str, FOLDER] = "shapes"
    """Folder of clips (manifest.json), or clips that are made once and kept: "shapes" (two shapes
    cross), "body" (a body walks behind furniture before a fixed camera), "walk" (an agent walks
    past furniture)."""
    test: Annotated[str, FOLDER] = ""
    """Folder of the clips that are scored. Empty: of made clips those of other houses, and of a
    folder its last quarter, which is then not trained on."""
    clips: Annotated[int, AtLeast(2)] = 60
    """Clips made for training; a third as many are made for scoring."""
    side: Annotated[int, AtLeast(16)] = 64
    """Pixels of a made frame's side."""
    houses: Annotated[int, AtLeast(2)] = 6
    """Generated houses that "body" and "walk" are made in: half are for scoring."""
    updates: Annotated[int, MAY_GROW, AtLeast(1)] = 600
    """Updates of the network."""
    seed: Annotated[int, NOT_LEARNT, AtLeast(0)] = 0
    """Seed of weights and of what an update draws."""
    threads: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 0
    """Threads; 0 leaves it to torch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side % 16:
            raise ValueError(f"side must be a multiple of 16, got {self.side}")
