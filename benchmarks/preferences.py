"""Real preference data through the same command: held-out accuracy and found flips by round.

    python -m benchmarks.preferences ../shared/data/preferences --out runs/preferences

UltraFeedback as published and with 20 % of its labels flipped, HH-RLHF helpful and harmless, each
with the tiny model (random weights, fine-tuned on the chosen side first). The models are far too
small to write well; what is asked is whether everything runs, whether the implicit reward orders
held-out pairs better than chance, and whether its margin finds the flipped labels. Resumable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro

from benchmarks.sub_runs import run_all
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.language.tiny_model import TinyModelConfig
from trainers.alignment.config import AlignConfig
from trainers.alignment.sft import StartConfig
from trainers.configuration import to_yaml


@dataclass(frozen=True)
class Benchmark:
    """SeRA on UltraFeedback and HH-RLHF."""

    data: tyro.conf.Positional[Path]
    """Folder with `ultrafeedback` and `hh_rlhf`."""
    out: Path = Path("runs/preferences")
    """Folder of the runs."""
    parallel: int = 2
    """Runs at a time, one core each."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        runs: dict[Path, list[str]] = {}
        for name, config in configurations(self.data).items():
            file = self.out / f"{name}.yaml"
            file.write_text(to_yaml(config))
            runs[self.out / name] = ["align", "train", "--config", str(file)]
        run_all(runs, self.parallel)
        print(table(list(runs)))


def configurations(data: Path) -> dict[str, AlignConfig]:
    """Sized to about twenty minutes of two idle cores for all four (estimated)."""
    shared = AlignConfig(
        tiny=TinyModelConfig(width=96, layers=2, inner=384, context=384, vocabulary=2048),
        start=StartConfig(steps=80, batch=16), max_tokens=384, rounds=3, steps=32, batch=16,
        learning_rate=2e-4, prompts=24, max_new_tokens=64,
        evaluation_prompts=8, generation_batch=12, scoring_batch=32, threads=1,
        checkpoint_steps=16, log_steps=4,
    )  # fmt: skip
    found = {}
    for name in ("helpful", "harmless"):
        folder = data / "hh_rlhf" / f"{name}-base"
        files = sorted(f for f in folder.iterdir() if f.name.endswith((".jsonl", ".jsonl.gz")))
        # Helpful pairs an epoch a round: with 32 steps it stayed at chance.
        steps = 96 if name == "helpful" else 32
        found[f"hh-{name}"] = replace(shared, data=str(files[0]), steps=steps)
    folder = data / "ultrafeedback"
    # In 384 tokens only a quarter of these pairs would fit.
    long = replace(shared, tiny=replace(shared.tiny, context=768), max_tokens=768)
    for name, file in (("-flipped", "label_flip_20"), ("", "train_clean")):
        found[f"ultrafeedback{name}"] = replace(
            long, data=str(folder / f"{file}.jsonl.gz"),
            evaluation=str(folder / "eval_clean.jsonl.gz"),
        )  # fmt: skip
    return found


def table(runs: list[Path]) -> str:
    """A Markdown row a round: accuracy on held-out pairs with its interval over pairs, and AUC."""
    lines = [
        "| data | round | held-out accuracy | held-out pairs | AUC for flips | kept flips |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        for folder in sorted((run / "rounds").glob("[1-9]*"), key=lambda f: int(f.name)):
            margins = pq.read_table(folder / "held_out.parquet")["margin"].to_numpy()
            right = bootstrap_interval(np.where(margins == 0, 0.5, margins > 0))
            chosen = json.loads((folder / "selection.json").read_text())["figures"]
            flips = [
                f"{chosen[key]:.3f}" if key in chosen else ""
                for key in ("select/flip_auc", "select/kept_flipped")
            ]
            lines.append(
                f"| {run.name} | {folder.name} | {right.mean:.3f} [{right.low:.3f}, "
                f"{right.high:.3f}] | {right.n} | {flips[0]} | {flips[1]} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Benchmark, description=__doc__)()
