"""What a file of `rayforge analyse transfer` says, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from envs.shifts.shift import CAMERA, FEATURES, WORDS, Shift, read_shift
from rayforge.errors import ConfigurationError, DataError, RunError
from rayforge.readers.faults import looked_in
from rayforge.settings import FOLDER, AtLeast, check_limits
from trainers.analysis.periods_config import check_different
from trainers.configuration import from_dict, placed, read_configuration, to_dict


@dataclass(frozen=True)
class Target:
    """Data that runs are scored on, and what is done to it."""

    split: str = "val_unseen"
    """A split of the data folder."""
    data: Annotated[str, FOLDER] = ""
    """Another data folder than the grid's."""
    words: str = ""
    """A shift of instructions, NAME:SEVERITY: dropped, misheard, shuffled."""
    features: str = ""
    """A shift of what is seen, NAME:SEVERITY: blur, noise, dark, hidden."""
    paraphrased: bool = False
    """Another person's instruction of the same path; episodes without one are left out."""
    camera: str = ""
    """A shift of the camera, NAME:SEVERITY: higher, narrower (runs with features "rendered")."""
    longer: bool = False
    """Keep the half of the episodes whose paths are the longest."""
    name: str = ""
    """As tables call it; empty: made of the rest."""

    def __post_init__(self) -> None:
        # These raise for shifts that are not known.
        self.word_shift, self.feature_shift, self.camera_shift  # noqa: B018

    @property
    def word_shift(self) -> Shift | None:
        return read_shift(self.words, WORDS, "target: words") if self.words else None

    @property
    def feature_shift(self) -> Shift | None:
        return read_shift(self.features, FEATURES, "target: features") if self.features else None

    @property
    def camera_shift(self) -> Shift | None:
        return read_shift(self.camera, CAMERA, "target: camera") if self.camera else None

    @property
    def title(self) -> str:
        parts = [Path(self.data).name if self.data else "", self.split, self.words, self.features,
                 self.camera, "paraphrased" if self.paraphrased else "",
                 "longer" if self.longer else ""]  # fmt: skip
        return self.name or " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Made:
    """Runs to train where they are not there: small clones, one a source, method and seed."""

    sources: dict[str, Any] = field(default_factory=dict)
    """Names of sources and the buildings of each: a list of names, or how many from the first."""
    variants: dict[str, Any] = field(default_factory=lambda: {"plain": {}})
    """Names of variants and the settings of each, as in a configuration of `irl train`."""
    seeds: Annotated[tuple[int, ...], AtLeast(0)] = (0,)
    """Seeds of each."""
    updates: Annotated[int, AtLeast(1)] = 150
    """Updates of each."""

    def __post_init__(self) -> None:
        check_limits(self, "make: ")
        check_different("make: seeds", self.seeds)
        for name in ("sources", "variants"):
            if not getattr(self, name):
                raise ConfigurationError(f"make: {name} is empty: name one at least")


@dataclass(frozen=True)
class TransferConfig:
    """A grid of runs and targets."""

    data: Annotated[str, FOLDER]
    """Data folder of the sources and, where a target names no other, of the targets. This and all
    that a file of a grid names is found from the working directory."""
    targets: tuple[dict[str, Any], ...]
    """What runs are scored on: see `Target`."""
    runs: tuple[str, ...] = ()
    """Folders of runs, or folders that hold runs (a search's too)."""
    make: dict[str, Any] = field(default_factory=dict)
    """Runs that are made: see `Made`."""
    base: dict[str, Any] = field(default_factory=dict)
    """Settings of the runs that are made."""
    home: str = "val_seen"
    """The split at home: a run's own buildings, as its configuration has them."""
    episodes: Annotated[int, AtLeast(10)] = 120
    """Episodes of a target at most."""
    perturbed: Annotated[tuple[float, ...], AtLeast(0)] = (0.0, 0.02, 0.1)
    """Sizes of the perturbation of features (0 is clean)."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of draws and shifts."""

    def __post_init__(self) -> None:
        check_limits(self)
        check_titles([target.title for target in self.read_targets()])
        if not self.runs and not self.make:
            raise ConfigurationError("name runs, or say under make how to train them")
        check_different("perturbed", self.perturbed)
        self.made  # noqa: B018

    def read_targets(self) -> list[Target]:
        found = []
        for number, one in enumerate(self.targets, 1):
            target = from_dict(Target, one, f"targets: number {number}: ")
            found.append(placed(target, say=False))
        return found

    @property
    def made(self) -> Made | None:
        return from_dict(Made, self.make, "make: ") if self.make else None


def check_titles(titles: Sequence[str]) -> None:
    """Raises ConfigurationError where there are no targets, or two of one title."""
    if not titles:
        raise ConfigurationError("targets is empty: name what the runs are scored on")
    if len(set(titles)) < len(titles):
        twice = next(title for title in titles if titles.count(title) > 1)
        raise ConfigurationError(f"targets: {twice!r} stands twice; give one a name")


def found_runs(names: Sequence[str]) -> list[Path]:
    """The run folders that `names` are or hold, in order, by absolute paths. Raises RunError where
    there is none."""
    found: list[Path] = []
    for name in names:
        folder = Path(name).absolute()
        if (folder / "config.yaml").is_file():
            found.append(folder)
            continue
        inner = sorted(file.parent for file in folder.glob("*/config.yaml"))
        inner += sorted(file.parent for file in folder.glob("*/*/config.yaml"))
        if not inner:
            why = "it has no config.yaml" if folder.is_dir() else "it does not exist"
            raise RunError(f"{folder} is no run folder and holds none: {why}")
        found += inner
    return list(dict.fromkeys(found))


def run_names(runs: Sequence[Path]) -> list[str]:
    """What tables call runs: their folders' names, with as much of the way there as tells them
    apart."""
    for parts in range(1, max((len(run.parts) for run in runs), default=1)):
        names = ["/".join(run.parts[-parts:]) for run in runs]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in runs]


def asked_of(runs: Mapping[str, Path], targets: Sequence[Any]) -> dict[str, Any]:
    """What the rows of these runs and targets are of, beside what tables call them: another run of
    that name, or a target that was changed, has rows of its own."""
    return {f"run {name}": str(run) for name, run in runs.items()} | {
        f"target {target.title}": to_dict(target) for target in targets
    }


def read_transfer(file: Path) -> TransferConfig:
    """The file of a grid. Raises ConfigurationError, with the nearest right name."""
    config = placed(read_configuration(TransferConfig, file), say=False)
    for target in config.read_targets():
        if target.data and not Path(target.data).is_dir():
            raise DataError(
                f"target {target.title}: data folder {target.data} does not exist"
                f"{looked_in(target.data)}"
            )
    return config
