"""One update of the agent, as the numbered steps of docs/langgoal.md; equations are in `losses`.

    update = Update(agent)
    figures = update(batch)

RLlib's learner calls the same parts one by one (`loss_of`, `Update.backward`, the optimisers,
`Agent.move_targets`); nothing here knows of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rayforge.errors import DivergedError
from rayforge.goals.generator import free_bits
from rayforge.irl import losses
from rayforge.irl.agent import Agent
from rayforge.irl.config import AgentConfig
from rayforge.irl.data_parallel import average_gradients, pooled
from rayforge.irl.pairs import Pairs, Role
from rayforge.language.encoder import Instructions
from rayforge.settings import value_of

Loss = tuple[Tensor, dict[str, Tensor]]
"""What is minimised, and figures of it by name."""


class Update:
    """Optimisers over disjoint parameters, so that one backward pass serves all losses."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.parameters = {name: parameters for name, (parameters, _) in _groups(agent).items()}
        rates = self.learning_rates()
        self.optimizers = {
            name: torch.optim.Adam(parameters, lr=rates[name], fused=True)
            for name, parameters in self.parameters.items()
        }

    def learning_rates(self) -> dict[str, float]:
        """Step size of each optimiser as the configuration has it."""
        groups, config = _groups(self.agent), self.agent.config
        return {name: value_of(config, setting) for name, (_, setting) in groups.items()}

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Make one update with a batch of pairs (`pair_batch`); returns its figures.

        Raises DivergedError where the loss or a gradient is not finite.
        """
        loss, figures = loss_of(self.agent, batch)
        self.backward(loss)
        for optimizer in self.optimizers.values():
            optimizer.step()
        if self.agent.config.adversarial:
            self.agent.move_targets()
        return figures

    def backward(self, loss: Tensor) -> None:
        """Gradients of each network, averaged over the learners, clipped to the configured norm.

        Networks that had no part in the loss have none, and their Adam does not move.
        Raises DivergedError where one is not finite.
        """
        for parameters in self.parameters.values():
            for parameter in parameters:
                parameter.grad = None
        loss.backward()
        average_gradients([p for parameters in self.parameters.values() for p in parameters])
        norms = {
            name: nn.utils.clip_grad_norm_(parameters, self.agent.config.gradient_norm)
            for name, parameters in self.parameters.items()
            if any(p.grad is not None for p in parameters)
        }
        if not bool(torch.stack(list(norms.values())).isfinite().all()):
            values = {name: float(norm) for name, norm in norms.items()}
            raise _diverged(self.agent, f"the norms of the gradients are {values}")


def _groups(agent: Agent) -> dict[str, tuple[list[nn.Parameter], str]]:
    """What each optimiser moves, and the setting of its step size; a frozen reward is moved by
    none."""
    config = agent.config
    groups = {"policy": (list(agent.policy.parameters()), "learning_rate")}
    if agent.generator is not None:
        groups["generator"] = (list(agent.generator.parameters()), "generator.learning_rate")
    if config.adversarial and not config.reward_from:
        groups["reward"] = (list(agent.reward.parameters()), "reward_learning_rate")
    if config.adversarial:
        groups["critics"] = (list(agent.critics.parameters()), "critic_learning_rate")
        groups["temperature"] = ([agent.log_temperature], "critic_learning_rate")
    return groups


def _diverged(agent: Agent, what: str) -> DivergedError:
    """Names the step sizes of the networks that are no longer finite, else all of them."""
    groups, config = _groups(agent), agent.config
    broken = {
        setting
        for parameters, setting in groups.values()
        if not all(bool(p.isfinite().all()) for p in parameters)
    } or {setting for _, setting in groups.values()}
    if "learning_rate" in broken and config.rolls_out:
        broken |= {"policy_learning_rate"}  # the policy's after its cloning
    rates = ", ".join(f"{name} (now {value_of(config, name):g})" for name in sorted(broken))
    return DivergedError(f"training diverged: {what}; lower {rates}")


def loss_of(agent: Agent, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch of pairs and its figures.

    Args:
        batch: the columns of the pairs; `role` says which of the three steps it is for, and
            `kl_weight` [B] what the goal generator's KL term weighs.

    Raises DivergedError where the loss is not finite.
    """
    # Networks run over neighbours of like length.
    order = batch["length"].argsort(stable=True)
    batch = {name: column.index_select(0, order) for name, column in batch.items()}
    roles = Role(0)
    for number in batch["role"].unique().tolist():
        roles |= Role(number)
    if Role.DESCRIBE in roles:
        loss, figures = generator_step(agent, batch)
    elif roles & (Role.POSITIVE | Role.REINFORCE):
        loss, figures = adversarial_step(agent, batch)
    else:
        loss, figures = cloning_step(agent, batch)
    total, *numbers = torch.stack([loss, *figures.values()]).detach().tolist()
    values = dict(zip(figures, numbers, strict=True))
    if not math.isfinite(total):
        raise _diverged(agent, f"the loss is {total} in an update for {roles!r} ({values})")
    return loss, values


