"""Figures of a review that need no model."""

from pathlib import Path

import numpy as np

from trainers.alignment.review import win_rate_against
from trainers.alignment.tokens import write_table


def test_the_win_rate_against_another_round(tmp_path: Path) -> None:
    write_table(tmp_path / "answers.parquet", {"greedy_score": np.array([0.0, 1.0, 1.0, 0.0])})
    assert win_rate_against(tmp_path, np.array([1.0, 1.0, 0.0, 0.0])) == 0.5  # won, lost, two ties
    assert win_rate_against(tmp_path, np.ones(4)) == 0.75
