"""The completed mask of a named object, step by step, against what is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rayforge.amodal.clips import clip_of, stacked
from rayforge.amodal.config import AmodalConfig
from rayforge.amodal.network import AmodalNetwork
from rayforge.irl.completion import Completion, Phrase

OBJECT, BAR, FLOOR = 3, 2, 1
PHRASES = (Phrase((7,), (OBJECT,)), Phrase((8, 7), (BAR,)))


class Copies(nn.Module):
    """The whole mask is the visible one, and moves as the given flow does."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.memory = AmodalConfig(), SimpleNamespace(hidden_size=1)

    def one(
        self, frames: Tensor, visible: Tensor, flow: Tensor, base: Tensor,
        memory: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        return visible, base, memory


def images(steps: int, bar: bool) -> np.ndarray:
    """An object 5 m away in the middle of a wall at 8 m; from the second step on, where there is a
    bar, its right half is hidden by something at 2 m."""
    seen = np.zeros((1, steps, 16, 16, 5), np.uint8)
    seen[..., 3] = 204
    seen[..., 4:8, 4:12, 3:] = (128, OBJECT)
    seen[..., 12:, :, 3:] = (20, FLOOR)  # near, and never in front of anything
    if bar:
        seen[:, 1:, 2:10, 8:14, 3:] = (51, BAR)
    return seen


def along(completion: Completion, seen: np.ndarray, phrase: int = 0) -> np.ndarray:
    steps = seen.shape[1]
    return completion.along(
        seen, np.zeros((1, steps, 3), np.float32), np.zeros((1, steps), np.float32),
        np.array([phrase]),
    )  # fmt: skip


def copying() -> Completion:
    return Completion(cast(AmodalNetwork, Copies()), PHRASES, (FLOOR,), 90.0, 0.25)


def test_an_object_in_full_view_is_as_large_as_it_is_seen() -> None:
    torch.manual_seed(0)
    network = AmodalNetwork(AmodalConfig(channels=4, hidden=8), 16, 16)
    for completion in (copying(), Completion(network, PHRASES, (FLOOR,), 90.0, 0.25)):
        found = along(completion, images(4, bar=False))
        assert found.shape == (1, 4, 4, 2)
        assert np.array_equal(found[..., 0], found[..., 1])
        assert np.allclose(found[0, 0, :, 0] ** 2, [0, 0.25, 0.25, 0])


def test_what_is_hidden_is_carried_on() -> None:
    found = along(copying(), images(2, bar=True))
    assert np.allclose(found[0, 1, :, 0] ** 2, [0, 0.25, 0, 0])  # what is seen of it
    assert np.allclose(found[0, 1, :, 1] ** 2, [0, 0.25, 0.25, 0])  # what is there
    assert not along(copying(), images(2, bar=True), phrase=-1).any()  # nothing was named
    late = images(2, bar=True)[:, 1:].repeat(3, 1)
    late[:, 0] = images(1, bar=False)[:, 0] * [1, 1, 1, 1, 0]  # it was never seen before
    assert np.array_equal(along(copying(), late)[0, 1, :, 0], along(copying(), late)[0, 1, :, 1])


def test_the_object_that_is_named_last_counts_and_the_longer_name() -> None:
    tokens = np.array([[7, 9, 8, 7, 9, 3, 0], [8, 7, 9, 7, 3, 0, 0], [9, 8, 3, 0, 0, 0, 0]])
    assert copying().named(tokens).tolist() == [1, 0, -1]


def test_one_frame_after_the_other_reads_as_a_clip_does() -> None:
    torch.manual_seed(0)
    network = AmodalNetwork(AmodalConfig(channels=4, hidden=8), 16, 16).eval()
    rng = np.random.default_rng(0)
    mask = rng.random((5, 16, 16)) < 0.3
    flow = rng.normal(size=(5, 16, 16, 2)).astype(np.float32)
    frames = rng.integers(256, size=(5, 16, 16, 3)).astype(np.uint8)
    clip = stacked([clip_of(frames, mask, ~mask, flow, -flow, mask)])
    with torch.no_grad():
        whole = network.read(clip)
        memory = (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))
        for step in range(5):
            own, moved, memory = network.one(
                clip.frames[:, step], clip.visible[:, step], clip.onward[:, step],
                clip.base_onward[:, step], memory,
            )  # fmt: skip
            torch.testing.assert_close(own, whole.mask[:, step], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(moved, whole.flow[:, step], atol=1e-4, rtol=1e-4)
