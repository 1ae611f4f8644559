"""A simulator against what habitat-sim answered: `python -m benchmarks.parity DIR`.

DIR holds scenes and recordings: NAME.npz beside NAME.stage_config.json (or NAME.glb); several
recordings of one scene are NAME_A.npz, NAME_B.npz beside it. Each of a
recording's views, walks, geodesic distances and navigability queries is asked again, of the
embedded simulator or of the habitat-sim installed here. Ends with status 1 where a number misses
its bar.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.parity_floor import check_floor
from benchmarks.parity_views import Check, check_views
from envs.simulators.opening import Kind, open_simulator
from envs.simulators.process import SimulatorDied
from envs.simulators.scene import find_scene
from envs.simulators.scene_instance import STAGE_SUFFIX
from envs.simulators.simulator import (
    Body,
    Camera,
    Motion,
    Rules,
    SimulatorConfig,
)
from rayforge.errors import SceneError


@dataclass(frozen=True)
class Arguments:
    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of recordings (NAME.npz) and their scenes."""
    simulator: Kind = "embedded"
    """Which simulator answers."""
    gpu_device_id: int = -1
    """The GPU that renders; -1: none."""
    rules: Rules | None = None
    """Which habitat-sim the embedded simulator follows; else what the recording says."""


def scene_file(recording: Path) -> Path:
    """The scene of NAME.npz, or of NAME_A.npz: the stage file where there is one, else the GLB."""
    own = recording.stem
    for name in (own, own.rpartition("_")[0] or own):
        for file in (recording.with_name(name + STAGE_SUFFIX), recording.with_name(f"{name}.glb")):
            if file.is_file():
                return file
    return recording.with_suffix(".glb")


def check_recording(file: Path, arguments: Arguments) -> list[Check]:
    """Every number of one recording."""
    scene = find_scene(scene_file(file))
    try:
        with np.load(file, allow_pickle=False) as arrays:
            recorded = {name: arrays[name] for name in arrays.files}
        config = recorded_config(recorded)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SceneError(f"recording {file} cannot be read: {error!r}") from error
    config = replace(
        config,
        gpu_device_id=arguments.gpu_device_id,
        rules=arguments.rules or config.rules,
    )
    simulator = open_simulator(scene, arguments.simulator, config)
    try:
        strict = "config" in recorded
        return [*check_views(simulator, recorded, strict), *check_floor(simulator, recorded)]
    finally:
        simulator.close()


def recorded_config(recorded: Mapping[str, np.ndarray]) -> SimulatorConfig:
    """Camera, body, motion and rules of a recording: those of its `config` (JSON), or without one
    the defaults with habitat-sim 0.3.3's rules, by which such recordings were made."""
    _, height, width = recorded["view_depth"].shape
    semantic = "view_semantic" in recorded
    if "config" not in recorded:
        camera = Camera(width=width, height=height, semantic=semantic)
        return SimulatorConfig(camera=camera, rules="0.3.3")
    told = json.loads(str(recorded["config"]))
    camera = Camera(width, height, told["hfov"], told["above"], semantic=semantic)
    body = Body(told["tall"], told["radius"], told["climb"], told["slope"])
    motion = Motion(told["forward"], told["turn"], told["sliding"])
    rules: Rules = "0.3.3" if told.get("rules") == "0.3.3" else "0.3.4"
    return SimulatorConfig(body, camera, motion, rules)


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    files = sorted(arguments.folder.glob("*.npz"))
    if not files:
        sys.exit(f"{arguments.folder} holds no recording (NAME.npz)")
    failed = 0
    print(f"{'recording':<12} {'number':<44} {arguments.simulator:>10} {'bar':>10}")
    for file in files:
        try:
            checks = check_recording(file, arguments)
        except (SceneError, SimulatorDied) as error:
            sys.exit(str(error))
        for check in checks:
            failed += not check.passed
            sign = ">=" if check.at_least else "<="
            print(
                f"{file.stem:<12} {check.what:<44} {_shown(check.value, check):>10}"
                f" {sign + ' ' + _shown(check.bar, check):>10} {'' if check.passed else 'MISSED'}"
            )
    if failed:
        sys.exit(f"{failed} of the numbers missed their bars")
    print("every number reached its bar")


def _shown(value: float, check: Check) -> str:
    return f"{value:.3f} {check.unit}" if check.unit else f"{100 * value:.2f} %"


if __name__ == "__main__":
    main()
