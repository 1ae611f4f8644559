"""The commands of the agents: `rayforge irl ...`. What is heavy is imported when one is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rayforge.errors import ConfigurationError
from rayforge.settings import AtLeast, Within
from trainers.cluster import choose_address
from trainers.irl.adapt_config import AdaptConfig
from trainers.irl.config import IRLConfig
from trainers.irl.plan_config import PlanConfig
from trainers.runs.folder import named_folder


@dataclass(frozen=True)
class Train:
    """Train an agent: LangGoalIRL, one of its rungs, or goal-conditioned cloning.

    --config FILE.yaml starts from that file's settings; any of them can be given here as well.

    Examples:
      rayforge irl train --data houses --run runs/full
      rayforge irl train --data ../r2r --method gcbc --seed 1 --run runs/gcbc
      rayforge irl train --env continuous --data runs/houses --run runs/continuous
      rayforge irl train --config runs/full/config.yaml --runners 2 --run runs/again
      rayforge irl train --resume runs/full
    """

    settings: Annotated[IRLConfig, tyro.conf.arg(name="")]
    run: Path | None = None
    """Folder of the run; it must not hold one yet."""
    resume: Path | None = None
    """A run to go on with from its last checkpoint, under its own settings."""
    debug: bool = False
    """Everything in this process and over in a minute: breakpoints work, each size is small."""
    address: str = ""
    """The Ray cluster to join, as HOST:PORT, instead of what RAY_ADDRESS names."""

    def __call__(self) -> None:
        choose_address(self.address)
        run = named_folder(self.run, self.resume)
        from trainers.irl.debugging import small_agent
        from trainers.irl.preflight import check_run
        from trainers.runs.identity import going_on

        settings = small_agent(self.settings) if self.debug else self.settings
        if self.resume is not None:
            settings = going_on(run, settings)
        check_run(settings, run, self.resume is not None)
        from trainers.irl.run import train
        from trainers.runs.folder import command_line

        train(settings, run, self.resume is not None, command_line())


@dataclass(frozen=True)
class Evaluate:
    """Score a trained agent on a split, beside its controls.

    Examples:
      rayforge irl evaluate runs/r2r --split val_unseen --data ../r2r
      rayforge irl evaluate runs/seed-0 --split val_unseen --planner map --ensemble runs/seed-1
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    split: str
    """val_seen, val_unseen, held_out, train: any R2R_SPLIT.json of the data folder."""
    data: Path | None = None
    """Another data folder than the run's; its buildings may be new."""
    planner: Literal["none", "search", "samples", "map"] = "none"
    """"none": the policy, at first sight. "search": at first sight too, walking and turning back.
    "samples": the best of roll-outs in a model of the building. "map": the best of all ways on the
    building's graph. All but "none" need `rayforge irl plan` first."""
    candidates: Annotated[int, AtLeast(1)] = 16
    """Roll-outs of "samples", and places that "search" looks at."""
    checkpoint: Literal["last", "best"] = "last"
    """"last": the weights at the end of training. "best": those that validated best, of a run with
    --evaluate-every."""
    shortlist: Annotated[int, AtLeast(0)] = 0
    """For how many candidates the goal generator is asked, those that the other scores choose;
    each stands for the candidates near its end. 0: for all, which is slower and a little better."""
    ensemble: tuple[Path, ...] = ()
    """Further runs on the same data that plan together with it: their scores are averaged. Each
    has had its `rayforge irl plan`."""
    walked: bool = False
    """Walk the plans of "map" and "samples" in the 3-D scenes of the data as well, by low-level
    actions on the navigation mesh."""

    def __call__(self) -> None:
        if self.planner != "none" and self.checkpoint == "best":
            raise ConfigurationError("a planner is fitted to the last weights: drop --checkpoint")
        if self.shortlist and self.planner == "none":
            raise ConfigurationError("shortlist is for a planner: name one with --planner")
        if self.ensemble and self.planner == "none":
            raise ConfigurationError("an ensemble plans: say --planner map, samples or search")
        if len({path.resolve() for path in (self.run, *self.ensemble)}) <= len(self.ensemble):
            raise ConfigurationError("a run stands twice in the ensemble: name others")
        if self.walked and self.planner not in ("map", "samples"):
            raise ConfigurationError("walked is for plans: say --planner map or --planner samples")
        from trainers.runs.folder import command_line

        if self.planner != "none":
            from trainers.irl.planned import evaluate_planned

            evaluate_planned(
                self.run, self.split, self.data, self.planner, self.candidates, command_line(),
                self.shortlist, self.walked, self.ensemble,
            )  # fmt: skip
            return
        from trainers.irl.evaluate import evaluate_run

        evaluate_run(self.run, self.split, self.data, command_line(), self.checkpoint)