def generator_step(agent: Agent, batch: dict[str, Tensor]) -> Loss:
    """L_omega: reconstruction plus the ramped KL term with its free bits."""
    generator = agent.generator
    assert generator is not None
    seen = agent.observe(batch, generator.image_encoder)
    means = generator.loss(seen, batch["action"], batch["length"], batch["tokens"])
    nats, kl, words = pooled(len(batch["length"]), *means)
    charged = free_bits(kl, generator.config.free_nats)
    figures = {"generator/perplexity": (nats / words).exp(), "generator/kl": kl.sum()}
    return (nats + batch["kl_weight"][0] * charged) / words, figures


def cloning_step(agent: Agent, batch: dict[str, Tensor]) -> Loss:
    """L_clone: the policy imitates every pair."""
    policy = agent.policy
    pairs = Pairs(agent.observe(batch, policy.image_encoder), batch).having(Role.CLONE)
    instructions = policy.instruction_encoder(pairs.tokens)
    loss = _cloning_loss(agent.config, pairs, policy(pairs.seen, instructions, pairs.length))
    return loss + policy.trunk.prior_loss(instructions), {"clone/loss": loss}


def adversarial_step(agent: Agent, batch: dict[str, Tensor]) -> Loss:
    """L_D + L_Q + L_pi + L_clone + L_alpha (and of circuits how far their wirings are from the
    prior); every network reads its own loss's pairs alone."""
    config, policy = agent.config, agent.policy
    # Every image is encoded once. The image encoder stays as cloning made it; where nothing was
    # cloned, the policy's losses teach it, and never those of other networks.
    with torch.set_grad_enabled(not config.warm_start):
        pairs = Pairs(agent.observe(batch, policy.image_encoder), batch)

    # The policy as it learns, with dropout.
    learning = pairs.having(Role.CLONE | Role.IMPROVE)
    cloning_loss = actor_loss = prior_loss = torch.zeros((), device=batch["role"].device)
    if len(learning):
        instructions = policy.instruction_encoder(learning.tokens)
        prior_loss = policy.trunk.prior_loss(instructions)
        log_pi_learning = policy(learning.seen, instructions, learning.length)
        cloning_loss = _cloning_loss(config, learning, log_pi_learning)

    # The policy as it acts, without dropout or gradient: what the discriminator and the soft values
    # refer to as log pi. Its codes of the instructions serve every other network.
    judged = pairs.having(Role.POSITIVE | Role.NEGATIVE | Role.REINFORCE).detach()
    with torch.no_grad():
        policy.eval()
        instructions = policy.instruction_encoder(judged.tokens)
        log_pi = policy(judged.seen, instructions, judged.length)
        if agent.reward_instruction_encoder is not None:
            instructions = agent.reward_instruction_encoder(judged.tokens)
        policy.train()
    temperature = agent.temperature

    # Discriminator, and the reward r that it gives.
    f = agent.reward(judged.seen, instructions, judged.length, judged.action)
    logit, r, positive, negative = _discriminate(config, judged, f, log_pi, temperature)
    smoothing = config.label_smoothing
    discriminator_loss = losses.discriminator_loss(logit, positive, negative, smoothing)

    # Critics: y = r + gamma V'(s'), V' from the targets; STOP ends an episode.
    rows = judged.rows(Role.REINFORCE)
    valued, log_pi, read = (
        judged.take(rows),
        log_pi[rows],
        Instructions(*(p[rows] for p in instructions)),
    )
    legal, weight = valued.seen.legal, valued.weight(Role.REINFORCE)
    q, _ = agent.critics(valued.seen, read, valued.length)
    prior_loss = prior_loss + agent.critics.trunk.prior_loss(read)
    prior_loss = prior_loss + agent.reward.trunk.prior_loss(instructions)
    with torch.no_grad():
        agent.targets.eval()
        q_target, _ = agent.targets(valued.seen, read, valued.length)
        value = losses.soft_value(q_target.amin(0), log_pi, legal, temperature)
        next_value = nn.functional.pad(value[:, 1:], (0, 1))
        y = losses.critic_target(r[rows], next_value, valued.done, config.gamma)
    q_taken = torch.stack([valued.taken(values) for values in q])
    critic_loss = losses.critic_loss(q_taken, y, weight)

    # Actor: the same pairs in the same order, of the pass with dropout and of the critics'.
    own, same = learning.rows(Role.IMPROVE), valued.rows(Role.IMPROVE)
    if len(own):
        actor_loss = losses.actor_loss(
            log_pi_learning[own], q.detach().amin(0)[same], legal[same], temperature,
            learning.weight(Role.IMPROVE)[own],
        )  # fmt: skip

    loss = discriminator_loss + critic_loss + config.reinforcement_weight * actor_loss
    loss = loss + config.imitation_weight * cloning_loss + prior_loss
    if config.entropy_target > 0:
        loss = loss + losses.temperature_loss(
            agent.log_temperature, log_pi, legal, config.entropy_target, weight
        )
    with torch.no_grad():
        figures = {
            "clone/loss": cloning_loss,
            "discriminator/loss": discriminator_loss,
            **_accuracy(logit, positive, negative),
            "reward/positive": losses.mean(r, positive),
            "reward/negative": losses.mean(r, negative),
            "critic/loss": critic_loss,
            "critic/value": losses.mean(value, weight),
            "policy/loss": actor_loss,
            "policy/entropy": losses.mean(losses.entropy(log_pi, legal), weight),
            "policy/temperature": temperature,
        }
    return loss, figures


