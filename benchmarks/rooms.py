"""Which room is this? A circuit against a convolutional network of equal parameters, on rendered
views of generated houses, and on the same views under other light and other textures.

    python -m benchmarks.rooms --out runs/rooms

Both see the same small views of the same rooms, in houses that nothing was trained in. The shifts
are counterparts of the article's renditions: a room's light is dimmed and tinted; every surface
gets a pattern of its own.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from benchmarks.circuits import spoken
from envs.houses.dataset import generator_version, read_houses, write_houses
from envs.simulators.embedded.simulator import EmbeddedSimulator
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses, SimulatorConfig
from rayforge.cache import make_cache_folder
from rayforge.circuits.circuit import Circuit, Tokens
from rayforge.circuits.config import CircuitConfig
from rayforge.circuits.generator import Generator, weight_decay_groups
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from rayforge.files import write_json
from rayforge.irl.trunks.making import parameters, width
from trainers.runs.folder import hardware

SIDE = 32
"""Pixels of a view's side."""
EYES = 1.5
CHANNELS = 32
ROOMS = "abdhjklo"
"""Room letters that every house has or may have (bathroom, bedroom, dining room, ...)."""


class Stem(nn.Module):
    """Views [B, 3, 32, 32] -> features [B, C, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 4, 2, 1), nn.GELU(),
            nn.Conv2d(CHANNELS, CHANNELS, 4, 2, 1), nn.GELU(),
        )  # fmt: skip

    def forward(self, views: Tensor) -> Tensor:
        found: Tensor = self.layers(views)
        return found


class CircuitClassifier(nn.Module):
    """Patches of a view, with their places, as tokens of a circuit."""

    def __init__(self, classes: int, config: CircuitConfig, size: int, inner: int) -> None:
        super().__init__()
        self.stem = Stem()
        self.place = nn.Parameter(0.1 * torch.randn(64, CHANNELS))
        self.generator = Generator(config, size)
        self.circuit = Circuit(config, size, CHANNELS, inner)
        self.out = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, classes))

    def forward(self, views: Tensor) -> Tensor:
        tokens = self.stem(views).flatten(2).transpose(1, 2) + self.place
        near = tokens[:, None]
        mask = torch.ones(near.shape[:3], dtype=torch.bool)
        found: Tensor = self.out(self.circuit(self.generator(), Tokens(near, mask))[:, 0])
        return found


class Convolutions(nn.Module):
    """The same stem, two more convolutions, the mean over places, a hidden layer."""

    def __init__(self, classes: int, inner: int) -> None:
        super().__init__()
        self.stem = Stem()
        self.layers = nn.Sequential(
            nn.Conv2d(CHANNELS, inner, 3, 2, 1), nn.GELU(),
            nn.Conv2d(inner, 64, 3, 1, 1), nn.GELU(),
        )  # fmt: skip
        self.out = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, classes))

    def forward(self, views: Tensor) -> Tensor:
        found: Tensor = self.out(self.layers(self.stem(views)).mean((2, 3)))
        return found


@dataclass(frozen=True)
class Rooms:
    """Compare both on views of rooms."""

    out: Path = Path("runs/rooms")
    """Folder of the results."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of both."""
    houses: int = 15
    """Generated houses; a third are for scoring."""
    views: int = 160
    """Views of each."""
    updates: int = 300
    """Updates of each network, 64 views each."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        views, labels, house = self.data()
        split = self.houses - self.houses // 3
        learnt, tested = house < split, house >= split
        classes = int(labels.max()) + 1
        config = CircuitConfig(modules=12, outputs=2, layers=2, heads=2, code=16, signature=8)
        tests = {"plain": views[tested], "light": dimmed(views[tested]),
                 "texture": patterned(views[tested])}  # fmt: skip
        rows = []
        for seed in self.seeds:
            torch.manual_seed(seed)
            circuit = CircuitClassifier(classes, config, 48, 48)
            goal = parameters(circuit)
            plain = Convolutions(classes, _width(classes, goal))
            for name, network in (("circuit", circuit), ("convolutions", plain)):
                seconds = self.train(network, views[learnt], labels[learnt], seed)
                right = {k: correct(network, v, labels[tested]) for k, v in tests.items()}
                rows.append({"network": name, "seed": seed, "parameters": parameters(network),
                             "cpu_seconds": seconds,
                             "right": {k: v.tolist() for k, v in right.items()}})  # fmt: skip
                said = {k: round(float(v.mean()), 3) for k, v in right.items()}
                print(name, seed, parameters(network), said, f"{seconds:.0f} s", flush=True)
        share = np.bincount(labels[learnt]).argmax()
        base = float((labels[tested] == share).mean())
        write_json(self.out / "rooms.json", {"rows": rows, "most_frequent": base,
                                             "hardware": hardware()})  # fmt: skip
        print(summary(self.out))

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Views uint8 [n, 32, 32, 3], labels int [n], houses int [n]."""
        folder = make_cache_folder() / f"houses-{self.houses}-rooms-{generator_version()}"
        if not folder.is_dir():
            write_houses(
                folder, train_houses=self.houses, unseen_houses=0, paths_per_house=1, seed=11
            )
        camera = Camera(SIDE, SIDE, 90.0, EYES, depth=False, semantic=False)
        rng, parts = np.random.default_rng(0), []
        for number, (scan, house) in enumerate(read_houses(folder).items()):
            scene = find_scene(folder / "scenes" / scan / f"{scan}.glb")
            simulator = EmbeddedSimulator(scene, SimulatorConfig(camera=camera))
            points = simulator.random_points(self.views, number)
            rooms = [
                next((r.label for r in house.rooms if r.contains(float(p[0]), float(-p[2]))), "")
                for p in points
            ]
            known = np.array([r in ROOMS and r != "" for r in rooms])
            yaw = rng.uniform(0, 2 * np.pi, len(points)).astype(np.float32)
            seen = simulator.render(Poses(points[known], yaw[known])).colour
            assert seen is not None
            labels = np.array([ROOMS.index(r) for r, k in zip(rooms, known, strict=True) if k])
            parts.append((seen, labels, np.full(len(labels), number)))
            simulator.close()
        views, labels, house_of = (np.concatenate(column) for column in zip(*parts, strict=True))
        return views, np.unique(labels, return_inverse=True)[1], house_of

    def train(self, network: nn.Module, views: np.ndarray, labels: np.ndarray, seed: int) -> float:
        """Train in place; seconds of CPU."""
        began, rng = time.process_time(), np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(weight_decay_groups(network, 0.05), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.updates, 1e-4)
        network.train()
        for _ in range(self.updates):
            rows = rng.integers(len(views), size=64)
            loss = nn.functional.cross_entropy(
                network(inputs(views[rows])), torch.from_numpy(labels[rows]), label_smoothing=0.1
            )
            if isinstance(network, CircuitClassifier):
                loss = loss + network.circuit.prior_loss(network.generator())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return time.process_time() - began


