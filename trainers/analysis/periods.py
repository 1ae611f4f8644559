"""`rayforge analyse periods`: when damage to the data lasts (Achille, Rovere & Soatto, ICLR 2019).

Trials are independent: (experiment, arm of the step size, onset, seed). Every trial has equally
many clean blocks, and trials of one seed share their start and the order of their data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from envs.shifts.features import shifted_tables
from envs.shifts.shift import FEATURES, WORDS
from envs.shifts.words import shifted_words
from rayforge.errors import ConfigurationError
from rayforge.evaluation.intervals import Interval, seed_interval
from rayforge.evaluation.sensitivity import (
    Arm,
    rates,
    rises_then_falls,
    sensitivity_interval,
)
from rayforge.files import write_text
from trainers.analysis.periods_config import (
    CLONE_RATE,
    WITHHELD,
    PeriodsConfig,
    Trial,
    read_periods,
    trials_of,
)
from trainers.analysis.periods_page import SUBJECTS, periods_sections
from trainers.analysis.results import write_results
from trainers.analysis.trials import ROWS, check_processes, fan_out
from trainers.configuration import to_yaml
from trainers.irl.preflight import check_data

CONFIG = "periods.yaml"


def analyse_periods(file: Path, out: Path, processes: int, command: str) -> dict[str, Any]:
    """Run what is missing of a study and write `periods.json` and `periods.html` into `out`.

    Raises ConfigurationError or DataError before Ray starts.
    """
    check_processes(processes)
    config = read_periods(file)
    if config.subject != "preferences":
        check_data(Path(config.data))
    _check_same(config, out)
    _prepare(config)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CONFIG, to_yaml(config))
    rows = fan_out(run_trial, trials_of(config), out, processes)
    document = summarise_periods(config, rows)
    title = f"Critical periods: {config.deficit.partition(':')[0]}, {SUBJECTS[config.subject]}"
    write_results(out, "periods", document, title, periods_sections(config, document), command)
    return document


def _check_same(config: PeriodsConfig, out: Path) -> None:
    """Rows of a folder are of one study: raises ConfigurationError where it holds another's."""
    if not (out / CONFIG).is_file():
        if (out / ROWS).is_file():
            raise ConfigurationError(
                f"{out} holds rows of another study: name another folder with --out"
            )
        return
    before = read_periods(out / CONFIG)
    for name in ("data", "subject", "deficit", "length", "clean", "learning_rate", "decay", "views",
                 "updates", "base"):  # fmt: skip
        if getattr(before, name) != getattr(config, name):
            raise ConfigurationError(
                f"{out} holds a study whose {name} was {getattr(before, name)!r} and is now "
                f"{getattr(config, name)!r}: name another folder with --out"
            )


