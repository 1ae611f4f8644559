"""The small policy that `speed` gives to every runner: the same layers on either observation.

Instructions are means of word vectors; there is no recurrence and no attention, so that what is
measured is mostly what the runners do around a policy.
"""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from envs.graph_env import GEOMETRY as ENVIRONMENT_GEOMETRY
from rayforge.irl.agent import Agent
from rayforge.irl.networks import log_policy
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import Instructions
from rayforge.language.vocabulary import PAD
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation
from trainers.irl.learner import AgentModule

HIDDEN = 32
"""Size of word vectors and layers alike."""


class Layers(nn.Module):
    """Words and look to a code, candidates to embeddings of the same size."""

    def __init__(self, sizes: dict[str, Any], geometry: int) -> None:
        super().__init__()
        vocabulary, dimension = sizes["vocabulary"], sizes["dimension"]
        self.words = nn.EmbeddingBag(vocabulary, HIDDEN, mode="mean", padding_idx=PAD)
        self.look = nn.Linear(SECTORS * dimension + HIDDEN, HIDDEN)
        self.query = nn.Linear(HIDDEN, HIDDEN)
        self.embed = nn.Linear(dimension + geometry, HIDDEN)

    def code(self, look: Tensor, words: Tensor) -> Tensor:
        query: Tensor = self.query(self.look(torch.cat([look, words], -1)).relu()).tanh()
        return query


class SmallPolicy(nn.Module):
    """As `rayforge.irl.networks.Policy` is used by `roll_out`."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.layers = Layers(sizes, GEOMETRY)

    def instruction_encoder(self, tokens: Tensor) -> Instructions:
        return Instructions(self.layers.words(tokens)[:, None], tokens[:, :1] != PAD)

    def step(
        self, seen: Observation, instructions: Instructions, memory: Memory | None
    ) -> tuple[Tensor, Memory]:
        batch, steps, actions = seen.legal.shape
        codes = self.layers.code(seen.state[:, 0], instructions.codes[:, 0])
        candidates = self.layers.embed(seen.candidates).relu()
        scores = codes.new_zeros(batch * actions)
        scores[seen.place] = (codes[seen.place // actions] * candidates).sum(-1)
        return log_policy(scores.view(batch, steps, actions), seen.legal), ()


class SmallAgent(Agent):
    """The small policy in place of the agent's."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        nn.Module.__init__(self)
        self.config = sizes["config"]
        self.policy = SmallPolicy(sizes)  # type: ignore[assignment]
        self.generator = None


class SmallModule(AgentModule):
    """The small agent as our runner's module."""

    def setup(self) -> None:
        self.agent = SmallAgent(self.model_config)


class SmallRLModule(TorchRLModule):
    """The small policy as the module of RLlib's runner, on the environment's observations."""

    def setup(self) -> None:
        self.layers = Layers(self.model_config, geometry=ENVIRONMENT_GEOMETRY)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        seen = batch[Columns.OBS]
        words = self.layers.words(seen["tokens"].long())
        codes = self.layers.code(seen["sectors"].flatten(1), words)
        candidates = self.layers.embed(seen["candidates"]).relu()
        scores = (codes[:, None] * candidates).sum(-1)
        return {Columns.ACTION_DIST_INPUTS: scores.masked_fill(seen["mask"] == 0, -1e9)}
