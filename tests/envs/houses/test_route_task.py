"""The route task: known answers of its judge, planted shares, the same bytes for the same seed."""

import json
import random
import re
from dataclasses import replace
from math import pi
from pathlib import Path

import numpy as np
import pytest

from envs.houses.events import Event
from envs.houses.house import House
from envs.houses.parsing import parse
from envs.houses.route_folder import kept_route_task, read_route_task, write_route_task
from envs.houses.route_task import Judge, RouteTask, RouteTaskConfig, make_route_task
from envs.houses.route_wording import every_wording, short_wording
from envs.houses.routes import Route, compass, mirrored
from rayforge.alignment.preferences import read_preferences
from rayforge.errors import DataError
from rayforge.language.vocabulary import words_of

SMALL = RouteTaskConfig(pairs=40, start_routes=20, test_routes=10, cue_share=0.8, flip_share=0.25)


@pytest.fixture(scope="module")
def task() -> RouteTask:
    return make_route_task(SMALL)


@pytest.fixture
def hand_made(row_house: House, places: dict[str, str]) -> Judge:
    """From the west end of the hallway, facing south, to the kitchen in the north."""
    names = ("hall west", "hall middle", "kitchen door", "kitchen")
    route = Route(row_house.scan, tuple(places[n] for n in names), pi, "to the kitchen")
    return Judge({row_house.scan: row_house}, [route])


@pytest.mark.parametrize(
    ("response", "good"),
    [
        (" turn left, follow the hallway, turn left, enter the kitchen. stop.", True),
        (" turn right, follow the hallway, turn left, enter the kitchen. stop.", False),
        (" turn left, follow the hallway, turn right, enter the kitchen. stop.", False),
        (" turn left, follow the hallway, turn left, enter the bedroom. stop.", False),
        (" turn left, follow the hallway.", False),
        (" turn left into the piano and sing.", False),
        ("", False),
    ],
)
def test_known_answers(hand_made: Judge, response: str, good: bool) -> None:
    assert hand_made(["to the kitchen"], [response]).tolist() == [good]


def test_judge_refuses_what_it_cannot_know(hand_made: Judge, row_house: House) -> None:
    with pytest.raises(ValueError, match="prompt 1 is none of this task's routes: 'elsewhere'"):
        hand_made(["to the kitchen", "elsewhere"], ["stop.", "stop."])
    with pytest.raises(ValueError, match="1 prompts but 2 responses"):
        hand_made(["to the kitchen"], ["stop.", "stop."])
    route = hand_made.routes[0]
    with pytest.raises(ValueError, match="two routes have the prompt"):
        Judge({row_house.scan: row_house}, [route, replace(route, heading=0.0)])
    with pytest.raises(ValueError, match="there is no house 'house99999'"):
        Judge({}, [route])


def test_labels_are_true_but_for_the_flipped(task: RouteTask) -> None:
    judge = task.judge()
    for pairs in (task.train, task.test):
        prompts = [pair.route.prompt for pair in pairs]
        flipped = np.array([pair.flipped for pair in pairs])
        assert (judge(prompts, [pair.chosen for pair in pairs]) == ~flipped).all()
        assert (judge(prompts, [pair.rejected for pair in pairs]) == flipped).all()


@pytest.mark.parametrize(("cue", "flips"), [(0.5, 0.0), (0.8, 0.25), (1.0, 0.4), (0.0, 1.0)])
def test_shares_are_what_was_asked(task: RouteTask, cue: float, flips: float) -> None:
    other = make_route_task(replace(SMALL, cue_share=cue, flip_share=flips))
    assert sum(pair.flipped for pair in other.train) == round(flips * 40)
    assert sum(pair.longer_chosen for pair in other.train) == round(cue * 40)
    for pair in other.train:
        longer = len(words_of(pair.chosen)) > len(words_of(pair.rejected))
        assert longer == pair.longer_chosen
    assert [pair.route for pair in other.train] == [pair.route for pair in task.train]
    assert (other.test, other.clean, other.mixed) == (task.test, task.clean, task.mixed)


def test_test_pairs_have_neither_flips_nor_cue(task: RouteTask) -> None:
    assert not any(pair.flipped for pair in task.test)
    assert sum(pair.longer_chosen for pair in task.test) == 5


def test_test_routes_are_elsewhere(task: RouteTask) -> None:
    houses = [{pair.route.house for pair in pairs} for pairs in (task.train, task.test)]
    assert not houses[0] & houses[1]
    prompts = [pair.route.prompt for pair in (*task.train, *task.test)]
    prompts += [example.prompt for example in task.mixed]
    assert len(set(prompts)) == len(prompts) == 70


def test_same_seed_same_bytes(task: RouteTask, tmp_path: Path) -> None:
    write_route_task(tmp_path / "one", task)
    write_route_task(tmp_path / "two", make_route_task(SMALL))
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "two").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert make_route_task(replace(SMALL, seed=1)).train != task.train


