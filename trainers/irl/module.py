"""The agent as one RLlib module: policy, critics, reward, temperature and goal generator."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from rayforge.goals.generator import GoalGenerator
from rayforge.irl.eye import Eye
from rayforge.irl.networks import ActionValues, Classifier, Policy, Reward
from rayforge.language.encoder import SentenceEncoder
from rayforge.paths.arrays import Padded
from rayforge.paths.observation import GraphObserver, Observation
from rayforge.paths.walk_observation import WalkObserver
from trainers.irl.config import IRLConfig
from trainers.irl.homes_task import HomesWorld
from trainers.irl.task import World


class AgentModule(TorchRLModule, InferenceOnlyAPI):
    """Everything that is learnt. Runners hold the policy and the generator alone.

    `observer` turns states into what the networks read. It belongs to the data, is set after
    building and never saved.
    """

    observer: GraphObserver | WalkObserver

    def setup(self) -> None:
        config: IRLConfig = self.model_config["config"]
        sizes = (self.model_config["vocabulary"], self.model_config["dimension"])
        self.irl = config
        self.policy = Policy(*sizes, config.network, self._new_eye())
        self.generator: GoalGenerator | None = None
        if config.generates:
            self.generator = GoalGenerator(*sizes, config.generator, self._new_eye())
        if config.adversarial and not self.inference_only:
            # No dropout where the policy is judged: dropped-out values are nearer to uniform than
            # what they were started from, and would teach the policy to hesitate.
            steady = replace(config.network, dropout=0.0)
            self.reward: Reward | Classifier = (
                Reward(sizes[1], steady, config.potential_shaping, config.gamma)
                if config.method == "langgoal"
                else Classifier(sizes[1], steady)
            )
            # A frozen reward reads as it learnt to, whatever the new policy makes of words.
            self.reward_sentence: SentenceEncoder | None = None
            if config.reward_from:
                self.reward_sentence = SentenceEncoder(
                    sizes[0], config.network.word, config.network.hidden, 0.0
                )
            self.critics = ActionValues(sizes[1], steady, heads=2)
            self.targets = copy.deepcopy(self.critics).requires_grad_(False)
            self.log_temperature = nn.Parameter(torch.tensor(float(np.log(config.temperature))))

    def _new_eye(self) -> Eye | None:
        """What 3-D scenes are seen through; graphs have tables of features."""
        if self.irl.env == "graph":
            return None
        camera = self.irl.simulation.camera
        channels = 3 * camera.colour + camera.depth
        return Eye(camera.height, self.irl.network.view, channels, camera.semantic)

    def attach(self, world: World | HomesWorld) -> None:
        """Take what the data look states up in, on the device of the weights."""
        self.observer = world.observer(self.irl).to(next(self.parameters()).device)

    def get_non_inference_attributes(self) -> list[str]:
        return ["reward", "reward_sentence", "critics", "targets", "log_temperature"]

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

    def observe(self, batch: dict[str, Tensor], eye: nn.Module | None = None) -> Observation:
        """What is seen along the paths of a batch, images through `eye`."""
        return self.observer.observe_batch(batch, eye)

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Any]:
        # The losses say which networks they need (an update of cloning needs the policy alone),
        # so the learner runs them.
        return {}


def path_batch(paths: Padded) -> dict[str, np.ndarray]:
    """Paths as the columns of a learner's batch without needless padding: what they hold in
    integers, as int64. (Poses are for the simulator and for scoring.)"""
    return {
        name: array.astype(np.int64)
        for name, array in paths.trimmed().arrays().items()
        if np.issubdtype(array.dtype, np.integer)
    }
