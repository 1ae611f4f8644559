"""R2R-CE files: round trip, one clear error for each way in which they are bad, the real files."""

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.episodes.continuous_episode import NO_RADIUS, ContinuousEpisode
from envs.episodes.r2r import read_r2r
from envs.episodes.r2r_ce import (
    check_scenes,
    missing_scenes,
    read_ground_truth,
    read_r2r_ce,
    read_r2r_ce_split,
)
from envs.episodes.r2r_ce_writer import words_of, write_r2r_ce
from envs.graph.navigation_graph import read_connectivity
from rayforge.errors import DataError
from rayforge.readers.content import is_blank
from tests.envs.episodes.ground_truth import write_ground_truth

EPISODE = ContinuousEpisode(
    episode_id="7",
    trajectory_id=4,
    scene="mp3d/alpha/alpha.glb",
    start=(1.0, 0.1, -2.0),
    yaw=-math.pi / 2,
    goal=(3.0, 0.1, -2.0),
    radius=3.0,
    instruction="Walk to the lamp, then wait.",
    reference_path=((1.0, 0.1, -2.0), (3.0, 0.1, -2.0)),
)
coordinates = st.floats(-1e3, 1e3)
points = st.tuples(coordinates, coordinates, coordinates)
names = st.text(min_size=1).filter(lambda text: not is_blank(text))
episodes_lists = st.lists(
    st.builds(
        ContinuousEpisode,
        episode_id=st.one_of(names, st.integers(0).map(str)),
        trajectory_id=st.integers(-(2**63), 2**63 - 1),
        scene=st.sampled_from(["mp3d/a/a.glb", "b/b.basis.glb"]),
        start=points,
        yaw=st.floats(-math.pi, math.pi, exclude_min=True),
        goal=points,
        radius=st.floats(0.01, 5),
        instruction=names,
        reference_path=st.lists(points, min_size=1, max_size=4).map(tuple),
        geodesic_distance=st.none() | st.floats(0, 100),
    ).map(
        lambda e: (
            replace(e, goal=e.start, reference_path=(e.start,), radius=NO_RADIUS, blind=True)
            if e.trajectory_id == 0
            else e
        )
    ),
    max_size=4,
    unique_by=lambda episode: episode.episode_id,
).map(tuple)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(episodes=episodes_lists, packed=st.booleans())
def test_what_is_written_is_read(
    tmp_path: Path, episodes: tuple[ContinuousEpisode, ...], packed: bool
) -> None:
    file = tmp_path / ("any.json.gz" if packed else "any.json")
    write_r2r_ce(file, episodes)
    first = file.read_bytes()
    read = read_r2r_ce(file)
    assert tuple(replace(r, yaw=e.yaw) for r, e in zip(read, episodes, strict=True)) == episodes
    for r, e in zip(read, episodes, strict=True):
        assert math.cos(r.yaw - e.yaw) == pytest.approx(1.0)
    write_r2r_ce(file, episodes)
    assert file.read_bytes() == first


def test_a_split_brings_its_ground_truth(tmp_path: Path) -> None:
    told = replace(EPISODE, actions=(1, 3, 0), locations=(EPISODE.start, EPISODE.goal))
    (tmp_path / "train").mkdir()
    write_r2r_ce(tmp_path / "train" / "train.json.gz", [told, replace(EPISODE, episode_id="8")])
    write_ground_truth(tmp_path / "train" / "train_gt.json.gz", [told])
    (first, second) = read_r2r_ce_split(tmp_path, "train")
    assert (first.actions, first.locations) == (told.actions, told.locations)
    assert (second.actions, second.locations) == (None, None)
    assert first.scan == "alpha"
    with pytest.raises(DataError, match=r"no such file; splits of .*: train"):
        read_r2r_ce_split(tmp_path, "test")


