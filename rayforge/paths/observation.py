"""From integer states to what networks read: features are gathered where they are used."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

GEOMETRY = 6
"""Numbers of a candidate's geometry: sin and cos of its heading relative to the agent's, sin and
cos of its elevation, its distance in tens of metres, and 1 for STOP."""

SECTORS = 4
"""Ahead, right, behind, left: a state's view is pooled over these."""


class Observation(NamedTuple):
    """What is seen in B x T states, each with up to K neighbours.

    Candidates are stored without padding, M of them over all states: real graphs have about four
    neighbours a viewpoint and a maximum near fifteen, so padding would triple the work.
    """

    state: Tensor  # [B, T, SECTORS * D] features pooled by direction relative to the heading
    arrival: Tensor  # [B, T, GEOMETRY] of the action that led here, 0 at the start
    candidates: Tensor  # [M, D + GEOMETRY]
    place: Tensor  # int64 [M] flat position of each candidate in [B, T, K + 1]
    legal: Tensor  # bool [B, T, K + 1]; padding states have STOP alone

    def detach(self) -> Observation:
        """The same without a way back to what images are encoded by."""
        return self._replace(state=self.state.detach(), candidates=self.candidates.detach())

    def take(self, rows: Tensor) -> Observation:
        """The same of some rows only, int64 [n]."""
        batch, steps, actions = self.legal.shape
        number = torch.full((batch,), -1, device=rows.device)
        number[rows] = torch.arange(len(rows), device=rows.device)
        row, within = self.place // (steps * actions), self.place % (steps * actions)
        kept = (number[row] >= 0).nonzero().squeeze(1)
        return Observation(
            self.state.index_select(0, rows),
            self.arrival.index_select(0, rows),
            self.candidates.index_select(0, kept),
            (number[row] * steps * actions + within).index_select(0, kept),
            self.legal.index_select(0, rows),
        )


