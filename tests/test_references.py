"""What docs and docstrings name exists: files, modules, functions, commands, links."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(p for top in ("rayforge", "envs", "trainers") for p in (ROOT / top).rglob("*.py"))
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
MODULE = re.compile(r"(?:rayforge|envs|trainers|benchmarks)(?:\.\w+)+")
FILE = re.compile(
    r"(?:rayforge|envs|trainers|benchmarks|tests|tune_configs|docs)/(?:[\w.-]+/)*"
    r"(?:[\w-]+\.(?:py|md|ya?ml|json|toml|png|css|js))?"
)
MEMBER = re.compile(r"[A-Z]\w*\.\w+")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _classes() -> dict[str, set[str]]:
    """Names of all classes of the project, with the names of their members."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                members = found.setdefault(node.name, set())
                for inner in ast.walk(node):
                    if isinstance(inner, ast.FunctionDef | ast.ClassDef):
                        members.add(inner.name)
                    elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                        members.add(inner.target.id)
                    elif isinstance(inner, ast.Attribute):
                        members.add(inner.attr)
                    elif isinstance(inner, ast.Assign):
                        members |= {t.id for t in inner.targets if isinstance(t, ast.Name)}
    return found


def _missing(name: str) -> str | None:
    """Why what a text names does not exist; None where it does, or is no reference."""
    if MODULE.fullmatch(name):
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            base = ROOT.joinpath(*parts[:count])
            file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base
            if file.is_file() or (base / "__init__.py").is_file():
                rest = parts[count:]
                text = file.read_text() if file.is_file() else (base / "__init__.py").read_text()
                if not rest or re.search(rf"\b{rest[0]}\b", text):
                    return None
                return f"{file.relative_to(ROOT)} has no {rest[0]}"
        return "there is no such module"
    if FILE.fullmatch(name):
        return None if list(ROOT.glob(name.rstrip("/"))) else "there is no such file"
    if MEMBER.fullmatch(name):
        owner, member = name.split(".")
        there = _classes().get(owner)
        if there is not None and member not in there:
            return f"{owner} has no {member}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_pages_name_what_exists(page: Path) -> None:
    text = page.read_text()
    wrong = [f"{n}: {why}" for n in QUOTED.findall(text) if (why := _missing(n))]
    for target in LINK.findall(text):
        if "://" not in target and not (page.parent / target).exists():
            wrong.append(f"link to {target}: there is no such file")
    assert not wrong, f"{_name(page)}: {wrong}"


def test_docstrings_name_what_exists() -> None:
    wrong = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for name in QUOTED.findall(ast.get_docstring(node) or ""):
                    if why := _missing(name):
                        wrong.append(f"{_name(path)}: {name}: {why}")
    assert not wrong, wrong


def test_a_reference_to_nothing_is_seen() -> None:
    assert _missing("LangGoalIRL._no_such_thing")
    assert _missing("trainers.irl.no_such_module")
    assert _missing("rayforge.evaluation.metrics.no_such_metric")
    assert _missing("docs/no_such_page.md")
    assert _missing("rayforge.evaluation.metrics.spl") is None
    assert _missing("DPOTrainer.train") is None  # not ours
