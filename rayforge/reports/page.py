"""Every page: one self-contained HTML file that loads nothing and runs no script but its own.

Jinja2 renders the templates of this folder with autoescape. A content security policy forbids
network access and any script but the page's own (by its hash), so text from data would stay text
even where an escape were forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rayforge.files import write_bytes
from rayforge.reports.section import Section

_HERE = Path(__file__).parent


def report_page(title: str, over: str, sections: Sequence[Section]) -> str:
    """A report as an HTML document; `over` is a line above its title."""
    return render("page.html", title=title, over=over, sections=sections)


def render(template: str, *, script: str = "", style: str = "", **values: Any) -> str:
    """An HTML document from a template of this folder.

    Args:
        template: file name.
        script: JavaScript, the only one that may run.
        style: CSS after the common style sheet.
        values: what the template shows, as text; only `Markup` is taken as HTML.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; " if script else ""
    policy = Markup(
        f"default-src 'none'; {allowed}style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    css = Markup(asset("style.css") + style)  # ours, and no entity is decoded in a style element
    return _templates().get_template(template).render(
        policy=policy, style=css, script=Markup(script), **values
    )  # fmt: skip


def embed(data: Any) -> Markup:
    """JSON that is safe inside a script element: NaN becomes null, no tag can open or close."""
    text = json.dumps(_finite(data), allow_nan=False, separators=(",", ":"))
    for sign in "&<>":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def asset(name: str) -> str:
    """The text of a file of this folder."""
    return (_HERE / name).read_text(encoding="utf-8")


def write_page(file: Path, text: str) -> Path:
    """Write a page whole or not at all; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate (a broken escape in some data file) must not cost the whole page.
    write_bytes(file, text.encode(errors="replace"))
    return file


@cache
def _templates() -> Environment:
    return Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)


def _finite(value: Any) -> Any:
    """As JSON can hold it: arrays as lists, NumPy numbers as numbers, NaN as null, text as text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):  # a lone surrogate is no text, and scripts trip over it
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
