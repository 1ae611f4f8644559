"""Real preference data through the same command: held-out accuracy and found flips by round.

    python -m benchmarks.preferences ../shared/data/preferences --out runs/preferences
    python -m benchmarks.preferences ../shared/data/preferences --model smollm2 --pairs 96
    make claims-gpu

UltraFeedback as published and with 20 % of its labels flipped, HH-RLHF helpful and harmless.

With the tiny model (random weights, fine-tuned on the chosen side first) models are far too small
to write well; what is asked is whether everything runs, whether the implicit reward orders held-out
pairs better than chance, and whether its margin finds the flipped labels. With `--model smollm2`
(extras/pretrained) a model that knows English is trained on so many short pairs, on a CPU by a LoRA
adapter; on a GPU (`--device cuda`) on all of them, five methods, and it answers prompts as well.
Resumable: every run is a row.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import tyro

from benchmarks.sub_runs import run_all, training
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.language.tiny_model import TinyModelConfig
from trainers.alignment.config import AlignConfig
from trainers.alignment.sft import StartConfig

SETS = ("hh-helpful", "hh-harmless", "ultrafeedback-flipped", "ultrafeedback")
METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"method": "dpo"},
    "robust": {"method": "dpo", "loss": "robust", "label_smoothing": 0.2},
    "sera": {"method": "sera"},
    "iterative": {"method": "iterative"},
    "random": {"method": "random"},
}
ACTING: dict[str, Any] = {"method": "acting"}
"""With `--score`: a reward model's folder or a Python function reviews."""


@dataclass(frozen=True)
class Benchmark:
    """DPO, SeRA and others on UltraFeedback and HH-RLHF."""

    data: tyro.conf.Positional[Path]
    """Folder with `ultrafeedback` and `hh_rlhf`."""
    out: Path = Path("runs/preferences")
    """Folder of the runs."""
    model: Literal["tiny", "smollm2"] = "tiny"
    """A tiny one made from the pairs, or a pretrained one."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the pretrained model is trained."""
    sets: tuple[str, ...] = SETS
    """Of the pretrained model: which data."""
    methods: tuple[str, ...] = ("dpo",)
    """Of the pretrained model: which of dpo, robust, sera, iterative, random."""
    pairs: int = 0
    """Of the pretrained model: short training pairs, and as many held-out ones; 0 takes all."""
    longest: int = 900
    """Characters of a short record, both sides with its prompt: some 130 tokens a side."""
    score: str = ""
    """A reward model's folder or MODULE:FUNCTION: judges, and reviews in a method of its own."""
    parallel: int = 2
    """Runs at a time, one core each."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        made = configurations(self.data) if self.model == "tiny" else self._pretrained()
        runs = {self.out / name: config for name, config in made.items()}
        run_all(training("align", runs), self.parallel)
        print(table(list(runs)))

    def _pretrained(self) -> dict[str, AlignConfig]:
        """The pretrained model on each set by each method; steps make one epoch in all."""
        found = {}
        methods = {name: METHODS[name] for name in self.methods}
        if self.score:
            methods["acting"] = {**ACTING, "score": self.score}
        for name in self.sets:
            tiny = configurations(self.data)[name]
            training, held_out = tiny.data, tiny.evaluation
            if self.pairs:
                training, held_out = self._short(name, training, held_out)
            for method, own in methods.items():
                config = pretrained(training, held_out, self.device, self.pairs, self.score)
                found[f"{name}-{method}"] = replace(config, **own)
        return found

    def _short(self, name: str, training: str, held_out: str) -> tuple[str, str]:
        """Files of the first short pairs of each; without a held-out file, what comes after."""
        files = [self.out / f"{name}-{part}.jsonl" for part in ("training", "held-out")]
        lines = short_lines(Path(training), 2 * self.pairs, self.longest)
        parts = [lines[: self.pairs], lines[self.pairs :]]
        if held_out:
            parts[1] = short_lines(Path(held_out), self.pairs, self.longest)
        for file, part in zip(files, parts, strict=True):
            file.write_text("".join(part))
        return str(files[0]), str(files[1])


def short_lines(file: Path, count: int, longest: int) -> list[str]:
    """The first records of a JSON lines file with so many characters at most, at most `count`."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as stream:
        return list(islice((line for line in stream if len(line) <= longest), count))


def pretrained(
    training: str, held_out: str, device: str, pairs: int, score: str
) -> AlignConfig:  # fmt: skip
    """SmolLM2 by a LoRA adapter: on a CPU one epoch without answers, on a GPU 96 steps of 32."""
    gpu = device == "cuda"
    steps = 32 if gpu else max(1, pairs // 24)
    return AlignConfig(
        data=training, evaluation=held_out, model="smollm2", device="cuda" if gpu else "cpu",
        lora_rank=16, learning_rate=5e-5, rounds=3, steps=steps, batch=32 if gpu else 8,
        max_tokens=768 if gpu else 256, max_new_tokens=128, prompts=256, judge=score,
        evaluation_prompts=100 if gpu else 0, generated_share=None if gpu else (0.0,),
        generation_batch=64, scoring_batch=64 if gpu else 16, log_steps=4, threads=0 if gpu else 1,
    )  # fmt: skip


def configurations(data: Path) -> dict[str, AlignConfig]:
    """Sized to about twenty minutes of two idle cores for all four (estimated)."""
    shared = AlignConfig(
        method="sera",
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
