"""RLlib's side of the agent: a module that holds it and a learner that makes its updates."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.numpy import convert_to_numpy
from torch import Tensor

from rayforge.errors import MachineError
from rayforge.irl.agent import Agent
from rayforge.irl.data_parallel import learner_count, share_weights
from rayforge.irl.off_policy import importance
from rayforge.irl.pairs import path_batch
from rayforge.irl.update import Update, loss_of
from rayforge.paths.arrays import Padded
from rayforge.paths.frame_store import FrameStore


@contextmanager
def read_only_arrays() -> Iterator[None]:
    """What Ray's store shares between processes is read-only, as is meant; torch warns of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        yield


def _own(value: Any) -> Any:
    """The same with copies of the arrays that are not to be written to."""
    if isinstance(value, dict):
        return {name: _own(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_own(part) for part in value]
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        return value.copy()
    return value


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
        with read_only_arrays():
            tensors = {n: torch.as_tensor(value) for n, value in state.items() if n in own}
        self.agent.load_state_dict(tensors, strict=self.inference_only)

    def no_sync(self) -> nullcontext[None]:
        """RLlib asks modules of several learners not to average while optimisers step."""
        return nullcontext()

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Any]:
        # The losses say which networks they need (an update of cloning needs the policy alone).
        return {}


class AgentLearner(TorchLearner):
    """Fetches a batch, calls `rayforge.irl.update` and reports its figures.

    In the driver's process, or (`IRLConfig.learners`) one of several in processes of their own,
    each with a part of every batch. RLlib's learner group starts these, places them and gives them
    a group of `torch.distributed`; `rayforge.irl.data_parallel` averages their gradients.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.config.num_learners:
            logging.getLogger("ray").setLevel(logging.ERROR)  # as in runners
            torch.set_num_threads(self.config.irl.threads or 1)

    def build(self) -> None:
        super().build()
        share_weights(self.agent.state_dict().values())
        # RLlib asks for deterministic algorithms, which fills all memory with NaN before its use:
        # a twentieth of an update.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        with read_only_arrays():
            self.agent.attach(self.config.world.get().observer())

    def _make_modules_ddp_if_necessary(self) -> None:
        """Leave the module as it is: DistributedDataParallel averages the gradients of what goes
        through a module's one forward pass, and the losses call networks by themselves."""

    def draw_for(self, number: int, own: bool) -> None:
        """Random numbers from here on are those of update `number`, of this learner's `own` or the
        same on all: a run that goes on, or with another learner, draws what it would have.

        The learner in the driver's process goes on in one sequence instead, which checkpoints hold.
        """
        if self.config.num_learners:
            rank = torch.distributed.get_rank() if own and learner_count() > 1 else 0
            seeds = np.random.SeedSequence([self.config.irl.seed, number, rank])
            torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        self.draw_for(timesteps.get("updates", 0), own=True)

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
        # Optimisers write into the arrays that they are given, and those in Ray's store are of all
        # learners of a node.
        super().set_state(_own(state))
        for name, rate in self.agent_update.learning_rates().items():
            self.set_learning_rate(name, rate)
        self.agent.reset_temperature()

    def show(self, frames: FrameStore) -> None:
        """Find images of roll-outs to come in `frames`: the driver's own store where this is its
        process, else one like it.

        Raises MachineError where those of the demonstrations are not on this node.
        """
        file = None if frames.frame_file is None else frames.frame_file.file
        if file is not None and not file.is_file():
            raise MachineError(
                f"a learner's node has no {file}, the images of the demonstrations: set "
                "XDG_CACHE_HOME to storage that all nodes see, or give the command's own node "
                "places for the learners"
            )
        self.frames = frames
        self.agent.attach(self.config.world.get().observer(frames))

    @torch.no_grad()
    def importance(self, paths: Padded, probability: np.ndarray) -> dict[str, float]:
        """Importance ratios of paths whose actions were sampled with `probability` [B, T]."""
        batch = {k: torch.from_numpy(v).to(self._device) for k, v in path_batch(paths).items()}
        action, length, policy = batch["action"], batch["length"], self.agent.policy
        policy.eval()
        seen = self.agent.observe(batch, policy.image_encoder)
        log_pi = policy(seen, policy.instruction_encoder(batch["tokens"]), length)
        policy.train()
        taken = log_pi.gather(-1, action[..., None]).squeeze(-1)
        steps = torch.arange(action.shape[1], device=action.device)
        then = torch.from_numpy(probability[:, : action.shape[1]]).to(taken)
        return importance(taken, then, steps < length[:, None])

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
