"""Whether habitat-sim is there, what installs it, and its import."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

from rayforge.errors import SceneError

QUIET = {
    "MAGNUM_LOG": "quiet",
    "HABITAT_SIM_LOG": "quiet",
    "GLOG_minloglevel": "2",
    "MAGNUM_GPU_VALIDATION": "OFF",
}
"""What keeps a scene that opens from printing into progress lines."""
_STABLE, _NIGHTLY = ((3, 9),), ((3, 10), (3, 11), (3, 12))


def conda_command(python: tuple[int, int]) -> str | None:
    """What installs habitat-sim for this version of Python; None where there is no build."""
    channels = {
        **dict.fromkeys(_STABLE, "aihabitat"),
        **dict.fromkeys(_NIGHTLY, "aihabitat-nightly"),
    }
    if python not in channels:
        return None
    return f"conda install habitat-sim headless -c conda-forge -c {channels[python]}"


def missing_message(python: tuple[int, int]) -> str:
    """Why habitat-sim cannot be used here, and the two ways out."""
    command = conda_command(python)
    version = ".".join(map(str, python))
    way = (
        f"install it into a conda environment with `{command}`"
        if command
        else f"it has no build for Python {version}: make a conda environment with one"
        " (`conda env create -f docs/habitat/environment.yml`)"
    )
    return (
        f"habitat-sim is not installed in this Python {version}; {way},"
        " or take the embedded simulator, which opens the same scenes (--simulator embedded)"
    )


def installed() -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec("habitat_sim") is not None


def import_habitat() -> tuple[Any, Any]:
    """The modules habitat_sim and magnum.

    Raises:
        SceneError: the package is not there, or does not load; says what to do.
    """
    python = sys.version_info[:2]
    if not installed():
        raise SceneError(missing_message(python))
    # They read these when they are imported; a word of the user's own counts more.
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    try:
        return importlib.import_module("habitat_sim"), importlib.import_module("magnum")
    except (ImportError, OSError) as error:
        raise SceneError(
            f"habitat-sim is installed but does not load ({error}); `rayforge doctor` says more."
            " On a machine without display it needs the variant `headless` and libEGL"
            " (apt install libegl1 libgl1)"
        ) from error
