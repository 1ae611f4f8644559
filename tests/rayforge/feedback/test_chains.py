"""Absorbing chains: the known answers of their sheet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from rayforge.feedback.chains import (
    Chain,
    Counts,
    Guards,
    Step,
    Trial,
    chain_of,
    closed,
    components,
    count,
    losing,
    opened,
    probability_better,
    rewrites,
    solve,
)

EXAMPLE = Counts(
    {("u1", "u2"): 6, ("u2", "u1"): 1}, {"u1": 1, "u2": 8}, {"u1": 3, "u2": 1}
)  # fmt: skip
ANY = Guards(least=1, ratio=1.0, support=1, score=0.0)


def said(*requests: str) -> list[Step[str]]:
    return [Step(request) for request in requests]


def test_the_worked_example() -> None:
    solved = solve(chain_of(EXAMPLE))
    assert solved.requests == ("u1", "u2")
    np.testing.assert_allclose(solved.visits, [[1.06383, 0.63830], [0.10638, 1.06383]], atol=5e-6)
    np.testing.assert_allclose(solved.absorbed, [[0.61702, 0.38298], [0.86170, 0.13830]], atol=5e-6)
    np.testing.assert_allclose(solved.scores, [[0.10638, 0.51064], [0.01064, 0.85106]], atol=5e-6)
    np.testing.assert_allclose(solved.visits.sum(1), [1.70213, 1.17021], atol=5e-6)
    table = rewrites(EXAMPLE, ANY)
    assert [(r.request, r.rewrite) for r in table] == [("u1", "u2")]
    assert table[0].ratio == pytest.approx(4.8) and table[0].support == 8


def test_the_guards() -> None:
    assert [r.rewrite for r in rewrites(EXAMPLE, Guards(ratio=2.0))] == ["u2"]
    assert rewrites(EXAMPLE, Guards(ratio=5.0)) == []
    assert rewrites(EXAMPLE, Guards(support=9)) == []
    assert rewrites(EXAMPLE, Guards(score=0.6)) == []
    assert rewrites(EXAMPLE, ANY, frozenset({("u1", "u2")})) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10_000))
def test_n_is_the_sum_of_the_powers_of_q(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.random((size, size + 2)) * (rng.random((size, size + 2)) < 0.6)
    rows[:, -1] += 0.2
    rows /= rows.sum(1, keepdims=True)
    q, r = rows[:, :size], rows[:, size:]
    chain = Chain(tuple(range(size)), sparse.csr_matrix(q), r)
    assert not closed(chain).any() and max(abs(np.linalg.eigvals(q))) < 1
    solved = solve(chain)
    power, series = np.eye(size), np.zeros((size, size))
    for _ in range(400):
        series, power = series + power, power @ q
    np.testing.assert_allclose(solved.visits, series, atol=1e-10)
    np.testing.assert_allclose(solved.absorbed.sum(1), 1, atol=1e-10)
    # Solved by component it is the same, and nothing is visited beyond its component.
    for part in components(chain):
        at = [chain.requests.index(k) for k in part.requests]
        np.testing.assert_allclose(solve(part).visits, solved.visits[np.ix_(at, at)], atol=1e-10)
        others = np.setdiff1d(np.arange(size), at)
        assert not solved.visits[np.ix_(at, others)].any()


def sessions_from(p: np.ndarray, number: int, seed: int) -> Counts[str]:
    """Sessions of a known P over u0, u1, ..., s+, s-."""
    rng, size = np.random.default_rng(seed), len(p)
    paths = []
    for start in rng.integers(size, size=number):
        path, at = [], int(start)
        while at < size:
            path.append(f"u{at}")
            at = int(rng.choice(size + 2, p=p[at]))
        paths.append((said(*path), at == size))
    return count(paths)


def test_what_is_estimated_nears_the_truth() -> None:
    p = np.array([[0, 0.5, 0.2, 0.05, 0.25], [0.1, 0, 0, 0.8, 0.1], [0, 0.2, 0, 0.3, 0.5]])
    truth = solve(Chain(("u0", "u1", "u2"), sparse.csr_matrix(p[:, :3]), p[:, 3:])).scores
    errors = []
    for number in (100, 1600):
        found = [solve(chain_of(sessions_from(p, number, seed))) for seed in range(12)]
        errors.append(np.mean([abs(f.scores - truth).mean() for f in found]))
    assert all((f.scores.argmax(1) == truth.argmax(1)).all() for f in found)
    assert 2.5 < errors[0] / errors[1] < 6.0  # sixteen times the sessions, a quarter of the error


def test_what_always_succeeds_is_left_and_what_never_does_gets_nothing() -> None:
    paths = [(said("good"), True), (said("bad", "worse"), False), (said("worse"), False)]
    assert rewrites(count(paths * 3), ANY) == []


def test_a_closed_class_is_found() -> None:
    counts = Counts({("a", "b"): 1, ("b", "a"): 1, ("c", "a"): 1, ("c", "d"): 3}, {"d": 3}, {})
    chain = chain_of(counts)
    assert dict(zip(chain.requests, closed(chain), strict=True)) == {
        "a": True, "b": True, "c": False, "d": False}  # fmt: skip
    with pytest.raises(ValueError, match=r"'a' leads to no end"):
        solve(chain)
    assert not closed(opened(chain)).any()
    assert [(r.request, r.rewrite, r.score) for r in rewrites(counts, ANY)] == [("c", "d", 0.75)]


def test_several_hops() -> None:
    table = rewrites(count([(said("u1", "u2", "u3"), True)]), ANY)
    assert {r.request: (r.rewrite, r.score) for r in table} == {"u1": ("u3", 1), "u2": ("u3", 1)}


def test_doubling_changes_nothing_and_other_components_neither() -> None:
    paths = [(said("a", "b"), True), (said("a"), False), (said("b"), True), (said("b", "c"), False)]
    alone = rewrites(count(paths), ANY)
    doubled = rewrites(count(paths * 2), ANY)
    assert [r[:4] for r in doubled] == [r[:4] for r in alone] and alone
    more = rewrites(count([*paths, (said("x", "y"), True), (said("y"), False)]), ANY)
    assert [r for r in more if r.request not in "xy"] == alone
    first, second = count(paths[:2]), count(paths[2:])
    assert first + second == count(paths)


def test_rare_steps_are_dropped() -> None:
    counts = count([(said("a", "b"), True)] * 3 + [(said("a", "c"), True)])
    assert chain_of(counts, 2).q[0].toarray().tolist() == [[0, 1, 0]]
    # A request whose every step was dropped ends badly, so that rows still sum to 1.
    chain = chain_of(count([(said("a", "b"), True)]), 2)
    assert (chain.q.sum(1).ravel() + chain.r.sum(1) == 1).all()


def loop(raw: bool, days: int = 30) -> str | None:
    """u always fails. Two early users of u came to v, which works for those who mean v and not for
    those who say u; w works. Returns what the table makes of u in the end."""
    rng = np.random.default_rng(0)
    paths = [(said("u", "v"), True)] * 3 + [(said("v"), True)] * 3
    trials: dict[tuple[str, str], Trial] = {}
    table = {r.request: r.rewrite for r in rewrites(count(paths), Guards())}
    assert table == {"u": "v"}
    for _ in range(days):
        for _ in range(5):
            paths.append((said("v"), True))
            rewrite = None if raw and rng.random() < 0.1 else table.get("u")
            worked = rewrite == "w" or (rewrite is not None and rng.random() < 0.1)
            if raw and rewrite is not None:
                old = trials.get(("u", rewrite), Trial(0, 0, 0, 0))
                trials["u", rewrite] = old._replace(
                    with_good=old.with_good + worked, with_bad=old.with_bad + (not worked)
                )
            if raw and rewrite is None:
                trials = {pair: t._replace(without_bad=t.without_bad + 1)
                          for pair, t in trials.items()}  # fmt: skip
            first = Step("u", rewrite is not None) if raw else Step(rewrite or "u")
            again = rng.random() < 0.3
            if worked or not again:  # most give up
                paths.append(([first], worked))
            else:
                paths.append(([first, Step("w")], True))
        retired = losing(trials) if raw else frozenset()
        table = {r.request: r.rewrite for r in rewrites(count(paths), Guards(), retired)}
    return table.get("u")


def test_live_rewrites_do_not_lock_themselves_in() -> None:
    assert loop(raw=False) == "v"
    assert loop(raw=True) == "w"


def test_the_beta_test() -> None:
    assert probability_better(Trial(0, 0, 0, 0)) == pytest.approx(0.5, abs=1e-3)
    # P(Beta(2,1) > Beta(1,1)) = int 2x x dx = 2/3
    assert probability_better(Trial(1, 0, 0, 0)) == pytest.approx(2 / 3, abs=1e-3)
    assert probability_better(Trial(20, 2, 2, 20)) > 0.999
    trials = {
        ("a", "b"): Trial(0, 6, 4, 4),
        ("a", "c"): Trial(5, 1, 4, 4),
        ("a", "d"): Trial(0, 0, 4, 4),
    }
    assert losing(trials) == {("a", "b")}


def test_the_end_of_a_rewritten_turn_says_nothing_about_the_request() -> None:
    counts = count([([Step("a", True)], True), ([Step("a", True), Step("b")], True)])
    assert (dict(counts.good), dict(counts.bad), dict(counts.steps)) == (
        {"b": 1}, {}, {("a", "b"): 1})  # fmt: skip


def test_a_large_component_is_solved_by_its_factors() -> None:
    names = [f"u{k:03d}" for k in range(200)]
    solved = solve(chain_of(count([(said(*names), True), (said(*names[:50]), False)])))
    assert solved.absorbed[0].tolist() == pytest.approx([0.5, 0.5])
    assert solved.scores[60, 199] == pytest.approx(1) and solved.scores[0, 199] == pytest.approx(
        0.5
    )


def test_a_thousand_components_take_their_turn() -> None:
    paths = list(itertools.chain.from_iterable(
        [(said(f"a{k}", f"b{k}"), True)] * 2 for k in range(1000)))  # fmt: skip
    assert len(rewrites(count(paths), Guards())) == 1000
