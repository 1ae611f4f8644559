"""The agent: policy, reward, critics, temperature and goal generator."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rayforge.goals.generator import GoalGenerator
from rayforge.irl.completion import FIGURES
from rayforge.irl.config import AgentConfig, ImageShape
from rayforge.irl.image_encoder import ImageEncoder
from rayforge.irl.networks import ActionValues, Classifier, Policy, Reward
from rayforge.language.encoder import InstructionEncoder
from rayforge.paths.observation import Observation


class Agent(nn.Module):
    """Everything that is learnt. One that only acts and describes holds policy and generator alone.

    `observer` turns states into what the networks read. It belongs to the data, is attached after
    building and never saved.
    """

    observer: Any  # an `Observer`, see rayforge.irl.world
    ACTING = ("policy", "generator")
    """Networks of an agent that only acts and describes."""

    def __init__(
        self,
        config: AgentConfig,
        vocabulary: int,
        dimension: int,
        images: ImageShape | None = None,
        acting_only: bool = False,
    ) -> None:
        """
        Args:
            config: sizes, method and losses.
            vocabulary: words that the agent reads, special ones included.
            dimension: D, features of a view; of images, those that the image encoder makes of a
                strip.
            images: what the agent sees through an image encoder; None where features are in tables.
            acting_only: build no reward and no critics.
        """
        super().__init__()
        self.config = config
        self._images = images
        self.policy = Policy(vocabulary, dimension, config.network, self._new_eye())
        self.generator: GoalGenerator | None = None
        if config.generates:
            self.generator = GoalGenerator(vocabulary, dimension, config.generator, self._new_eye())
        if config.adversarial and not acting_only:
            # No dropout where the policy is judged: dropped-out values are nearer to uniform than
            # what they were started from, and would teach the policy to hesitate. No links are
            # drawn there either.
            fixed = replace(config.network.circuit, sampled=False)
            steady = replace(config.network, dropout=0.0, circuit=fixed)
            self.reward: Reward | Classifier = (
                Reward(dimension, steady, config.potential_shaping, config.gamma)
                if config.method == "langgoal"
                else Classifier(dimension, steady)
            )
            # A frozen reward reads as it learnt to, whatever the new policy makes of words.
            self.reward_instruction_encoder: InstructionEncoder | None = None
            if config.reward_from:
                self.reward_instruction_encoder = InstructionEncoder(
                    vocabulary, config.network.word, config.network.hidden, 0.0
                )
            self.critics = ActionValues(dimension, steady, heads=2)
            self.targets = copy.deepcopy(self.critics).requires_grad_(False)
            self.log_temperature = nn.Parameter(torch.tensor(float(np.log(config.temperature))))

    def _new_eye(self) -> ImageEncoder | None:
        """What 3-D scenes are seen through; graphs have tables of features."""
        if self._images is None:
            return None
        size, channels, semantic = self._images
        network = self.config.network
        made = network.view - (FIGURES if network.completed_mask else 0)
        return ImageEncoder(size, made, channels, semantic)

    def attach(self, observer: Any) -> None:
        """Take what the data look states up in, to the device of the weights."""
        self.observer = observer.to(next(self.parameters()).device)

    def observe(
        self, batch: dict[str, Tensor], image_encoder: nn.Module | None = None
    ) -> Observation:
        """What is seen along the trajectories of a batch, images through `image_encoder`."""
        seen: Observation = self.observer.observe_batch(batch, image_encoder)
        return seen

    @property
    def temperature(self) -> Tensor:
        """Weight of the entropy, without gradient."""
        return self.log_temperature.exp().detach()

    @torch.no_grad()
    def reset_temperature(self) -> None:
        """Set the temperature to the configuration's, where that is not only where it starts."""
        if self.config.adversarial and not self.config.entropy_target:
            self.log_temperature.fill_(float(np.log(self.config.temperature)))

    @torch.no_grad()
    def start_from_policy(self) -> None:
        """Reward and critics take over the cloned policy: f = Q = log pi, the equilibrium (of
        baselines: a reward of 0 and Q = log pi, which is theirs)."""
        self.reward.start_from(self.policy)
        self.critics.start_from(self.policy)
        # Twins that begin equal stay equal; a little noise tells them apart.
        for parameter in self.critics.scorers[1].parameters():
            parameter.add_(0.02 * parameter.std(unbiased=False) * torch.randn_like(parameter))
        self.targets.load_state_dict(self.critics.state_dict())

    @torch.no_grad()
    def move_targets(self) -> None:
        """targets <- targets + polyak (critics - targets)."""
        pairs = zip(self.targets.parameters(), self.critics.parameters(), strict=True)
        for target, source in pairs:
            target.lerp_(source, self.config.polyak)

    def take_over(self, weights: Mapping[str, np.ndarray], parts: tuple[str, ...]) -> None:
        """Load the networks named by `parts` from the weights of another agent."""
        for part in parts:
            first = f"{part}."
            own = {k[len(first) :]: torch.from_numpy(v) for k, v in weights.items()
                   if k.startswith(first)}  # fmt: skip
            getattr(self, part).load_state_dict(own)

    def take_reward(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take over another agent's reward and the reading that goes with it; both stay as they
        are. Critics, which read the same codes of the instructions, start from random weights."""
        renamed = {
            k.replace("policy.instruction_encoder.", "reward_instruction_encoder.", 1): v
            for k, v in weights.items()
        }
        self.take_over(renamed, ("reward", "reward_instruction_encoder"))
        for network in (self.reward, self.reward_instruction_encoder):
            assert network is not None
            network.requires_grad_(False)
