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
from rayforge.reports.plots import Series, line_chart
from rayforge.reports.section import Cell, Part, Pictures, Row, Section, Table, Text, cell
from trainers.analysis.periods_config import (
    CLONE_RATE,
    WITHHELD,
    PeriodsConfig,
    Trial,
    read_periods,
    trials_of,
)
from trainers.analysis.results import note, write_results
from trainers.analysis.trials import ROWS, check_processes, fan_out
from trainers.configuration import read_configuration, to_yaml

CONFIG = "periods.yaml"


def analyse_periods(file: Path, out: Path, processes: int, command: str) -> dict[str, Any]:
    """Run what is missing of a study and write `periods.json` and `periods.html` into `out`.

    Raises ConfigurationError or DataError before Ray starts.
    """
    check_processes(processes)
    config = read_periods(file)
    _check_same(config, out)
    _prepare(config)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CONFIG, to_yaml(config))
    rows = fan_out(run_trial, trials_of(config), out, processes)
    document = summarise_periods(config, rows)
    title = f"Critical periods: {config.deficit}, {config.subject}"
    write_results(out, "periods", document, title, _sections(config, document), command)
    return document


def _check_same(config: PeriodsConfig, out: Path) -> None:
    """Rows of a folder are of one study: raises ConfigurationError where it holds another's."""
    if not (out / CONFIG).is_file():
        if (out / ROWS).is_file():
            raise ConfigurationError(
                f"{out} holds rows of another study: name another folder with --out"
            )
        return
    before = read_configuration(PeriodsConfig, out / CONFIG)
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


def _sections(config: PeriodsConfig, document: dict[str, Any]) -> list[Section]:
    arms = document["arms"]
    sections = []
    for experiment, title, question, x in (
        ("removal", "Removal time", "Does damage that is removed later cost more?",
         "blocks under the deficit before it is removed"),
        ("window", "Sliding window", "Does early damage cost more than late damage?",
         f"block at which a window of {config.length} begins"),
    ):  # fmt: skip
        if experiment not in config.experiments:
            continue
        series, rows = [], []
        for k, (arm, found) in enumerate(arms.items()):
            points = found[experiment]
            where = np.array([p["onset"] for p in points], float)
            means = [p["sensitivity"] for p in points]
            series.append(Series(arm, where, np.array([m.mean for m in means]), colour=k))
            rows.append(Row(Cell(arm), [cell(m, 1, signed=True) for m in means]))
        drawn = line_chart(
            f"{title}: sensitivity",
            series,
            x=x,
            y="percent lost",
            reference=(0.0, "nothing lost"),
            hint="Means over seeds; their intervals stand in the table.",
        )
        onsets = config.windows if experiment == "window" else config.onsets
        head = ["Step size", *[str(onset) for onset in onsets]]
        below = f"Percent lost, by {x}; 95 % Student t intervals over seeds."
        sections.append(Section(title, [Pictures(drawn), Table(head, rows, below)], question))
    pictures = []
    for arm, found in arms.items():
        curve = found["curve"]
        blocks = np.arange(1, 1 + len(curve.get("trace", [])), dtype=float)
        shown = (("trace", "trace"), ("fixed", "trace at one temperature"), ("score", "score"))
        series = [
            Series(name, blocks, _of_greatest(curve[key]), colour=k)
            for k, (key, name) in enumerate(shown)
            if key in curve
        ]
        pictures += line_chart(
            f"Undisturbed, {arm}",
            series,
            x="blocks",
            y="share of the greatest value",
            from_zero=True,
        )
    parts: list[Part] = [Pictures(pictures), Table(
        ["Step size", "Undisturbed", "Deficit to the end", "Lost by it, percent"],
        [Row(Cell(a), [cell(f["control"]), cell(f["damaged"]), cell(f["drop"], 1, signed=True)])
         for a, f in arms.items()],
    )]  # fmt: skip
    sections.append(Section("Trace of the undisturbed run", parts))
    warning = note(
        "An effect in the running arm alone is the schedule's: what comes later is learnt with "
        "smaller steps. Only what all three arms show is a property of the period."
    )
    return [Section("Reading", [*_reading_parts(arms), warning], "Is the article's shape there?"),
            *sections]  # fmt: skip


def _of_greatest(values: list[float]) -> np.ndarray:
    known = np.asarray(values, np.float64)
    return np.asarray(known / max(float(np.abs(known).max()), 1e-12))


READINGS = {
    "learnt": "undisturbed training beats a guess beyond doubt",
    "early_above_zero": "the earliest window costs something beyond doubt",
    "late_near_zero": "what the latest window costs may be nothing",
    "early_above_late": "the earliest costs more than the latest beyond doubt",
    "later_removal_lower": "the latest removal ends lower than none",
    "removal_cost_above_zero": "the latest removal costs something beyond doubt",
    "trace_rises_then_falls": "the trace rises and falls",
    "fixed_rises_then_falls": "the trace at one temperature rises and falls",
}
"""What a reading says, by its name in the JSON; fixed before anything was looked at."""


def _reading_parts(arms: dict[str, Any]) -> list[Part]:
    readings = {arm: found["reading"] for arm, found in arms.items()}
    rows = [
        Row(Cell(text), [Cell("yes" if r[key] else "no") if key in r else Cell("—")
                         for r in readings.values()])
        for key, text in READINGS.items()
        if any(key in r for r in readings.values())
    ]  # fmt: skip
    follows = [r.get("sensitivity_against_trace") for r in readings.values()]
    if any(value is not None for value in follows):
        known = [Cell("—" if value is None else f"{value:+z.2f}") for value in follows]
        rows.append(Row(Cell("correlation of sensitivity with the trace"), known))
    parts: list[Part] = [Table(["Step size", *readings], rows)]
    if any(r.get("learnt") is False for r in readings.values()):
        text = (
            "Where undisturbed training does not beat a guess, there is nothing that a deficit "
            "could cost: train for longer, on more views, or with another step size."
        )
        parts.insert(0, Text(text, "answer"))
    return parts
