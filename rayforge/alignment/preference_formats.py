"""One record of a preference file in any of the formats that are read.

| format | keys of a record |
|---|---|
| TRL, explicit prompt | `prompt`, `chosen`, `rejected`, all texts or all lists of messages |
| TRL, implicit prompt | `chosen`, `rejected` that begin alike, and no other key with text |
| HH-RLHF | `chosen`, `rejected`: dialogues "\\n\\nHuman: ...\\n\\nAssistant: ..." |
| UltraFeedback, binarised | a text `prompt`; `chosen`, `rejected` as whole conversations or texts; `score_chosen`, `score_rejected` beside them or under `metadata` |
| UltraFeedback, as published | `instruction`, `completions` with `response` and `overall_score` |
| Orca, Alpaca and others | `question`, `query`, `instruction` (with `input`) or `input` in the place of `prompt` |

A message is `{"role": text, "content": text}`, or as ShareGPT has it `{"from": "human", "value":
text}`; its content may be a list of parts `{"type": "text", "text": text}`. A side may be a single
message, or a text behind a prompt of messages. A `system` text (or `system_prompt`,
`system_message`) becomes the first message of a conversation. `tools` and `chat_template_kwargs` go
to the chat template, as in TRL. A prompt that both sides repeat is taken off them. `flipped`, or
`metadata.noise.selected` where noise was planted, says whether a label is known to be wrong.
"""  # noqa: E501

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from rayforge.alignment.preference_sides import (
    HUMAN,
    Content,
    UnsoundRecord,
    is_dialogue,
    repeated_inside,
    repeated_once,
    split_sides,
)
from rayforge.readers.content import is_blank

PROMPT_KEYS = ("question", "query", "instruction", "input")
"""Keys that hold the prompt where there is no key `prompt`."""
_BESIDE_PROMPT = (
    "context", "history", "messages", "conversations", "conversation", "dialogue", "documents",
    "passage",
)  # fmt: skip
"""Keys that are part of what was asked, in a way that no format here says."""
_NOT_READ = ("context", "history", "documents", "passage")
"""Those of them that are counted where a prompt stands beside them."""
_OTHER_MEDIA = re.compile(r"(images?|videos?|audios?|pixel)(_.*)?", re.IGNORECASE)
"""Keys that hold what is not text, or its name: `images`, `image_path`, `pixel_values`."""
_MESSAGES_AS_TEXT = re.compile(r"""\s*\[\s*\{\s*["'](role|content|from|value)["']\s*:""")
"""What begins a list of messages that a table holds as a text (JSON's or Python's)."""
_SYSTEM_KEYS = ("system", "system_prompt", "system_message")
_ANNOTATIONS = ("metadata", "meta")
"""Keys that say something about a record, and nothing that was said in it."""
_TEMPLATE_OWN = (
    "conversation", "tools", "chat_template", "add_generation_prompt", "continue_final_message",
    "tokenize", "return_dict", "return_tensors", "padding", "truncation", "max_length",
    "tokenizer_kwargs", "processor_kwargs", "return_assistant_tokens_mask", "documents",
)  # fmt: skip
"""Arguments of the template that are not a record's to set."""

_SCORE_KEYS = (
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"), ("chosen-rating", "rejected-rating"),
)  # fmt: skip

SAME_SCORES = "scored alike"
REVERSED_SCORES = "scored the other way round"
REPEATED_PROMPT = "prompt repeated in both sides and taken off them"
REPEATED_ONCE = "prompt repeated in one side alone, which is kept as it is"
UNSEEN_SIDE = "a side of characters that are not seen"
REPEATED_INSIDE = "prompt repeated inside both sides, which are kept as they are"
_SHAREGPT = {"human": "user", "gpt": "assistant"} | {
    role: role for role in ("user", "assistant", "system", "tool")
}
"""Roles of ShareGPT's turns by their names there."""


