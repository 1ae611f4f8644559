"""From session logs to what is learnt from them, and the commands on logs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from envs.sessions.log import sessions_of, write_log
from envs.sessions.turns import Signal, Truth, Turn
from rayforge.errors import ConfigurationError, DataError, RunError
from rayforge.feedback.encoder import Query
from rayforge.feedback.rewriter_files import load_rewriter
from rayforge.feedback.rewriting_config import EncoderConfig, LearningConfig, RankerConfig
from trainers.arguments import read_arguments
from trainers.feedback.from_logs import (
    dialogue_of,
    outcomes_of,
    said_of,
    samples_of,
    slot_truth,
    tails,
)
from trainers.feedback.labels import label_log, train_on_log
from trainers.feedback.rewrites import (
    by_feedback,
    read_pairs,
    read_rewrite_table,
    rephrases_of_log,
    rewriter_of_log,
)
from trainers.feedback.rewriting_commands import Labels, Rephrases, Rewrite

ROOMS = ("kitchen", "bedroom", "garage", "balcony", "office", "hallway")


def turn(
    number: int, user: str, heard: str, signal: Signal, time: float, *, goal: int = 0,
    achieved: bool = False, clean: str | None = None, rewrite: str | None = None,
) -> Turn:  # fmt: skip
    truth = Truth(f"{user}-{int(time) // 1000}", goal, "v1", achieved, clean or heard)
    return Turn(
        f"{user}-{number}", user, "alpha", time, heard, signal, rewrite=rewrite,
        source="none" if rewrite is None else "table", path=("v0", "v1"), duration=5.0,
        truth=truth,
    )  # fmt: skip


def log_of(users: int, days: int) -> list[Turn]:
    """Users who are misheard, say it again and are content, or are understood at once."""
    turns = []
    for user in range(users):
        for day in range(days):
            name, start = f"u{user}", 1000.0 * (day + 1)
            room = ROOMS[(user + day) % len(ROOMS)]
            right = f"go to the {room}"
            wrong = f"go to the {room[0]}z{room[2:]}"
            if (user - day) % 3:
                turns.append(turn(2 * day, name, wrong, "rephrase", start, clean=right))
                turns.append(turn(2 * day + 1, name, right, "none", start + 9, achieved=True))
            else:
                turns.append(turn(2 * day, name, right, "thanks", start, achieved=True))
    return turns


def test_a_session_becomes_a_dialogue_with_goals_and_slots() -> None:
    turns = [
        turn(0, "a", "walk to the kitzhen", "rephrase", 1000.0, clean="walk to the kitchen"),
        turn(1, "a", "go left", "none", 1010.0, achieved=True),
        turn(2, "a", "now the sofa", "stop", 1020.0, goal=1),
    ]
    (session,) = sessions_of(turns)
    dialogue = dialogue_of(session)
    assert [t.goal for t in dialogue.truth] == [0, 0, 1]
    assert [t.achieved for t in dialogue.truth] == [True, True, False]
    assert [t.satisfied for t in dialogue.truth] == [False, True, False]
    assert dialogue.truth[0].slots == ((12, 19, "room"),)
    assert dialogue.truth[1].slots == ((3, 7, "direction"),)
    assert slot_truth(replace(turns[0], heard="walk kitzhen")) is None
    unknown = replace(session, turns=(turns[0], replace(turns[1], truth=None)))
    assert dialogue_of(unknown).truth == ()


def test_the_rephrase_is_the_one_that_achieved_the_same_goal() -> None:
    turns = [
        turn(0, "a", "x", "rephrase", 1000.0), turn(1, "a", "y", "rephrase", 1010.0),
        turn(2, "a", "z", "none", 1020.0, achieved=True),
        turn(3, "a", "w", "none", 1030.0, goal=1, achieved=True),
    ]  # fmt: skip
    sessions = tails(sessions_of(turns))
    assert [said_of(s).rephrase for s in sessions] == [(2, 0, 1), (1, 0, 1), None, None]
    found = by_feedback(sessions)
    assert [f.text if f else None for f in found] == ["z", "z", None, None]
    samples = samples_of(sessions, found)
    assert [(s.query.request, s.fixes) for s in samples] == [
        ("x", ("z",)), ("y", ("z",)), ("z", ()), ("w", ()),
    ]  # fmt: skip


def test_a_rewrite_and_not_the_raw_request_is_credited_with_its_outcome() -> None:
    (outcome,) = outcomes_of([turn(0, "a", "x", "none", 1.0, rewrite="y", achieved=True)])
    assert (outcome.request, outcome.well) == ("y", True)


def test_from_a_log_to_pairs_and_to_a_rewriter(tmp_path: Path) -> None:
    log, pairs, folder = tmp_path / "log.jsonl", tmp_path / "pairs.jsonl", tmp_path / "rewriter"
    write_log(log, log_of(12, 6))
    said = rephrases_of_log(log, pairs, None, "small", 1, 2, 0.1, 0)
    assert "6 pairs" in said
    assert {pair.rephrase for pair in read_pairs(pairs)} == {f"go to the {r}" for r in ROOMS}
    pairs.write_text('{"request": "x"}\n')
    with pytest.raises(DataError, match="line 1: not a pair"):
        read_pairs(pairs)
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"up": ["go up", 0.5]}))
    config = LearningConfig(EncoderConfig(width=32, epochs=1), RankerConfig(epochs=20), folds=2)
    assert "12 entries of everyone" in rewriter_of_log(log, folder, config, table, 3, 0)
    rewriter, _ = load_rewriter(folder)
    assert rewriter.answer("new", Query("go to the kztchen")).rewrite == "go to the kitchen"
    assert rewriter.answer("new", Query("up")).rewrite == "go up"
    # What always failed is known, and never an answer.
    assert {entry.text for entry in rewriter.everyone.entries} == {f"go to the {r}" for r in ROOMS}
    assert "go to the kztchen" in rewriter.everyone.known
    table.write_text('{"up": "go up"}')
    with pytest.raises(DataError, match=r"'up' must hold \[rewrite, score\]"):
        read_rewrite_table(table)
    write_log(log, [t for t in log_of(3, 3) if t.signal == "thanks"])
    with pytest.raises(DataError, match="no rewriter can be learnt"):
        rewriter_of_log(log, folder, config, None, 3, 0)


@pytest.mark.ray
def test_a_log_is_labelled_by_ray_data(cluster: None, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    log, model, out = tmp_path / "log.jsonl", tmp_path / "model", tmp_path / "labels.parquet"
    turns = log_of(8, 6)
    write_log(log, turns)
    assert "thresholds" in train_on_log(log, model, "small", 2, 0.6, 0)
    said = label_log(log, model, out, 1)
    rows = pq.read_table(out).to_pylist()
    assert f"{len(rows)} sessions, {len(turns)} turns" in said
    ids = [name for row in rows for name in json.loads(row["turns"])]
    assert sorted(ids) == sorted(t.turn_id for t in turns)
    kept = [turn for row in rows for turn in json.loads(row["labels"])]
    assert len(kept) == len(turns)
    assert any("intent" in turn for turn in kept)


def test_what_commands_refuse(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name a log"):
        Labels()()
    log = str(tmp_path / "x.jsonl")
    for command, words, said in (
        (Labels, ["--precision", "1.5"], "precision must be in"),
        (Rephrases, ["--least", "0"], "least must be at least 1"),
        (Rewrite, ["--least-users", "0"], "least_users must be at least 1"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            read_arguments(command, [log, *words], prog="feedback")
    write_log(tmp_path / "x.jsonl", log_of(1, 1))
    with pytest.raises(RunError, match="no such file"):
        label_log(tmp_path / "x.jsonl", tmp_path / "none", tmp_path / "out.parquet", 1)
    with pytest.raises(DataError, match="sessions with truth; 10 at least"):
        train_on_log(tmp_path / "x.jsonl", tmp_path / "m", "small", 1, 0.9, 0)
