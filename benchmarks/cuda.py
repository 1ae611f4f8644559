"""Views a second on a CUDA device: `python -m benchmarks.cuda` (or `make cuda`).

Takes under five minutes. Checks first that the device sees what Embree sees, then times
RGB-D-semantic views of a generated house, 64 x 64 and 128 x 128 pixels, in batches of 256 and
1,024. Images stay on the device. Ends with status 1 where views differ or 64 x 64 stays under its
bar. `--device cpu` runs the same kernels on the processor, with a batch of 4, to try the script
where there is no GPU.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from envs.houses.building import build_house
from envs.houses.scenes import write_scene
from envs.simulators.embedded.embree import EmbreeRenderer
from envs.simulators.embedded.simulator import EmbeddedSimulator
from envs.simulators.embedded.stored import load_model
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses, SimulatorConfig

SIDES = (64, 128)
BATCHES = (256, 1024)
REPEATS = 10
BAR = 100_000
"""Views a second at 64 x 64."""
EQUAL = 0.995
"""The least share of pixels with Embree's depth, colour and id."""


@dataclass(frozen=True)
class Arguments:
    device: str = "cuda:0"
    """Of Warp's: cuda:N, or cpu."""


def device_speeds(config_file: Path, folder: Path, device: str) -> dict[str, float]:
    """Views a second on the clock of each side and batch, images staying on the device."""
    from envs.simulators.embedded.cuda import WarpRenderer

    scene = find_scene(config_file)
    model = load_model(scene, folder)
    floor = EmbeddedSimulator(scene, SimulatorConfig(), folder)
    renderer = WarpRenderer(model, device)
    on_gpu = device != "cpu"
    figures = {}
    for side in SIDES:
        camera = Camera(side, side)
        for batch in BATCHES if on_gpu else (4,):
            poses = random_poses(floor, batch)
            renderer.render_tensors(poses, camera)  # compiled, and in the caches
            if on_gpu:
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(REPEATS if on_gpu else 1):
                views = renderer.render_tensors(poses, camera)
            if on_gpu:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            assert views.colour is not None and views.colour.is_cuda == on_gpu
            name = f"{side} x {side}, batches of {batch:,} views/s"
            figures[name] = (REPEATS if on_gpu else 1) * batch / seconds
    floor.close()
    return figures


def random_poses(simulator: EmbeddedSimulator, count: int) -> Poses:
    yaw = np.random.default_rng(0).uniform(0, 2 * np.pi, count).astype(np.float32)
    return Poses(simulator.random_points(count, 0), yaw)


def equal_shares(config_file: Path, folder: Path, device: str) -> dict[str, float]:
    """Of the pixels of some views the share in which the device and Embree agree."""
    from envs.simulators.embedded.cuda import WarpRenderer

    scene = find_scene(config_file)
    model = load_model(scene, folder)
    floor = EmbeddedSimulator(scene, SimulatorConfig(), folder)
    poses, camera = random_poses(floor, 16), Camera(96, 64, 100, pitch=-15)
    ours = WarpRenderer(model, device).render(poses, camera)
    theirs = EmbreeRenderer(model).render(poses, camera)
    floor.close()
    assert ours.depth is not None and ours.colour is not None and ours.semantic is not None
    assert theirs.depth is not None and theirs.colour is not None and theirs.semantic is not None
    off = np.abs(ours.colour.astype(int) - theirs.colour).max(axis=-1)
    return {
        "depth within 1 mm of Embree": float((np.abs(ours.depth - theirs.depth) < 1e-3).mean()),
        "colour within 1 of Embree": float((off <= 1).mean()),
        "semantic id equal": float((ours.semantic == theirs.semantic).mean()),
    }


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.device != "cpu" and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here; --device cpu tries the script on the processor")
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        house = build_house(0, 0)
        write_scene(folder, house, 0)
        file = folder / house.scan / f"{house.scan}.stage_config.json"
        if arguments.device != "cpu":
            print(torch.cuda.get_device_name(torch.device(arguments.device)))
        for name, share in equal_shares(file, folder, arguments.device).items():
            failed += share < EQUAL
            print(f"{name:<44} {100 * share:>11.2f} % at least {100 * EQUAL:g} %")
        for name, speed in device_speeds(file, folder, arguments.device).items():
            bar = BAR if name.startswith("64 x 64") and arguments.device != "cpu" else 0
            failed += speed < bar
            print(f"{name:<44} {speed:>13,.0f} {f'at least {bar:,}' if bar else ''}")
    if failed:
        sys.exit(f"{failed} of the numbers missed their bars")


if __name__ == "__main__":
    main()