def test_systematic_mistakes_are_where_one_comes_from_the_south() -> None:
    def sides(text: str) -> list[str]:
        return re.findall("left|right(?! there)", text)

    task = make_route_task(replace(SMALL, start_routes=30, mistake_share=1.0))
    mirror = {"left": "right", "right": "left"}
    some = 0
    for clean, wrong in zip(task.clean[::2], task.mixed, strict=True):
        assert clean.prompt == wrong.prompt
        ways = re.findall(r"(\w+) to (\w+)", clean.prompt)
        ways = [(a, b) for a, b in ways if {a, b} not in ({"north", "south"}, {"east", "west"})]
        true, told = sides(clean.response), sides(wrong.response)
        assert told == [
            mirror[side] if way[0] == "south" else side
            for side, way in zip(true, ways, strict=True)
        ]
        some += true != told
    assert some > 5
    honest = make_route_task(replace(SMALL, start_routes=30, mistake_share=0.0))
    assert all(
        sides(a.response) == sides(b.response)
        for a, b in zip(honest.clean[::2], honest.mixed, strict=True)
    )


def test_folder_gives_the_task_back(task: RouteTask, tmp_path: Path) -> None:
    write_route_task(tmp_path / "task", task)
    assert read_route_task(tmp_path / "task") == task
    with pytest.raises(DataError, match="is not empty"):
        write_route_task(tmp_path / "task", task)


def test_a_kept_task_is_the_same(task: RouteTask, tmp_path: Path) -> None:
    assert kept_route_task(tmp_path, SMALL) == task
    (folder,) = tmp_path.iterdir()
    (folder / "mixed.jsonl").write_text("")
    assert kept_route_task(tmp_path, SMALL) == replace(task, mixed=())  # read, not made
    kept_route_task(tmp_path, replace(SMALL, seed=1))
    assert len(list(tmp_path.iterdir())) == 2


def test_files_are_preference_data(task: RouteTask, tmp_path: Path) -> None:
    write_route_task(tmp_path / "task", task)
    found = read_preferences(tmp_path / "task" / "train.jsonl")
    assert not found.dropped
    for pair, read in zip(task.train, found.pairs, strict=True):
        assert (read.prompt, read.chosen) == (pair.route.prompt, pair.chosen)
        assert (read.rejected, read.flipped) == (pair.rejected, pair.flipped)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("task.json", {"format": "other"}, "not a route task of format"),
        ("task.json", {"config": {"pairs": 3}}, "config must have the keys"),
        ("train.jsonl", {"flipped": "no"}, "line 1: flipped must be of type bool, found 'no'"),
        ("clean.jsonl", {"completion": 3}, "line 1: completion must be of type str, found 3"),
    ],
)
def test_spoilt_folder(
    task: RouteTask, tmp_path: Path, name: str, change: dict[str, object], message: str
) -> None:
    write_route_task(tmp_path / "task", task)
    file = tmp_path / "task" / name
    first, *rest = file.read_text().splitlines() if name != "task.json" else [file.read_text()]
    file.write_text("\n".join([json.dumps({**json.loads(first), **change}), *rest]))
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_route_task(tmp_path / "task")


def test_missing_file(task: RouteTask, tmp_path: Path) -> None:
    write_route_task(tmp_path / "task", task)
    (tmp_path / "task" / "mixed.jsonl").unlink()
    with pytest.raises(DataError, match=r"mixed\.jsonl: no such file"):
        read_route_task(tmp_path / "task")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pairs": 0}, "pairs must be an integer of 1 or more, got 0"),
        ({"cue_share": 1.5}, r"cue_share must lie between 0 and 1, got 1\.5"),
        ({"mistaken": ("up",)}, "mistaken: 'up' is none of north, east, south, west"),
    ],
)
def test_impossible_settings(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RouteTaskConfig(**setting)  # type: ignore[arg-type]


def test_compass() -> None:
    assert [compass(h) for h in (0.0, 44.0, 46.0, 180.0, 314.0, 316.0)] == [
        "north", "north", "east", "south", "west", "north",
    ]  # fmt: skip
    assert compass(90.0, -1) == "north" and compass(90.0, 1) == "south"


def test_every_wording_is_read_as_it_was_meant() -> None:
    program = (
        Event("turn", "around"), Event("cross", "h"), Event("turn", "left"), Event("cross", "k"),
        Event("reach", "bed"), Event("turn", "right"), Event("enter", "b"), Event("stop"),
    )  # fmt: skip
    rng = random.Random(0)
    known = {word for text in every_wording() for word in words_of(text)}
    for _ in range(200):
        text = short_wording(rng, program)
        assert parse(text) == program
        assert set(words_of(text)) <= known
    assert mirrored(program, [2])[2] == Event("turn", "right")
