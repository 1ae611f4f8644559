"""Dialogue data that others published, read by their formats.

Contextual rewrites: Alexa CQR (Regan et al. 2019; the Stanford in-car dialogues with rewrites),
CANARD (Elgohary et al. 2019), QReCC (Anantha et al. 2021) and TREC CAsT (Dalton et al. 2020:
topics with rewritten turns). Intents and slots: Snips (2017;
pieces of text with slot names), the three text files `seq.in`, `seq.out`, `label` (Goo et al. 2018)
that ATIS and Snips go round in, MASSIVE (FitzGerald et al. 2022; JSON lines with `annot_utt`) and
SLURP (Bastianelli et al. 2020; JSON lines with `sentence_annotation`).
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayforge.errors import DataError
from rayforge.readers.content import read_bytes, read_lines
from rayforge.readers.faults import kind_of, reading, shown
from rayforge.readers.json_text import parse_json, read_json


@dataclass(frozen=True)
class Rewrite:
    """One request of a dialogue, and how it is said so that it stands alone."""

    dialogue: int
    """Number of its dialogue in the data: a split must not part those of one dialogue."""
    context: tuple[str, ...]
    """What was said before, oldest first, both sides."""
    request: str
    gold: str | None
    """The rewrite; None where the request needs none."""
    others: tuple[str, ...] = ()
    """Rewrites by other people."""
    slots: tuple[str, ...] = ()
    """Texts that a rewrite must keep."""


@dataclass(frozen=True)
class Utterance:
    """A request with its intent and its slots ([begin, end) in the text, name), in order."""

    text: str
    intent: str
    slots: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class EngineResult:
    """What one engine reached on one intent: means over its runs; NaN where it said nothing."""

    engine: str
    intent: str
    precision: float
    recall: float
    slots: dict[str, tuple[float, float, float]]
    """Name -> (precision, recall, how often the slot occurs)."""


def read_rewrites(file: Path) -> list[Rewrite]:
    """Contextual rewrites of one file: JSON (one list) or JSON lines, gzipped or not.

    Raises DataError at the first record that is not of the format, or where there is none.
    """
    found: list[Rewrite] = []
    conversations: dict[Any, int] = {}
    for number, (place, record) in enumerate(_records(file)):
        if not isinstance(record, dict):
            raise DataError(f"{place}: a dialogue is an object, found {kind_of(record)}")
        if "dialogue" in record:
            found += _cqr(record, number, place)
        elif "Rewrite" in record or "Truth_rewrite" in record:
            found.append(_canard(record, conversations, place))
        elif isinstance(record.get("turn"), list):
            found += _cast(record, number, place)
        else:
            raise DataError(
                f"{place}: no CQR dialogue (key 'dialogue'), no CANARD or QReCC question (key"
                " 'Rewrite') and no CAsT topic (key 'turn')"
            )
    if not found:
        raise DataError(f"{file}: holds no rewrites; expected CQR, CANARD, QReCC or CAsT")
    return found


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, record) of a JSON list or of JSON lines: published files are either."""
    data = read_bytes(file).removeprefix(codecs.BOM_UTF8)
    if data.lstrip()[:1] == b"[":
        records = parse_json(data, file)
        if not isinstance(records, list):
            raise DataError(f"{file}: expected a list of records, found {kind_of(records)}")
        yield from ((f"{file}: record {n}", record) for n, record in enumerate(records, 1))
        return
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            yield f"{file}: line {number}", parse_json(line, f"{file}: line {number}")


def _cqr(record: dict[str, Any], number: int, place: str) -> Iterator[Rewrite]:
    turns = _list(record, "dialogue", place)
    said: list[str] = []
    speakers: list[str] = []
    for index, turn in enumerate(turns):
        where = f"{place}, turn {index}"
        data = _object(turn, "data", where)
        said.append(_text(data, "utterance", where))
        speakers.append(_text(turn, "turn", where))
        reformulation = turn.get("reformulation")
        if reformulation is None:
            continue
        reformulation = _object(turn, "reformulation", where)
        # The request is the user's last one; the file's base_utt_idx names the one that the
        # rewrite was made from, which may be an earlier one.
        asked = next((i for i in range(index, -1, -1) if speakers[i] != "assistant"), None)
        if asked is None:
            raise DataError(f"{where}: a reformulation without a user's turn before it")
        gold = reformulation.get("reformulated_utt")
        if gold is not None:
            gold = _text(reformulation, "reformulated_utt", where)
        yield Rewrite(
            number, tuple(said[:asked]), said[asked], gold or None,
            _texts(reformulation, "mturk_reformulations", where),
            _texts(reformulation, "gold_slots", where),
        )  # fmt: skip


