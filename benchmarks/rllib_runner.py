"""RLlib's own `SingleAgentEnvRunner` on the graph environment: what `speed` compares with."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from benchmarks.small_policy import SmallRLModule
from envs.graph.navigation_data import NavigationData
from envs.graph_env import GraphGoalVectorEnv
from rayforge.language.vocabulary import Vocabulary
from trainers.irl.task import Shared, Task


class SmallPolicyConfig(AlgorithmConfig):
    """Runners of `batch` environments each, with the small policy."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, int] = {}

    def for_task(
        self, task: Task[Any], batch: int, max_steps: int, words: int
    ) -> SmallPolicyConfig:
        self.sizes = {
            "vocabulary": len(task.vocabulary),
            "dimension": task.data.tables.dimension,
        }
        context = {
            "data": Shared(task.data), "vocabulary": task.vocabulary,
            "max_steps": max_steps, "words": words,
        }  # fmt: skip
        self.environment(env=make_environment, env_config=context)
        self.env_runners(num_envs_per_env_runner=batch, gym_env_vectorize_mode="vector_entry_point")
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=SmallRLModule, model_config=self.sizes)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {}


def make_environment(context: Any) -> GraphGoalVectorEnv:
    """The vectorised graph environment from RLlib's environment context."""
    data: NavigationData = context["data"].get()
    vocabulary: Vocabulary = context["vocabulary"]
    words: int = context["words"]
    return GraphGoalVectorEnv(
        data,
        "train",
        lambda instruction: vocabulary.encode([instruction], words)[0][0],
        num_envs=context["num_envs"],
        max_steps=context["max_steps"],
        text_length=words,
    )


class CountingRunner(SingleAgentEnvRunner):
    """Tells how many steps it sampled and keeps the episodes, so that no time goes into sending
    them; ours does send what it rolls out."""

    def steps(self, count: int) -> int:
        return sum(len(episode) for episode in self.sample(num_timesteps=count))
