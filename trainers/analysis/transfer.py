"""`rayforge analyse transfer`: every run on every target, and which figure at home predicts it.

After the assay of Wenzel et al. (NeurIPS 2022), for agents: success beside likelihood, calibration,
perturbed features and parity over rooms, of each run at home and under shift.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rayforge.errors import ConfigurationError, DataError
from rayforge.evaluation.calibration import calibration_error
from rayforge.evaluation.intervals import bootstrap_interval, seed_interval
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.evaluation.parity import total_variation_parity
from rayforge.evaluation.robustness import (
    Line,
    attacked,
    effective_robustness,
    fit_line,
    leave_one_out,
    probit,
    runs_needed,
)
from rayforge.irl.decisions import batches_of, score_decisions
from rayforge.irl.networks import Policy
from rayforge.language.vocabulary import Vocabulary
from rayforge.reports.scatter import scatter_chart
from rayforge.reports.section import Cell, Pictures, Row, Section, Table, Text, cell
from trainers.analysis.attributes import check_agents_run, goal_rooms
from trainers.analysis.cloning import (
    Block,
    clone,
    keep_run,
    new_agent,
    of_buildings,
    read_cached,
    small_config,
    success_of,
)
from trainers.analysis.results import note, write_results
from trainers.analysis.targets import seen_otherwise, told_otherwise, told_twice
from trainers.analysis.transfer_config import Target, TransferConfig, read_transfer
from trainers.analysis.trials import check_processes, fan_out
from trainers.configuration import from_dict, to_dict
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_sizes, agent_with, load_weights
from trainers.irl.run_folder import load_run
from trainers.irl.task import Task, read_task
from trainers.search.config import merged

HOME = "home"
FIGURES = ("success", "spl", "accuracy", "nats", "ece", "ece_stop", "perturbed", "parity",
           "parameters")  # fmt: skip
PREDICTORS = {
    "success": "success at home", "accuracy": "expert's actions told at home",
    "nats": "nats at home", "ece": "calibration error at home",
    "ece_stop": "calibration error of STOP at home", "perturbed": "accuracy when perturbed",
    "parity": "parity over rooms at home", "parameters": "parameters",
}  # fmt: skip
UNKNOWN = "Not known: it takes three runs or more whose success at home differs, on two targets."


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
    group: str
    target: Target | None
    """None: at home."""
    grid: TransferConfig


def analyse_transfer(file: Path, out: Path, processes: int, command: str) -> dict[str, Any]:
    """Make runs that are missing, fill the grid, write `transfer.json` and `transfer.html`.

    Raises ConfigurationError, DataError or RunError before Ray starts wherever possible.
    """
    check_processes(processes)
    grid = read_transfer(file)
    if not Path(grid.data).is_dir():
        raise DataError(f"data folder {grid.data} does not exist; `rayforge houses DIR` makes one")
    runs = {path: _group(path) for path in grid.found_runs()}
    for run in runs:
        check_agents_run(run, "transfer")
        _check_camera(grid, load_run(run)[0], str(run))
    makings = _makings(grid, out)
    if makings:
        fan_out(make_run, makings, out / "made", processes, "run")
        runs |= {making.folder: _group(making.folder) for making in makings.values()}
    if len(runs) < 3:
        raise ConfigurationError(f"a grid needs three runs at least, got {len(runs)}")
    cells = {
        f"{run.name} | {target.title if target else HOME}": Scoring(run, group, target, grid)
        for run, group in runs.items()
        for target in (None, *grid.read_targets())
    }
    rows = fan_out(score_cell, cells, out, processes, "cell")
    document = summarise_transfer(grid, list(rows.values()))
    write_results(out, "transfer", document, "Transfer under shift", _sections(document), command)
    return document


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
    base = small_config({**grid.base, "data": grid.data})
    scans = sorted(
        {e.scan for e in read_cached(base, ("train", grid.home)).splits["train"].episodes}
    )
    found = {}
    for source, wanted in made.sources.items():
        names = scans[:wanted] if isinstance(wanted, int) else wanted
        unknown = [name for name in names if name not in scans]
        if unknown or not names:
            raise ConfigurationError(
                f"make: source {source}: {unknown[0] if unknown else wanted!r} is no training "
                f"building of {grid.data}; there are {', '.join(scans[:4])}, ..."
            )
        for variant, settings in made.variants.items():
            for seed in made.seeds:
                config = small_config({**merged(grid.base, settings), "data": grid.data})
                config = replace(
                    config, buildings=tuple(names), seed=seed, clone_updates=made.updates
                )
                name = f"{source}--{variant}--{seed}"
                _check_camera(grid, config, f"run {name}")
                folder = (out / "runs" / name).absolute()
                found[f"{name} of {made.updates} updates"] = Making(folder, config, tuple(names))
    return found


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
    values = success_of(policy, task, split)
    scored = score_decisions(policy, observer, split.paths, np.arange(len(split)))
    at = split.paths.viewpoint[scored.row, scored.step]
    near = task.world.buildings.distance(at, split.goal[scored.row]) < SUCCESS_METRES
    perturbed = _perturbed(policy, observer, split.paths, grid.perturbed)
    return {
        "run": scoring.run.name, "group": scoring.group,
        "target": HOME if scoring.target is None else target.title,
        "episodes": len(split),
        "success": float(values["success"].mean()), "spl": float(values["spl"].mean()),
        "success_interval": list(bootstrap_interval(values["success"], samples=1_000)),
        "accuracy": float(scored.correct.mean()), "nats": float(-scored.expert.mean()),
        "ece": calibration_error(np.minimum(scored.confidence, 1.0), scored.correct),
        "ece_stop": calibration_error(np.clip(scored.stop, 0.0, 1.0), near),
        "perturbed": float(perturbed[-1]), "perturbed_sizes": perturbed.tolist(),
        "parity": _rooms_parity(task, split, values["success"]),
        "parameters": sum(p.numel() for p in policy.parameters()),
    }  # fmt: skip


def _perturbed(policy: Policy, observer: Any, paths: Any, sizes: tuple[float, ...]) -> np.ndarray:
    """Expert's actions told when every feature of the states may move by at most `size`."""
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


