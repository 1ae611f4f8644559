"""Every command that pages, files of settings and helps show exists and has the flags it names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from trainers.cli import COMMANDS, HELP
from trainers.help import help_of

ROOT = Path(__file__).resolve().parents[2]
FLAG = re.compile(r"(?<!\S)--[a-z][\w.-]*")
SHOWN = re.compile(r"(?<![\w.-])rayforge ([a-z]+(?: [a-z]+)?)\b(?!:)([^`|&;>#]*)")
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"),
     *(ROOT / "tune_configs").rglob("*.yaml")]
)  # fmt: skip


@cache
def _flags(command: tuple[str, ...]) -> set[str]:
    """The flags of a command, those that turn a setting off among them."""
    said = help_of(COMMANDS[command], " ".join(command), None, True)
    given = set(re.findall(r"^  (--\S+)", said, re.MULTILINE))
    on = {flag.replace("[no-]", "") for flag in given}
    return (
        on | {flag.replace("[no-]", "no-") for flag in given} | {"--config", "--help", "--help-all"}
    )


def _lines(text: str) -> list[str]:
    """Lines of code blocks, joined where they go on, lines of comments, and code in a line."""
    text = re.sub(r"\\\n\s*", " ", text)
    blocks = re.findall(r"^```.*?$(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [line for line in text.splitlines() if re.match(r"( {4}|# )", line)]
    return lines + re.findall(r"`([^`\n]+)`", text)


def _wrong(text: str) -> list[str]:
    """What is wrong with the commands that a text shows."""
    found = []
    for line in _lines(text):
        for names, rest in SHOWN.findall(line):
            words = tuple(names.split())
            command = next((c for c in (words, words[:1]) if c in COMMANDS), None)
            if command is None:
                if any(c[: len(words)] == words for c in COMMANDS):
                    continue  # a group of commands
                found.append(f"there is no command {names!r} ({line.strip()})")
                continue
            unknown = set(FLAG.findall(rest)) - _flags(command)
            found += [f"{' '.join(command)} has no {flag} ({line.strip()})" for flag in unknown]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_shown_commands_exist_with_their_flags(page: Path) -> None:
    assert not _wrong(page.read_text())


@pytest.mark.parametrize("command", sorted(COMMANDS), ids=" ".join)
def test_helps_show_examples_that_exist(command: tuple[str, ...]) -> None:
    said = help_of(COMMANDS[command], " ".join(command), None, False)
    examples = [line for line in said.splitlines() if re.match(r"(  |Example: )rayforge ", line)]
    assert examples, f"rayforge {' '.join(command)} --help shows no example"
    assert not _wrong("".join(f"    {line}\n" for line in [*examples, *HELP.splitlines()]))


def test_the_page_of_commands_has_every_one() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text()
    shown = set(re.findall(r"`rayforge ([a-z ]+[a-z])(?: [A-Z.:]+)*(?: train)?`", page))
    assert {" ".join(command) for command in COMMANDS} <= shown


def test_a_flag_that_does_not_exist_is_seen() -> None:
    assert _wrong("    rayforge irl train --no-such 3\n")
    assert _wrong("`rayforge irl practise`")
    assert not _wrong("`rayforge irl train --no-debug --network.hidden 3`")
