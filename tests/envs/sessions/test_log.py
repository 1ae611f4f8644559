"""The session log: what is written is read, and bad records are counted and named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.sessions.log import append_turns, read_log, sessions_of, write_log
from envs.sessions.turns import Truth, Turn, line_of
from rayforge.errors import DataError

TURN = Turn("t0", "ann", "house1", 100.0, "go to the bet room", "barge_in",
            said="go to the bedroom",
            path=("a", "b"), step=1, duration=8.0, understood=("go to", "the bet room"),
            confidence=0.25, reply="On my way.",
            truth=Truth("s0", 0, "c", False, "go to the bedroom", ("sound",)))  # fmt: skip
NEXT = Turn("t1", "ann", "house1", 110.0, "walk to the bedroom", "thanks", path=("a", "c"),
            rewrite="go to the bedroom", source="global", duration=9.5)  # fmt: skip


def lines(*turns: Turn) -> str:
    return "".join(line_of(turn) for turn in turns)


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    write_log(tmp_path / name, [TURN, NEXT])
    log = read_log(tmp_path / name)
    assert log.turns == (TURN, NEXT) and not log.faults
    assert (TURN.followed, NEXT.followed) == ("go to the bet room", "go to the bedroom")
    assert (TURN.ended_well, NEXT.ended_well) == (False, True)


BAD = {
    "half a line": (line_of(TURN)[:40] + "\n", "not a record"),
    "not an object": ("[1]\n", "not a record"),
    "old version": (line_of(TURN).replace('"version": 1', '"version": 0'), "other version"),
    "no version": (line_of(TURN).replace('"version": 1', '"said": "x"'), "not a record"),
    "no outcome": (line_of(NEXT).replace('"signal": "thanks", ', ""), "missing outcome"),
    "no user": (line_of(TURN).replace('"user": "ann", ', ""), "missing field"),
    "other signal": (line_of(NEXT).replace("thanks", "angry"), "wrong value"),
    "time as text": (line_of(TURN).replace("100.0", '"noon"'), "wrong value"),
    "infinite time": (line_of(TURN).replace("100.0", "Infinity"), "wrong value"),
    "step outside": (line_of(TURN).replace('"step": 1', '"step": 2'), "wrong value"),
    "step alone": (line_of(TURN).replace("barge_in", "none"), "wrong value"),
    "nothing heard": (line_of(TURN).replace('"go to the bet room"', '" "'), "wrong value"),
    "nothing seen": (line_of(TURN).replace('"go to the bet room"', '"\u200b"'), "wrong value"),
    "long": (line_of(TURN).replace("On my way.", "x" * 5000), "wrong value"),
    "new field": (line_of(NEXT).replace('"user"', '"mood": 1, "user"'), "wrong value"),
    "no goal": (line_of(TURN).replace('"goal": 0, ', ""), "missing field"),
    "other user": (line_of(replace(NEXT, user="eve")), "unknown user"),
    "other building": (line_of(replace(NEXT, building="tower")), "unknown building"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_named_and_the_rest_is_used(tmp_path: Path, name: str) -> None:
    line, kind = BAD[name]
    last = replace(NEXT, turn_id="t9", time=200.0)
    (tmp_path / "log.jsonl").write_text(lines(TURN) + line.replace('"t0"', '"tb"')
                                        .replace('"t1"', '"tb"') + lines(last))  # fmt: skip
    log = read_log(tmp_path / "log.jsonl", users={"ann"}, buildings={"house1"})
    assert log.turns == (TURN, last)
    assert [(f.kind, f.place) for f in log.faults] == [(kind, f"{tmp_path}/log.jsonl: line 2")]
    assert log.counts == {kind: 1} and "\n" not in log.faults[0].said
    assert f"1 x {kind}" in log.summary() and "line 2" in log.summary()


def test_parquet_of_another_making_is_held_to_the_same_rules(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [json.loads(line_of(t)) for t in (NEXT, replace(NEXT, turn_id="t2", user="eve"))]
    rows.append({**rows[0], "turn_id": "t3", "signal": None})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet", users={"ann"})
    assert log.turns == (NEXT,)
    assert log.counts == {"missing outcome": 1, "unknown user": 1}
    assert [f.place.rpartition(": ")[2] for f in log.faults] == ["row 2", "row 3"]


def test_an_id_that_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(lines(TURN, replace(NEXT, turn_id="t0")))
    log = read_log(tmp_path / "log.jsonl")
    assert log.turns == (TURN,) and log.counts == {"id twice": 1}
    assert "line 1's too" in log.faults[0].said


def test_one_clock_that_was_ahead_costs_one_turn(tmp_path: Path) -> None:
    times = [10.0, 9e9, 20.0, 30.0, 5.0, 40.0]
    turns = [replace(NEXT, turn_id=f"t{k}", time=time) for k, time in enumerate(times)]
    turns.insert(3, replace(NEXT, turn_id="b", user="bob", time=1.0))  # another's clock is another
    (tmp_path / "log.jsonl").write_text(lines(*turns))
    log = read_log(tmp_path / "log.jsonl")
    assert [t.time for t in log.turns] == [10.0, 20.0, 1.0, 30.0, 40.0]
    assert log.counts == {"clock backwards": 2}
    assert [f.place.rpartition(": ")[2] for f in log.faults] == ["line 2", "line 6"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=9))
def test_the_fewest_turns_are_left_out(times: list[int]) -> None:
    from itertools import combinations

    from envs.sessions.log import _forwards

    turns = [replace(NEXT, turn_id=str(k), time=float(t)) for k, t in enumerate(times)]
    kept = sorted(_forwards(turns))
    assert [times[k] for k in kept] == sorted(times[k] for k in kept)
    longest = max(n for n in range(len(times) + 1)
                  if any(list(c) == sorted(c) for c in combinations(times, n)))  # fmt: skip
    assert len(kept) == longest
    if len(times) == 2:
        assert kept[0] == 0  # of two that contradict each other the earlier is believed


def test_a_service_goes_on_after_half_a_line(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    append_turns(file, [TURN])
    with file.open("a") as stream:
        stream.write(line_of(NEXT)[:30])
    append_turns(file, [replace(NEXT, turn_id="t2")])
    log = read_log(file)
    assert [turn.turn_id for turn in log.turns] == ["t0", "t2"]
    assert log.counts == {"not a record": 1}


def test_sessions_end_with_silence_another_building_or_five_turns() -> None:
    def at(time: float, **changes: str) -> Turn:
        return replace(NEXT, turn_id=f"{time}", time=time, **changes)  # type: ignore[arg-type]

    # A turn takes 9.5 s, so that the silence counts from its end.
    turns = [at(0), at(54.5), at(109.1), at(110, building="b"), at(111, user="bob"), at(112)]
    found = sessions_of(turns)
    assert [[t.time for t in s.turns] for s in found] == [[0, 54.5], [109.1], [110], [111], [112]]
    assert [len(s.turns) for s in sessions_of([at(k) for k in range(7)])] == [5, 2]
    assert sessions_of([TURN, NEXT])[0].ended_well and not sessions_of([TURN])[0].ended_well


@pytest.mark.parametrize("name", ["log.txt", "log.json"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"ends in \.jsonl"):
        read_log(tmp_path / name)
    with pytest.raises(DataError, match=r"ends in \.jsonl"):
        write_log(tmp_path / name, [TURN])
    with pytest.raises(DataError, match="no such file"):
        read_log(tmp_path / "none.jsonl")


def test_rows_that_cannot_be_read_are_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "log.parquet"
    write_log(file, [TURN, NEXT])
    table = pq.read_table(file)
    heard = pa.array([b"\xff", b"walk to the bedroom"]).cast(pa.binary()).view(pa.string())
    place = table.column_names.index("heard")
    pq.write_table(table.set_column(place, "heard", heard), file)
    log = read_log(file)
    assert log.turns == (NEXT,) and log.counts == {"not a record": 1}
    assert log.faults[0].place == f"{file}: row 1"
