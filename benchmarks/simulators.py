"""Speed of the embedded simulator: `python -m benchmarks.simulators`.

Views are RGB-D-semantic, 64 x 64 pixels, in batches of 32 from random places of the floor, on a
generated house and on a made scan of 2.5 million triangles. Views a second count processor time of
one thread (medians of alternating rounds), so that other work on the machine distorts them little;
loading, and two processes against one, are given by processor time and on the clock. Where there
is a CUDA device its views are timed as well, on the clock.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.cuda import device_speeds
from benchmarks.scan_mesh import TRIANGLES, write_scan
from envs.houses.building import build_house
from envs.houses.scenes import write_scene
from envs.simulators.embedded.simulator import EmbeddedSimulator
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses, SimulatorConfig

BATCH = 32
BATCHES = 6
ROUNDS = 5
HOUSE_BAR, SCAN_BAR = 900, 500
LOAD_BAR = 10.0
PAIR_BAR = 1.8


@dataclass(frozen=True)
class Arguments:
    triangles: int = TRIANGLES
    """Of the made scan."""
    sizes: tuple[int, ...] = ()
    """Further made scans of so many triangles: load, memory and views a second of each, in a
    process of its own (`--sizes 1000000 5000000 10000000`)."""
    only_sizes: bool = False
    """Measure those scans alone."""
    out: Path | None = None
    """A JSON file for the figures."""


def random_poses(simulator: EmbeddedSimulator, count: int, seed: int) -> Poses:
    chance = np.random.default_rng(seed)
    yaw = chance.uniform(0, 2 * np.pi, count).astype(np.float32)
    return Poses(simulator.random_points(count, seed), yaw)


def time_views(simulator: EmbeddedSimulator, poses: Poses) -> tuple[float, float]:
    """Views a second of processor time and on the clock, of one round in batches."""
    processor, clock = time.process_time(), time.perf_counter()
    for first in range(0, len(poses.yaw), BATCH):
        rows = slice(first, first + BATCH)
        simulator.render(Poses(poses.position[rows], poses.yaw[rows]))
    count = len(poses.yaw)
    return count / (time.process_time() - processor), count / (time.perf_counter() - clock)


def time_load(config_file: Path, folder: Path) -> tuple[float, float]:
    """Seconds on the clock and of processor time to open a scene, of which `folder` may hold what
    an earlier call kept."""
    processor, clock = time.process_time(), time.perf_counter()
    EmbeddedSimulator(find_scene(config_file), SimulatorConfig(), folder).close()
    return time.perf_counter() - clock, time.process_time() - processor


def _worker(config_file: Path, folder: Path, barrier: Barrier, answers: Any) -> None:
    simulator = EmbeddedSimulator(find_scene(config_file), SimulatorConfig(), folder)
    poses = random_poses(simulator, BATCH * BATCHES, 0)
    time_views(simulator, poses)
    speeds = []
    for _ in range(ROUNDS):
        barrier.wait()
        speeds.append(time_views(simulator, poses))
    answers.put(speeds)


def side_by_side(config_file: Path, folder: Path, processes: int) -> tuple[float, float]:
    """Views a second of so many processes together, by processor time and by the clock."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_worker, args=(config_file, folder, barrier, answers))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    rounds = np.array([answers.get(timeout=600) for _ in workers])  # [processes, ROUNDS, 2]
    for worker in workers:
        worker.join()
    by_processor, by_clock = np.median(rounds.sum(axis=0), axis=0).tolist()
    return by_processor, by_clock


def time_pairs(simulator: EmbeddedSimulator, poses: Poses) -> float:
    """Poses a second of processor time with two cameras of different size in each."""
    cameras = (Camera(), Camera(128, 96, 60, above_floor=1.25, pitch=-30, semantic=False))
    processor = time.process_time()
    for first in range(0, len(poses.yaw), BATCH):
        rows = slice(first, first + BATCH)
        simulator.render_with(Poses(poses.position[rows], poses.yaw[rows]), cameras)
    return len(poses.yaw) / (time.process_time() - processor)


