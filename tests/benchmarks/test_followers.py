"""A follower's row, by hand."""

import numpy as np

from benchmarks.followers import row_of


def test_the_clearest_pairs_are_those_farthest_apart() -> None:
    right = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    wrong = np.array([-9.0, -8.0, -7.0, -6.0, 1.0, 1.0, 0.0, -1.0])
    row = row_of("one", np.concatenate([right, wrong]), 3.0)
    assert row.startswith("| one | 0.688 [")  # five right, a tie, two wrong
    assert "| 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 0.688 | 3 |" in row
