"""From poses and images to what networks read: the same `Observation` as in navigation graphs."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from rayforge.paths.frame_store import FrameStore
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation

ACTIONS = 4
"""STOP, forward, left, right."""
WHOLE_WALK = 40.0
"""Forward steps (10 m) that count as 1 in what an agent knows of its way."""


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

    def __init__(self, frames: FrameStore, turn: float, max_steps: int) -> None:
        """`turn`: degrees of a turn. Sights may be replaced: the attribute belongs to the data."""
        super().__init__()
        self.frames = frames
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
        found: Observation = self(spread.view(*action.shape, SECTORS, -1), step, valid, arrival)
        return found
