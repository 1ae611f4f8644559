"""The completed mask of the object that an instruction names, step by step along a walk.

Each image is seen through sensors: colours, depth, categories. The visible mask is where the named
category is seen. Flow follows from depth and the agent's own motion, for all that stands still. A
trained network carries the whole mask of the state before on to the present one; it is taken where
something else is seen that may hide the object, and the visible mask elsewhere (`filled`). Nothing
is read that an agent does not sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rayforge.amodal.network import AmodalNetwork
from rayforge.amodal.warping import View, camera_flow, mean_flow, warp
from rayforge.paths.frame_store import FAR
from rayforge.paths.observation import SECTORS

FIGURES = 2
"""Numbers that an object adds to a strip of an image: the square roots of the shares of it that the
visible mask and the completed one cover. A root grows as the object's side does."""
CLOSER = 0.1
"""Metres by which something must be nearer than the object to count as in front of it."""


@dataclass(frozen=True)
class Phrase:
    """Words that name an object, and the categories that they may mean."""

    tokens: tuple[int, ...]
    categories: tuple[int, ...]


@dataclass(frozen=True)
class Under:
    """What is remembered of n walks that are under way."""

    images: np.ndarray
    position: Tensor
    yaw: Tensor
    visible: Tensor  # bool [n, 1, H, W]
    metres: Tensor  # [n], depth of what was last seen of the object; 0: it was not seen yet
    memory: tuple[Tensor, Tensor]  # of the network's recurrence

    def take(self, rows: np.ndarray) -> Under:
        """The same of the walks of these numbers."""
        kept = torch.from_numpy(rows)
        h, c = self.memory
        return Under(self.images[rows], self.position[kept], self.yaw[kept], self.visible[kept],
                     self.metres[kept], (h[:, kept], c[:, kept]))  # fmt: skip


