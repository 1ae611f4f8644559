"""A simulator in a process of its own: what its libraries do there cannot end its owner.

habitat-sim needs it: it allows one simulator a process, and an EGL context before CUDA.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from envs.simulators.simulator import (
    Camera,
    Moved,
    Poses,
    Scene,
    Simulator,
    SimulatorConfig,
    Views,
)
from rayforge.errors import MachineError, SceneError

PATIENCE_S = 5.0
"""How long closing waits for the process to end by itself."""

OpenSimulator = Callable[[Scene, SimulatorConfig], Simulator]


class SimulatorDied(MachineError):
    """The process of a scene's simulator ended: open the scene again and repeat what was asked.

    Nothing is kept between two calls, so a repeated one gives the same answer.
    """

    def __init__(self, message: str, scene: str) -> None:
        super().__init__(message)
        self.scene = scene


class SimulatorProcess:
    """`Simulator` whose calls are answered in another process."""

    def __init__(self, scene: Scene, config: SimulatorConfig, open_there: OpenSimulator) -> None:
        """`open_there` opens the scene there; it is pickled, so it is a module's function.

        Raises:
            SceneError: the scene cannot be used.
            SimulatorDied: the process ended while opening it.
        """
        self.config, self.scene = config, scene
        # A fresh interpreter: a forked one would inherit CUDA, threads and open scenes.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._connection = ours
        self._process = context.Process(
            target=_serve, args=(theirs, open_there, scene, config), daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            self.names: dict[int, str] = self._answer()
        except SimulatorDied as error:
            # habitat-sim ends its process where it finds nothing to draw on.
            raise SimulatorDied(
                f"{error} while it opened the scene; what it printed last stands above, and"
                " `rayforge doctor` says what this machine lacks",
                error.scene,
            ) from None
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def render(self, poses: Poses) -> Views:
        found: Views = self._call("render", poses)
        return found

    def render_with(self, poses: Poses, cameras: Sequence[Camera]) -> list[Views]:
        found: list[Views] = self._call("render_with", poses, tuple(cameras))
        return found

    def step(self, poses: Poses, actions: np.ndarray) -> Moved:
        found: Moved = self._call("step", poses, actions)
        return found

    def snap(self, points: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._call("snap", points)
        return found

    def navigable(self, points: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._call("navigable", points)
        return found

    def random_points(self, count: int, seed: int) -> np.ndarray:
        found: np.ndarray = self._call("random_points", count, seed)
        return found

    def geodesic_distance(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._call("geodesic_distance", starts, ends)
        return found

    def shortest_path(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._call("shortest_path", start, end)
        return found

    def close(self) -> None:
        """End the process; closing again does nothing."""
        self._connection.close()  # the process ends when nobody can ask it any more
        self._process.join(PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            self._connection.send((method, arguments))
        except (BrokenPipeError, OSError) as error:
            raise self._died() from error
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _died(self) -> SimulatorDied:
        self._process.join(PATIENCE_S)
        code = self._process.exitcode
        cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        name = str(self.scene.mesh)
        return SimulatorDied(f"the process of the simulator of {name} ended ({cause})", name)


def _serve(
    connection: Connection, open_there: OpenSimulator, scene: Scene, config: SimulatorConfig
) -> None:
    """Open the scene, then answer calls until the other end is closed."""
    try:
        simulator = open_there(scene, config)
    except SceneError as error:
        connection.send(error)
        return
    connection.send(simulator.names)
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            break
        try:
            connection.send(getattr(simulator, method)(*arguments))
        except Exception as error:  # told there, where it was asked for
            connection.send(error)
    simulator.close()
