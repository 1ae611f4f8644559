"""Where the modules of a wiring stand in a drawing, and which of them belong together."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform


def clusters(links: np.ndarray) -> np.ndarray:
    """The cluster of each module, int [M] from 0, of link strengths [M, M] in [0, 1]: modules whose
    link is above one half on average stand together (average linkage)."""
    if len(links) < 2:
        return np.zeros(len(links), int)
    apart = 1.0 - np.clip((links + links.T) / 2.0, 0.0, 1.0)
    np.fill_diagonal(apart, 0.0)
    found: np.ndarray = fcluster(
        linkage(squareform(apart, checks=False), "average"), 0.5, "distance"
    )
    # Numbered by size, the largest first.
    order = np.argsort(-np.bincount(found)[1:], kind="stable")
    number: np.ndarray = np.argsort(order)[found - 1]
    return number


def force_layout(links: np.ndarray, seed: int = 0, rounds: int = 200) -> np.ndarray:
    """Places [M, 2] in the unit square: links pull like springs, all modules push (Fruchterman and
    Reingold 1991)."""
    count = len(links)
    places = np.random.default_rng(seed).random((count, 2))
    if count < 2:
        return np.full((count, 2), 0.5)
    pull = (links + links.T) / 2.0
    np.fill_diagonal(pull, 0.0)
    natural = 1.0 / np.sqrt(count)
    for step in range(rounds):
        away = places[:, None] - places
        length = np.linalg.norm(away, axis=-1).clip(1e-4)
        force = natural**2 / length**2 - pull * length / natural
        np.fill_diagonal(force, 0.0)
        move = (away * force[..., None]).sum(1)
        size = np.linalg.norm(move, axis=1, keepdims=True).clip(1e-9)
        places = places + move / size * np.minimum(size, 0.1 * (1.0 - step / rounds))
    low, high = places.min(0), places.max(0)
    found: np.ndarray = (places - low) / np.maximum(high - low, 1e-9)
    return found
