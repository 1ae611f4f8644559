"""When a line of progress is due: at each step on a terminal, every ten seconds in a file."""

from __future__ import annotations

import sys
import time

LINE_SECONDS = 10.0


class ProgressLines:
    """Remembers when the last line was printed; the first one is due at once."""

    def __init__(self) -> None:
        self._shown = -LINE_SECONDS

    def due(self, always: bool = False) -> bool:
        """Whether to print a line now; `always` for one that must not be left out, as the last."""
        now = time.monotonic()
        if not (always or sys.stdout.isatty() or now - self._shown >= LINE_SECONDS):
            return False
        self._shown = now
        return True
