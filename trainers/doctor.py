"""`rayforge doctor`: what this machine has, each line with its remedy."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from envs.simulators.habitat_package import installed, missing_message
from envs.simulators.habitat_probe import probe_rules
from rayforge.errors import UserError
from trainers.cluster import check_address, check_storage, stale_head
from trainers.machine import (
    check_ray_folder,
    check_temporary_folder,
    ensure_token,
    processors,
    ray_folder,
    token_path,
)

PACKAGES = ("ray", "torch", "gymnasium", "transformers", "trl", "numpy", "safetensors", "h5py")


PORTS = {6379: "the head's", 8265: "the dashboard's", 8080: "metrics'", 52365: "the node agent's"}
"""Ports of cluster.yaml; 52365 is Ray's own choice on every node."""


def examine(storage: str = "") -> int:
    """Print one line a check; the exit code is 0 where nothing stands in the way, else 1.

    `storage`: a folder or URI that a cluster's runs would be written to, tried where it is given.
    """
    problems = 0

    def say(good: bool, what: str, remedy: str = "", *, needed: bool = True) -> None:
        nonlocal problems
        problems += needed and not good
        mark = "ok  " if good else ("BAD " if needed else "note")
        print(f"{mark} {what}" + (f": {remedy}" if not good and remedy else ""))

    python = platform.python_version()
    say(sys.version_info[:2] in ((3, 11), (3, 12)), f"Python {python}", "install Python 3.11")
    for name in PACKAGES:
        try:
            say(True, f"{name} {version(name)}")
        except PackageNotFoundError:
            say(False, name, "missing; pip install -e . -c constraints.txt")
    dashboard = importlib.util.find_spec("aiohttp_cors") is not None
    say(dashboard, "ray[default] (dashboard, jobs)", "pip install 'ray[default]'")
    cpus, there = processors(), os.cpu_count() or 1
    fewer = "" if cpus == there else f" of the machine's {there} (affinity or control group)"
    say(cpus >= 2, f"{cpus} CPUs{fewer}", "one is enough without runners (--runners 0)",
        needed=False)  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    say(memory >= 6, f"{memory:.0f} GiB of memory", "training on R2R takes about 4", needed=False)
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    say(free >= 2, f"{free:.0f} GiB free here", "checkpoints need about 0.2 GiB a run")
    shared = Path("/dev/shm")
    if shared.is_dir():
        room = shutil.disk_usage(shared).free / 2**30
        say(room >= 1, f"{room:.1f} GiB in /dev/shm", "Ray's object store gets slow", needed=False)
    if importlib.util.find_spec("torch"):
        torch = importlib.import_module("torch")
        cuda = bool(torch.cuda.is_available())
        name = torch.cuda.get_device_name() if cuda else "no GPU"
        say(cuda, name, "training runs on the CPU (--device cpu)", needed=False)
    embree = importlib.util.find_spec("embreex") is not None
    say(embree, "embree (views of 3-D scenes on the CPU)", "pip install embreex", needed=False)
    habitat = installed()
    missing = missing_message(sys.version_info[:2])
    say(habitat, "habitat-sim", missing, needed=False)
    if habitat:
        rules = probe_rules()
        say(
            rules is not None,
            f"habitat-sim follows the rules {rules} (--simulation.rules of the embedded simulator)",
            "habitat-sim does not open a scene of four triangles: run"
            " `python -m envs.simulators.habitat_probe` to see why",
            needed=False,
        )
    vendors = egl_vendors()
    say(
        bool(vendors),
        f"EGL drivers that libEGL knows: {', '.join(vendors) or 'none'}",
        "libEGL looks for *.json files in /usr/share/glvnd/egl_vendor.d and"
        " /etc/glvnd/egl_vendor.d; apt install libgl1-mesa-dri libegl-mesa0 for software, install"
        " the GPU's driver (in a container: NVIDIA_DRIVER_CAPABILITIES=graphics), or set"
        " __EGL_VENDOR_LIBRARY_DIRS",
        needed=habitat,
    )
    devices = egl_devices()
    say(
        devices > 0,
        f"EGL, devices to draw on: {devices}",
        "habitat-sim draws on them; apt install libegl1 libgl1 (software: libgl1-mesa-dri)",
        needed=habitat,
    )
    if storage:
        problem = _problem(lambda: check_storage(storage))
        say(not problem, f"storage {storage}", problem)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        problem = _problem(lambda: check_address(address))
        say(not problem, f"RAY_ADDRESS is {address}: commands join that cluster", problem)
    else:
        say(True, "RAY_ADDRESS is not set: commands run on this machine alone")
    stale = stale_head()
    say(
        stale is None,
        "no address of a vanished head" if stale is None else f"the head at {stale} is gone",
        "`ray job`, `ray status` and ray.init() would wait for it: remove ray_current_cluster in "
        "Ray's temporary folder (/tmp/ray)",
        needed=False,
    )
    problem = _problem(check_temporary_folder)
    say(not problem, f"temporary files go to {os.environ.get('TMPDIR') or '/tmp'}", problem)
    problem = _problem(check_ray_folder)
    say(not problem, f"room for Ray's sockets in {ray_folder()}", problem)
    if address:
        problem = _problem(token_path)
        have = bool(os.environ.get("RAY_AUTH_TOKEN")) or (not problem and token_path().is_file())
        say(have, "token of the cluster", problem or "copy the cluster's, as docs/jobs.md says",
            needed=os.environ.get("RAY_AUTH_MODE") == "token")  # fmt: skip
    else:
        problem = _problem(ensure_token)
        say(not problem, "Ray's token, for its owner alone", problem)
    for port, owner in PORTS.items():
        free = _free(port)
        say(free, f"port {port} ({owner})", "taken by a cluster here, or by something "
            "else; `ray start` takes another with its own option", needed=False)  # fmt: skip
    print("ready" if not problems else f"{problems} to mend")
    return int(problems > 0)


def _problem(check: Callable[[], object]) -> str:
    try:
        check()
    except UserError as error:
        return str(error)
    return ""


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def egl_vendors() -> list[str]:
    """Names of the drivers' files (*.json) that libEGL finds, in its order of search.

    Source: NVIDIA, libglvnd, "EGL ICD enumeration": __EGL_VENDOR_LIBRARY_FILENAMES names files,
    __EGL_VENDOR_LIBRARY_DIRS folders, which replace the usual ones.
    """
    named = os.environ.get("__EGL_VENDOR_LIBRARY_FILENAMES")
    if named:
        return [Path(file).name for file in named.split(os.pathsep) if Path(file).is_file()]
    usual = "/etc/glvnd/egl_vendor.d:/usr/share/glvnd/egl_vendor.d"
    folders = os.environ.get("__EGL_VENDOR_LIBRARY_DIRS", usual).split(os.pathsep)
    prefix = os.environ.get("CONDA_PREFIX")
    if prefix:
        folders.append(f"{prefix}/share/glvnd/egl_vendor.d")
    return [file.name for folder in folders for file in sorted(Path(folder).glob("*.json"))]


def egl_devices() -> int:
    """How many devices (GPUs, and software where Mesa is there) EGL can draw on without a display;
    0 where there is no libEGL.

    Extension: EGL_EXT_device_enumeration (Khronos).
    """
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return 0
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return 0
    query = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
    )(address)
    count = ctypes.c_int(0)
    return count.value if query(0, None, ctypes.byref(count)) else 0
