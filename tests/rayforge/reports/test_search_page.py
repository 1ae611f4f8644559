"""The page of a search: everything a person looks for is on it, whatever the trials came to."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from rayforge.reports.search import search_page
from rayforge.reports.search_charts import Scale

SPACE: list[dict[str, Any]] = [
    {"key": "learning_rate", "kind": "loguniform", "low": 1e-4, "high": 1e-2, "choices": []},
    {"key": "relabel", "kind": "choice", "low": 0.0, "high": 0.0, "choices": ["True", "False"]},
    {"key": "gamma", "kind": "uniform", "low": 0.9, "high": 1.0, "choices": []},
]


def search_of(**changes: Any) -> dict[str, Any]:
    return {
        "name": "<mine>", "system": "irl", "metrics": {"unseen/success": "max"}, "best": 2,
        "searcher": "optuna", "scheduler": "asha", "command": "rayforge tune", "hardware": "two",
        "front": [], "importance": {"unseen/success": {"learning_rate": 0.7, "gamma": 0.3}},
        "space": SPACE, **changes,
    }  # fmt: skip


def trial_of(number: int, success: float | None, status: str = "finished") -> dict[str, Any]:
    figures = {} if success is None else {"unseen/success": success, "win_rate": 1 - success}
    curve = [
        {"report": float(n), **{k: v * n / 3 for k, v in figures.items()}} for n in (1, 2, 3)
    ]  # fmt: skip
    return {
        "number": number, "status": status, "figures": figures, "reports": 3, "seconds": 60.0,
        "settings": {"learning_rate": 1e-3 * number, "relabel": number % 2 == 0},
        "curve": curve if figures else [], "error": "Boom <b>" if status == "failed" else "",
    }  # fmt: skip


def drawings(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.S)]


def test_a_search_with_one_metric() -> None:
    trials = [trial_of(1, 0.2), trial_of(2, 0.6), trial_of(3, 0.9, "stopped")]
    html = search_page(search_of(), [*trials, trial_of(4, None, "failed")])
    assert "&lt;mine&gt;" in html and "<mine>" not in html
    assert "Boom &lt;b&gt;" in html
    parallel, curves, importance = drawings(html)
    assert "4 axes" in parallel.attrib["aria-label"]
    assert "of 3 trials" in parallel.attrib["aria-label"]
    assert "learning_rate 0.70" in importance.attrib["aria-label"]
    # Figures of less training stand below those of trials that ran to their end.
    assert re.findall(r'<th scope="row">(\d)</th>', html) == ["2", "1", "3", "4"]
    assert '<tr class="own"><th scope="row">2</th>' in html
    assert "trial 2: learning_rate 0.002, relabel True" in html
    assert "2" in "".join(curves.itertext())


def test_a_search_with_two_metrics_shows_the_trade_off() -> None:
    trials = [trial_of(1, 0.2), trial_of(2, 0.6)]
    both = search_of(metrics={"unseen/success": "max", "win_rate": "max"}, front=[1, 2])
    html = search_page(both, trials)
    assert "unseen/success against win_rate of 2 trials, 2 on the front" in html
    assert html.count('class="own"') == 2


@pytest.mark.parametrize("trials", [[], [trial_of(1, None, "unfinished")]])
def test_a_search_without_results_says_so(trials: list[dict[str, Any]]) -> None:
    html = search_page(search_of(best=None, importance={"unseen/success": {}}), trials)
    assert "No trial has reported yet" in html
    assert "nothing can be said" in html


def test_a_line_passes_over_what_a_trial_did_not_have_to_its_result() -> None:
    trial = trial_of(1, 0.2)
    del trial["settings"]["relabel"]
    parallel = drawings(search_page(search_of(importance={}), [trial, trial_of(2, 0.6)]))[0]
    paths = [e for e in parallel.iter() if e.tag.endswith("path")]
    dotted = [e.attrib["d"] for e in paths if "stroke-dasharray" in e.attrib]
    # The worse trial is drawn first; it has neither relabel nor gamma, the other one lacks gamma.
    assert len(dotted) == 2 and all(path.count("M") == 1 for path in dotted)
    ends = [float(y) for y in re.findall(r" ([\d.]+)", dotted[0])]
    axes = sorted({float(e.attrib["y1"]) for e in parallel.iter() if e.get("class") == "grid"})
    assert ends == [axes[0], axes[-1]]


def test_places_on_an_axis() -> None:
    log = Scale("rate", log=True, low=1e-4, high=1e-2)
    assert log.place(1e-3) == pytest.approx(0.5)
    assert log.marks() == pytest.approx([1e-4, 1e-3, 1e-2])
    choice = Scale("relabel", choices=("True", "False"))
    assert choice.place(True) == 0.25
    assert choice.place(None) is None
    flat = Scale("gamma", low=0.9, high=0.9)
    assert flat.place(0.9) == 0.5
