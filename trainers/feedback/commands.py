"""The commands that learn from use: `rayforge feedback ...`. What is heavy is imported when one is
called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from rayforge.errors import ConfigurationError
from rayforge.settings import AtLeast
from trainers.feedback.loop_commands import Failures, Loop, Mine, Report, Simulate, Tables, Teach
from trainers.feedback.rewriting_commands import Labels, Rephrases, Rewrite, Serve


@dataclass(frozen=True)
class Check:
    """Read a session log and name what is wrong with it.

    Bad records are left out everywhere, counted and named: half a line, another version, a missing
    outcome, an unknown user or building, an id that stands twice, a clock that runs backwards.

    Example: rayforge feedback check log.jsonl --data ../r2r
    """

    log: tyro.conf.Positional[Path]
    """The log: .jsonl, .jsonl.gz or .parquet."""
    data: Path | None = None
    """A data folder in Room-to-Room's layout; buildings without a graph there are unknown."""
    users: Path | None = None
    """A text file with the known users, one a line."""
    examples: Annotated[int, AtLeast(0)] = 3
    """Records that are named of each kind of fault."""

    def __call__(self) -> None:
        from envs.graph.navigation_graph import SUFFIX
        from envs.sessions.log import read_log, sessions_of
        from rayforge.readers.content import read_text

        buildings = users = None
        if self.data is not None:
            folder = self.data / "connectivity"
            buildings = {f.name.removesuffix(SUFFIX) for f in folder.glob(f"*{SUFFIX}")}
            if not buildings:
                raise ConfigurationError(f"{folder} holds no navigation graph; name a data folder")
        if self.users is not None:
            users = set(read_text(self.users).split("\n")) - {""}
        log = read_log(self.log, users=users, buildings=buildings)
        print(log.summary(self.examples))
        sessions = sessions_of(log.turns)
        well = sum(session.ended_well for session in sessions)
        print(f"{len(sessions)} sessions, {well} of them ended well")


COMMANDS: dict[str, type[Any]] = {
    "check": Check, "simulate": Simulate, "loop": Loop, "labels": Labels, "rephrases": Rephrases,
    "tables": Tables, "rewrite": Rewrite, "serve": Serve, "teach": Teach, "failures": Failures,
    "mine": Mine, "report": Report,
}  # fmt: skip
"""The commands by name."""
