"""The commands that are of no one system: houses and routes, searches, reports, the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from envs.houses.dataset import HousesConfig
from envs.houses.route_houses import RouteHousesConfig
from rayforge.errors import ConfigurationError, RunError
from rayforge.settings import NOT_LEARNT, WRITES_FILE, AtLeast, settings_with
from trainers.alignment.config import AlignConfig
from trainers.cluster import choose_address
from trainers.configuration import fits, read_document
from trainers.feedback.config import FeedbackConfig
from trainers.irl.config import IRLConfig


@dataclass(frozen=True)
class Houses:
    """Write generated houses: connectivity, object boxes, room labels, R2R episodes.

    Example: rayforge houses runs/houses --train-houses 40 --unseen-houses 10 --seed 0
    """

    folder: tyro.conf.Positional[Path]
    """Where the data set is written; one that was generated there is replaced, nothing else is."""
    settings: Annotated[HousesConfig, tyro.conf.arg(name="")]

    def __call__(self) -> None:
        from dataclasses import asdict

        from envs.houses.dataset import write_houses

        summary = write_houses(self.folder, **asdict(self.settings))
        print(f"{self.folder}: {summary.houses} houses, {summary.viewpoints} viewpoints")
        for split, count in summary.instructions.items():
            print(f"  {split}: {summary.paths[split]} paths, {count} instructions")
        print(f"  {summary.templates} templates, {summary.words} words in training")


@dataclass(frozen=True)
class Routes:
    """Write houses with the route task's instructions: what a follower learns to obey, which then
    reviews what a language model says (`align train --score follower:RUN`).

    Example: rayforge routes runs/routes --seed 0
    """

    folder: tyro.conf.Positional[Path]
    """Where the data set is written; it must not hold one yet."""
    settings: Annotated[RouteHousesConfig, tyro.conf.arg(name="")]

    def __call__(self) -> None:
        from envs.houses.route_houses import write_route_houses

        houses = write_route_houses(self.folder, self.settings)
        print(f"{self.folder}: {houses} houses, {self.settings.routes} routes for training")


@dataclass(frozen=True)
class Tune:
    """Search for settings with Ray Tune, as a search file says (see tune_configs/).

    Examples:
      rayforge tune tune_configs/irl.yaml
      rayforge tune tune_configs/both.yaml --storage s3://bucket/searches --trials 64
      rayforge tune tune_configs/irl.yaml --resume
    """

    file: tyro.conf.Positional[Path]
    """The search file."""
    resume: bool = False
    """Go on with a search that was broken off: run what is missing."""
    name: str | None = None
    """Name of the search and its folder, instead of the file's."""
    storage: str | None = None
    """Where that folder goes, instead of what the file says: a folder that all nodes see, or a URI
    such as s3://bucket/searches."""
    trials: Annotated[int | None, AtLeast(1)] = None
    """Trials, instead of the file's number."""
    concurrent: Annotated[int | None, AtLeast(1)] = None
    """Trials at a time at most, instead of the file's number."""
    cpus: Annotated[int | None, AtLeast(1)] = None
    """CPUs of the Ray that is started here, instead of the file's number."""
    system: str | None = None
    """Confirms a system from outside RayForge, module:NAME, as the file has it: its code is
    imported."""
    judge: str | None = None
    """Judge of trials of language models, as in `rayforge align train`: a reward model's folder,
    "command: PROGRAM ...", or a Python function MODULE:FUNCTION."""
    address: str = ""
    """The Ray cluster to join, as HOST:PORT, instead of what RAY_ADDRESS names."""

    def __call__(self) -> None:
        choose_address(self.address)
        from trainers.runs.folder import command_line
        from trainers.search.run import search

        names = ("name", "storage", "trials", "concurrent", "cpus", "system", "judge")
        changes = {n: v for n in names if (v := getattr(self, n)) is not None}
        search(self.file, changes, self.resume, command_line())


@dataclass(frozen=True)
class Report:
    """Write the report of a run, of a search, or of several runs side by side.

    Examples:
      rayforge report runs/full
      rayforge report runs/irl/trial-0003
      rayforge report runs/full-0 runs/full-1 runs/gcbc-0 runs/gcbc-1 --out comparison.html
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, trials among them; or that of one search."""
    out: Annotated[Path, WRITES_FILE] = Path("comparison.html")
    """The page, where there are several runs."""

    def __call__(self) -> None:
        from rayforge.reports.alignment import is_alignment_run, write_alignment_report
        from rayforge.reports.comparison import write_comparison
        from rayforge.reports.report import write_report

        if not self.runs:
            raise ConfigurationError("name at least one run folder")
        if len(self.runs) == 1 and (self.runs[0] / "search.yaml").is_file():
            from trainers.search.run import report_search

            print(report_search(self.runs[0]))
            return
        for run in self.runs:
            if not (run / "config.yaml").is_file():
                raise RunError(f"{run} is not a run folder: it has no config.yaml")
        resolved = [run.resolve() for run in self.runs]
        twice = next((run for run in self.runs if resolved.count(run.resolve()) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"{twice} is named twice: a run is not compared with itself")
        other = next((run for run in self.runs if not _compared(run)), None)
        if other is not None and len(self.runs) > 1:
            raise RunError(
                f"{other} is no run of an agent or a language model: reports of several are of such"
            )
        if other is not None:
            print(_report_of(other))
            return
        aligned = is_alignment_run(self.runs[0])
        if len(self.runs) == 1:
            print((write_alignment_report if aligned else write_report)(self.runs[0]))
        else:
            not_learnt = settings_with(AlignConfig if aligned else IRLConfig, NOT_LEARNT)
            print(write_comparison(self.runs, self.out, not_learnt))


def _compared(run: Path) -> bool:
    """Whether a run is an agent's or a language model's, whose reports know its figures."""
    document = read_document(run / "config.yaml")
    return any(fits(kind, document) for kind in (IRLConfig, AlignConfig))


def _report_of(run: Path) -> Path:
    """The report of a run of another of RayForge's systems."""
    from trainers.feedback.page import write_page
    from trainers.runs.train import write_report

    of_use = fits(FeedbackConfig, read_document(run / "config.yaml"))
    return write_page(run) if of_use else write_report(run)


@dataclass(frozen=True)
class Doctor:
    """Check this machine: versions, CPUs, memory, disk, Ray, ports; each line with its remedy.

    Example: rayforge doctor --storage /shared/runs
    """

    storage: str = ""
    """Storage to try as well: a folder, or a URI such as s3://bucket/runs."""

    def __call__(self) -> None:
        from trainers.doctor import examine

        raise SystemExit(examine(self.storage))