def test_tokens_are_indices_into_the_vocabulary(tmp_path: Path) -> None:
    file = tmp_path / "val.json"
    write_r2r_ce(file, [EPISODE], words_of(["Walk to the bed."]))
    content = json.loads(file.read_text())
    words = content["instruction_vocab"]["word_list"]
    tokens = content["episodes"][0]["instruction"]["instruction_tokens"]
    assert [words[token] for token in tokens] == [
        "walk", "to", "the", "<unk>", "<unk>", "<unk>", ".",
    ]  # fmt: skip


def test_yaw_is_that_of_the_direction_looked_in(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    write_r2r_ce(file, [EPISODE])
    content = json.loads(file.read_text())
    half = math.sqrt(0.5)
    for rotation, yaw in (
        ([0, 0, 0, 1], 0.0),
        ([-0.0, half, -0.0, -half], -math.pi / 2),  # as the published files write it
        ([0, half, 0, half], math.pi / 2),
        ([0, 1, 0, 0], math.pi),
    ):
        content["episodes"][0]["start_rotation"] = rotation
        file.write_text(json.dumps(content))
        assert read_r2r_ce(file)[0].yaw == pytest.approx(yaw)


def _set(*keys: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        place: Any = content["episodes"][1]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return change


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["episodes"][1].pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("goals"), r"episode 1 \(episode_id 8\): missing key 'goals'"),
        (_without("reference_path"), "missing key 'reference_path'"),
        (_set("start_position", to=[0.0, math.nan, 1.0]), "start_position must be finite"),
        (_set("start_position", to=[0.0, 1.0]), "start_position must be x, y, z"),
        (_set("reference_path", to=3), "reference_path must be a list, found int"),
        (_set("reference_path", to=[]), "reference_path is empty"),
        (_set("reference_path", 1, to=[0, "a", 0]), r"reference_path\[1\] must be a number"),
        (_set("goals", to=[]), "expected one goal, found 0"),
        (_set("goals", 0, "radius", to=0), "radius must be positive"),
        (_set("goals", 0, to={"position": [0, 0, 0]}), "goal: missing key 'radius'"),
        (_set("instruction", "instruction_text", to="  "), "the instruction is empty"),
        (_set("instruction", to="Go on."), "instruction must be an object, found a text"),
        (_set("start_rotation", to=[0, 0, 0, 0]), "unit quaternion"),
        (_set("start_rotation", to=[math.sqrt(0.5), 0, 0, math.sqrt(0.5)]), "looks up or down"),
        (_set("scene_id", to="../elsewhere.glb"), "below the scenes folder"),
        (_set("episode_id", to=7), "has the episode_id '7' of episode 0"),
        (_set("trajectory_id", to=1.5), "trajectory_id must be a whole number"),
        (lambda content: content.update(version="R2RVLN-v2"), "R2RVLN-v1.*found version"),
        (lambda content: content.pop("episodes"), "found no key 'episodes'"),
        (lambda content: content.update(episodes={}), "episodes must be a list"),
        (lambda content: content["episodes"][0].pop("instruction"), "point or object navigation"),
        (lambda content: content["episodes"].insert(1, []), "must be an object, found a list"),
    ],
)
def test_a_bad_record_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    file = tmp_path / "bad.json"
    write_r2r_ce(file, [EPISODE, replace(EPISODE, episode_id="8")])
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as error:
        read_r2r_ce(file)
    assert str(error.value).startswith(str(file))


