"""The expert's walks and what it sees on them, made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from envs.continuous.homes import Homes
from envs.continuous.images import Images, channels
from envs.continuous.walks import Walk, demonstrate
from envs.episodes.continuous_episode import ContinuousEpisode
from envs.progress import Progress
from envs.simulators.simulator import Poses, SimulatorConfig
from rayforge.cache import make_cache_folder
from rayforge.files import whole_file, write_whole
from rayforge.paths.frame_store import FrameFile

MADE = 2
"""Counted up when the expert or the images change, so that older caches are not taken."""
AT_ONCE = 64
"""Images rendered in a call."""


def walked(
    homes: Homes, simulation: SimulatorConfig, kind: str, limit: int,
    episodes: Sequence[ContinuousEpisode],
) -> list[Walk]:  # fmt: skip
    """The expert's walk of each episode (`demonstrate`), from the cache where it is there; `kind`
    is the simulator's."""
    told = [
        (e.scene, e.start, e.yaw, e.reference_path, e.goal, e.actions, e.locations)
        for e in episodes
    ]
    body, motion = asdict(simulation.body), asdict(simulation.motion)
    scenes = [e.scene for e in episodes]
    key = _key(homes, scenes, [told, body, motion, kind, limit])
    file = make_cache_folder("walks") / f"{key}.npz"
    if not file.is_file():
        walks = demonstrate(homes, simulation.motion, episodes, limit)
        columns = {name: np.concatenate([getattr(w, name) for w in walks]) for name in Walk._fields}
        lengths = np.array([len(w.action) for w in walks], np.int64)
        columns["length"] = lengths
        write_whole(file, lambda stream: np.savez(stream, allow_pickle=False, **columns))
        return walks
    with np.load(file, allow_pickle=False) as archive:
        bounds = np.cumsum(archive["length"])[:-1]
        parts = [np.split(archive[name], bounds) for name in Walk._fields]
    return [Walk(*columns) for columns in zip(*parts, strict=True)]


def filmed(
    images: Images, simulation: SimulatorConfig, kind: str, walks: Sequence[Walk],
    scene: np.ndarray,
) -> FrameFile:  # fmt: skip
    """What the expert sees on its walks in scenes int [n], from the cache where it is there."""
    poses = [[w.position.tobytes().hex(), w.yaw.tobytes().hex()] for w in walks]
    seen = [asdict(simulation), kind, list(images.names)]
    scenes = [images.homes.scenes[int(number)] for number in scene]
    key = _key(images.homes, scenes, [poses, seen])
    file = make_cache_folder("footage") / f"{key}.npy"
    first = np.concatenate([[0], np.cumsum([len(walk.action) for walk in walks])])
    if not file.is_file():
        camera = images.camera
        shape = (int(first[-1]), camera.height, camera.width, channels(camera))
        with whole_file(file) as part:
            frames = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            with Progress("rendering what the expert sees", shape[0]) as progress:
                for number in np.unique(scene):  # a scene at a time: few are open at once
                    rows = np.flatnonzero(scene == number)
                    for row, seen_there in zip(
                        rows, film(images, [walks[int(r)] for r in rows], scene[rows]), strict=True
                    ):
                        frames[first[row] : first[row + 1]] = seen_there
                        progress.add(len(seen_there))
            frames.flush()
    return FrameFile(file, first)


def film(images: Images, walks: Sequence[Walk], scene: np.ndarray) -> list[np.ndarray]:
    """What is seen along walks in scenes int [n], uint8 [T, H, W, C] each."""
    done = []
    for walk, number in zip(walks, scene, strict=True):
        parts = [
            images.render(
                np.full(len(walk.yaw[start : start + AT_ONCE]), number),
                Poses(walk.position[start : start + AT_ONCE], walk.yaw[start : start + AT_ONCE]),
            )
            for start in range(0, len(walk.yaw), AT_ONCE)
        ]
        done.append(np.concatenate(parts))
    return done


def _key(homes: Homes, scenes: Sequence[str], made_of: Any) -> str:
    """SHA-256 of what something was made of; `scenes` names the scene of each part of it."""
    used = sorted(set(scenes))
    files = [(homes.folder / scene).stat() for scene in used]
    stamps = [(s, f.st_size, f.st_mtime_ns) for s, f in zip(used, files, strict=True)]
    text = json.dumps([MADE, str(homes.folder.resolve()), stamps, scenes, made_of], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
