"""What `python -m benchmarks.langgoal` runs: settings, methods, sizes, and in which order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.continuous import settings as continuous_settings
from benchmarks.r2r import HELD_OUT
from envs.houses.dataset import HousesConfig, write_houses
from rayforge.files import write_text
from trainers.configuration import to_yaml
from trainers.irl.adapt_config import AdaptConfig

Size = Literal["full", "tiny"]
Kind = Literal[
    "start", "ours", "baseline", "rung", "variant", "control", "reference", "adapted", "transfer"
]


@dataclass(frozen=True)
class Method:
    """One row of the table: a name, and flags of `rayforge irl train`, or of `adapt`."""

    slug: str
    name: str
    kind: Kind
    flags: tuple[str, ...]
    every_seed: bool = False
    """Whether it is run for every seed, or for the first alone."""
    begins: Literal["start", "scratch", "full"] = "start"
    """Whether it takes the seed's generator and clone over, or trains all of its own, or adapts the
    full method's run; of a transfer, whose reward it is taught by."""


FULL = ("--method", "langgoal")
IMITATING = ("--policy-learning-rate", "0.001")
"""Step size of methods whose updates are cloning: half of cloning's own at its start."""
METHODS = (
    Method("start", "cloned start", "start", (*FULL, "--updates", "0"), True, "scratch"),
    Method("full", "LangGoalIRL full", "ours", FULL, True),
    Method("gcbc", "GCBC", "baseline", ("--method", "gcbc"), True, "scratch"),
    Method("gail", "GAIL-type", "baseline", ("--method", "gail", "--no-mismatched-negatives"),
           True),
    Method("hindsight", "hindsight imitation", "baseline", ("--method", "hindsight", *IMITATING),
           True),
    Method("completion", "completion reward", "baseline", ("--method", "completion"), True),
    Method("base", "BASE", "rung", (*FULL, "--no-augment", "--no-relabel"), True),
    Method("augment", "BASE + augment", "rung", (*FULL, "--no-relabel"), True),
    Method("relabel", "BASE + relabel", "rung", (*FULL, "--no-augment"), True),
    Method("forcing", "student forcing, shortest-path labels", "reference",
           ("--method", "forcing", *IMITATING), True),
    Method("matched", "full without mismatched negatives", "variant",
           (*FULL, "--no-mismatched-negatives")),
    Method("shaped", "full with potential shaping", "variant", (*FULL, "--potential-shaping")),
    Method("loose", "full without the imitation anchor", "variant",
           (*FULL, "--imitation-weight", "0")),
    Method("cold", "full without the warm start", "variant", (*FULL, "--no-warm-start")),
    Method("unaided", "completion reward without the expert's actions", "baseline",
           ("--method", "completion", "--no-warm-start", "--imitation-weight", "0"), False,
           "scratch"),
    Method("no-text", "GCBC that never reads", "control", ("--method", "gcbc", "--no-text"), False,
           "scratch"),
    Method("shuffled", "GCBC taught shuffled instructions", "control",
           ("--method", "gcbc", "--shuffled-text"), False, "scratch"),
    Method("adapted", "adapted (transductive)", "adapted", (), True,
           "full"),
    Method("adapted-none", "trained further (control)", "adapted",
           ("--walks", "none"), True, "full"),
    Method("longer", "longer GCBC (control)", "control",
           ("--method", "gcbc"), True, "scratch"),
    Method("adapted-random", "random paths (control)", "adapted",
           ("--walks", "random"), False, "full"),
    Method("adapted-training", "training buildings (control)", "adapted", (),
           False, "full"),
)  # fmt: skip
TRANSFERS = (
    Method("transfer", "reward transferred", "transfer", FULL, begins="full"),
    Method("transfer-clone", "log pi of the clone transferred (control)", "transfer", FULL),
)
"""Policies that the frozen reward of another run trains from scratch in the held-out buildings. A
clone's reward is its log pi: what the full one adds is the discriminator's."""
BY_SLUG = {method.slug: method for method in (*METHODS, *TRANSFERS)}
LADDER = (
    ("base", "start"), ("augment", "base"), ("relabel", "base"), ("full", "augment"),
    ("full", "relabel"),
)  # fmt: skip
"""Each rung and the one below it."""

