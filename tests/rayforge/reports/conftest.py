"""A made-up run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_run import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "full-0")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run folder by name, with `make_run`'s settings."""
    return lambda name, **given: make_run(tmp_path / name, **given)