def _discriminate(
    config: AgentConfig, pairs: Pairs, f: Tensor, log_pi: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The discriminator's logit, the reward that it gives, and the weights of the steps in P and
    in N, [B, T] each, by method; `f` [B, T] is the reward network's, log pi [B, T, A]."""
    positive, negative = pairs.weight(Role.POSITIVE), pairs.weight(Role.NEGATIVE)
    log_pi_taken = pairs.taken(log_pi)
    if config.method == "langgoal":
        return losses.discriminator_logit(f, log_pi_taken), f, positive, negative
    if config.method == "gail":
        return f, losses.plain_reward(f, log_pi_taken, temperature), positive, negative
    # "completion" is asked about at the STOP.
    reward = losses.completion_reward(f, pairs.done)
    positive, negative = positive * pairs.done, negative * pairs.done
    told = negative * pairs.weight(Role.REINFORCE)
    negative = negative - told + losses.without_likeliest(f, told, config.likeliest_left_out)
    return f, losses.plain_reward(reward, log_pi_taken, temperature), positive, negative


def _cloning_loss(config: AgentConfig, pairs: Pairs, log_pi: Tensor) -> Tensor:
    weight = pairs.weight(Role.CLONE)
    weight = weight * losses.inflections(pairs.target, config.inflection_weight)
    return losses.cloning_loss(pairs.targeted(log_pi), weight)


def _accuracy(logit: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
    right = losses.mean((logit > 0).float(), positive), losses.mean((logit < 0).float(), negative)
    return {
        "discriminator/accuracy": (right[0] + right[1]) / 2,
        "discriminator/on_positives": right[0],
        "discriminator/on_negatives": right[1],
    }


def cosine(rate: float, done: int, total: int) -> float:
    """A step size that falls from `rate` to a tenth of it over `total` updates along a cosine,
    after a short rise: a twentieth of the updates, fifty at most."""
    rise = min(1.0, (done + 1) / max(1, min(50, total // 20)))
    progress = min(1.0, done / max(1, total))
    return rate * rise * (0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * progress)))
