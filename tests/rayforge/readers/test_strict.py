"""Each strict reader: what it reads, and one line for everything that it does not."""

import gzip
import io
import json
import lzma
import math
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from rayforge.errors import CheckpointError, ConfigurationError, DataError
from rayforge.readers import limits
from rayforge.readers.archives import read_tar
from rayforge.readers.arrays import map_npy, read_npz, read_tensors
from rayforge.readers.content import read_lines
from rayforge.readers.faults import SHOWN, shown
from rayforge.readers.hdf5 import HDF5File
from rayforge.readers.json_text import parse_json, read_json, read_json_lines, read_object
from rayforge.readers.parquet import read_batches, read_table
from rayforge.readers.yaml_text import parse_yaml, read_yaml

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def refused(read: Callable[[], Any], kind: type[Exception] = DataError) -> str:
    """The one line that something is refused with."""
    with pytest.raises(kind) as caught:
        read()
    line = str(caught.value)
    assert "\n" not in line and line
    assert len(line) < 500
    return line


@given(plain, st.booleans())
def test_json_reads_what_python_writes(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text, "x") == value
    assert parse_json(b"\xef\xbb\xbf" + text.encode(), "x") == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1, "a": 2}', "key 'a' stands twice"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"[" + b"9" * 5000 + b"]", "too large"),
        (b"[9223372036854775808]", "9223372036854775808 is too large"),
        (b"[-9223372036854775809]", "too large"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b'{"\\udc00": 1}', "half of a surrogate pair"),
        (b'"\xff"', "not UTF-8 text: invalid start byte at byte 1"),
        ('["\u00e9"]'.encode("utf-16"), "not UTF-8"),
        (b"\x00", "not valid JSON"),
    ],
)
def test_bad_json_is_one_line(text: bytes, why: str) -> None:
    assert why in (line := refused(lambda: parse_json(text, "file.json")))
    assert line.startswith("file.json")


def test_json_numbers_and_pairs_that_are_sound() -> None:
    numbers = [2**63 - 1, -(2**63), 0.1234567890123456789012, 1e300, 12345678901234567890.5]
    assert parse_json(json.dumps(numbers), "x") == numbers
    assert math.isinf(parse_json("1e400", "x"))
    assert parse_json('"\\ud83d\\ude00"', "x") == "\U0001f600"


def test_json_files(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    assert "no such file" in refused(lambda: read_json(file))
    assert "Is a directory" in refused(lambda: read_json(tmp_path))
    file.write_bytes(gzip.compress(b'{"a": 1}'))
    assert read_json(file) == read_object(file) == {"a": 1}
    file.write_bytes(file.read_bytes()[:-6])
    assert "cut short or damaged" in refused(lambda: read_json(file))
    file.write_text("[1]")
    assert "expected an object, found a list" in refused(
        lambda: read_object(file, CheckpointError), CheckpointError
    )
    file.write_text('{"a": 1}\n\n{"a": 2\n')
    lines = read_json_lines(file)
    assert next(lines) == (f"{file}: line 1", {"a": 1})
    assert f"{file}: line 3: not valid JSON" in refused(lambda: next(lines))


def test_what_is_packed_grows_to_its_limit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNPACKED_ALWAYS", limits.MIB)
    file = tmp_path / "bomb.json.gz"
    file.write_bytes(gzip.compress(b" " * (limits.MIB + 1)))
    assert file.stat().st_size * limits.UNPACKED_TIMES < limits.MIB
    for read in (lambda: read_json(file), lambda: list(read_lines(file))):
        assert "larger than the limit of 1 MiB" in refused(read)


def test_lines_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINE", 10)
    file = tmp_path / "a.jsonl"
    file.write_text("1\n" + "2" * 11)
    assert "a.jsonl: line 2: larger than the limit of 10 bytes" in refused(
        lambda: list(read_json_lines(file))
    )


@settings(deadline=None, max_examples=30)
@given(plain)
def test_yaml_reads_what_pyyaml_writes(value: Any) -> None:
    import yaml

    text = yaml.safe_dump(value, allow_unicode=True)
    try:
        expected = yaml.safe_load(text)
    except ValueError:  # PyYAML writes texts that it reads as impossible dates
        expected = None
    else:
        assert parse_yaml(text, "x") == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x [1]\nb: *x", "anchors and aliases"),
        ("a: &x 1", "anchors and aliases"),
        ("a: 1\na: 2", "key 'a' stands twice: remove one at line 2, column 1"),
        ("a: {b: 1, b: 2}", "key 'b' stands twice"),
        ("a: [1", "expected ',' or ']'"),
        ("a: " + "9" * 5000, "too large"),
        ("a: 0x" + "f" * 40, "too large"),
        ("? [1, 2]\n: 3", "key [1, 2] is no text"),
        ("? {a: 1}\n: 3", "is no text"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 2024-99-99", "month must be in 1..12"),
        ("a: !!float x", "could not convert"),
        ("a: !!int x", "invalid literal"),
        ("a: !!int ''", "cannot be read"),
        ("[" * 5000, "nested too deep"),
        ("a: 1\n--- \nb: 2", "expected a single document"),
        ("a: \x01", "special characters are not allowed"),
        ("# " + "x" * limits.SETTINGS, "larger than the limit"),
    ],
)
def test_bad_yaml_is_one_line(text: str, why: str) -> None:
    line = refused(lambda: parse_yaml(text, "file.yaml"), ConfigurationError)
    assert line.startswith("file.yaml") and why in line