ADAPTATION = (
    ("adapted", "full"), ("adapted", "adapted-none"), ("adapted", "longer"),
    ("adapted", "adapted-training"), ("adapted", "adapted-random"), ("adapted-none", "full"),
    ("adapted-random", "full"), ("adapted-training", "full"),
)  # fmt: skip
"""Adaptation against none, and its controls."""
TRAIN = ("irl", "train")

TINY_ADAPTATION = (
    "--paths", "4", "--candidates", "2", "--agreement", "0", "--agnostic-updates", "4",
    "--clone-updates", "2", "--updates", "2",
)  # fmt: skip
TINY = (
    "--network.word", "16", "--network.hidden", "16", "--generator.word", "16",
    "--generator.hidden", "16", "--generator.latent", "4", "--generator.updates", "4",
    "--generator.batch", "8", "--clone-updates", "4", "--updates", "4", "--warm-up", "0",
    "--updates-per-iteration", "2", "--episodes-per-iteration", "16", "--batch", "8",
    "--positives", "8", "--negatives", "8", "--max-steps", "10",
)  # fmt: skip
SIZED = {
    "r2r": ("--clone-updates", "1200", "--updates", "240"),
    "few": ("--clone-updates", "600", "--updates", "160", "--generator.updates", "800"),
    "houses": (
        "--network.word", "64", "--network.hidden", "128", "--max-words", "60",
        "--generator.word", "64", "--generator.hidden", "128", "--generator.updates", "2400",
        "--generator.latent", "32", "--generator.free-nats", "0",
        "--generator.feature-dropout", "0.2",
        "--clone-updates", "600", "--updates", "160",
    ),
    "few houses": ("--generator.updates", "800"),
}  # fmt: skip
"""Sizes by data: (a) and (c) with three seeds take five to six hours of two cores, by the runs that
were made."""
FEW = {"b5": 5, "b10": 10, "b20": 20}
"""Training buildings of the settings (b); the smaller draws are part of the larger ones."""
KEYS = ("a", *FEW, "c", "c10", "d")
FEW_HOUSES = 10
"""Training houses of setting (c10): with so few, 600 updates of cloning reach as much as 2,400 (on
houses for tuning), so that what is gained after them is not merely further training."""


@dataclass(frozen=True)
class Setting:
    """A data set, what is seen of it, and which splits are scored."""

    key: str
    title: str
    sizes: tuple[str, ...]
    """Flags of data and sizes, which every run of the setting has."""
    seen: str
    new: str
    held_out: tuple[str, ...] = ()
    """Buildings that training goes without; a transfer is taught there alone."""
    forcing: bool = True
    """Whether there are shortest-path labels for student forcing."""
    transfer: bool = False
    new_scans: tuple[str, ...] = ()
    """The buildings of the split `new`, which the agent adapts to; none: it does not."""
    seen_scans: tuple[str, ...] = ()
    """As many training buildings, for the control."""
    adaptation: tuple[str, ...] = ()
    """Flags of every adaptation."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of `rayforge irl train`."""
        outside = ("--held-out", *self.held_out) if self.held_out else ()
        return (*self.sizes, *outside, "--evaluate", self.seen, self.new)

    @property
    def splits(self) -> tuple[str, str]:
        return self.seen, self.new


def settings_of(keys: Sequence[str], data: Path | None, out: Path, size: Size) -> list[Setting]:
    """The settings of those `KEYS`, in their order; houses are written where missing.

    Raises ValueError for an unknown name, or R2R's settings without its folder.
    """
    found: list[Setting] = []
    for key in keys:
        if key not in KEYS:
            raise ValueError(f"there are the settings {', '.join(KEYS)}, not {key!r}")
        if key == "a" or key in FEW:
            if data is None:
                raise ValueError(f"setting {key} reads Room-to-Room: name its folder with --data")
            found.append(_r2r(key, data, size))
        elif key in ("c", "c10"):
            found.append(_rendered(key, _houses(out / "houses", size), size))
        else:
            found.append(_continuous(_houses(out / "houses-continuous", size, 3), out, size))
    return found


