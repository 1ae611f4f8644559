"""What a user can mend: one class for each kind, with the exit code of the command.

The message of such an error is one line that names the value, the place (file, record) and the
remedy. The `rayforge` command prints that line without a traceback and ends with the code. Any
other exception is a fault of RayForge itself, keeps its traceback, and ends with exit code 1.
"""

from __future__ import annotations


class UserError(Exception):
    """The base of all errors that a user can mend."""

    exit_code = 1


class ConfigurationError(UserError, ValueError):
    """Settings or a usage that cannot be; the message names setting, value and remedy."""

    exit_code = 2


class DataError(UserError, ValueError):
    """Data that cannot be used; the message names the file, the record and the remedy."""

    exit_code = 3


class SceneError(DataError):
    """A scene that cannot be used, or a pose that is not in it; names the file and the remedy."""


class PreferenceError(DataError):
    """Preference data that cannot be used; the message names the place and the remedy."""


class RunError(UserError, RuntimeError):
    """A folder of a run or a search that cannot be used: taken, missing, in use, of other data."""

    exit_code = 4


class CheckpointError(RunError):
    """A checkpoint that cannot be read or written; the message says what to do."""


class DivergedError(UserError, ArithmeticError):
    """Training whose figures are no longer finite; the message names the figure and the setting."""

    exit_code = 5


class MachineError(UserError, RuntimeError):
    """A machine, cluster or service that does not do what is needed; names it and the remedy."""

    exit_code = 6


EXIT_CODES = {
    0: "done",
    1: "a fault of RayForge (with a traceback)",
    ConfigurationError.exit_code: "wrong usage or settings",
    DataError.exit_code: "data that cannot be used",
    RunError.exit_code: "a run folder or checkpoint that cannot be used",
    DivergedError.exit_code: "training diverged",
    MachineError.exit_code: "the machine, a cluster or a service",
    130: "interrupted",
}
"""What each exit code of the command says."""
