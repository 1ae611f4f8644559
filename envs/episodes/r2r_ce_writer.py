"""Writes R2R-CE's episode files and ground truth; `envs.episodes.r2r_ce` reads them."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.episodes.continuous_episode import ContinuousEpisode
from envs.episodes.r2r_ce import episode_from_record

PADDING, UNKNOWN = "<pad>", "<unk>"
SPECIAL = (PADDING, UNKNOWN, "<s>", "</s>")


def write_r2r_ce(
    file: Path,
    episodes: Sequence[ContinuousEpisode],
    vocabulary: Sequence[str] | None = None,
) -> None:
    """Write an episode file that `read_r2r_ce` and habitat-lab read; equal episodes give equal
    bytes.

    Args:
        file: gzipped where its name ends with ``.gz``.
        episodes: their ground truth is left out: it has a file of its own.
        vocabulary: words of the training instructions (`words_of`); by default of these.

    Raises:
        DataError: an episode that `read_r2r_ce` would refuse, before anything is written.
    """
    if vocabulary is None:
        vocabulary = words_of(episode.instruction for episode in episodes)
    words = [*SPECIAL, *vocabulary]
    index = {word: k for k, word in enumerate(words)}
    records = []
    for number, episode in enumerate(episodes):
        record = _record(episode, index)
        episode_from_record(f"{file}: episode {number}", record)
        records.append(record)
    content = {
        "episodes": records,
        "instruction_vocab": {
            "word_list": words,
            "word2idx_dict": index,
            "stoi": index,
            "itos": words,
            "num_vocab": len(words),
            "UNK_INDEX": index[UNKNOWN],
            "PAD_INDEX": index[PADDING],
        },
    }
    _write(file, content)


def words_of(instructions: Iterable[str]) -> tuple[str, ...]:
    """The different words of some instructions in alphabetical order."""
    return tuple(sorted({word for text in instructions for word in _words(text)}))


def _words(text: str) -> list[str]:
    """Words and marks as habitat-lab's tokeniser splits them (commas and question marks go)."""
    text = text.lower().replace("'s", " 's").replace(",", "").replace("?", "")
    return [piece.strip() for piece in re.split(r"([^\w-]+)", text) if piece.strip()]


def _record(episode: ContinuousEpisode, index: Mapping[str, int]) -> dict[str, Any]:
    number = episode.episode_id
    short = number.isdecimal() and len(number) < 19  # longer ones are not read as numbers
    unknown = index[UNKNOWN]
    record: dict[str, Any] = {
        # habitat-lab's own files have numbers here.
        "episode_id": int(number) if short and str(int(number)) == number else number,
        "trajectory_id": episode.trajectory_id,
        "scene_id": episode.scene,
        "start_position": list(episode.start),
        "start_rotation": [0.0, math.sin(episode.yaw / 2), 0.0, math.cos(episode.yaw / 2)],
        "info": {}
        if episode.geodesic_distance is None
        else {"geodesic_distance": episode.geodesic_distance},
        "instruction": {
            "instruction_text": episode.instruction,
            "instruction_tokens": [index.get(w, unknown) for w in _words(episode.instruction)],
        },
    }
    if not episode.blind:
        record["goals"] = [{"position": list(episode.goal), "radius": episode.radius}]
        record["reference_path"] = [list(point) for point in episode.reference_path]
    return record


def _write(file: Path, content: Any) -> None:
    data = json.dumps(content, ensure_ascii=False).encode("utf-8")
    if file.name.endswith(".gz"):
        packed = io.BytesIO()
        # Neither name nor time in the header: equal content is equal bytes.
        with gzip.GzipFile("", "wb", 6, packed, mtime=0) as stream:
            stream.write(data)
        data = packed.getvalue()
    file.write_bytes(data)