def _canard(record: dict[str, Any], conversations: dict[Any, int], place: str) -> Rewrite:
    """CANARD's keys, or QReCC's: there the context is another key's. Questions of one conversation
    share its identifier; `conversations` numbers them. Without one, each is by itself."""
    context = _texts(record, "History" if "History" in record else "Context", place)
    key = "Rewrite" if "Rewrite" in record else "Truth_rewrite"
    question, gold = _text(record, "Question", place), _text(record, key, place)
    named = record.get("QuAC_dialog_id", record.get("Conversation_no"))
    if named is not None and not isinstance(named, str | int):
        raise DataError(f"{place}: a conversation is named by text or number, not {shown(named)}")
    dialogue = conversations.setdefault(
        (len(conversations),) if named is None else named, len(conversations)
    )
    return Rewrite(dialogue, context, question, None if gold == question else gold)


def _cast(record: dict[str, Any], number: int, place: str) -> Iterator[Rewrite]:
    """The turns of a topic of TREC CAsT of which people wrote a rewrite; what was asked before is
    their context."""
    asked: list[str] = []
    for index, turn in enumerate(_list(record, "turn", place)):
        where = f"{place}, turn {index}"
        said = _text(turn, "raw_utterance", where)
        if turn.get("manual_rewritten_utterance") is not None:
            gold = _text(turn, "manual_rewritten_utterance", where)
            yield Rewrite(number, tuple(asked), said, None if gold == said else gold)
        asked.append(said)


def read_utterances(source: Path) -> list[Utterance]:
    """Utterances of a Snips file, of several in a folder's `train_*.json` files given one by one,
    or of a folder with `seq.in`, `seq.out` and `label`.

    Raises DataError at the first record that is not of the format, or where there is none.
    """
    found = _bio_folder(source) if source.is_dir() else _snips(source)
    if not found:
        raise DataError(f"{source}: holds no utterances")
    return found


