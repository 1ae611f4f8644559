"""The batched graph simulator: integer state, precomputed tables, no Python loop over rows."""

from __future__ import annotations

import numpy as np

from envs.graph.buildings import Buildings, heading_bin

STOP = 0


class SimulatorError(RuntimeError):
    """A row of the batch that cannot go on; `row` says which."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class GraphSimulator:
    """B agents at once on the graphs of `buildings`.

    Actions: 0 is STOP, 1 + k walks to the neighbour in slot k. The legal ones are always
    0..degree (slots are packed), or STOP alone. Arriving by an edge, the agent faces the way it
    walked. An episode has at most `max_steps` actions, the last of which can only be STOP: where
    it was not chosen before, the stop is *forced*.

    State (int32 [B], bool [B] for `done`): `viewpoint`, `heading_bin` (0..11, 30 degrees each),
    `steps` (actions taken), `done`. Read it freely, copy what you keep (it changes in place), and
    write it through `reset` only.
    """

    def __init__(self, buildings: Buildings, max_steps: int) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps is {max_steps}; an episode has one action at least")
        self.buildings = buildings
        self.max_steps = max_steps
        count, slots = buildings.neighbours.shape
        self.actions = slots + 1
        own = np.arange(count, dtype=np.int32)[:, None]
        # Column 0 (STOP) stays; -1 marks the slots that do not exist.
        self._successor = np.concatenate([own, buildings.neighbours], axis=1).ravel()
        self._arrival = np.concatenate(
            [np.zeros((count, 1), np.int32), heading_bin(buildings.heading)], axis=1
        ).ravel()
        legal = self._successor.reshape(count, self.actions) >= 0
        only_stop = np.zeros((1, self.actions), dtype=bool)
        only_stop[0, STOP] = True
        # The extra last row serves finished and exhausted episodes.
        self._legal = np.concatenate([legal, only_stop])
        self._degree = self._legal.sum(axis=1).astype(np.int32)
        self._stopped = count
        self.viewpoint = np.zeros(0, dtype=np.int32)
        self.heading_bin = np.zeros(0, dtype=np.int32)
        self.steps = np.zeros(0, dtype=np.int32)
        self.done = np.zeros(0, dtype=bool)

    def reset(
        self,
        viewpoint: np.ndarray,
        heading_bin: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> None:
        """Start episodes: the whole batch anew (its size is that of `viewpoint`), or `rows` of it.

        Args:
            viewpoint: int [B] or [len(rows)], global indices.
            heading_bin: the same shape, 0..11.
            rows: int or bool indices of the rows to start again; the others go on.
        """
        if rows is None:
            self.viewpoint = np.array(viewpoint, dtype=np.int32)
            self.heading_bin = np.array(heading_bin, dtype=np.int32)
            self.steps = np.zeros(len(self.viewpoint), dtype=np.int32)
            self.done = np.zeros(len(self.viewpoint), dtype=bool)
            return
        self.viewpoint[rows] = viewpoint
        self.heading_bin[rows] = heading_bin
        self.steps[rows] = 0
        self.done[rows] = False

    def _state_row(self) -> np.ndarray:
        closed = self.done | (self.steps >= self.max_steps - 1)
        return np.where(closed, self._stopped, self.viewpoint)

    def legal(self) -> np.ndarray:
        """Legal actions, bool [B, K + 1]: STOP alone in finished rows and as last action."""
        return self._legal.take(self._state_row(), axis=0)

    def legal_count(self) -> np.ndarray:
        """Number of legal actions, int32 [B]; they are 0..count-1."""
        found: np.ndarray = self._degree.take(self._state_row())
        return found

    def step(self, action: np.ndarray, waiting: np.ndarray | None = None) -> None:
        """Take `action`, int [B]. Finished rows ignore theirs.

        Args:
            action: int [B].
            waiting: bool [B], rows that ignore theirs too, stay and spend a step; never the last.

        Raises:
            SimulatorError: an illegal action; nothing has changed then. Names row, building and
                viewpoint.
        """
        if np.shape(action) != self.done.shape:
            raise ValueError(f"{np.shape(action)} actions for a batch of {self.done.shape}")
        resting = self.done if waiting is None else self.done | waiting
        chosen = np.where(resting, STOP, action)
        moved = chosen != STOP
        last = self.steps >= self.max_steps - 1
        illegal = moved & last
        illegal |= (chosen >= self.actions) | (chosen < 0)
        place = self.viewpoint * np.int64(self.actions) + chosen
        target = self._successor.take(place, mode="clip")
        illegal |= target < 0
        stopped = ~moved
        if waiting is not None:
            illegal |= waiting & last & ~self.done
            stopped &= ~waiting
        if illegal.any():
            self._refuse(int(np.flatnonzero(illegal)[0]), action)
        np.copyto(self.heading_bin, self._arrival.take(place, mode="clip"), where=moved)
        self.viewpoint[:] = target
        self.steps += ~self.done
        self.done |= stopped

    def expert(self, goal: np.ndarray) -> np.ndarray:
        """Next action on the shortest path to `goal`, int32 [B]; STOP at the goal.

        The step limit plays no part here: `legal` says whether the move may still be made.

        Raises:
            SimulatorError: a goal that cannot be reached from where its row stands.
        """
        slot = self.buildings.next_slot(self.viewpoint, goal)
        lost = (slot < 0) & (self.viewpoint != goal)
        if lost.any():
            row = int(np.flatnonzero(lost)[0])
            raise SimulatorError(
                f"row {row}: no path to {self.buildings.viewpoint_ids[int(goal[row])]}"
                f" from {self._place(row)}",
                row,
            )
        return slot + 1

    def _place(self, row: int) -> str:
        viewpoint = int(self.viewpoint[row])
        scan = self.buildings.scans[int(self.buildings.building[viewpoint])]
        return f"viewpoint {self.buildings.viewpoint_ids[viewpoint]} of building {scan}"

    def _refuse(self, row: int, action: np.ndarray) -> None:
        degree = int(self._degree[self._state_row()[row]])
        legal = "only 0 (STOP) is" if degree == 1 else f"0 (STOP) to {degree - 1} are"
        raise SimulatorError(
            f"row {row}: action {int(action[row])} is illegal at {self._place(row)},"
            f" step {int(self.steps[row])} of {self.max_steps}: {legal} legal",
            row,
        )
