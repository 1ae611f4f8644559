"""A made-up run folder and building, as plausible as a page needs to be looked at."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rayforge.evaluation.intervals import summarise

CONTROLS = {"no text": 0.22, "shuffled text": 0.2, "straight": 0.19, "random": 0.03, "expert": 1.0}
ROOMS = ("hallway", "kitchen", "bedroom", "bathroom", "living room", "stairs", "office")


def make_building(scan: str = "house", floors: int = 2, seed: int = 0) -> dict[str, Any]:
    """A jittered grid of viewpoints a floor, joined by a staircase."""
    rng = np.random.default_rng(seed)
    positions, rooms, edges = [], [], []
    columns, rows = 7, 4
    for floor in range(floors):
        for i in range(columns * rows):
            x, y = i % columns, i // columns
            jitter = rng.uniform(-0.35, 0.35, 2)
            positions.append([2.2 * x + jitter[0], 2.4 * y + jitter[1], 3.0 * floor + 1.5])
            rooms.append(ROOMS[(x // 2 + 2 * (y // 2) + floor) % len(ROOMS)])
            here = floor * columns * rows + i
            if x and rng.random() < 0.85:
                edges.append([here - 1, here])
            if y and rng.random() < 0.75:
                edges.append([here - columns, here])
        if floor:
            below, above = here - columns * rows, here
            step = len(positions)
            positions.append([15.5, 8.0, 3.0 * floor])
            rooms.append("stairs")
            edges += [[below, step], [step, above]]
    ids = [f"{scan}_{i:03d}" for i in range(len(positions))]
    return {"positions": positions, "edges": edges, "rooms": rooms, "ids": ids}


def walk(building: dict[str, Any], rng: np.random.Generator, steps: int) -> list[int]:
    """A random walk that avoids turning back."""
    near: dict[int, list[int]] = {i: [] for i in range(len(building["ids"]))}
    for a, b in building["edges"]:
        near[a].append(b)
        near[b].append(a)
    path = [int(rng.choice([i for i in near if near[i]]))]
    for _ in range(steps):
        onward = [n for n in near[path[-1]] if n not in path]
        if not onward:
            break
        path.append(int(rng.choice(onward)))
    return path


def make_episodes(buildings: dict[str, dict[str, Any]], count: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    episodes = []
    for number in range(count):
        scan = list(buildings)[number % len(buildings)]
        building = buildings[scan]
        reference = walk(building, rng, 6)
        won = rng.random() < 0.4
        path = reference if won else [*reference[:3], *_onward(building, reference[:3], rng)]
        ids, xyz = building["ids"], np.array(building["positions"])
        heading = float(rng.uniform(0, 2 * math.pi))
        steps = []
        for place, at in enumerate(path):
            if place:
                dx, dy = (xyz[at] - xyz[path[place - 1]])[:2]
                heading = math.atan2(dx, dy) % (2 * math.pi)
            words = rng.choice(["table", "lamp", "window", "sofa", "door", "plant"], 3, False)
            steps.append(
                {
                    "viewpoint": ids[at],
                    "heading": heading,
                    "probability": float(rng.uniform(0.3, 1.0)),
                    "seen": words.tolist(),
                }
            )
        episodes.append(
            {
                "episode_id": f"{1000 + number}_0",
                "scan": scan,
                "instruction": f"Leave the {building['rooms'][path[0]]} and walk past the sofa, "
                f"turn left at the plant and stop in the {building['rooms'][reference[-1]]} "
                "next to the window.",
                "path": [ids[i] for i in path],
                "reference": [ids[i] for i in reference],
                "success": bool(won),
                "distance": 0.0 if won else float(rng.uniform(3, 12)),
                "spl": 1.0 if won else 0.0,
                "forced_stop": not won and number % 5 == 0,
                "steps": steps,
            }
        )
    return episodes


def _onward(building: dict[str, Any], path: list[int], rng: np.random.Generator) -> list[int]:
    near: dict[int, list[int]] = {i: [] for i in range(len(building["ids"]))}
    for a, b in building["edges"]:
        near[a].append(b)
        near[b].append(a)
    added: list[int] = []
    for _ in range(4):
        options = [n for n in near[(path + added)[-1]] if n not in added]
        if not options:
            break
        added.append(int(rng.choice(options)))
    return added


def make_run(
    folder: Path,
    *,
    method: str = "langgoal",
    seed: int = 0,
    success: float = 0.41,
    iterations: int = 150,
) -> Path:
    """A finished run: settings, metrics, two evaluated splits, instructions."""
    rng = np.random.default_rng([seed, len(method)])
    folder.mkdir(parents=True)
    config = {
        "data": "../r2r", "held_out": ["house0"], "features": "semantic", "method": method,
        "seed": seed, "runners": 0, "updates": 600, "network": {"word": 128, "hidden": 256},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = f"rayforge irl train --data ../r2r --method {method} --seed {seed} --run {folder}"
    hardware = "Example CPU at 2.4 GHz, 2 cores, 8 GiB, no GPU"
    about = {"command": command, "hardware": hardware, "data": "../r2r"}
    (folder / "run.json").write_text(json.dumps(about))
    with (folder / "metrics.jsonl").open("w") as stream:
        for i in range(1, iterations + 1):
            stream.write(json.dumps(_metrics(i, iterations, rng)) + "\n")
    for split, level in (("held_out", success - 0.06), ("val_seen", success)):
        write_split(folder, split, rng, level, method, seed, command, hardware)
    samples = [
        {
            "scan": f"house{i % 3}",
            "path": ["a", "b"],
            "human": "Walk past the couch, turn left and stop by the second door.",
            "paraphrase": "Go past the sofa and turn left . Wait at the second door .",
            "free": "Exit the bedroom and walk down the hallway . Stop near the stairs .",
            "scores": {
                "human": {"follower": 0.61, "generator": 0.9, "kept": True},
                "paraphrase": {"follower": 0.23, "generator": 0.4, "kept": False},
                "free": {"follower": None, "generator": None, "kept": True},
            },
        }
        for i in range(20)
    ]
    (folder / "sentences.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    return folder


@cache
def _split_episodes() -> list[dict[str, Any]]:
    """The same of every run and split, and made once."""
    buildings = {f"house{i}": make_building(f"house{i}", seed=i) for i in range(3)}
    return make_episodes(buildings, 120, seed=7)


def write_split(
    folder: Path, split: str, rng: np.random.Generator, level: float, method: str, seed: int,
    command: str, hardware: str,
) -> None:  # fmt: skip
    episodes = [dict(episode) for episode in _split_episodes()]
    for episode in episodes:
        episode["success"] = bool(rng.random() < level)
        episode["spl"] = float(episode["success"]) * float(rng.uniform(0.8, 1))
        del episode["steps"]
    agents = {}
    for name, mean in {"agent": level, **CONTROLS}.items():
        won = (rng.random(120) < mean).astype(float)
        if name == "agent":
            won = np.array([e["success"] for e in episodes], float)
        agents[name] = summarise(
            {
                "success": won,
                "spl": won * rng.uniform(0.8, 1, 120),
                "oracle_success": np.maximum(won, rng.random(120) < mean),
                "navigation_error": np.where(won > 0, 1.0, rng.uniform(3, 14, 120)),
                "ndtw": rng.uniform(0.2, 0.9, 120),
                "sdtw": won * rng.uniform(0.5, 1, 120),
                "path_length": rng.uniform(5, 18, 120),
                "forced_stop": (rng.random(120) < 0.05).astype(float),
            },
            samples=500,
        )
    label = "LangGoalIRL full" if method == "langgoal" else "GCBC"
    document = {
        "split": split, "data": "../r2r", "method": label, "seed": seed,
        "features": "semantic, neighbours' rooms hidden", "hardware": hardware,
        "command": command, "train_seconds": 3312.0, "agents": agents,
    }  # fmt: skip
    (folder / f"evaluation_{split}.json").write_text(json.dumps(document))
    lines = "".join(json.dumps(episode) + "\n" for episode in episodes)
    (folder / f"episodes_{split}.jsonl").write_text(lines)


def _metrics(i: int, iterations: int, rng: np.random.Generator) -> dict[str, Any]:
    share, noise = i / iterations, lambda size: float(rng.normal(0, size))
    record: dict[str, Any] = {"iteration": i, "time_s": 22.0 * i, "updates": 8 * i}
    record["env_steps"] = max(0, i - iterations // 3) * 900
    record["speed/updates_per_s"] = 2.4 + noise(0.1)
    if share < 0.15:
        record |= {"phase": "generator", "generator/perplexity": 300 * math.exp(-20 * share) + 12}
        record["generator/kl"] = 40 * share + noise(0.3)
    elif share < 0.35:
        record |= {"phase": "clone", "clone/loss": 0.9 + 1.3 * math.exp(-12 * share) + noise(0.03)}
    else:
        record |= {
            "phase": "irl",
            "clone/loss": 0.92 - 0.1 * share + noise(0.02),
            "rollout/success": 0.3 + 0.12 * share + noise(0.04),
            "rollout/length": 6.2 + noise(0.2),
            "rollout/forced_stops": max(0.0, 0.04 + noise(0.02)),
            "rollout/entropy": 0.62 + noise(0.02),
            "rollout/env_steps_per_s": 4100 + noise(200),
            "discriminator/accuracy": 0.5 + 0.2 * share + noise(0.03),
            "discriminator/loss": 0.69 - 0.1 * share + noise(0.02),
            "reward/positive": -0.4 + noise(0.05),
            "reward/negative": -1.0 + noise(0.05) if i % 40 else math.nan,
            "critic/loss": 0.5 * math.exp(-3 * share) + abs(noise(0.02)),
            "policy/loss": 0.4 + noise(0.05),
            "policy/temperature": 1.0,
            "extra/figure": noise(1.0),
        }
    return record
