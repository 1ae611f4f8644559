"""Folders of clips: PNG frames and masks, NPZ flow, and a manifest that names them.

    DIR/manifest.json                {"format": 1, "clips": ["walk-000", ...]}
    DIR/walk-000/clip.json           {"frames": 16, "height": 64, "width": 64, "pixel": 0.03125}
    DIR/walk-000/frame_0000.png      colours
    DIR/walk-000/visible_0000.png    the object's visible mask, 0 and 255
    DIR/walk-000/others_0000.png     what may hide it, 0 and 255
    DIR/walk-000/truth_0000.png      its whole mask (may be left out)
    DIR/walk-000/flow.npz            "onward" and "back" float32 [T, H, W, 2]; where they are known
                                     "depth" [T, H, W], "rotation" [T, 3, 3], "position" [T, 3]

Masks and flow of one's own tools, written so, are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from envs.video.clip import VideoClip
from rayforge.errors import DataError
from rayforge.files import whole_folder
from rayforge.readers.arrays import read_npz
from rayforge.readers.faults import looked_in, reading, shown
from rayforge.readers.json_text import read_object

FORMAT = 1
MANIFEST = "manifest.json"
MOST_FRAMES, MOST_SIDE = 4096, 4096


def write_clips(folder: Path, clips: Iterable[VideoClip]) -> int:
    """Write a folder of clips, whole or not at all; how many.

    Raises DataError where the folder is there already.
    """
    if folder.exists():
        raise DataError(f"{folder} is there already: name another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    names = []
    with whole_folder(folder) as part:
        for clip in clips:
            names.append(clip.name)
            _write(part / clip.name, clip)
        (part / MANIFEST).write_text(json.dumps({"format": FORMAT, "clips": names}, indent=1))
    return len(names)


def _write(folder: Path, clip: VideoClip) -> None:
    folder.mkdir()
    count, height, width = clip.visible.shape
    about: dict[str, Any] = {"frames": count, "height": height, "width": width}
    if clip.pixel:
        about["pixel"] = clip.pixel
    (folder / "clip.json").write_text(json.dumps(about, indent=1))
    for number in range(count):
        Image.fromarray(clip.frames[number]).save(folder / f"frame_{number:04d}.png")
        for kind in ("visible", "others", "truth"):
            mask = getattr(clip, kind)
            if mask is not None:
                image = Image.fromarray(mask[number].astype(np.uint8) * 255)
                image.save(folder / f"{kind}_{number:04d}.png")
    arrays = {"onward": clip.onward, "back": clip.back}
    for name in ("depth", "rotation", "position"):
        if (value := getattr(clip, name)) is not None:
            arrays[name] = value
    np.savez_compressed(folder / "flow.npz", allow_pickle=False, **arrays)


def clip_names(folder: Path) -> list[str]:
    """The clips that a manifest names.

    Raises DataError where there is none, or it names none.
    """
    file = folder / MANIFEST
    if not file.is_file():
        why = (
            f"it has no {MANIFEST}" if folder.is_dir() else f"it does not exist{looked_in(folder)}"
        )
        raise DataError(f"{folder} holds no clips: {why}")
    document = read_object(file, DataError)
    if document.get("format") != FORMAT:
        raise DataError(f"{file}: format is {shown(document.get('format'))}, and {FORMAT} is read")
    names = document.get("clips")
    if not isinstance(names, list) or not names:
        raise DataError(f"{file}: clips must be a list of names, and not an empty one")
    for name in names:
        if not isinstance(name, str) or not name or Path(name).name != name or name.startswith("."):
            raise DataError(f"{file}: clip {shown(name)} is no name of a folder beside it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{file}: clip {shown(twice)} stands twice")
    return names


def read_clips(folder: Path, truth: bool = False) -> list[VideoClip]:
    """All clips of a folder; with `truth` each must have whole masks.

    Raises DataError for the first thing that is wrong, naming file and frame.
    """
    return [read_clip(folder / name, truth) for name in clip_names(folder)]


def read_clip(folder: Path, truth: bool = False) -> VideoClip:
    """One clip, checked: sizes, masks of 0 and 255, finite flow, an object that is seen."""
    if not folder.is_dir():
        raise DataError(f"{folder.parent / MANIFEST} names clip {folder.name}, which is not there")
    about = read_object(folder / "clip.json", DataError)
    count = _number(folder, about, "frames", 2, MOST_FRAMES)
    height = _number(folder, about, "height", 16, MOST_SIDE)
    width = _number(folder, about, "width", 16, MOST_SIDE)
    size = (height, width)
    frames = np.stack([_image(folder, "frame", n, size) for n in range(count)])
    visible = np.stack([_mask(folder, "visible", n, size) for n in range(count)])
    others = np.stack([_mask(folder, "others", n, size) for n in range(count)])
    if not visible.any():
        raise DataError(
            f"{folder}: the object is seen in none of {count} frames (every visible_*.png is "
            "empty); leave the clip out"
        )
    whole = None
    if truth or (folder / "truth_0000.png").is_file():
        whole = np.stack([_mask(folder, "truth", n, size) for n in range(count)])
    file = folder / "flow.npz"
    arrays = read_npz(file, DataError)
    shapes: dict[str, tuple[int, ...]] = {
        "onward": (count, *size, 2), "back": (count, *size, 2), "depth": (count, *size),
        "rotation": (count, 3, 3), "position": (count, 3),
    }  # fmt: skip
    for name in ("onward", "back"):
        if name not in arrays:
            raise DataError(
                f"{file} has no array {name!r}: write the flow of {shapes[name]} pixels"
            )
    for name, array in arrays.items():
        if name not in shapes:
            continue
        if array.shape != shapes[name] or array.dtype.kind != "f":
            raise DataError(
                f"{file}: array {name!r} is {array.dtype} {list(array.shape)}, and "
                f"{list(shapes[name])} of floats fits the frames"
            )
        wrong = ~np.isfinite(array.reshape(count, -1)).all(1)
        if wrong.any():
            frame = int(np.flatnonzero(wrong)[0])
            raise DataError(f"{file}: array {name!r} is not finite in frame {frame}")
    pixel = about.get("pixel", 0.0)
    if isinstance(pixel, bool) or not isinstance(pixel, int | float) or not 0 <= pixel < 10:
        raise DataError(
            f"{folder / 'clip.json'}: pixel is {shown(pixel)}, and not a side in metres"
        )
    known = {
        n: arrays[n].astype(np.float32) for n in ("depth", "rotation", "position") if n in arrays
    }
    return VideoClip(
        folder.name, frames, visible, others, arrays["onward"].astype(np.float32),
        arrays["back"].astype(np.float32), whole, pixel=float(pixel), **known,
    )  # fmt: skip


def _number(folder: Path, about: dict[str, Any], name: str, least: int, most: int) -> int:
    value = about.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DataError(
            f"{folder / 'clip.json'}: {name} is {shown(value)}, and not a whole number from "
            f"{least} to {most}"
        )
    return value


def _pixels(folder: Path, kind: str, number: int, size: tuple[int, int]) -> Image.Image:
    file = folder / f"{kind}_{number:04d}.png"
    if not file.is_file():
        raise DataError(f"{file} is missing: every frame has a {kind}_NNNN.png")
    with reading(file, DataError, "write it again"):
        image = Image.open(file, formats=("PNG",))
        if (image.height, image.width) != size:
            raise DataError(
                f"{file}: frame {number} is {image.width} x {image.height} pixels, and clip.json "
                f"says {size[1]} x {size[0]}"
            )
        image.load()
    return image


def _image(folder: Path, kind: str, number: int, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(_pixels(folder, kind, number, size).convert("RGB"))


def _mask(folder: Path, kind: str, number: int, size: tuple[int, int]) -> np.ndarray:
    values = np.asarray(_pixels(folder, kind, number, size).convert("L"))
    odd = values[(values != 0) & (values != 255)]
    if len(odd):
        raise DataError(
            f"{folder / f'{kind}_{number:04d}.png'}: frame {number} is no mask: it holds {odd[0]}, "
            "and a mask holds 0 and 255"
        )
    found: np.ndarray = values > 0
    return found
