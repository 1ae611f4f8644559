"""The networks of LangGoalIRL: one trunk, three heads (policy, reward, twin critics).

Every network runs on a history code h_t of the states and actions so far and attends to the
instruction, as is usual in vision-and-language navigation (designed here after the speaker-follower
tradition; the paper's own sizes are not known to us). No network feeds its own output back into a
recurrence, so that a path that is already known is encoded in one fused call. The policy owns the
one encoder of instructions; reward and critics attend to its codes (words cost more than steps).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rayforge.irl.config import NetworkConfig
from rayforge.irl.trunks.making import Trunk, make_trunk
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import Dropout, InstructionEncoder, Instructions
from rayforge.paths.observation import GEOMETRY, FeatureDropout, Observation


class Scorer(nn.Module):
    """A score for every legal action: code and candidate, embedded and multiplied (bilinear)."""

    def __init__(self, dimension: int, config: NetworkConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(dimension + GEOMETRY, config.hidden)
        self.query = nn.Linear(config.hidden, config.hidden)
        self.dropout = Dropout(config.dropout)

    def forward(self, codes: Tensor, seen: Observation) -> Tensor:
        """Codes [B, T, H] -> scores [B, T, K + 1], 0 where an action is not legal."""
        return self.compare(codes, self.embedded(seen), seen.place, seen.legal.shape[-1])

    def embedded(self, seen: Observation) -> Tensor:
        """The candidates [M, H]: the same for every instruction."""
        found: Tensor = self.dropout(self.embed(seen.candidates).relu())
        return found

    def compare(self, codes: Tensor, embedded: Tensor, place: Tensor, actions: int) -> Tensor:
        """Scores of embedded candidates at their places in [B, T, actions]."""
        batch, steps = codes.shape[:2]
        queries = self.query(codes).flatten(0, 1)[place // actions]
        scores = codes.new_zeros(batch * steps * actions)
        scores = scores.index_copy(0, place, (queries * embedded).sum(-1))
        return scores.view(batch, steps, actions)


def log_policy(scores: Tensor, legal: Tensor) -> Tensor:
    """log pi(a|s) [..., A] of a softmax over the legal actions; 0 where an action is not legal.

    The zeros keep sums over actions free of 0 x -inf; multiply by probabilities that are 0 there.
    """
    log_pi = scores.masked_fill(~legal, -torch.inf).log_softmax(-1)
    return log_pi.masked_fill(~legal, 0.0)


def probabilities(log_pi: Tensor, legal: Tensor) -> Tensor:
    """pi(a|s) [..., A] from `log_policy`'s output; exactly 0 where an action is not legal."""
    return log_pi.exp() * legal


class Policy(nn.Module):
    """log pi(a | history, instruction) over the legal actions."""

    def __init__(
        self,
        vocabulary: int,
        dimension: int,
        config: NetworkConfig,
        image_encoder: nn.Module | None = None,
    ) -> None:
        """`image_encoder` encodes images, where there are any, for all networks; the policy owns
        it."""
        super().__init__()
        self.image_encoder = image_encoder
        self.instruction_encoder = InstructionEncoder(
            vocabulary, config.word, config.hidden, config.dropout
        )
        self.hide = FeatureDropout(config.feature_dropout)
        self.trunk = make_trunk(dimension, config)
        self.scorer = Scorer(dimension, config)

    def forward(self, seen: Observation, instructions: Instructions, lengths: Tensor) -> Tensor:
        """log pi [B, T, A] along whole paths, under instructions that `instruction` encoded."""
        seen = self.hide(seen)
        return log_policy(self.scorer(self.trunk(seen, instructions, lengths), seen), seen.legal)

    def step(
        self, seen: Observation, instructions: Instructions, memory: Memory | None
    ) -> tuple[Tensor, Memory]:
        codes, memory = self.trunk.step(seen, instructions, memory)
        return log_policy(self.scorer(codes, seen), seen.legal), memory


