"""The embedded simulator behind the protocol: rendering by ray casting, walking on a navmesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.simulators.embedded.floor import FloorMap
from envs.simulators.embedded.shading import Renderer, TensorViews
from envs.simulators.embedded.stored import Model, load_model
from envs.simulators.simulator import (
    Camera,
    Moved,
    Poses,
    Scene,
    SimulatorConfig,
    Views,
)
from rayforge.cache import cache_folder
from rayforge.errors import SceneError


class EmbeddedSimulator:
    """One scene, rendered by Embree (or by Warp where `config.gpu_device_id` names a GPU).

    Views are habitat-sim's without lights: colours as the file has them, front faces only, nothing
    nearer than a centimetre. Arrays and tree of triangles are held once, whoever asks.
    """

    def __init__(self, scene: Scene, config: SimulatorConfig, folder: Path | None = None) -> None:
        """Opens the scene, or what an earlier call kept of it in `folder` (default: the user's
        cache folder).

        Raises:
            SceneError: a file is missing or broken, or nobody can walk there.
        """
        self.config = config
        self.scene = scene
        model = load_model(scene, folder)
        self.names = model.names
        self._floor = _find_floor(model, config, scene, folder or cache_folder("scenes"))
        self._renderer: Renderer | None = None
        self._renderer = _open_renderer(model, config)

    def render(self, poses: Poses) -> Views:
        return self._open().render(_checked(poses, self.scene), self.config.camera)

    def render_with(self, poses: Poses, cameras: Sequence[Camera]) -> list[Views]:
        poses, renderer = _checked(poses, self.scene), self._open()
        return [renderer.render(poses, camera) for camera in cameras]

    def render_tensors(self, poses: Poses, camera: Camera | None = None) -> TensorViews:
        """`render` as tensors: on a GPU they are made there and stay there."""
        camera = camera or self.config.camera
        return self._open().render_tensors(_checked(poses, self.scene), camera)

    def step(self, poses: Poses, actions: np.ndarray) -> Moved:
        return self._floor.step(poses, actions, self.config.motion)

    def snap(self, points: np.ndarray) -> np.ndarray:
        return self._floor.snap(points)

    def navigable(self, points: np.ndarray) -> np.ndarray:
        return self._floor.navigable(points)

    def random_points(self, count: int, seed: int) -> np.ndarray:
        return self._floor.random_points(count, seed)

    def geodesic_distance(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return self._floor.geodesic_distance(starts, ends)

    def shortest_path(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return self._floor.shortest_path(start, end)

    def close(self) -> None:
        """Let go of the triangles; closing again does nothing."""
        self._renderer = None

    def _open(self) -> Renderer:
        if self._renderer is None:
            raise SceneError(f"scene {self.scene.mesh} is closed; open it again to render it")
        return self._renderer


def _open_renderer(model: Model, config: SimulatorConfig) -> Renderer:
    if config.gpu_device_id < 0:
        from envs.simulators.embedded.embree import EmbreeRenderer

        return EmbreeRenderer(model)
    from envs.simulators.embedded.cuda import WarpRenderer

    return WarpRenderer(model, f"cuda:{config.gpu_device_id}")


def _find_floor(model: Model, config: SimulatorConfig, scene: Scene, folder: Path) -> FloorMap:
    """The scene's navigation mesh where its file is for this body, else a new one."""
    if scene.navmesh is not None:
        top = float(model.surface.vertices[:, 1].max())
        floor = FloorMap.read_navmesh(scene.navmesh, top, config.rules)
        if floor.is_for(config.body):
            return floor
    triangles = model.surface.vertices, model.surface.floor_faces()
    if model.large:
        try:
            return FloorMap.cached(*triangles, config.body, folder, str(scene.mesh), config.rules)
        except OSError:  # a full or read-only cache only costs the next load its time
            pass
    return FloorMap.build(*triangles, config.body, str(scene.mesh), config.rules)


def _checked(poses: Poses, scene: Scene) -> Poses:
    position = np.asarray(poses.position, dtype=np.float32)
    yaw = np.asarray(poses.yaw, dtype=np.float32)
    if position.shape != (*yaw.shape, 3) or yaw.ndim != 1:
        raise SceneError(
            f"scene {scene.mesh}: positions {position.shape} and yaws {yaw.shape} must be"
            " [N, 3] and [N]"
        )
    wrong = ~(np.isfinite(position).all(axis=1) & np.isfinite(yaw))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise SceneError(
            f"scene {scene.mesh}: agent {row} stands at {position[row].tolist()}, yaw {yaw[row]}"
        )
    return Poses(position, yaw)
