"""The one interface to a 3-D scene: batched, stateless, in arrays.

A simulator is one open scene. Agents are rows of arrays, and nothing is kept between two calls:
what a call needs, it is given. So one simulator serves every environment of an actor that is in its
scene, and a roll-out repeats wherever it runs.

Conventions (habitat-sim's): metres; +y is up; a yaw of 0 looks along -z and grows to the left
(counter-clockwise seen from above); an agent's position is the point of the floor it stands on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np

from rayforge.settings import Before, Within, check_limits

Rules = Literal["0.3.4", "0.3.3"]
"""The two ways in which habitat-sim finds a floor and stops at a wall, by the version that began
with it: 0.3.4 keeps floor whose headroom is exactly the body's, and an agent without sliding may
slide where its line leaves the way it slid along; 0.3.3 (and before) drops that floor, and such an
agent always stops on its line. Builds cannot be told apart by `__version__`: both say 0.3.3."""


class Action(IntEnum):
    """Low-level actions, numbered as in VLN-CE and R2R-CE's ground-truth files."""

    STOP = 0
    MOVE_FORWARD = 1
    TURN_LEFT = 2
    TURN_RIGHT = 3


@dataclass(frozen=True)
class Body:
    """The agent that walks, and the grid on which its floor is found (habitat-sim's defaults)."""

    height: Annotated[float, Within(0, 100, "(]")] = 1.5
    """Metres of headroom that it needs."""
    radius: Annotated[float, Within(0, 10)] = 0.1
    """Metres that it keeps from obstacles."""
    climb: Annotated[float, Within(0, 10)] = 0.2
    """Highest step in metres."""
    slope: Annotated[float, Within(0, 90)] = 45.0
    """Steepest floor in degrees."""
    cell: Annotated[float, Within(0.005, 10)] = 0.05
    """Side in metres of a cell of floor."""
    cell_height: Annotated[float, Within(0.005, 10)] = 0.2
    """Height in metres of a cell."""

    def __post_init__(self) -> None:
        check_limits(self, "simulation.body.")


@dataclass(frozen=True)
class Camera:
    """What an agent sees: one pinhole camera that serves every sensor switched on."""

    width: Annotated[int, Within(1, 8192)] = 64
    """Pixels of a row."""
    height: Annotated[int, Within(1, 8192)] = 64
    """Pixels of a column."""
    field_of_view: Annotated[float, Within(0, 180, "()")] = 90.0
    """Horizontal degrees."""
    above_floor: Annotated[float, Within(-100, 100)] = 1.25
    """Metres from the agent's position up to the camera."""
    pitch: Annotated[float, Within(-360, 360)] = 0.0
    """Degrees that it looks up (down, where negative)."""
    roll: Annotated[float, Within(-360, 360)] = 0.0
    """Degrees that it is turned around the agent's line ahead, after the pitch: counter-clockwise
    seen from behind, so that the picture turns clockwise (habitat-sim's orientation)."""
    colour: bool = True
    """Red, green, blue."""
    depth: bool = True
    """Metres along the optical axis."""
    semantic: bool = True
    """Ids of objects."""

    def __post_init__(self) -> None:
        check_limits(self, "simulation.camera.")


@dataclass(frozen=True)
class Motion:
    """What the low-level actions do."""

    forward: Annotated[float, Within(0, 10, "(]")] = 0.25
    """Metres of a move_forward."""
    turn: Annotated[float, Within(0, 360, "(]")] = 15.0
    """Degrees of a turn."""
    sliding: bool = True
    """Whether an agent that meets a wall slides along it or stops there."""

    def __post_init__(self) -> None:
        check_limits(self, "simulation.motion.")


@dataclass(frozen=True)
class SimulatorConfig:
    body: Body = field(default_factory=Body)
    camera: Camera = field(default_factory=Camera)
    motion: Motion = field(default_factory=Motion)
    rules: Annotated[Rules, Before("0.3.3")] = "0.3.4"
    """Which habitat-sim the embedded simulator follows in floor and steps (0.3.3 for recordings
    made with 0.3.3 or before). habitat-sim itself follows its own."""
    gpu_device_id: int = -1
    """The GPU that renders; -1 on a machine without one."""
    lighting: bool = False
    """habitat-sim only: image-based lighting (half a minute a simulator on software GL)."""

    def __post_init__(self) -> None:
        check_limits(self, "simulation.")


class Placed(NamedTuple):
    """A mesh that stands in a scene beside the stage's; plain numbers, so that it compares."""

    mesh: Path
    frame: tuple[tuple[float, ...], ...]
    """3 x 3: the mesh's axes and scale."""
    centre: tuple[float, float, float] | None
    """What of it stands at the place, after `frame`; None: the middle of its box."""
    matrix: tuple[tuple[float, ...], ...]
    """4 x 4: its place in the scene."""
    semantic_id: int
    name: str


@dataclass(frozen=True)
class Scene:
    """The files of a scene. `find_scene` reads them off a stage configuration or a mesh."""

    mesh: Path
    semantic_mesh: Path | None = None
    """HM3D style: the mesh again, its vertices or texture in the colours of `semantic_names`."""
    semantic_names: Path | None = None
    """HM3D style: lines of id, colour in hexadecimal, "category", region."""
    navmesh: Path | None = None
    stage_config: Path | None = None
    objects: tuple[Placed, ...] = ()
    """Further meshes, of a `.scene_instance.json`."""
    instance: Path | None = None

    @property
    def name(self) -> str:
        return (self.instance or self.mesh).name.split(".")[0]


class Poses(NamedTuple):
    position: np.ndarray  # float32 [N, 3], metres
    yaw: np.ndarray  # float32 [N], radians


class Moved(NamedTuple):
    poses: Poses
    collided: np.ndarray  # bool [N]: a step that was shortened or bent


class Views(NamedTuple):
    """What the cameras of N agents saw; None for a sensor switched off."""

    colour: np.ndarray | None  # uint8 [N, H, W, 3]
    depth: np.ndarray | None  # float32 [N, H, W], metres along the optical axis; 0: nothing hit
    semantic: np.ndarray | None  # int32 [N, H, W], ids of `names`; 0: nothing known


class Simulator(Protocol):
    """One open scene. Points are float32 [N, 3]."""

    config: SimulatorConfig
    scene: Scene
    names: dict[int, str]
    """Category of each semantic id."""

    def render(self, poses: Poses) -> Views:
        """What `config.camera` sees."""
        ...

    def render_with(self, poses: Poses, cameras: Sequence[Camera]) -> list[Views]:
        """What each of several cameras sees from the same poses: any sizes, heights and pitches."""
        ...

    def step(self, poses: Poses, actions: np.ndarray) -> Moved:
        """One low-level action each, int64 [N]; STOP stays."""
        ...

    def snap(self, points: np.ndarray) -> np.ndarray:
        """The nearest walkable points; NaN where there is none near."""
        ...

    def navigable(self, points: np.ndarray) -> np.ndarray:
        """Whether an agent can stand there, bool [N] (half a metre off in height is forgiven)."""
        ...

    def random_points(self, count: int, seed: int) -> np.ndarray:
        """Walkable points of the largest connected floor, uniform by area."""
        ...

    def geodesic_distance(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Metres an agent walks between each pair, float32 [N]; inf where it cannot."""
        ...

    def shortest_path(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Corners [K, 3] of the shortest walk between two points [3]; K = 0 where none is."""
        ...

    def close(self) -> None: ...
