"""One line on stderr for work that takes longer than a user waits in silence."""

from __future__ import annotations

import sys
import time

PATIENCE_S = 5.0


class Progress:
    """Counts work done; says nothing before five seconds have passed, then rewrites one line.

    Use as a context manager, so that the line is ended also when the work fails.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what = what
        self.total = total
        self.count = 0
        self.start = time.monotonic()
        self.next_line = self.start + PATIENCE_S
        self.shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self._line("\n")

    def add(self, count: int = 1) -> None:
        self.count += count
        now = time.monotonic()
        if now >= self.next_line:
            self.next_line = now + 1.0
            self.shown = True
            self._line("")

    def _line(self, end: str) -> None:
        of = f" of {self.total:,}" if self.total is not None else ""
        elapsed = time.monotonic() - self.start
        print(f"\r{self.what}: {self.count:,}{of}, {elapsed:.0f} s", end=end, file=sys.stderr)
        sys.stderr.flush()