def _r2r(key: str, data: Path, size: Size) -> Setting:
    sized = SIZED["r2r" if key == "a" else "few"]
    common = (
        "--data", str(data),
        *(sized if size == "full" else (*TINY, "--max-steps", "15")),
    )  # fmt: skip
    # Those with a seen figure.
    training = sorted((_scans(data, "train") & _scans(data, "val_seen")) - set(HELD_OUT))
    drawn = [training[k] for k in np.random.default_rng(0).permutation(len(training))]
    every = Setting(
        "a", "Room-to-Room, all training buildings but the eight held out", common, "val_seen",
        "held_out", HELD_OUT, transfer=True, new_scans=HELD_OUT,
        seen_scans=tuple(drawn[: len(HELD_OUT)]),
        adaptation=TINY_ADAPTATION if size == "tiny" else (),
    )  # fmt: skip
    if key == "a":
        return every
    count = FEW[key]
    return replace(
        every, key=key, title=f"Room-to-Room, {count} training buildings",
        sizes=(*common, "--buildings", *sorted(drawn[:count])), transfer=False,
        seen_scans=every.seen_scans[:count],
    )  # fmt: skip


def _scans(data: Path, split: str) -> set[str]:
    return {record["scan"] for record in json.loads((data / f"R2R_{split}.json").read_text())}


