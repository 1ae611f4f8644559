"""What training reports of a round of roll-outs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.world import World
from trainers.irl.runner import ChunkResult


def rollout_figures(
    world: World[Any], split: Demonstrations, rows: np.ndarray, results: Sequence[ChunkResult]
) -> dict[str, float]:
    """Means over the episodes of a round; designed here.

    Args:
        world: where they were rolled out.
        split: whose goals were followed.
        rows: the goals, int64 [n], as they were handed out; episodes that failed are left out.
        results: of the chunks, in order; at least one has roll-outs.

    Returns:
        "success" (share that ends within 3 m), "length" (actions), "forced_stops" (share that the
        step limit ended), "entropy" (nats a step); where there are any, "labels_kept" and
        "paraphrases_kept" (shares of the generator's instructions that were good enough).
    """
    reached, length, entropy = [], [], []
    for result in results:
        if result.rollout is not None:
            paths = result.rollout.paths
            answered = rows[result.first - results[0].first + result.rows]
            reached.append(world.reached(split, answered, paths))
            length.append(paths.length)
            entropy.append(result.rollout.entropy)
    steps = np.concatenate(length)
    figures = {
        "success": float(np.concatenate(reached).mean()),
        "length": float(steps.mean()),
        "forced_stops": float((steps == world.step_limit).mean()),
        "entropy": float(np.concatenate(entropy).mean()),
    }
    labels = [result.labels.kept for result in results if result.labels is not None]
    rephrased = np.concatenate([result.rephrased for result in results])
    if labels:
        figures["labels_kept"] = float(np.concatenate(labels).mean())
    if len(rephrased):
        figures["paraphrases_kept"] = float(rephrased.mean())
    return figures
