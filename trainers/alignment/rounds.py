"""The driver: rounds of direct preference optimisation in which the model reviews its own data.

A round leaves its products one after the other, each written whole or not at all: responses,
margins and selected pairs, the order of training, the model, its figures. What is there is read
instead of made, so a driver killed anywhere goes on with what was missing and ends with the same
bits. Scores and responses go on batch by batch, training from its last checkpoint.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rayforge.alignment.margin import pair_loss
from rayforge.alignment.monitoring import RoundFigures, alarms, overlap, unmoved
from rayforge.errors import RunError
from rayforge.files import write_json
from rayforge.readers.faults import reading
from rayforge.readers.json_text import read_object
from trainers.alignment import acting
from trainers.alignment.config import AlignConfig
from trainers.alignment.information import information_figures
from trainers.alignment.models import Checkpoint, Tokeniser, fingerprint
from trainers.alignment.pair_trainer import FLIPPED, STEP_TOKENS
from trainers.alignment.records import MetricsLog, Progress
from trainers.alignment.review import review
from trainers.alignment.rewards import Folds, Rewards
from trainers.alignment.scoring import Scores
from trainers.alignment.selecting import Chosen, choose_generated, choose_given, seed_of
from trainers.alignment.task import Task
from trainers.alignment.tokens import TokenPairs, pair_columns, read_pairs, write_table
from trainers.alignment.training import TrainingJob, train_on_ray, train_round
from trainers.runs.pool import Pool

REMEDY = "put the file back, or start another run"


class Selected(NamedTuple):
    """n pairs that a round trains on."""

    pairs: TokenPairs
    margins: np.ndarray
    """float64 [n]."""
    flipped: np.ndarray | None
    """P(flipped) of each, float64 [n], where the loss is smoothed by it."""


@dataclass
class Rounds:
    """All rounds of one run."""

    config: AlignConfig
    run: Path
    task: Task
    initial: Checkpoint
    tokeniser: Tokeniser
    pool: Pool
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        self.checkpoints[0] = self.initial
        scores = Scores(self.run / "scores", config.device, config.half, config.scoring_batch)
        self.progress = Progress(config.round_count)
        self.rewards = Rewards(
            config, scores, self.pool, self.progress, self.checkpoint, self.reference
        )
        self.log = MetricsLog(self.run)

    def go(self) -> None:
        """Every round in turn; what an earlier attempt finished is only read."""
        for _ in self.each():
            pass

    def each(self) -> Iterator[int]:
        """Every round in turn: the number of each when it and its review are on the disk."""
        self._review(0)
        for number in range(1, self.config.round_count + 1):
            self._round(number)
            self._review(number)
            yield number
        self.log.close()

    def _round(self, number: int) -> None:
        config, start = self.config, self.checkpoint(number - 1)
        print(
            f"round {number}/{config.round_count}: from {start.folder}, reference model "
            f"{config.reference} ({self.reference(number).folder})",
            flush=True,
        )
        job = TrainingJob(
            self.run, number, start.folder, config, config.round_steps,
            (number - 1) * config.round_steps,
        )  # fmt: skip
        if (job.model / "config.json").is_file():
            return
        job.folder.mkdir(parents=True, exist_ok=True)
        if not job.pairs.is_file():
            self._write_order(job, self._selected(number))
        self.pool.make_room()
        (train_on_ray if config.workers else train_round)(job)
        self._warn_unmoved(job)

    def _warn_unmoved(self, job: TrainingJob) -> None:
        """Say so where a round left the loss where a policy that is its reference has it."""
        config = self.config
        if config.anchor or not config.uses_reference:
            return  # what the loss was at the start is not known
        start = float(pair_loss(config.loss, torch.zeros(()), config.beta, config.label_smoothing))
        records = [json.loads(line) for line in self.log.whole_lines()]
        losses = [
            record["train/loss"]
            for record in records
            if (record["round"], record["phase"]) == (job.round, "train")
        ]
        found = unmoved(losses, start)
        if found is not None:
            print(
                f"warning: round {job.round} left the loss at {found.mean:.4f} [{found.low:.4f}, "
                f"{found.high:.4f}], where it began ({start:.4f}): the model has learnt next to "
                f"nothing; raise learning_rate (now {config.step_size:g}) or steps",
                file=sys.stderr,
                flush=True,
            )

    def folder(self, number: int) -> Path:
        return self.run / "rounds" / str(number)

    def checkpoint(self, number: int) -> Checkpoint:
        """The model after round `number`; 0 is what the run starts from."""
        if number not in self.checkpoints:
            self.checkpoints[number] = fingerprint(self.folder(number) / "model")
        return self.checkpoints[number]

    def reference(self, number: int) -> Checkpoint:
        """The reference model of round `number`."""
        return self.checkpoint(0 if self.config.reference == "initial" else number - 1)

    def _selected(self, number: int) -> Selected:
        """The pairs of a round, given ones before generated ones."""
        import pyarrow.parquet as pq

        file = self.folder(number) / "pairs.parquet"
        if not file.is_file():
            given, generated = self._choose(number)
            earlier = self.folder(number - 1) / "selection.json"
            kept_before = None
            if number > 1:
                with reading(earlier, RunError, REMEDY):
                    kept_before = [int(row) for row in read_object(earlier, RunError)["kept_rows"]]
            self._record(number, given, generated, kept_before)
            parts = [given] if generated is None else [given, generated]
            chosen = [part.pairs.take(part.kept) for part in parts]
            pairs = chosen[0] if generated is None else chosen[0].join(chosen[1])
            margins = np.concatenate([part.margins[part.kept] for part in parts])
            columns = {**pair_columns(pairs), "margin": margins}
            flipped = [part.flipped[part.kept] for part in parts if part.flipped is not None]
            if flipped:
                columns[FLIPPED] = np.concatenate(flipped)
            write_table(file, columns)
        table = pq.read_table(file)
        doubt = table[FLIPPED].to_numpy() if FLIPPED in table.column_names else None
        return Selected(read_pairs(file), table["margin"].to_numpy(), doubt)

    def _choose(self, number: int) -> tuple[Chosen, Chosen | None]:
        """What the method takes of the given pairs in a round, and which it makes itself."""
        config, task, rewards = self.config, self.task, self.rewards
        where = self.tokeniser, number, self.folder(number)
        if config.method == "acting":
            reviewed = None
            if config.acts:
                reviewed = acting.review_given(config, task, rewards, number, self._folds())
            given = acting.choose_given(config, task, rewards, number, reviewed)
            own = acting.choose_generated(config, task, rewards, *where, given, reviewed)
            return given, own
        folds = self._folds() if config.selects and number > 1 else None
        given = choose_given(config, task, rewards, number, folds)
        return given, choose_generated(config, task, rewards, *where, given)

    def _folds(self) -> Folds | None:
        """Two models, each trained on half of the given pairs as round 1 trains on all, with half
        as many steps; what is there is read. None where nothing is cross-fitted."""
        config, pairs = self.config, self.task.pairs
        if not config.cross_fit:
            return None
        chance = np.random.default_rng(seed_of(config, 0, 6))
        of = chance.permutation(len(pairs)) % 2
        models = []
        for fold in (0, 1):
            steps = -(-config.steps // 2)
            run = self.run / "folds" / str(fold)
            plain = replace(config, method="dpo", score="implicit")
            job = TrainingJob(run, 1, self.initial.folder, plain, steps, 0)
            if not (job.model / "config.json").is_file():
                job.folder.mkdir(parents=True, exist_ok=True)
                some = pairs.take(np.flatnonzero(of != fold))
                if not job.pairs.is_file():
                    self._write_order(job, Selected(some, np.zeros(len(some)), None))
                self.pool.make_room()
                (train_on_ray if config.workers else train_round)(job)
            models.append(fingerprint(job.model))
        return Folds(of, (models[0], models[1]))

    def _record(
        self, number: int, given: Chosen, generated: Chosen | None, before: list[int] | None
    ) -> None:
        parts = [(False, given)] + ([(True, generated)] if generated is not None else [])
        columns = {
            "generated": np.concatenate([np.full(len(p.pairs), made) for made, p in parts]),
            "margin": np.concatenate([p.margins for _, p in parts]),
            "kept": np.concatenate([np.isin(np.arange(len(p.pairs)), p.kept) for _, p in parts]),
        }
        write_table(self.folder(number) / "margins.parquet", columns)
        figures = {**given.figures, **(generated.figures if generated is not None else {})}
        taken = len(generated.kept) if generated is not None else 0
        figures["select/generated_share"] = taken / (taken + len(given.kept))
        if before is not None:
            figures["select/overlap"] = overlap(given.kept, np.array(before))
        write_json(
            self.folder(number) / "selection.json",
            {"figures": figures, "kept_rows": given.kept.tolist()},
        )
        self.log.replace(number, "select", (number - 1) * self.config.round_steps, figures)
        self.progress.say(number, "select", figures)

    def _write_order(self, job: TrainingJob, selected: Selected) -> None:
        """The pairs in the order of training, with the reference's scores.

        Every pair comes once before any comes twice; each pass has an order of its own, within
        which batches hold sequences of like length. The curriculum goes from the largest margin to
        the smallest instead.
        """
        config, (pairs, margins, flipped) = self.config, selected
        rng = np.random.default_rng([config.seed, job.round])
        wanted = job.steps * config.batch
        passes = [rng.permutation(len(pairs)) for _ in range(-(-wanted // len(pairs)))]
        order = np.concatenate(passes)[:wanted]
        if config.method == "curriculum" and job.round > 1:
            order = order[np.argsort(-margins[order], kind="stable")]
        else:
            order = of_like_length(order, longest_sides(pairs), config.batch, rng)
        chosen, rejected = self.rewards.reference_columns(job.round, pairs)
        ordered = pairs.take(order)
        columns = pair_columns(ordered)
        if config.anchor:
            columns[STEP_TOKENS] = step_tokens(ordered, config.batch)
        if flipped is not None:
            columns[FLIPPED] = flipped[order].astype(np.float32)
        columns["ref_chosen_logps"] = chosen[order].astype(np.float32)
        columns["ref_rejected_logps"] = rejected[order].astype(np.float32)
        write_table(job.pairs, columns)

    def _review(self, number: int) -> None:
        """Figures of the model after round `number` on held-out pairs and prompts."""
        file = self.folder(number) / "review.json"
        if file.is_file():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        figures = review(self.config, self.task, self.rewards, self.tokeniser, number, file.parent)
        every = self.config.information_every
        if every and number % every == 0:
            found = information_figures(self.checkpoint(number).folder, self.task.held_out)
            figures = {**figures, **found}
        write_json(file, figures)
        self.log.replace(number, "review", number * self.config.round_steps, figures)
        self.progress.say(number, "review", figures)
        for line in alarms([self._figures(earlier) for earlier in range(1, number + 1)]):
            print(f"alarm, round {number}: {line}", file=sys.stderr, flush=True)

    def _figures(self, number: int) -> RoundFigures:
        folder = self.folder(number)
        with reading(folder, RunError, REMEDY):
            review = read_object(folder / "review.json", RunError)
            selection = read_object(folder / "selection.json", RunError)["figures"]
            return RoundFigures(
                float(review["review/margin"]), float(review["review/accuracy"]),
                float(selection["select/length_gap"]),
            )  # fmt: skip


def step_tokens(pairs: TokenPairs, batch: int) -> np.ndarray:
    """Of each pair, the predicted tokens of all chosen sides of its step, int64 [steps * batch].

    The first token of a pair without a prompt is not predicted.
    """
    own = pairs.lengths()[:, 0] - np.array([not prompt for prompt in pairs.prompt], np.int64)
    return np.repeat(own.reshape(-1, batch).sum(axis=1), batch)


_SORTED = 16
"""Batches whose pairs are sorted by length together, so that little is padding."""


def longest_sides(pairs: TokenPairs) -> np.ndarray:
    """Tokens of each pair's prompt with its longer side, int64 [n]."""
    found: np.ndarray = np.array([len(prompt) for prompt in pairs.prompt]) + pairs.lengths().max(
        axis=1
    )
    return found


def of_like_length(
    order: np.ndarray, lengths: np.ndarray, batch: int, rng: np.random.Generator
) -> np.ndarray:
    """The same rows in the same windows of 16 batches, so arranged that a batch's are of like
    length; the batches of a window come in random order. Less than half as much is padding, and a
    step on routes takes two thirds of the time."""
    arranged = []
    for start in range(0, len(order), _SORTED * batch):
        rows = order[start : start + _SORTED * batch]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        arranged.append(rng.permutation(rows.reshape(-1, batch), axis=0).ravel())
    return np.concatenate(arranged)
