"""Speed of alignment as ratios of one run: training, scoring and memory against TRL alone.

    python -m benchmarks.alignment_speed

Pairs of made-up words; the same batches for both. Ways to measure take turns, and a ratio is the
median over turns, so what else the machine does falls on both.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from rayforge.alignment.preferences import Preference
from rayforge.language.tiny_model import TinyModelConfig, make_tiny_model, make_tokeniser
from trainers.alignment.config import AlignConfig
from trainers.alignment.models import fingerprint, load_tokeniser
from trainers.alignment.scoring import Scores
from trainers.alignment.tokens import TokenPairs, pair_columns, tokenise, write_table
from trainers.alignment.training import TrainingJob, train_on_ray, train_round
from trainers.runs.folder import hardware
from trainers.runs.pool import Pool

WORDS = [f"word{number}" for number in range(120)]


@dataclass(frozen=True)
class Speed:
    """Measure alignment against TRL alone."""

    turns: int = 3
    """Turns of each way to measure."""
    steps: int = 30
    """Optimiser steps of a turn."""
    batch: int = 32
    """Pairs a step."""
    parts: tuple[Literal["training", "scoring", "memory", "workers"], ...] = (
        "training", "scoring", "memory", "workers",
    )  # fmt: skip
    """What is measured; "workers" is two Ray Train workers against one."""
    device: Literal["cpu", "cuda"] = "cpu"

    def __call__(self) -> None:
        torch.set_num_threads(1)
        print(f"{hardware()}; load {os.getloadavg()[0]:.1f}")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model = make_model(folder / "model")
            pairs = made_up_pairs(self.steps * self.batch)
            tokens = tokenise(load_tokeniser(model), pairs, 512).pairs
            if "training" in self.parts:
                self._training(folder, model, pairs, tokens)
            if "scoring" in self.parts:
                self._scoring(folder, model, pairs, tokens)
            if "memory" in self.parts:
                self._memory(folder, model, pairs, tokens)
            if "workers" in self.parts:
                self._workers(folder, model, tokens)

    def _config(self) -> AlignConfig:
        return AlignConfig(
            batch=self.batch, learning_rate=1e-5, checkpoint_steps=0, log_steps=self.steps,
            device=self.device, threads=1,
        )  # fmt: skip

    def _training(
        self, folder: Path, model: Path, pairs: Sequence[Preference], tokens: TokenPairs
    ) -> None:
        ours, theirs, online = alternate(
            [
                lambda: self.steps / ours_alone(folder, model, tokens, self._config(), self.steps),
                lambda: self.steps / trl_alone(folder, model, pairs, self._config(), self.steps),
                lambda: (
                    self.steps
                    / trl_alone(folder, model, pairs, self._config(), self.steps, precompute=False)
                ),
            ],
            self.turns,
        )
        say("our worker", ours, "steps/s")
        say("TRL, reference precomputed", theirs, "steps/s")
        say("TRL, reference in every step", online, "steps/s")
        compare("our worker to TRL, precomputed", ours, theirs, 0.95)
        compare("our worker to TRL, reference in every step", ours, online)

    def _scoring(
        self, folder: Path, model: Path, pairs: Sequence[Preference], tokens: TokenPairs
    ) -> None:
        completions = tokens.completions()
        count = sum(len(c.prompt) + len(c.response) for c in completions)
        turn = iter(range(1000))
        start = fingerprint(model)

        def cache() -> Scores:
            return Scores(folder / f"scores-{next(turn)}", self.device, False, 2 * self.batch)

        warm = Pool(0)

        def ours() -> float:
            began = time.perf_counter()
            cache().of(start, completions, warm)
            return count / (time.perf_counter() - began)

        mine, theirs = alternate(
            [ours, lambda: count / trl_reference_pass(folder, model, pairs, self._config())],
            self.turns,
        )
        say("our scoring", mine, "tokens/s")
        say("TRL's reference pass", theirs, "tokens/s")
        compare("our scoring to TRL's reference pass", mine, theirs, 1.0)
        kept = cache()
        began = time.perf_counter()
        kept.of(start, completions, warm)
        first = time.perf_counter() - began
        missing = kept.missing(start, completions)
        began = time.perf_counter()
        kept.of(start, completions, warm)
        again = time.perf_counter() - began
        print(
            f"reference scores of round 2: {missing} of {len(completions)} computed, "
            f"{again / first:.4f} of the first round's time"
        )

    def _memory(
        self, folder: Path, model: Path, pairs: Sequence[Preference], tokens: TokenPairs
    ) -> None:
        config = self._config()
        mine = peak(ours_alone, folder, model, tokens, config, 5)
        theirs = peak(trl_alone, folder, model, pairs, config, 5)
        online = peak(trl_alone, folder, model, pairs, config, 5, False)
        print(f"peak memory: ours {mine:,.0f} MB, TRL precomputed {theirs:,.0f} MB, TRL with its "
              f"reference model {online:,.0f} MB; ours to TRL {mine / theirs:.2f}")  # fmt: skip

    def _workers(self, folder: Path, model: Path, tokens: TokenPairs) -> None:
        import ray

        os.environ["RAY_TRAIN_ENABLE_PRINT_PATCH"] = "0"
        ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False,
                 logging_level="ERROR")  # fmt: skip
        try:
            one, two = alternate(
                [
                    lambda count=count: self.steps  # type: ignore[misc]
                    / ours_alone(folder, model, tokens,
                                 replace(self._config(), workers=count), self.steps)
                    for count in (1, 2)
                ],
                self.turns,
                warm_up=False,
            )  # fmt: skip
        finally:
            ray.shutdown()
        say("one worker", one, "steps/s")
        say("two workers", two, "steps/s")
        compare("two workers to one", two, one)


def make_model(folder: Path) -> Path:
    tokeniser = make_tokeniser([f" {word} :" for word in WORDS], 4096)
    make_tiny_model(TinyModelConfig(), tokeniser).save_pretrained(folder)
    tokeniser.save_pretrained(folder)
    return folder


def made_up_pairs(count: int) -> list[Preference]:
    """About as long as the route task's."""
    chance = random.Random(0)

    def some(least: int, most: int) -> str:
        return "".join(f" {chance.choice(WORDS)}" for _ in range(chance.randint(least, most)))

    return [
        Preference(f"{some(15, 40)} :", some(10, 60), some(10, 60), str(number), f"pair {number}")
        for number in range(count)
    ]


