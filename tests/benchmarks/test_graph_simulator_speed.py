"""The benchmark's loop at a tiny size; how fast it is belongs to the benchmark."""

import numpy as np

from benchmarks.graph_simulator import made_up_graph, random_walk
from envs.graph.buildings import join_graphs


def test_random_walk_runs_and_counts() -> None:
    chance = np.random.default_rng(0)
    graphs = [made_up_graph(scan, chance) for scan in ("one", "two")]
    assert len(graphs[0].viewpoints) == 125
    assert 2 < graphs[0].adjacency.sum(axis=1).mean() < 6
    assert random_walk(join_graphs(graphs), 16, 50, chance) > 1000
