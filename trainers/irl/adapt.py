"""`rayforge irl adapt`: an agent makes its own training data in new buildings (transductive).

After Zhou & Small's self-supervised adaptation: a goal-agnostic policy pi_0 walks in the new
buildings, the goal generator describes its walks, instructions that follower and generator do not
agree on are dropped, and the agent goes on learning from these pairs and the original
demonstrations together. The graphs of the new buildings are used and none of their episodes.

The folder is a run like any other, with `adaptation.json` beside: `config.yaml` names the new pairs
(`further`), so that resuming, evaluating and watching it take no other commands. Each stage is
written when it is whole; the same command goes on where it was broken off. A control, walks
"none", trains on as long from the original demonstrations alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from envs.episodes.episode import Episode
from envs.episodes.r2r import read_r2r, write_r2r
from envs.graph.navigation_data import nearest_name
from envs.graph.navigation_graph import SUFFIX
from rayforge.errors import ConfigurationError, DataError, RunError
from rayforge.evaluation.intervals import paired_difference
from rayforge.files import clear_parts, write_json, write_text
from rayforge.language.vocabulary import Vocabulary
from rayforge.readers.faults import looked_in, reading, shown
from rayforge.readers.json_text import read_json_lines, read_object
from rayforge.reports.report import write_report
from trainers.cluster import own_ray
from trainers.configuration import to_dict, to_yaml
from trainers.irl.adapt_building import (
    BuildingJob,
    Described,
    Describer,
    goal_agnostic,
    room_labels,
)
from trainers.irl.adapt_config import AdaptConfig
from trainers.irl.adapt_said import check_said, said_pairs
from trainers.irl.config import IRLConfig
from trainers.irl.loading import load_weights
from trainers.irl.plan import FILES, plan_run
from trainers.irl.plan_config import PlanConfig
from trainers.irl.preflight import check_cpus
from trainers.irl.run import start_ray, train
from trainers.irl.run_folder import data_folder, load_run, resolve_split
from trainers.irl.task import FIRST_PATH_ID, read_task
from trainers.runs.checkpoint import latest, load_checkpoint, save_checkpoint
from trainers.runs.folder import hardware, prepare
from trainers.runs.pool import Pool
from trainers.runs.stopping import stoppable


def adapt(
    run: Path, scans: tuple[str, ...], out: Path, data: Path | None, settings: AdaptConfig,
    command: str,
) -> None:  # fmt: skip
    """Adapt the agent of `run` to buildings `scans`, into the folder `out`.

    Args:
        run: a finished graph run with a goal generator.
        scans: buildings of the data folder's connectivity; training ones serve as a control.
        out: a new folder, or one that the same call began.
        data: the run's data folder, where it is not where it was.

    Raises:
        ConfigurationError, DataError, CheckpointError: before anything is trained wherever it can
            be known then.
    """
    config, vocabulary, objects = load_run(run)
    check_adaptable(run, config)
    folder = data or data_folder(config)
    check_scans(folder, scans)
    if settings.instructions:
        check_said(run, Path(settings.instructions), scans)
    if not os.environ.get("RAY_ADDRESS"):
        check_cpus(settings.runners, "")
    config = replace(config, data=str(folder))
    load_weights(run, load_run(run)[0])
    pairs = _pairs_of(settings, scans) if settings.pairs else []
    begun = {"run": str(run), "scans": list(scans), "settings": asdict(settings)}
    with stoppable(lambda: f"the same command goes on: {command}"):
        _begin(out, begun)
        clear_parts(out, below=True, older_than_s=0.0)
        if settings.pairs:
            _take_pairs(run, out, settings, pairs)
        elif settings.walks == "none":
            _describe_nothing(run, out, settings)
        elif not (out / "further.json").is_file():
            _clone_without_text(config, settings, out / "goal_agnostic", command)
            _describe(run, scans, out, folder, config, settings, vocabulary, objects)
        if latest(out / "checkpoints") is None:
            _start_from(run, out, config, settings, command)
        train(adapted(config, settings, out), out, True, command)
        _compare(run, out)
        _plan(run, out, command)
        print(f"report: {write_report(out)}", flush=True)


def _plan(run: Path, out: Path, command: str) -> None:
    """The adapted agent plans as the one before did: with the same reward, and weights that are
    fitted to its new policy on the same instructions held back."""
    if not (run / FILES[1]).is_file() or (out / FILES[1]).is_file():
        return
    settings = read_object(run / FILES[1], RunError)["settings"]
    for name in FILES:
        shutil.copyfile(run / name, out / name)
    try:
        plan_run(out, PlanConfig(**{**settings, "reward": "kept"}), command)
    except BaseException:
        (out / FILES[1]).unlink()  # or the same command would take it for the adapted agent's
        raise


def _clone_without_text(config: IRLConfig, settings: AdaptConfig, pi_0: Path, command: str) -> None:
    """The goal-agnostic policy, into the folder `pi_0`, where it is not there yet."""
    if (pi_0 / "report.html").is_file():
        return
    print(f"goal-agnostic policy: {settings.agnostic_updates} updates into {pi_0}", flush=True)
    resume = latest(pi_0 / "checkpoints") is not None
    if not resume:
        (pi_0 / "config.yaml").unlink(missing_ok=True)
    train(goal_agnostic(config, settings), pi_0, resume, command)


def check_adaptable(run: Path, config: IRLConfig) -> None:
    """Raises ConfigurationError where a run cannot be adapted."""
    if config.env != "graph":
        raise ConfigurationError(
            f"{run} walks in 3-D scenes; adaptation is for navigation graphs (env: graph)"
        )
    if not config.generates:
        raise ConfigurationError(
            f"{run} has no goal generator (method {config.method}): train one with "
            "--method langgoal and --augment or --relabel"
        )
    if config.extra_demonstrations:
        raise ConfigurationError(f"{run} is adapted already: adapt the run that it came from")


def check_scans(folder: Path, scans: tuple[str, ...]) -> None:
    """Raises ConfigurationError for a building that the folder has no graph of, or named twice."""
    if not scans:
        raise ConfigurationError("name the buildings to adapt to: --scans A,B,...")
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist{looked_in(folder)}")
    known = sorted(
        f.name.removesuffix(SUFFIX) for f in (folder / "connectivity").glob(f"*{SUFFIX}")
    )
    for scan in scans:
        if scan not in known:
            raise ConfigurationError(
                f"building {scan!r} has no graph in {folder / 'connectivity'}, which holds "
                f"{len(known)}{nearest_name(scan, known)}"
            )
        if scans.count(scan) > 1:
            raise ConfigurationError(f"building {scan} is named twice")


def adapted(config: IRLConfig, settings: AdaptConfig, out: Path) -> IRLConfig:
    """The configuration of the training on old and new demonstrations, at reduced step sizes."""
    rates = ("learning_rate", "policy_learning_rate", "critic_learning_rate",
             "reward_learning_rate")  # fmt: skip
    without = settings.walks == "none" and not settings.pairs
    extra = "" if without else str((out / "further.json").absolute())
    return replace(
        config, extra_demonstrations=extra, clone_updates=settings.clone_updates,
        updates=settings.updates,
        warm_start=True, runners=settings.runners, fewest_runners=0, learners=0, staleness=0,
        start_from="", seed=settings.seed,
        **{name: settings.rate * getattr(config, name) for name in rates},
    )  # fmt: skip


def _begin(out: Path, begun: dict[str, Any]) -> None:
    """Make the folder, or check that it was begun by the same call."""
    file = out / "adapt.json"
    if not file.is_file():
        prepare(out)
        write_json(file, begun)
        return
    before = read_object(file, RunError)
    for name, value in begun.items():
        if before.get(name) != value:
            raise ConfigurationError(
                f"{out} was begun with other {name}: {shown(before.get(name))}, now {value!r}; "
                "name another folder"
            )
    print(f"going on with {out}", flush=True)


def _pairs_of(settings: AdaptConfig, scans: tuple[str, ...]) -> list[Episode]:
    """The pairs that the settings name, those of the new buildings. Raises DataError where there
    are none."""
    file = Path(settings.pairs)
    pairs = [episode for episode in read_r2r(file) if episode.scan in scans and not episode.blind]
    if not pairs:
        raise DataError(f"{file}: no pair of instruction and path in {', '.join(scans)[:80]}")
    return pairs


def _take_pairs(run: Path, out: Path, settings: AdaptConfig, pairs: Sequence[Episode]) -> None:
    """`further.json` of the pairs that the settings name."""
    write_r2r(
        out / "further.json",
        [
            {
                "scan": e.scan, "path_id": FIRST_PATH_ID + number, "path": e.path,
                "heading": e.heading, "instructions": [e.instruction],
            }
            for number, e in enumerate(pairs)
        ],
    )  # fmt: skip
    _describe_nothing(run, out, settings)


def _describe_nothing(run: Path, out: Path, settings: AdaptConfig) -> None:
    """`adaptation.json` of the control that walks in no building."""
    document = {"run": str(run), "settings": asdict(settings), "buildings": []}
    write_json(out / "adaptation.json", document)


def _describe(
    run: Path, scans: tuple[str, ...], out: Path, folder: Path, config: IRLConfig,
    settings: AdaptConfig, vocabulary: Vocabulary, objects: tuple[str, ...],
) -> None:  # fmt: skip
    """Every building's job, and then `further.json` and `adaptation.json` from all of them."""
    task = read_task(folder, config, ("train",), vocabulary, objects)
    train_split, buildings = task.splits["train"], task.world.buildings
    described = Described.of(train_split.paths, buildings, room_labels(folder, buildings))
    trained_in = {episode.scan for episode in train_split.episodes}
    parts = out / "buildings"
    parts.mkdir(parents=True, exist_ok=True)
    every = [
        BuildingJob(
            folder.resolve(), scan, config, settings, vocabulary, objects, task.world.dimension,
            described,
        )
        for scan in scans
    ]  # fmt: skip
    jobs = [job for job in every if not (parts / f"{job.scan}.json").is_file()]
    for found in _run_jobs(jobs, run.resolve(), (out / "goal_agnostic").resolve(), settings):
        write_json(parts / f"{found['scan']}.json", found)
        kept = sum(record["kept"] for record in found["described"])
        print(
            f"  building {found['scan']}: {found['walked']} walks, {found['fit']} like those "
            f"people describe, {len(found['described'])} described, {kept} kept",
            flush=True,
        )
    results = [read_object(parts / f"{scan}.json", RunError) for scan in scans]
    records = [r for result in results for r in result["described"] if r["kept"]]
    if not records:
        raise DataError(
            f"{out}: no instruction was agreed on in any of {len(scans)} buildings; lower "
            f"--agreement (now {settings.agreement}) or train generator and policy for longer"
        )
    said: dict[str, Any] = {"asked": 0, "kept": 0, "records": []}
    if settings.instructions:
        said = said_pairs(run, every, Path(settings.instructions), settings.margin)
        print(f"  {said['kept']} of {said['asked']} instructions planned for", flush=True)
    rows = [
        {
            "scan": r["scan"], "path_id": FIRST_PATH_ID + number, "path": r["path"],
            "heading": r["heading"], "instructions": [r["sentence"]],
        }
        for number, r in enumerate([*records, *said["records"]])
    ]  # fmt: skip
    write_json(
        out / "adaptation.json",
        {
            "run": str(run), "settings": asdict(settings),
            "demonstrations": len(train_split), "described_by_people": asdict(described),
            "instructions": {"asked": said["asked"], "kept": said["kept"]},
            "buildings": [
                {
                    "scan": result["scan"], "in_training": result["scan"] in trained_in,
                    "walked": result["walked"], "fit": result["fit"],
                    "described": len(result["described"]),
                    "kept": sum(r["kept"] for r in result["described"]),
                    "samples": [
                        {"sentence": r["sentence"], **{k: r[k] for k in
                         ("follower", "generator", "kept")}}
                        for r in result["described"][:6]
                    ],
                }
                for result in results
            ],
        },
    )  # fmt: skip
    write_r2r(out / "further.json", rows)


