"""The container of a .glb: its header, buffers, accessors and images."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from envs.simulators.embedded.parts import named_file
from rayforge.errors import SceneError
from rayforge.readers.faults import REASON, one_line

READ = {
    "EXT_mesh_gpu_instancing",
    "EXT_texture_webp",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_specular",
    "KHR_materials_unlit",
    "KHR_mesh_quantization",
    "KHR_node_visibility",
    "KHR_texture_transform",
}
"""glTF extensions that may be required: they are read, or do not change what is drawn here."""
_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
MOST_VALUES = 1 << 24
"""Of an accessor without data, which a few bytes of header can ask for."""


@dataclass
class GlbFile:
    path: Path
    header: dict[str, Any]
    binary_start: int
    binary_length: int

    @cached_property
    def _bytes(self) -> np.ndarray:
        """The whole file, read when it is looked at."""
        return np.memmap(self.path, dtype=np.uint8, mode="r")

    @cached_property
    def _buffers(self) -> dict[int, np.ndarray]:
        return {}

    def item(self, kind: str, number: Any) -> dict[str, Any]:
        """Entry `number` of a list of the header.

        Raises:
            SceneError: there is none.
        """
        entries = self.header.get(kind, [])
        if not isinstance(number, int) or not 0 <= number < len(entries):
            raise SceneError(
                f"scene {self.path}: {kind}[{str(number)[:20]}] is named but there are"
                f" {len(entries)}; export it anew"
            )
        entry: dict[str, Any] = entries[number]
        return entry

    def has_data(self, primitive: dict[str, Any]) -> bool:
        """Whether a primitive's accessors hold plain data (beside a compressed copy)."""
        numbers = [*primitive["attributes"].values()]
        if "indices" in primitive:
            numbers.append(primitive["indices"])
        return all("bufferView" in self.item("accessors", number) for number in numbers)

    def values(self, number: int, whole: bool = False, normalised: bool = False) -> np.ndarray:
        """An accessor's values [count, width]; normalised integers become numbers from 0 (or -1)
        to 1, unless they are asked for as `whole` numbers. `normalised`: whether all integers are,
        as those of colours, of which some exporters leave the mark out.

        Raises:
            SceneError: it reaches beyond its data, or is of a kind that the format does not have.
        """
        accessor = self.item("accessors", number)
        kind, width = _TYPES.get(accessor["componentType"]), _WIDTHS.get(accessor["type"])
        if kind is None or width is None:
            raise SceneError(
                f"scene {self.path}: accessor {number} has {accessor['type']} of component type"
                f" {accessor['componentType']}, which is no vector of numbers"
            )
        count = int(accessor["count"])
        if "bufferView" in accessor:
            view, offset = accessor["bufferView"], accessor.get("byteOffset", 0)
            values = self._view(int(view), int(offset), count, width, kind, f"accessor {number}")
        else:
            if not 0 <= count * width <= MOST_VALUES:
                raise SceneError(f"scene {self.path}: accessor {number} wants {count} values")
            values = np.zeros((count, width), dtype=kind)
        if "sparse" in accessor:
            values = self._sparse(values, accessor["sparse"], kind, number)
        share = normalised or accessor.get("normalized", False)
        if whole or values.dtype.kind == "f" or not share:
            return values
        largest = np.iinfo(values.dtype).max
        return np.maximum(values.astype(np.float64) / largest, -1.0)

    def image(self, number: int) -> bytes:
        """The bytes of an image, from its buffer view, its data URI or its file."""
        image = self.item("images", number)
        if "bufferView" in image:
            return self._raw(int(image["bufferView"]), f"image {number}").tobytes()
        uri = image.get("uri", "")
        if uri.startswith("data:"):
            return self._decoded(uri, f"image {number}")
        return named_file(self.path, uri, uri=True).read_bytes()

    def image_name(self, number: int) -> str:
        uri = str(self.item("images", number).get("uri", "data:"))
        return str(number) if uri.startswith("data:") else uri

    def files(self) -> list[Path]:
        """The files that it names."""
        named = [
            item.get("uri") for kind in ("buffers", "images") for item in self.header.get(kind, [])
        ]
        return [
            named_file(self.path, uri, uri=True)
            for uri in named
            if uri is not None and not uri.startswith("data:")
        ]

    def _sparse(
        self, values: np.ndarray, sparse: dict[str, Any], kind: str, number: int
    ) -> np.ndarray:
        count, name = int(sparse["count"]), f"accessor {number}, sparse"
        where, what = sparse["indices"], sparse["values"]
        rows = self._view(
            int(where["bufferView"]),
            int(where.get("byteOffset", 0)),
            count,
            1,
            _TYPES[where["componentType"]],
            name,
        ).reshape(-1)
        if count and rows.max() >= len(values):
            raise SceneError(f"scene {self.path}: {name}: row {rows.max()} of {len(values)}")
        changed = values.copy()
        changed[rows] = self._view(
            int(what["bufferView"]),
            int(what.get("byteOffset", 0)),
            count,
            values.shape[1],
            kind,
            name,
        )
        return changed

    def _view(
        self, number: int, offset: int, count: int, width: int, kind: str, name: str
    ) -> np.ndarray:
        raw = self._raw(number, name)
        size = np.dtype(kind).itemsize
        stride = int(self.item("bufferViews", number).get("byteStride", 0)) or size * width
        end = offset + (count - 1) * stride + size * width
        if count < 0 or offset < 0 or stride < size * width or (count and end > len(raw)):
            raise SceneError(
                f"scene {self.path}: {name} needs {end:,} bytes of a view of {len(raw):,}; it is"
                " cut off or broken, copy it anew"
            )
        if count == 0:
            return np.zeros((0, width), dtype=kind)
        values = np.ndarray((count, width), kind, raw, offset, (stride, size))
        return values

    def _raw(self, view: int, name: str) -> np.ndarray:
        entry = self.item("bufferViews", view)
        start, length = int(entry.get("byteOffset", 0)), int(entry["byteLength"])
        buffer = self._buffer(int(entry["buffer"]), name)
        if start < 0 or length < 0 or start + length > len(buffer):
            raise SceneError(
                f"scene {self.path}: {name} needs {start + length:,} bytes of {len(buffer):,}; it"
                " is cut off or broken, copy it anew"
            )
        return buffer[start : start + length]

    def _buffer(self, number: int, name: str) -> np.ndarray:
        if number not in self._buffers:
            entry = self.item("buffers", number)
            uri = entry.get("uri")
            if uri is None:
                compressed = "EXT_meshopt_compression"
                if number or compressed in entry.get("extensions", {}):
                    raise SceneError(
                        f"scene {self.path}: {name} is in buffer {number}, which has no data"
                        f" ({compressed} is not read here); export it with plain vertices"
                    )
                start = self.binary_start
                content = self._bytes[start : start + self.binary_length]
            elif uri.startswith("data:"):
                content = np.frombuffer(self._decoded(uri, f"buffer {number}"), np.uint8)
            else:
                file = named_file(self.path, uri, uri=True)
                content = np.memmap(file, dtype=np.uint8, mode="r")
            self._buffers[number] = content
        return self._buffers[number]

    def _decoded(self, uri: str, name: str) -> bytes:
        try:
            return base64.b64decode(uri.split(",", 1)[1], validate=False)
        except (IndexError, binascii.Error) as error:
            raise SceneError(
                f"scene {self.path}: {name} is no base64: {one_line(error, REASON)}"
            ) from error


