"""Reading what a run has learnt: its weights, and an agent that acts. No Ray is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.graph.navigation_data import NavigationData
from envs.graph.world import GraphWorld
from envs.simulators.simulator import Camera
from rayforge.errors import ConfigurationError, RunError
from rayforge.irl.acting import ActingAgent
from rayforge.irl.agent import Agent
from rayforge.irl.config import ImageShape
from rayforge.paths.observation import GEOMETRY, SECTORS
from trainers.configuration import from_dict
from trainers.irl.config import IRLConfig
from trainers.irl.run_folder import BEST, Which, load_run
from trainers.runs.checkpoint import latest, load_module
from trainers.runs.identity import check_settings


def load_agent(
    run: Path | str, checkpoint: Which = "last", maps: NavigationData | None = None
) -> ActingAgent:
    """The agent of a run, with its newest weights or those that validated best ("best"), ready to
    act in the public environments.

        agent = load_agent("runs/full")
        env = gym.make("rayforge/GraphGoal-v0", data=data, split=split, **agent.environment)
        observation, _ = env.reset()
        agent.reset()
        action = agent.act(observation)

    With `maps` (what `read_navigation_data` read) it plans whole paths in these buildings, where
    `rayforge irl plan` was called for the run:

        agent = load_agent("runs/full", maps=data)
        observation, _ = envs.graph_env.OnMap(env).reset()
        plan = agent.plan(observation)

    `act_batch` takes the observations of a vectorised environment; `agent.agent` holds the
    networks. In 3-D scenes the environment needs the camera and motion of the run's
    configuration (`simulation` in its config.yaml).

    Raises:
        ConfigurationError: the folder is not a run, or of other settings than its checkpoint.
        RunError: it has no checkpoint yet, or one that is not whole; with `maps`, no planner.
    """
    run = Path(run)
    config, vocabulary, objects = load_run(run)
    if config.network.completed_mask:
        raise ConfigurationError(
            f"{run}: an agent with network.completed_mask acts in `rayforge irl evaluate` alone, "
            "not in public environments; train one without it"
        )
    weights = load_weights(run, config, checkpoint)
    dimension = (weights["policy.trunk.look.weight"].shape[1] - GEOMETRY) // SECTORS
    agent = agent_with(weights, agent_sizes(config, len(vocabulary), dimension))
    if config.env == "graph":
        acting = ActingAgent(agent, vocabulary, config.max_steps, text=config.text)
        if maps is not None:
            from trainers.irl.planned import planner_on  # which reads runs by this module

            world = GraphWorld(maps.buildings, maps.tables, config.max_steps, maps.objects)
            acting.planner = planner_on(run, config, vocabulary, agent, world)
        return acting
    return ActingAgent(
        agent, vocabulary, config.max_walk, text=config.text,
        turn=config.simulation.motion.turn, categories=objects,
    )  # fmt: skip


def load_weights(run: Path, config: IRLConfig, which: Which = "last") -> dict[str, np.ndarray]:
    """The newest weights of a run, or those that validated best.

    Raises RunError where it has no such checkpoint, or one that is not whole, and
    ConfigurationError where that is one of other settings than `config`.
    """
    checkpoint = latest(run / ("checkpoints" if which == "last" else BEST))
    if checkpoint is None and which == "best":
        raise RunError(f"{run} has no best checkpoint: it was trained without --evaluate-every")
    if checkpoint is None:
        raise RunError(f"{run} has no checkpoint yet; train it first")
    weights, state = load_module(checkpoint)
    check_settings(from_dict(IRLConfig, state["config"]), config, f"checkpoint {checkpoint}")
    return weights


def agent_with(weights: dict[str, np.ndarray], sizes: dict[str, Any]) -> Agent:
    """An agent that acts and describes, of these `agent_sizes`; what else `weights` hold is
    left."""
    agent = Agent(**sizes, acting_only=True)
    own = {k: torch.from_numpy(v) for k, v in weights.items() if k in agent.state_dict()}
    agent.load_state_dict(own)
    return agent.eval()


def agent_sizes(config: IRLConfig, words: int, dimension: int | None) -> dict[str, Any]:
    """What an `Agent` is built from: `words` in its vocabulary, features of a view (None: images,
    of which the image encoder makes them)."""
    sees = config.env == "continuous"
    return {
        "config": config,
        "vocabulary": words,
        "dimension": config.network.view if dimension is None else dimension,
        "images": image_shape(config.simulation.camera) if sees else None,
    }


def image_shape(camera: Camera) -> ImageShape:
    """What an agent's image encoder sees through a camera."""
    return ImageShape(camera.height, 3 * camera.colour + camera.depth, camera.semantic)
