"""What the benchmark of searches runs, and what it makes of their output."""

from __future__ import annotations

from pathlib import Path

import yaml

from benchmarks.search_process import ended, reported, started
from benchmarks.searches import CONFIGS, SMALL, about_the_kill, smaller
from trainers.search.config import read_search

SAID = [
    (1.0, "8 trials of irl, 2 at a time; a trial takes 1 CPUs"),
    (2.0, "trial   1  starts with gamma 0.9"),
    (3.0, "trial   2  starts with gamma 0.8"),
    (4.0, "trial   1  report 1  unseen/success 0.1  0.2 min"),
    (5.0, "trial   2  was stopped early"),
    (6.0, "trial  12  starts with gamma 0.7"),
    (7.0, "trial   1  is finished"),
]


def test_output_tells_which_trials_began_and_ended_and_when() -> None:
    assert started(SAID) == {1, 2, 12}
    assert reported(SAID) == {1}
    assert ended(SAID) == {1, 2}
    assert ended(SAID, until=6.5) == {2}


def test_the_smaller_searches_are_the_repositorys_with_eight_trials(tmp_path: Path) -> None:
    for half in SMALL:
        file = tmp_path / f"{half}.yaml"
        file.write_text(yaml.safe_dump(smaller(half, tmp_path), sort_keys=False))
        search = read_search(file)
        original = yaml.safe_load((CONFIGS / f"{half}.yaml").read_text())
        assert search.trials == 8
        assert search.settings.space == original["space"]
        assert search.settings.scheduler == original["scheduler"]
        # A trial can be stopped before its last report where the scheduler stops any.
        assert search.settings.scheduler == "none" or search.settings.grace < search.reports


def test_a_trial_that_ran_again_is_told() -> None:
    killed = {"before": [1, 2], "begun": [1, 2, 3], "after": [3, 4], "changed": [], "total": [1, 2]}
    assert "ended ones run again:  none" in about_the_kill(killed)
    assert "NOT 1 to 8: 1, 2" in about_the_kill(killed)
    assert "run again:  2" in about_the_kill({**killed, "after": [2, 3]})
    whole = about_the_kill({**killed, "changed": [1], "total": list(range(1, 9))})
    assert "run again:  1" in whole and "NOT" not in whole