def open_glb(path: Path) -> GlbFile:
    """The header of a .glb; its data are read when they are asked for.

    Raises:
        SceneError: no .glb of version 2, cut off, or in need of an extension that is not read.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(20)
        if len(head) < 20 or head[:4] != b"glTF":
            raise SceneError(f"scene {path} is no mesh: a .glb starts with glTF, not {head[:4]!r}")
        version, length, json_length, kind = struct.unpack("<4xIIII", head)
        if version != 2:
            raise SceneError(f"scene {path} is glTF {version}; export it as glTF 2")
        if size < length:
            raise SceneError(f"scene {path} is cut off: {size:,} of {length:,} bytes; copy it anew")
        if kind != _JSON_CHUNK or 20 + json_length > size:
            raise SceneError(f"scene {path}: its header is cut off or no JSON; copy it anew")
        try:
            header = json.loads(stream.read(json_length).decode("utf-8", errors="strict"))
        except (ValueError, RecursionError) as error:
            raise SceneError(
                f"scene {path}: its header is no JSON: {str(error)[:80] or 'nested too deep'}"
            ) from error
        if not isinstance(header, dict):
            raise SceneError(f"scene {path}: its header is no JSON object; export it anew")
        start, binary = 20 + json_length, (0, 0)
        while start + 8 <= size:
            stream.seek(start)
            chunk, kind = struct.unpack("<II", stream.read(8))
            if kind == _BINARY_CHUNK:
                binary = (start + 8, min(chunk, size - start - 8))
                break
            start += 8 + chunk
    required = header.get("extensionsRequired", ())
    unknown = {str(n) for n in ([required] if isinstance(required, str) else required)} - READ
    if unknown:
        raise SceneError(
            f"scene {path} needs {', '.join(sorted(unknown))[:80]}, which is not read here; export"
            " it with plain vertices and PNG or JPEG textures (HM3D: the -glb files, not -basis)"
        )
    return GlbFile(path, header, *binary)
