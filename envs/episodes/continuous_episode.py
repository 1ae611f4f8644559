"""One `ContinuousEpisode` type: an instruction and the walk in a 3-D scene that it describes."""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float, float]
NO_RADIUS = 1e-6
"""Metres around the goal of a blind episode, which has none."""


@dataclass(frozen=True)
class ContinuousEpisode:
    """One instruction and the walk that it describes, in habitat's axes (metres, +y up).

    Positions are points of the floor. A yaw of 0 looks along -z and grows to the left.
    """

    episode_id: str
    trajectory_id: int
    """Episodes of one walk, told in other words, share it."""
    scene: str
    """Mesh file below a scenes folder, such as ``mp3d/7y3sRwLe3Va/7y3sRwLe3Va.glb``."""
    start: Point
    yaw: float
    """Start yaw in radians, in (-pi, pi]."""
    goal: Point
    radius: float
    """Metres around `goal` within which a stop is a success."""
    instruction: str
    """Not empty."""
    reference_path: tuple[Point, ...]
    """The corners of the walk, start and goal among them; at least one."""
    geodesic_distance: float | None = None
    """Metres of the shortest walk from start to goal, where the file says."""
    actions: tuple[int, ...] | None = None
    """Ground truth, where there is: `Action` numbers, the last of them STOP."""
    locations: tuple[Point, ...] | None = None
    """Ground truth, where there is: the positions on the way (those of nDTW)."""
    blind: bool = False
    """Whether the goal is not told, as in a leaderboard's test split; `goal` is the start then."""

    @property
    def scan(self) -> str:
        """Name of the building: the mesh's name up to its first dot."""
        return self.scene.rsplit("/", 1)[-1].split(".")[0]