def _snips(file: Path) -> list[Utterance]:
    data = read_bytes(file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Some of the published files are in Latin-1.
        text = data.decode("latin-1")
    content = parse_json(text, file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected an object of intents, found {kind_of(content)}")
    found = []
    for intent, records in content.items():
        if not isinstance(records, list):
            raise DataError(
                f"{file}: intent {shown(intent)} must hold a list, found {kind_of(records)}"
            )
        for number, record in enumerate(records, 1):
            place = f"{file}: {intent[:80]}, utterance {number}"
            text, slots = "", []
            for piece in _list(record, "data", place):
                part = _text(piece, "text", place)
                if piece.get("entity") is not None:
                    slots.append((len(text), len(text) + len(part), _text(piece, "entity", place)))
                text += part
            if not text.strip():
                raise DataError(f"{place}: is empty; remove it")
            found.append(Utterance(text, intent, tuple(_trimmed(text, slots))))
    return found


def _trimmed(text: str, slots: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Slots without the spaces at their ends; a slot of spaces alone is none."""
    for begin, end, name in slots:
        inner = text[begin:end]
        begin, end = (
            begin + len(inner) - len(inner.lstrip()),
            end - len(inner) + len(inner.rstrip()),
        )
        if begin < end:
            yield begin, end, name


def read_massive(file: Path) -> dict[str, list[Utterance]]:
    """Utterances of a MASSIVE file (`en-US.jsonl`) by its partitions: "train", "dev", "test"; of a
    SLURP file (`train.jsonl`, `devel.jsonl`) all are of the one that its name says.

    Slots are those of the annotation ("wake me at [time : five am]"). Raises DataError at the first
    line that is not of the format, or where there is none.
    """
    found: dict[str, list[Utterance]] = {}
    for place, record in _records(file):
        slurp = isinstance(record, dict) and "sentence_annotation" in record
        partition = _slurp_part(file) if slurp else _text(record, "partition", place)
        intent = _text(record, "intent", place)
        key = "sentence_annotation" if slurp else "annot_utt"
        annotated, text, slots = _text(record, key, place), "", []
        end = 0
        for match in _SLOT.finditer(annotated):
            text += annotated[end : match.start()]
            slots.append((len(text), len(text) + len(match[2]), match[1].strip()))
            text += match[2]
            end = match.end()
        text += annotated[end:]
        if not text.strip():
            raise DataError(f"{place}: is empty; remove it")
        own = Utterance(text, intent, tuple(_trimmed(text, slots)))
        found.setdefault(partition, []).append(own)
    if not found:
        raise DataError(f"{file}: holds no utterances")
    return found


def _slurp_part(file: Path) -> str:
    name = file.name.partition(".")[0]
    return {"devel": "dev", "train_synthetic": "train"}.get(name, name)


_SLOT = re.compile(r"\[([^\[\]:]+):\s*([^\[\]]*)\]")


def _bio_folder(folder: Path) -> list[Utterance]:
    lines = {}
    for name in ("seq.in", "seq.out", "label"):
        with reading(folder / name):
            lines[name] = [line.decode("utf-8-sig").strip() for line in read_lines(folder / name)]
    counts = {name: len(found) for name, found in lines.items()}
    if len(set(counts.values())) != 1:
        raise DataError(f"{folder}: seq.in, seq.out and label differ in length: {counts}")
    found = []
    for number, (text, tags, intent) in enumerate(zip(*lines.values(), strict=True), 1):
        place = f"{folder / 'seq.in'}: line {number}"
        words, marks = text.split(), tags.split()
        if len(words) != len(marks):
            raise DataError(f"{place}: {len(words)} words but {len(marks)} tags in seq.out")
        if not words:
            raise DataError(f"{place}: is empty; remove it from all three files")
        found.append(Utterance(" ".join(words), intent, tuple(_bio_slots(words, marks))))
    return found


def _bio_slots(words: list[str], tags: list[str]) -> Iterator[tuple[int, int, str]]:
    """Slots of B-, I- and O tags; an I- of another name than before it begins a slot."""
    begin, end, name, place = 0, 0, "", 0
    for word, tag in zip(words, tags, strict=True):
        kind, _, label = tag.partition("-")
        goes_on = kind == "I" and label == name
        if name and not goes_on:
            yield begin, end, name
            name = ""
        if kind in ("B", "I") and label and not goes_on:
            begin, name = place, label
        end = place + len(word)
        place = end + 1
    if name:
        yield begin, end, name


def read_engine(file: Path, size: str = "70") -> list[EngineResult]:
    """What an engine reached (`*_metrics.json` of Snips), for each intent, when it was trained on
    `size` utterances an intent.

    Raises DataError where the file is not of the format.
    """
    content = read_json(file)
    intents = _object(content, "intents", str(file))
    engine = content.get("model_name")
    found = []
    for intent in intents:
        place = f"{file}: {intent[:80]}"
        record = _object(intents, intent, place)
        slots = {}
        for name in _object(record, "slots", place):
            slot = _object(record["slots"], name, place)
            slots[name] = (
                _mean(slot, "precision", size, place), _mean(slot, "recall", size, place),
                _mean({"rate": {size: [slot.get("rate")]}}, "rate", size, place),
            )  # fmt: skip
        name = engine if isinstance(engine, str) else file.name.removesuffix("_metrics.json")
        precision, recall = (_mean(record, key, size, place) for key in ("precision", "recall"))
        found.append(EngineResult(name, intent, precision, recall, slots))
    return found


def _mean(record: dict[str, Any], key: str, size: str, place: str) -> float:
    """The mean of a figure over an engine's runs, those without a value left out."""
    values = _object(record, key, place).get(size)
    if not isinstance(values, list):
        raise DataError(f"{place}: no {key} at {size} utterances")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{place}: {key} must hold numbers, found {shown(value)}")
    sound = [float(value) for value in values if math.isfinite(value)]
    return sum(sound) / len(sound) if sound else math.nan


def _object(record: Any, key: str, place: str) -> dict[str, Any]:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, dict):
        raise DataError(f"{place}: {key!r} must be an object, found {kind_of(value)}")
    return value


def _list(record: Any, key: str, place: str) -> list[Any]:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, list):
        raise DataError(f"{place}: {key!r} must be a list, found {kind_of(value)}")
    return value


def _text(record: Any, key: str, place: str) -> str:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise DataError(f"{place}: {key!r} must be a text, found {kind_of(value)}")
    return value


def _texts(record: dict[str, Any], key: str, place: str) -> tuple[str, ...]:
    """A list of texts; nothing where the key is missing or null."""
    value = record.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{place}: {key!r} must be a list of texts, found {shown(value)}")
    return tuple(value)
