"""habitat-sim (0.3.3 and later) behind the `Simulator` protocol.

Optional, imported when the first scene is opened. habitat-sim draws through EGL, whose context must
be made before the process uses CUDA, and keeps process-wide state: one simulator a process.
"""

from __future__ import annotations

import contextlib
import json
import struct
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.simulators.habitat_package import import_habitat
from envs.simulators.scene import Stage, read_stage
from envs.simulators.simulator import (
    Action,
    Body,
    Camera,
    Moved,
    Poses,
    Scene,
    SimulatorConfig,
    Views,
)
from rayforge.errors import SceneError
from rayforge.readers.faults import REASON, one_line

COLLISION = 1e-5
"""Square metres by which a step must fall short of what was asked (habitat-sim's agent control)."""
_TRIES = 100  # of a random point
_open: str | None = None  # name of the scene that is open in this process


class HabitatSimulator:
    """One open scene in habitat-sim.

    Raises:
        SceneError: habitat-sim is missing, a simulator is open in this process already, CUDA was
            used before the GPU's EGL context, or the scene cannot be used.
    """

    def __init__(self, scene: Scene, config: SimulatorConfig) -> None:
        global _open
        if _open is not None:
            raise SceneError(
                f"scene {scene.mesh}: this process has {_open} open in habitat-sim, and it can have"
                " one at a time; close that one, or open this one in a process of its own"
            )
        _check_scale(scene)
        self._habitat, self._magnum = import_habitat()
        _check_cuda(scene, config)
        self.scene, self.config = scene, config
        self._semantic = config.camera.semantic and _has_semantics(scene)
        black = black_in_habitat(scene.mesh) if config.camera.colour else None
        if black and not config.lighting:
            warnings.warn(black, stacklevel=2)
        self._simulator: Any = None
        # From here on, whatever fails must leave the process free for another scene.
        _open = str(scene.mesh)
        try:
            self._simulator = self._opened()
            self._finder = self._simulator.pathfinder
            self._agent = self._simulator.get_agent(0)
            self._lay_floor()
            self._island = self._largest_floor()
            self.names = self._category_names()
        except SceneError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise SceneError(
                f"scene {scene.mesh}: habitat-sim cannot open it: {one_line(error, REASON)}"
            ) from error

    def render(self, poses: Poses) -> Views:
        return self.render_with(poses, (self.config.camera,))[0]

    def render_with(self, poses: Poses, cameras: Sequence[Camera]) -> list[Views]:
        position, yaw = _checked(poses)
        views, sensors = [], []
        for camera in cameras:
            shape = (len(yaw), camera.height, camera.width)
            views.append(
                Views(
                    np.zeros((*shape, 3), dtype=np.uint8) if camera.colour else None,
                    np.zeros(shape, dtype=np.float32) if camera.depth else None,
                    np.zeros(shape, dtype=np.int32) if camera.semantic else None,
                )
            )
            if camera not in self._cameras:
                self._check_loaded(camera)
                for sensor in self._sensors(camera, len(self._cameras)):
                    self._simulator.add_sensor(sensor)
                self._cameras[camera] = len(self._cameras)
            number = self._cameras[camera]
            sensors.append([f"{kind}{number}" for kind in ("colour", "depth", "semantic")])
        if not any(view is not None for seen in views for view in seen):
            return views
        state = self._habitat.AgentState()
        for row, (place, angle) in enumerate(zip(position, yaw, strict=True)):
            state.position = place.astype(np.float64)
            state.rotation = np.array([0.0, np.sin(angle / 2), 0.0, np.cos(angle / 2)])
            self._agent.set_state(state)
            seen = self._simulator.get_sensor_observations()
            for (colour, depth, semantic), names in zip(views, sensors, strict=True):
                if colour is not None:
                    colour[row] = seen[names[0]][..., :3]
                if depth is not None:
                    depth[row] = seen[names[1]]
                if semantic is not None and self._semantic:
                    semantic[row] = seen[names[2]].astype(np.int32)
        return views

    def step(self, poses: Poses, actions: np.ndarray) -> Moved:
        """As `habitat_sim.ObjectControls.action` does it: the step is asked of the navigation mesh,
        and falling short is a collision. A turn, too, puts the agent onto the floor."""
        position, yaw = _checked(poses)
        motion = self.config.motion
        walk = self._finder.try_step if motion.sliding else self._finder.try_step_no_sliding
        turn = np.float32(np.radians(motion.turn))
        turned = yaw + turn * (actions == Action.TURN_LEFT) - turn * (actions == Action.TURN_RIGHT)
        reached, collided = position.copy(), np.zeros(len(yaw), dtype=bool)
        for row in np.flatnonzero(actions != Action.STOP).tolist():
            aim = position[row].copy()
            if actions[row] == Action.MOVE_FORWARD:
                aim[0] -= np.float32(np.sin(yaw[row]) * motion.forward)
                aim[2] -= np.float32(np.cos(yaw[row]) * motion.forward)
            reached[row] = _array(walk(self._vector(position[row]), self._vector(aim)))
            asked = float(((aim - position[row]) ** 2).sum())
            walked = float(((reached[row] - position[row]) ** 2).sum())
            collided[row] = walked + COLLISION < asked
        return Moved(Poses(reached, turned.astype(np.float32)), collided)

    def snap(self, points: np.ndarray) -> np.ndarray:
        found = np.full(np.shape(points), np.nan, dtype=np.float32)
        for row, point in _finite_rows(points):
            found[row] = _array(self._finder.snap_point(self._vector(point)))
        return found

    def navigable(self, points: np.ndarray) -> np.ndarray:
        answer = np.zeros(len(points), dtype=bool)
        for row, point in _finite_rows(points):
            answer[row] = self._finder.is_navigable(self._vector(point))
        return answer

    def random_points(self, count: int, seed: int) -> np.ndarray:
        self._finder.seed(seed)
        points = [
            _array(
                self._finder.get_random_navigable_point(max_tries=_TRIES, island_index=self._island)
            )
            for _ in range(count)
        ]
        return np.array(points, dtype=np.float32).reshape(-1, 3)

    def geodesic_distance(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        distances = np.full(len(starts), np.inf, dtype=np.float32)
        for row, start in _finite_rows(starts):
            if np.isfinite(ends[row]).all():
                distances[row] = self._path(start, ends[row]).geodesic_distance
        return distances

    def shortest_path(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        if not (np.isfinite(start).all() and np.isfinite(end).all()):
            return np.zeros((0, 3), dtype=np.float32)
        corners = [_array(point) for point in self._path(start, end).points]
        return np.array(corners, dtype=np.float32).reshape(-1, 3)

    def close(self) -> None:
        """Frees the scene and the drawing context; a second call does nothing."""
        global _open
        if self._simulator is not None:
            self._finder = self._agent = None
            self._simulator.close(destroy=True)
            self._simulator = None
            _open = None
        elif _open == str(self.scene.mesh):
            _open = None

    def _opened(self) -> Any:
        habitat, config = self._habitat, self.config
        settings = habitat.SimulatorConfiguration()
        settings.gpu_device_id = config.gpu_device_id
        settings.allow_sliding = config.motion.sliding
        settings.enable_physics = False
        settings.load_semantic_mesh = self._semantic
        # Without lights everything is drawn in its own colour ("flat").
        settings.override_scene_light_defaults = True
        gfx = habitat.gfx
        settings.scene_light_setup = (
            gfx.DEFAULT_LIGHTING_KEY if config.lighting else gfx.NO_LIGHT_KEY
        )
        agent = habitat.agent.AgentConfiguration()
        agent.height, agent.radius = config.body.height, config.body.radius
        agent.sensor_specifications = self._sensors(config.camera, 0)
        self._cameras = {config.camera: 0}
        with tempfile.TemporaryDirectory(prefix="rayforge-habitat-") as folder:
            settings.scene_id = str(_scene_file(self.scene, Path(folder)))
            with contextlib.nullcontext() if config.lighting else _no_image_lighting(Path(folder)):
                mediator = habitat.metadata.MetadataMediator(settings)
            return habitat.Simulator(
                habitat.Configuration(settings, [agent], metadata_mediator=mediator)
            )

    def _check_loaded(self, camera: Camera) -> None:
        """What no sensor wanted when the scene was opened was not loaded."""
        if camera.colour and not self.config.camera.colour:
            raise SceneError(
                f"scene {self.scene.mesh} was opened without colour, so that habitat-sim has not"
                " loaded its textures; switch colour on in the configuration's camera"
            )
        if camera.semantic and not self._semantic and _has_semantics(self.scene):
            raise SceneError(
                f"scene {self.scene.mesh} was opened without semantics, so that habitat-sim has not"
                " loaded them; switch them on in the configuration's camera"
            )

    def _sensors(self, camera: Camera, number: int) -> list[Any]:
        kinds = self._habitat.SensorType
        wanted = [
            ("colour", kinds.COLOR, 4, camera.colour),
            ("depth", kinds.DEPTH, 1, camera.depth),
            ("semantic", kinds.SEMANTIC, 1, camera.semantic and self._semantic),
        ]
        sensors = []
        for name, kind, channels, on in wanted:
            if on:
                sensor = self._habitat.CameraSensorSpec()
                sensor.uuid = f"{name}{number}"
                sensor.sensor_type = kind
                sensor.sensor_subtype = self._habitat.SensorSubType.PINHOLE
                sensor.channels = channels
                sensor.resolution = self._magnum.Vector2i(camera.height, camera.width)
                sensor.position = self._magnum.Vector3(0.0, camera.above_floor, 0.0)
                pitch, roll = float(np.radians(camera.pitch)), float(np.radians(camera.roll))
                sensor.orientation = self._magnum.Vector3(pitch, 0.0, roll)
                sensor.hfov = camera.field_of_view
                sensors.append(sensor)
        return sensors

    def _lay_floor(self) -> None:
        """The scene's navigation mesh where its file is for this body, else a new one."""
        file, body, finder = self.scene.navmesh, self.config.body, self._finder
        if file is not None and not finder.load_nav_mesh(str(file.absolute())):
            raise SceneError(
                f"{file}: habitat-sim cannot read this navigation mesh; delete it, and one is made"
            )
        if file is None or not _made_for(finder.nav_mesh_settings, body):
            settings = self._habitat.nav.NavMeshSettings()
            settings.set_defaults()
            settings.agent_height, settings.agent_radius = body.height, body.radius
            settings.agent_max_climb, settings.agent_max_slope = body.climb, body.slope
            settings.cell_size, settings.cell_height = body.cell, body.cell_height
            settings.include_static_objects = True
            made = self._simulator.recompute_navmesh(finder, settings)
        else:
            made = True
        if not made or not finder.is_loaded or finder.navigable_area <= 0.0:
            raise SceneError(
                f"scene {self.scene.mesh}: no floor for a body {body.height} m high and"
                f" {body.radius} m in radius; is +y up, is the unit the metre?"
            )

    def _largest_floor(self) -> int:
        """Number of the connected floor with the largest area that is no roof.

        A floor with less of the scene above it than the body is high has no ceiling.
        """
        finder = self._finder
        areas = [finder.island_area(island) for island in range(finder.num_islands)]
        top = float(self._simulator.scene_aabb.y().max)
        lowest = [
            min((float(point[1]) for point in finder.build_navmesh_vertices(island)), default=top)
            for island in range(len(areas))
        ]
        covered = [k for k, y in enumerate(lowest) if top - y >= self.config.body.height]
        return max(covered or range(len(areas)), key=lambda island: areas[island])

    def _category_names(self) -> dict[int, str]:
        scene = self._simulator.semantic_scene if self._semantic else None
        if scene is None:
            return {}
        return {
            int(thing.semantic_id): str(thing.category.name())
            for thing in scene.objects
            if thing is not None and thing.category is not None and thing.semantic_id > 0
        }

    def _path(self, start: np.ndarray, end: np.ndarray) -> Any:
        path = self._habitat.nav.ShortestPath()
        path.requested_start, path.requested_end = self._vector(start), self._vector(end)
        self._finder.find_path(path)
        return path

    def _vector(self, point: np.ndarray) -> Any:
        return self._magnum.Vector3(float(point[0]), float(point[1]), float(point[2]))


def black_in_habitat(mesh: Path) -> str | None:
    """A word on a mesh with parts that have no material, None on others.

    habitat-sim draws such parts black without lights (its issue 2173), whatever colours their
    vertices have.
    """
    if mesh.suffix == ".ply":
        bare = True
    elif mesh.suffix == ".glb":
        header = _glb_header(mesh)
        bare = any(
            "material" not in primitive
            for whole in header.get("meshes", [])
            for primitive in whole.get("primitives", [])
        )
    else:
        return None
    if not bare:
        return None
    return (
        f"scene {mesh} has parts without a material, which habitat-sim draws black without lights;"
        " give them one, or take the embedded simulator, which shows the vertices' colours"
    )


def _check_scale(scene: Scene) -> None:
    # 0.3.3 ignores the scale of a stage; later builds draw with it and walk without.
    scale = read_stage(scene).scale
    if scale != Stage.scale:
        raise SceneError(
            f"stage configuration {scene.stage_config}: its scale {list(scale)} does not reach"
            " habitat-sim's floor; scale the mesh itself, or take the embedded simulator"
            " (--simulator embedded)"
        )


def _check_cuda(scene: Scene, config: SimulatorConfig) -> None:
    torch = sys.modules.get("torch")
    if config.gpu_device_id >= 0 and torch is not None and torch.cuda.is_initialized():
        raise SceneError(
            f"scene {scene.mesh}: this process used CUDA before habitat-sim made its EGL context on"
            f" GPU {config.gpu_device_id}; open the simulator first, or in a process of its own"
        )


def _has_semantics(scene: Scene) -> bool:
    """Whether habitat-sim will find semantics: HM3D's files, or Matterport3D's beside the mesh."""
    matterport = scene.mesh.with_name(f"{scene.mesh.stem}_semantic.ply")
    return scene.semantic_mesh is not None or matterport.is_file()


def _scene_file(scene: Scene, folder: Path) -> Path:
    """What habitat-sim is to open. HM3D's companions of a mesh it finds through a dataset's
    configuration only, so a mesh that has them without one gets a configuration in `folder`."""
    if scene.stage_config is not None:
        return scene.stage_config.absolute()
    if scene.semantic_mesh is None or scene.semantic_names is None:
        return scene.mesh.absolute()
    z_up = scene.mesh.suffix == ".glb"  # what habitat-sim takes such a mesh to be
    stage = {
        "render_asset": str(scene.mesh.absolute()),
        "semantic_asset": str(scene.semantic_mesh.absolute()),
        "semantic_descriptor_filename": str(scene.semantic_names.absolute()),
        "up": [0, 0, 1] if z_up else [0, 1, 0],
        "front": [0, 1, 0] if z_up else [0, 0, -1],
        "has_semantic_textures": _is_textured(scene.semantic_mesh),
    }
    file = folder / f"{scene.name}.stage_config.json"
    file.write_text(json.dumps(stage))
    return file


def _is_textured(glb: Path) -> bool:
    return bool(_glb_header(glb).get("textures"))


def _glb_header(glb: Path) -> dict[str, Any]:
    """The first chunk of a binary glTF file; empty where it is none."""
    with glb.open("rb") as stream:
        head = stream.read(20)
        if len(head) < 20 or head[:4] != b"glTF":
            return {}
        (length,) = struct.unpack("<I", head[12:16])
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            return {}
    return header if isinstance(header, dict) else {}


@contextlib.contextmanager
def _no_image_lighting(folder: Path) -> Iterator[None]:
    """Within it, a `MetadataMediator` finds no images to light scenes with.

    habitat-sim prepares them for every simulator with a colour sensor, lit or not, which takes half
    a minute on software GL, and has no setting against it. Its defaults come from
    ``data/default.pbr_config.json`` in the working directory: for the moment in which it looks, it
    finds one there that names an image which does not exist.
    """
    (folder / "data").mkdir()
    # Its log then says that this image was not found: its name is the explanation.
    settings = {"enable_ibl": False, "ibl_envmap_filename": "switched-off-by-rayforge"}
    (folder / "data" / "default.pbr_config.json").write_text(json.dumps(settings))
    with contextlib.chdir(folder):
        yield


def _made_for(settings: Any, body: Body) -> bool:
    """Whether a navigation mesh was made for this body (habitat-sim takes a file that does not say
    so to have its defaults)."""
    if settings is None:  # nothing was read
        return False
    pairs = (
        (settings.agent_height, body.height),
        (settings.agent_radius, body.radius),
        (settings.agent_max_climb, body.climb),
        (settings.agent_max_slope, body.slope),
        (settings.cell_size, body.cell),
        (settings.cell_height, body.cell_height),
    )
    return all(abs(there - here) < 1e-3 for there, here in pairs)


def _array(vector: Any) -> np.ndarray:
    return np.array([vector[0], vector[1], vector[2]], dtype=np.float32)


def _checked(poses: Poses) -> tuple[np.ndarray, np.ndarray]:
    position = np.asarray(poses.position, dtype=np.float32)
    yaw = np.asarray(poses.yaw, dtype=np.float32)
    wrong = np.flatnonzero(~(np.isfinite(position).all(axis=1) & np.isfinite(yaw)))
    if len(wrong):
        row = int(wrong[0])
        raise SceneError(f"agent {row} stands at {position[row].tolist()}, yaw {yaw[row]}")
    return position, yaw


def _finite_rows(points: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Detour's searches never end for coordinates that are no numbers: those rows are left out."""
    for row in np.flatnonzero(np.isfinite(points).all(axis=1)).tolist():
        yield row, points[row]
