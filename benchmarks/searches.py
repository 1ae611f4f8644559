"""Searches with `rayforge tune`, eight trials each: one killed and resumed, one watched, one plain.

    python -m benchmarks.searches --out runs/searches

The files in tune_configs/ are run as they are but for what `SMALL` says. The search over agents
(ASHA, Optuna) is killed once half of its trials have ended, with SIGKILL to its driver and to every
process below it, and resumed. The one over language models (ASHA, Optuna) joins a cluster where two
of its trials fit at a time, while placement groups and free CPUs are looked at. The one over both
halves (Optuna, two objectives) just runs. Houses and the language model's start are made by the
searches themselves, in OUT/cache. Resumable: the same command goes on where it was broken off, and
only prints where all is done.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import yaml

from benchmarks.search_process import Command, ended, reported, started
from rayforge.files import write_text
from trainers.search.config import merged

CONFIGS = Path(__file__).parents[1] / "tune_configs"
TRIALS = 8
AT_ONCE = 2
"""Trials that fit at a time on the cluster of the watched search: a CPU each, and one to spare for
the hundredth of a CPU that each takes beside its worker."""

AGENT: dict[str, Any] = {
    "houses": {"train_houses": 8, "unseen_houses": 1, "paths_per_house": 16, "scenes": False},
    "held_out": ["house00006", "house00007"],
    "network": {"word": 32, "hidden": 48},
    "generator": {"word": 32, "hidden": 32, "updates": 20},
    "clone_updates": 120, "updates": 24, "warm_up": 4, "updates_per_iteration": 4,
    "episodes_per_iteration": 64, "batch": 64, "positives": 16, "negatives": 16,
}  # fmt: skip
LANGUAGE_MODEL: dict[str, Any] = {
    "routes": {"pairs": 256, "start_routes": 2048, "test_routes": 64},
    "start": {"clean_steps": 450, "steps": 100},
    "method": "sera", "score": "implicit",  # without an agent that reviews
    "rounds": 2, "steps": 6, "prompts": 48, "responses": 2, "evaluation_prompts": 64,
    "generation_batch": 64, "max_new_tokens": 80,
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "irl": {"base": AGENT},
    # With two rounds the first is where trials can be stopped early.
    "alignment": {"base": LANGUAGE_MODEL, "grace": 1},
    # Without worker processes, which the search over language models has.
    "both": {"base": {"budget": 36, "irl": AGENT, "align": {**LANGUAGE_MODEL, "workers": 0}}},
}
"""What is changed in each file, beside the number of trials."""


@dataclass(frozen=True)
class Searches:
    """Eight trials of each half; the agents' killed and resumed, the language models' watched."""

    out: Path = Path("runs/searches")
    """Folder of the searches, their output and their caches."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        # Here and not for the commands alone: on a cluster of ours trials have our environment.
        os.environ["XDG_CACHE_HOME"] = str((self.out / "cache").absolute())
        os.environ["OMP_NUM_THREADS"] = "1"
        measured = {
            "irl": self._kept("irl", self._killed),
            "alignment": self._kept("alignment", self._watched),
            "both": self._kept("both", self._alone),
        }
        print(table(self.out, measured))
        print()
        print(about_the_kill(measured["irl"]))
        print()
        print(about_resources(measured["alignment"]))

    def _kept(self, name: str, measure: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """What was measured of a search, now or in an earlier call."""
        file = self.out / f"{name}.json"
        if not file.is_file():
            write_text(file, json.dumps(measure(name), indent=1))
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def _alone(self, name: str) -> dict[str, Any]:
        """A search on a Ray of its own, from start to end."""
        return _cost(self._command(name).wait())

    def _watched(self, name: str) -> dict[str, Any]:
        """A search on a cluster of ours, with what it holds there looked at every second."""
        import ray
        from ray.util import placement_group_table

        def groups() -> int:
            return sum(g["state"] != "REMOVED" for g in placement_group_table().values())

        ray.init(
            address="local", num_cpus=AT_ONCE + 1, include_dashboard=True,
            dashboard_host="127.0.0.1", logging_level="ERROR", log_to_driver=False,
        )  # fmt: skip
        try:
            free_before = ray.available_resources()["CPU"]
            most, at_once = 0, 0
            command = self._command(name, RAY_ADDRESS=ray.get_runtime_context().gcs_address)
            while command.runs():
                most = max(most, groups())
                at_once = max(at_once, len(started(command.said) - ended(command.said)))
                time.sleep(1)
            cost, last = _cost(command.wait()), time.monotonic()
            while groups() or ray.available_resources().get("CPU", 0) != free_before:
                if time.monotonic() - last > 30:
                    break
                time.sleep(0.5)
            return {
                **cost, "groups": most, "groups_after": groups(),
                "at_once": at_once, "free_before": free_before,
                "free_after": ray.available_resources().get("CPU", 0),
            }  # fmt: skip
        finally:
            ray.shutdown()

    def _killed(self, name: str) -> dict[str, Any]:
        """A search killed once half of its trials have ended and another one has reported."""
        shutil.rmtree(self.out / name, ignore_errors=True)  # of a call that was broken off
        first = self._command(name)
        before: set[int] = set()
        under_way: set[int] = set()
        while len(before) < TRIALS // 2 or not under_way:
            if not first.runs():
                first.wait()  # tells what went wrong
                raise RuntimeError(f"{name} ended before it could be killed half-way")
            time.sleep(0.1)
            before = ended(first.said)
            under_way = reported(first.said) - ended(first.said)
        begun = started(first.said)
        first.kill()
        kept = {number: self._digest(name, number) for number in before}
        second = self._command(name).wait()
        with (self.out / name / "results.csv").open() as file:
            rows = list(csv.DictReader(file))
        return {
            **_cost(first, second), "before": sorted(before), "begun": sorted(begun),
            "after": sorted(started(second.said)),
            "changed": sorted(n for n in kept if self._digest(name, n) != kept[n]),
            "total": sorted(int(row["trial"]) for row in rows),
        }  # fmt: skip

    def _digest(self, name: str, number: int) -> str:
        """Of the reports of a trial, each with its seconds."""
        trials = json.loads((self.out / name / "state.json").read_text())["trials"]
        reports = next(trial["reports"] for trial in trials if trial["number"] == number)
        return hashlib.sha256(json.dumps(reports).encode()).hexdigest()

    def _command(self, name: str, **environment: str) -> Command:
        """`rayforge tune` of a file made smaller, with `--resume` where that search has begun."""
        file = self.out / f"{name}.yaml"
        write_text(file, yaml.safe_dump(smaller(name, self.out), sort_keys=False))
        resume = (self.out / name / "search.yaml").is_file()
        arguments = ["tune", str(file), *(["--resume"] if resume else [])]
        return Command(arguments, self.out / f"{name}.log", {**os.environ, **environment})


def smaller(half: str, out: Path) -> dict[str, Any]:
    """The search file of a half with eight trials, small ones, in the folder `out`."""
    document: dict[str, Any] = yaml.safe_load((CONFIGS / f"{half}.yaml").read_text())
    changes = {**SMALL[half], "base": merged(document["base"], SMALL[half]["base"])}
    return {**document, **changes, "trials": TRIALS, "storage": str(out)}


def _cost(*commands: Command) -> dict[str, Any]:
    return {
        "seconds": sum(c.seconds for c in commands),
        "processor_seconds": sum(c.processor_seconds for c in commands),
    }


def table(out: Path, measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a search: trials, how they ended, what it took, the best."""
    lines = [
        "| search | trials | finished | stopped early | minutes | processor minutes | best |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cost in measured.items():
        search = json.loads((out / name / "search.json").read_text())
        trials = [json.loads(row) for row in (out / name / "trials.jsonl").read_text().splitlines()]
        states = [trial["status"] for trial in trials]
        best = next(trial for trial in trials if trial["number"] == search["best"])
        figures = ", ".join(f"{m} {best['figures'][m]:.3f}" for m in search["metrics"])
        front = f" ({len(search['front'])} on the front)" if search["front"] else ""
        cells = [
            name, len(trials), states.count("finished"), states.count("stopped"),
            f"{cost['seconds'] / 60:.1f}", f"{cost['processor_seconds'] / 60:.1f}", figures + front,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def about_the_kill(killed: Mapping[str, Any]) -> str:
    """What the killed search had done, and what ran after `--resume`."""
    again = sorted(set(killed["before"]) & {*killed["after"], *killed["changed"]})
    whole = killed["total"] == list(range(1, TRIALS + 1))
    return "\n".join(
        (
            "Search over agents, killed with SIGKILL, then --resume:",
            f"  ended before the kill: {_listed(killed['before'])} of {_listed(killed['begun'])} "
            "that had begun",
            f"  ran after it:          {_listed(killed['after'])}",
            f"  ended ones run again:  {_listed(again) or 'none'}",
            f"  trials in the end:     {len(killed['total'])}"
            + ("" if whole else f", NOT 1 to {TRIALS}: {_listed(killed['total'])}"),
        )
    )


def about_resources(watched: Mapping[str, Any]) -> str:
    """Whether what stopped trials held came back."""
    return "\n".join(
        (
            f"Search over language models, {TRIALS} trials, {watched['at_once']} at a time, ASHA:",
            f"  placement groups at most {watched['groups']} (two a trial: its own and its "
            f"worker's), afterwards {watched['groups_after']}",
            f"  free CPUs before {watched['free_before']:g}, afterwards {watched['free_after']:g}",
        )
    )


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)


if __name__ == "__main__":
    tyro.cli(Searches, description=__doc__)()
