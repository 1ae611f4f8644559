"""Object boxes from a folder or an archive, and room labels; bad ones are named."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from envs.graph.boxes import SeenObject, object_words, read_boxes, read_room_labels
from rayforge.errors import DataError


def pack(file: Path, members: list[tuple[str, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def box(viewpoint: str, *names: str, views: Any = (1, 2)) -> bytes:
    objects = {str(k): {"name": name, "visible_pos": views} for k, name in enumerate(names)}
    return json.dumps({viewpoint: objects}).encode()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_folder_and_archive_say_the_same(tiny_folder: Path, mode: str) -> None:
    folder = tiny_folder / "BBox"
    archive = tiny_folder / "packed.tar"
    with tarfile.open(archive, mode) as packed:  # type: ignore[call-overload]
        packed.add(folder, "BBox")
    boxes = read_boxes(folder, ["alpha", "gamma"])
    assert read_boxes(archive, ["alpha", "gamma"]) == boxes
    assert {scan for scan, _ in boxes} == {"alpha", "gamma"}
    assert len(boxes) == 30
    assert not list(tiny_folder.glob("**/BBox/BBox"))


def test_names_are_split_into_words(tmp_path: Path) -> None:
    archive = pack(tmp_path / "b.tar.gz", [("a_v.json", box("v", "Coffee#table ", "#lamp"))])
    assert read_boxes(archive, ["a"]) == {
        ("a", "v"): (SeenObject(("coffee", "table"), (1, 2)), SeenObject(("lamp",), (1, 2)))
    }


def test_vocabulary_counts_objects_of_the_given_buildings(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "b.tar.gz",
        [
            ("a_v.json", box("v", "lamp", "lamp#shade", "bed")),
            ("a_w.json", box("w", "bed", "lamp")),
            ("a_b_v.json", box("v", "sink", "sink", "sink")),
        ],
    )
    assert object_words(archive, ["a"], min_count=2) == ("bed", "lamp")
    assert object_words(archive, ["a"], min_count=3) == ("lamp",)
    # "a_b" begins like "a" and is another building all the same.
    assert object_words(read_boxes(archive, ["a", "a_b"]), ["a_b"], 3) == ("sink",)


@pytest.mark.parametrize("name", ["/etc/a_v.json", "../a_v.json", "BBox/../../a_v.json"])
def test_members_may_not_point_out_of_the_archive(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "b.tar.gz", [(name, box("v"))])
    with pytest.raises(DataError, match="points out of the archive"):
        read_boxes(archive, ["a"])


def test_links_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "b.tar"
    with tarfile.open(archive, "w") as packed:
        info = tarfile.TarInfo("a_v.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        packed.addfile(info)
    with pytest.raises(DataError, match=r"b\.tar: member 'a_v.json' is a link or device"):
        read_boxes(archive, ["a"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "expected an object with one key"),
        (b'{"v": 3}', "expected the objects of v by their id"),
        (box("w"), "holds viewpoint 'w', which is not in its name"),
        (b'{"v": {"4": {"visible_pos": []}}}', "object 4: name must be a text, found None"),
        (box("v", "bed", views=[36]), r"object 0: visible_pos must be .* found \[36\]"),
        (box("v", "bed", views=[True]), "visible_pos must be a list of views"),
        (box("v", "bed", views=None), "visible_pos must be a list of views"),
        (b'{"v": {}, "v": {}}', "key 'v' stands twice"),
    ],
)
def test_bad_box_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    archive = pack(tmp_path / "b.tar.gz", [("BBox/a_v.json", content)])
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(archive, ["a"])
    assert "b.tar.gz: member 'BBox/a_v.json'" in str(caught.value)
    (tmp_path / "a_v.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(tmp_path, ["a"])
    assert str(tmp_path / "a_v.json") in str(caught.value)
    assert read_boxes(archive, ["other"]) == {}


def test_broken_archives(tmp_path: Path) -> None:
    archive = pack(tmp_path / "b.tar.gz", [("x/a_v.json", box("v")), ("y/a_v.json", box("v"))])
    with pytest.raises(DataError, match="viewpoint v of building a comes twice"):
        read_boxes(archive, ["a"])
    many = [(f"a_{k}.json", box(str(k), *"abcdefgh" * 50)) for k in range(50)]
    whole = pack(tmp_path / "c.tar.gz", many).read_bytes()
    for cut in (len(whole) // 2, 5, 0):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"cut\.tar\.gz: not a whole tar archive"):
            read_boxes(tmp_path / "cut.tar.gz", ["a"])
    (tmp_path / "text.tar.gz").write_text("not an archive at all, whatever its name says")
    with pytest.raises(DataError, match="not a whole tar archive"):
        read_boxes(tmp_path / "text.tar.gz", ["a"])
    with pytest.raises(DataError, match="no such folder or archive"):
        read_boxes(tmp_path / "none", ["a"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object with the key 'pano_info'"),
        ({"pano_info": {}}, "no room labels for building a"),
        ({"pano_info": {"a": {"v": {}}}}, "building a, viewpoint v: room label None is not one"),
        ({"pano_info": {"a": {"v": {"label": "q"}}}}, "room label 'q' is not one"),
        ({"pano_info": {"a": {"v": {"label": "ab"}}}}, "room label 'ab' is not one"),
    ],
)
def test_bad_room_labels_are_named(tmp_path: Path, content: Any, message: str) -> None:
    file = tmp_path / "vp2room_label.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        read_room_labels(file, ["a"])
    assert str(caught.value).startswith(str(file))
    file.write_text('{"pano_info": {"a": {"v": {"label": "-"}}, "b": 7}}')
    assert read_room_labels(file, ["a"]) == {("a", "v"): "-"}
