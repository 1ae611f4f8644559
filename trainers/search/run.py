"""One search from its file to its report. What can be refused is, before Ray is even imported."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rayforge.errors import ConfigurationError, RunError
from rayforge.files import clear_parts
from rayforge.readers.yaml_text import parse_yaml
from trainers.alignment.named_code import recorded, without_commands
from trainers.cluster import check_shared, check_storage, join_cluster, own_ray, start_here
from trainers.configuration import from_dict, placed, to_dict
from trainers.machine import processors
from trainers.runs.folder import check_lasting, held, leaving_nothing
from trainers.runs.identity import check_settings
from trainers.runs.stopping import BEFORE, stoppable
from trainers.runs.tracking import check_trackers
from trainers.search.config import Search, SearchConfig, make_search, read_search, renamed
from trainers.search.resources import concurrency, largest
from trainers.search.state import STATE, State, read_state
from trainers.search.storage import Folder
from trainers.systems import is_place

FILE = "search.yaml"
"""The search as it was started, in its own folder; a resumed one goes by it."""
SPARE = 1
"""CPUs that the Ray started here has on paper beyond the machine's: for trials that only wait for
their workers, a hundredth each."""


def search(file: Path, changes: Mapping[str, Any], resume: bool, command: str) -> Folder:
    """Search as `file` says, with `changes` of its settings; returns the folder of results.

    Raises ConfigurationError or DataError before Ray starts wherever possible.
    """
    plan = read_search(file, changes)
    folder = Folder(plan.settings.storage, plan.settings.name)
    with own_ray(), nullcontext() if folder.remote else leaving_nothing(Path(str(folder))):
        return _search(plan, file, changes, resume, command)


def _search(
    plan: Search, file: Path, changes: Mapping[str, Any], resume: bool, command: str
) -> Folder:
    check_trackers(plan.settings.track)
    folder = Folder(plan.settings.storage, plan.settings.name)
    alone = not os.environ.get("RAY_ADDRESS")
    if alone:
        cpus = plan.settings.cpus or processors()
        at_once = concurrency(plan, cpus, _gpus(plan), "this machine", SPARE)
    if not folder.remote:
        check_lasting(Path(plan.settings.storage))
    check_storage(plan.settings.storage)
    state = check_folder(folder, plan, resume)
    if not alone:
        _start_ray(0)  # what cannot be joined or placed is told before anything is made
        at_once = _places(plan)

    def line() -> str:
        begun = folder.read(FILE) is not None
        return f"go on with: {resume_command(file, changes)}" if begun else BEFORE

    if folder.remote:
        with stoppable(line):
            _go(plan, folder, state, at_once, resume, command)
        return folder
    here = Path(str(folder))
    here.mkdir(parents=True, exist_ok=True)
    with held(here), stoppable(line):
        clear_parts(here, below=True, older_than_s=0.0)
        state = check_folder(folder, plan, resume)  # nobody else changes it now
        _go(plan, folder, state, at_once, resume, command)
    return folder


def _go(
    plan: Search, folder: Folder, state: State, at_once: int, resume: bool, command: str
) -> None:
    """Take the folder, make what the trials read, and run them."""
    if not resume:
        state.save(folder)
        folder.write(FILE, yaml.safe_dump(_whole(plan), sort_keys=False))
    try:
        _prepare(plan)
    except BaseException:
        if not resume:
            folder.remove_file(FILE)  # nothing has begun: the name is free again
            folder.remove_file(STATE)
        raise
    if not os.environ.get("RAY_ADDRESS"):
        _start_ray((plan.settings.cpus or processors()) + SPARE)
    from trainers.search.tuning import tune_all

    _say(plan, folder, at_once)
    tune_all(plan, folder, state, at_once, without_commands(command, plan.settings.judge))


def report_search(path: Path) -> Path:
    """Write the tables and the page of a search in its folder again, as far as it has come.

    Raises RunError where the folder cannot be read, and ConfigurationError for a system from
    outside RayForge, whose code a folder does not get imported.
    """
    from trainers.runs.folder import command_line
    from trainers.search.results import trials_of, write_results

    path = path.absolute()
    folder = Folder(str(path.parent), path.name)
    saved = saved_settings(folder, folder.read(FILE) or "")
    if is_place(saved.system):
        raise ConfigurationError(
            f"{path} is a search over {saved.system}, code from outside RayForge: `rayforge tune "
            f"FILE --resume --system {saved.system}` writes its report"
        )
    state = read_state(folder)
    if state is None:
        raise RunError(f"{path} has lost what it knew of its trials: {STATE} is missing")
    plan = make_search(saved, path)
    write_results(folder, plan, trials_of(state, plan), command_line())
    return path / "report.html"


def _prepare(plan: Search) -> None:
    """What all trials read is made once, here: houses, the tiny model's start."""
    plan.system.prepare(plan.trial({}))


