"""The loop on a town of paper: an agent that understands some wordings and not others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.sessions.log import read_log, sessions_of
from envs.sessions.noise import clauses_of, confusions, misheard, sound_of
from envs.sessions.people import PeopleConfig, Route, people
from envs.sessions.simulation import Asked
from envs.sessions.turns import Turn
from rayforge.feedback.encoder import Query
from rayforge.feedback.rewriting import Answer
from rayforge.feedback.teaching import Memory
from rayforge.feedback.text import normal
from trainers.feedback import loop
from trainers.feedback.config import FeedbackConfig
from trainers.feedback.figures import by_noise, defects_of_users, goals_of, judge, saved
from trainers.feedback.follower import Follower, Request, Walk
from trainers.feedback.online import HomeRewriters, placed, sign_of
from trainers.feedback.served import Place, Served
from trainers.feedback.tables import count_sessions, paths_of, table_of

WORDS = ("walk to the blue sofa", "go over to the red lamp", "stop by the long table",
         "enter the small kitchen", "wait near the old door", "find the tall plant")  # fmt: skip


def town(homes: int = 2, routes: int = 6) -> dict[str, tuple[Route, ...]]:
    return {
        f"home{h}": tuple(
            Route(f"home{h}", (f"s{k}", f"m{k}", f"g{k}"), 0.0,
                  tuple(f"{WORDS[k]}, then turn {way} and stop number {k}"
                        for way in ("left", "right", "back")), "kitchen")
            for k in range(routes)
        )
        for h in range(homes)
    }  # fmt: skip


class Paper:
    """Goes to the goal of a route for its second wording alone; elsewhere for all others."""

    def __init__(self, routes: dict[str, tuple[Route, ...]]) -> None:
        self.known = {
            (r.building, r.start, normal(r.wordings[1])): r.path
            for own in routes.values()
            for r in own
        }
        self.asked = 0

    def walks(self, requests: Sequence[Request]) -> list[Walk]:
        self.asked += len(requests)
        return [
            Walk(self.known.get((r.building, r.start, normal(r.text)), (r.start, "x")), 0.5)
            for r in requests
        ]

    def metres(self, building: str, here: str, there: str) -> float:
        return 0.0 if here == there else 5.0

    def shortest(self, building: str, start: str, goal: str) -> tuple[str, ...]:
        return (start, goal)


CONFIG = FeedbackConfig(days=6, arms=("nothing", "table"), people=PeopleConfig(
    users=12, goals_a_day=3.0, sound=0.0, patience=(3, 4), mistaken=0.0))  # fmt: skip


def run_loop(config: FeedbackConfig, run: Path, days: range) -> list[dict[str, float]]:
    run.mkdir(exist_ok=True)
    routes = town()
    return list(loop.train(config, run, days, Paper(routes), routes))


def test_a_table_mends_what_people_say_again(tmp_path: Path) -> None:
    days = run_loop(CONFIG, tmp_path / "run", range(1, 7))
    assert days[0]["defect/nothing"] == days[0]["defect/table"]  # nothing is learnt yet
    late = [np.mean([day[f"defect/{arm}"] for day in days[3:]]) for arm in ("nothing", "table")]
    assert late[1] < 0.7 * late[0]
    assert sum(d["won/table"] for d in days) > 20 and sum(d["broken/table"] for d in days) == 0
    logs = {arm: read_log(tmp_path / "run" / f"log_{arm}.jsonl").turns
            for arm in ("nothing", "table")}  # fmt: skip
    # The same people with the same wishes.
    first = [[(g[0].turn_id, g[0].heard, g[0].truth and g[0].truth.place) for g in goals_of(turns)]
             for turns in logs.values()]  # fmt: skip
    assert first[0] == first[1]
    users = {arm: defects_of_users(turns, 3) for arm, turns in logs.items()}
    found = saved(users["nothing"], users["table"])
    assert 0.3 < found.relative.low < found.relative.mean < found.relative.high <= 1
    noise = by_noise(logs["nothing"])
    assert noise["private"][0] == noise["private"][1] > 0  # nobody knows private names
    table = [
        json.loads(x) for x in (tmp_path / "run" / "table_table.jsonl").read_text().split("\n") if x
    ]
    assert table and all("turn right" in row["rewrite"] for row in table if row["support"] > 3)


def test_a_killed_loop_goes_on_to_the_same_log(tmp_path: Path) -> None:
    config = replace(CONFIG, arms=("nothing", "table"), days=4)
    run_loop(config, tmp_path / "whole", range(1, 5))
    (tmp_path / "part").mkdir()
    routes = town()
    steps = loop.train(config, tmp_path / "part", range(1, 5), Paper(routes), routes)
    figures = [next(steps), next(steps)]
    steps.close()
    with (tmp_path / "part" / "log_table.jsonl").open("a") as log:
        log.write('{"half')  # what a kill leaves
    figures += list(loop.train(config, tmp_path / "part", range(3, 5), Paper(routes), routes))
    for name in ("log_nothing.jsonl", "log_table.jsonl", "days.json"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert figures == json.loads((tmp_path / "whole" / "days.json").read_text())


def test_people_are_drawn_by_the_seed() -> None:
    config = PeopleConfig(users=9)
    routes = town(3)
    users = people(config, routes, 0)
    assert users == people(config, routes, 0) != people(config, routes, 1)
    assert [user.building for user in users[:4]] == ["home0", "home1", "home2", "home0"]
    assert all(set(user.private) <= set(user.habits) for user in users)
    with pytest.raises(ValueError, match="patience"):
        PeopleConfig(patience=(3, 2))


def test_words_that_sound_alike() -> None:
    table = confusions(["write", "right", "stair", "stare", "kitchen", "night", "knight", "zz"])
    assert sound_of("right") == sound_of("write") and "write" in table["right"]
    assert (
        "stare" in table["stair"] and "knight" in table["night"] and "kitchen" not in table["right"]
    )
    rng = np.random.default_rng(0)
    text = "Turn right, then up the stair."
    assert misheard(text, table, 0.0, rng) == text
    assert misheard(text, table, 1.0, rng) in (
        "Turn write, then up the stare.", "Turn night, then up the stare.")  # fmt: skip
    heard = [misheard("right", table, 0.3, rng) for _ in range(2000)]
    assert 0.25 < np.mean([word != "right" for word in heard]) < 0.35
    assert clauses_of("Go left, and walk on. Then stop by the door. Wait!") == [
        "Go left",
        "walk on",
        "stop by the door Wait",
    ] or clauses_of("a b c, d e f") == ["a b c", "d e f"]


def turn(name: str, heard: str, signal: str, at: float, **changes: object) -> Turn:
    fields = {"path": ("s0", "x"), "duration": 5.0, **changes}
    return Turn(name, "ann", "home0", at, heard, signal, **fields)  # type: ignore[arg-type]


def test_sessions_become_paths() -> None:
    turns = [
        turn("0", "go a", "rephrase", 0), turn("1", 'by "a" i mean: b', "none", 10),
        turn("2", "Go B!", "thanks", 20),
        turn("3", "go c", "stop", 30, rewrite="go d", source="table"),
        turn("4", "go e", "none", 5000),
    ]  # fmt: skip
    paths = paths_of(sessions_of(turns))
    said = [[step.request.text for step in path] for path, _ in paths]
    assert said == [["go a", "go b"], ["go c"], ["go e"]]
    assert [well for _, well in paths] == [True, False, True]
    counts = count_sessions(sessions_of(turns), 0)
    assert Place("home0", "s0", "go c") not in counts.bad  # it was rewritten


def test_a_rewrite_that_loses_is_retired() -> None:
    asked = [turn(f"a{k}", "go a", "rephrase", 1000 * k) for k in range(3)]
    again = [turn(f"b{k}", "go b", "none", 1000 * k + 10) for k in range(3)]
    log = sorted(asked + again, key=lambda t: t.time)
    config = FeedbackConfig().table
    assert [row.rewrite.text for row in table_of(log, config)] == ["go b"]
    lost = [turn(f"c{k}", "go a", "stop", 9000 + 1000 * k, rewrite="go b", source="table")
            for k in range(8)]  # fmt: skip
    plain = [turn(f"d{k}", "go a", "none", 30_000 + 1000 * k) for k in range(4)]
    assert table_of([*log, *lost, *plain], config) == []


def served(memory: Memory | None = None) -> Served:
    routes = town()
    table = {Place("home0", "s0", "go there"): routes["home0"][0].wordings[1]}
    return Served(Paper(routes), table, memory=memory)


def test_layers_in_their_order() -> None:
    assistant = served(Memory())
    ask = Asked("ann", "home0", "s0", 0.0, "Go there!")
    answer = assistant.follow([ask])[0]
    assert (answer.source, answer.path[-1]) == ("table", "g0")
    lesson = turn("t", 'by "there" i mean: x', "none", 0, path=("s0", "g3"))
    assert assistant.question([turn("0", "go to there", "stop", 0)]) is None  # one failure
    phrase = assistant.question([turn("0", "go to my spot", "stop", 0)] * 2)
    assert phrase == "my spot"
    assistant.taught(lesson, phrase)
    mine = [Asked(user, "home0", "s0", 0.0, "go to my spot") for user in ("ann", "bob")]
    first, second = assistant.follow(mine)
    assert (first.source, first.path) == ("taught", ("s0", "g3"))
    assert (second.source, second.path[-1]) == ("none", "x")
    elsewhere = assistant.follow([Asked("ann", "home0", "s1", 0.0, "go to my spot")])[0]
    assert elsewhere.path == ("s1", "g3")
    assert assistant.follow([Asked("ann", "home1", "s0", 0.0, "go to my spot")])[0].source == "none"


def test_some_requests_stay_as_they_are_to_be_compared() -> None:
    assistant = served()
    assistant.explore = 0.3
    users = [Asked(f"u{k}", "home0", "s0", 0.0, "go there") for k in range(1000)]
    raw = [answer.rewrite is None for answer in assistant.follow(users)]
    assert 0.25 < np.mean(raw) < 0.35


def test_rewrites_are_judged_against_the_raw_request() -> None:
    routes = town()
    right, wrong = routes["home0"][0].wordings[1], routes["home0"][0].wordings[0]
    from envs.sessions.turns import Truth

    def one(heard: str, rewrite: str, achieved: bool) -> Turn:
        truth = Truth("s", 0, "g0", achieved, heard)
        return turn("0", heard, "none", 0, rewrite=rewrite, source="table", truth=truth)

    found = judge([one(wrong, right, True), one(right, wrong, False), one(wrong, wrong, False)],
                  Paper(routes))  # fmt: skip
    assert [(one.won, one.lost) for one in found] == [(True, False), (False, True), (False, False)]


class _Says:
    """A rewriter that has one answer."""

    def __init__(self, rewrite: str | None, layer: str) -> None:
        self.found, self.queries = Answer(rewrite, "rewritten", layer), []  # type: ignore[arg-type]

    def answer(self, user: str, query: Query, budget_ms: float) -> Answer:
        self.queries.append((user, query.request))
        return self.found


def test_what_is_said_at_another_start_is_no_rewrite() -> None:
    here, there = sign_of("home0", "s0"), sign_of("home0", "s1")
    assert here != there and here.isalnum()
    ask = Asked("ann", "home0", "s0", 0.0, "go there")
    mine = _Says(f"{here} go to the hall", "personal")
    homes = HomeRewriters({"home0": mine})  # type: ignore[dict-item]
    assert homes.rewrite(ask) == ("go to the hall", "personal")
    assert mine.queries == [("ann", f"{here} go there")]
    assert homes.rewrite(ask._replace(building="home1")) is None
    for other in (_Says(f"{there} go to the hall", "global"), _Says(None, "none")):
        assert HomeRewriters({"home0": other}).rewrite(ask) is None  # type: ignore[dict-item]
    again = placed(turn("0", "go c", "none", 0, rewrite="go d", source="table"))
    assert (again.heard, again.rewrite) == (f"{here} go c", f"{here} go d")


def test_walks_are_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "walks.jsonl"
    file.write_text('[3, 1, "0a00", ["a", "b"], 0.5]\n[3, 1, "0b')
    follower = Follower(None, None, {}, {})  # type: ignore[arg-type]
    follower.remember(file)
    assert follower._known == {(3, 1, b"\n\x00"): Walk(("a", "b"), 0.5)}
