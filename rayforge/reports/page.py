"""The shell of every page: one self-contained HTML file that loads nothing and runs nothing else.

A content security policy forbids network access and any script but the page's own (by its hash),
so that text from data stays text even where an escape were forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.files import write_bytes

_HERE = Path(__file__).parent


def page(title: str, body: str, *, script: str = "", style: str = "", data: Any = None) -> str:
    """A whole HTML document.

    Args:
        title: plain text.
        body: HTML; whoever builds it escapes what comes from data.
        script: JavaScript, the only one that may run.
        style: CSS after the common style sheet.
        data: what the script reads, embedded as JSON in the element `data`.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; " if script else ""
    policy = (
        f"default-src 'none'; {allowed}style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    embedded = f'<script type="application/json" id="data">{embed(data)}</script>\n'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{asset('style.css')}{style}</style>\n"
        f"</head>\n<body>\n{body}\n"
        + (embedded if data is not None else "")
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def embed(data: Any) -> str:
    """JSON that is safe inside a script element: NaN becomes null, no tag can open or close."""
    text = json.dumps(_finite(data), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def asset(name: str) -> str:
    """The text of a file of this folder."""
    return (_HERE / name).read_text(encoding="utf-8")


def write_page(file: Path, text: str) -> Path:
    """Write a page whole or not at all; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate (a broken escape in some data file) must not cost the whole page.
    write_bytes(file, text.encode(errors="replace"))
    return file


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
