"""RLlib's side of the agent: a module that holds it and a learner that makes its updates."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.numpy import convert_to_numpy
from torch import Tensor

from rayforge.irl.agent import Agent
from rayforge.irl.update import Update, loss_of
from rayforge.paths.sights import Sights


class AgentModule(TorchRLModule, InferenceOnlyAPI):
    """Holds an `Agent`; its state is the agent's. Runners hold one that only acts."""

    def setup(self) -> None:
        self.agent = Agent(**self.model_config, acting_only=self.inference_only)

    def get_non_inference_attributes(self) -> list[str]:
        return [f"agent.{name}" for name, _ in self.agent.named_children()
                if name not in Agent.ACTING]  # fmt: skip

    def get_state(self, *args: Any, inference_only: bool = False, **kwargs: Any) -> dict[str, Any]:
        state: dict[str, Any] = convert_to_numpy(self.agent.state_dict())
        if not inference_only:
            return state
        return {name: v for name, v in state.items() if name.split(".")[0] in Agent.ACTING}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take weights over; those of networks that this agent does not have are left."""
        own = self.agent.state_dict().keys()
        self.agent.load_state_dict(
            {name: torch.as_tensor(value) for name, value in state.items() if name in own},
            strict=self.inference_only,
        )

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Any]:
        # The losses say which networks they need (an update of cloning needs the policy alone).
        return {}


class AgentLearner(TorchLearner):
    """Fetches a batch, calls `rayforge.irl.update` and reports its figures."""

    def build(self) -> None:
        super().build()
        # RLlib asks for deterministic algorithms, which fills all memory with NaN before its use:
        # a twentieth of an update.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.agent.attach(self.config.world.get().observer())

    @property
    def agent(self) -> Agent:
        agent: Agent = next(iter(self.module.values())).unwrapped().agent
        return agent

    def configure_optimizers_for_module(
        self, module_id: str, config: AlgorithmConfig | None = None
    ) -> None:
        self.agent_update = Update(self.agent)
        for name, optimizer in self.agent_update.optimizers.items():
            self.register_optimizer(
                module_id=module_id, optimizer_name=name, optimizer=optimizer,
                params=self.agent_update.parameters[name],
            )  # fmt: skip

    def set_learning_rate(self, name: str, rate: float) -> None:
        """Step size of the optimiser of that name (policy, generator, ...) from now on."""
        self._set_optimizer_lr(self.agent_update.optimizers[name], rate)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state under this run's own step sizes and temperature: the state may be
        that of a run with others."""
        super().set_state(state)
        for name, rate in self.agent_update.learning_rates().items():
            self.set_learning_rate(name, rate)
        self.agent.reset_temperature()

    def show(self, sights: Sights) -> None:
        """Take the images of roll-outs to come; shared, since the learner is in this process."""
        self.agent.attach(self.config.world.get().observer(sights))

    def compute_loss_for_module(
        self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Tensor], fwd_out: Any
    ) -> Tensor:
        loss, figures = loss_of(self.agent, batch)
        self.metrics.log_dict(figures, key=module_id, window=1)
        return loss

    def compute_gradients(
        self, loss_per_module: dict[str, Tensor], **kwargs: Any
    ) -> dict[Any, Tensor]:
        self.agent_update.backward(torch.stack(list(loss_per_module.values())).sum())
        return {ref: p.grad for ref, p in self._params.items() if p.grad is not None}

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        if self.config.irl.adversarial:
            self.agent.move_targets()
