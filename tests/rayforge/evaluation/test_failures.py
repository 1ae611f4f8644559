"""Each cause of failure on a path made for it."""

from __future__ import annotations

import pytest

from rayforge.evaluation.failures import CAUSES, Cause, cause_of, choose_failures

REFERENCE = ("a", "b", "c", "d", "e")
AWAY = {"a": 8.0, "b": 6.0, "c": 4.0, "d": 2.0, "e": 0.0, "x": 7.0, "y": 9.0}


def of(path: str, climbed: float = 0.0, forced: bool = False) -> Cause:
    return cause_of(list(path), REFERENCE, [AWAY[v] for v in path], climbed, forced, 3.0)


def test_every_cause() -> None:
    found = [of("abxa", forced=True), of("abcdex"), of("ax", climbed=2.4), of("abc"), of("abxy")]
    assert [cause.name for cause in found] == list(CAUSES)
    assert [cause.step for cause in found] == [2, 5, 1, 3, 2]
    assert str(found[-1]) == "left the way after 1 right steps"


def test_the_first_rule_that_fits_counts() -> None:
    assert of("abcdx", climbed=3.0).name == "walked past the goal"
    assert of("abc", climbed=-2.0).name == "another floor"
    assert of("a").name == "stopped early, on the way"
    assert of("abcde", forced=True).name == "never stopped", "at the goal, but forced"


def test_what_is_no_failure_is_refused() -> None:
    with pytest.raises(ValueError, match="no failure"):
        of("abcd")
    with pytest.raises(ValueError, match="one each"):
        cause_of(["a", "b"], REFERENCE, [1.0], 0.0, False, 3.0)


def test_failures_are_drawn_one_a_path_and_the_same_again() -> None:
    episodes = [
        {"episode_id": str(k), "scan": "s", "reference": ["a", str(k // 3)], "success": k % 2 == 0}
        for k in range(60)
    ]
    chosen = choose_failures(episodes, 10, seed=1)
    assert chosen == choose_failures(episodes, 10, seed=1)
    assert len(chosen) == len({e["reference"][1] for e in chosen}) == 10
    assert not any(e["success"] for e in chosen)
    assert len(choose_failures(episodes, 100, seed=1)) == 20
