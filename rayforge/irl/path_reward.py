"""The reward that plans: a number for a whole path under a sentence, R(tau, G).

Maximum-entropy inverse reinforcement learning in its plainest form (Ziebart et al. 2008): among the
paths from a start, P(tau | G) is proportional to exp R(tau, G), and R is trained by the likelihood
of what people meant. On a map the paths can be enumerated, so the partition function is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rayforge.irl.config import NetworkConfig
from rayforge.irl.networks import Policy, log_policy
from rayforge.paths.observation import Observation
from rayforge.paths.tree import TreeBatch


class PathReward(nn.Module):
    """R(tau, G) = sum_t log-softmax(scores)(s_t, a_t) + v(s_t), with an encoder of its own.

    Begun from a policy, R = log pi(tau | G): learning starts from what the policy knows.
    """

    def __init__(self, vocabulary: int, dimension: int, config: NetworkConfig) -> None:
        super().__init__()
        self.network = Policy(vocabulary, dimension, config)
        self.value = nn.Linear(config.hidden, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    @torch.no_grad()
    def start_from(self, policy: Policy) -> None:
        """R = log pi; nothing is shared with the policy afterwards."""
        self.network.load_state_dict(policy.state_dict())

    def forward(self, trees: TreeBatch, seen: Observation, tokens: Tensor) -> Tensor:
        """Rewards [G, C] of the paths of G trees under a sentence each, tokens int64 [G, N]."""
        network = self.network
        sentences = network.sentence(tokens)
        seen = network.hide(seen)
        codes = network.trunk.read_tree(
            network.trunk.recall(seen, trees.levels), sentences, trees.levels
        )
        values = log_policy(network.scorer(codes, seen), seen.legal) + self.value(codes)
        return trees.along(values).sum(-1)


def tree_log_policy(policy: Policy, trees: TreeBatch, seen: Observation, tokens: Tensor) -> Tensor:
    """log pi(tau | G) [G, C] of the paths of G trees under a sentence each."""
    sentences = policy.sentence(tokens)
    codes = policy.trunk.read_tree(
        policy.trunk.recall(policy.hide(seen), trees.levels), sentences, trees.levels
    )
    return trees.along(log_policy(policy.scorer(codes, seen), seen.legal)).sum(-1)
