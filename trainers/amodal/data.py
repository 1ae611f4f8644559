"""The clips of a run: read from a folder, or made once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from envs.houses.dataset import generator_version, write_houses
from envs.simulators.simulator import Camera
from envs.video.clip import VideoClip
from envs.video.files import clip_names, read_clip, read_clips, write_clips
from envs.video.homes import passed_furniture, walking_bodies
from envs.video.shapes import crossing_shapes
from rayforge.amodal.clips import Clip, clip_of
from rayforge.amodal.network import STEPS
from rayforge.amodal.warping import View
from rayforge.cache import make_cache_folder
from rayforge.errors import DataError
from trainers.amodal.config import VideoConfig

MADE = ("shapes", "body", "walk")
"""What is made here, and needs no folder."""
FIELD_OF_VIEW = 80.0
SEED = 7
"""Of made clips: the same for all runs, whatever their own seed."""


def training_clips(config: VideoConfig) -> list[VideoClip]:
    """What is trained on. Raises DataError for the first thing that is wrong with it."""
    folder, names = _folder(config, "train")
    return _fitting(folder, [read_clip(folder / name) for name in names])


def scored_clips(config: VideoConfig, size: tuple[int, int] | None = None) -> list[VideoClip]:
    """What is scored, with whole masks. Raises DataError likewise, and where frames are not of the
    height and width that a network was trained with."""
    if config.test:
        folder = Path(config.test)
        clips = _fitting(folder, read_clips(folder, truth=True))
    else:
        folder, names = _folder(config, "test")
        clips = _fitting(folder, [read_clip(folder / name, truth=True) for name in names])
    height, width = clips[0].visible.shape[1:]
    if size is not None and (height, width) != size:
        raise DataError(
            f"{folder}: frames are {width} x {height} pixels, and the network is trained with "
            f"{size[1]} x {size[0]}: scale them"
        )
    return clips


def _folder(config: VideoConfig, part: str) -> tuple[Path, list[str]]:
    if config.data in MADE:
        folder = made(config) / part
        return folder, clip_names(folder)
    folder = Path(config.data)
    names = clip_names(folder)
    if config.test:
        return folder, names
    kept = max(1, len(names) - max(1, len(names) // 4))
    if len(names) < 2:
        raise DataError(f"{folder} holds one clip: name another folder to score on (--test DIR)")
    return folder, names[:kept] if part == "train" else names[kept:]


def _fitting(folder: Path, clips: list[VideoClip]) -> list[VideoClip]:
    """Clips of one size that the network takes."""
    size = clips[0].visible.shape[1:]
    for clip in clips:
        if clip.visible.shape[1:] != size:
            raise DataError(
                f"{folder}: clip {clip.name} is {clip.visible.shape[2]} x {clip.visible.shape[1]} "
                f"pixels and {clips[0].name} {size[1]} x {size[0]}: scale them to one size"
            )
        if len(clip) < 3:
            raise DataError(f"{folder}: clip {clip.name} has {len(clip)} frames; 3 are needed")
    side = 2**STEPS
    if size[0] % side or size[1] % side:
        raise DataError(
            f"{folder}: frames are {size[1]} x {size[0]} pixels; make the sides multiples of {side}"
        )
    return clips


def made(config: VideoConfig) -> Path:
    """The folder of made clips, `train` and `test`, in the user's cache."""
    key = f"clips-{config.data}-{config.clips}-{config.side}-{config.houses}-{_version()}"
    folder = make_cache_folder("clips") / key
    counts = {"train": config.clips, "test": max(2, config.clips // 3)}
    camera = Camera(config.side, config.side, FIELD_OF_VIEW)
    scenes = None
    for number, (part, count) in enumerate(counts.items()):
        if (folder / part).is_dir():
            continue
        if config.data == "shapes":
            clips = crossing_shapes(count, SEED + number, size=config.side)
        else:
            scenes = scenes or house_meshes(config)
            half = config.houses // 2
            meshes = scenes[:half] if part == "train" else scenes[half:]
            make = walking_bodies if config.data == "body" else passed_furniture
            clips = make(meshes, count, SEED + number, camera)
        print(f"made {count} clips: {folder / part}", flush=True)
        write_clips(folder / part, clips)
    return folder


def house_meshes(config: VideoConfig) -> list[Path]:
    """The meshes of generated houses, made once and kept."""
    name = f"houses-{config.houses}-for-clips-{generator_version()}"
    folder = make_cache_folder() / name
    if not folder.is_dir():
        write_houses(
            folder, train_houses=config.houses, unseen_houses=0, paths_per_house=6, seed=SEED
        )
    meshes = sorted((folder / "scenes").glob("*/*.glb"))
    return [mesh for mesh in meshes if not mesh.name.endswith(".semantic.glb")]


def _version() -> str:
    """Eight digits that change with the code that makes clips."""
    import envs.video.homes as homes

    digest = hashlib.sha256(generator_version().encode())
    for file in sorted(Path(homes.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def tensors_of(clip: VideoClip, config: VideoConfig) -> Clip:
    """A clip as the network takes it.

    Raises DataError where flow "depth" is asked for and the clip has no depth or cameras.
    """
    view = None
    if config.flow == "depth":
        if clip.depth is None or clip.rotation is None or clip.position is None or not clip.pixel:
            raise DataError(
                f"clip {clip.name} has no depth, rotation, position and pixel, which flow 'depth' "
                "reads; train it with --flow flat"
            )
        view = View(torch.from_numpy(clip.rotation), torch.from_numpy(clip.position), clip.pixel)
    truth = clip.visible if clip.truth is None else clip.truth
    return clip_of(
        clip.frames, clip.visible, clip.others, clip.onward, clip.back, truth, config.flow,
        clip.depth, view,
    )  # fmt: skip
