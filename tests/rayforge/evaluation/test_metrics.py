"""Known answers and properties of the navigation metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.evaluation import metrics


def test_success_is_strict() -> None:
    distances = np.array([0.0, np.nextafter(3.0, 0.0), 3.0, 3.1, np.inf])
    assert metrics.success(distances).tolist() == [1, 1, 0, 0, 0]
    assert metrics.success(distances, threshold=3.05).tolist() == [1, 1, 1, 0, 0]


def test_spl_known_answers() -> None:
    values = metrics.spl(
        success=np.array([1, 0, 1, 1]),
        shortest=np.array([10.0, 10.0, 10.0, 0.0]),
        walked=np.array([12.5, 10.0, 8.0, 0.0]),
    )
    # A shorter walk than the shortest path (success short of the goal) counts 1, never more.
    assert values.tolist() == [0.8, 0.0, 1.0, 1.0]


def test_oracle_success_uses_the_nearest_visited_viewpoint() -> None:
    distances = np.array([[8.0, 2.9, 5.0], [8.0, 3.0, 5.0], [8.0, 5.0, 0.0]])
    assert metrics.oracle_success(distances, np.array([3, 3, 3])).tolist() == [1, 0, 1]
    # The third path ends before the viewpoint at the goal: what follows is padding.
    assert metrics.oracle_success(distances, np.array([1, 3, 2])).tolist() == [0, 0, 0]


def test_navigation_error_and_path_length() -> None:
    distances = np.array([[8.0, 4.0, 0.0], [8.0, 4.0, 1.0]])
    assert metrics.navigation_error(distances, np.array([2, 3])).tolist() == [4.0, 1.0]
    moves = np.array([[1.5, 2.5], [1.5, 2.5]])
    assert metrics.path_length(moves, np.array([2, 3])).tolist() == [1.5, 4.0]
    assert metrics.path_length(np.zeros((2, 0)), np.array([1, 1])).tolist() == [0.0, 0.0]


def _line(a: list[float], b: list[float]) -> np.ndarray:
    return np.abs(np.subtract.outer(np.array(a), np.array(b)))


def test_ndtw_by_hand() -> None:
    # Path 0, 1, 5 against reference 0, 3 on a line. Costs: row by row 0 3 / 1 2 / 6 4 with the
    # best alignment (0,0) 0 + (1,0) 1 + (2,1) 2 = 3. |reference| = 2, so exp(-3 / 6).
    found = metrics.ndtw(_line([0, 1, 5], [0, 3])[None], np.array([3]), np.array([2]))
    assert found[0] == pytest.approx(np.exp(-0.5))
    # Every viewpoint must be aligned: standing at the start costs the whole reference, 0 + 2 + 4.
    found = metrics.ndtw(_line([0], [0, 2, 4])[None], np.array([1]), np.array([3]))
    assert found[0] == pytest.approx(np.exp(-6 / 9))


def test_identical_paths_have_ndtw_one() -> None:
    found = metrics.ndtw(_line([0, 2, 4, 6], [0, 2, 4, 6])[None], np.array([4]), np.array([4]))
    assert found[0] == 1.0


def test_sdtw_counts_successes_alone() -> None:
    assert metrics.sdtw(np.array([1, 0]), np.array([0.7, 0.7])).tolist() == [0.7, 0.0]


def _warping_by_recursion(distances: np.ndarray) -> float:
    rows, columns = distances.shape
    if rows == 1 or columns == 1:
        return float(distances.sum())
    before = (distances[:-1], distances[:, :-1], distances[:-1, :-1])
    return float(distances[-1, -1]) + min(_warping_by_recursion(part) for part in before)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_batches_with_padding_equal_single_episodes(data: st.DataObject) -> None:
    batch = data.draw(st.integers(1, 4))
    generator = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    distances = generator.uniform(0, 12, (batch, 5, 4))
    paths = generator.integers(1, 6, batch)
    references = generator.integers(1, 5, batch)
    together = metrics.navigation_metrics(
        distances,
        generator.uniform(0.5, 3, (batch, 4)),
        paths,
        references,
        shortest=generator.uniform(0, 12, batch),
        forced_stop=generator.random(batch) < 0.5,
    )
    for row in range(batch):
        inside = distances[row, : paths[row], : references[row]]
        expected = np.exp(-_warping_by_recursion(inside) / (references[row] * 3.0))
        assert together["ndtw"][row] == pytest.approx(expected)
        assert together["navigation_error"][row] == inside[-1, -1]
    assert set(together) == {
        "success", "spl", "oracle_success", "navigation_error",
        "ndtw", "sdtw", "path_length", "forced_stop",
    }  # fmt: skip
    assert (together["spl"] <= together["success"]).all()
    assert (together["oracle_success"] >= together["success"]).all()
    assert ((together["ndtw"] > 0) & (together["ndtw"] <= 1)).all()
    assert (together["sdtw"] <= together["success"]).all()


def test_forced_stop_is_left_out_where_unknown() -> None:
    one = np.array([1])
    values = metrics.navigation_metrics(np.zeros((1, 1, 1)), np.zeros((1, 0)), one, one, one)
    assert "forced_stop" not in values


@pytest.mark.parametrize("count", [0, 4])
def test_a_path_outside_its_array_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"episode 1 of the batch has {count} viewpoints"):
        metrics.navigation_error(np.zeros((2, 3)), np.array([3, count]))
