"""A made-up alignment run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml


def make_alignment_run(
    folder: Path, margins: Any, *, task: str = "aaaa-bbbb", rounds: int = 2, prompt: str = "Go on.",
    scores: Any = None, **settings: Any,
) -> Path:  # fmt: skip
    """A run whose last round has these margins of held-out pairs, and its judge these scores."""
    config = {"data": "pairs.jsonl", "method": "sera", "rounds": rounds, "steps": 4, "seed": 0,
              "loss": "sigmoid", "judge": "", "model": "tiny", **settings}  # fmt: skip
    for which in range(rounds + 1):
        place = folder / "rounds" / str(which)
        place.mkdir(parents=True)
        if which:
            pq.write_table(pa.table({"margin": np.asarray(margins, float)}),
                           place / "held_out.parquet")  # fmt: skip
        count = 2 if scores is None else len(scores)
        answers: dict[str, Any] = {
            "prompt": [f"{prompt} {n}" if n else prompt for n in range(count)],
            "greedy": [f"answer {which}"] * count,
        }
        if scores is not None:
            answers["greedy_score"] = np.asarray(scores, float)
        pq.write_table(pa.table(answers), place / "answers.parquet")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    about = {"command": "rayforge align train", "hardware": "CPU", "data": "pairs.jsonl"}
    (folder / "run.json").write_text(json.dumps({**about, "task": task}))
    right = float(np.mean(np.asarray(margins) > 0))
    records = [
        {"round": which, "phase": "review", "updates": 4 * which, "review/accuracy": right}
        for which in range(1, rounds + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder
