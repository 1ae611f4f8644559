"""Settings that name code: a judge that is a command, or a Python function.

Code comes from the command line alone. A configuration, a run's folder or a search file may be
somebody else's: what it names is shown shortened, never run before the user names it again. The
text of a command is written to no file and no page, for it may hold a password.
"""

from __future__ import annotations

import hashlib
import re
import shlex

from rayforge.errors import ConfigurationError

COMMAND = "command:"
FOLLOWER = "follower:"
"""Begins a score that agents give: no module of that name is ever asked."""
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_RECORDED = re.compile(r"command: .* \(sha256 [0-9a-f]{16}\)", re.DOTALL)


def is_function(judge: str) -> bool:
    """Whether a judge or score is written as a Python function, `module:function`."""
    if judge.startswith((COMMAND, FOLLOWER)):
        return False
    return _FUNCTION.fullmatch(judge) is not None


def runs_code(judge: str) -> bool:
    """Whether a judge or score is a command or a Python function."""
    return judge.startswith(COMMAND) or is_function(judge)


def recorded(judge: str) -> str:
    """A judge as files, pages and messages say it: of a command the program and a hash."""
    if not judge.startswith(COMMAND) or _RECORDED.fullmatch(judge):
        return judge
    text = judge.removeprefix(COMMAND).strip()
    # What is set before the program, as in KEY=secret program, may be a secret.
    program = next((word for word in text.split() if "=" not in word), "")
    program = program if len(program) <= 24 else f"{program[:23]}…"
    return f"{COMMAND} {program} … (sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]})"


def without_commands(command: str, judge: str) -> str:
    """A command line of ours, with the judge as `recorded` says it."""
    if not judge.startswith(COMMAND):
        return command
    words = [word.replace(judge, recorded(judge)) for word in shlex.split(command)]
    return shlex.join(words)


def confirmed(saved: str, named: str, place: str, role: str = "judge") -> str:
    """The judge to use, of one that a file names and one that the command line does; or the score.

    `named` where it is not empty, else `saved`. Raises ConfigurationError where `saved` would run
    code; `place` is the file that names it.
    """
    if named or not runs_code(saved):
        return named or saved
    what = "a command" if saved.startswith(COMMAND) else "a Python function"
    again = '"command: ..."' if saved.startswith(COMMAND) else "MODULE:FUNCTION"
    raise ConfigurationError(
        f"{place} names {what} as {role} ({recorded(saved)[:80]}), which is not run from a file: "
        f"name it again on the command line, --{role} {again}"
    )
