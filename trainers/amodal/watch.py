"""A film of scored clips: visible and completed outline, the truth, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from envs.progress import Progress
from envs.video.clip import VideoClip
from rayforge.amodal.learning import completed
from rayforge.amodal.network import AmodalNetwork
from rayforge.errors import ConfigurationError
from rayforge.files import whole_file, write_whole
from rayforge.reports.film import AGENT, EXPERT, GOAL, INK, PAPER, contact_sheet, font, write_film
from trainers.amodal.config import VideoConfig
from trainers.amodal.data import scored_clips, tensors_of
from trainers.amodal.training import load_network

SIDE = 320
"""Pixels of a panel's side."""
TEXT, MARGIN = 58, 8
"""Pixels of the two lines below the panels, legible at half their size on the contact sheet."""
LETTERS = 20
PER_SECOND = 6
TOO_MUCH, MISSED = (240, 200, 60), (150, 80, 200)
KEYS = (("visible", EXPERT), ("completed", AGENT), ("truth", GOAL), ("too much", TOO_MUCH),
        ("missed", MISSED))  # fmt: skip
SHOWN = 6
"""Frames of each clip on the contact sheet."""


def watch(run: Path, clips: int) -> Path:
    """Write `watch.mp4` and the contact sheet `watch.png` beside it; the film's path."""
    if clips < 1:
        raise ConfigurationError(f"clips must be at least 1, got {clips}")
    config, network = load_network(run)
    shown = scored_clips(config, network.frame)[:clips]
    sheet: list[list[np.ndarray]] = []
    film = run / "watch.mp4"
    with whole_file(film) as part, Progress("drawing frames", sum(map(len, shown))) as progress:
        frames = _frames(config, network, shown, sheet)
        write_film(part, _counted(frames, progress), PER_SECOND)
    write_whole(run / "watch.png", lambda s: contact_sheet(sheet).save(s, format="PNG"))
    return film


def _counted(frames: Iterator[np.ndarray], progress: Progress) -> Iterator[np.ndarray]:
    for frame in frames:
        progress.add()
        yield frame


def _frames(
    config: VideoConfig, network: AmodalNetwork, clips: list[VideoClip],
    sheet: list[list[np.ndarray]],
) -> Iterator[np.ndarray]:  # fmt: skip
    for clip in clips:
        assert clip.truth is not None
        masks, _ = completed(network, tensors_of(clip, config))
        found = masks[:, 0].numpy()
        share = clip.hidden_share
        # Those with most that is hidden tell most.
        chosen = set(np.sort(np.argsort(-np.where(share < 0.9, share, -1), kind="stable")[:SHOWN]))
        row = []
        for step in range(len(clip)):
            frame = draw(clip, found[step], step, share[step])
            if step in chosen:
                row.append(frame)
            yield frame
        sheet.append(row)


def draw(clip: VideoClip, found: np.ndarray, step: int, share: float) -> np.ndarray:
    """A frame uint8 [H, W, 3]: at the left what is seen with the visible outline, the completed one
    and the true one; at the right the mask, green where it is right, yellow where it is too large
    and purple where it is too small."""
    assert clip.truth is not None
    visible, truth = clip.visible[step], clip.truth[step]
    width, height = 2 * SIDE + 3 * MARGIN, SIDE + TEXT + 2 * MARGIN
    image = Image.new("RGB", (width - width % 16, height - height % 16), PAPER)
    scene = np.asarray(
        Image.fromarray(clip.frames[step]).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    )
    left = scene.copy()
    for mask, colour, thick in ((truth, GOAL, 2), (found, AGENT, 1), (visible, EXPERT, 0)):
        left[outline(mask, SIDE, thick)] = colour
    grey = (scene.mean(2, keepdims=True) * 0.5 + 90).repeat(3, 2)
    right = grey.copy()
    for mask, colour in (
        (found & truth, GOAL),
        (found & ~truth, TOO_MUCH),
        (truth & ~found, MISSED),
    ):
        large = enlarged(mask, SIDE)
        right[large] = 0.35 * grey[large] + 0.65 * np.array(colour)
    for place, panel in enumerate((left, right)):
        picture = Image.fromarray(panel.astype(np.uint8))
        image.paste(picture, (MARGIN + place * (SIDE + MARGIN), MARGIN))
    pen = ImageDraw.Draw(image)
    both, either = (found & truth).sum(), (found | truth).sum()
    iou = both / either if either else 1.0
    said = f"{clip.name} frame {step + 1}: {share:.0%} hidden, IoU {iou:.2f}"
    top = SIDE + MARGIN + 4
    pen.text((MARGIN, top), said, INK, font(LETTERS))
    at = float(MARGIN)
    for name, colour in KEYS:
        pen.rectangle((at, top + 33, at + 14, top + 47), fill=colour)
        pen.text((at + 20, top + 28), name, INK, font(LETTERS))
        at += 34 + font(LETTERS).getlength(name)
    return np.asarray(image)


def enlarged(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask at another size, bool [side, side]."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((side, side), Image.Resampling.NEAREST)) > 0


def outline(mask: np.ndarray, side: int, thick: int) -> np.ndarray:
    """The border of a mask at another size, bool [side, side], two pixels and `thick` wide."""
    large = enlarged(mask, side)
    inner = large.copy()
    for _ in range(2 + thick):
        shrunk = inner.copy()
        for axis in (0, 1):
            for step in (1, -1):
                shrunk &= np.roll(inner, step, axis)
        inner = shrunk
    border: np.ndarray = large & ~inner
    return border
