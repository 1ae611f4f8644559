"""From poses and images to what networks read: the same `Observation` as in navigation graphs."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rayforge.paths.frame_store import FrameStore
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation

ACTIONS = 4
"""STOP, forward, left, right."""
WHOLE_WALK = 40.0
"""Forward steps (10 m) that count as 1 in what an agent knows of its way."""


class Completes(Protocol):
    """Says where the object that an instruction names is; `rayforge.irl.completion`."""

    figures: int

    def named(self, tokens: np.ndarray) -> np.ndarray: ...

    def along(
        self, images: np.ndarray, position: np.ndarray, yaw: np.ndarray, phrase: np.ndarray
    ) -> np.ndarray: ...

    def step(
        self, images: np.ndarray, position: np.ndarray, yaw: np.ndarray, phrase: np.ndarray,
        before: Any,
    ) -> tuple[Tensor, Any]: ...  # fmt: skip


class WalkObserver(nn.Module):
    """Makes `Observation`s from the codes of images; holds no parameters.

    A state is the image's `SECTORS` strips. A candidate is an action: what lies in its direction
    (STOP: the whole image, forward: its middle, left and right: its halves), and its geometry as
    in graphs, its length counted in forward steps. An arrival holds what an agent knows of its own
    motion: the last action, and, in the places that floors have no use for, its way so far.
    `max_steps`: the action of that number can only be STOP.
    """

    table_geometry: Tensor
    table_strips: Tensor

    def __init__(
        self, frames: FrameStore, turn: float, max_steps: int, completion: Completes | None = None
    ) -> None:
        """`turn`: degrees of a turn. Frames may be replaced: the attribute belongs to the data.
        `completion` adds figures of the object that an instruction names to each strip."""
        super().__init__()
        self.frames = frames
        self.completion = completion
        self._figures: dict[tuple[int, int], np.ndarray] = {}
        self.max_steps = max_steps
        self.turn = angle = math.radians(turn)
        geometry = torch.zeros(ACTIONS, GEOMETRY)
        geometry[0, -1] = 1.0
        # sin and cos of the heading (clockwise), sin and cos of the elevation, length, STOP
        geometry[1, :5] = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
        geometry[2, :4] = torch.tensor([-math.sin(angle), math.cos(angle), 0.0, 1.0])
        geometry[3, :4] = torch.tensor([math.sin(angle), math.cos(angle), 0.0, 1.0])
        strips = torch.tensor(
            [[0.25, 0.25, 0.25, 0.25], [0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
        )
        self.register_buffer("table_geometry", geometry, persistent=False)
        self.register_buffer("table_strips", strips, persistent=False)

    def arrivals(self, action: Tensor, moved: Tensor) -> Tensor:
        """How walks came to their states, [B, T + 1, GEOMETRY], from their actions int64 [B, T] and
        how far these went (`moved` in percent): before each action, and after the last.

        Sin and cos of the turn just made and, from the first state on, of all turns together
        (clockwise); the length of the step just made, short where it met a wall; the length of the
        way so far, in tens of metres. What a recurrence would have to
        add up over a walk, it is told.
        """
        batch, steps = action.shape
        done = self.table_geometry.index_select(0, action.flatten()).view(batch, steps, GEOMETRY)
        done = done * (action > 0)[..., None]
        step = done[..., 4] * (moved / 100.0)
        turned = self.turn * ((action == 3).float() - (action == 2).float())
        came = done.new_zeros(batch, steps + 1, GEOMETRY)
        came[:, 1:, :2] = done[..., :2]
        came[:, 1:, 2] = turned.cumsum(1)
        came[..., 3] = came[..., 2].cos()
        came[..., 2] = came[..., 2].sin()
        came[:, 1:, 4] = step
        came[:, 1:, 5] = step.cumsum(1) / WHOLE_WALK
        return came

    def felt(self, action: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where walks lead as the agent feels its own motion, from where they began: positions in
        forward steps float32 [B, T + 1, 3] and yaws in radians float32 [B, T + 1], from actions
        [B, T] and how far these went (`moved`, percent). A yaw of 0 looks along -z and grows
        leftwards. A step that slides along a wall counts as one straight on."""
        yaw = np.zeros((len(action), action.shape[1] + 1), np.float32)
        yaw[:, 1:] = self.turn * np.cumsum((action == 2) * 1.0 - (action == 3) * 1.0, 1)
        step = (action == 1) * (moved / 100.0)
        position = np.zeros((*yaw.shape, 3), np.float32)
        position[:, 1:, 0] = np.cumsum(-np.sin(yaw[:, :-1]) * step, 1)
        position[:, 1:, 2] = np.cumsum(-np.cos(yaw[:, :-1]) * step, 1)
        return position, yaw

    def forward(self, codes: Tensor, step: Tensor, valid: Tensor, arrival: Tensor) -> Observation:
        """Codes [B, T, SECTORS, D] of the images in states, the states' numbers from 0, which of
        them are real (bool), and the geometry of the actions that led there [B, T, GEOMETRY]."""
        batch, steps = step.shape
        legal = torch.zeros(batch, steps, ACTIONS, dtype=torch.bool, device=step.device)
        legal[..., 1:] = (valid & (step < self.max_steps - 1))[..., None]
        legal[..., 0] = valid
        place = legal.flatten().nonzero().squeeze(1)
        state, action = place // ACTIONS, place % ACTIONS
        towards = torch.einsum("as,nsd->nad", self.table_strips, codes.flatten(0, 1))
        candidates = torch.cat(
            [towards.flatten(0, 1).index_select(0, state * ACTIONS + action),
             self.table_geometry.index_select(0, action)], -1,
        )  # fmt: skip
        legal[..., 0] = True
        return Observation(codes.flatten(2), arrival, candidates, place, legal)

    def observe_batch(
        self, batch: dict[str, Tensor], image_encoder: nn.Module | None
    ) -> Observation:
        """What is seen along whole walks: columns of `Walks`; each image is encoded once."""
        assert image_encoder is not None, "walks are seen through an image encoder"
        length, action = batch["length"], batch["action"]
        steps = action.shape[1]
        step = torch.arange(steps, device=action.device).expand_as(action)
        valid = step < length[:, None]
        # Pairs of one walk with several instructions share its images.
        numbers, first, walk = np.unique(
            batch["frames"].cpu().numpy(), return_index=True, return_inverse=True
        )
        lengths = length.cpu().numpy()[first]
        codes = image_encoder(
            torch.from_numpy(self.frames.gather(numbers, lengths)).to(action.device)
        )
        starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(action.device)
        image = starts[torch.from_numpy(walk).to(action.device), None] + step
        # The row of zeros at the end stands for padding.
        codes = torch.cat([codes, codes.new_zeros(1, *codes.shape[1:])])
        spread = codes.index_select(0, image.where(valid, len(codes) - 1).flatten())
        arrival = self.arrivals(action, batch["moved"])[:, :-1]
        codes = spread.view(*action.shape, SECTORS, -1)
        if self.completion is not None:
            codes = torch.cat([codes, self._named_objects(batch).to(codes)], -1)
        found: Observation = self(codes, step, valid, arrival)
        return found

    def _named_objects(self, batch: dict[str, Tensor]) -> Tensor:
        """The figures of the objects that a batch's instructions name, [B, T, SECTORS, FIGURES].
        Those of demonstrations are made once."""
        assert self.completion is not None
        number, length, action, moved, tokens = (
            batch[name].cpu().numpy() for name in ("frames", "length", "action", "moved", "tokens")
        )
        phrase = self.completion.named(tokens)
        kept = number < self.frames.first_kept
        keys = list(zip(number.tolist(), phrase.tolist(), strict=True))
        new = {key: row for row, key in enumerate(keys)
               if phrase[row] >= 0 and not (kept[row] and key in self._figures)}  # fmt: skip
        made: dict[tuple[int, int], np.ndarray] = {}
        if new:
            rows = np.array(list(new.values()))
            steps = int(length[rows].max())
            seen = [self.frames.gather(number[[row]], length[[row]]) for row in rows]
            images = np.zeros((len(rows), steps, *seen[0].shape[1:]), np.uint8)
            for own, walk in zip(images, seen, strict=True):
                own[: len(walk)] = walk
            position, yaw = self.felt(action[rows, : steps - 1], moved[rows, : steps - 1])
            found = self.completion.along(images, position, yaw, phrase[rows])
            made = {keys[row]: part[: length[row]] for row, part in zip(rows, found, strict=True)}
            self._figures |= {key: part for key, part in made.items()
                              if key[0] < self.frames.first_kept}  # fmt: skip
        figures = torch.zeros(*batch["action"].shape, SECTORS, self.completion.figures)
        for row, key in enumerate(keys):
            if phrase[row] >= 0:
                part = made[key] if key in made else self._figures[key]
                figures[row, : length[row]] = torch.from_numpy(part[: length[row]])
        return figures
