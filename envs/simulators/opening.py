"""Opens a scene with the simulator that is asked for; imports no other."""

from __future__ import annotations

from typing import Literal

from envs.simulators.process import SimulatorProcess
from envs.simulators.simulator import Scene, Simulator, SimulatorConfig
from rayforge.errors import SceneError

Kind = Literal["embedded", "habitat"]


def open_simulator(
    scene: Scene, kind: Kind, config: SimulatorConfig, own_process: bool = False
) -> Simulator:
    """Open a scene here, or in a process of its own; habitat-sim always runs in one.

    Raises:
        SceneError: the scene cannot be used; names its file and the remedy.
    """
    if kind == "habitat":
        if scene.instance is not None:
            raise SceneError(
                f"scene {scene.instance}: the adapter opens stages alone, without objects: take the"
                " embedded simulator (--simulator embedded)"
            )
        return SimulatorProcess(scene, config, _open_habitat)
    if config.lighting:
        raise SceneError(
            f"scene {scene.mesh}: the embedded simulator has no lights (simulation.lighting): leave"
            " it out, or take habitat-sim (--simulator habitat)"
        )
    if own_process:
        return SimulatorProcess(scene, config, _open_embedded)
    return _open_embedded(scene, config)


def _open_habitat(scene: Scene, config: SimulatorConfig) -> Simulator:
    from envs.simulators.habitat import HabitatSimulator

    return HabitatSimulator(scene, config)


def _open_embedded(scene: Scene, config: SimulatorConfig) -> Simulator:
    from envs.simulators.embedded.simulator import EmbeddedSimulator

    return EmbeddedSimulator(scene, config)
