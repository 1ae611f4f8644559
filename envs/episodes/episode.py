"""One `Episode` type for every source, and the error that bad data raises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Episode:
    """One instruction and the path that it describes.

    Attributes:
        episode_id: ``f"{path_id}_{k}"`` with k the index of the instruction in its record.
        path_id: number of the path in its file.
        scan: the building.
        path: viewpoint ids from start to goal, at least one.
        heading: start heading in radians, clockwise from +y (north), as R2R has it.
        instruction: one instruction, not empty.
    """

    episode_id: str
    path_id: int
    scan: str
    path: tuple[str, ...]
    heading: float
    instruction: str
