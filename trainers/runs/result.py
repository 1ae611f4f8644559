"""What training from Python gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """A run that came to its end."""

    run: Path
    """Its folder."""
    report: Path
    figures: Mapping[str, float]
    """Of agents the scores on each split, "val_unseen/success"; of alignment the review after the
    last round, "review/accuracy"."""
