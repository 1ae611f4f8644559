"""Charts: scales, gaps and smoothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rayforge.evaluation.intervals import Interval
from rayforge.reports.plots import Series, interval_chart, line_chart, running_mean, show
from rayforge.reports.scatter import matrix_chart, scatter_chart
from rayforge.reports.section import cell


def _lines(drawing: str) -> list[str]:
    return re.findall(r'<path class="line[^"]*" d="([^"]*)"', drawing)


def test_nan_leaves_a_gap_and_a_lone_point_a_dot() -> None:
    y = np.array([1.0, 2.0, np.nan, 3.0, np.nan, 4.0, 5.0])
    (picture,) = line_chart("loss", [Series("a", np.arange(7.0), y)])
    assert _lines(picture.drawing)[0].count("M") == 2
    assert picture.drawing.count("<circle") == 1
    assert "ends at 5" in picture.says


def test_intervals_are_whiskers_inside_the_chart_and_beside_each_other() -> None:
    spans = [Interval(1.0, -9.0, 11.0, 3), Interval(2.0, np.nan, np.nan, 1)]
    series = [
        Series(name, np.arange(2.0), np.array([1.0, 2.0]), spans=spans) for name in ("a", "b")
    ]
    (picture,) = line_chart("lost", series, last_values=False)
    drawn = re.findall(r'class="span-line[^"]*" d="M([\d.]+) ([\d.]+)V([\d.]+)', picture.drawing)
    assert len(drawn) == 2 and drawn[0][0] != drawn[1][0]
    assert all(0 < float(y) < picture.height for _, *ends in drawn for y in ends)
    assert [key.value for key in picture.keys] == ["", ""]


def test_points_at_one_place_are_a_dot() -> None:
    (picture,) = line_chart("parity", [Series("a", np.zeros(3), np.full(3, 0.9))])
    assert picture.drawing.count("<circle") == 1 and _lines(picture.drawing) == []


def test_no_finite_value_draws_nothing() -> None:
    assert line_chart("loss", [Series("a", np.arange(2.0), np.full(2, np.nan))]) == []
    assert line_chart("loss", [Series("a", np.array([]), np.array([]))]) == []


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [0.0, 0.0], [-1e-9, 1e9], [1e-12, 2e-12]])
def test_any_finite_values_can_be_drawn(values: list[float]) -> None:
    (picture,) = line_chart("x", [Series("a", np.arange(float(len(values))), np.array(values))])
    assert "nan" not in picture.drawing and "<path" in picture.drawing


def test_long_curves_are_smoothed_and_thinned() -> None:
    y = np.random.default_rng(0).random(5000)
    (picture,) = line_chart("x", [Series("a", np.arange(5000.0), y)])
    faint, strong = _lines(picture.drawing)
    assert len(faint) < 6000 and len(strong) < 6000


def test_running_mean() -> None:
    found = running_mean(np.array([1.0, 2.0, np.nan, 4.0, 6.0]), 3)
    assert np.allclose(found, [1.5, 1.5, np.nan, 5.0, 5.0], equal_nan=True)


def test_interval_chart_bounds_whiskers_and_survives_nan() -> None:
    rows = [
        ("over", Interval(1.0, 0.9, 1.3, 3), "agent"),
        ("one run", Interval(0.5, np.nan, np.nan, 1), "quiet"),
        ("none", Interval(np.nan, np.nan, np.nan, 0), "quiet"),
    ]
    html = interval_chart("Success", rows).drawing
    assert html.count("whisker") == 1 and html.count("<rect") == 2
    assert "no value" in html and ">nan<" not in html


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.41234, "0.412"), (4123.4, "4,123"), (41234, "41.2k"), (2.5e6, "2.5M"), (0, "0"),
     (1e-5, "1.0e-05"), (999.9, "1,000"), (np.nan, "—")],
)  # fmt: skip
def test_show(value: float, said: str) -> None:
    assert show(value) == said


def test_ticks_that_lie_close_read_differently() -> None:
    x = np.arange(5.0)
    (chart,) = line_chart("Loss", [Series("loss", x, 1.3801 + 0.0004 * x)])
    labels = re.findall(r'class="tick end"[^>]*>([^<]+)<', chart.drawing)
    assert len(labels) > 2 and len(set(labels)) == len(labels)


def test_labels_of_points_stay_inside_and_apart() -> None:
    x, y = np.array([0.0, 1.0, 1.0, 1.0, 0.5]), np.array([0.0, 1.0, 1.0, 0.999, 0.5])
    names = ["house00000", "house00001", "house00002", "house00003", "house00004"]
    (picture,) = scatter_chart("Map", [("", x, y, names)], x="a", y="b", labels=True)
    found = re.findall(r'<text class="tick" x="([\d.]+)" y="([\d.]+)">(house\d+)', picture.drawing)
    assert {name for *_, name in found} >= {"house00000", "house00001", "house00004"}
    boxes = [(float(a), float(b), float(a) + 7.0 * len(name)) for a, b, name in found]
    assert all(left >= 0 and right <= picture.width for left, _, right in boxes)
    for k, (left, low, right) in enumerate(boxes):
        for other, height, end in boxes[k + 1 :]:
            assert right <= other or end <= left or abs(low - height) >= 11


def test_distances_of_two_tasks_are_seen() -> None:
    """One distance is the least and the greatest: it is dark, and the diagonal is not."""
    (picture,) = matrix_chart("Distances", np.array([[0.0, 0.4], [0.4, 0.0]]), ["a", "b"], "Dark.")
    assert re.findall(r'fill-opacity="([\d.]+)"', picture.drawing) == ["0.05", "1", "1", "0.05"]
    assert picture.hint == "Dark. From 0.4 to 0.4."


def test_a_zero_has_no_minus() -> None:
    shown = cell(Interval(-0.0001, -0.0004, 0.0002, 3), signed=True)
    assert (shown.words, shown.below) == ("+0.000", "[+0.000, +0.000]")
    assert cell(Interval(-0.0001, -0.2, 0.1, 3)).words == "0.000"


def test_a_matrix_too_large_for_names_takes_their_room() -> None:
    (small,) = matrix_chart("far", np.arange(4.0).reshape(2, 2), ["one", "two"])
    (large,) = matrix_chart("far", np.eye(90), [f"building {n}" for n in range(90)])
    assert ">one</text>" in small.drawing and "</text>" not in large.drawing
    assert 'x="8"' in large.drawing
