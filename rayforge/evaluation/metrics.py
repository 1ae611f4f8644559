"""The metrics of Room-to-Room, as pure functions of batches.

Conventions: B episodes, a path of at most P viewpoints, a reference path of at most R.
Distances are geodesic metres in the navigation graph. `viewpoints` counts the viewpoints of a
path (its start included, so at least 1); entries beyond it are padding and never read. A path is
scored by its last viewpoint, whether the agent chose to stop there or was forced to.
Every function returns float64 [B], one value an episode; means and intervals are taken elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SUCCESS_METRES = 3.0
"""Success means stopping at strictly less than this from the goal (Anderson et al. 2018)."""


def success(final_distance: np.ndarray, threshold: float = SUCCESS_METRES) -> np.ndarray:
    """1 where the path ends strictly less than `threshold` metres from the goal, else 0.

    Args:
        final_distance: [B], metres from the last viewpoint to the goal.
        threshold: metres; a distance of exactly the threshold is a failure.
    """
    return (np.asarray(final_distance) < threshold).astype(np.float64)


def spl(success: np.ndarray, shortest: np.ndarray, walked: np.ndarray) -> np.ndarray:
    """Success weighted by path length, S · l / max(p, l) (Anderson et al. 2018).

    Args:
        success: [B], 0 or 1.
        shortest: [B], metres of the shortest path from start to goal (l).
        walked: [B], metres the agent walked (p).

    A success that starts at its goal and never moves (p = l = 0) counts 1.
    """
    reached = np.asarray(success, np.float64)
    least = np.asarray(shortest, np.float64)
    longest = np.maximum(least, np.asarray(walked, np.float64))
    share = np.divide(least, longest, out=np.ones_like(longest), where=longest > 0)
    return reached * share


def oracle_success(
    goal_distance: np.ndarray, viewpoints: np.ndarray, threshold: float = SUCCESS_METRES
) -> np.ndarray:
    """1 where any visited viewpoint lies strictly less than `threshold` metres from the goal.

    Args:
        goal_distance: [B, P], metres from each viewpoint of the path to the goal.
        viewpoints: int [B].
    """
    distances = np.asarray(goal_distance)
    inside = _within(viewpoints, distances.shape[1])
    found: np.ndarray = ((distances < threshold) & inside).any(1).astype(np.float64)
    return found


def navigation_error(goal_distance: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
    """Metres from the last viewpoint of the path to the goal.

    Args:
        goal_distance: [B, P], metres from each viewpoint of the path to the goal.
        viewpoints: int [B].
    """
    distances = np.asarray(goal_distance, np.float64)
    _within(viewpoints, distances.shape[1])
    found: np.ndarray = distances[np.arange(len(distances)), np.asarray(viewpoints) - 1]
    return found


def path_length(moves: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
    """Metres walked.

    Args:
        moves: [B, P - 1], metres of each move from one viewpoint to the next.
        viewpoints: int [B], viewpoints of the path, that is moves + 1.
    """
    metres = np.asarray(moves, np.float64)
    inside = _within(viewpoints, metres.shape[1] + 1)[:, 1:]
    found: np.ndarray = np.where(inside, metres, 0.0).sum(1)
    return found


def ndtw(
    distances: np.ndarray,
    viewpoints: np.ndarray,
    reference_viewpoints: np.ndarray,
    threshold: float = SUCCESS_METRES,
) -> np.ndarray:
    """Normalised dynamic time warping, exp(−DTW(path, reference) / (|reference| · threshold)).

    DTW is the least sum of distances over monotone alignments of the two paths, ends aligned with
    ends (Ilharco et al. 2019). 1 for identical paths, towards 0 for distant ones.

    Args:
        distances: [B, P, R], metres between each viewpoint of the path and of the reference.
        viewpoints: int [B], viewpoints of the path.
        reference_viewpoints: int [B], viewpoints of the reference.
        threshold: metres that count as one unit of error.
    """
    metres = np.asarray(distances, np.float64)
    _, rows, columns = metres.shape
    _within(viewpoints, rows)
    _within(reference_viewpoints, columns)
    # The cost of a cell depends on cells before it alone: padding costs nothing but time.
    cost = np.full((len(metres), rows + 1, columns + 1), np.inf)
    cost[:, 0, 0] = 0.0
    for i in range(rows):
        for j in range(columns):
            before = np.minimum(cost[:, i, j], np.minimum(cost[:, i, j + 1], cost[:, i + 1, j]))
            cost[:, i + 1, j + 1] = metres[:, i, j] + before
    references = np.asarray(reference_viewpoints)
    warping = cost[np.arange(len(metres)), np.asarray(viewpoints), references]
    found: np.ndarray = np.exp(-warping / (references * threshold))
    return found


def sdtw(success: np.ndarray, ndtw: np.ndarray) -> np.ndarray:
    """Success weighted by nDTW: S · nDTW, both [B] (Ilharco et al. 2019)."""
    return np.asarray(success, np.float64) * np.asarray(ndtw, np.float64)


def navigation_metrics(
    distances: np.ndarray,
    moves: np.ndarray,
    viewpoints: np.ndarray,
    reference_viewpoints: np.ndarray,
    shortest: np.ndarray,
    forced_stop: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All metrics of B episodes by name; the goal is the last viewpoint of the reference.

    Args:
        distances: [B, P, R], metres between each viewpoint of the path and of the reference.
        moves: [B, P - 1], metres of each move.
        viewpoints: int [B], viewpoints of each path.
        reference_viewpoints: int [B], those of each reference.
        shortest: [B], metres of the shortest path from start to goal.
        forced_stop: bool [B], where the step limit ended the episode; left out where None.
    """
    metres = np.asarray(distances, np.float64)
    _within(reference_viewpoints, metres.shape[2])
    last = np.asarray(reference_viewpoints)[:, None, None] - 1
    goal_distance = np.take_along_axis(metres, last, axis=2)[:, :, 0]
    error = navigation_error(goal_distance, viewpoints)
    reached = success(error)
    walked = path_length(moves, viewpoints)
    likeness = ndtw(metres, viewpoints, reference_viewpoints)
    values = {
        "success": reached,
        "spl": spl(reached, shortest, walked),
        "oracle_success": oracle_success(goal_distance, viewpoints),
        "navigation_error": error,
        "ndtw": likeness,
        "sdtw": sdtw(reached, likeness),
        "path_length": walked,
    }
    if forced_stop is not None:
        values["forced_stop"] = np.asarray(forced_stop, np.float64)
    return values


def _within(viewpoints: np.ndarray | Sequence[int], width: int) -> np.ndarray:
    """Bool [B, width], true inside each path; a path outside 1..width raises ValueError."""
    counts = np.asarray(viewpoints)
    wrong = np.flatnonzero((counts < 1) | (counts > width))
    if wrong.size:
        raise ValueError(
            f"episode {wrong[0]} of the batch has {counts[wrong[0]]} viewpoints, "
            f"its array holds 1 to {width}: count the start, and at most the array's width"
        )
    return np.arange(width) < counts[:, None]
