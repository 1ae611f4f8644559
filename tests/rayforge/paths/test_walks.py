"""Walks, their images, and what is observed along them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from rayforge.irl.image_encoder import ImageEncoder
from rayforge.irl.replay import Replay
from rayforge.paths.arrays import Walks, join_paths
from rayforge.paths.frame_store import FrameFile, FrameStore
from rayforge.paths.observation import GEOMETRY, SECTORS
from rayforge.paths.walk_observation import WalkObserver

SIZE = 16
D = 6


def walks(lengths: list[int], frames: list[int], seed: int = 0) -> Walks:
    rng = np.random.default_rng(seed)
    made = Walks.zeros(len(lengths), max(lengths), 5)
    for row, length in enumerate(lengths):
        made.position[row, :length] = rng.random((length, 3))
        made.yaw[row, :length] = rng.random(length)
        made.action[row, : length - 1] = rng.integers(1, 4, length - 1)
        made.moved[row, :length] = np.where(made.action[row, :length] == 1, 100, 0)
        made.length[row] = length
        made.tokens[row] = rng.integers(3, 9, 5)
    return made.with_frames(np.array(frames))


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 5), dtype=np.uint8)


@pytest.fixture
def frames(tmp_path: Path) -> FrameStore:
    """Two demonstrations of 4 and 3 images, and room for three roll-outs."""
    np.save(tmp_path / "seen.npy", images(7, 1))
    return FrameStore(FrameFile(tmp_path / "seen.npy", np.array([0, 4, 7])), 3)


def batch(made: Walks) -> dict[str, torch.Tensor]:
    names = ("frames", "action", "moved", "length")
    return {name: torch.from_numpy(made.arrays()[name].astype(np.int64)) for name in names}


def test_demonstrations_are_read_and_the_newest_roll_outs_are_kept(frames: FrameStore) -> None:
    seen = images(7, 1)
    found = frames.gather(np.array([1, 0]), np.array([3, 2]))
    np.testing.assert_array_equal(found, np.concatenate([seen[4:7], seen[:2]]))
    assert frames.keep([images(2, 5), images(5, 6)]).tolist() == [2, 3]
    assert frames.keep([images(1, 7), images(4, 8)]).tolist() == [4, 2]  # the oldest makes room
    np.testing.assert_array_equal(frames.gather(np.array([2]), np.array([4])), images(4, 8))
    np.testing.assert_array_equal(frames.gather(np.array([3]), np.array([5])), images(5, 6))
    assert frames.nbytes == 10 * SIZE * SIZE * 5


def test_an_equal_store_keeps_images_under_the_numbers_of_the_first(frames: FrameStore) -> None:
    """As a learner in another process does, whose images the driver never holds."""
    other = FrameStore(frames.frame_file, 3)
    for seed in range(4):
        numbers = frames.take(2)
        other.put(numbers, [images(2, seed), images(3, seed + 9)])
    assert frames.nbytes == 0 and numbers.tolist() == [2, 3]
    np.testing.assert_array_equal(other.gather(numbers[1:], np.array([3])), images(3, 12))
    np.testing.assert_array_equal(other.gather(np.array([4]), np.array([3])), images(3, 11))


def test_images_that_are_not_kept_are_an_error(frames: FrameStore) -> None:
    for number in (2, -1, 5):
        with pytest.raises(ValueError, match=f"walk {number} are not kept"):
            frames.gather(np.array([number]), np.array([1]))


def test_a_frame_file_travels_as_its_name(frames: FrameStore) -> None:
    assert frames.frame_file is not None
    assert len(frames.frame_file.images) == 7
    packed = pickle.dumps(frames.frame_file)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).images, images(7, 1))


def test_the_replay_stores_walks(frames: FrameStore) -> None:
    replay = Replay(2, 6, 5, Walks)
    made = walks([3, 6, 2], [2, 3, 4])
    replay.add(made, np.arange(3))
    state = replay.state()
    np.testing.assert_array_equal(state["frames"], [3, 4])
    np.testing.assert_array_equal(state["position"][1, :2], made.position[2, :2])
    assert not state["position"][1, 2:].any()
    other = Replay(2, 6, 5, Walks)
    other.restore(state)
    for name, array in other.state().items():
        np.testing.assert_array_equal(array, state[name])


def test_walks_are_joined_and_trimmed() -> None:
    a, b = walks([3], [0]), walks([5, 2], [1, 2], seed=1)
    both = join_paths([a, b])
    assert both.position.shape == (3, 5, 3) and both.frames.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(both.position[0, :3], a.position[0])
    assert not both.position[0, 3:].any()
    assert both[np.array([0, 2])].trimmed().position.shape == (2, 3, 3)


def test_each_image_is_seen_where_it_was_and_encoded_once(frames: FrameStore) -> None:
    numbers = frames.keep([images(5, 9)])
    made = walks([4, 5, 4, 3], [0, int(numbers[0]), 0, 1])
    torch.manual_seed(0)
    image_encoder = ImageEncoder(SIZE, D, 4, semantic=True)
    observer = WalkObserver(frames, 15.0, max_steps=5)
    calls: list[int] = []
    image_encoder.register_forward_hook(lambda module, given, codes: calls.append(len(codes)))
    seen = observer.observe_batch(batch(made), image_encoder)
    assert calls == [4 + 3 + 5]
    assert seen.state.shape == (4, 5, SECTORS * D)
    for row, length in enumerate([4, 5, 4, 3]):
        mine = frames.gather(made.frames[row : row + 1], made.length[row : row + 1])
        codes = image_encoder(torch.from_numpy(mine)).flatten(1)
        torch.testing.assert_close(seen.state[row, :length], codes)
        assert not seen.state[row, length:].any()
    assert seen.legal[0].tolist() == [[True] * 4] * 4 + [[True, False, False, False]]
    assert seen.legal[1, 4].tolist() == [True, False, False, False]  # the last can only be STOP
    assert seen.candidates.shape == (
        int(seen.legal[0].sum() - 1 + 4 * 4 + 1 + 16 + 12),
        D + GEOMETRY,
    )
    seen.state.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in image_encoder.parameters())
    assert not seen.detach().state.requires_grad


def test_an_arrival_says_what_was_done_and_how_far_one_came() -> None:
    observer = WalkObserver(FrameStore(None, 1), 30.0, max_steps=9)
    actions, moved = torch.tensor([[1, 1, 2, 2, 3, 0]]), torch.tensor([[100, 40, 0, 0, 0, 0]])
    arrivals = observer.arrivals(actions, moved)
    half, most = np.sin(np.pi / 6), np.cos(np.pi / 6)
    expected = [
        [0, 0, 0, 1, 0, 0], [0, 1, 0, 1, 1, 1 / 40], [0, 1, 0, 1, 0.4, 1.4 / 40],
        [-half, most, -half, most, 0, 1.4 / 40], [-half, most, -most, half, 0, 1.4 / 40],
        [half, most, -half, most, 0, 1.4 / 40], [0, 0, -half, most, 0, 1.4 / 40],
    ]  # fmt: skip
    torch.testing.assert_close(arrivals, torch.tensor([expected], dtype=torch.float32))
    torch.testing.assert_close(observer.arrivals(actions[:, :3], moved[:, :3]), arrivals[:, :4])


def test_candidates_show_what_lies_their_way() -> None:
    observer = WalkObserver(FrameStore(None, 1), 15.0, max_steps=9)
    codes = torch.zeros(1, 1, SECTORS, 2)
    codes[0, 0, 0, 0] = codes[0, 0, 3, 1] = 1.0  # something far left, something far right
    at = torch.zeros(1, 1, dtype=torch.int64)
    seen = observer(codes, at, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, GEOMETRY))
    stop, forward, left, right = seen.candidates[:, :2].tolist()
    assert (stop, forward, left, right) == ([0.25, 0.25], [0, 0], [0.5, 0], [0, 0.5])


def test_strips_are_read_from_left_to_right() -> None:
    torch.manual_seed(1)
    image_encoder = ImageEncoder(64, 8, 4, semantic=True)
    dark = torch.zeros(1, 64, 64, 5, dtype=torch.uint8)
    for strip in range(SECTORS):
        lit = dark.clone()
        lit[:, :, 16 * strip : 16 * strip + 12, 4] = 7  # a category, which no strip shares
        changed = (image_encoder(lit) != image_encoder(dark)).any(-1)[0]
        assert changed.tolist() == [k == strip for k in range(SECTORS)]


def test_an_eye_needs_images_of_whole_patches() -> None:
    with pytest.raises(ValueError, match=r"40 pixels high.*multiple of 16"):
        ImageEncoder(40, 8, 4, semantic=True)
