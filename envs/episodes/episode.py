"""One `Episode` type for every source in navigation graphs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Episode:
    """One instruction and the path that it describes.

    Attributes:
        episode_id: the id under which a leaderboard knows the instruction. R2R and R4R:
            ``f"{path_id}_{k}"`` with k the index of the instruction in its record; REVERIE:
            ``f"{id}_{k}"``; RxR: its ``instruction_id``, of a follower its ``demonstration_id``.
        path_id: number or text of the path in its file.
        scan: the building.
        path: viewpoint ids from start to goal. Of a blind episode the start alone.
        heading: start heading in radians, clockwise from +y (north), as R2R has it.
        instruction: one instruction, not empty.
        language: tag of its language where the file says ("en-IN", "hi-IN", "te-IN"), else "".
        object_id: the object at the goal that the instruction means (REVERIE), else None.
    """

    episode_id: str
    path_id: int | str
    scan: str
    path: tuple[str, ...]
    heading: float
    instruction: str
    language: str = ""
    object_id: str | None = None

    @property
    def blind(self) -> bool:
        """Whether the goal is not told, as in the test splits of leaderboards."""
        return len(self.path) == 1