@dataclass(frozen=True)
class Preference:
    """A prompt with a preferred and a rejected response: three texts, or three message lists."""

    prompt: Content
    chosen: Content
    rejected: Content
    """Plain responses stand behind the prompt as they are, with whatever space begins them."""
    key: str = ""
    """Of the three contents, 32 hexadecimal digits: equal pairs have equal keys."""
    source: str = ""
    """The record it was read from, as a message names it."""
    flipped: bool | None = None
    """Whether the label is known to be wrong; None where the data does not say."""
    scores: tuple[float, float] | None = None
    """An outside rating of chosen and rejected, where the data has one; higher is better."""
    tools: list[Any] | None = None
    """Tools that the chat template prints beside the messages, as in TRL."""
    template: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the chat template, as in TRL."""
    notes: tuple[str, ...] = ()
    """What reading did to the record or noticed in it, to be counted."""


def parse_record(record: Any) -> Preference:
    """The pair in a record, without key and source.

    Raises UnsoundRecord with one of a small number of reasons.
    """
    if not isinstance(record, dict):
        raise UnsoundRecord("not a record of keys and values")
    try:
        return _parse(record)
    except RecursionError:
        raise UnsoundRecord("nested too deeply") from None


def _parse(record: dict[str, Any]) -> Preference:
    if record.get("completions") is not None and record.get("chosen") is None:
        found = _ultrafeedback(record)
    else:
        found = _pair(record)
    found = _with_template(found, record)
    # Compared before emptiness: two empty sides are identical first of all.
    if found.chosen == found.rejected:
        raise UnsoundRecord("identical sides")
    if _blank(found.chosen) or _blank(found.rejected):
        raise UnsoundRecord("empty side")
    if _blank(found.prompt):
        raise UnsoundRecord("empty prompt")
    if _unseen(found.chosen) or _unseen(found.rejected):
        found = replace(found, notes=(*found.notes, UNSEEN_SIDE))
    if found.scores is not None and found.scores[0] <= found.scores[1]:
        alike = found.scores[0] == found.scores[1]
        note = SAME_SCORES if alike else REVERSED_SCORES
        found = replace(found, notes=(*found.notes, note))
    return found


def _pair(record: dict[str, Any]) -> Preference:
    for key in ("chosen", "rejected"):
        if record.get(key) is None:
            raise UnsoundRecord(f"missing key {key}")
    chosen, rejected = _content(record["chosen"]), _content(record["rejected"])
    prompt, notes = _prompt(record, chosen)
    if isinstance(prompt, list) and isinstance(chosen, str) and isinstance(rejected, str):
        chosen, rejected = _answer(chosen), _answer(rejected)
    parts, repeated = split_sides(prompt, chosen, rejected)
    if repeated:
        notes = (*notes, REPEATED_PROMPT)
    elif repeated_once(parts):
        notes = (*notes, REPEATED_ONCE)
    elif repeated_inside(parts):
        notes = (*notes, REPEATED_INSIDE)
    return Preference(*parts, flipped=_flipped(record), scores=_scores(record), notes=notes)


def _prompt(record: dict[str, Any], chosen: Content) -> tuple[Content | None, tuple[str, ...]]:
    """The prompt that a record names, None where its two sides hold it; and notes."""
    beside = next((key for key in _BESIDE_PROMPT if not _nothing(record.get(key))), None)
    if record.get("prompt") is not None:
        # `messages` and its like are the whole conversation once more (UltraFeedback).
        unread = [key for key in _NOT_READ if not _nothing(record.get(key))]
        return _content(record["prompt"]), tuple(
            f"{key} beside the prompt not read" for key in unread
        )
    named = {key: record[key] for key in PROMPT_KEYS if not _nothing(record.get(key))}
    if set(named) == {"instruction", "input"}:
        both = _content(named["instruction"]), _content(named["input"])
        if not (isinstance(both[0], str) and isinstance(both[1], str)):
            raise UnsoundRecord("texts and messages mixed")
        found: Content = f"{both[0]}\n{both[1]}"
    elif len(named) > 1:
        raise UnsoundRecord(
            f"keys {' and '.join(named)} may both hold the prompt (join them under prompt)"
        )
    elif named:
        found = _content(next(iter(named.values())))
    else:
        _check_implicit(record, chosen, beside)
        return None, ()
    if beside is not None:
        raise UnsoundRecord(
            f"key {beside} beside {' and '.join(named)} may belong to the prompt (join them under "
            "prompt)"
        )
    return found, (f"prompt read from {' and '.join(named)}",)


def _check_implicit(record: dict[str, Any], chosen: Content, beside: str | None) -> None:
    """Refuse to take the common beginning of two answers for the prompt that another key holds."""
    if beside is None and isinstance(chosen, str) and not is_dialogue(chosen):
        known = ("chosen", "rejected", "tools", *_SYSTEM_KEYS, *_ANNOTATIONS)
        beside = next(
            (k for k, v in record.items()
             if k not in known and not _OTHER_MEDIA.fullmatch(k) and _prose(v)), None
        )  # fmt: skip
        if beside is None:
            beside = next((key for key in _SYSTEM_KEYS if not _nothing(record.get(key))), None)
    if beside is not None:
        raise UnsoundRecord(f"no key prompt, and {_cut(beside)} may hold it (call it prompt)")


def _prose(value: Any) -> bool:
    """Whether a value may be something that was said: words or turns, not an id or a number."""
    if isinstance(value, list):
        turns = any(isinstance(part, dict) and {"content", "value"} & part.keys() for part in value)
        return turns or any(isinstance(part, list | dict) and _prose(part) for part in value)
    if isinstance(value, dict):
        return any(_prose(part) for part in value.values())
    return isinstance(value, str) and (len(value.split()) > 1 or value.rstrip().endswith("?"))


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _ultrafeedback(record: dict[str, Any]) -> Preference:
    """The best-rated against the worst-rated completion of an instruction."""
    if record.get("instruction") is None:
        raise UnsoundRecord("missing key instruction")
    rated = []
    for completion in record["completions"] if isinstance(record["completions"], list) else []:
        if not isinstance(completion, dict) or completion.get("response") is None:
            raise UnsoundRecord("missing key response")
        score = _number(completion.get("overall_score"))
        if score is not None:
            rated.append((score, _content(completion["response"])))
    if len(rated) < 2:
        raise UnsoundRecord("fewer than two rated completions")
    worst, best = min(rated, key=lambda r: r[0]), max(rated, key=lambda r: r[0])
    if best[0] == worst[0]:
        raise UnsoundRecord("all completions rated alike")
    prompt = _content(record["instruction"])
    if any(isinstance(part, list) for part in (prompt, best[1], worst[1])):
        raise UnsoundRecord("texts and messages mixed")
    sides = (best[1], worst[1])
    return Preference(prompt, *sides, flipped=_flipped(record), scores=(best[0], worst[0]))


def _content(value: Any) -> Content:
    """A text, or a list of messages without the keys that a table filled with null."""
    if isinstance(value, str):
        if _MESSAGES_AS_TEXT.match(value):
            raise UnsoundRecord("messages written as a text (write the list itself)")
        return _encodable(value)
    if isinstance(value, dict) and ("content" in value or "value" in value):
        value = [value]
    if not isinstance(value, list):
        raise UnsoundRecord("neither text nor messages")
    return [_message(message) for message in value]


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise UnsoundRecord("message without role and content in text")
    said = {k: _without_nulls(v) for k, v in message.items() if v is not None}
    if "role" not in said and isinstance(said.get("from"), str) and "value" in said:
        role = said.pop("from")
        if role not in _SHAREGPT:
            raise UnsoundRecord(f"turn from {_cut(role)}, which is no role that is known")
        said = {"role": _SHAREGPT[role], "content": said.pop("value"), **said}
    if said.get("tool_calls"):
        said.setdefault("content", "")
    if isinstance(said.get("content"), list):
        said["content"] = "".join(map(_part, said["content"]))
    if not isinstance(said.get("role"), str) or not isinstance(said.get("content"), str):
        raise UnsoundRecord("message without role and content in text")
    _encodable(said["content"])
    return said


def _part(part: Any) -> str:
    """The text of one part of a message's content."""
    if isinstance(part, dict) and part.get("type", "text") == "text":
        part = part.get("text")
    elif isinstance(part, dict):
        raise UnsoundRecord(
            f"{_cut(str(part['type']))} in a message, which a language model does not read"
        )
    if not isinstance(part, str):
        raise UnsoundRecord("message without role and content in text")
    return part