def test_yaml_files(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1e-3\nb: [yes, 0x10, 1_000]\n")
    assert read_yaml(file) == {"a": "1e-3", "b": [True, 16, 1000]}
    file.write_bytes(b"a: \xff")
    assert "not UTF-8" in refused(lambda: read_yaml(file), ConfigurationError)
    file.write_bytes(gzip.compress(b"#" * (limits.SETTINGS + 1)))
    assert "larger than the limit" in refused(lambda: read_yaml(file), ConfigurationError)


@settings(max_examples=40)
@given(st.lists(st.integers() | st.text()) | st.text() | st.integers())
def test_values_are_cut_in_messages(value: Any) -> None:
    assert len(shown(value)) <= SHOWN and "\n" not in shown(value)


def test_deep_and_long_values_in_messages() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) <= SHOWN
    assert len(shown(10**5000)) <= SHOWN
    assert shown("\ud800").isascii()
    assert shown("7") == "'7'" and shown(math.nan) == "nan" and shown([36]) == "[36]"


def packed(members: list[tuple[str, bytes]], **header: Any) -> bytes:
    """A tar archive; `header` changes what its last member's header says."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if header:
            info = tarfile.TarInfo("b.json")
            for key, value in header.items():
                setattr(info, key, value)
            archive.fileobj.write(info.tobuf())  # type: ignore[union-attr]
    return stream.getvalue()


def test_tar_archives(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"

    def read() -> list[tuple[str, bytes]]:
        return list(read_tar(file, lambda name: name.endswith(".json")))

    members = [("x/a.json", b"1" * 700), ("x/b.txt", b"2"), ("c.json", b"")]
    whole = packed(members)
    for pack in (bytes, gzip.compress, lzma.compress):
        file.write_bytes(pack(whole))
        assert read() == [members[0], members[2]]
    data = 2 * 512 + 1024 + 512  # all members' headers and contents end there
    for cut in (100, 512, 900, 1024, 1536, 1600, data):
        file.write_bytes(whole[:cut])
        assert "not a whole tar archive" in refused(read), cut
    spoilt = bytearray(whole)
    spoilt[1536 + 3] ^= 1  # the second header's name, not its sum
    file.write_bytes(bytes(spoilt))
    assert "not a whole tar archive (bad checksum)" in refused(read)
    file.write_bytes(gzip.compress(whole)[:-20])
    assert "not a whole tar archive" in refused(read)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"type": tarfile.GNUTYPE_SPARSE, "size": 0}, "sparse"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/hostname"}, "is a link or device"),
        ({"type": tarfile.FIFOTYPE}, "is a link or device"),
        ({"size": limits.MEMBER + 1}, "larger than the limit of 16 MiB"),
        ({"type": tarfile.XHDTYPE, "size": 2**32}, "not a whole tar archive (a name of 4,096 MiB)"),
        ({"type": tarfile.GNUTYPE_LONGNAME, "size": 2**32}, "a name of 4,096 MiB"),
        ({"name": "../b.json"}, "points out of the archive"),
    ],
)
def test_members_that_are_refused(tmp_path: Path, header: dict[str, Any], why: str) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(packed([], **header))
    assert why in refused(lambda: list(read_tar(file, lambda name: True)))


def test_a_tar_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_ALWAYS", limits.MIB)
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(packed([("a.txt", bytes(limits.MIB))])))
    assert "larger than the limit" in refused(lambda: list(read_tar(file, lambda name: False)))


arrays = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.sampled_from(
        [
            np.arange(6.0).reshape(2, 3),
            np.arange(6).reshape(2, 3).T,
            np.zeros((0, 4), np.int8),
            np.float32(3.0),
            np.array(["a", "\u00e9\u00e9"]),
            np.array([""]),
            np.array([True]),
            np.array(["2024-01-01"], "M8[D]"),
        ]
    ),
    max_size=3,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays, st.booleans())
def test_npz_reads_what_numpy_writes(
    tmp_path: Path, values: dict[str, Any], compressed: bool
) -> None:
    file = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(file, **values)
    found = read_npz(file)
    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert (found[name] == value).all()
        assert found[name].flags.writeable


def npz(file: Path, header: str, data: bytes = b"") -> None:
    """An NPZ file of one array with this header."""
    text = header.encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content)


@pytest.mark.parametrize(
    ("header", "data", "why"),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}", b"", "larger than"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", b"", "a shape of (-1,)"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", b"1" * 9, "has not the bytes"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"1" * 9, "Python objects"),
        ("{'descr': 3}", b"", "cannot be read"),
        ("(" * 5000, b"", "cannot be read"),
    ],
)
def test_npz_headers_that_lie(tmp_path: Path, header: str, data: bytes, why: str) -> None:
    npz(tmp_path / "a.npz", header, data)
    assert why in refused(lambda: read_npz(tmp_path / "a.npz"))


def test_npz_bomb_and_other_arrays(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez_compressed(file, a=np.zeros(limits.UNPACKED_ALWAYS // 8 + 1))
    assert "larger than the limit" in refused(lambda: read_npz(file))
    file.write_bytes(b"PK\x03\x04")
    assert "cannot be read" in refused(lambda: read_npz(file))
    assert "no such file" in refused(lambda: read_npz(tmp_path / "b.npz"))
    np.save(tmp_path / "a.npy", np.arange(3))
    assert map_npy(tmp_path / "a.npy").tolist() == [0, 1, 2]
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-8])
    assert "cannot be read" in refused(lambda: map_npy(tmp_path / "a.npy"))
    save_file({"a": np.arange(3.0)}, file)
    assert read_tensors(file)["a"].tolist() == [0, 1, 2]
    file.write_bytes(file.read_bytes()[:-1])
    assert "cannot be read" in refused(lambda: read_tensors(file, CheckpointError), CheckpointError)


def test_hdf5_reads_arrays_in_the_file_alone(tmp_path: Path) -> None:
    file, other = tmp_path / "a.h5", tmp_path / "b.h5"
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(other, "w") as made:
        made["far"] = np.zeros(3)
    with h5py.File(file, "w") as made:
        made["near"] = np.arange(3.0)
        made["texts"] = np.array([b"a"])
        made["kind"] = np.dtype("f4")
        made["empty"] = h5py.Empty("f4")
        made.create_group("group")
        made["soft"] = h5py.SoftLink("/near")
        made["out"] = h5py.ExternalLink(str(other), "far")
        made.create_dataset("raw", (8,), "f8", external=[(str(tmp_path / "secret"), 0, 64)])
        made.create_dataset("wide", (36, 10**8), "f4", chunks=(36, 100))
        made.create_dataset("chunk", (1,), "f4", maxshape=(None,), chunks=(10**8,))
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(str(other), "far", (3,))
        made.create_virtual_dataset("virtual", layout)
    opened = HDF5File(file)
    assert opened.shape("near") == (3,) and opened.read("near").tolist() == [0, 1, 2]
    assert "near" in opened and "none" not in opened
    for name, why in {
        "texts": "not numbers", "kind": "no array", "empty": "no array", "group": "no array",
        "soft": "is a link", "out": "is a link", "raw": "in another file",
        "virtual": "in another file", "wide": "larger than", "chunk": "larger than",
        "none": "is not there",
    }.items():  # fmt: skip
        assert why in refused(lambda name=name: opened.read(name)), name
        assert name in refused(lambda name=name: opened.shape(name))
    assert HDF5File(other).first() == "far"
    other.write_bytes(other.read_bytes()[:500])
    assert "b.h5: cannot be read" in refused(lambda: HDF5File(other))
    assert "no such file" in refused(lambda: HDF5File(tmp_path / "none.h5"))
    assert "cannot be read" in refused(lambda: HDF5File(tmp_path))


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_ALWAYS", limits.MIB)
    file = tmp_path / "a.parquet"
    table = pa.table({"a": list(range(3000)), "b": ["x"] * 3000})
    pq.write_table(table, file)
    assert read_table(file).equals(table)
    assert sum(batch.num_rows for batch in read_batches(file)) == 3000
    assert "no such file" in refused(lambda: read_table(tmp_path / "none.parquet"))
    file.write_bytes(file.read_bytes()[:-9])
    assert "cannot be read" in refused(lambda: read_table(file))
    # One text of 64 kB, a hundred times: it is stored once.
    pq.write_table(pa.table({"a": ["y" * 65536] * 100}), file)
    assert file.stat().st_size * limits.UNPACKED_TIMES < 4 * limits.MIB
    assert "larger than the limit" in refused(lambda: read_table(file))
    bad = pa.array([b"\xff"]).cast(pa.binary())
    text = pa.StringArray.from_buffers(1, bad.buffers()[1], bad.buffers()[2])
    pq.write_table(pa.table({"a": text}), file)
    assert "cannot be read" in refused(lambda: read_table(file))