def _whole(plan: Search) -> dict[str, Any]:
    """The search's settings, all of the base's among them: the folder needs no other file."""
    shown = plan.with_judge(recorded(plan.settings.judge))
    return {**to_dict(shown.settings), "base": plan.base, "config": ""}


def _places(plan: Search) -> int:
    """Trials at a time on the joined cluster, whose nodes must share the storage."""
    import ray

    check_shared(plan.settings.storage)
    there = ray.cluster_resources()
    return concurrency(plan, there.get("CPU", 0), there.get("GPU", 0), "the cluster")


def _gpus(plan: Search) -> int:
    if not largest(plan).gpus:
        return 0
    import torch

    return torch.cuda.device_count()


def check_folder(folder: Folder, plan: Search, resume: bool) -> State:
    """The state that the search goes on with, or a new one.

    Raises RunError where the folder is taken, or holds no such search to resume.
    """
    text = folder.read(FILE)
    if not resume:
        if text is not None:
            raise RunError(
                f"{folder} holds a search already: go on with --resume, or give this one another "
                "name (--name)"
            )
        return State()
    if text is None:
        raise RunError(f"{folder} holds no search to go on with: drop --resume")
    check_same(saved_settings(folder, text), plan, f"{folder}")
    state = read_state(folder)
    if state is None:
        raise RunError(
            f"{folder} has lost what it knew of its trials: {STATE} is missing (RayForge before "
            "0.2 wrote none): put it back, or start another search (--name)"
        )
    return state


def saved_settings(folder: Folder, text: str) -> SearchConfig:
    """The settings that a search's folder says it was started with. Raises RunError."""
    place = f"{folder}/{FILE}"
    document = parse_yaml(text, place, RunError)
    if not isinstance(document, dict):
        raise RunError(f"{place} holds no settings: put it back, or start another search")
    try:
        return from_dict(SearchConfig, renamed(document, place))
    except ConfigurationError as error:
        raise RunError(f"{place}: {error}; put it back, or start another search") from None


def check_same(saved: SearchConfig, plan: Search, place: str) -> None:
    """Raises ConfigurationError where a search was started with other settings that matter; the
    base's are compared one by one."""
    before, now = (
        replace(settings, base={}, config="", judge=recorded(settings.judge))
        for settings in (saved, plan.settings)
    )
    check_settings(before, now, place)
    try:
        # RayForge before 0.2 kept the paths as they had been given.
        was = placed(from_dict(plan.kind, saved.base), say=False)
    except ConfigurationError as error:
        raise RunError(f"{place}/{FILE}: base: {error}") from None
    check_settings(was, plan.with_judge("").trial({}), f"{place} (base)")


def _start_ray(cpus: int) -> None:
    """Join the cluster, or start Ray here, with its dashboard on loopback.

    The dashboard is not for looks alone: without it Ray leaks the workers of trials that a
    scheduler ends, and the next trial waits for them for ever.
    """
    # Trials read the paths of their settings from where the command was given.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    # TensorBoard's records go to the search's folder that often, for whoever watches.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    # On a busy machine the dashboard takes longer than the minute that Ray gives it.
    os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "300")
    # On a busy machine a worker takes longer than the minute after which Train starts another.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its tables; a line a report says it all
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        join_cluster(log_to_driver=False)
        return
    start_here(cpus, dashboard=True, log_to_driver=False)


def resume_command(file: Path, changes: Mapping[str, Any]) -> str:
    """The command that goes on with a search started from `file` with `changes`."""
    words = ["rayforge", "tune", str(file)]
    for name, value in changes.items():
        words += [f"--{name}", recorded(value) if name == "judge" else str(value)]
    return shlex.join([*words, "--resume"])


def _say(plan: Search, folder: Folder, at_once: int) -> None:
    settings, wanted = plan.settings, plan.system.resources(plan.trial({}))
    print(
        f"{plan.trials} trials of {settings.system}, {at_once} at a time; a trial takes "
        f"{max(1, int(wanted.cpus))} CPUs ({wanted.parts})"
        + (f" and {wanted.gpus:g} GPUs" if wanted.gpus else "")
        + f"; searcher {settings.searcher}, scheduler {settings.scheduler}; results in {folder}",
        flush=True,
    )
    print(f"watch: tensorboard --logdir {folder}", flush=True)
