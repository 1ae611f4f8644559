"""The page of an alignment run, and two of them side by side without a judge."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_alignment import make_alignment_run
from fake_run import make_run

from rayforge.errors import ConfigurationError
from rayforge.evaluation.intervals import paired_difference
from rayforge.reports.alignment import as_scored, spoken_prompt, write_alignment_report
from rayforge.reports.comparison import write_comparison
from rayforge.reports.groups import merge_seeds, over_episodes
from rayforge.reports.run_folder import read_run

RNG = np.random.default_rng(0)
MARGINS = RNG.normal(0.2, 1.0, 60)
BETTER = MARGINS + RNG.uniform(0.2, 0.9, 60)


def right(margins: np.ndarray) -> np.ndarray:
    return np.where(margins == 0, 0.5, margins > 0)


def test_the_page_says_how_many_pairs_an_accuracy_is_of(tmp_path: Path) -> None:
    prompt = json.dumps([{"role": "user", "content": "Where is the <b>door</b>?"}])
    run = make_alignment_run(tmp_path / "a", MARGINS, prompt=prompt)
    html = write_alignment_report(run).read_text()
    assert re.search(r"\[0\.\d{3}, 0\.\d{3}\] n 60", html)
    assert "<dt>User</dt><dd>Where is the &lt;b&gt;door&lt;/b&gt;?</dd>" in html
    assert "not finished" not in html and "share of pairs" in html


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    run = make_alignment_run(tmp_path / "a", MARGINS, rounds=1)
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace("rounds: 1", "rounds: 3")
    )
    html = write_alignment_report(run).read_text()
    assert "This run is not finished" in html
    assert f"rayforge align train --resume {run}" in html


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Go on.", [("Prompt", "Go on.")]),
        ("[]", [("Prompt", "[]")]),
        ("[1, 2]", [("Prompt", "[1, 2]")]),
        ('{"role": "user"}', [("Prompt", '{"role": "user"}')]),
        ("[" * 100_000, [("Prompt", "[" * 100_000)]),
        ('[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]',
         [("System", "Be brief."), ("User", "Hi")]),
    ],
)  # fmt: skip
def test_prompts_are_shown_as_text(prompt: str, said: list[tuple[str, str]]) -> None:
    assert spoken_prompt(prompt) == said


def test_two_runs_are_compared_pair_by_pair_in_both_orders(tmp_path: Path) -> None:
    a = make_alignment_run(tmp_path / "a", BETTER, method="sera", scores=[1.0, 1.0, 0.0])
    b = make_alignment_run(tmp_path / "b", MARGINS, method="dpo", scores=[0.0, 1.0, 0.0])
    html = write_comparison([a, b], tmp_path / "c.html", ("seed",)).read_text()
    assert "Is a better than b?" in html
    assert "a is better than b in accuracy on held-out pairs" in html
    assert "over 60 shared pairs" in html and "3 shared prompts" in html
    first, second = merge_seeds([as_scored(read_run(run)) for run in (a, b)], ("seed",))
    for metric, values in (("accuracy", right), ("margin", np.asarray)):
        expected = paired_difference(values(BETTER), values(MARGINS))
        found = over_episodes(first, second, "held-out pairs", metric)
        assert found.mean == pytest.approx(expected.mean) and found.n == 60
        for mean, low, high in ((expected.mean, expected.low, expected.high),
                                (-expected.mean, -expected.high, -expected.low)):  # fmt: skip
            assert f"{mean:+.3f}" in html
            if metric == "margin":  # resampled in another order of the pairs
                assert found.low == pytest.approx(expected.low, abs=0.02)
            del low, high
    assert "a \u2212 b" in html and "b \u2212 a" in html


def test_other_pairs_losses_and_judges_are_not_subtracted(tmp_path: Path) -> None:
    a = make_alignment_run(tmp_path / "a", BETTER, scores=[1.0, 0.0], judge="one")
    others = make_alignment_run(tmp_path / "others", MARGINS, task="aaaa-cccc", scores=[1.0, 0.0])
    html = write_comparison([a, others], tmp_path / "c.html", ("seed",)).read_text()
    assert "not scored on the same episodes, pairs or prompts (held-out pairs)" in html
    assert "their scores are of  and one (greedy answers)" in html or "and one" in html
    assert "Accuracy, held-out pairs" in html  # each alone, as bars
    assert "Paired differences" not in html
    loss = make_alignment_run(tmp_path / "loss", MARGINS, loss="simpo")
    html = write_comparison([a, loss], tmp_path / "c.html", ("seed",)).read_text()
    assert "their margins are of sigmoid and simpo" in html
    assert "Accuracy, over pairs" in html and "Margin, nats, over pairs" not in html


def test_an_agent_beside_an_alignment_run_is_refused(tmp_path: Path) -> None:
    a, b = make_alignment_run(tmp_path / "a", MARGINS), make_run(tmp_path / "b", iterations=3)
    for runs in ([a, b], [b, a]):
        with pytest.raises(
            ConfigurationError, match=r"a is an alignment run and .*b is an agent's"
        ):
            write_comparison(runs, tmp_path / "c.html", ())
    assert not (tmp_path / "c.html").exists()
