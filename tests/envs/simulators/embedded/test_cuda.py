"""Warp's kernels against Embree's views: on the processor, and where there is one on a GPU."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from envs.simulators.embedded.embree import EmbreeRenderer
from envs.simulators.embedded.stored import load_model
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses
from tests.envs.simulators.made_up import SIDES, cube, painted, room, write_scene, write_semantics

pytest.importorskip("warp", reason="warp-lang is not installed: pip install 'rayforge[cuda]'")


DEVICES = [
    "cpu",
    pytest.param(
        "cuda:0",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
        ],
    ),
]


def furnished() -> list:
    """A room with a cube, a picture and a wall of blended colours."""
    chance = np.random.default_rng(0)
    image = PIL.Image.fromarray(chance.integers(0, 255, (64, 48, 3), dtype=np.uint8))
    uv = np.array([[0, 0], [3, 0], [3, 2], [0, 2]])
    picture = painted(SIDES[0] * 0.8 + [0, 1.5, -2.7], image, uv)
    blended = cube(0.8)[2]
    blended.visual = type(picture.visual)().to_color()
    blended.visual.vertex_colors = chance.integers(0, 255, (4, 4), dtype=np.uint8)
    blended.vertices += [-2, 0.7, 0]
    stool = cube(0.5)
    for part in stool:
        part.vertices += [1, 0.25, 0.5]
    return [*room(), picture, blended, *stool]


@pytest.fixture(scope="module", params=["same mesh", "own mesh", "painted"])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    if request.param == "same mesh":
        return write_semantics(folder, furnished())
    if request.param == "own mesh":
        write_semantics(folder, furnished()[::2])
        named = {"semantic_asset": "made.semantic.glb"}
        return write_scene(
            folder, furnished(), **named, semantic_descriptor_filename="made.semantic.txt"
        )
    image = PIL.Image.fromarray(np.array([[[9, 9, 9], [8, 8, 8]]], np.uint8))
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    write_scene(folder, [painted(s[::-1] * 1.9, image, uv) for s in SIDES], "made.semantic")
    lines = ["HM3D Semantic Annotations", '4,090909,"left",0', '7,080808,"right",0']
    (folder / "made.semantic.txt").write_text("\n".join(lines))
    return write_scene(
        folder,
        furnished(),
        semantic_asset="made.semantic.glb",
        semantic_descriptor_filename="made.semantic.txt",
        has_semantic_textures=True,
    )


@pytest.mark.parametrize("device", DEVICES)
def test_same_views_as_embree(config: Path, device: str) -> None:
    from envs.simulators.embedded.cuda import WarpRenderer

    model = load_model(find_scene(config))
    camera = Camera(47, 41, 80, above_floor=1.0, pitch=-20, roll=10)
    chance = np.random.default_rng(1)
    position = chance.uniform([-1.2, 0, -1.2], [1.8, 0.5, 1.8], (12, 3)).astype(np.float32)
    poses = Poses(position, chance.uniform(0, 6.3, 12).astype(np.float32))
    warp, embree = WarpRenderer(model, device), EmbreeRenderer(model)
    views, expected = warp.render(poses, camera), embree.render(poses, camera)
    assert views.depth is not None and expected.depth is not None
    assert views.colour is not None and expected.colour is not None
    assert views.semantic is not None and expected.semantic is not None
    close = np.abs(views.depth - expected.depth) < 1e-3  # a ray along an edge may go either way
    assert close.mean() > 0.999
    assert (views.semantic == expected.semantic).mean() > 0.999
    error = np.abs(views.colour.astype(int) - expected.colour).max(axis=-1)
    assert (error <= 1).mean() > 0.998
    assert len(np.unique(views.semantic)) > 1
    tensors = warp.render_tensors(poses, camera)
    assert isinstance(tensors.colour, torch.Tensor) and tensors.colour.dtype == torch.uint8
    assert np.array_equal(tensors.colour.cpu().numpy(), views.colour)


@pytest.mark.parametrize("device", DEVICES)
def test_sensors_switched_off(tmp_path: Path, device: str) -> None:
    from envs.simulators.embedded.cuda import WarpRenderer

    model = load_model(find_scene(write_semantics(tmp_path, room())))
    camera = Camera(8, 8, colour=False, semantic=False)
    warp = WarpRenderer(model, device)
    views = warp.render(Poses(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)), camera)
    assert views.colour is None and views.semantic is None
    assert views.depth is not None and views.depth.shape == (2, 8, 8)
