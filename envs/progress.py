"""Lines on stderr for work that takes longer than a user waits in silence."""

from __future__ import annotations

import sys
import time

PATIENCE_S = 5.0
FILE_S = 10.0
"""Between two lines where stderr is a file."""


class Progress:
    """Counts work done; says nothing before five seconds have passed. Then it rewrites one line on
    a terminal, and writes a line every ten seconds elsewhere.

    Use as a context manager, so that the line is ended also when the work fails.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what = what
        self.total = total
        self.count = 0
        self.start = time.monotonic()
        self.next_line = self.start + PATIENCE_S
        self.shown = False
        self.rewrites = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self._line(last=True)

    def add(self, count: int = 1) -> None:
        self.count += count
        now = time.monotonic()
        if now >= self.next_line:
            self.next_line = now + (1.0 if self.rewrites else FILE_S)
            self.shown = True
            self._line(last=False)

    def _line(self, last: bool) -> None:
        of = f" of {self.total:,}" if self.total is not None else ""
        elapsed = time.monotonic() - self.start
        before = "\r" if self.rewrites else ""
        end = "" if self.rewrites and not last else "\n"
        line = f"{before}{self.what}: {self.count:,}{of}, {elapsed:.0f} s"
        print(line, end=end, file=sys.stderr, flush=True)
