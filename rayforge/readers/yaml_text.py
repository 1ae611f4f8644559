"""YAML of settings: plain values, no aliases (a few of which never end), no key twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from rayforge.errors import ConfigurationError, UserError
from rayforge.readers import limits
from rayforge.readers.content import read_text
from rayforge.readers.faults import REASON, one_line, reading, shown

_DEPTH = 64
"""Lists and mappings inside one another."""
_DIGITS = 100
"""Characters of a whole number (in any of YAML's bases) that are looked at."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, stricter."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases (& and *) are not read: write the value out",
                event.start_mark,
            )  # fmt: skip
        if self.depth >= _DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deep", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                why = "stands twice: remove one" if isinstance(key, Hashable) else "is no text"
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {shown(key)} {why}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        value = int(super().construct_yaml_int(node)) if len(node.value) <= _DIGITS else None
        if value is None or not limits.WHOLE[0] <= value <= limits.WHOLE[1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the whole number {one_line(node.value)} is too large (64 bits at"
                " most)", node.start_mark,
            )  # fmt: skip
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str, place: str | Path, kind: type[UserError] = ConfigurationError) -> Any:
    """The value of one YAML document; `place` is what the error calls it.

    Raises `kind` where it is no YAML, or has aliases, a key twice, tags of other types or a whole
    number beyond 64 bits; names line and column.
    """
    with reading(place, kind, "mend it"):
        if len(text) > limits.SETTINGS:
            raise kind(f"{place}: larger than the limit of {limits.size(limits.SETTINGS)}")
        try:
            return yaml.load(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            why = one_line(", ".join(filter(None, (error.context, error.problem))), REASON)
            raise kind(f"{place}: cannot be read as YAML ({why}{where})") from error


def read_yaml(file: Path, kind: type[UserError] = ConfigurationError) -> Any:
    """Read one YAML file; raises `kind` where it is missing, unreadable or `parse_yaml` refuses
    it."""
    return parse_yaml(read_text(file, limits.SETTINGS, kind), file, kind)
