"""The one configuration of `rayforge irl train`: command line, YAML file and search space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from envs.houses.dataset import HousesConfig
from envs.simulators.simulator import SimulatorConfig
from rayforge.irl.config import AgentConfig
from rayforge.settings import (
    FILE,
    FOLDER,
    MAIN,
    MAY_CHANGE,
    MAY_GROW,
    NOT_LEARNT,
    RESOURCE,
    SHARE,
    UNDER_WAY,
    AtLeast,
    Formerly,
    Heading,
)
from trainers.runs.tracking import Tracker


@dataclass(frozen=True)
class IRLConfig(AgentConfig):
    """LangGoalIRL, its rungs (base, + augment, + relabel, full) and the baselines: what the agent
    is and how it learns (`AgentConfig`), from which data, for how long and on what."""

    env: Annotated[Literal["graph", "continuous"], MAIN, Heading("Data and environment")] = "graph"
    """"graph": from viewpoint to viewpoint; "continuous": forward, left, right in 3-D scenes."""
    data: Annotated[str, FOLDER, MAIN] = "houses"
    """Folder of an R2R-format (continuous: R2R-CE) data set, or "houses": generated ones, made once
    and kept."""
    held_out: Annotated[tuple[str, ...], MAIN] = ()
    """Buildings taken out of training; their episodes form the split `held_out`."""
    buildings: tuple[str, ...] = ()
    """The only buildings of `train` and `val_seen`; empty: all that are not held out."""
    held_back: float = 0.0
    """Share of the reference paths of `train` that nothing is trained on, the same for every seed:
    their instructions form the split `held_back`, on which a planner's weights are fitted."""
    extra_demonstrations: Annotated[str, FOLDER, Formerly("further")] = ""
    """An R2R-format file of more demonstrations, which `rayforge irl adapt` writes."""
    features: Annotated[str, FILE, MAIN] = "semantic"
    """"semantic" (room labels, objects by direction), "rendered" (views of the 3-D scenes), or a
    .tsv or .hdf5 feature file."""
    neighbour_rooms: bool = False
    """Whether the room label of a neighbour may be seen before going there (semantic features)."""
    houses: HousesConfig = field(default_factory=HousesConfig)
    """The generated houses, where data is "houses"."""
    simulator: Annotated[Literal["embedded", "habitat"], MAIN, Heading("3-D scenes")] = "embedded"
    """What renders and walks in 3-D scenes: RayForge's own, or habitat-sim."""
    simulation: SimulatorConfig = field(default_factory=SimulatorConfig)
    """Body, camera and motion there."""
    scenes: Annotated[str, FOLDER] = ""
    """Folder of the 3-D scenes; empty is `scenes` in the data folder."""
    open_scenes: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(1)] = 64
    """3-D scenes that a process keeps open at once (fewer where they are scans of millions of
    triangles; of habitat-sim, which takes a process each, never more than 4)."""
    simulator_processes: Annotated[bool, MAY_CHANGE, NOT_LEARNT] = False
    """Run the embedded simulator of each scene in a process of its own, too."""
    skip_missing: bool = False
    """Leave episodes out whose scene file is missing."""

    text: Annotated[bool, Heading("Controls, words and lengths")] = True
    """Whether instructions are read at all; without, every instruction is empty (a control)."""
    shuffled_text: bool = False
    """Pair every training path with the instruction of another path of its building (a control)."""
    start_from: Annotated[str, FOLDER] = ""
    """A run on the same data whose goal generator and cloned policy are taken over, with the
    updates and the time they took, instead of being trained anew. "auto:FOLDER": the run of that
    folder whose task is nearest (`rayforge analyse tasks`), with `start_anew`."""
    start_anew: bool = False
    """Take over the networks of `start_from` as a start alone: its data may be other data, and all
    updates are made anew on this run's."""

    min_word_count: Annotated[int, AtLeast(1)] = 2
    """Words rarer than this in the training instructions are unknown."""
    max_steps: Annotated[int, AtLeast(2)] = 15
    """Actions of an episode in graphs at most, the last of which can only be STOP."""
    max_walk: Annotated[int, AtLeast(2)] = 500
    """Actions of an episode in 3-D scenes at most; a STOP forced by this limit is no success."""

    clone_updates: Annotated[int, MAIN, AtLeast(0), Heading("Length of training")] = 1200
    """Updates of the cloned policy that a warm start begins from."""
    updates: Annotated[int, MAIN, MAY_GROW, AtLeast(0)] = 300
    """Updates after that, each method's own; of continued cloning for "gcbc". A run that goes on
    may be given more: its step sizes then go on along the cosine over the new number, as if that
    had been asked for from here on."""
    warm_up: Annotated[int, AtLeast(0)] = 40
    """Adversarial updates in which reward and critics learn and only the cloning term moves the
    policy."""
    batch: Annotated[int, MAIN, AtLeast(1)] = 128
    """Pairs of path and instruction in an update of cloning."""
    updates_per_iteration: Annotated[int, AtLeast(1)] = 8
    """Updates between two roll-outs (and lines of progress)."""
    episodes_per_iteration: Annotated[int, AtLeast(1)] = 128
    """Episodes rolled out between them."""
    replay: Annotated[int, AtLeast(1)] = 50_000
    """Episodes kept."""

    augment_probability: Annotated[float, UNDER_WAY, SHARE] = 0.5
    """Share of expert pairs whose instruction is rephrased."""

    runners: Annotated[
        int, MAIN, MAY_CHANGE, NOT_LEARNT, RESOURCE, AtLeast(0), Heading("Machine and record")
    ] = 0
    """Ray actors that roll out; 0 does it in this process, where a breakpoint works."""
    fewest_runners: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 0
    """Runners that a cluster must have room for when a run begins; the others join as its nodes
    come. 0: all of them."""
    aggregate_from: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 32
    """From so many runners on, an actor on each node hands chunks to its runners and joins what
    they return, so that the work of this process grows with nodes instead; 0: never."""
    sent_weights: Annotated[Literal["float32", "float16"], MAY_CHANGE] = "float32"
    """What weights are sent to runners as: "float16" halves the bytes, and roll-outs are made under
    rounded weights."""
    runner_resource: Annotated[str, MAY_CHANGE, NOT_LEARNT, RESOURCE] = ""
    """A resource that some nodes of a cluster offer, such as "rollout": each runner takes one of
    it, and so a place there and nowhere else."""
    learners: Annotated[int, MAIN, MAY_CHANGE, NOT_LEARNT, RESOURCE, AtLeast(0)] = 0
    """Processes that learn, each from a part of every batch, with averaged gradients; 0 learns in
    this process."""
    staleness: Annotated[int, MAIN, MAY_CHANGE, AtLeast(0)] = 0
    """Updates that the weights of a roll-out may be behind when it is first learnt from: with more
    than 0 runners roll out while the learner updates; 0: they take turns."""
    device: Annotated[Literal["cpu", "cuda"], MAIN, MAY_CHANGE, NOT_LEARNT, RESOURCE] = "cpu"
    """Where the learner runs: "cpu" or "cuda" (each of several learners on a GPU of its own)."""
    threads: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 0
    """Threads of the learner on the CPU; 0 leaves it to torch."""
    seed: Annotated[int, MAIN, NOT_LEARNT, AtLeast(0)] = 0
    """Seed of everything random."""
    information_every: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 0
    """Updates between two measurements of the information in the policy's weights, on a frozen
    probe of demonstrations; 0 for none."""
    track: Annotated[tuple[Tracker, ...], MAIN, MAY_CHANGE, NOT_LEARNT] = ()
    """Services that get the run's figures as well: "wandb", "mlflow"."""
    checkpoint_minutes: Annotated[float, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 5.0
    """Minutes between checkpoints; one is always written at the end."""
    evaluate: Annotated[tuple[str, ...], MAIN, NOT_LEARNT, Heading("Evaluation")] = (
        "val_seen",
        "unseen",
    )
    """Splits evaluated at the end; "unseen" is `held_out`, or `val_unseen` where there is one."""
    evaluate_every: Annotated[int, MAIN, NOT_LEARNT, AtLeast(0)] = 0
    """Updates of the policy (cloning and after) between two validations while training; 0: none.
    The weights that validate best are kept beside the last (`irl evaluate --checkpoint best`)."""
    validation: Annotated[str, NOT_LEARNT] = "val_seen"
    """The split of those validations. Do not report figures of the split that chose the weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extra_demonstrations and self.env != "graph":
            raise ValueError("extra_demonstrations are for navigation graphs: env is continuous")
        camera = self.simulation.camera
        if self.env == "continuous" and (camera.width != camera.height or camera.height % 16):
            raise ValueError(
                "the agent's image encoder needs square images of a multiple of 16 pixels: "
                f"simulation.camera is {camera.width} x {camera.height}"
            )
        if self.network.completed_mask:
            if self.env != "continuous" or self.method != "gcbc":
                raise ValueError(
                    'network.completed_mask needs env "continuous" and method "gcbc", got '
                    f"{self.env!r} and {self.method!r}"
                )
            if (
                not (camera.colour and camera.depth and camera.semantic)
                or camera.pitch
                or camera.roll
            ):
                raise ValueError(
                    "network.completed_mask needs a level camera with colour, depth and semantic "
                    "sensors: simulation.camera lacks one, or has a pitch or a roll"
                )
        if self.method == "forcing" and self.env != "graph":
            raise ValueError('method "forcing" needs shortest-path labels: env must be "graph"')
        if self.reward_from and (self.method != "langgoal" or self.env != "graph"):
            raise ValueError(
                f'reward_from needs method "langgoal" and env "graph", got {self.method!r} and '
                f"{self.env!r}"
            )
        if self.reward_from and self.start_from:
            raise ValueError("reward_from trains a policy from scratch: leave start_from out")
        if self.fewest_runners > self.runners:
            raise ValueError(
                f"fewest_runners is {self.fewest_runners}, but runners is {self.runners}: it is "
                "how many of them must be there at first"
            )
        if self.staleness and not self.runners:
            raise ValueError(
                f"staleness is {self.staleness}, but runners is 0: nothing rolls out beside the "
                "learner; ask for runners, or set staleness to 0"
            )
        if 0 < self.staleness < self.updates_per_iteration:
            raise ValueError(
                f"staleness is {self.staleness}, but a round that is rolled out beside an "
                f"iteration is updates_per_iteration = {self.updates_per_iteration} updates "
                "behind: allow as many, or set staleness to 0"
            )
        self._check_learners()

    def _check_learners(self) -> None:
        """Raises ValueError where several learners would not learn what one does."""
        if self.learners < 2:
            return
        sizes = {
            "batch": self.batch, "positives": self.positives, "negatives": self.negatives,
            "generator.batch": self.generator.batch,
        }  # fmt: skip
        for name, size in sizes.items():
            if size < self.learners:
                raise ValueError(
                    f"learners is {self.learners}, but {name} is {size}: each learner needs a pair "
                    "of every kind; ask for fewer learners or larger batches"
                )
        if self.method == "completion" and self.likeliest_left_out:
            raise ValueError(
                f'learners is {self.learners}, but method "completion" leaves out the best of a '
                "whole batch: set learners to 1 or 0, or likeliest_left_out to 0 (now "
                f"{self.likeliest_left_out:g})"
            )
        circuit = self.network.circuit
        if (
            self.network.trunk == "circuit-conditioned"
            and circuit.prior != "none"
            and circuit.prior_weight
        ):
            raise ValueError(
                f"learners is {self.learners}, but the prior of conditioned circuits is matched to "
                "the wiring of a whole batch: set learners to 1 or 0, or network.circuit.prior to "
                "none"
            )

    @property
    def step_limit(self) -> int:
        """Actions of an episode at most."""
        return self.max_steps if self.env == "graph" else self.max_walk

    @property
    def cloning_first(self) -> int:
        """Updates of cloning before the method's own."""
        if self.reward_from or (self.adversarial and not self.warm_start):
            return 0
        return self.clone_updates