@dataclass(frozen=True)
class RewardAnalysis:
    """What a run's reward knows on a split, and what training did to the cloned policy.

    Right against wrong instructions and paths, correlation with progress, divergence from the
    clone; in generated houses, how many generated instructions an oracle accepts.

    Example: rayforge irl reward runs/full --split held_out
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    split: str = "unseen"
    """A split of the data folder; "unseen" as in training."""
    episodes: Annotated[int, AtLeast(1)] = 600
    """Episodes drawn from it at most."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of that draw, of roll-outs and of generated instructions."""
    data: Path | None = None
    """Another data folder than the run's."""

    def __call__(self) -> None:
        from trainers.irl.reward_analysis import find_reward_analysis
        from trainers.runs.folder import command_line

        find_reward_analysis(
            self.run, self.split, self.data, self.episodes, self.seed, command_line()
        )


@dataclass(frozen=True)
class Watch:
    """Make a page of a run's episodes: the instruction, both paths on a map, step by step. In 3-D
    scenes: a film (MP4) with the view and the map, and a contact sheet (PNG).

    Example: rayforge irl watch runs/r2r --split val_seen
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    split: str = "val_seen"
    """A split that was evaluated."""
    episodes: Annotated[int, AtLeast(1)] = 60
    """Episodes shown at most, half of them failures where there are as many."""
    data: Path | None = None
    """The data folder, where it is not the run's."""

    def __call__(self) -> None:
        from trainers.irl.watch import watch

        print(watch(self.run, self.split, self.episodes, self.data))


@dataclass(frozen=True)
class Adapt:
    """Adapt a trained agent to new buildings: it walks there without a goal, describes its walks,
    and learns from those that it can follow again. Transductive: graphs of the new buildings are
    used, their episodes are not. An agent that plans (`rayforge irl plan`) still does afterwards.
    With --instructions it learns from what people said there as well, without their paths. The same
    command goes on where it was broken off.

    Examples:
      rayforge irl adapt runs/r2r --scans B6ByNegPMKs,E9uDoFAP3SH --out runs/adapted
      rayforge irl adapt runs/r2r --scans B6ByNegPMKs --walks random --out runs/control
      rayforge irl adapt runs/full --scans house00040 house00041 --runners 1 --out runs/own
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run, a finished one with a goal generator."""
    scans: tuple[str, ...]
    """Names of the buildings, with commas or spaces between them; training ones are a control."""
    out: Path
    """Folder of the adapted run: a new one, or one to go on with."""
    settings: Annotated[AdaptConfig, tyro.conf.arg(name="")]
    data: Path | None = None
    """The run's data folder, where it is not where it was."""
    address: str = ""
    """The Ray cluster to join, as HOST:PORT, instead of what RAY_ADDRESS names."""

    def __call__(self) -> None:
        choose_address(self.address)
        from trainers.irl.adapt import adapt
        from trainers.runs.folder import command_line

        scans = tuple(name for word in self.scans for name in word.split(",") if name)
        adapt(self.run, scans, self.out, self.data, self.settings, command_line())


@dataclass(frozen=True)
class Plan:
    """Teach a trained agent the reward that plans, and fit what each of its scores weighs.

    The run has to have held instructions back (--held-back 0.05); policy and goal generator stay
    as they are. `rayforge irl evaluate RUN --planner map` then plans.

    Example: rayforge irl plan runs/r2r --reward maxent
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run, a finished one in navigation graphs."""
    settings: Annotated[PlanConfig, tyro.conf.arg(name="")]

    def __call__(self) -> None:
        from trainers.irl.plan import plan_run
        from trainers.runs.folder import command_line

        plan_run(self.run, self.settings, command_line())


@dataclass(frozen=True)
class Prune:
    """Take modules out of a run's circuits: a smaller and faster run, in a folder of its own.

    Modules without a way to an output go first, then those of which least reaches an output.

    Examples:
      rayforge irl prune runs/circuit --keep 0.25 --out runs/quarter
      rayforge irl evaluate runs/quarter --split val_seen
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run; its network.trunk is a circuit."""
    out: Path
    """Folder of the smaller run."""
    keep: Annotated[float, Within(0, 1, "(]")] = 0.25
    """Share of the modules that stay."""
    threshold: bool = False
    """Keep only the links above one half, and those at full strength."""

    def __call__(self) -> None:
        from trainers.irl.prune import prune
        from trainers.runs.folder import command_line

        prune(self.run, self.keep, self.threshold, self.out, command_line())
