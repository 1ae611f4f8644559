"""Plans walked in 3-D: low-level actions on the navigation mesh lead along a planned path.

The agent plans on the map of a building whose places it saw as panoramas; the plan is then walked
forward, left and right from place to place, and scored by the rules of R2R-CE.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from envs.continuous.homes import Homes
from envs.continuous.scoring import score_walks
from envs.continuous.walks import demonstrate, place_of
from envs.episodes.continuous_episode import ContinuousEpisode, Point
from envs.graph.navigation_data import SCENES
from envs.houses.scenes import scene_of
from envs.simulators.opening import open_simulator
from rayforge.errors import ConfigurationError
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.irl.demonstrations import Demonstrations
from rayforge.paths.arrays import Paths
from trainers.irl.plan import PlannedAgent

EYES = 1.5
"""Metres of a viewpoint above the floor (R2R's cameras and those of generated houses)."""
OPEN = 8
"""Scenes open at once."""


def walk_plans(agent: PlannedAgent, asked: Demonstrations, planned: Paths) -> dict[str, np.ndarray]:
    """Each metric of R2R-CE of each plan, float64 [n], when it is walked by low-level actions;
    `planned` answer the rows of `asked` in order.

    Raises ConfigurationError where the scene of a building is missing, and SceneError where a place
    of the map is off the floor of its scene.
    """
    config, data = agent.config, agent.task.data
    where = Path(config.scenes) if config.scenes else agent.task.folder / SCENES
    scans = sorted({episode.scan for episode in asked.episodes})
    scenes = [scene_of(scan) for scan in scans]
    for scene in scenes:
        if not (where / scene).is_file():
            raise ConfigurationError(
                f"{where} has no scene {scene}, in which plans could be walked: name the folder of "
                "the scenes (--scenes of the run)"
            )
    names = data.buildings.viewpoint_ids
    episodes = []
    for row, episode in enumerate(asked.episodes):
        graph = data.graphs[episode.scan]
        plan = [names[v] for v in planned.viewpoint[row, : planned.length[row]]]
        points = [on_floor(graph.positions[graph.rows[place]]) for place in plan]
        goal = on_floor(graph.positions[graph.rows[episode.path[-1]]])
        yaw = math.remainder(-int(asked.paths.heading[row, 0]) * math.pi / 6, math.tau)
        episodes.append(
            ContinuousEpisode(
                episode.episode_id, row, scene_of(episode.scan), points[0], yaw, goal,
                SUCCESS_METRES, episode.instruction, tuple(points),
            )
        )  # fmt: skip
    opened = partial(
        open_simulator, kind=config.simulator, config=config.simulation,
        own_process=config.simulator_processes,
    )  # fmt: skip
    homes = Homes(where, scenes, opened, OPEN)
    try:
        walks = demonstrate(homes, config.simulation.motion, episodes, config.max_walk)
        number = {scene: k for k, scene in enumerate(scenes)}
        wanted = [
            np.array([on_floor(data.graphs[e.scan].positions[data.graphs[e.scan].rows[place]])
                      for place in e.path])
            for e in asked.episodes
        ]  # fmt: skip
        # Distances are asked for between points of the floor itself.
        goals = [
            homes.on_floor(number[e.scene], np.array([e.start, e.goal]), place_of(e))[1]
            for e in episodes
        ]
        return score_walks(
            homes, np.array([number[e.scene] for e in episodes]),
            [walk.position for walk in walks], wanted,
            np.array([walk.position[0] for walk in walks]), np.array(goals, np.float32),
            np.zeros(len(episodes), bool),
        )  # fmt: skip
    finally:
        homes.close()


def on_floor(position: np.ndarray) -> Point:
    """The floor under a viewpoint, in habitat's axes (+y up, north is -z)."""
    x, y, z = (float(value) for value in position)
    return x, z - EYES, -y
