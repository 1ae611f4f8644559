"""Agents that plan, measured: mapped and imagined, beside agents of first sight.

    python -m benchmarks.planning --data ../shared/data/r2r --out runs/planning --seeds 0 1 2
    python -m benchmarks.planning --setting ten --data ../shared/data/r2r --out runs/planning-ten
    python -m benchmarks.planning --setting houses --data runs/houses --out runs/planning-houses

Room-to-Room with the eight buildings of reported figures and the eight for tuning held out: 45
buildings to train in. Of each seed one run has goal generator and clone (`start`); the baselines
begin from it, and `rayforge irl plan` fits every row's weights on the same instructions, which were
held back from training. All rows of a setting have the same candidates and the same choice; the
settings are in tables of their own. What was scored is kept in `scores`, so the same command goes
on where it was broken off. `--tuning` scores the buildings for tuning instead. "ten" trains in ten
of the 45 buildings, "quarter" and "tenth" on every fourth and tenth path of all 45; "houses" and
"rendered" in generated houses (`rayforge houses`), whose places are told as objects or shown as
rendered panoramas.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import tyro

from benchmarks.planning_tables import PLANNED, first_sight_table, mapped_table, span
from benchmarks.r2r import HELD_OUT, TUNING
from benchmarks.sub_runs import finished, run_all
from envs.episodes.r2r import write_r2r
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from rayforge.files import whole_folder, write_text, write_whole
from rayforge.irl.demonstrations import Demonstrations
from trainers.irl.choices import Choices, ensemble_success, imagined, mapped
from trainers.irl.plan import FILES, PlannedAgent, open_agent
from trainers.irl.planned import Plans, load_planner, planned_paths
from trainers.irl.task import HELD_BACK, shuffled

SIZES = (
    "--network.word", "64", "--network.hidden", "128", "--generator.word", "64",
    "--generator.hidden", "128", "--held-back", "0.05",
)  # fmt: skip
TEN = (
    "1LXtFkjw3qL", "1pXnuDYAj8r", "29hnd4uzFmX", "2n8kARJN3HM", "PX4nDJXEHrG", "V2XKFyX4ASd",
    "XcA2TqTSSAj", "ZMojNkEp431", "cV4RVeZvu5T", "kEZ7cmS4wCh",
)  # fmt: skip
"""Training buildings of the setting "ten"."""


class Setting(NamedTuple):
    """What is trained on, for how long, and which splits are read."""

    train: tuple[str, ...]
    reward: str
    """Updates of the reward, and of GCBC after the clone."""
    read: tuple[str, ...]
    new: str
    """The split of new buildings."""
    every: int = 1
    """Of the paths that are trained on, every so many."""


TRAIN = "R2R_train.json"
FEW = ("--generator.updates", "800", "--clone-updates", "600")
_R2R = ("--held-out", *HELD_OUT, *TUNING, *SIZES)
_HOUSES = (*SIZES, "--generator.updates", "600", "--clone-updates", "600", "--max-words", "60")
SETTINGS = {
    "r2r": Setting(_R2R, "1400", ("train", "val_seen", "held_out"), "new"),
    "ten": Setting(
        (*_R2R, *FEW, "--buildings", *TEN), "700", ("train", "val_seen", "held_out"), "new"
    ),
    "quarter": Setting(
        (*_R2R, *FEW), "700", ("train", "val_seen", "held_out"), "new", every=4
    ),
    "tenth": Setting((*_R2R, *FEW), "700", ("train", "val_seen", "held_out"), "new", every=10),
    "houses": Setting(_HOUSES, "600", ("train", "val_seen", "val_unseen"), "val_unseen"),
    "rendered": Setting(
        (*_HOUSES, "--features", "rendered"), "600", ("train", "val_seen", "val_unseen"),
        "val_unseen",
    ),
}  # fmt: skip
FURTHER = ("--updates", "240")
"""Updates of the baselines after the clone."""


class Method(NamedTuple):
    """A run of each seed, how its planner is made, and which of its scores are asked. REWARD stands
    for the setting's number of updates."""

    train: tuple[str, ...]
    plan: tuple[str, ...]
    names: tuple[str, ...]


