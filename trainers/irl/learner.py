"""One update of LangGoalIRL. The mathematics is in `rayforge.irl.losses`; here it is fed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import Tensor

from rayforge.errors import DivergedError
from rayforge.goals.generator import free_bits
from rayforge.irl import losses
from rayforge.language.encoder import Sentences
from rayforge.paths.observation import Observation
from rayforge.paths.sights import Sights
from rayforge.paths.walk_observation import WalkObserver
from rayforge.settings import value_of
from trainers.irl.config import IRLConfig
from trainers.irl.module import AgentModule


class Role(IntFlag):
    """What a pair of path and sentence is used for in an update (column `role` of a batch)."""

    DESCRIBE = 1  # the goal generator learns to write the sentence
    CLONE = 2  # the policy imitates the path
    POSITIVE = 4  # the discriminator takes it as the expert's
    NEGATIVE = 8  # the discriminator takes it as not the expert's
    REINFORCE = 16  # the critics learn from it under the current reward
    IMPROVE = 32  # the policy learns from the critics in its states


class AgentLearner(TorchLearner):
    """Four optimisers over disjoint parameters, so that one backward pass serves all losses."""

    def build(self) -> None:
        super().build()
        # RLlib asks for deterministic algorithms, which fills all memory with NaN before its use:
        # a twentieth of an update.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self._agent.attach(self.config.world.get())

    @property
    def _agent(self) -> AgentModule:
        return next(iter(self.module.values())).unwrapped()

    def configure_optimizers_for_module(
        self, module_id: str, config: AlgorithmConfig | None = None
    ) -> None:
        module, irl = self._agent, self.config.irl
        groups: dict[str, tuple[list[Any], str]] = {
            "policy": (list(module.policy.parameters()), "learning_rate")
        }
        if module.generator is not None:
            parameters = list(module.generator.parameters())
            groups["generator"] = (parameters, "generator.learning_rate")
        if irl.adversarial and not irl.reward_from:
            groups["reward"] = (list(module.reward.parameters()), "reward_learning_rate")
        if irl.adversarial:
            groups["critics"] = (list(module.critics.parameters()), "critic_learning_rate")
            groups["temperature"] = ([module.log_temperature], "critic_learning_rate")
        self._groups = groups
        for name, (parameters, setting) in groups.items():
            optimizer = torch.optim.Adam(parameters, lr=value_of(irl, setting), fused=True)
            self.register_optimizer(
                module_id=module_id, optimizer_name=name, optimizer=optimizer, params=parameters
            )

    def set_learning_rate(self, name: str, rate: float) -> None:
        """Step size of the optimiser of that name (policy, generator, ...) from now on."""
        (module_id,) = self.module.keys()
        self._set_optimizer_lr(self.get_optimizer(module_id, name), rate)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore networks and optimisers; step sizes are those of the configuration.

        The state of an optimiser holds the step size that it was saved with.
        """
        super().set_state(state)
        for name, (_, setting) in self._groups.items():
            self.set_learning_rate(name, value_of(self.config.irl, setting))

    def start_from_policy(self) -> None:
        self._agent.start_from_policy()

    def take_over(self, weights: dict[str, np.ndarray], parts: tuple[str, ...]) -> None:
        """Load the networks named by `parts` from the weights of another run's module."""
        for part in parts:
            first = f"{part}."
            own = {k[len(first) :]: torch.from_numpy(v) for k, v in weights.items()
                   if k.startswith(first)}  # fmt: skip
            getattr(self._agent, part).load_state_dict(own)

    def take_reward(self, weights: dict[str, np.ndarray]) -> None:
        """Take over another run's reward and the reading that goes with it; both stay as they are.

        Critics, which read the same codes of the sentences, start from random weights.
        """
        renamed = {
            k.replace("policy.sentence.", "reward_sentence.", 1): v for k, v in weights.items()
        }
        self.take_over(renamed, ("reward", "reward_sentence"))
        for network in (self._agent.reward, self._agent.reward_sentence):
            assert network is not None
            network.requires_grad_(False)

    def show(self, sights: Sights) -> None:
        """Take the images of roll-outs to come; shared, since the learner is in this process."""
        observer = self._agent.observer
        assert isinstance(observer, WalkObserver)
        observer.sights = sights

    def _diverged(self, what: str) -> DivergedError:
        """Names the step sizes of the networks that are no longer finite, else all of them."""
        irl = self.config.irl
        broken = {
            setting
            for parameters, setting in self._groups.values()
            if not all(bool(p.isfinite().all()) for p in parameters)
        } or {setting for _, setting in self._groups.values()}
        if "learning_rate" in broken and irl.rolls_out:
            broken |= {"policy_learning_rate"}  # the policy's after its cloning
        rates = ", ".join(f"{name} (now {value_of(irl, name):g})" for name in sorted(broken))
        return DivergedError(f"training diverged: {what}; lower {rates}")

    def compute_gradients(
        self, loss_per_module: dict[str, Tensor], **kwargs: Any
    ) -> dict[Any, Tensor]:
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        torch.stack(list(loss_per_module.values())).sum().backward()
        limit = self.config.irl.gradient_norm
        norms = {
            name: torch.nn.utils.clip_grad_norm_(parameters, limit)
            for name, (parameters, _) in self._groups.items()
            if any(p.grad is not None for p in parameters)
        }
        # In place of RLlib's look at every gradient, twice.
        if not bool(torch.stack(list(norms.values())).isfinite().all()):
            values = {name: float(norm) for name, norm in norms.items()}
            raise self._diverged(f"the norms of the gradients are {values}")
        # Networks that had no part in this update have no gradient, and their Adam does not move.
        return {ref: p.grad for ref, p in self._params.items() if p.grad is not None}

    def compute_loss_for_module(
        self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Tensor], fwd_out: Any
    ) -> Tensor:
        module, irl = self._agent, self.config.irl
        # Networks run over neighbours of like length.
        order = batch["length"].argsort(stable=True)
        batch = {name: column.index_select(0, order) for name, column in batch.items()}
        role = batch["role"]
        present = Role(0)
        for number in role.unique().tolist():
            present |= Role(number)
        figures: dict[str, Tensor] = {}
        if Role.DESCRIBE in present:
            total = self._describe(module, batch, figures)
        else:
            total = self._act(module, irl, batch, present, figures)
        loss, *numbers = torch.stack([total, *figures.values()]).detach().tolist()
        values = dict(zip(figures, numbers, strict=True))
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} in an update for {present!r} ({values})")
        self.metrics.log_dict(values, key=module_id, window=1)
        return total

    def _describe(
        self, module: AgentModule, batch: dict[str, Tensor], figures: dict[str, Tensor]
    ) -> Tensor:
        """L_omega: reconstruction plus the ramped KL term with its free bits."""
        assert module.generator is not None
        seen = module.observe(batch, module.generator.eye)
        nats, kl, words = module.generator.loss(
            seen, batch["action"], batch["length"], batch["tokens"]
        )
        figures["generator/perplexity"] = (nats / words).exp()
        figures["generator/kl"] = kl.sum()
        charged = free_bits(kl, module.generator.config.free_nats)
        return (nats + batch["kl_weight"][0] * charged) / words

    def _act(
        self,
        module: AgentModule,
        irl: IRLConfig,
        batch: dict[str, Tensor],
        present: Role,
        figures: dict[str, Tensor],
    ) -> Tensor:
        """L_clone, and in adversarial updates L_D + L_Q + L_pi + L_alpha.

        Every network reads the pairs that its loss is about, and no others.
        """
        # Every image is encoded once. Adversarial updates leave the eye as cloning made it; where
        # nothing was cloned, the policy's losses teach it, and never those of other networks.
        cloning = not present & (Role.POSITIVE | Role.REINFORCE)
        with torch.set_grad_enabled(cloning or not irl.warm_start):
            seen = module.observe(batch, module.policy.eye)
        pairs = _Pairs(seen, batch)

        # pi as it learns, with dropout.
        learning = pairs.having(Role.CLONE | Role.IMPROVE)
        clone = policy = torch.zeros((), device=batch["role"].device)
        if len(learning):
            sentences = module.policy.sentence(learning.tokens)
            log_pi = module.policy(learning.seen, sentences, learning.length)
            imitated = learning.weight(Role.CLONE)
            imitated = imitated * losses.inflections(learning.target, irl.inflection_weight)
            clone = losses.cloning_loss(learning.targeted(log_pi), imitated)
        figures["clone/loss"] = clone
        if cloning:
            return clone

        # pi as it acts, without dropout: what the discriminator and the soft values refer to. Its
        # codes of the sentences serve every other network.
        judged = pairs.having(Role.POSITIVE | Role.NEGATIVE | Role.REINFORCE).detach()
        with torch.no_grad():
            module.policy.eval()
            sentences = module.policy.sentence(judged.tokens)
            acting = module.policy(judged.seen, sentences, judged.length)
            if module.reward_sentence is not None:
                sentences = module.reward_sentence(judged.tokens)
            module.policy.train()
        temperature = module.log_temperature.exp().detach()
        positive, negative = judged.weight(Role.POSITIVE), judged.weight(Role.NEGATIVE)
        f = module.reward(judged.seen, sentences, judged.length, judged.action)
        if irl.method == "langgoal":
            logit = losses.discriminator_logit(f, judged.taken(acting))
        elif irl.method == "gail":
            logit, f = f, losses.plain_reward(f, judged.taken(acting), temperature)
        else:  # "completion" is asked about at the STOP
            logit, f = f, losses.completion_reward(f, judged.last)
            f = losses.plain_reward(f, judged.taken(acting), temperature)
            positive, negative = positive * judged.last, negative * judged.last
            told = negative * judged.weight(Role.REINFORCE)
            negative = negative - told + losses.without_likeliest(logit, told, irl.spared)
        discriminator = losses.discriminator_loss(logit, positive, negative, irl.label_smoothing)

        # Critics: y = f + gamma V'(s'), V' from the targets; STOP ends an episode.
        rows = judged.rows(Role.REINFORCE)
        valued, read = judged.take(rows), Sentences(*(part[rows] for part in sentences))
        reinforce, legal, pi_acts = valued.weight(Role.REINFORCE), valued.seen.legal, acting[rows]
        q, _ = module.critics(valued.seen, read, valued.length)
        with torch.no_grad():
            module.targets.eval()
            q_target, _ = module.targets(valued.seen, read, valued.length)
            value = losses.soft_value(q_target.amin(0), pi_acts, legal, temperature)
            following = torch.zeros_like(value)
            following[:, :-1] = value[:, 1:]
            y = losses.critic_target(f[rows], following, valued.last, irl.gamma)
        q_taken = torch.stack([valued.taken(values) for values in q])
        critic = losses.critic_loss(q_taken, y, reinforce)

        # pi improves where it is told to: the same pairs in the same order, of both passes.
        if Role.IMPROVE in present:
            own, valued_rows = learning.rows(Role.IMPROVE), valued.rows(Role.IMPROVE)
            policy = losses.policy_loss(
                log_pi[own], q.detach().amin(0)[valued_rows], legal[valued_rows], temperature,
                learning.weight(Role.IMPROVE)[own],
            )  # fmt: skip
        total = (
            discriminator
            + critic
            + irl.reinforcement_weight * policy
            + irl.imitation_weight * clone
        )
        if irl.entropy_target > 0:
            total = total + losses.temperature_loss(
                module.log_temperature, pi_acts, legal, irl.entropy_target, reinforce
            )
        with torch.no_grad():
            right = (
                losses.mean((logit > 0).float(), positive),
                losses.mean((logit < 0).float(), negative),
            )
            figures |= {
                "discriminator/loss": discriminator,
                "discriminator/accuracy": (right[0] + right[1]) / 2,
                "discriminator/on_positives": right[0],
                "discriminator/on_negatives": right[1],
                "reward/positive": losses.mean(f, positive),
                "reward/negative": losses.mean(f, negative),
                "critic/loss": critic,
                "critic/value": losses.mean(value, reinforce),
                "policy/loss": policy,
                "policy/entropy": losses.mean(losses.entropy(pi_acts, legal), reinforce),
                "policy/temperature": temperature,
            }
        return total

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        module = self._agent
        if self.config.irl.adversarial:
            with torch.no_grad():
                for target, source in zip(
                    module.targets.parameters(), module.critics.parameters(), strict=True
                ):
                    target.lerp_(source, self.config.irl.polyak)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of an update, and what is seen along their paths."""

    seen: Observation
    columns: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.length)

    @property
    def tokens(self) -> Tensor:
        return self.columns["tokens"]

    @property
    def length(self) -> Tensor:
        return self.columns["length"]

    @property
    def action(self) -> Tensor:
        return self.columns["action"]

    def rows(self, flags: Role) -> Tensor:
        """Which of them have one of the roles, int64 [n]."""
        return ((self.columns["role"] & flags) > 0).nonzero().squeeze(1)

    def take(self, rows: Tensor) -> _Pairs:
        if len(rows) == len(self):
            return self
        columns = {name: column.index_select(0, rows) for name, column in self.columns.items()}
        return _Pairs(self.seen.take(rows), columns)

    def having(self, flags: Role) -> _Pairs:
        return self.take(self.rows(flags))

    def detach(self) -> _Pairs:
        return _Pairs(self.seen.detach(), self.columns)

    def weight(self, flag: Role) -> Tensor:
        """1 in the steps of those with the role, else 0, [B, T]."""
        steps = torch.arange(self.action.shape[1], device=self.action.device)
        has = (self.columns["role"] & flag) > 0
        return ((steps < self.length[:, None]) & has[:, None]).float()

    @property
    def last(self) -> Tensor:
        """1 in the last step of each, [B, T]."""
        steps = torch.arange(self.action.shape[1], device=self.action.device)
        return (steps == self.length[:, None] - 1).float()

    def taken(self, values: Tensor) -> Tensor:
        """[B, T, A] -> of the actions taken, [B, T]."""
        return values.gather(-1, self.action[..., None]).squeeze(-1)

    @property
    def target(self) -> Tensor:
        """What is imitated, [B, T]: what was done, unless a teacher says what should have been."""
        return self.columns.get("target", self.action)

    def targeted(self, values: Tensor) -> Tensor:
        """[B, T, A] -> of the actions to imitate, [B, T]."""
        return values.gather(-1, self.target[..., None]).squeeze(-1)


def cosine(rate: float, done: int, total: int) -> float:
    """A step size that falls from `rate` to a tenth of it over `total` updates along a cosine,
    after a short rise: a twentieth of the updates, fifty at most."""
    rise = min(1.0, (done + 1) / max(1, min(50, total // 20)))
    progress = min(1.0, done / max(1, total))
    return rate * rise * (0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * progress)))