def alternate(
    ways: Sequence[Callable[[], float]], turns: int, warm_up: bool = True
) -> list[tuple[float, ...]]:
    """Samples of each way to measure, in turns, after one unmeasured turn each."""
    if warm_up:
        for way in ways:
            way()
    return list(zip(*([way() for way in ways] for _ in range(turns)), strict=True))


def say(name: str, samples: Sequence[float], unit: str) -> None:
    print(f"{name:44}{statistics.median(samples):>12,.1f} {unit}", flush=True)


def compare(
    name: str, above: Sequence[float], below: Sequence[float], target: float | None = None
) -> None:
    found = statistics.median(a / b for a, b in zip(above, below, strict=True))
    verdict = (
        "" if target is None else f"  at least {target}: {'met' if found >= target else 'MISSED'}"
    )
    print(f"{name:44}{found:>12.2f} x{verdict}", flush=True)


def ours_alone(
    folder: Path, model: Path, tokens: TokenPairs, config: AlignConfig, steps: int
) -> float:
    """Seconds of a round's optimiser steps, as its own records give them."""
    import json

    run = Path(tempfile.mkdtemp(dir=folder))
    job = TrainingJob(run, 1, model, replace(config, log_steps=steps), steps, 0)
    job.folder.mkdir(parents=True)
    rows = np.arange(steps * config.batch) % len(tokens)
    columns = pair_columns(tokens.take(rows))
    for side in ("ref_chosen_logps", "ref_rejected_logps"):
        columns[side] = np.full(len(rows), -100, np.float32)
    write_table(job.pairs, columns)
    (train_on_ray if config.workers else train_round)(job)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return float(steps / last["speed/steps_per_s"])


def trl_alone(
    folder: Path, model: Path, pairs: Sequence[Preference], config: AlignConfig, steps: int,
    precompute: bool = True,
) -> float:  # fmt: skip
    """Seconds of as many steps of TRL's own trainer on the same batches."""
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

        def on_log(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    trainer = trl_trainer(folder, model, pairs, config, steps, precompute)
    trainer.add_callback(Clock())
    trainer.train()
    return times[1] - times[0]


def trl_trainer(
    folder: Path, model: Path, pairs: Sequence[Preference], config: AlignConfig, steps: int,
    precompute: bool,
) -> Any:  # fmt: skip
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    settings = DPOConfig(
        tempfile.mkdtemp(dir=folder), max_steps=steps, per_device_train_batch_size=config.batch,
        learning_rate=config.step_size, train_sampling_strategy="sequential",
        use_cpu=config.device == "cpu", bf16=config.half, activation_checkpointing=False,
        precompute_ref_log_probs=precompute, logging_steps=steps, save_strategy="no",
        report_to="none", disable_tqdm=True, dataloader_pin_memory=config.device == "cuda",
    )  # fmt: skip
    return DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        ref_model=None if precompute else AutoModelForCausalLM.from_pretrained(model),
        args=settings, train_dataset=Dataset.from_list(rows),
        processing_class=load_tokeniser(model),
    )  # fmt: skip


def trl_reference_pass(
    folder: Path, model: Path, pairs: Sequence[Preference], config: AlignConfig
) -> float:
    """Seconds in which TRL scores the pairs under the reference, as before its training."""
    trainer = trl_trainer(folder, model, pairs, config, 1, precompute=False)
    batches = trainer.get_train_dataloader()
    began = time.perf_counter()
    for batch in batches:
        trainer.compute_ref_log_probs(trainer.ref_model, batch)
    return time.perf_counter() - began


def peak(work: Callable[..., float], *arguments: Any) -> float:
    """Megabytes at most of a fresh process that does the work."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return float(pool.apply(_peak, (work, arguments)))


def _peak(work: Callable[..., float], arguments: tuple[Any, ...]) -> float:
    torch.set_num_threads(1)
    work(*arguments)
    # Not getrusage's maximum: Linux hands a parent's on to its children, even across exec.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    tyro.cli(Speed, description=__doc__)()
