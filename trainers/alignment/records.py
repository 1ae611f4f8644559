"""A run's figures: one JSON record a line, and the same in TensorBoard."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rayforge.files import write_text
from trainers.runs.prometheus import PrometheusGauges


class MetricsLog:
    """Appends to `metrics.jsonl` and TensorBoard; records lie along the optimiser steps."""

    def __init__(self, run: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.file = run / "metrics.jsonl"
        self.writer = SummaryWriter(str(run / "tensorboard"))
        self.gauges = PrometheusGauges(run.name)

    def forget_after(self, updates: int) -> None:
        """Drop what a broken-off attempt recorded of later steps: they are taken again."""
        if not self.file.exists():
            return
        kept = [line for line in self.whole_lines() if json.loads(line)["updates"] <= updates]
        write_text(self.file, "".join(f"{line}\n" for line in kept))

    def add(self, number: int, phase: str, updates: int, figures: Mapping[str, float]) -> None:
        """One record of round `number`; values that are not finite are left out."""
        finite = {k: float(v) for k, v in figures.items() if math.isfinite(v)}
        record = {"round": number, "phase": phase, "updates": updates, "time": time.time()}
        with self.file.open("a") as stream:
            stream.write(json.dumps(record | finite) + "\n")
        for name, value in finite.items():
            self.writer.add_scalar(name, value, updates)
        self.gauges.show(finite | {"alignment/round": float(number)})

    def replace(self, number: int, phase: str, updates: int, figures: Mapping[str, float]) -> None:
        """As `add`, in the place of what an earlier attempt at the same phase recorded."""
        if self.file.exists():
            lines = self.whole_lines()
            kept = [
                line for line in lines
                if (json.loads(line)["round"], json.loads(line)["phase"]) != (number, phase)
            ]  # fmt: skip
            if len(kept) < len(lines):
                write_text(self.file, "".join(f"{line}\n" for line in kept))
        self.add(number, phase, updates, figures)

    def close(self) -> None:
        self.writer.close()

    def whole_lines(self) -> list[str]:
        """Every line that is a record; a kill may have cut the last one."""
        lines = self.file.read_text(errors="replace").splitlines()
        return [line for line in lines if _is_record(line)]


def _is_record(line: str) -> bool:
    try:
        record = json.loads(line)
        return type(record["round"]) is type(record["updates"]) is int and "phase" in record
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


class Progress:
    """Lines that say where a run is: round, phase, how far, time left of the phase."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def of(self, number: int, phase: str) -> Callable[[int, int], None]:
        """Takes (done, total) of a phase's batches; prints at most every few seconds."""
        began = last = time.perf_counter()
        first: int | None = None

        def show(done: int, total: int) -> None:
            nonlocal last, first
            first = done - 1 if first is None else first  # what an earlier attempt did
            now = time.perf_counter()
            if now - last < _QUIET and (done < total or now - began < _QUIET):
                return
            last = now
            left = (total - done) * (now - began) / (done - first) / 60
            print(
                f"{self._place(number)}  {phase:6} {done}/{total} batches  left {left:.1f} min",
                flush=True,
            )

        return show

    def say(self, number: int, phase: str, figures: Mapping[str, float]) -> None:
        """The figures of a phase that is done, in one line."""
        shown = "  ".join(
            f"{name.split('/')[1].replace('_', ' ')} {value:.3g}"
            for name, value in figures.items()
            if name in _SHOWN
        )
        print(f"{self._place(number)}  {phase:6} {shown}", flush=True)

    def _place(self, number: int) -> str:
        return f"round {number}/{self.rounds}" if number else "start    "


_QUIET = 5.0  # seconds between lines of one phase
_SHOWN = (
    frozenset(
        f"select/{name}"
        for name in ("kept", "generated", "kept_flipped", "flip_auc", "flip_rate", "length_gap")
    )
    | frozenset(
        f"review/{name}"
        for name in (
            "accuracy",
            "win_rate",
            "greedy_score",
            "sampled_score",
            "kl_per_token",
            "response_tokens",
        )
    )
    | {"generate/accuracy", "generate/pairs"}
)
