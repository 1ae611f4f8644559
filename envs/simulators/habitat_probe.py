"""Which rules the habitat-sim installed here follows: `python -m envs.simulators.habitat_probe`.

Builds of 0.3.3 and 0.3.4 both call themselves 0.3.3, so a scene of four triangles is asked: a floor
under a slab with exactly the headroom of the default body. It is floor by the rules of 0.3.4 and
none by those of 0.3.3. habitat-sim may end its process, so it is asked in one of its own.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from envs.simulators.simulator import Rules

PATIENCE_S = 120
_SIDE = 3.0
_SLAB = 1.85
"""Metres: above the floor's one cell of 0.2 m eight are free, which a body of 1.5 m needs."""


def probe_rules() -> Rules | None:
    """The rules of the habitat-sim installed here; None where it does not answer."""
    command = [sys.executable, "-m", "envs.simulators.habitat_probe"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    last = run.stdout.strip().rsplit("\n", 1)[-1]
    for rules in ("0.3.4", "0.3.3"):
        if run.returncode == 0 and last == rules:
            return rules
    return None


def write_probe(folder: Path) -> Path:
    """The scene of four triangles; gives its stage configuration."""
    low = np.array([[0, 0, 0], [0, 0, _SIDE], [_SIDE, 0, _SIDE], [_SIDE, 0, 0]], np.float32)
    points = np.concatenate([low, low + np.array([0, _SLAB, 0], np.float32)])
    corners = np.array([0, 1, 2, 0, 2, 3, 6, 5, 4, 7, 6, 4], np.uint32)
    binary = points.tobytes() + corners.tobytes()
    views = [(0, points.nbytes), (points.nbytes, corners.nbytes)]
    header = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1]}}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": len(points),
                "type": "VEC3",
                "min": points.min(axis=0).tolist(),
                "max": points.max(axis=0).tolist(),
            },
            {"bufferView": 1, "componentType": 5125, "count": len(corners), "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": size} for start, size in views
        ],
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    (folder / "probe.glb").write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
    config = folder / "probe.stage_config.json"
    stage = {"render_asset": "probe.glb", "up": [0, 1, 0], "front": [0, 0, -1]}
    config.write_text(json.dumps(stage))
    return config


def main() -> None:
    from envs.simulators.habitat_package import import_habitat

    habitat, _ = import_habitat()
    with tempfile.TemporaryDirectory() as folder:
        settings = habitat.SimulatorConfiguration()
        settings.scene_id = str(write_probe(Path(folder)))
        settings.create_renderer = settings.enable_physics = settings.load_semantic_mesh = False
        agent = habitat.agent.AgentConfiguration()
        agent.sensor_specifications = []
        simulator = habitat.Simulator(habitat.Configuration(settings, [agent]))
        body = habitat.nav.NavMeshSettings()
        body.set_defaults()
        found = simulator.recompute_navmesh(simulator.pathfinder, body)
        floor = found and simulator.pathfinder.is_loaded
        floor = floor and simulator.pathfinder.navigable_area > 0
        simulator.close(destroy=True)
    print("0.3.4" if floor else "0.3.3")


if __name__ == "__main__":
    main()
