"""Clips: what simulators say is exact, and what a file says wrong is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from envs.houses.dataset import write_houses
from envs.simulators.embedded.bodies import MovingBody, person, pet
from envs.simulators.simulator import Camera, Poses
from envs.video.clip import VideoClip
from envs.video.files import read_clips, write_clips
from envs.video.homes import House, _best_part, passed_furniture, seen_body
from envs.video.shapes import crossing_shapes
from rayforge.amodal.warping import warp
from rayforge.errors import DataError

CAMERA = Camera(48, 48, 80.0)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("houses") / "houses"
    write_houses(folder, train_houses=1, unseen_houses=0, paths_per_house=2, seed=0)
    return next(m for m in (folder / "scenes").glob("*/*.glb") if "semantic" not in m.name)


@pytest.fixture(scope="module")
def clips() -> list[VideoClip]:
    return crossing_shapes(2, 0, frames=8)


def warped(clip: VideoClip, step: int) -> np.ndarray:
    """Frame `step` - 1 carried to `step` by the flow back from there."""
    image = torch.from_numpy(clip.frames[step - 1]).float().permute(2, 0, 1)[None]
    flow = -torch.from_numpy(clip.back[step]).permute(2, 0, 1)[None]
    return warp(image, flow)[0].permute(1, 2, 0).numpy()


def smooth(frame: np.ndarray) -> np.ndarray:
    """Pixels whose neighbours have their colour: no edge is near."""
    same = np.ones(frame.shape[:2], bool)
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            same &= (np.roll(frame, (y, x), (0, 1)) == frame).all(-1)
    same[[0, -1]] = same[:, [0, -1]] = False
    return same


def passing_body(mesh: Path) -> VideoClip:
    """A body that walks to the right, a metre and a half before a camera."""
    house = House(mesh, CAMERA)
    floor, count = house.simulator.random_points(1, 0)[0], 8
    eyes = Poses(np.repeat(floor[None], count, 0), np.zeros(count, np.float32))
    place = floor + np.stack([0.3 * np.arange(count) - 1, np.zeros(count), np.full(count, -1.5)], 1)
    way = Poses(place.astype(np.float32), np.full(count, -np.pi / 2, np.float32))
    return seen_body(house, MovingBody(person((250, 20, 20))), eyes, way, "x")


@pytest.mark.parametrize("kind", ["body", "walk"])
def test_a_frame_warped_by_the_flow_is_the_next_one_off_occlusions(mesh: Path, kind: str) -> None:
    clip = passing_body(mesh) if kind == "body" else passed_furniture([mesh], 1, 3, CAMERA, 12)[0]
    assert clip.depth is not None and (clip.says_something or kind == "body")
    checked = 0
    for step in range(1, len(clip)):
        found = warped(clip, step)
        # Not occluded: where the pixel comes from, the same thing is seen, as far as it should be.
        at = np.moveaxis(np.indices(clip.depth.shape[1:]), 0, -1)[..., ::-1] + clip.back[step]
        inside = ((at >= 1) & (at <= 46)).all(-1)
        x, y = np.clip(np.round(at).astype(int), 0, 47).transpose(2, 0, 1)
        round_trip = np.abs(clip.onward[step - 1][y, x] + clip.back[step]).max(-1) < 0.5
        plain = smooth(clip.frames[step]) & smooth(clip.frames[step - 1])[y, x]
        rows = inside & round_trip & plain
        assert np.abs(found - clip.frames[step])[rows].max(initial=0) <= 1.0
        checked += int(rows.sum())
    assert checked > 3000
    assert (clip.onward[-1] == 0).all() and (clip.back[0] == 0).all()
    # The object is where it is seen, and what hides it is not the object.
    assert clip.truth is not None
    assert (clip.visible <= clip.truth).all() and not (clip.visible & clip.others).any()


def test_the_part_in_which_most_is_hidden_is_found() -> None:
    whole = np.full(20, 10)
    seen = np.array([10] * 8 + [5, 5, 4, 5, 0, 0] + [10] * 6)
    assert _best_part(whole, seen, 8, least=3) in range(4, 9)
    assert _best_part(whole, whole, 8, least=3) is None
    assert _best_part(whole // 5, seen // 5, 8, least=3) is None
    assert _best_part(whole[:6], seen[:6], 8, least=3) is None


def test_a_body_stands_where_it_is_put_and_hides_what_is_behind(mesh: Path) -> None:
    house = House(mesh, CAMERA)
    floor = house.simulator.random_points(1, 0)[0]
    eyes = Poses(np.repeat(floor[None], 2, 0), np.zeros(2, np.float32))
    ahead = floor + np.array([0, 0, -1.5], np.float32)
    way = Poses(ahead + np.array([[0, 0, 0], [0.3, 0, 0]], np.float32), np.zeros(2, np.float32))
    clip = seen_body(house, MovingBody(person((250, 20, 20))), eyes, way, "x")
    assert clip.truth is not None and clip.depth is not None
    # 1.7 m tall at 1.5 m, seen from 1.25 m.
    rows = np.flatnonzero(clip.truth[0].any(1))
    pixel = 2 * np.tan(np.radians(40)) / 48
    assert rows[0] == pytest.approx(24 - 0.45 / 1.4 / pixel, abs=2.0)
    left, right = (np.flatnonzero(clip.truth[0].any(0))[[0, -1]]).tolist()
    assert left + right == pytest.approx(47, abs=1)
    seen = clip.visible[0]
    if seen.any():
        moved = clip.onward[0][seen]
        assert moved[:, 0] == pytest.approx(0.3 / clip.depth[0][seen] / pixel, abs=0.05)
        assert np.abs(moved[:, 1]).max() < 1e-3


def test_bodies_are_closed_from_every_side() -> None:
    for body in (person((9, 9, 9)), pet((90, 9, 9))):
        moving = MovingBody(body)
        yaw = np.linspace(0, 6, 8).astype(np.float32)
        eyes = Poses(np.zeros((8, 3), np.float32), np.zeros(8, np.float32))
        place = Poses(np.tile(np.array([0, 0, -2], np.float32), (8, 1)), yaw)
        alone = moving.render(eyes, CAMERA, place)
        assert alone.mask.any((1, 2)).all() and (alone.depth[alone.mask] > 1.0).all()
        assert (alone.colour[~alone.mask] == 0).all()


def test_what_is_written_is_read(clips: list[VideoClip], tmp_path: Path) -> None:
    assert write_clips(tmp_path / "a", clips) == 2
    for before, after in zip(clips, read_clips(tmp_path / "a", truth=True), strict=True):
        assert before.name == after.name
        for part in ("frames", "visible", "others", "truth", "onward", "back"):
            np.testing.assert_array_equal(getattr(before, part), getattr(after, part))
    with pytest.raises(DataError, match="is there already"):
        write_clips(tmp_path / "a", clips)


def png(file: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(file)


def flow(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    arrays = dict(np.load(folder / "flow.npz"))
    change(arrays)
    np.savez(folder / "flow.npz", **arrays)


def not_a_number(arrays: dict[str, np.ndarray]) -> None:
    arrays["back"][5, 3, 3, 0] = np.nan


def about(folder: Path, **values: object) -> None:
    file = folder / "clip.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def manifest(folder: Path, number: int, names: list[str]) -> None:
    document = {"format": number, "clips": names}
    (folder.parent / "manifest.json").write_text(json.dumps(document))


def unseen(folder: Path) -> None:
    for file in folder.glob("visible_*.png"):
        png(file, np.zeros((64, 64), np.uint8))


EMPTY = np.zeros((64, 64), np.uint8)
WRONG: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: png(f / "frame_0003.png", EMPTY[:32]), "frame_0003.png.*frame 3 is 64 x 32"),
    (lambda f: png(f / "visible_0002.png", EMPTY + 7), "visible_0002.png.*no mask.*holds 7"),
    (lambda f: png(f / "others_0001.png", EMPTY[:, :63]), "others_0001.png.*63 x 64"),
    (lambda f: png(f / "truth_0001.png", EMPTY + 254), "truth_0001.png.*254"),
    (lambda f: (f / "visible_0004.png").unlink(), "visible_0004.png is missing"),
    (lambda f: (f / "frame_0000.png").write_bytes(b"no image"), "frame_0000.png"),
    (lambda f: flow(f, not_a_number), "flow.npz.*'back' is not finite in frame 5"),
    (lambda f: flow(f, lambda a: a.update(onward=a["onward"][:, :32])), "'onward' is.*32"),
    (lambda f: flow(f, lambda a: a.pop("back")), "flow.npz has no array 'back'"),
    (lambda f: flow(f, lambda a: a.update(depth=np.zeros((8, 9)))), "'depth' is"),
    (unseen, "the object is seen in none of 8 frames"),
    (lambda f: about(f, frames=9), "frame_0008.png is missing"),
    (lambda f: about(f, frames=True), "frames is True"),
    (lambda f: about(f, height=10**9), "height is 1000000000"),
    (lambda f: about(f, pixel=float("nan")), "pixel|NaN|constant"),
    (lambda f: shutil.rmtree(f), "names clip shapes-000, which is not there"),
    (lambda f: manifest(f, 1, ["../x"]), "'../x' is no name"),
    (lambda f: manifest(f, 2, ["x"]), "format is 2"),
    (lambda f: manifest(f, 1, []), "list of names"),
    (lambda f: (f.parent / "manifest.json").unlink(), "holds no clips"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_wrong_is_named_in_one_line(
    clips: list[VideoClip], tmp_path: Path, number: int
) -> None:
    write_clips(tmp_path / "a", clips[:1])
    spoil, said = WRONG[number]
    spoil(tmp_path / "a" / "shapes-000")
    with pytest.raises(DataError, match=said) as caught:
        read_clips(tmp_path / "a", truth=True)
    assert "\n" not in str(caught.value)
