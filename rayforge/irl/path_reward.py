"""The reward that plans: a number for a whole path under an instruction, R(tau, G).

Maximum-entropy inverse reinforcement learning in its plainest form (Ziebart et al. 2008): among the
paths from a start, P(tau | G) is proportional to exp R(tau, G), and R is trained by the likelihood
of what people meant. On a map the paths can be enumerated, so the partition function is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rayforge.irl.config import NetworkConfig
from rayforge.irl.networks import Policy, log_policy
from rayforge.paths.observation import Observation
from rayforge.paths.tree import TreeBatch

Form = Literal["maxent", "classifier", "completion"]


@dataclass(frozen=True)
class Recalled:
    """What a network makes of G trees of N states before it reads an instruction.

    A building's trees are recalled once; scoring an instruction is then reading alone.
    """

    history: Tensor  # [G, N, H]
    embedded: Tensor  # [M, H], candidates of all states
    place: Tensor  # int64 [M], their places in [G, N, A]
    legal: Tensor  # bool [G, N, A]

    @classmethod
    def of(cls, network: Policy, trees: TreeBatch, seen: Observation) -> Recalled:
        return cls(
            network.trunk.recall(seen, trees.levels), network.scorer.embedded(seen), seen.place,
            seen.legal,
        )  # fmt: skip

    def split(self, sizes: Sequence[int]) -> list[Recalled]:
        """Each tree by itself, without its padding; `sizes` are the numbers of states."""
        _, size, actions = self.legal.shape
        group = self.place // (size * actions)
        counts = torch.bincount(group, minlength=len(sizes)).tolist()
        order = group.argsort(stable=True)
        parts = zip(
            sizes, self.embedded[order].split(counts),
            (self.place[order] % (size * actions)).split(counts), strict=True,
        )  # fmt: skip
        return [
            Recalled(self.history[k : k + 1, :n], embedded, place, self.legal[k : k + 1, :n])
            for k, (n, embedded, place) in enumerate(parts)
        ]

    @classmethod
    def join(cls, parts: Sequence[Recalled]) -> Recalled:
        """Trees side by side, padded to the largest."""
        history = pad_sequence([part.history[0] for part in parts], batch_first=True)
        legal = pad_sequence([part.legal[0] for part in parts], batch_first=True)
        legal[..., 0] = True  # padding states have STOP alone
        each = legal.shape[1] * legal.shape[2]
        place = torch.cat([part.place + k * each for k, part in enumerate(parts)])
        return cls(history, torch.cat([part.embedded for part in parts]), place, legal)


def read_trees(
    network: Policy, recalled: Recalled, trees: TreeBatch, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores [G, N, A] (0 where not legal) and codes [G, N, H] of the states of trees under an
    instruction each, tokens int64 [G, N]."""
    instructions = network.instruction_encoder(tokens)
    codes = network.trunk.read_tree(recalled.history, instructions, trees.levels)
    actions = recalled.legal.shape[-1]
    return network.scorer.compare(codes, recalled.embedded, recalled.place, actions), codes


def tree_log_policy(policy: Policy, recalled: Recalled, trees: TreeBatch, tokens: Tensor) -> Tensor:
    """log pi(tau | G) [G, C] of the paths of G trees under an instruction each."""
    scores, _ = read_trees(policy, recalled, trees, tokens)
    return trees.along(log_policy(scores, recalled.legal)).sum(-1)


class PathReward(nn.Module):
    """R(tau, G), with an encoder of instructions and a trunk of its own.

    "maxent": R = sum_t [log-softmax(scores)(s_t, a_t) + v(s_t)], which any sum over steps can be
    written as; begun from a policy it is log pi(tau | G), so that learning starts from what the
    policy knows. "classifier": R = sum_t d_t with d_t = score(s_t, a_t) + v(s_t), the log-odds of a
    step being the expert's; begun from a policy it sees and reads alike, and d is 0. "completion":
    R = d at the STOP, whether the path fulfils the instruction.
    """

    def __init__(
        self, vocabulary: int, dimension: int, config: NetworkConfig, form: Form = "maxent"
    ) -> None:
        super().__init__()
        self.form = form
        self.network = Policy(vocabulary, dimension, config)
        self.value = nn.Linear(config.hidden, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    @torch.no_grad()
    def start_from(self, policy: Policy) -> None:
        """Take over a policy's weights; nothing is shared with it afterwards."""
        self.network.load_state_dict(policy.state_dict())
        if self.form != "maxent":
            nn.init.zeros_(self.network.scorer.query.weight)
            nn.init.zeros_(self.network.scorer.query.bias)

    def recall(self, trees: TreeBatch, seen: Observation) -> Recalled:
        return Recalled.of(self.network, trees, self.network.hide(seen))

    def steps(self, recalled: Recalled, trees: TreeBatch, tokens: Tensor) -> Tensor:
        """The reward of each step of the paths of G trees under an instruction each, [G, C, T]."""
        values, codes = read_trees(self.network, recalled, trees, tokens)
        if self.form == "maxent":
            values = log_policy(values, recalled.legal)
        return trees.along(values + self.value(codes))

    def forward(self, recalled: Recalled, trees: TreeBatch, tokens: Tensor) -> Tensor:
        """R [G, C] of the paths of G trees under an instruction each, tokens int64 [G, N]."""
        steps = self.steps(recalled, trees, tokens)
        if self.form == "completion":
            last = trees.real.sum(-1, keepdim=True) - 1
            return steps.gather(-1, last.clamp(min=0))[..., 0]
        return steps.sum(-1)
