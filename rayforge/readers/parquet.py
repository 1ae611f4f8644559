"""Parquet files, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayforge.errors import DataError, UserError
from rayforge.readers import limits
from rayforge.readers.content import check_size
from rayforge.readers.faults import reading, shown

if TYPE_CHECKING:
    import pyarrow as pa

_REMEDY = "is it a whole Parquet file? copy it again"
ROWS = 1024
"""Rows of a batch at most."""


def read_batches(file: Path, kind: type[UserError] = DataError) -> Iterator[pa.RecordBatch]:
    """The rows of a file, in batches.

    Raises `kind` where the file is missing or damaged, has two columns of a name, or unpacks to
    more than the limits: after the batches before.
    """
    import pyarrow.parquet as pq

    with reading(file, kind, _REMEDY), pq.ParquetFile(file) as opened:
        most = limits.unpacked(file.stat().st_size)
        names = opened.schema_arrow.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise kind(f"{file}: column {shown(twice)} stands twice; remove one")
        metadata = opened.metadata
        sizes = [metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups)]
        check_size(file, sum(sizes), most, kind)
        groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
        # Not the columns' own counts: reading those of a damaged file aborts the process.
        if sum(group.num_rows for group in groups) != metadata.num_rows:
            raise kind(f"{file}: its counts of rows do not agree, rows would be lost; {_REMEDY}")
        # A value that is repeated is stored once: so many rows at once stay below the limit even
        # where each of them is as large as its whole row group.
        rows = min(ROWS, max(1, most // max(1, *sizes, 1)))
        read = 0
        for batch in opened.iter_batches(rows):
            read += batch.nbytes
            check_size(file, read, most, kind)
            yield batch


def read_rows(
    file: Path, kind: type[UserError] = DataError
) -> Iterator[tuple[str, dict[str, Any] | Exception]]:
    """("row 1", record) of each row; where a row cannot be read (text that is not UTF-8, a date
    that Python cannot hold) the exception is in the record's place. Raises as `read_batches`."""
    number = 0
    for batch in read_batches(file, kind):
        for row in range(batch.num_rows):
            number += 1
            found: dict[str, Any] | Exception
            try:
                found = batch.slice(row, 1).to_pylist(maps_as_pydicts="strict")[0]
            except Exception as error:
                found = error
            yield f"row {number}", found


def read_table(file: Path, kind: type[UserError] = DataError) -> pa.Table:
    """A whole file, its texts in UTF-8; raises as `read_batches`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches = list(read_batches(file, kind))
    with reading(file, kind, _REMEDY):
        table = pa.Table.from_batches(batches, pq.read_schema(file)).combine_chunks()
        table.validate(full=True)
        return table