METHODS = {
    "start": Method(
        ("--method", "langgoal", "--updates", "0"), ("--reward", "maxent", "--updates", "REWARD"),
        ("length", "policy", "generator", "reward"),
    ),
    "gcbc": Method(
        ("--method", "gcbc", "--updates", "REWARD"), ("--reward", "none"), ("length", "policy")
    ),
    "gail": Method(
        ("--method", "gail", "--no-mismatched-negatives", *FURTHER), ("--reward", "own"),
        ("length", "reward"),
    ),
    "completion": Method(
        ("--method", "completion", *FURTHER), ("--reward", "own"), ("length", "reward")
    ),
    "hindsight": Method(
        ("--method", "hindsight", "--policy-learning-rate", "0.001", *FURTHER),
        ("--reward", "none"), ("length", "policy"),
    ),
    "full": Method(
        ("--method", "langgoal", *FURTHER), ("--reward", "own"), ("length", "reward")
    ),
}  # fmt: skip
GCBC = "GCBC: log pi, cloned for as many updates more as the reward had"
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "nothing (uniform)": ("start", ()),
    "lengths of described paths": ("start", ("length",)),
    "log pi of the clone": ("start", ("length", "policy")),
    GCBC: ("gcbc", ("length", "policy")),
    "GAIL-type classifier": ("gail", ("length", "reward")),
    "completion classifier": ("completion", ("length", "reward")),
    "hindsight imitation: log pi": ("hindsight", ("length", "policy")),
    "f of the adversarial run (AIRL)": ("full", ("length", "reward")),
    "generator": ("start", ("length", "generator")),
    "generator + log pi": ("start", ("length", "generator", "policy")),
    "reward alone (maximum entropy)": ("start", ("length", "reward")),
    "reward + log pi": ("start", ("length", "reward", "policy")),
    PLANNED: ("start", ("length", "generator", "policy", "reward")),
}
"""What chooses on a map: whose run, and which of its scores."""
IMAGINED = {
    "log pi": ("policy",), "generator": ("generator",), "reward": ("reward",),
    "generator + log pi": ("generator", "policy"),
    "reward + generator + log pi": ("reward", "generator", "policy"),
}  # fmt: skip
SHORTLISTS = (6, 12)
"""For how many candidates a cheaper planner asks the generator."""
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Roll-outs imagined."""
PLACES = (8, 16)
"""Viewpoints that a search at first sight looks at."""
EVERY = {"map": 1, "other": 3, "samples": 6, "search": 6}
"""Of the instructions every so many are scored on a map, under another's instruction, imagined, and
searched for."""


@dataclass(frozen=True)
class Planning:
    """Make what is missing and report what there is."""

    data: Path
    """Folder of Room-to-Room data, or of generated houses."""
    out: Path = Path("runs/planning")
    """Folder of runs, scores and tables."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of every row."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which runs: start, gcbc, gail, completion, hindsight, full."""
    kinds: tuple[str, ...] = ("map", "other", "samples", "search")
    """What is scored: on a map, there under another's instruction, imagined, searched."""
    setting: Literal["r2r", "ten", "quarter", "tenth", "houses", "rendered"] = "r2r"
    """What is trained on."""
    generated: int = 0
    """Relabelled pairs that the reward is taught by besides (`rayforge irl plan --generated`)."""
    roll_outs: int = 128
    """Roll-outs imagined for an instruction at most."""
    tuning: bool = False
    """Score the buildings for tuning, not those of reported figures."""
    make: bool = True
    """Make runs and planners that are missing; without, only score those that there are."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        for seed in self.seeds:
            for name in self.methods:
                if self.make:
                    self._make(name, seed)
                if (self.out / f"{name}-{seed}" / FILES[1]).is_file():
                    self._score(name, seed)
            text = self._tables()
            write_text(self.out / f"planning{'-tuning' if self.tuning else ''}.md", text)
            print(text, flush=True)

    @property
    def splits(self) -> tuple[str, ...]:
        """Held back for weights, seen buildings, new buildings."""
        return (HELD_BACK, "val_seen", "tuning" if self.tuning else SETTINGS[self.setting].new)

    def _make(self, name: str, seed: int) -> None:
        """A method's run of a seed and its planner, where they are missing."""
        run, method = self.out / f"{name}-{seed}", METHODS[name]
        every = SETTINGS[self.setting].every
        data = self.data if every == 1 else thinned(self.data, self.out / "data", every)
        command = [
            "irl", "train", "--data", str(data), *SETTINGS[self.setting].train, "--evaluate",
            *self._told(method.train), "--seed", str(seed),
        ]  # fmt: skip
        if name != "start":
            command += ["--start-from", str(self.out / f"start-{seed}")]
        run_all({run: command}, 1)
        if finished(run) and not (run / FILES[1]).is_file():
            planning = [sys.executable, "-m", "trainers.cli", "irl", "plan", str(run)]
            made = ("--generated", str(self.generated)) if name == "start" else ()
            told = [*self._told(method.plan), *made, "--seed", str(seed)]
            subprocess.run([*planning, *told], check=True)

    def _told(self, flags: Sequence[str]) -> list[str]:
        return [SETTINGS[self.setting].reward if flag == "REWARD" else flag for flag in flags]

    def _score(self, name: str, seed: int) -> None:
        """Score the splits with a run's scores, where that was not done before."""
        run, names = self.out / f"{name}-{seed}", METHODS[name].names
        wanted = [
            (split, kind)
            for split in self.splits
            for kind in self.kinds
            if not self._file(name, seed, split, kind).is_file()
            and (kind == "map" or name == "start")
            and (kind in ("map", "samples") or split != HELD_BACK)
        ]
        if not wanted:
            return
        agent = open_agent(run, SETTINGS[self.setting].read)
        plans = load_planner(run, agent)
        for split, kind in wanted:
            print(f"scoring {split}, {kind}, with {run.name}", flush=True)
            if kind == "search":
                self._keep(self._file(name, seed, split, kind), first_sight(agent, plans, split))
                continue
            choices = self._choices(agent, plans, split, kind, names)
            arrays = {
                key: value.numpy()
                for key, value in choices._asdict().items()
                if isinstance(value, torch.Tensor)
            }
            arrays["names"] = np.array(choices.names)
            self._keep(self._file(name, seed, split, kind), arrays)

    def _keep(self, file: Path, arrays: dict[str, np.ndarray]) -> None:
        file.parent.mkdir(exist_ok=True)
        write_whole(file, lambda stream: np.savez_compressed(stream, allow_pickle=False, **arrays))

    def _choices(
        self, agent: PlannedAgent, plans: Plans, split: str, kind: str, names: Sequence[str]
    ) -> Choices:
        asked = part_of(agent, split)
        every = 1 if split == HELD_BACK else EVERY[kind]
        asked = asked.take(np.arange(0, len(asked), every))
        if kind == "samples":
            return imagined(plans.planner, agent.module, asked, self.roll_outs)
        tokens = asked.paths.tokens
        if kind == "other":
            tokens = tokens[shuffled(asked.building, asked.route, 0)]
        return mapped(plans.planner, plans.ways, asked, names, tokens)

    def _file(self, name: str, seed: int, split: str, kind: str) -> Path:
        return self.out / "scores" / f"{name}-{seed}-{split}-{kind}.npz"

    def _load(self, name: str, seed: int, split: str, kind: str = "map") -> Choices | None:
        file = self._file(name, seed, split, kind)
        if not file.is_file():
            return None
        with np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        names = tuple(map(str, arrays.pop("names")))
        return Choices(names, **{key: torch.from_numpy(value) for key, value in arrays.items()})

    def _tables(self) -> str:
        parts = []
        for split in self.splits[1:]:
            found: dict[str, dict[int, np.ndarray]] = {}
            for row, (name, names) in ROWS.items():
                for seed in self.seeds:
                    held = self._load(name, seed, HELD_BACK)
                    asked = self._load(name, seed, split)
                    if held is None or asked is None:
                        continue
                    weights = held.fit(names).weights if names else {}
                    found.setdefault(row, {})[seed] = asked.success(weights)
                    if row == PLANNED:
                        for count in SHORTLISTS:
                            told = f"{row}, generator asked for {count}"
                            few = asked.shortlisted(weights, count)
                            found.setdefault(told, {})[seed] = few.success(weights)
                    other = self._load(name, seed, split, "other")
                    if other is not None and row in (PLANNED, "log pi of the clone"):
                        told = f"{row}, another's instruction"
                        found.setdefault(told, {})[seed] = other.success(weights)
            parts.append(mapped_table(split, found))
            parts.append(self._ensembles(split))
            parts.append(self._imagined_table(split))
            parts.append(self._first_sight_table(split))
        return "\n".join(parts)

    def _ensembles(self, split: str) -> str:
        """Success where the runs of all seeds plan together, beside the mean of each by itself."""
        lines = [f"mapped, {split}, ensembles of seeds:", "",
                 "| chosen by | seeds | ensemble | ensemble minus the mean of its members |",
                 "|---|---|---|---|"]  # fmt: skip
        for row, (name, names) in ROWS.items():
            members = [
                (asked, held.fit(names).weights)
                for seed in self.seeds
                if names and (held := self._load(name, seed, HELD_BACK)) is not None
                and (asked := self._load(name, seed, split)) is not None
            ]  # fmt: skip
            if len(members) > 1:
                together = ensemble_success(members)
                alone = np.mean([asked.success(weights) for asked, weights in members], 0)
                gained = span(paired_difference(together, alone), "+")
                own = span(bootstrap_interval(together))
                lines.append(f"| {row} | {len(members)} | {own} | {gained} |")
        return "\n".join([*lines, ""])

    def _first_sight_table(self, split: str) -> str:
        found: dict[str, list[np.ndarray]] = {}
        for seed in self.seeds:
            file = self._file("start", seed, split, "search")
            if file.is_file():
                with np.load(file, allow_pickle=False) as stored:
                    for key in stored.files:
                        found.setdefault(key, []).append(stored[key])
        return first_sight_table(split, found)

    def _imagined_table(self, split: str) -> str:
        """Success by roll-outs; the weights are fitted for each number of them."""
        counts = [count for count in COUNTS if count <= self.roll_outs]
        lines = [f"imagined, {split}:", "", f"| | {' | '.join(map(str, counts))} |"]
        lines.append("|---" * (1 + len(counts)) + "|")
        for row, names in (*IMAGINED.items(), ("an oracle", ())):
            cells = []
            for count in counts:
                values = []
                for seed in self.seeds:
                    held = self._load("start", seed, HELD_BACK, "samples")
                    asked = self._load("start", seed, split, "samples")
                    if held is None or asked is None:
                        continue
                    asked = asked.among(count)
                    if names:
                        weights = held.among(count).fit(names).weights
                        values.append(asked.success(weights))
                    else:
                        values.append(asked.good.any(-1).double().numpy())
                cells.append(span(bootstrap_interval(np.mean(values, 0))) if values else "")
            lines.append(f"| {row} | {' | '.join(cells)} |")
        return "\n".join([*lines, ""])