def _prepare(config: PeriodsConfig) -> None:
    """Read or render what all trials share; raises DataError or ConfigurationError."""
    if config.subject == "rooms":
        from trainers.analysis.rooms import room_split

        room_split(config.data, config.views, config.views * 3 // 5)
    elif config.subject == "clone":
        from trainers.analysis.cloning import clone_config, read_cached

        read_cached(clone_config({**config.base, "data": config.data}), ("train", "val_unseen"))
    else:
        from trainers.analysis.preferences import prepare_preferences

        prepare_preferences(config)


def run_trial(trial: Trial) -> dict[str, Any]:
    """One training; its row holds the final score and, of a control, the trace at every block."""
    run = {"rooms": _rooms_trial, "clone": _clone_trial, "preferences": _preferences_trial}
    return {
        "experiment": trial.experiment, "arm": trial.arm, "onset": trial.onset,
        "until": trial.until, "seed": trial.seed, **run[trial.config.subject](trial),
    }  # fmt: skip


def _rates(trial: Trial, first: float) -> np.ndarray:
    arm: Arm = trial.arm  # type: ignore[assignment]
    until = trial.until if trial.experiment in ("removal", "window") else 0
    return rates(arm, first, trial.config.decay, until, trial.blocks)


def _rooms_trial(trial: Trial) -> dict[str, Any]:
    import torch

    from trainers.analysis.rooms import (
        Epoch,
        Recogniser,
        accuracy,
        most_frequent,
        recogniser_trace,
        room_split,
        train_recogniser,
    )

    torch.set_num_threads(1)
    config = trial.config
    split = room_split(config.data, config.views, config.views * 3 // 5)
    steps = _rates(trial, config.learning_rate)
    epochs = [Epoch(trial.damaged(k), float(rate)) for k, rate in enumerate(steps)]
    curve: list[dict[str, float]] = []

    def after(number: int, network: Recogniser) -> None:
        if trial.experiment == "control":
            found = recogniser_trace(network, split.train)
            curve.append(
                {"trace": float(found.total.mean()), "fixed": float(found.fixed.mean()),
                 "uncertainty": found.uncertainty, "score": accuracy(network, split.test)}
            )  # fmt: skip

    network = train_recogniser(split, epochs, config.shift, trial.seed, after)
    score = accuracy(network, split.test)
    return {"score": score, "chance": most_frequent(split), "curve": curve}


def _clone_trial(trial: Trial) -> dict[str, Any]:
    import torch

    from rayforge.irl.agent import Agent
    from rayforge.paths.observation import GraphObserver
    from trainers.analysis.cloning import (
        Block,
        clone,
        clone_config,
        expert_accuracy,
        new_agent,
        read_cached,
    )
    from trainers.irl.evaluate import scores_of
    from trainers.irl.information import policy_trace, probe_of

    torch.set_num_threads(1)
    config = trial.config
    settings = clone_config({**config.base, "data": config.data})
    task = read_cached(settings, ("train", "val_unseen"))
    split, test = task.splits["train"], task.splits["val_unseen"]
    shift, paths, observer = config.shift, None, None
    if shift.name in WORDS:
        words = shifted_words(split.paths.tokens, shift, task.vocabulary, trial.seed)
        paths = split.paths.with_tokens(words)
    elif shift.name in FEATURES:
        tables = shifted_tables(task.world.tables, shift, trial.seed)
        observer = GraphObserver.from_tables(tables, task.world.step_limit)
    elif shift.name == WITHHELD:
        # The same draws, of half of the buildings: a row of another is replaced by one of these.
        there = np.unique(split.building)[: max(1, len(np.unique(split.building)) // 2)]
        own = np.flatnonzero(np.isin(split.building, there))
        paths = split.paths[own[np.arange(len(split)) % len(own)]]
    agent = new_agent(settings, task, trial.seed)
    blocks = [
        Block(config.updates, float(rate), *((paths, observer) if trial.damaged(k) else ()))
        for k, rate in enumerate(_rates(trial, min(config.learning_rate, CLONE_RATE)))
    ]
    curve: list[dict[str, float]] = []

    def after(number: int, agent: Agent) -> None:
        if trial.experiment == "control":
            probe = probe_of(agent.policy, agent.observer, split)
            found = policy_trace(agent.policy, probe)
            curve.append(
                {"trace": float(found.total.mean()), "fixed": float(found.fixed.mean()),
                 "uncertainty": found.uncertainty,
                 "score": expert_accuracy(agent.policy, agent.observer, test)}
            )  # fmt: skip

    agent = clone(agent, split, np.arange(len(split)), blocks, settings.batch, trial.seed, after)
    return {
        "score": expert_accuracy(agent.policy, agent.observer, test),
        "success": float(scores_of(agent.policy, task.world, test)["success"].mean()),
        "curve": curve,
    }


def _preferences_trial(trial: Trial) -> dict[str, Any]:
    from trainers.analysis.preferences import preferences_trial

    return preferences_trial(trial, _rates(trial, 1.0))


def summarise_periods(config: PeriodsConfig, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Sensitivities with intervals over seeds, by experiment and arm, and the control's curves."""
    arms: dict[str, Any] = {}
    for arm in config.arms:
        own = [row for row in rows.values() if row["arm"] == arm]
        control = _by_seed(own, "control", 0, 0)
        damaged = _by_seed(own, "damaged", 0, config.clean)
        found: dict[str, Any] = {
            "control": seed_interval(list(control.values())),
            "damaged": seed_interval(list(damaged.values())),
            "drop": _paired(control, damaged),
            "removal": [], "window": [],
        }  # fmt: skip
        for onset in config.onsets:
            if "removal" in config.experiments:
                scores = _by_seed(own, "removal", 0, onset) if onset else control
                found["removal"].append(_point(onset, control, scores))
            if "window" in config.experiments and onset in config.windows:
                scores = _by_seed(own, "window", onset, onset + config.length)
                found["window"].append(_point(onset, control, scores))
        curves = [row["curve"] for row in own if row["experiment"] == "control" and row["curve"]]
        found["curve"] = {
            name: np.mean([[p[name] for p in curve] for curve in curves], axis=0).tolist()
            for name in (curves[0][0] if curves else {})
        }
        found["chance"] = max((row["chance"] for row in own if "chance" in row), default=None)
        found["reading"] = _reading(found)
        arms[arm] = found
    return {
        "subject": config.subject, "deficit": config.deficit, "seeds": len(config.seeds),
        "trials": len(rows), "arms": arms,
    }  # fmt: skip


def _by_seed(
    rows: list[dict[str, Any]], experiment: str, onset: int, until: int
) -> dict[int, float]:
    return {
        row["seed"]: row["score"]
        for row in rows
        if (row["experiment"], row["onset"], row["until"]) == (experiment, onset, until)
    }


def _paired(control: dict[int, float], damaged: dict[int, float]) -> Interval:
    seeds = sorted(control.keys() & damaged.keys())
    return sensitivity_interval([control[s] for s in seeds], [damaged[s] for s in seeds])


def _point(onset: int, control: dict[int, float], scores: dict[int, float]) -> dict[str, Any]:
    return {
        "onset": onset,
        "score": seed_interval(list(scores.values())),
        "sensitivity": _paired(control, scores),
    }


def _reading(found: dict[str, Any]) -> dict[str, Any]:
    """Whether the article's shape is there, said by rules that were fixed before looking."""
    reading: dict[str, Any] = {}
    if found["chance"] is not None:
        reading["learnt"] = bool(found["control"].low > found["chance"])
    window = [p["sensitivity"] for p in found["window"]]
    if len(window) > 1:
        reading["early_above_zero"] = bool(window[0].low > 0)
        reading["late_near_zero"] = bool(window[-1].low <= 0)
        reading["early_above_late"] = bool(window[0].low > window[-1].high)
    removal = [p["score"].mean for p in found["removal"]]
    if len(removal) > 1:
        reading["later_removal_lower"] = bool(removal[-1] < removal[0])
        cost = found["removal"][-1]["sensitivity"]
        reading["removal_cost_above_zero"] = bool(cost.low > 0)
    for name in ("trace", "fixed"):
        if name in found["curve"]:
            reading[f"{name}_rises_then_falls"] = rises_then_falls(np.array(found["curve"][name]))
    trace = found["curve"].get("trace")
    if trace and len(window) > 2:
        at = [min(p["onset"], len(trace) - 1) for p in found["window"]]
        a, b = np.array([trace[k] for k in at]), np.array([i.mean for i in window])
        known = np.ptp(a) > 0 and np.ptp(b) > 0
        reading["sensitivity_against_trace"] = float(np.corrcoef(a, b)[0, 1]) if known else None
    return reading
