"""What leaderboards take: the formats of the R2R and R2R-CE servers."""

import json

from envs.episodes.episode import Episode
from envs.episodes.submission import r2r_ce_submission, r2r_submission


def test_the_format_of_the_r2r_server() -> None:
    episode = Episode("12_0", 12, "alpha", ("a",), 1.25, "Go.")
    records = [{"path": ["a", "b", "a"], "headings": [1.0472, 0.0, 3.1416]}]
    assert r2r_submission([episode], records) == [
        {
            "instr_id": "12_0",
            "trajectory": [["a", 1.25, 0.0], ["b", 0.0, 0.0], ["a", 3.1416, 0.0]],
        }
    ]
    assert json.loads(json.dumps(r2r_submission([], []))) == []


def test_the_format_of_the_r2r_ce_server() -> None:
    record = {"episode_id": "7", "positions": [[0, 0, 0], [0, 0, -0.25]], "yaws": [0.5, 0.5]}
    here, there = ({"position": [0, 0, z], "heading": 0.5, "stop": False} for z in (0, -0.25))
    assert r2r_ce_submission([{**record, "actions": [1, 0]}]) == {
        "7": [here, there, {**there, "stop": True}]
    }
    assert r2r_ce_submission([{**record, "actions": [1, 1]}]) == {"7": [here, there]}
