"""Which pairs an update sees: shuffled epochs, with instructions of like length together."""

from __future__ import annotations

import numpy as np

_POOL = 16
"""Batches sorted by length together: enough to waste little padding, few enough to stay mixed."""


def batch_rows(lengths: np.ndarray, size: int, seed: int, number: int) -> np.ndarray:
    """Rows int64 [<= size] of batch `number` (from 0) of an endless sequence of shuffled epochs.

    Rows of like `lengths` [n] share a batch. A pure function of its arguments, so that a resumed
    run goes on with the very batches it would have seen.
    """
    count = len(lengths)
    if not count:
        raise ValueError("no pairs to make a batch of")
    batches = -(-count // size)
    epoch, place = divmod(number, batches)
    rng = np.random.default_rng((seed, epoch))
    rows = rng.permutation(count)
    for start in range(0, count, _POOL * size):
        pool = rows[start : start + _POOL * size]
        pool[:] = pool[np.argsort(lengths[pool], kind="stable")]
    place = int(rng.permutation(batches)[place])
    return rows[place * size : (place + 1) * size]
