"""One replica of the rewriting service: it holds a rewriter, and takes a new one when the folder
has it."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from rayforge.errors import UserError
from rayforge.feedback.encoder import Query
from rayforge.feedback.rewriter_files import MANIFEST, load_rewriter
from rayforge.feedback.rewriting import Rewriter

LOOK_S = 0.5
"""How often a replica looks for a new rewriter."""
log = logging.getLogger("rayforge.feedback")


class Asked(NamedTuple):
    """One request of the service, checked."""

    user: str | None
    request: str
    context: tuple[str, ...]
    time: float
    budget_ms: float | None


class Replica:
    """Answers batches of requests. The rewriter is replaced between two batches, never within one,
    so that each answer is of one version."""

    def __init__(self, folder: str) -> None:
        import torch

        torch.set_num_threads(1)  # replicas share the machine's cores
        self.folder = Path(folder)
        self._seen = self._stamp()
        self._held: tuple[Rewriter, str] = load_rewriter(self.folder)
        threading.Thread(target=self._follow, daemon=True).start()

    def answer(self, batch: list[Asked]) -> list[dict[str, Any]]:
        rewriter, version = self._held
        found = []
        for asked in batch:
            answer = rewriter.answer(
                asked.user, Query(asked.request, asked.context), asked.time, asked.budget_ms
            )
            found.append({**answer._asdict(), "version": version})
        return found

    def version(self) -> str:
        return self._held[1]

    def _stamp(self) -> tuple[int, int]:
        found = (self.folder / MANIFEST).stat()
        return found.st_ino, found.st_mtime_ns

    def _follow(self) -> None:
        while True:
            time.sleep(LOOK_S)
            try:
                stamp = self._stamp()
                if stamp != self._seen:
                    self._held = load_rewriter(self.folder)
                    self._seen = stamp
            except (OSError, UserError) as error:
                # The folder is being replaced, or holds something else: the old one goes on.
                log.warning("the rewriter stays as it is: %s", error)