def summarise_transfer(grid: TransferConfig, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Lines, predictors and effective robustness of a filled grid."""
    home = {row["run"]: row for row in rows if row["target"] == HOME}
    away = [row for row in rows if row["target"] != HOME]
    names = list(dict.fromkeys(row["target"] for row in away))
    groups = sorted({row["group"] for row in rows})
    targets: dict[str, Any] = {}
    pair, target_rate = [], []
    figures: dict[str, list[float]] = {name: [] for name in PREDICTORS}
    robust: dict[str, list[float]] = {group: [] for group in groups}
    for number, name in enumerate(names):
        own = [row for row in away if row["target"] == name]
        x = np.array([home[row["run"]]["success"] for row in own])
        y = np.array([row["success"] for row in own])
        counts = np.array([row["episodes"] for row in own])
        base = np.array([row["group"] == groups[0] for row in own])
        line = fit_line(x, y, counts)
        baseline = fit_line(x[base], y[base], counts[base]) if base.sum() > 2 else line
        if np.isfinite(baseline.slope):
            gains = effective_robustness(baseline, x, y, counts)
            for row, gain in zip(own, gains, strict=True):
                robust[row["group"]].append(float(gain))
        targets[name] = {
            "success": seed_interval(y), "lost": seed_interval(x - y),
            "line": line._asdict(), "calibration": seed_interval([r["ece"] for r in own]),
        }  # fmt: skip
        for row in own:
            pair.append(number)
            target_rate.append(row["success"])
            for key in PREDICTORS:
                value = home[row["run"]][key]
                value = math.nan if value is None else float(value)
                figures[key].append(float(probit(np.array(value))) if key == "success" else value)
    known = {k: np.array(v) for k, v in figures.items() if np.isfinite(v).all() and np.ptp(v) > 0}
    # Targets differ in how hard they are: each pair is centred, so that what is predicted is which
    # of its runs does better.
    predictors = []
    if len(names) > 1 and known:
        predictors = leave_one_out(known, np.array(target_rate), np.array(pair))
    ranks = [t["line"]["rank"] for t in targets.values() if np.isfinite(t["line"]["rank"])]
    worst = max(targets, key=lambda name: targets[name]["lost"].mean)
    typical = float(np.median(ranks)) if ranks else float("nan")
    return {
        "runs": len(home), "targets": targets, "groups": groups, "rows": rows,
        "predictors": [p._asdict() for p in predictors],
        "effective_robustness": {g: seed_interval(v) for g, v in robust.items() if v},
        "worst": worst, "rank": typical,
        "runs_needed": runs_needed(typical) if np.isfinite(typical) and abs(typical) < 1 else None,
    }  # fmt: skip


def _sections(document: dict[str, Any]) -> list[Section]:
    rows, targets = document["rows"], document["targets"]
    home = {row["run"]: row for row in rows if row["target"] == HOME}
    groups = []
    for group in document["groups"]:
        own = [r for r in rows if r["target"] != HOME and r["group"] == group]
        groups.append(
            (group, np.array([float(probit(np.array(home[r["run"]]["success"]), r["episodes"]))
                              for r in own]),
             np.array([float(probit(np.array(r["success"]), r["episodes"])) for r in own]),
             [f"{r['run']} on {r['target']}: {r['success']:.3f}" for r in own])
        )  # fmt: skip
    every = np.concatenate([a for _, a, _, _ in groups])
    ends = np.array([every.min(), every.max()])
    lines = [("equal", ends, ends)]
    for name, found in list(targets.items())[:8]:
        line = Line(**found["line"])
        if np.isfinite(line.slope):
            lines.append((name, ends, line.intercept + line.slope * ends))
    hint = "Dashed: equality, and the line of each target."
    scatter = scatter_chart(
        "Success under shift against success at home", groups, x="probit of success at home",
        y="probit of success under shift", lines=lines, hint=hint,
    )  # fmt: skip
    table = [
        Row(Cell(name), [cell(t["success"]), cell(t["lost"], signed=True),
                         Cell(_number(t["line"]["slope"])), Cell(_number(t["line"]["r_squared"])),
                         Cell(_number(t["line"]["rank"])), cell(t["calibration"])],
            own=name == document["worst"])
        for name, t in sorted(targets.items(), key=lambda item: -item[1]["lost"].mean)
    ]  # fmt: skip
    head = ["Target", "Success", "Lost", "Slope", "R²", "Rank correlation", "Calibration error"]
    predicted = [
        Row(Cell(PREDICTORS[p["name"]]), [Cell(_number(p["r_squared"])), Cell(_number(p["rank"]))])
        for p in document["predictors"]
    ]
    robust = [Row(Cell(g), [cell(i, signed=True)])
              for g, i in document["effective_robustness"].items()]  # fmt: skip
    needed = document["runs_needed"]
    law = (
        f"There are {document['runs']} runs. For a rank correlation of {document['rank']:.2f} to "
        f"be known within 0.1, each target needs about {needed} of them: read these lines as a "
        "description of these runs, not as a law."
        if needed
        else "The runs do not differ enough to be ranked."
    )
    return [
        Section(
            "At home and under shift",
            [Text(_worst(document), "answer"),
             Pictures(scatter), Table(head, table, "Means over runs, 95 % Student t intervals."),
             note(law)],
            "Does what is good at home stay good?",
        ),
        Section(
            "What predicts it",
            [Table(["Figure", "R², pair left out", "Rank correlation within a pair"], predicted,
                   "R² below 0: worse than the mean of the other pairs.")
             if predicted else Text(UNKNOWN, "gone")],
            "Which figure at home says how a run does under shift?",
        ),
        Section(
            "Effective robustness",
            [Table(["Runs", "Above the line"], robust,
                   f"Success under shift less what the line of {document['groups'][0]!r} gives for "
                   "the success at home.")
             if robust else Text(UNKNOWN, "gone")],
        ),
    ]  # fmt: skip


def _worst(document: dict[str, Any]) -> str:
    lost = document["targets"][document["worst"]]["lost"]
    if not lost.low > 0:
        return "No shift hurts beyond doubt."
    return f"The shift that hurts most: {document['worst']}."


def _number(value: float) -> str:
    return f"{value:+.2f}" if np.isfinite(value) else "—"
