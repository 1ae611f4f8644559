"""Amodal segmentation against what is known: warps, losses, blending, time, and a toy that is hard
for who copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rayforge.amodal.clips import Clip, clip_of, stacked
from rayforge.amodal.config import AmodalConfig, LossConfig
from rayforge.amodal.learning import completed, training
from rayforge.amodal.losses import consistency_loss, loss_of, soft_iou, visible_loss
from rayforge.amodal.network import AmodalNetwork, Direction, blended
from rayforge.amodal.scoring import carried_view, hidden_share, scores
from rayforge.amodal.warping import View, camera_flow, flat_flow, mean_flow, object_depth, warp

SMALL = AmodalConfig(channels=4, hidden=8, frames=5, batch=2)


def constant(u: float, v: float, height: int = 12, width: int = 16) -> torch.Tensor:
    return torch.tensor([u, v]).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_a_flow_of_zero_is_the_identity_to_the_bit_of_rounding() -> None:
    image = torch.rand(1, 3, 12, 16)
    torch.testing.assert_close(warp(image, constant(0, 0)), image, atol=1e-6, rtol=0)


def test_content_moves_by_the_flow_and_back() -> None:
    image = torch.rand(1, 1, 12, 16)
    moved = warp(image, constant(3, -2))
    torch.testing.assert_close(moved[..., :-2, 3:], image[..., 2:, :-3], atol=1e-5, rtol=0)
    again = warp(moved, constant(-3, 2))
    torch.testing.assert_close(again[..., 2:-2, 3:-3], image[..., 2:-2, 3:-3], atol=1e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    image = torch.zeros(1, 1, 3, 4)
    image[..., 1] = 1.0
    assert warp(image, constant(0.5, 0, 3, 4))[0, 0, 0].tolist() == pytest.approx([0, 0.5, 0.5, 0])


def test_soft_iou_of_squares_is_that_of_sets() -> None:
    masks = torch.zeros(2, 1, 20, 20)
    masks[0, :, :10, :10] = 1
    masks[1, :, :10, 5:15] = 1
    assert float(soft_iou(masks[:1], masks[1:])) == pytest.approx(1 / 3)
    assert float(soft_iou(masks[:1], masks[:1])) == 1.0


def passing(frames: int = 8, size: int = 32) -> Clip:
    """A square that passes behind a bar, two pixels a frame."""
    truth = np.zeros((frames, size, size), bool)
    for step in range(frames):
        truth[step, 10:20, 2 + 2 * step : 12 + 2 * step] = True
    bar = np.zeros_like(truth)
    bar[:, :, 14:19] = True
    flow = np.zeros((frames, size, size, 2), np.float32)
    flow[truth & ~bar] = (2, 0)
    image = np.full((frames, size, size, 3), 30, np.uint8)
    image[truth], image[bar] = 200, 90
    return clip_of(image, truth & ~bar, bar, flow, -flow, truth)


def test_true_flow_carries_a_whole_mask_behind_a_bar() -> None:
    clip = passing()
    mask, masks = clip.truth[:1], [clip.truth[0]]
    for step in range(7):
        mask = warp(mask, clip.base_onward[step : step + 1])
        masks.append(mask[0])
    torch.testing.assert_close(torch.stack(masks), clip.truth, atol=1e-4, rtol=0)
    direction = Direction(clip.truth[None], torch.zeros(1, 8, 1, 32, 32), clip.base_onward[None])
    assert float(consistency_loss(direction)) == pytest.approx(0, abs=1e-4)


def test_pixels_that_are_not_trusted_have_no_part_in_the_loss() -> None:
    clip = stacked([passing()])
    prediction = torch.full_like(clip.visible, 0.3).requires_grad_()
    visible_loss(prediction, clip).backward()
    first = prediction.grad.clone()
    changed = clip._replace(visible=torch.where(clip.trusted > 0, clip.visible, 1.0))
    assert visible_loss(prediction, changed) == visible_loss(prediction, clip)
    assert (first[clip.trusted == 0] == 0).all() and (first[clip.trusted > 0] != 0).all()


def directions(seed: int = 0) -> tuple[Direction, Direction]:
    torch.manual_seed(seed)
    still = torch.zeros(1, 4, 2, 6, 6)
    return tuple(  # type: ignore[return-value]
        Direction(torch.rand(1, 4, 1, 6, 6), torch.zeros(1, 4, 1, 6, 6), still) for _ in range(2)
    )


def test_equal_weights_blend_to_the_mean_and_a_sure_one_decides() -> None:
    onward, back = directions()
    backward = back.mask.flip(1)  # in the order of frames
    mean = (onward.mask[:, 0:2] + backward[:, 2:4]) / 2
    found = blended(onward, back)
    torch.testing.assert_close(found[:, 1:3], mean)
    torch.testing.assert_close(found[:, 0], backward[:, 1])
    torch.testing.assert_close(found[:, 3], onward.mask[:, 2])
    sure = onward._replace(weight=torch.full_like(onward.weight, 1e4))
    torch.testing.assert_close(blended(sure, back)[:, 1:], onward.mask[:, :3])


def test_time_reversed_swaps_the_two_directions() -> None:
    torch.manual_seed(0)
    network = AmodalNetwork(SMALL, 32, 32).eval()
    clip = stacked([passing()])
    there, turned = network(clip), network(clip.reversed())
    for a, b in zip(there.onward, turned.back, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(there.back, turned.onward, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(turned.mask.flip(1), there.mask)
    again = clip.reversed().reversed()
    assert all(torch.equal(a, b) for a, b in zip(again, clip, strict=True))


def test_the_flow_of_what_is_hidden_is_the_mean_of_what_is_seen() -> None:
    flow, mask = torch.rand(3, 2, 4, 4), torch.zeros(3, 1, 4, 4)
    mask[:2, :, 1, 1:3] = 1
    found = flat_flow(flow, mask)
    torch.testing.assert_close(found[0, :, 1, 1:3], flow[0, :, 1, 1:3])
    torch.testing.assert_close(found[0, :, 3, 3], flow[0, :, 1, 1:3].mean(-1))
    assert (mean_flow(flow, mask)[2] == 0).all()


def view(position: list[float], turn: float = 0.0) -> View:
    c, s = np.cos(turn), np.sin(turn)
    rotation = torch.tensor([[[c, 0, s], [0, 1, 0], [-s, 0, c]]]).double()
    return View(rotation, torch.tensor([position]).double(), 0.1)


def test_a_camera_that_steps_aside_moves_what_is_near_more() -> None:
    depth = torch.tensor([[[[2.0, 4.0]]]]).double()
    moved = camera_flow(depth, view([0, 0, 0]), view([0.4, 0, 0]), 1, 2)
    torch.testing.assert_close(moved[0, 0], torch.tensor([[-2.0, -1.0]]).double())
    assert moved[0, 1].abs().max() < 1e-9
    closer = camera_flow(depth[..., :1], view([0, 0, 0]), view([0, 0, -1.0]), 1, 3)
    torch.testing.assert_close(closer[0, 0], torch.tensor([[-1.0, 0.0, 1.0]]).double())
    turned = camera_flow(depth, view([0, 0, 0]), view([0, 0, 0], 0.05), 1, 2)
    assert (turned[0, 0] > 0).all()  # turned to the left, what is seen goes to the right


def test_depth_of_an_object_outlives_its_hiding() -> None:
    depth = torch.arange(1.0, 5.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    mask = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    assert object_depth(depth, mask).flatten().tolist() == [2, 2, 2, 4]


def test_scores_of_the_truth_of_the_visible_mask_and_of_a_carried_one() -> None:
    clip = passing()
    share = hidden_share(clip)
    assert float(share.max()) == 0.5 and float(share[0]) == 0.0
    whole, hidden = scores(clip.truth > 0.5, clip)
    assert (whole == 1).all() and (hidden == 1).all() and len(whole) == 6
    whole, hidden = scores(clip.visible > 0.5, clip)
    assert (whole < 1).all() and (hidden == 0).all()
    _, hidden = scores(carried_view(clip), clip)
    assert hidden.min() > 0.99


def test_gradients_reach_everything_and_adapting_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    network, clip = AmodalNetwork(SMALL, 32, 32), stacked([passing()])
    loss_of(network(clip), clip, SMALL.loss).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    before = {k: v.clone() for k, v in network.state_dict().items()}
    plain, sure = completed(network, passing())
    network.config = replace(SMALL, adaptation=2, adaptation_rate=0.01)
    _, adapted = completed(network, passing())
    assert not torch.equal(sure, adapted)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert plain.shape == (8, 1, 32, 32) and plain.dtype == torch.bool
    # The truth is never read by self-supervised learning.
    blind = clip._replace(truth=torch.rand_like(clip.truth))
    assert loss_of(network(blind), blind, SMALL.loss) == loss_of(network(clip), clip, SMALL.loss)


def test_next_frames_teach_what_is_hidden_and_current_ones_do_not() -> None:
    """Two squares that cross at random: whole outlines are learnt from next visible masks alone."""
    rng = np.random.default_rng(0)
    clips = [crossing(rng) for _ in range(12)]
    found = {}
    for name, loss in (("next", LossConfig()), ("copy", LossConfig(current=True, visible=False))):
        torch.manual_seed(0)
        config = AmodalConfig(
            channels=8, hidden=32, frames=8, batch=4, loss=loss, learning_rate=3e-3
        )  # fmt: skip
        network = AmodalNetwork(config, 32, 32)
        optimizer = torch.optim.Adam(network.parameters())
        list(training(network, optimizer, clips[:8], 0, 50, 50, 0))
        values = [scores(completed(network, clip)[0], clip)[1] for clip in clips[8:]]
        found[name] = float(np.concatenate(values).mean())
    assert found["copy"] < 0.15
    assert found["next"] > found["copy"] + 0.15


def crossing(rng: np.random.Generator, frames: int = 8, size: int = 32) -> Clip:
    truth, front = np.zeros((2, frames, size, size), bool)
    row, side = int(rng.integers(6, 14)), int(rng.integers(8, 12))
    bar = int(rng.integers(11, 18))
    for step in range(frames):
        truth[step, row : row + side, 2 + 2 * step : 2 + side + 2 * step] = True
    front[:, :, bar : bar + 6] = True
    flow = np.zeros((frames, size, size, 2), np.float32)
    flow[truth & ~front] = (2, 0)
    image = np.zeros((frames, size, size, 3), np.uint8)
    image[truth], image[front] = rng.integers(80, 255, 3), rng.integers(80, 255, 3)
    return clip_of(image, truth & ~front, front, flow, -flow, truth)
