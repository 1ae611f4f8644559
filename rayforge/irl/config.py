"""What an agent is made of and how it learns (apart from networks: reading it needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from rayforge.circuits.config import CircuitConfig
from rayforge.goals.config import GeneratorConfig
from rayforge.settings import (
    FOLDER,
    MAIN,
    SHARE,
    UNDER_WAY,
    Above,
    AtLeast,
    Formerly,
    Heading,
    Within,
    check_limits,
)


@dataclass(frozen=True)
class NetworkConfig:
    """Trunk and sizes of every network of an agent."""

    trunk: Literal["lstm", "transformer", "circuit", "circuit-conditioned"] = "lstm"
    """What reads instruction and history. "lstm": recurrent. "transformer": causal attention over
    the states so far. "circuit": sparsely wired modules. "circuit-conditioned": the same, and each
    instruction makes the modules and their wiring. All have as many parameters as the first."""
    word: Annotated[int, AtLeast(1)] = 128
    """Size of word vectors."""
    hidden: Annotated[int, AtLeast(2)] = 256
    """Size of the recurrent states and of the candidate embeddings."""
    dropout: Annotated[float, Within(0, 1, "[)")] = 0.3
    """Share of activations dropped while training."""
    feature_dropout: Annotated[float, Within(0, 1, "[)")] = 0.4
    """Share of what is seen that is hidden while training, the same features along a path."""

    view: Annotated[int, AtLeast(1)] = 48
    """Numbers that say what each of an image's four strips shows (3-D scenes)."""
    completed_mask: Annotated[str, FOLDER] = ""
    """A run of `rayforge amodal train` whose network completes the mask of the object that the
    instruction names last: of each strip two of `view` say how much of it is seen and how much is
    there (3-D scenes, method "gcbc")."""
    circuit: CircuitConfig = field(default_factory=CircuitConfig)
    """Modules and wiring, where the trunk is a circuit."""

    def __post_init__(self) -> None:
        check_limits(self, "network.")
        if self.hidden % 2:
            raise ValueError(f"network.hidden must be even, got {self.hidden}")
        if self.completed_mask and self.view < 4:
            raise ValueError(f"network.completed_mask needs a view of 4 at least, got {self.view}")


class ImageShape(NamedTuple):
    """The images of an agent that sees through an image encoder."""

    size: int
    """Pixels of a side; images are square."""
    channels: int
    """Of colours and depth."""
    semantic: bool
    """Whether one further channel holds the numbers of categories."""


@dataclass(frozen=True)
class AgentConfig:
    """An agent's networks and its update: all that `Agent`, `Update` and `pairs_of_update` read."""

    method: Annotated[
        Literal["langgoal", "gcbc", "gail", "completion", "hindsight", "forcing"],
        MAIN,
        Heading("Method"),
    ] = "langgoal"
    """"langgoal": adversarial, with f - log pi as the discriminator's logit. "gcbc":
    goal-conditioned behaviour cloning for as many updates. "gail": a plain classifier of the
    expert's steps gives the reward, no goal generator. "completion": a classifier of "this path
    fulfils this instruction" gives it at STOP. "hindsight": cloning of demonstrations and of
    roll-outs with generated instructions. "forcing": cloning of demonstrations and of shortest-path
    labels in the agent's own states (more supervision than the others; graphs alone)."""
    reward_from: Annotated[str, FOLDER] = ""
    """A run whose reward, frozen, is the only teacher: of the training episodes nothing but starts
    and instructions is read, and the policy starts from random weights (method "langgoal",
    graphs)."""
    warm_start: bool = True
    """Start policy, reward and critics from a cloned policy; without, from random weights."""
    augment: bool = True
    """Use rephrased instructions for expert paths."""
    relabel: bool = True
    """Use rolled-out paths with generated instructions as further positives."""
    mismatched_negatives: bool = True
    """Teach the discriminator that an expert path with another path's instruction is wrong."""
    potential_shaping: bool = False
    """Shape the reward: f = g + gamma h(s') - h(s)."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes of policy, reward and critics."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The goal generator."""
    max_words: Annotated[int, AtLeast(2), Heading("Update")] = 80
    """Longer instructions are cut there, and counted."""
    likeliest_left_out: Annotated[float, SHARE, Formerly("spared")] = 0.25
    """Share of the roll-outs that the completion classifier likes best, which are not taught to it
    as failures: some of them arrived."""
    positives: Annotated[int, AtLeast(1)] = 32
    """Expert pairs, and at most as many relabelled ones, in an adversarial update."""
    negatives: Annotated[int, AtLeast(1)] = 32
    """Rolled-out pairs in an adversarial update."""
    replay_window: Annotated[int, AtLeast(1), Formerly("recent")] = 2_048
    """Newest episodes that negatives are drawn from."""
    learning_rate: Annotated[float, MAIN, UNDER_WAY, Above(0)] = 2e-3
    """Adam's step size while cloning; falls along a cosine to a tenth."""
    policy_learning_rate: Annotated[float, UNDER_WAY, Above(0)] = 1e-4
    """Adam's step size of the policy in adversarial updates; falls likewise."""
    critic_learning_rate: Annotated[float, UNDER_WAY, Above(0)] = 2e-4
    """Adam's step size of the critics."""
    reward_learning_rate: Annotated[float, UNDER_WAY, Above(0)] = 2e-4
    """Adam's step size of the reward (the discriminator)."""
    gamma: Annotated[float, UNDER_WAY, SHARE] = 0.95
    """Discount a step."""
    temperature: Annotated[float, UNDER_WAY, Above(0)] = 1.0
    """Weight of the entropy. 1 is the maximum-entropy model's own: f = log pi is then a fixed point
    and the reward's offset does not decide how long episodes get."""
    entropy_target: Annotated[float, SHARE] = 0.0
    """If above 0, the temperature is learnt: entropy is held at this share of log |A(s)|."""
    inflection_weight: Annotated[float, UNDER_WAY, AtLeast(0)] = 1.0
    """How much more a step counts in imitation where the expert does something else than before;
    about 3 for low-level actions, which repeat themselves."""
    imitation_weight: Annotated[float, UNDER_WAY, AtLeast(0)] = 1.0
    """Weight of the cloning term that anchors the policy in adversarial updates."""
    reinforcement_weight: Annotated[float, UNDER_WAY, AtLeast(0)] = 1.0
    """Weight of the actor-critic term."""
    label_smoothing: Annotated[float, UNDER_WAY, Within(0, 0.5, "[)")] = 0.1
    """How far the discriminator's labels stand from 0 and 1."""
    polyak: Annotated[float, UNDER_WAY, SHARE] = 0.01
    """Share of the critics that flows into their targets each update."""
    gradient_norm: Annotated[float, UNDER_WAY, Above(0)] = 10.0
    """Gradients of each network are clipped to this norm."""

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def rolls_out(self) -> bool:
        """Whether the agent acts while it trains."""
        return self.method != "gcbc"

    @property
    def adversarial(self) -> bool:
        """Whether there are a reward and critics."""
        return self.method in ("langgoal", "gail", "completion")

    @property
    def rephrases(self) -> bool:
        """Whether expert paths are given rephrased instructions."""
        return self.method == "langgoal" and self.augment and not self.reward_from

    @property
    def labels(self) -> bool:
        """Whether roll-outs are given generated instructions."""
        return self.method == "hindsight" or (
            self.method == "langgoal" and self.relabel and not self.reward_from
        )

    @property
    def generates(self) -> bool:
        """Whether a goal generator is needed."""
        return self.rephrases or self.labels
