"""`rayforge feedback labels`: a labeller from a log with truth, and labels of a log without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.progress import Progress
from envs.sessions.log import Session, read_log, sessions_of
from envs.sessions.turns import INTENTS, SIGNALS
from rayforge.errors import DataError
from rayforge.feedback.labeller import Dialogue, Labeller, LabellerConfig
from rayforge.feedback.labelling import (
    HEADS,
    MANIFEST,
    calibrate,
    kept,
    label_dialogues,
    load_labeller,
    save_labeller,
    threshold_for,
    train_labeller,
)
from rayforge.feedback.text import fixed_vectors
from rayforge.files import check_replaceable, whole_file
from trainers.feedback.from_logs import NUMBERS, SLOTS, dialogue_of

HELD_OUT = 5
"""One session in so many is held back from training: for calibration and thresholds."""
BATCH = 64
"""Sessions that a worker labels together."""


def labeller_config(text: str, epochs: int, label_noise: float = 0.0) -> LabellerConfig:
    """Settings of a labeller for session logs."""
    return LabellerConfig(
        INTENTS, SLOTS, SIGNALS, NUMBERS, text, epochs=epochs, label_noise=label_noise
    )


def learn_labels(
    config: LabellerConfig, dialogues: Sequence[Dialogue], precision: float, seed: int,
    unlabelled: Sequence[Dialogue] = (),
) -> tuple[Labeller, dict[str, float], dict[str, float]]:  # fmt: skip
    """A labeller, its temperatures, and the thresholds at which its labels have a precision.

    Raises DataError where there are fewer than ten dialogues with truth.
    """
    known = [dialogue for dialogue in dialogues if dialogue.truth]
    if len(known) < 2 * HELD_OUT:
        raise DataError(
            f"{len(known)} sessions with truth; {2 * HELD_OUT} at least are needed to learn labels"
        )
    train = [d for n, d in enumerate(known) if n % HELD_OUT]
    held = known[::HELD_OUT]
    with Progress("learning labels: epochs", config.epochs) as progress:
        model = train_labeller(config, train, seed, unlabelled, progress.add)
    temperatures = calibrate(model, held)
    chances = chances_and_right(model, held, temperatures)
    thresholds = {head: threshold_for(*chances[head], precision) for head in HEADS}
    return model, temperatures, thresholds


def chances_and_right(
    model: Labeller, dialogues: Sequence[Dialogue], temperatures: dict[str, float]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each head the chances of the labels whose truth is known, and whether they are right."""
    found: dict[str, list[tuple[float, bool]]] = {head: [] for head in HEADS}
    labels = label_dialogues(model, dialogues, temperatures)
    for dialogue, row in zip(dialogues, labels, strict=True):
        for label, truth in zip(row, dialogue.truth, strict=True):
            for head in HEADS:
                true = getattr(truth, head)
                if true is not None:
                    right = getattr(label, head) == true
                    found[head].append((getattr(label, f"{head}_chance"), right))
    return {
        head: (np.array([c for c, _ in rows]), np.array([r for _, r in rows], bool))
        for head, rows in found.items()
    }


class LabelWorker:
    """A process of Ray Data that labels batches of sessions; the model is loaded once."""

    def __init__(self, folder: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.model, self.temperatures, self.thresholds = load_labeller(Path(folder))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import json

        dialogues = [_dialogue(json.loads(row)) for row in batch["dialogue"]]
        labels = label_dialogues(self.model, dialogues, self.temperatures)
        rows = [[kept(label, self.thresholds) for label in found] for found in labels]
        return {
            "user": batch["user"], "turns": batch["turns"],
            "labels": [json.dumps(row) for row in rows],
        }  # fmt: skip


def _dialogue(record: list[Any]) -> Dialogue:
    from rayforge.feedback.labeller import Turn

    turns = [
        Turn(request, reply, signal, tuple(float(n) for n in numbers))
        for request, reply, signal, numbers in record
    ]
    return Dialogue(tuple(turns))


def label_log(log: Path, model: Path, out: Path, workers: int) -> str:
    """Label the sessions of a log by Ray Data; what was kept, in lines.

    Writes a Parquet file with a row a session: user, ids of its turns, and the labels that reach
    their thresholds, as JSON. Raises DataError where the log has no sessions.
    """
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    found = read_log(log)
    sessions = sessions_of(found.turns)
    if not sessions:
        raise DataError(f"{log}: no session can be used\n{found.summary()}".splitlines()[0])
    load_labeller(model)  # its faults are told here, not by a worker
    rows = [
        {
            "user": session.user, "turns": json.dumps([turn.turn_id for turn in session.turns]),
            "dialogue": json.dumps([list(turn) for turn in dialogue_of(session).turns]),
        }
        for session in sessions
    ]  # fmt: skip
    labelled = _by_ray_data(rows, model, workers)
    labelled.sort(key=lambda row: str(row["turns"]))
    with whole_file(out) as part:
        pq.write_table(pa.Table.from_pylist(labelled), part)
    counts = dict.fromkeys(HEADS, 0)
    for row in labelled:
        for turn in json.loads(row["labels"]):
            for head in turn:
                counts[head] += 1
    total = sum(len(session.turns) for session in sessions)
    lines = [found.summary(), f"{len(sessions)} sessions, {total} turns; labels kept:"]
    lines += [f"  {head}: {count} ({count / total:.0%})" for head, count in counts.items()]
    return "\n".join(lines)


def _by_ray_data(rows: list[dict[str, str]], model: Path, workers: int) -> list[dict[str, Any]]:
    """Label rows on the Ray that runs, on the cluster of RAY_ADDRESS, or on a Ray started here."""
    import ray

    from trainers.cluster import need_ray, own_ray

    with own_ray():
        need_ray(workers, log_to_driver=False)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        blocks = max(1, min(4 * workers, len(rows) // BATCH))
        data = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            LabelWorker, batch_size=BATCH, batch_format="numpy",
            fn_constructor_args=(str(model.resolve()),),
            compute=ray.data.ActorPoolStrategy(size=workers),
        )  # fmt: skip
        found: list[dict[str, Any]] = data.take_all()
        return found


def train_on_log(log: Path, out: Path, text: str, epochs: int, precision: float, seed: int) -> str:
    """Learn a labeller from a log with truth and write it into a folder; what it reaches."""
    check_replaceable(out, MANIFEST)
    fixed_vectors(text)
    found = read_log(log)
    dialogues = [dialogue_of(session) for session in sessions_of(found.turns)]
    model, temperatures, thresholds = learn_labels(
        labeller_config(text, epochs), dialogues, precision, seed
    )
    save_labeller(model, out, temperatures, thresholds)
    lines = [found.summary(), f"thresholds for a precision of {precision}:"]
    return "\n".join(lines + [f"  {head}: {value:.3f}" for head, value in thresholds.items()])


def sessions_in(log: Path) -> list[Session]:
    """The sessions of a log; raises DataError where there are none."""
    found = read_log(log)
    sessions = list(sessions_of(found.turns))
    if not sessions:
        raise DataError(f"{log}: {found.summary().splitlines()[0]}, no session")
    return sessions
