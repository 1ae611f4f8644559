"""What a file of `rayforge analyse periods` says, checked before anything is trained."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from envs.shifts.shift import FEATURES, IMAGES, WORDS, Shift, read_shift
from rayforge.errors import ConfigurationError
from rayforge.evaluation.sensitivity import ARMS
from rayforge.settings import FOLDER, Above, AtLeast, Within, check_limits
from trainers.configuration import placed, read_configuration

WITHHELD = "withheld"
"""The deficit that takes half of the training buildings away."""
FLIPPED = "flipped"
"""The deficit of preferences: which side is preferred is turned round."""
KNOWN = {"rooms": IMAGES, "clone": (*FEATURES, *WORDS, WITHHELD), "preferences": (FLIPPED,)}
"""Deficits by subject."""
CLONE_RATE = 2e-3


@dataclass(frozen=True)
class PeriodsConfig:
    """A study of critical periods. Time is counted in blocks: epochs of "rooms", blocks of updates
    of "clone", rounds of "preferences"."""

    data: Annotated[str, FOLDER]
    """Folder of generated houses ("rooms"), or any data folder ("clone"), found from the working
    directory; preferences make their own ("routes")."""
    subject: Literal["rooms", "clone", "preferences"] = "rooms"
    """"rooms": recognition from rendered views. "clone": a policy in navigation graphs.
    "preferences": rounds of direct preference optimisation."""
    deficit: str = "blur:4"
    """NAME:SEVERITY, 1 to 5. Of rooms: blur, noise, dark, mirrored, hidden. Of clones: blur, noise,
    dark, hidden (features), dropped, misheard, shuffled (words), withheld (buildings). Of
    preferences: flipped."""
    experiments: tuple[str, ...] = ("removal", "window")
    """"removal": the deficit holds until a time. "window": it holds in a window of `length`."""
    onsets: Annotated[tuple[int, ...], AtLeast(0)] = (0, 2, 4, 8, 12, 16)
    """Times of removal, and of the windows' beginning, in blocks. No window begins at `clean`: no
    clean block would follow it, and it is what lasts that is studied."""
    length: Annotated[int, AtLeast(1)] = 4
    """Blocks of a window."""
    clean: Annotated[int, AtLeast(1)] = 16
    """Blocks without the deficit, in every trial alike."""
    arms: tuple[str, ...] = ARMS
    """Step sizes: "running" on, "restarted" when the deficit ends, "constant"."""
    seeds: Annotated[tuple[int, ...], AtLeast(0)] = (0, 1, 2)
    """Seeds; trials of one seed are paired."""
    learning_rate: Annotated[float, Above(0)] = 0.05
    """The first step size."""
    decay: Annotated[float, Within(0, 1, "(]")] = 0.85
    """What a block multiplies it by."""
    views: Annotated[int, AtLeast(8)] = 1_000
    """Training views of "rooms" at most; three fifths as many test it."""
    updates: Annotated[int, AtLeast(1)] = 20
    """Updates of a block of "clone"."""
    base: dict[str, Any] = field(default_factory=dict)
    """Settings of the clone, as in a configuration of `rayforge irl train`."""

    def __post_init__(self) -> None:
        check_limits(self)
        _among("experiments", self.experiments, ("removal", "window"))
        _among("arms", self.arms, ARMS)
        for name in ("experiments", "onsets", "arms", "seeds"):
            check_different(name, getattr(self, name))
        # A window's trial has `clean` clean blocks and `length` damaged ones.
        if "window" in self.experiments and (
            max(self.onsets) > self.clean or min(self.onsets) == self.clean
        ):
            raise ConfigurationError(
                f"a window that begins at {max(self.onsets)} ends beyond training: a trial has "
                f"{self.clean} clean blocks; lower onsets, or raise clean"
            )
        self.shift  # noqa: B018  (raises for a deficit that is not known)

    @property
    def windows(self) -> tuple[int, ...]:
        """Onsets of windows."""
        return tuple(onset for onset in self.onsets if onset < self.clean)

    @property
    def shift(self) -> Shift:
        return read_shift(self.deficit, KNOWN[self.subject], f"deficit of {self.subject}")


def check_different(name: str, given: Sequence[Any]) -> None:
    """Raises ConfigurationError for a list that is empty or has something twice."""
    if not given:
        raise ConfigurationError(f"{name} is empty: name one at least")
    twice = next((one for one in given if given.count(one) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"{name}: {str(twice)[:80]} stands twice; drop one")


def _among(name: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    for one in given:
        if one not in known:
            near = difflib.get_close_matches(str(one), known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigurationError(f"{name}: unknown {str(one)[:80]!r}; {hint}")


@dataclass(frozen=True)
class Trial:
    """One training: what holds when."""

    config: PeriodsConfig
    experiment: str
    """"control", "removal", "window", "damaged" (the deficit to the end)."""
    arm: str
    onset: int
    """When a window begins; 0 elsewhere."""
    until: int
    """Before which block the deficit ends."""
    seed: int

    @property
    def blocks(self) -> int:
        """Blocks of training: `clean` ones beside the damaged ones."""
        damaged = 0 if self.experiment in ("control", "damaged") else self.until - self.onset
        return self.config.clean + damaged

    def damaged(self, block: int) -> bool:
        return self.onset <= block < self.until

    @property
    def name(self) -> str:
        if self.experiment in ("control", "damaged"):
            return f"{self.experiment} {self.arm} seed {self.seed}"
        return f"{self.experiment} {self.arm} {self.onset}-{self.until} seed {self.seed}"


def trials_of(config: PeriodsConfig) -> dict[str, Trial]:
    """All trials by name: the undisturbed one and the damaged one of each arm and seed first."""
    found: list[Trial] = []
    for arm in config.arms:
        for seed in config.seeds:
            found.append(Trial(config, "control", arm, 0, 0, seed))
            found.append(Trial(config, "damaged", arm, 0, config.clean, seed))
            for onset in config.onsets:
                if "removal" in config.experiments and onset:
                    found.append(Trial(config, "removal", arm, 0, onset, seed))
                if "window" in config.experiments and onset in config.windows:
                    found.append(Trial(config, "window", arm, onset, onset + config.length, seed))
    return {trial.name: trial for trial in found}


def read_periods(file: Path) -> PeriodsConfig:
    """The file of a study. Raises ConfigurationError, with the nearest right name."""
    config = read_configuration(PeriodsConfig, file)
    return config if config.subject == "preferences" else placed(config, say=False)