def _run_jobs(
    jobs: list[BuildingJob], run: Path, agnostic: Path, settings: AdaptConfig
) -> Iterator[dict[str, Any]]:
    """Results as they come: of Ray actors where there are CPUs for them, else one by one here."""
    if not jobs:
        return
    on_ray = settings.runners > 0 or bool(os.environ.get("RAY_ADDRESS"))
    with own_ray():
        pool = Pool(_actors(settings, len(jobs)) if on_ray else 0)
        try:
            for _, found in pool.run(Describer(run, agnostic), jobs):
                yield found
        finally:
            pool.release()


def _actors(settings: AdaptConfig, jobs: int) -> int:
    """Start or join Ray; how many actors work on that many buildings. On a cluster no more than
    have a place now: one that waits for a place would keep its building waiting."""
    start_ray(settings.runners)
    free = int(ray.available_resources().get("CPU", 0))
    return max(1, min(jobs, settings.runners or free, free))


def _start_from(
    run: Path, out: Path, config: IRLConfig, settings: AdaptConfig, command: str
) -> None:
    """A run folder whose first checkpoint holds the weights of `run` and no update of its own."""
    own = adapted(config, settings, out)
    _, vocabulary, objects = load_run(run)
    folder = Path(config.data)
    splits = ("train", *(resolve_split(name, folder, config) for name in config.evaluate))
    task = read_task(folder, own, tuple(dict.fromkeys(splits)), vocabulary, objects)
    newest = latest(run / "checkpoints")
    assert newest is not None, "load_weights has found one"
    saved = load_checkpoint(newest)
    write_text(out / "config.yaml", to_yaml(own))
    write_text(out / "vocabulary.json", vocabulary.to_json())
    write_json(out / "objects.json", objects)
    about = {"command": command, "hardware": hardware(), "data": str(folder), "adapted": str(run)}
    write_json(out / "run.json", about)
    torch.manual_seed(settings.seed)
    counts = {
        "generator": own.generator.updates, "clone": 0, "irl": 0, "episodes": 0, "env_steps": 0
    }  # fmt: skip
    empty = {name: array[:0] for name, array in saved.replay.items()}
    state = {
        "counts": counts, "iteration": 0, "elapsed": 0.0, "config": to_dict(own),
        "data": task.fingerprint, "clock": {"seconds": {}, "updates": {}},
    }  # fmt: skip
    save_checkpoint(
        out / "checkpoints", own.generator.updates, saved.module, saved.optimizers, empty, state
    )


def _compare(run: Path, out: Path) -> None:
    """Adds to `adaptation.json` what adapting changed, over the same episodes."""
    document = read_object(out / "adaptation.json", RunError)
    document["change"] = {}
    how = "" if document["settings"]["walks"] == "none" else " (transductive)"
    for file in sorted(out.glob("episodes_*.jsonl")):
        before = run / file.name
        if not before.is_file():
            continue
        ours, theirs = (_successes(f) for f in (file, before))
        shared = [name for name in ours if name in theirs]
        if not shared:
            continue
        difference = paired_difference(
            np.array([ours[name] for name in shared]), np.array([theirs[name] for name in shared])
        )
        split = file.stem.removeprefix("episodes_")
        document["change"][split] = difference.as_dict()
        print(
            f"{split}: success {difference.mean:+z.3f} [{difference.low:+z.3f}, "
            f"{difference.high:+z.3f}] against {run}, paired over {difference.n} episodes{how}",
            flush=True,
        )
    write_json(out / "adaptation.json", document)


def _successes(file: Path) -> dict[str, float]:
    with reading(file, RunError, "evaluate the run again"):
        return {
            str(record["episode_id"]): float(record["success"])
            for _, record in read_json_lines(file, RunError)
        }