def thinned(data: Path, folder: Path, every: int) -> Path:
    """A folder of Room-to-Room data that has every so many paths of the buildings trained in, and
    all of the buildings held out; written once."""
    if folder.is_dir():
        return folder
    with whole_folder(folder) as part:
        for item in data.iterdir():
            if item.name != TRAIN:
                (part / item.name).symlink_to(item.absolute())
        others, number, kept = set(HELD_OUT) | set(TUNING), 0, []
        for record in json.loads((data / TRAIN).read_text()):
            if record["scan"] not in others:
                number += 1
                if number % every:
                    continue
            kept.append(record)
        write_r2r(part / TRAIN, kept)
    return folder


def first_sight(agent: PlannedAgent, plans: Plans, split: str) -> dict[str, np.ndarray]:
    """Metrics of the policy's best way and of searches, [n] each: "AGENT/METRIC"."""
    asked = part_of(agent, split)
    asked = asked.take(np.arange(0, len(asked), EVERY["search"]))
    tokens = asked.paths.tokens
    walks = {"policy": planned_paths(plans, agent, "samples", asked, tokens, 1)}
    for places in PLACES:
        name = f"search, {places} places"
        walks[name] = planned_paths(plans, agent, "search", asked, tokens, places)
    found = {}
    for name, paths in walks.items():
        unlimited = replace(agent.task.world, step_limit=int(paths.length.max()) + 1)
        values = unlimited.score(asked, paths)
        for metric in ("success", "spl", "path_length"):
            found[f"{name}/{metric}"] = values[metric]
    return found


def part_of(agent: PlannedAgent, split: str) -> Demonstrations:
    """A split by name; "tuning" and "new" are parts of those held out."""
    if split not in ("tuning", "new"):
        return agent.task.splits[split]
    scans = set(TUNING if split == "tuning" else HELD_OUT)
    every = agent.task.splits["held_out"]
    return every.take(np.array([k for k, e in enumerate(every.episodes) if e.scan in scans]))


if __name__ == "__main__":
    tyro.cli(Planning, description=__doc__)()
