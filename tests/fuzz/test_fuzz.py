"""A short run of the fuzzer (`make fuzz` is the long one), and the small files that did harm."""

from pathlib import Path

import pytest

from tests.fuzz.fuzz import Reader, outcome, prepare
from tests.fuzz.readers import READERS

INPUTS = 12


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_changed_files_are_read_or_refused_in_a_line(reader: Reader, tmp_path: Path) -> None:
    valid, folder = tmp_path / "valid", tmp_path / "input"
    valid.mkdir()
    reader.make(valid)
    assert outcome(reader, valid) == ("read", "")
    for number in range(INPUTS):
        prepare(reader, valid, folder, number)
        kind, said = outcome(reader, folder)
        assert kind in ("read", "refused"), f"input {number}: {kind}: {said}"


def test_an_input_is_made_again_from_its_number(tmp_path: Path) -> None:
    reader, valid = READERS[0], tmp_path / "valid"
    valid.mkdir()
    reader.make(valid)
    first, again = (prepare(reader, valid, tmp_path / name, 7).read_bytes() for name in ("a", "b"))
    other = prepare(reader, valid, tmp_path / "c", 8).read_bytes()
    assert first == again != other
