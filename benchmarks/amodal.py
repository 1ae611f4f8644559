"""Amodal video segmentation on clips with exact truth: shapes, a walking body, an agent's walks.

    python -m benchmarks.amodal --out runs/amodal

IoU on the whole mask and on its hidden part, in frames of which 10 to 70 % is hidden, in clips of
other houses than were trained on: the network, each term of its loss left out, one direction, the
control that copies, test-time adaptation, flow by depth, a supervised bound, and two masks that
need no learning. Then what flow and whole masks cost to render. Every part is kept as it is done.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.circuits import spoken
from benchmarks.sub_runs import same_settings
from envs.simulators.embedded.bodies import MovingBody, cameras_of, person, true_flow
from envs.simulators.simulator import Camera, Poses
from envs.video.homes import House
from rayforge.amodal.config import LossConfig
from rayforge.amodal.learning import training
from rayforge.amodal.network import AmodalNetwork
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from rayforge.files import write_json
from trainers.amodal.config import VideoConfig
from trainers.amodal.data import (
    FIELD_OF_VIEW,
    house_meshes,
    scored_clips,
    tensors_of,
    training_clips,
)
from trainers.amodal.evaluate import CONTROLS, scored
from trainers.runs.folder import hardware

FULL = LossConfig()
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "without the visible mask": {"loss": replace(FULL, visible=False)},
    "without consistency": {"loss": replace(FULL, consistency=False)},
    "without colours": {"loss": replace(FULL, photometric=0.0)},
    "onward alone": {"directions": "onward"},
    "copies": {"loss": replace(FULL, visible=False, current=True)},
    "supervised": {"loss": replace(FULL, supervised=True)},
}
SEVERAL = ("full", "depth")
"""Variants that all seeds train; the others the first alone."""


@dataclass(frozen=True)
class Amodal:
    """Compare losses, directions and flows."""

    out: Path = Path("runs/amodal")
    """Folder of the results."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the full method, with either flow."""
    updates: int = 200
    """Updates of each network."""
    clips: int = 42
    """Training clips of each setting; a third as many are scored."""
    side: int = 48
    """Pixels of a frame's side."""
    channels: int = 16
    """Channels of the first convolution."""
    frames: int = 12
    """Frames of a training piece."""
    batch: int = 4
    """Pieces of an update."""
    adaptation: int = 15
    """Updates on each clip before it is scored, where the network adapts."""
    settings: tuple[str, ...] = ("body", "shapes", "walk")
    """Which of the settings, in this order."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        own = {k: v for k, v in asdict(self).items() if k not in {"out", "seeds", "settings"}}
        same_settings(self.out, own)
        for seed in self.seeds:
            for setting in self.settings:
                variants = dict(VARIANTS)
                if setting == "walk":
                    variants = {"full": {}, "depth": {"flow": "depth"}}
                    variants["supervised"] = VARIANTS["supervised"]
                for name, changes in variants.items():
                    if seed == self.seeds[0] or name in SEVERAL:
                        self.measure(setting, name, seed, changes)
        if not (self.out / "cost.json").is_file():
            write_json(self.out / "cost.json", self.cost())
        print(summary(self.out))

    def measure(self, setting: str, name: str, seed: int, changes: dict[str, Any]) -> None:
        file = self.out / f"{setting}-{name.replace(' ', '_')}-{seed}.json"
        if file.is_file():
            return
        config = VideoConfig(
            data=setting, clips=self.clips, side=self.side, updates=self.updates, seed=seed,
            channels=self.channels, frames=self.frames, batch=self.batch, **changes,
        )  # fmt: skip
        clips = [tensors_of(clip, config) for clip in training_clips(config)]
        tests = [tensors_of(clip, config) for clip in scored_clips(config)]
        began = time.process_time()
        torch.manual_seed(seed)
        network = AmodalNetwork(config, self.side, self.side)
        optimizer = torch.optim.Adam(network.parameters())
        losses = list(training(network, optimizer, clips, 0, self.updates, self.updates, seed))
        seconds = time.process_time() - began
        found = scored(config, network, tests)
        if name == "full":
            network.config = replace(config, adaptation=self.adaptation)
            found["adapted"] = scored(network.config, network, tests)["network"]
        document = {
            "setting": setting, "variant": name, "seed": seed, "cpu_seconds": seconds,
            "hardware": hardware(), "updates": self.updates, "loss": float(np.mean(losses[-20:])),
            "scores": {k: [v.tolist() for v in pair] for k, pair in found.items()},
        }  # fmt: skip
        write_json(file, document)
        said = {k: [round(float(v.mean()), 3) for v in pair] for k, pair in found.items()}
        print(f"{setting}, {name}, seed {seed}: {said}, {seconds:.0f} s of CPU", flush=True)

    def cost(self) -> dict[str, float]:
        """Seconds of rendering as a ratio to RGB-D views of the same poses, median of seven."""
        config = VideoConfig(data="body", side=self.side)
        camera = Camera(self.side, self.side, FIELD_OF_VIEW)
        house = House(house_meshes(config)[0], camera)
        count = 64
        points = house.simulator.random_points(count, 0)
        yaw = np.random.default_rng(0).uniform(0, 6, count).astype(np.float32)
        eyes = Poses(points, yaw)
        way = Poses(np.roll(points, 1, 0), yaw)
        body = MovingBody(person((200, 60, 60)))
        cameras = cameras_of(eyes, camera)
        views = house.simulator.render_with(eyes, [replace(camera, semantic=False)])[0]
        assert views.depth is not None
        depth = views.depth
        moving = np.zeros(depth.shape, bool)

        def seconds(call: Any) -> float:
            times = []
            for _ in range(8):
                began = time.process_time()
                call()
                times.append(time.process_time() - began)
            return float(np.median(times[1:]))

        plain = seconds(
            lambda: house.simulator.render_with(eyes, [replace(camera, semantic=False)])
        )
        mask = seconds(lambda: body.render(eyes, camera, way))
        flow = seconds(lambda: true_flow(depth, cameras, cameras, camera, moving, (way, way)))
        return {"views_per_s": count / plain, "mask": mask / plain, "flow": flow / plain}


def summary(folder: Path) -> str:
    """The tables of the page."""
    runs = [json.loads(f.read_text()) for f in sorted(folder.glob("*-[0-9].json"))]
    lines = []
    for setting in dict.fromkeys(r["setting"] for r in runs):
        mine = [r for r in runs if r["setting"] == setting]
        full = {r["seed"]: r["scores"] for r in mine if r["variant"] == "full"}
        for name in CONTROLS:
            values = next(iter(full.values()))[name]
            lines.append(f"{setting}, {name}: {_pair(values)}")
        adapted, plain = ([s[k] for s in full.values()] for k in ("adapted", "network"))
        lines.append(
            f"{setting}, adapted: {_all(adapted)}; against full {_against(adapted, plain)}"
        )
        for variant in dict.fromkeys(r["variant"] for r in mine):
            those = [r for r in mine if r["variant"] == variant]
            own = [r["scores"]["network"] for r in those]
            base = [full[r["seed"]]["network"] for r in those]
            seconds = np.mean([r["cpu_seconds"] for r in those])
            said = f"{setting}, {variant}, {len(those)} seeds, {seconds:.0f} s: {_all(own)}"
            if variant != "full":
                said += f"; against full {_against(own, base)}"
            lines.append(said)
    if (folder / "cost.json").is_file():
        lines.append(f"cost: {json.loads((folder / 'cost.json').read_text())}")
    return "\n".join(lines)


def _pair(values: list[list[float]]) -> str:
    return ", ".join(
        f"{part} {spoken(bootstrap_interval(np.array(v)))}"
        for part, v in zip(("whole", "hidden"), values, strict=True)
    )


def _all(parts: list[list[list[float]]]) -> str:
    return _pair([np.concatenate([p[k] for p in parts]).tolist() for k in (0, 1)])


def _against(ours: list[list[list[float]]], theirs: list[list[list[float]]]) -> str:
    differences = [
        paired_difference(
            np.concatenate([p[k] for p in ours]), np.concatenate([p[k] for p in theirs])
        )
        for k in (0, 1)
    ]
    whole, hidden = (spoken(found, signed=True) for found in differences)
    return f"whole {whole}, hidden {hidden}"


if __name__ == "__main__":
    tyro.cli(Amodal, description=__doc__)()