class ActionValues(nn.Module):
    """A number for each state and action, as log-softmax advantages plus a state's value.

    Any function of (state, action) can be written so. The reason for this form: started from a
    cloned policy with its value at zero, it equals log pi, and reward f = Q = log pi is a fixed
    point of the soft backup at temperature 1 (V = 0 everywhere) with the discriminator at one
    half. A warm start then begins at an equilibrium instead of unlearning the policy
    (designed here; see docs/langgoal.md).
    """

    def __init__(self, dimension: int, config: NetworkConfig, heads: int) -> None:
        super().__init__()
        self.trunk = make_trunk(dimension, config)
        self.scorers = nn.ModuleList(Scorer(dimension, config) for _ in range(heads))
        self.values = nn.Linear(config.hidden, heads)
        nn.init.zeros_(self.values.weight)
        nn.init.zeros_(self.values.bias)

    def forward(
        self, seen: Observation, instructions: Instructions, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Action values [heads, B, T, A] (0 where not legal) and the codes [B, T, H]."""
        codes = self.trunk(seen, instructions, lengths)
        values = self.values(codes)
        return torch.stack(
            [
                (log_policy(scorer(codes, seen), seen.legal) + values[..., head, None]) * seen.legal
                for head, scorer in enumerate(self.scorers)
            ]
        ), codes

    @torch.no_grad()
    def start_from(self, policy: Policy) -> None:
        """Take over a policy's weights, so that every head equals its log pi (values stay)."""
        self.trunk.load_state_dict(policy.trunk.state_dict())
        for scorer in self.scorers:
            scorer.load_state_dict(policy.scorer.state_dict())


class Reward(nn.Module):
    """f(history, action, instruction), optionally shaped: f = g + gamma h(s') - h(s).

    Shaping as in AIRL; the potential of the state after STOP is 0, since whatever it were there
    would be added to every path alike and say nothing.
    """

    def __init__(self, dimension: int, config: NetworkConfig, shaping: bool, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.values = ActionValues(dimension, config, heads=1)
        self.potential = nn.Linear(config.hidden, 1) if shaping else None
        if self.potential is not None:
            nn.init.zeros_(self.potential.weight)
            nn.init.zeros_(self.potential.bias)

    @property
    def trunk(self) -> Trunk:
        return self.values.trunk

    def start_from(self, policy: Policy) -> None:
        """f = log pi, whatever the potential."""
        self.values.start_from(policy)

    def forward(
        self, seen: Observation, instructions: Instructions, lengths: Tensor, action: Tensor
    ) -> Tensor:
        """f [B, T] of the actions taken, int64 [B, T]."""
        values, codes = self.values(seen, instructions, lengths)
        taken = values[0].gather(-1, action[..., None]).squeeze(-1)
        if self.potential is None:
            found: Tensor = taken
            return found
        potential = self.potential(codes).squeeze(-1)
        following = torch.zeros_like(potential)
        following[:, :-1] = potential[:, 1:]
        steps = torch.arange(action.shape[1], device=action.device)
        following = following * (steps + 1 < lengths[:, None])
        found = taken + self.gamma * following - potential
        return found


class Classifier(nn.Module):
    """d(history, action, instruction): log-odds of a yes, for baselines whose reward is a plain
    classifier's. Nothing in it is log pi, and at the start it says one half everywhere."""

    def __init__(self, dimension: int, config: NetworkConfig) -> None:
        super().__init__()
        self.trunk = make_trunk(dimension, config)
        self.scorer = Scorer(dimension, config)
        self.value = nn.Linear(config.hidden, 1)
        for layer in (self.scorer.query, self.value):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, seen: Observation, instructions: Instructions, lengths: Tensor, action: Tensor
    ) -> Tensor:
        """d [B, T] of the actions taken, int64 [B, T]."""
        codes = self.trunk(seen, instructions, lengths)
        scores = self.scorer(codes, seen).gather(-1, action[..., None])
        found: Tensor = (scores + self.value(codes)).squeeze(-1)
        return found

    @torch.no_grad()
    def start_from(self, policy: Policy) -> None:
        """Take over how a policy sees and reads; d stays 0."""
        self.trunk.load_state_dict(policy.trunk.state_dict())
        self.scorer.embed.load_state_dict(policy.scorer.embed.state_dict())
