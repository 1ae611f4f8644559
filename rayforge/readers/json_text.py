"""JSON without surprises.

A key that stands twice in an object, a whole number beyond 64 bits, half a surrogate pair, text
that is not UTF-8 and nesting beyond Python's recursion are errors that name the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rayforge.errors import DataError, UserError
from rayforge.readers import limits
from rayforge.readers.content import read_bytes, read_lines
from rayforge.readers.faults import kind_of, one_line, reading, shown

_DIGITS = 19
_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * _DIGITS
"""What a whole number beyond 64 bits holds, once its digits are zeros, and little else. Searching
for it so costs a tenth of what a regular expression does."""
_SURROGATE = (b"\\ud", b"\\uD")


def parse_json(text: str | bytes, place: str | Path, kind: type[UserError] = DataError) -> Any:
    """Parse `text`; `place` is what the error calls it.

    Python's parser keeps the last of two equal keys without a word; here that is an error,
    because in a hand-merged file it hides half of the data. NaN and infinities pass, as Python
    writes them: whoever asked says whether a number must be finite.

    Raises `kind` where the text is not JSON as above.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore
            raise kind(f"{place}: key {shown(twice)} stands twice in one object; remove one")
        return mapping

    def whole(digits: str) -> int:
        value = int(digits) if len(digits) <= _DIGITS + 1 else None
        if value is None or not limits.WHOLE[0] <= value <= limits.WHOLE[1]:
            raise kind(
                f"{place}: the whole number {one_line(digits)} is too large (64 bits at most)"
            )
        return value

    # The searches cost next to nothing; the checks themselves are needed seldom.
    with reading(place, kind, "is it JSON?"):
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        text = content.decode("utf-8-sig")
        parse_int = whole if _LONG_NUMBER in content.translate(_AS_ZERO) else None
        try:
            value = json.loads(text, object_pairs_hook=unique, parse_int=parse_int)
        except json.JSONDecodeError as error:
            raise kind(
                f"{place}: not valid JSON ({error.msg} at line {error.lineno}, column"
                f" {error.colno}); is it cut short or not unpacked?"
            ) from error
        except RecursionError as error:
            raise kind(f"{place}: not valid JSON here (nested too deep)") from error
        if any(escape in content for escape in _SURROGATE):
            try:
                json.dumps(value, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                raise kind(
                    f"{place}: a text holds half of a surrogate pair (\\ud800 to \\udfff);"
                    " write the character itself"
                ) from error
        return value


def read_json(file: Path, kind: type[UserError] = DataError) -> Any:
    """Read one JSON file, packed by gzip or not.

    Raises `kind` where the file is missing, unreadable, too large, or `parse_json` refuses it.
    """
    return parse_json(read_bytes(file, kind=kind), file, kind)


def read_object(file: Path, kind: type[UserError] = DataError) -> dict[str, Any]:
    """Read one JSON file that holds an object; raises as `read_json`, and for anything else."""
    value = read_json(file, kind)
    if not isinstance(value, dict):
        raise kind(f"{file}: expected an object, found {kind_of(value)}")
    return value


def read_json_lines(file: Path, kind: type[UserError] = DataError) -> Iterator[tuple[str, Any]]:
    """(place, value) of each line of a JSONL file, packed by gzip or not; empty lines are left out.

    Raises `kind` at the line that `parse_json` refuses.
    """
    for number, line in enumerate(read_lines(file, kind), 1):
        if line.strip():
            place = f"{file}: line {number}"
            yield place, parse_json(line, place, kind)
