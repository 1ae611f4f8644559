"""How much a file may ask for; checked before it is read. The documentation lists these numbers.

A file of a few kilobytes must not take gigabytes: what is packed may grow so far and no further,
and what a file says about its own size is held against the file.
"""

from __future__ import annotations

MIB = 2**20

TEXT = 4096 * MIB
"""Bytes of a text file (JSON, annotations) that is read as a whole."""
SETTINGS = MIB // 4
"""Bytes of a YAML file."""
ANNOTATION = 64 * MIB
"""Bytes of a scene's semantic names or MTL file."""
LINE = 64 * MIB
"""Bytes of one line of a JSONL or TSV file."""
UNPACKED_TIMES = 200
"""How many times its packed size a gzip, tar or NPZ file may unpack to. Real ones unpack to about
ten times; a bomb to a thousand times."""
UNPACKED_ALWAYS = 64 * MIB
"""Bytes that any packed file may unpack to, however small it is."""
MEMBER = 16 * MIB
"""Bytes of one member of a tar archive of boxes."""
TAR_HEADER = MIB
"""Bytes of a tar archive's extended header (long names)."""
FEATURES = 65_536
"""Numbers of a view in a feature file."""
ARRAY = 4096 * MIB
"""Bytes of an NPZ file's arrays together, or of a Parquet row group unpacked."""
WHOLE = (-(2**63), 2**63 - 1)
"""The least and the greatest whole number of a JSON or YAML file: 64 bits."""


def unpacked(packed: int) -> int:
    """Bytes that a packed file of `packed` bytes may unpack to."""
    return max(UNPACKED_ALWAYS, UNPACKED_TIMES * packed)


def size(count: int) -> str:
    """A number of bytes for a message: "64 MiB"."""
    return f"{count / MIB:,.0f} MiB" if count >= MIB else f"{count:,} bytes"