def _width(classes: int, goal: int) -> int:
    return width(lambda inner: Convolutions(classes, inner), goal)


def inputs(views: np.ndarray) -> Tensor:
    return torch.from_numpy(views).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@torch.no_grad()
def correct(network: nn.Module, views: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which views are told right, float64 [n]."""
    network.eval()
    found = [
        network(inputs(views[k : k + 256])).argmax(1).numpy() for k in range(0, len(views), 256)
    ]
    right: np.ndarray = (np.concatenate(found) == labels).astype(float)
    return right


def dimmed(views: np.ndarray) -> np.ndarray:
    """Each view under a light of half the strength and a tint of its own."""
    rng = np.random.default_rng(1)
    light = 0.5 * rng.uniform(0.6, 1.4, (len(views), 1, 1, 3))
    return np.clip(views * light, 0, 255).astype(np.uint8)


def patterned(views: np.ndarray) -> np.ndarray:
    """Each colour of a view with stripes of its own direction and width."""
    y, x = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    key = (views.astype(np.int64) * np.array([7, 131, 1009])).sum(-1)
    angle = (key % 97) / 97 * np.pi
    wide = 0.8 + (key % 13) / 13
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * wide)
    found: np.ndarray = np.clip(views + 45 * wave[..., None], 0, 255).astype(np.uint8)
    return found


def summary(folder: Path) -> str:
    """The table of the page."""
    document = json.loads((folder / "rooms.json").read_text())
    lines = [f"most frequent room: {document['most_frequent']:.3f}"]
    names = ("circuit", "convolutions")
    rows = {n: [r for r in document["rows"] if r["network"] == n] for n in names}
    for kind in ("plain", "light", "texture"):
        values = {n: np.concatenate([r["right"][kind] for r in rows[n]]) for n in names}
        said = ", ".join(f"{n} {spoken(bootstrap_interval(v))}" for n, v in values.items())
        difference = paired_difference(values["circuit"], values["convolutions"])
        lines.append(f"{kind}: {said}; difference {spoken(difference, signed=True)}")
    for name in names:
        seconds = np.mean([r["cpu_seconds"] for r in rows[name]])
        lines.append(f"{name}: {rows[name][0]['parameters']} parameters, {seconds:.0f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Rooms, description=__doc__)()