def _houses(folder: Path, size: Size, few: int = 1) -> Path:
    """Generated houses, written once; `few` divides the number of the full size."""
    if not (folder / "houses.json").is_file():
        print(f"generating houses into {folder}", flush=True)
        sizes = HousesConfig(train_houses=60 // few, unseen_houses=12 // few, paths_per_house=40)
        if size == "tiny":
            sizes = HousesConfig(train_houses=2, unseen_houses=1, paths_per_house=6)
        write_houses(folder, **asdict(sizes))
    return folder


def _rendered(key: str, folder: Path, size: Size) -> Setting:
    flags = (
        "--data", str(folder), "--features", "rendered",
        *(SIZED["houses"] if size == "full" else TINY),
    )  # fmt: skip
    title = "Generated houses, graph task on rendered panoramas"
    new, training = (tuple(sorted(_scans(folder, s))) for s in ("val_unseen", "train"))
    every = Setting(
        "c", title, flags, "val_seen", "val_unseen", new_scans=new,
        seen_scans=training[: len(new)], adaptation=TINY_ADAPTATION if size == "tiny" else (),
    )  # fmt: skip
    if key == "c":
        return every
    few = training[:FEW_HOUSES]
    fewer = (*flags, *(SIZED["few houses"] if size == "full" else ()), "--buildings", *few)
    return replace(
        every, key=key, title=f"{title}, {FEW_HOUSES} training houses", sizes=fewer, seen_scans=few
    )


def _continuous(folder: Path, out: Path, size: Size) -> Setting:
    file = out / "continuous.yaml"
    write_text(file, to_yaml(continuous_settings("full" if size == "full" else "small", folder)))
    flags = ("--config", str(file))
    title = "Generated houses, 3-D scenes and low-level actions"
    return Setting("d", title, flags, "val_seen", "val_unseen", forcing=False)


@dataclass(frozen=True)
class Cell:
    """One sub-run."""

    setting: Setting
    method: Method
    seed: int
    run: Path
    command: tuple[str, ...]
    """As `benchmarks.sub_runs.run_all` takes it."""
    after: Path | None
    """A run that has to be finished first: this one begins from it."""


def cells_of(
    settings: Sequence[Setting], seeds: Sequence[int], out: Path, methods: Sequence[str]
) -> list[Cell]:
    """Every sub-run in the order of the queue: settings (a), (c), (c10) before (b), (d); the first
    seed's baselines, then its ladder, the adaptation's controls and the transfer, the other seeds,
    and the first seed's variants and controls.

    `methods` are slugs; empty: all. Raises ValueError for an unknown one.
    """
    unknown = sorted(set(methods) - set(BY_SLUG))
    if unknown:
        raise ValueError(f"there is no method {unknown[0]!r}; there are {', '.join(BY_SLUG)}")
    begun = {BY_SLUG[slug].begins for slug in methods}
    needed = ["start"] * bool(begun & {"start", "full"}) + ["full"] * ("full" in begun)
    ranked: list[tuple[tuple[int, ...], Cell]] = []
    for place, setting in enumerate(settings):
        for seed in seeds:
            first = seed == seeds[0]
            for order, method in enumerate(METHODS):
                if (
                    not (method.every_seed or first)
                    or (method.slug == "forcing" and not setting.forcing)
                    or (
                        not setting.new_scans
                        and (method.kind == "adapted" or method.slug == "longer")
                    )
                ):
                    continue
                wanted = not methods or method.slug in (*methods, *needed)
                if wanted:
                    late = setting.key not in ("a", "c", "c10")
                    rank = (int(late), _level(method, first), seeds.index(seed), order, place)
                    ranked.append((rank, _cell(setting, method, seed, out)))
        for method in TRANSFERS:
            if setting.transfer and (not methods or method.slug in methods):
                cell = _transfer(setting, method, seeds[0], out)
                ranked.append(((0, _level(method, True), 0, len(METHODS), place), cell))
    return [cell for _, cell in sorted(ranked, key=lambda pair: pair[0])]


def _level(method: Method, first: bool) -> int:
    """0: what the claims are about; 1: the ladder, the adaptation's controls and the transfer;
    2 and 3: the same of further seeds; 4: the rest."""
    central = method.every_seed and method.kind not in ("rung", "reference")
    if not (method.every_seed or method.kind in ("adapted", "transfer")):
        return 4
    return (0 if central else 1) + (0 if first else 2)


def _cell(setting: Setting, method: Method, seed: int, out: Path) -> Cell:
    folder = out / setting.key
    run = folder / f"{method.slug}-{seed}"
    if method.begins == "full":
        after = folder / f"full-{seed}"
        scans = setting.seen_scans if method.slug == "adapted-training" else setting.new_scans
        command = (
            "irl", "adapt", str(after), "--scans", *scans, *setting.adaptation, *method.flags,
            "--seed", str(seed),
        )  # fmt: skip
        return Cell(setting, method, seed, run, command, after)
    flags = (*TRAIN, *setting.flags, *method.flags, "--seed", str(seed))
    if method.slug == "longer":
        own, further = int(_told(setting.sizes, "--updates")), _further_updates(setting)
        flags = (*flags, "--updates", str(own + further))
    if method.begins == "scratch":
        return Cell(setting, method, seed, run, flags, None)
    after = folder / f"start-{seed}"
    return Cell(setting, method, seed, run, (*flags, "--start-from", str(after)), after)


def _told(flags: Sequence[str], flag: str) -> str:
    """The value that the last mention of a flag gives it."""
    return flags[len(flags) - 1 - flags[::-1].index(flag) + 1]


def _further_updates(setting: Setting) -> int:
    """Updates of the policy in an adaptation of this setting."""
    told, usual = setting.adaptation, AdaptConfig()
    own = (("--clone-updates", usual.clone_updates), ("--updates", usual.updates))
    return sum(int(_told(told, flag)) if flag in told else value for flag, value in own)


def _transfer(setting: Setting, method: Method, seed: int, out: Path) -> Cell:
    """A policy from scratch in the held-out buildings: their instructions and starts, no path, and
    another run's reward. Scored on instructions it was told and on those it was not."""
    after = out / setting.key / f"{method.begins}-{seed}"
    flags = (
        *TRAIN, *setting.sizes, *method.flags, "--buildings", *setting.held_out,
        "--evaluate", "train", "val_seen", "--reward-from", str(after),
        "--updates", str(4 * int(_told(setting.sizes, "--updates"))),
        "--policy-learning-rate", "0.001", "--critic-learning-rate", "0.001", "--seed", str(seed),
    )  # fmt: skip
    return Cell(setting, method, seed, after.with_name(f"{method.slug}-{seed}"), flags, after)