def _size(triangles: int, folder: Path, answers: Any) -> None:
    (folder / "small").mkdir()
    time_load(write_scan(folder / "small", 2_000), folder / "kept")  # machine code is compiled
    config_file = write_scan(folder, triangles)
    before = _memory()
    load, _ = time_load(config_file, folder / "kept")
    again, _ = time_load(config_file, folder / "kept")
    simulator = EmbeddedSimulator(find_scene(config_file), SimulatorConfig(), folder / "kept")
    poses = random_poses(simulator, BATCH * BATCHES, 0)
    speeds = [time_views(simulator, poses)[0] for _ in range(ROUNDS + 1)]
    answers.put((load, again, _memory() - before, statistics.median(speeds[1:])))


def _memory() -> float:
    """Megabytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def scan_of_size(triangles: int, folder: Path) -> dict[str, float]:
    """Load (from files, then from what was kept), memory and views a second of a made scan."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    worker = context.Process(target=_size, args=(triangles, folder, answers))
    worker.start()
    load, again, memory, speed = answers.get(timeout=3600)
    worker.join()
    name = f"{triangles / 1e6:g} million triangles"
    return {
        f"{name}, load": load,
        f"{name}, load kept": again,
        f"{name}, megabytes": memory,
        f"{name}, views/s": speed,
    }


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.only_sizes:
        larger: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as temporary:
            for size in arguments.sizes:
                found = scan_of_size(size, Path(temporary) / str(size))
                for name, value in found.items():
                    print(f"{name:<42} {value:>10,.2f}", flush=True)
                larger |= found
        if arguments.out:
            arguments.out.write_text(json.dumps(larger, indent=1) + "\n")
        return
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        house = build_house(0, 0)
        write_scene(folder, house, 0)
        house_file = folder / house.scan / f"{house.scan}.stage_config.json"
        scan_file = write_scan(folder, arguments.triangles)
        kept = folder / "kept"
        time_load(house_file, kept)  # machine code is compiled, or read from its cache

        for name, file in (
            ("house load", house_file),
            ("scan load", scan_file),
            ("scan load, kept", scan_file),
        ):
            figures[name], figures[f"{name}, processor time"] = time_load(file, kept)

        simulators = {
            name: EmbeddedSimulator(find_scene(file), SimulatorConfig(), kept)
            for name, file in (("house", house_file), ("scan", scan_file))
        }
        speeds: dict[str, list[float]] = {name: [] for name in simulators}
        for _ in range(ROUNDS + 1):
            for name, simulator in simulators.items():
                poses = random_poses(simulator, BATCH * BATCHES, 0)
                speeds[name].append(time_views(simulator, poses)[0])
        for name, values in speeds.items():
            figures[f"{name} views/s"] = statistics.median(values[1:])
            poses = random_poses(simulators[name], BATCH * BATCHES, 0)
            time_pairs(simulators[name], poses)
            pairs = [time_pairs(simulators[name], poses) for _ in range(ROUNDS)]
            figures[f"{name} poses/s, two cameras"] = statistics.median(pairs)
            simulators[name].close()
        for size in arguments.sizes:
            figures |= scan_of_size(size, folder / str(size))
        for name, file in (("house", house_file), ("scan", scan_file)):
            one, two = side_by_side(file, kept, 1), side_by_side(file, kept, 2)
            figures[f"{name} two processes over one"] = two[0] / one[0]
            figures[f"{name} two processes over one, on the clock"] = two[1] / one[1]
        if torch.cuda.is_available() and importlib.util.find_spec("warp"):
            for name, file in (("house", house_file), ("scan", scan_file)):
                for case, speed in device_speeds(file, kept, "cuda:0").items():
                    figures[f"{name} CUDA {case}"] = speed

    bars = {
        "house views/s": HOUSE_BAR,
        "scan views/s": SCAN_BAR,
        "scan load": LOAD_BAR,
        "scan load, kept": LOAD_BAR,
        "house two processes over one": PAIR_BAR,
        "scan two processes over one": PAIR_BAR,
    }
    for name, value in figures.items():
        unit = " s" if "load" in name else ""
        bar = f"{'at most' if unit else 'at least'} {bars[name]:g}" if name in bars else ""
        print(f"{name:<42} {value:>10,.2f}{unit:<2} {bar}")
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