class FeatureDropout(nn.Module):
    """Hides a share of the features of what is seen, the same ones along a whole path.

    Environmental dropout (Tan, Yu & Bansal 2019): every path is walked in a building of its own
    looks, so that no building can be learnt by heart. Geometry is never hidden.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, seen: Observation) -> Observation:
        if not self.training or not self.share:
            return seen
        batch, steps, width = seen.state.shape
        dimension, actions = width // SECTORS, seen.legal.shape[-1]
        kept = torch.rand(batch, dimension, device=seen.state.device) >= self.share
        kept = kept / (1.0 - self.share)
        state = seen.state.view(batch, steps, SECTORS, dimension) * kept[:, None, None]
        features, geometry = seen.candidates.split([dimension, GEOMETRY], -1)
        features = features * kept[seen.place // (steps * actions)]
        return seen._replace(state=state.flatten(2), candidates=torch.cat([features, geometry], -1))


class GraphObserver(nn.Module):
    """Gathers `Observation`s from observation tables; holds no parameters.

    Tables (see envs.graph.observation): `sectors` [V, 12, D], `towards` [E, D], `edge` int [V, K]
    (-1 where there is no neighbour), `heading`, `elevation` (radians) and `length` (metres) [V, K].
    `max_steps`: the action of that number can only be STOP, as in the simulator.
    """

    table_sectors: Tensor
    table_towards: Tensor
    table_edge: Tensor
    table_heading: Tensor
    table_geometry: Tensor

    def __init__(
        self,
        sectors: np.ndarray,
        towards: np.ndarray,
        edge: np.ndarray,
        heading: np.ndarray,
        elevation: np.ndarray,
        length: np.ndarray,
        max_steps: int,
    ) -> None:
        super().__init__()
        self.max_steps = max_steps
        self.dimension = int(towards.shape[1])
        self.neighbours = int(edge.shape[1])
        geometry = np.zeros((*heading.shape, GEOMETRY), np.float32)
        geometry[..., 2:5] = np.stack([np.sin(elevation), np.cos(elevation), length / 10.0], -1)
        tables = {
            "sectors": sectors, "towards": towards, "edge": edge,
            "heading": heading, "geometry": geometry,
        }  # fmt: skip
        for name, table in tables.items():
            # Not persistent: the tables belong to the data, not to the agent's checkpoint.
            self.register_buffer(f"table_{name}", torch.from_numpy(table), persistent=False)

    @classmethod
    def from_tables(cls, tables: Any, max_steps: int) -> GraphObserver:
        """From anything with the tables as attributes (envs' `ObservationTables`)."""
        names = ("sectors", "towards", "edge", "heading", "elevation", "length")
        return cls(**{name: getattr(tables, name) for name in names}, max_steps=max_steps)

    def geometry(self, viewpoint: Tensor, heading: Tensor, slot: Tensor) -> Tensor:
        """Geometry [n, GEOMETRY] of neighbour slots (0..K-1) seen from states, each [n]."""
        place = viewpoint * self.neighbours + slot
        relative = self.table_heading.view(-1).index_select(0, place) - heading * (np.pi / 6)
        geometry = self.table_geometry.flatten(0, 1).index_select(0, place)
        geometry[:, 0] = relative.sin()
        geometry[:, 1] = relative.cos()
        return geometry

    def arrivals(self, viewpoint: Tensor, heading: Tensor, action: Tensor) -> Tensor:
        """Geometry [n, GEOMETRY] of the actions taken in states, each [n]; 0 for STOP."""
        moved = action > 0
        geometry = self.geometry(viewpoint, heading, (action - 1).clamp(min=0))
        return geometry * moved[:, None]

    def forward(
        self, viewpoint: Tensor, heading: Tensor, step: Tensor, valid: Tensor, arrival: Tensor
    ) -> Observation:
        """States [B, T] (viewpoint, heading bin, number of the step from 0), which of them are
        real (`valid`, bool), and the geometry of the actions that led there [B, T, GEOMETRY].
        """
        batch, steps = viewpoint.shape
        actions = self.neighbours + 1
        turn = torch.arange(SECTORS, device=viewpoint.device) * (12 // SECTORS)
        # index_select copies whole rows: several times faster here than indexing with brackets.
        sectors = viewpoint[..., None] * 12 + (heading[..., None] + turn) % 12
        view = self.table_sectors.flatten(0, 1).index_select(0, sectors.flatten()).float()
        view = view.view(batch, steps, SECTORS, self.dimension)

        legal = torch.zeros(batch, steps, actions, dtype=torch.bool, device=viewpoint.device)
        may_move = valid & (step < self.max_steps - 1)
        legal[..., 1:] = (self.table_edge[viewpoint] >= 0) & may_move[..., None]
        moves = legal.flatten().nonzero().squeeze(1)
        state_of, slot = moves // actions, moves % actions - 1
        at, facing = viewpoint.flatten()[state_of], heading.flatten()[state_of]
        edge = self.table_edge.view(-1).index_select(0, at * self.neighbours + slot)
        # STOP looks like the place itself: the mean of what is seen around.
        stops = valid.flatten().nonzero().squeeze(1)
        candidates = view.new_zeros(len(stops) + len(moves), self.dimension + GEOMETRY)
        stay, go = candidates[: len(stops)], candidates[len(stops) :]
        stay[:, : self.dimension] = view.mean(2).flatten(0, 1).index_select(0, stops)
        stay[:, -1] = 1.0
        go[:, : self.dimension] = self.table_towards.index_select(0, edge)
        go[:, self.dimension :] = self.geometry(at, facing, slot)
        legal[..., 0] = True
        return Observation(
            view.flatten(2),
            arrival,
            candidates,
            torch.cat([stops * actions, moves]),
            legal,
        )

    def observe_paths(
        self, viewpoint: Tensor, heading: Tensor, action: Tensor, length: Tensor
    ) -> Observation:
        """What is seen along whole paths: viewpoint, heading, action [B, T], length [B]."""
        steps = viewpoint.shape[1]
        step = torch.arange(steps, device=viewpoint.device).expand_as(viewpoint)
        valid = step < length[:, None]
        taken = self.arrivals(viewpoint.flatten(), heading.flatten(), action.flatten())
        arrival = torch.zeros(*viewpoint.shape, GEOMETRY, device=viewpoint.device)
        arrival[:, 1:] = taken.view(*viewpoint.shape, GEOMETRY)[:, :-1]
        found: Observation = self(viewpoint, heading, step, valid, arrival)
        return found

    def observe_batch(
        self, batch: dict[str, Tensor], image_encoder: nn.Module | None
    ) -> Observation:
        """`observe_paths` of the columns of `Paths`; tables need no image encoder."""
        columns = ("viewpoint", "heading", "action", "length")
        return self.observe_paths(*(batch[name] for name in columns))
