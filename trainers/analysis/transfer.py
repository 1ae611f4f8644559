"""`rayforge analyse transfer`: every run on every target, and which figure at home predicts it.

After the assay of Wenzel et al. (NeurIPS 2022), for agents: success beside likelihood, calibration,
perturbed features and parity over rooms, of each run at home and under shift. Language models'
cells are those of `transfer_language`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.graph.navigation_data import check_split
from rayforge.errors import ConfigurationError, DataError
from rayforge.evaluation.calibration import calibration_error, reliability
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.evaluation.parity import total_variation_parity
from rayforge.evaluation.robustness import attacked
from rayforge.irl.decisions import batches_of, score_decisions
from rayforge.irl.networks import Policy
from rayforge.language.vocabulary import Vocabulary
from rayforge.reports.alignment import is_alignment_run
from trainers.analysis.attributes import check_agents_run, goal_rooms
from trainers.analysis.cloning import (
    Block,
    clone,
    clone_config,
    keep_run,
    new_agent,
    of_buildings,
    read_cached,
)
from trainers.analysis.results import write_results
from trainers.analysis.targets import seen_otherwise, told_otherwise, told_twice
from trainers.analysis.transfer_config import (
    Target,
    TransferConfig,
    asked_of,
    found_runs,
    read_transfer,
    run_names,
)
from trainers.analysis.transfer_language import LANGUAGE_MODELS, language_cells, score_pairs
from trainers.analysis.transfer_results import (
    HOME,
    Measured,
    summarise_transfer,
    transfer_sections,
)
from trainers.analysis.trials import check_processes, fan_out, keep_asked
from trainers.configuration import from_dict, read_document, to_dict
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import scores_of
from trainers.irl.loading import agent_sizes, agent_with, load_weights
from trainers.irl.preflight import check_data
from trainers.irl.run_folder import load_run
from trainers.irl.task import Task, read_task
from trainers.search.config import merged

AGENTS = Measured("success", "Success", {
    "success": "success at home", "accuracy": "expert's actions predicted at home",
    "nats": "nats at home", "ece": "calibration error at home",
    "ece_stop": "calibration error of STOP at home", "perturbed": "accuracy when perturbed",
    "parity": "parity over rooms at home", "parameters": "parameters",
})  # fmt: skip


@dataclass(frozen=True)
class Making:
    """A run to train."""

    folder: Path
    config: IRLConfig
    buildings: tuple[str, ...]


@dataclass(frozen=True)
class Scoring:
    """A run to score on a target."""

    run: Path
    name: str
    """As tables call it."""
    group: str
    target: Target | None
    """None: at home."""
    grid: TransferConfig


def analyse_transfer(file: Path, out: Path, processes: int, command: str) -> dict[str, Any]:
    """Make runs that are missing, fill the grid, write `transfer.json` and `transfer.html`.

    A grid whose runs are language models' is scored on pairs (`transfer_language`). Raises
    ConfigurationError, DataError or RunError before Ray starts wherever possible.
    """
    check_processes(processes)
    if _names_language_models(file):
        pairs = language_cells(file)
        _check_count(len({cell.name for cell in pairs.values()}))
        of_all = next(iter(pairs.values()))
        asked = asked_of(
            {cell.name: cell.run for cell in pairs.values()},
            [cell.target for cell in pairs.values() if cell.target is not None],
        )
        keep_asked(out, {"pairs": of_all.pairs, "seed": of_all.seed, **asked})
        rows, measured = fan_out(score_pairs, pairs, out, processes, "cell"), LANGUAGE_MODELS
    else:
        cells = _agents_cells(read_transfer(file), out, processes)
        rows, measured = fan_out(score_cell, cells, out, processes, "cell"), AGENTS
    document = summarise_transfer(list(rows.values()), measured)
    sections = transfer_sections(document, measured)
    write_results(out, "transfer", document, "Transfer under shift", sections, command)
    return document


def _names_language_models(file: Path) -> bool:
    names = read_document(file).get("runs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    return any(is_alignment_run(run) for run in found_runs(names))


def _check_count(runs: int) -> None:
    if runs < 3:
        raise ConfigurationError(f"a grid needs three runs at least, got {runs}")


def _agents_cells(grid: TransferConfig, out: Path, processes: int) -> dict[str, Scoring]:
    """The cells of a grid by name; trains the runs that it makes."""
    check_data(Path(grid.data))
    runs = {path: _group(path) for path in found_runs(grid.runs)}
    for run in runs:
        check_agents_run(run, "transfer")
        _check_camera(grid, load_run(run)[0], str(run))
    makings = _makings(grid, out)
    _check_count(len(runs) + len(makings))
    for target in grid.read_targets():
        check_split(Path(target.data or grid.data), target.split)
    given = dict(zip(run_names(list(runs)), runs, strict=True))
    keep_asked(out, _asked(grid) | asked_of(given, grid.read_targets()))
    if makings:
        fan_out(make_run, makings, out / "made", processes, "run")
        runs |= {making.folder: _group(making.folder) for making in makings.values()}
    return {
        f"{name} | {target.title if target else HOME}": Scoring(run, name, group, target, grid)
        for (run, group), name in zip(runs.items(), run_names(list(runs)), strict=True)
        for target in (None, *grid.read_targets())
    }


def _asked(grid: TransferConfig) -> dict[str, Any]:
    """What rows of a folder have in common; sources and variants may be added to it."""
    asked = {
        name: to_dict(grid)[name]
        for name in ("data", "base", "home", "episodes", "perturbed", "seed")
    }
    for name in ("sources", "variants"):
        asked |= {f"make {name} {k}": v for k, v in grid.make.get(name, {}).items()}
    return asked


def _check_camera(grid: TransferConfig, config: IRLConfig, name: str) -> None:
    """Raises ConfigurationError where a target shifts the camera of a run that sees by none."""
    for target in grid.read_targets():
        if target.camera and config.features != "rendered":
            raise ConfigurationError(
                f"target {target.title}: {name} has features {config.features!r}, which no camera "
                'made: shift the camera of runs with features "rendered"'
            )


def _group(run: Path) -> str:
    """What runs of one kind share: the variant of one that was made, else its method."""
    parts = run.name.split("--")
    return parts[1] if len(parts) == 3 else load_run(run)[0].method


def _makings(grid: TransferConfig, out: Path) -> dict[str, Making]:
    made = grid.made
    if made is None:
        return {}
    base = clone_config({**grid.base, "data": grid.data})
    scans = sorted(
        {e.scan for e in read_cached(base, ("train", grid.home)).splits["train"].episodes}
    )
    found = {}
    for source, wanted in made.sources.items():
        names = _source(source, wanted, scans, grid.data)
        for variant, settings in made.variants.items():
            for seed in made.seeds:
                config = clone_config({**merged(grid.base, settings), "data": grid.data})
                config = replace(
                    config, buildings=tuple(names), seed=seed, clone_updates=made.updates
                )
                name = f"{source}--{variant}--{seed}"
                _check_camera(grid, config, f"run {name}")
                folder = (out / "runs" / name).absolute()
                found[f"{name} of {made.updates} updates"] = Making(folder, config, tuple(names))
    return found


def _source(source: str, wanted: Any, scans: list[str], data: str) -> list[str]:
    """The buildings of a source: so many from the first, or those that are named."""
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if not 1 <= wanted <= len(scans):
            raise ConfigurationError(
                f"make: source {source}: {wanted} buildings are asked for, and {data} has "
                f"{len(scans)} to train in: ask for 1 to {len(scans)}"
            )
        return scans[:wanted]
    if not isinstance(wanted, list) or not wanted:
        raise ConfigurationError(
            f"make: source {source} must be a number of buildings or a list of their names, got "
            f"{str(wanted)[:80]!r}"
        )
    unknown = [name for name in wanted if name not in scans]
    if unknown:
        raise ConfigurationError(
            f"make: source {source}: {str(unknown[0])[:80]!r} is no training building of {data}; "
            f"there are {', '.join(scans[:4])}, ..."
        )
    return [str(name) for name in wanted]


def make_run(making: Making) -> dict[str, Any]:
    """Clone in the run's buildings and keep it as a run folder."""
    torch.set_num_threads(1)
    config = making.config
    task = read_cached(
        replace(config, buildings=(), seed=0, clone_updates=0), ("train", "val_seen")
    )
    split = task.splits["train"]
    rows = of_buildings(split, making.buildings)
    agent = new_agent(config, task, config.seed)
    parts = 10
    blocks = [
        Block(max(1, config.clone_updates // parts), config.learning_rate * 0.8**k)
        for k in range(parts)
    ]
    agent = clone(agent, split, rows, blocks, config.batch, config.seed)
    keep_run(making.folder, config, task, agent, "rayforge analyse transfer")
    return {"folder": str(making.folder), "pairs": len(rows)}


@cache
def _task(
    folder: str, split: str, settings: str, words: tuple[str, ...], objects: tuple[str, ...]
) -> Task[Any]:
    config = from_dict(IRLConfig, json.loads(settings))
    return read_task(Path(folder), config, (split,), Vocabulary(words), objects)


def score_cell(scoring: Scoring) -> dict[str, Any]:
    """The figures of a run on a target."""
    torch.set_num_threads(1)
    grid, target = scoring.grid, scoring.target or Target(split=scoring.grid.home)
    config, vocabulary, objects = load_run(scoring.run)
    read_as = replace(config, buildings=(), held_out=(), seed=0, clone_updates=0, updates=0)
    task = _task(target.data or grid.data, target.split, json.dumps(to_dict(read_as)),
                 vocabulary.words, objects)  # fmt: skip
    split = task.splits[target.split]
    rows = np.arange(len(split))
    if scoring.target is None and config.buildings:
        rows = of_buildings(split, config.buildings)
    if target.longer:
        rows = rows[np.argsort(-split.paths.length[rows], kind="stable")[: (len(rows) + 1) // 2]]
    if target.paraphrased:
        rows = rows[told_twice(split)[rows]]
    rows = np.sort(np.random.default_rng(grid.seed).permutation(rows)[: grid.episodes])
    if not len(rows):
        raise DataError(f"{scoring.run}: target {target.title} leaves no episode of its buildings")
    split = told_otherwise(split, rows, target, task, grid.seed)
    task = seen_otherwise(task, read_as, target, grid.seed)
    agent = agent_with(
        load_weights(scoring.run, config),
        agent_sizes(config, len(vocabulary), task.world.dimension),
    )
    policy, observer = agent.policy, task.world.observer()
    values = scores_of(policy, task.world, split)
    scored = score_decisions(policy, observer, split.paths, np.arange(len(split)))
    at = split.paths.viewpoint[scored.row, scored.step]
    near = task.world.buildings.distance(at, split.goal[scored.row]) < SUCCESS_METRES
    confidence = np.minimum(scored.confidence, 1.0)
    perturbed = _perturbed(policy, observer, split.paths, grid.perturbed)
    return {
        "run": scoring.name, "group": scoring.group,
        "target": HOME if scoring.target is None else target.title,
        "episodes": len(split),
        "success": float(values["success"].mean()), "spl": float(values["spl"].mean()),
        "success_interval": list(bootstrap_interval(values["success"], samples=1_000)),
        "accuracy": float(scored.correct.mean()), "nats": float(-scored.expert.mean()),
        "ece": calibration_error(confidence, scored.correct),
        "reliability": reliability(confidence, scored.correct),
        "ece_stop": calibration_error(np.clip(scored.stop, 0.0, 1.0), near),
        "perturbed": float(perturbed[-1]), "perturbed_sizes": perturbed.tolist(),
        "parity": _rooms_parity(task, split, values["success"]),
        "parameters": sum(p.numel() for p in policy.parameters()),
    }  # fmt: skip


def _perturbed(policy: Policy, observer: Any, paths: Any, sizes: tuple[float, ...]) -> np.ndarray:
    """Share of the expert's actions predicted when every feature may move by at most `size`."""
    (batch,) = batches_of(policy, observer, paths, np.arange(min(24, len(paths))), 24)
    with torch.no_grad():
        seen = observer.observe_batch(batch.columns, policy.image_encoder)
        instructions = policy.instruction_encoder(batch.columns["tokens"])
    real = torch.arange(seen.legal.shape[1]) < batch.columns["length"][:, None]
    decides = real & (seen.legal.sum(-1) > 1)

    def logits(state: torch.Tensor) -> torch.Tensor:
        log_pi = policy(seen._replace(state=state), instructions, batch.columns["length"])
        found: torch.Tensor = log_pi.masked_fill(~seen.legal, -1e9)[decides]
        return found

    return attacked(logits, seen.state, batch.columns["action"][decides], sizes, steps=3)


def _rooms_parity(task: Task[Any], split: Any, success: np.ndarray) -> float:
    """Total variation of success over the kinds of room that goals are in; NaN without labels."""
    rooms = goal_rooms(task, split)
    return float("nan") if rooms is None else total_variation_parity(success, rooms, 2)
