"""A rewriter as a folder of files: read whole, checked, and told apart by its version.

`rewriter.json` holds the settings, the table and the digests of the other files; its own digest is
the version. The folder is replaced in one go: a service that reads it meanwhile gets the old one or
the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rayforge.errors import DataError
from rayforge.feedback.encoder import RequestEncoder
from rayforge.feedback.entries import Entry
from rayforge.feedback.ranking import FEATURES, Ranker
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.rewriting_config import EncoderConfig, RewritingConfig
from rayforge.files import check_replaceable, whole_folder, write_bytes, write_text
from rayforge.readers.content import read_bytes
from rayforge.readers.faults import reading
from rayforge.readers.json_text import parse_json
from rayforge.readers.parquet import read_table

MANIFEST = "rewriter.json"
FORMAT = 1
_REMEDY = "make it again with `rayforge feedback rewrite`"


def save_rewriter(rewriter: Rewriter, folder: Path) -> str:
    """Write a rewriter into a folder of its own; one that is there is replaced. Its version.

    Raises ConfigurationError where the folder holds anything else.
    """
    from safetensors.numpy import save
    from safetensors.torch import save as save_torch

    state = {name: value.contiguous() for name, value in rewriter.encoder.state_dict().items()}
    files = {
        "encoder.safetensors": save_torch(state),
        "ranker.safetensors": save(rewriter.ranker.arrays),
        "entries.parquet": _entries_as_bytes(rewriter.entries),
    }
    manifest = json.dumps(
        {
            "format": FORMAT, "rewriting": asdict(rewriter.config),
            "encoder": asdict(rewriter.encoder.config), "features": FEATURES,
            "table": {request: list(row) for request, row in rewriter.table.items()},
            "files": {name: _digest(data) for name, data in files.items()},
        },
        indent=1,
    )  # fmt: skip
    check_replaceable(folder, MANIFEST)
    with whole_folder(folder, replace=True) as part:
        for name, data in files.items():
            write_bytes(part / name, data)
        write_text(part / MANIFEST, manifest)
    return _digest(manifest.encode())


def check_rewriter(folder: Path) -> str:
    """The version of a folder whose files are all there and whole, without building its indexes.

    Raises DataError as `load_rewriter`, but for what only building shows.
    """
    return _read(folder)[0]


def read_entries(folder: Path) -> list[Entry]:
    """The entries of a folder alone; raises DataError as `load_rewriter`."""
    _read(folder)
    return _entries_of(folder / "entries.parquet")


def load_rewriter(folder: Path) -> tuple[Rewriter, str]:
    """The rewriter of a folder, and its version.

    Raises DataError where it is missing, damaged, of another format, or was replaced meanwhile
    (read it again then).
    """
    version, record, contents = _read(folder)
    with reading(folder / MANIFEST, remedy=_REMEDY):
        config = RewritingConfig(**record["rewriting"])
        encoder = RequestEncoder(EncoderConfig(**record["encoder"])).eval()
        table = {request: (str(row[0]), float(row[1])) for request, row in record["table"].items()}
    with reading(folder / "encoder.safetensors", remedy=_REMEDY):
        encoder.load_state_dict(_tensors(contents["encoder.safetensors"]))
    with reading(folder / "ranker.safetensors", remedy=_REMEDY):
        ranker = Ranker({n: v.numpy() for n, v in _tensors(contents["ranker.safetensors"]).items()})
        ranker.probabilities(np.zeros((1, len(FEATURES)), np.float32))
    entries = _entries_of(folder / "entries.parquet")
    return Rewriter(config, encoder, ranker, entries, table), version


def _read(folder: Path) -> tuple[str, dict[str, Any], dict[str, bytes]]:
    """Version, manifest and the contents of the other files, each the one that was written."""
    place = folder / MANIFEST
    data = read_bytes(place)
    record = parse_json(data, place)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(f"{place}: not a rewriter of format {FORMAT}; {_REMEDY}")
    if record.get("features") != list(FEATURES):
        raise DataError(f"{place}: made by another version of RayForge; {_REMEDY}")
    with reading(place, remedy=_REMEDY):
        digests = dict(record["files"])
    contents = {}
    for name in ("encoder.safetensors", "ranker.safetensors", "entries.parquet"):
        contents[name] = read_bytes(folder / name)
        if _digest(contents[name]) != digests.get(name):
            raise DataError(f"{folder / name}: not the file that {MANIFEST} names; {_REMEDY}")
    return _digest(data), record, contents


def _tensors(data: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    found: dict[str, torch.Tensor] = load(data)
    return found


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _entries_as_bytes(entries: Sequence[Entry]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: list[tuple[str, Any]] = [
        ("text", pa.string()), ("user", pa.string()), ("times", pa.int64()),
        ("defects", pa.int64()), ("last", pa.float64()),
    ]  # fmt: skip
    rows = [entry._asdict() for entry in entries]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), stream)
    return stream.getvalue()


def _entries_of(file: Path) -> list[Entry]:
    table = read_table(file)
    with reading(file, remedy=_REMEDY):
        columns = [table.column(name).to_pylist() for name in Entry._fields]
        return [
            Entry(str(t), None if u is None else str(u), int(c), int(d), float(s))
            for t, u, c, d, s in zip(*columns, strict=True)
        ]