def _answer(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def _without_nulls(value: Any) -> Any:
    """The same without the keys that a table filled with null, at every depth."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _with_template(found: Preference, record: dict[str, Any]) -> Preference:
    """With what goes to the chat template beside the messages, and a system turn."""
    for key, value in record.items():
        if _OTHER_MEDIA.fullmatch(key) and not _nothing(value):
            raise UnsoundRecord(
                f"{_cut(key)} beside the text, which a language model does not read"
            )
    if not _nothing(record.get("functions")):
        raise UnsoundRecord("functions beside the text (call them tools)")
    systems = [key for key in _SYSTEM_KEYS if record.get(key) is not None]
    if len(systems) > 1:
        raise UnsoundRecord(f"keys {' and '.join(systems)} may both hold the system text")
    found = _with_system(found, record[systems[0]] if systems else None)
    tools, template = _tools(record.get("tools")), record.get("chat_template_kwargs")
    if not _nothing(template) and not isinstance(template, dict):
        raise UnsoundRecord("chat_template_kwargs that are not keys and values")
    settings = _without_nulls(template) if template else {}
    own = next((key for key in settings if key in _TEMPLATE_OWN), None)
    if own is not None:
        raise UnsoundRecord(f"chat_template_kwargs that set {own}")
    if (tools or settings) and isinstance(found.prompt, str):
        name = "tools" if tools else "chat_template_kwargs"
        raise UnsoundRecord(f"{name} beside plain text, which no chat template renders")
    return replace(found, tools=tools, template=settings)


def _with_system(found: Preference, system: Any) -> Preference:
    """With a `system` text as the first message; a text prompt becomes a conversation for it."""
    if system is None:
        return found
    if not isinstance(system, str):
        raise UnsoundRecord("system that is not a text")
    turn = [{"role": "system", "content": _encodable(system)}] if system.strip() else []
    if isinstance(found.prompt, list):
        if found.prompt[:1] == turn or not turn:
            return found
        if any(message["role"] == "system" for message in found.prompt):
            raise UnsoundRecord("key system beside a system message")
        return replace(found, prompt=[*turn, *found.prompt])
    if HUMAN.lstrip() in found.prompt:
        if not turn:
            return found
        raise UnsoundRecord("key system beside a dialogue in text")
    # Also where it is empty: other records of the file have one, and all are asked alike.
    return replace(
        found,
        prompt=[*turn, {"role": "user", "content": found.prompt}],
        chosen=_answer(str(found.chosen)),
        rejected=_answer(str(found.rejected)),
    )


def _tools(value: Any) -> list[Any] | None:
    """Tools as a list, from JSON text as well; None for none."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UnsoundRecord("tools that are not JSON") from None
    if value is None or value == "" or value == []:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise UnsoundRecord("tools that are not a list of descriptions")
    return [_without_nulls(tool) for tool in value]


def _cut(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise UnsoundRecord("wrong encoding") from None
    return text


def _blank(content: Content) -> bool:
    if not isinstance(content, str):
        return all(_blank(m["content"]) and not m.get("tool_calls") for m in content)
    return not content.strip()


def _unseen(content: Content) -> bool:
    if not isinstance(content, str):
        return all(_unseen(m["content"]) and not m.get("tool_calls") for m in content)
    return is_blank(content)


def _scores(record: dict[str, Any]) -> tuple[float, float] | None:
    metadata = record.get("metadata")
    for place in (record, metadata if isinstance(metadata, dict) else {}):
        for best, worst in _SCORE_KEYS:
            found = _number(place.get(best)), _number(place.get(worst))
            if found[0] is not None and found[1] is not None:
                return found[0], found[1]
    return None


def _flipped(record: dict[str, Any]) -> bool | None:
    if isinstance(record.get("flipped"), bool):
        return bool(record["flipped"])
    metadata = record.get("metadata")
    noise = metadata.get("noise") if isinstance(metadata, dict) else None
    selected = noise.get("selected") if isinstance(noise, dict) else None
    return selected if isinstance(selected, bool) else None


def _number(value: Any) -> float | None:
    """A finite number, also where a table holds it as a text or a decimal; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):  # no number, or one beyond all floats
        return None
    return number if math.isfinite(number) else None