def test_bad_files_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.json.gz"
    write_r2r_ce(whole, [EPISODE])
    cut = tmp_path / "cut.json.gz"
    cut.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cut\.json\.gz: the gzip is cut short or damaged"):
        read_r2r_ce(cut)
    damaged = bytearray(whole.read_bytes())
    damaged[60:90] = bytes(30)
    cut.write_bytes(bytes(damaged))
    with pytest.raises(DataError, match="cut short or damaged"):
        read_r2r_ce(cut)
    with pytest.raises(DataError, match="no such file"):
        read_r2r_ce(tmp_path / "absent.json.gz")
    unpacked = tmp_path / "unpacked.json.gz"  # browsers do that
    unpacked.write_bytes(gzip.decompress(whole.read_bytes()))
    assert read_r2r_ce(unpacked) == read_r2r_ce(whole)
    graph = tmp_path / "R2R_train.json"
    graph.write_text("[]")
    with pytest.raises(DataError, match="files are of the graph setting"):
        read_r2r_ce(graph)
    truth = tmp_path / "gt.json"
    write_ground_truth(truth, [replace(EPISODE, actions=(0,), locations=(EPISODE.start,))])
    with pytest.raises(DataError, match="found a ground-truth file"):
        read_r2r_ce(truth)
    with pytest.raises(DataError, match="expected an object of episode id"):
        read_ground_truth(whole)
    other = tmp_path / "other.json"
    write_r2r_ce(other, [replace(EPISODE, episode_id="9")])
    with pytest.raises(DataError, match="none of its 1 episode ids"):
        read_r2r_ce(other, truth)
    truth.write_text('{"7": {"actions": [4], "locations": []}}')
    with pytest.raises(DataError, match="episode '7': action 0 must be 0"):
        read_ground_truth(truth)


def test_missing_scenes_are_listed_or_skipped(tmp_path: Path) -> None:
    other = replace(EPISODE, episode_id="8", scene="mp3d/beta/beta.glb")
    (tmp_path / "mp3d" / "beta").mkdir(parents=True)
    (tmp_path / other.scene).touch()
    both = (EPISODE, other)
    assert missing_scenes(both, tmp_path) == (EPISODE.scene,)
    assert check_scenes(both, tmp_path, skip_missing=True) == (other,)
    with pytest.raises(DataError, match=r"other 1 episodes by --skip-missing:\n  mp3d/alpha/alp"):
        check_scenes(both, tmp_path, skip_missing=False)
    with pytest.raises(DataError, match="name another scenes folder"):
        check_scenes([EPISODE], tmp_path, skip_missing=True)


@pytest.mark.data
def test_the_published_files(shared_data: Path) -> None:
    folder = shared_data / "r2r_ce"
    train = read_r2r_ce_split(folder, "train")
    seen = read_r2r_ce_split(folder, "val_seen")
    assert (len(train), len(seen)) == (10819, 778)
    assert all(e.actions is None for e in train)
    assert all(e.actions is not None and e.actions[-1] == 0 for e in seen)
    assert len(missing_scenes(train, folder)) == 61
    # Starts and headings agree with R2R's: (x, y up, z) there is (x, z, -y) here.
    records = {e.path_id: e for e in read_r2r(shared_data / "r2r" / "R2R_train.json")}
    off = [math.remainder(e.yaw + records[e.trajectory_id].heading, math.tau) for e in train]
    assert max(map(abs, off)) < math.radians(15.01)  # R2R-CE rounded to 30 degrees
    first = train[0]
    graph = read_connectivity(
        shared_data / "r2r" / "connectivity" / f"{first.scan}_connectivity.json"
    )
    x, y, _ = graph.positions[graph.rows[records[first.trajectory_id].path[0]]]
    assert np.allclose((first.start[0], first.start[2]), (x, -y), atol=1e-4)


def test_a_blind_split_has_no_goals(tmp_path: Path) -> None:
    file = tmp_path / "test.json"
    write_r2r_ce(file, [EPISODE])
    for empty in ({"goals": None, "reference_path": []}, {"goals": []}, {}):
        content = json.loads(file.read_text())
        for key in ("goals", "reference_path"):
            content["episodes"][0].pop(key, None)
        content["episodes"][0] |= empty
        file.write_text(json.dumps(content))
        (episode,) = read_r2r_ce(file)
        assert episode.blind and episode.goal == episode.start == EPISODE.start
