"""The two sides of a preference pair without the prompt that they hold, in texts, dialogues and
messages."""

from __future__ import annotations

import re
from typing import Any

Messages = list[dict[str, Any]]
Content = str | Messages
_ASSISTANT = "\n\nAssistant:"
HUMAN = "\n\nHuman:"
"""What begins a turn of a person in a dialogue of HH-RLHF; `_ASSISTANT` begins an answer."""


Parts = tuple[Content, Content, Content]
"""Prompt, chosen side, rejected side: all texts, or all lists of messages."""


class UnsoundRecord(ValueError):
    """A record that no pair can be made of; the message is the reason it is counted under."""


def split_sides(prompt: Content | None, chosen: Content, rejected: Content) -> tuple[Parts, bool]:
    """(prompt, chosen, rejected), and whether both sides repeated the prompt.

    Without a prompt it is what both sides begin with: the dialogue up to the last answer, the
    messages or the text that they share (as TRL does). Raises UnsoundRecord where they share
    nothing, or where prompt and sides do not go together.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        if prompt is None:
            return _split_text(chosen, rejected), False
        if isinstance(prompt, str):
            return _without_text(prompt, chosen, rejected)
    if isinstance(chosen, list) and isinstance(rejected, list):
        if prompt is None:
            return _split_messages(chosen, rejected), False
        if isinstance(prompt, list):
            return _without_messages(prompt, chosen, rejected)
        if all(m["role"] == "assistant" for m in (*chosen[:1], *rejected[:1])) and chosen:
            return ([{"role": "user", "content": prompt}], chosen, rejected), False
        common, first, second = _split_messages(chosen, rejected)
        if any(message["content"] == prompt for message in common):
            return (common, first, second), False
        raise UnsoundRecord("prompt is not in the conversations")
    raise UnsoundRecord("texts and messages mixed")


def _without_text(prompt: str, chosen: str, rejected: str) -> tuple[Parts, bool]:
    """Sides without the prompt where both begin with it.

    A prompt of a single word is left: an answer may well begin with it.
    """
    said = prompt.strip()
    if is_dialogue(chosen) and is_dialogue(rejected):
        before, first, second = _split_dialogue(chosen, rejected)
        if said and said in before:
            return (before, first, second), True
        raise UnsoundRecord("prompt is not in the dialogues")
    if not said or re.fullmatch(r"\w+", said):
        return (prompt, chosen, rejected), False
    for start in (prompt, said):
        if chosen.startswith(start) and rejected.startswith(start):
            return (start, chosen.removeprefix(start), rejected.removeprefix(start)), True
    return (prompt, chosen, rejected), False


def _without_messages(prompt: Messages, chosen: Messages, rejected: Messages) -> tuple[Parts, bool]:
    """Sides without the last messages of the prompt where both begin with them."""
    repeated = [
        next((k for k in range(len(prompt), 0, -1) if prompt[-k:] == side[:k]), 0)
        for side in (chosen, rejected)
    ]
    if repeated[0] != repeated[1]:
        raise UnsoundRecord("prompt repeated in one side alone")
    if repeated[0]:
        return (prompt, chosen[repeated[0] :], rejected[repeated[0] :]), True
    # A conversation that begins before the prompt does, with a system turn most often.
    common = chosen[: _common(chosen, rejected)]
    if common and common[0]["role"] == "assistant":  # it answers the prompt
        common = []
    for start in range(1, len(common) - len(prompt) + 1):
        end = start + len(prompt)
        if common[start:end] == prompt:
            return (common[:end], chosen[end:], rejected[end:]), True
    return (prompt, chosen, rejected), False


def is_dialogue(text: str) -> bool:
    """Whether a text is a dialogue of HH-RLHF: it begins with a person and has an answer."""
    return text.lstrip().startswith(HUMAN.lstrip()) and _ASSISTANT in text


def _split_text(chosen: str, rejected: str) -> tuple[str, str, str]:
    if HUMAN in chosen and _ASSISTANT in chosen:
        return _split_dialogue(chosen, rejected)
    if chosen == rejected:
        raise UnsoundRecord("identical sides")
    border = _common(chosen, rejected)
    if border == min(len(chosen), len(rejected)):
        raise UnsoundRecord("empty side")
    # As TRL does: the space belongs to the response, where tokenisers want it.
    if border and chosen[border - 1] == " ":
        border -= 1
    if not border:
        raise UnsoundRecord("no common prompt")
    return chosen[:border], chosen[border:], rejected[border:]


def _split_dialogue(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Split behind the last "\\n\\nAssistant:", up to which both dialogues must be the same."""
    before, _, response = chosen.rpartition(_ASSISTANT)
    other_before, _, other = rejected.rpartition(_ASSISTANT)
    if before != other_before:
        raise UnsoundRecord("no common prompt")
    return before + _ASSISTANT, response, other


def _split_messages(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    if chosen == rejected:
        raise UnsoundRecord("identical sides")
    border = _common(chosen, rejected)
    if not border:
        raise UnsoundRecord("no common prompt")
    if all(message["role"] in ("system", "developer") for message in chosen[:border]):
        raise UnsoundRecord("no common prompt but a system turn (call what was asked prompt)")
    return chosen[:border], chosen[border:], rejected[border:]


def _common(a: str | Messages, b: str | Messages) -> int:
    """Length of the common beginning."""
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)


def repeated_once(parts: Parts) -> bool:
    """Whether a text side begins with a prompt of several words: an answer may quote it."""
    prompt, *sides = parts
    if not isinstance(prompt, str) or len(prompt.split()) < 2:
        return False
    return any(str(side).lstrip().startswith(prompt.strip()) for side in sides)


def repeated_inside(parts: Parts) -> bool:
    """Whether a text prompt of several words stands in what both text sides begin with, behind
    other words: a template of chat written out around it, most often."""
    prompt, *sides = parts
    if not isinstance(prompt, str) or len(prompt.split()) < 3:
        return False
    first, second = map(str, sides)
    return prompt.strip() in first[: _common(first, second)]
