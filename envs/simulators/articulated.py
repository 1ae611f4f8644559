"""The links of an articulated object (URDF) as they stand in one pose: meshes with their places.

Read of a URDF: links with visual meshes, and joints of the kinds fixed, revolute, continuous and
prismatic. Visuals of other shapes and joints of other kinds are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from rayforge.errors import SceneError
from rayforge.readers import limits
from rayforge.readers.content import read_text
from rayforge.readers.faults import one_line, shown

MOVING = ("revolute", "continuous", "prismatic")


class Joint(NamedTuple):
    """How a link hangs on another one."""

    name: str
    kind: str
    parent: str
    child: str
    origin: np.ndarray  # float32 [4, 4]
    axis: np.ndarray  # float32 [3], of length 1


def links(
    file: Path, pose: Mapping[str, float] | Sequence[float]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(mesh file as it is named, its scale [3], its place in the object [4, 4]) of every visual.

    `pose` has the positions of moving joints (radians, metres) by name, or in the file's order;
    those that it does not name are 0.

    Raises:
        SceneError: what is not read here, a joint that is not there, a link below itself.
    """
    root = _parsed(file)
    joints = [_joint(file, element) for element in root.iter("joint")]
    known = {element.get("name", ""): element for element in root.iter("link")}
    places = _places(file, known, joints, _positions(file, joints, pose))
    for name, place in places.items():
        for visual in known[name].iter("visual"):
            mesh, scale = _mesh(file, visual, name)
            yield mesh, scale, place @ _origin(file, visual)


def _parsed(file: Path) -> ElementTree.Element:
    text = read_text(file, limits.ANNOTATION, SceneError)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SceneError(f"{file}: a URDF has no document type or entities; remove them")
    try:
        return ElementTree.fromstring(text)  # no entities are in it
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise SceneError(f"{file}: not XML that can be read ({one_line(error)})") from None


def _joint(file: Path, element: ElementTree.Element) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in (*MOVING, "fixed"):
        raise SceneError(f"{file}: joint {shown(name)} is {shown(kind)}, which is not read here")
    ends = []
    for end in ("parent", "child"):
        found = element.find(end)
        ends.append("" if found is None else found.get("link", ""))
    told = element.find("axis")
    axis = _numbers(file, "1 0 0" if told is None else told.get("xyz", "1 0 0"))
    length = float(np.linalg.norm(axis))
    if length < 1e-6:
        raise SceneError(f"{file}: joint {shown(name)} has no axis")
    return Joint(name, kind, ends[0], ends[1], _origin(file, element), axis / np.float32(length))


def _positions(
    file: Path, joints: Sequence[Joint], pose: Mapping[str, float] | Sequence[float]
) -> dict[str, float]:
    moving = [joint.name for joint in joints if joint.kind in MOVING]
    given = dict(pose) if isinstance(pose, Mapping) else None
    if given is None:
        if not isinstance(pose, list) or len(pose) > len(moving):
            raise SceneError(
                f"{file}: initial_joint_pose {shown(pose)} is not of {len(moving)} joints"
            )
        given = dict(zip(moving, pose, strict=False))
    for name, value in given.items():
        if name not in moving or not isinstance(value, int | float) or not abs(value) < 1e6:
            raise SceneError(
                f"{file}: initial_joint_pose has {shown(name)}: {shown(value)}; moving joints are "
                f"{shown(', '.join(moving))}"
            )
    return {name: float(value) for name, value in given.items()}


def _places(
    file: Path, known: Mapping[str, object], joints: Sequence[Joint], pose: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Where each link is in the object, [4, 4]; links that hang on none stand at its origin."""
    above: dict[str, Joint] = {}
    for joint in joints:
        if joint.parent not in known or joint.child not in known:
            raise SceneError(f"{file}: joint {shown(joint.name)} joins a link that is not there")
        if joint.child in above:
            raise SceneError(f"{file}: link {shown(joint.child)} hangs on two joints")
        above[joint.child] = joint
    places: dict[str, np.ndarray] = {}
    for link in known:
        chain: list[str] = []
        at = link
        while at not in places and at in above:
            if at in chain:
                raise SceneError(f"{file}: link {shown(at)} hangs on itself")
            chain.append(at)
            at = above[at].parent
        places.setdefault(at, np.eye(4, dtype=np.float32))
        for name in reversed(chain):
            joint = above[name]
            turned = joint.origin @ _motion(joint, pose.get(joint.name, 0.0))
            places[name] = places[joint.parent] @ turned
    return places


def _motion(joint: Joint, value: float) -> np.ndarray:
    matrix = np.eye(4, dtype=np.float32)
    if joint.kind == "prismatic":
        matrix[:3, 3] = joint.axis * np.float32(value)
    elif joint.kind in MOVING:
        x, y, z = joint.axis
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], np.float32)
        turn = np.eye(3) + math.sin(value) * cross + (1 - math.cos(value)) * cross @ cross
        matrix[:3, :3] = turn
    return matrix


def _origin(file: Path, element: ElementTree.Element) -> np.ndarray:
    """An element's `origin`: moved by `xyz`, turned by `rpy` about the fixed axes x, y and z."""
    matrix = np.eye(4, dtype=np.float32)
    told = element.find("origin")
    if told is None:
        return matrix
    matrix[:3, 3] = _numbers(file, told.get("xyz", "0 0 0"))
    roll, pitch, yaw = (float(angle) for angle in _numbers(file, told.get("rpy", "0 0 0")))
    turn = np.eye(3)
    for axis, angle in ((2, yaw), (1, pitch), (0, roll)):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        single = np.eye(3)
        single[[one, two], [one, two]] = math.cos(angle)
        single[one, two], single[two, one] = -math.sin(angle), math.sin(angle)
        turn = turn @ single
    matrix[:3, :3] = turn
    return matrix


def _mesh(file: Path, visual: ElementTree.Element, link: str) -> tuple[str, np.ndarray]:
    geometry = visual.find("geometry")
    shape = None if geometry is None else next(iter(geometry), None)
    kind = "nothing" if shape is None else shape.tag
    if shape is None or kind != "mesh" or not shape.get("filename"):
        raise SceneError(
            f"{file}: link {shown(link)} is drawn as {shown(kind)}; meshes are read here"
        )
    name = shape.get("filename", "")
    if "://" in name:
        raise SceneError(f"{file}: {shown(name)} is in a package; name the file beside the URDF")
    return name, _numbers(file, shape.get("scale", "1 1 1"))


def _numbers(file: Path, text: str) -> np.ndarray:
    try:
        found = np.array([float(word) for word in text.split()], np.float32)
    except (ValueError, OverflowError):
        found = np.zeros(0, np.float32)
    if found.shape != (3,) or not (np.abs(found) < 1e6).all():
        raise SceneError(f"{file}: expected three numbers, got {shown(text)}")
    return found