class Completion:
    """Makes the figures of named objects from images uint8 [n, H, W, 5] (red, green, blue, depth,
    category, as `pack_images` packs them) and poses. No module of an agent's: what it holds is not
    learnt there."""

    figures = FIGURES

    def __init__(
        self, network: AmodalNetwork, phrases: Sequence[Phrase], bounds: Sequence[int],
        field_of_view: float, forward: float,
    ) -> None:  # fmt: skip
        """`bounds`: categories that never hide anything (floors, ceilings). `field_of_view`:
        horizontal degrees of the images. `forward`: metres of a forward step."""
        self.network = network.eval().requires_grad_(False)
        self.phrases = tuple(phrases)
        self.bounds = tuple(bounds)
        self.field_of_view = field_of_view
        self.metres = forward
        self._named: dict[bytes, int] = {}

    def named(self, tokens: np.ndarray) -> np.ndarray:
        """The phrase that stands last in each instruction [n, N], int64 [n]; -1 where none does. Of
        two that end together the longer one counts."""
        found = np.full(len(tokens), -1, np.int64)
        for row, words in enumerate(np.asarray(tokens, np.int64)):
            key = words.tobytes()
            if key not in self._named:
                self._named[key] = self._last(words.tolist())
            found[row] = self._named[key]
        return found

    def _last(self, words: list[int]) -> int:
        best = (-1, 0, -1)
        for number, phrase in enumerate(self.phrases):
            size = len(phrase.tokens)
            for end in range(len(words), size - 1, -1):
                if tuple(words[end - size : end]) == phrase.tokens:
                    best = max(best, (end, size, number))
                    break
        return best[2]

    @torch.no_grad()
    def step(
        self, images: np.ndarray, position: np.ndarray, yaw: np.ndarray, phrase: np.ndarray,
        before: Under | None,
    ) -> tuple[Tensor, Under]:  # fmt: skip
        """The figures [n, SECTORS, FIGURES] of n walks in one further state, and what to go on
        with. `phrase` [n] names the object; all is 0 where it is -1.

        `position` [n, 3] is in forward steps, `yaw` [n] in radians, from anywhere."""
        visible = self._visible(images, phrase)
        depth = _depth(images)
        now = View(
            _rotation(yaw), torch.from_numpy(position.astype(np.float32)), self._pixel(images)
        )
        count = len(images)
        metres = torch.zeros(count) if before is None else before.metres
        seen = _median(depth, visible)
        present = torch.where(seen > 0, seen, metres)
        whole = visible
        hidden = self.network.memory.hidden_size
        memory = (torch.zeros(1, count, hidden), torch.zeros(1, count, hidden))
        if before is not None:
            carried, memory = self._carried(before, now)
            near = (depth > 0) & (depth < present[:, None, None, None] - CLOSER)
            bound = np.isin(images[..., 4], self.bounds)
            front = near & ~torch.from_numpy(bound)[:, None] & ~visible
            known = (metres > 0)[:, None, None, None]
            whole = visible | (front & known & (carried > 0.5))
        going = Under(images, now.position, torch.from_numpy(yaw.astype(np.float32)), visible,
                       present, memory)  # fmt: skip
        figures = torch.stack([_sides(mask) for mask in (visible, whole)], -1)
        return figures, going

    def _carried(self, before: Under, now: View) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The whole masks of the states before, carried on to the present ones, [n, 1, H, W]."""
        images, network = before.images, self.network
        height, width = images.shape[1:3]
        here = View(_rotation(before.yaw.numpy()), before.position, now.pixel)
        depth = _depth(images)
        flow = camera_flow(depth.clamp(min=1e-3), here, now, height, width) * (depth > 0)
        mask = before.visible.float()
        if network.config.flow == "depth":
            metres = before.metres.clamp(min=1e-3)[:, None, None, None]
            moved = camera_flow(metres, here, now, height, width)
            moved = moved + mean_flow(flow - moved, mask)
        else:
            moved = mean_flow(flow, mask)
        base = torch.where(mask > 0.5, flow, moved)
        frames = torch.from_numpy(images[..., :3]).permute(0, 3, 1, 2).float() / 255.0
        whole, own, memory = network.one(frames, mask, flow, base, before.memory)
        return warp(whole, own), memory

    def along(
        self, images: np.ndarray, position: np.ndarray, yaw: np.ndarray, phrase: np.ndarray
    ) -> np.ndarray:
        """The figures [n, T, SECTORS, FIGURES] of n walks whose images uint8 [n, T, H, W, 5] and
        poses [n, T, 3], [n, T] are known: what `step` says in every state."""
        parts, walks = [], None
        for step in range(images.shape[1]):
            figures, walks = self.step(
                images[:, step], position[:, step], yaw[:, step], phrase, walks
            )
            parts.append(figures)
        found: np.ndarray = torch.stack(parts, 1).numpy()
        return found

    def _visible(self, images: np.ndarray, phrase: np.ndarray) -> Tensor:
        found = np.zeros(images.shape[:3], bool)
        for number in np.unique(phrase[phrase >= 0]):
            rows = np.flatnonzero(phrase == number)
            found[rows] = np.isin(images[rows, :, :, 4], self.phrases[number].categories)
        return torch.from_numpy(found)[:, None]

    def _pixel(self, images: np.ndarray) -> float:
        return float(2 * np.tan(np.radians(self.field_of_view) / 2) / images.shape[2])


def _rotation(yaw: np.ndarray) -> Tensor:
    """From the frames of cameras that look along -z at a yaw of 0 to the world's, [n, 3, 3]."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    turn = np.zeros((len(yaw), 3, 3), np.float32)
    turn[:, 0, 0], turn[:, 0, 2] = cosine, sine
    turn[:, 2, 0], turn[:, 2, 2] = -sine, cosine
    turn[:, 1, 1] = 1.0
    return torch.from_numpy(turn)


def _depth(images: np.ndarray) -> Tensor:
    """Metres [n, 1, H, W]; 0 where nothing was hit."""
    return torch.from_numpy(images[..., 3].astype(np.float32) * (FAR / 255.0))[:, None]


def _median(depth: Tensor, mask: Tensor) -> Tensor:
    """The median depth of each mask, [n]; 0 where it is empty."""
    parts = [d[m] for d, m in zip(depth, mask, strict=True)]
    return torch.stack([part.median() if len(part) else part.new_zeros(()) for part in parts])


def _sides(mask: Tensor) -> Tensor:
    """The square root of the share of each upright strip that a mask [n, 1, H, W] covers, [n,
    SECTORS]."""
    count, _, height, width = mask.shape
    strips = mask.float().view(count, height, SECTORS, width // SECTORS)
    return strips.mean((1, 3)).sqrt()
