from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from envs.simulators.embedded import stored
from envs.simulators.embedded.stored import Model, load_model
from envs.simulators.scene import find_scene
from rayforge.errors import SceneError
from tests.envs.simulators.made_up import SIDES, cube, painted, room, write_scene, write_semantics


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LARGE", 0)


def assert_equal(first: Model, second: Model) -> None:
    assert first.names == second.names and first.key == second.key
    assert np.array_equal(first.face_id, second.face_id)
    for one, other in zip(first.surface[:-1], second.surface[:-1], strict=True):
        assert np.array_equal(one, other) and one.dtype == other.dtype
    for one, other in zip(first.surface.textures, second.surface.textures, strict=True):
        assert np.array_equal(one, other) and one.dtype == other.dtype
    assert (first.annotated is None) == (second.annotated is None)
    if first.annotated and second.annotated:
        for one, other in zip(first.annotated, second.annotated, strict=True):
            assert np.array_equal(one, other) and one.dtype == other.dtype


def test_what_is_kept_is_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    parts = [*room(), painted(SIDES[0], PIL.Image.new("RGB", (4, 4), (1, 2, 3)), uv)]
    config = write_semantics(tmp_path, parts)
    write_scene(tmp_path, [*parts, *cube()])  # another mesh than the semantic one
    scene = find_scene(tmp_path / "made.semantic.glb")
    kept = tmp_path / "kept"
    for scene in (find_scene(config), find_scene(tmp_path / "made.glb")):
        first = load_model(scene, kept)
        with monkeypatch.context() as patch:
            patch.setattr(stored, "_read", lambda *_: pytest.fail("read again"))
            assert_equal(load_model(scene, kept), first)
    assert not list(kept.glob(".*"))


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    config, kept = write_scene(tmp_path, cube()), tmp_path / "kept"
    before = load_model(find_scene(config), kept)
    write_scene(tmp_path, cube(3.0))
    after = load_model(find_scene(config), kept)
    assert after.key != before.key and after.surface.vertices.max() == 1.5
    config = write_scene(tmp_path, cube(), up=[0, 0, 1], front=[0, 1, 0])
    assert load_model(find_scene(config), kept).key not in (before.key, after.key)


@pytest.mark.parametrize("damage", [b"", b"PK damaged", None])
def test_damaged_cache_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    config, kept = write_scene(tmp_path, cube()), tmp_path / "kept"
    first = load_model(find_scene(config), kept)
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert_equal(load_model(find_scene(config), kept), first)
    assert file.stat().st_size == len(whole)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    config = write_scene(tmp_path, cube())
    (tmp_path / "kept").write_text("a file, not a folder")
    assert len(load_model(find_scene(config), tmp_path / "kept").surface.faces) == 12


def test_semantic_mesh_without_colours(tmp_path: Path) -> None:
    config = write_semantics(tmp_path, cube())
    write_scene(tmp_path, cube(), "made.semantic")
    with pytest.raises(SceneError, match=r"made\.semantic\.glb has no vertex colours"):
        load_model(find_scene(config), tmp_path / "kept")
