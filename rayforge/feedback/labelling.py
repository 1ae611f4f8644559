"""Making labels from logs: pretraining, training, calibration, and which labels are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from rayforge.errors import RunError
from rayforge.feedback.labeller import (
    BEGIN,
    OUTSIDE,
    UNKNOWN,
    Dialogue,
    Labeller,
    LabellerConfig,
    Turn,
    as_batch,
    as_targets,
    label_loss,
    slots_of,
)
from rayforge.feedback.text import spans_of
from rayforge.files import check_replaceable, whole_folder, write_json
from rayforge.readers.arrays import read_tensors
from rayforge.readers.faults import REASON, one_line
from rayforge.readers.json_text import read_object

MANIFEST = "labeller.json"
HEADS = ("goal", "achieved", "intent", "slots", "satisfied")


class TurnLabels(NamedTuple):
    """Labels of one turn, each with the probability that the labeller gives it."""

    goal: int
    """Number of its goal in the dialogue, from 0; -1: of none."""
    goal_chance: float
    achieved: bool
    achieved_chance: float
    """Equal for all turns of a goal."""
    intent: str | None
    intent_chance: float
    slots: tuple[tuple[int, int, str], ...]
    slots_chance: float
    """Of the least certain word."""
    satisfied: bool
    satisfied_chance: float


def swap_replies(
    dialogues: Sequence[Dialogue], hard: float, generator: np.random.Generator
) -> tuple[list[Dialogue], list[list[bool]]]:
    """Dialogues in which half of the replies are another dialogue's, and which are their own.

    With probability `hard` the other dialogue is of the same domain, where there is another one.
    Turns without a reply stay as they are, and count as own.
    """
    places = [(row, n) for row, d in enumerate(dialogues) for n, t in enumerate(d.turns) if t.reply]
    of_domain: dict[str, list[tuple[int, int]]] = {}
    for row, n in places:
        of_domain.setdefault(dialogues[row].domain, []).append((row, n))
    turns = [list(d.turns) for d in dialogues]
    own = [[True] * len(d.turns) for d in dialogues]
    for row, n in places:
        if generator.random() < 0.5:
            continue
        near = of_domain[dialogues[row].domain]
        pool = near if generator.random() < hard else places
        others = [place for place in pool if place[0] != row] if len(pool) < 50 else pool
        if not others:
            continue
        other, m = others[generator.integers(len(others))]
        reply = dialogues[other].turns[m].reply
        if other == row:
            continue
        turns[row][n] = turns[row][n]._replace(reply=reply)
        own[row][n] = False
    swapped = [d._replace(turns=tuple(t)) for d, t in zip(dialogues, turns, strict=True)]
    return swapped, own


def mix_slots(
    dialogues: Sequence[Dialogue], share: float, pool: dict[str, list[str]],
    generator: np.random.Generator,
) -> list[Dialogue]:  # fmt: skip
    """Dialogues in which a share of the slots has the text of another slot of its name.

    What stands around a slot is then learnt apart from what stands in it: with few utterances a
    slot's words tell it better than its place, and new words come.
    """
    found = []
    for dialogue in dialogues:
        turns, truths = list(dialogue.turns), list(dialogue.truth)
        for n, (turn, truth) in enumerate(zip(dialogue.turns, dialogue.truth, strict=False)):
            if not truth.slots or generator.random() > 2 * share:
                continue
            text, slots, done = "", [], 0
            for begin, end, name in sorted(truth.slots):
                inner = turn.request[begin:end]
                if generator.random() < 0.5:
                    inner = pool[name][generator.integers(len(pool[name]))]
                text += turn.request[done:begin]
                slots.append((len(text), len(text) + len(inner), name))
                text, done = text + inner, end
            turns[n] = turn._replace(request=text + turn.request[done:])
            truths[n] = truth._replace(slots=tuple(slots))
        found.append(dialogue._replace(turns=tuple(turns), truth=tuple(truths)))
    return found


def slot_texts(dialogues: Sequence[Dialogue]) -> dict[str, list[str]]:
    """The texts of each slot, as often as they occur."""
    pool: dict[str, list[str]] = {}
    for dialogue in dialogues:
        for turn, truth in zip(dialogue.turns, dialogue.truth, strict=False):
            for begin, end, name in truth.slots or ():
                pool.setdefault(name, []).append(turn.request[begin:end])
    return pool


def train_labeller(
    config: LabellerConfig, dialogues: Sequence[Dialogue], seed: int = 0,
    unlabelled: Sequence[Dialogue] = (), after_epoch: Callable[[], object] | None = None,
) -> Labeller:  # fmt: skip
    """A labeller: pretrained on swapped replies of all dialogues, then trained on the labels.

    The same dialogues and seed give the same labeller. `after_epoch` is called after each pass over
    the labels. Raises ValueError where there is none.
    """
    if not dialogues:
        raise ValueError("a labeller needs dialogues to learn from, got none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Labeller(config).train()
        generator = np.random.default_rng(seed)
        optimisers = _optimisers(model, config.learning_rate)
        everything = [*dialogues, *unlabelled]
        for _ in range(config.pretraining):
            for rows in _batches(everything, config.batch, generator):
                _step(model, optimisers, _reply_loss(model, rows, generator))
        pool = slot_texts(dialogues)
        for epoch in range(config.epochs):
            for group in optimisers:
                for settings in group.param_groups:
                    # Down to a tenth: the last epochs settle.
                    settings["lr"] = config.learning_rate * (1 - 0.9 * epoch / config.epochs)
            for rows in _batches(dialogues, config.batch, generator):
                if config.mixed and pool:
                    rows = mix_slots(rows, config.mixed, pool, generator)
                batch = as_batch(config, rows, model)
                targets = as_targets(config, rows, batch)
                _step(model, optimisers, label_loss(model(batch), targets, batch.mask))
            if after_epoch is not None:
                after_epoch()
    return model.eval()


def _reply_loss(
    model: Labeller, rows: Sequence[Dialogue], generator: np.random.Generator
) -> Tensor:
    swapped, own = swap_replies(rows, model.config.hard, generator)
    batch = as_batch(model.config, swapped, model)
    logits = model(batch).own_reply
    says = torch.zeros_like(logits)
    known = torch.zeros_like(batch.mask)
    for row, (dialogue, flags) in enumerate(zip(swapped, own, strict=True)):
        for n, (turn, flag) in enumerate(zip(dialogue.turns, flags, strict=True)):
            says[row, n], known[row, n] = float(flag), bool(turn.reply)
    if not known.any():
        nothing: Tensor = logits.sum() * 0
        return nothing
    loss: Tensor = F.binary_cross_entropy_with_logits(logits[known], says[known])
    return loss


def _optimisers(model: Labeller, rate: float) -> list[torch.optim.Optimizer]:
    table = model.table.weight
    return [
        torch.optim.SparseAdam([table], rate),
        torch.optim.AdamW([p for p in model.parameters() if p is not table], rate),
    ]


def _step(model: Labeller, optimisers: list[torch.optim.Optimizer], loss: Tensor) -> None:
    if not loss.requires_grad:
        return
    model.zero_grad()
    loss.backward()
    dense = [p for p in model.parameters() if p.grad is not None and not p.grad.is_sparse]
    torch.nn.utils.clip_grad_norm_(dense, 1.0)
    for optimiser in optimisers:
        optimiser.step()


def _batches(
    dialogues: Sequence[Dialogue], size: int, generator: np.random.Generator
) -> Iterator[list[Dialogue]]:
    order = generator.permutation(len(dialogues))
    for first in range(0, len(order), size):
        yield [dialogues[n] for n in order[first : first + size]]


def corrected(chance: float, noise: float) -> float:
    """P(the true label is 1) from P(a noisy one is 1): (p − e) / (1 − 2e), within [0, 1].

    e = `noise` < 0.5 is the share of labels that say the opposite, whatever the label (symmetric
    noise; Natarajan et al. 2013). Raises ValueError for e >= 0.5: such labels say nothing.
    """
    if not 0 <= noise < 0.5:
        raise ValueError(f"label noise must be in [0, 0.5), got {noise}")
    return min(1.0, max(0.0, (chance - noise) / (1 - 2 * noise)))


def temperature_of(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature T that makes softmax(logits / T) likeliest (Guo et al. 2017).

    `logits` [n, classes]; or [n] for binary targets. 1 where there are no targets.
    """
    if not len(targets):
        return 1.0
    both = np.stack([np.zeros_like(logits), logits], 1) if logits.ndim == 1 else logits

    def loss(log_temperature: float) -> float:
        scaled = torch.tensor(both / np.exp(log_temperature))
        return float(F.cross_entropy(scaled, torch.tensor(targets, dtype=torch.long)))

    found = minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded")
    return float(np.exp(found.x))


def threshold_for(chances: np.ndarray, right: np.ndarray, precision: float) -> float:
    """The lowest threshold at which the kept labels have this precision; above 1 where none has.

    `chances` [n] of labels of which `right` [n] says whether they are; a label is kept at a chance
    of at least the threshold.
    """
    order = np.argsort(-chances, kind="stable")
    rates = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last = np.append(chances[order][1:] < chances[order][:-1], True) if len(order) else rates > 2
    fine = np.flatnonzero((rates >= precision) & last)
    return float(chances[order][fine[-1]]) if len(fine) else 1.01


def coverage(
    chances: np.ndarray, right: np.ndarray, thresholds: Sequence[float]
) -> list[tuple[float, float]]:
    """(share of labels kept, their precision) at each threshold; precision NaN where none is."""
    found = []
    for threshold in thresholds:
        kept = chances >= threshold
        found.append((float(kept.mean()), float(right[kept].mean()) if kept.any() else np.nan))
    return found


def segment_accuracy(found: Sequence[int], true: Sequence[int]) -> float:
    """Share of turns with the right goal, goals numbered in the order of their first turns.

    Two goals of 3 and 2 turns with one turn at the border wrong: 0.8.
    """
    if len(found) != len(true):
        raise ValueError(f"{len(found)} labels for {len(true)} turns")
    if not true:
        return 1.0
    numbered = [_in_order(found), _in_order(true)]
    return float(np.mean([a == b for a, b in zip(*numbered, strict=True)]))


def _in_order(goals: Sequence[int]) -> list[int]:
    names: dict[int, int] = {}
    return [goal if goal < 0 else names.setdefault(goal, len(names)) for goal in goals]


def calibrate(model: Labeller, dialogues: Sequence[Dialogue]) -> dict[str, float]:
    """A temperature of each head on annotated dialogues that training did not see."""
    logits: dict[str, list[np.ndarray]] = {head: [] for head in HEADS}
    targets: dict[str, list[np.ndarray]] = {head: [] for head in HEADS}
    for batch_of in _in_turn(dialogues):
        with torch.no_grad():
            batch = as_batch(model.config, batch_of, model)
            outputs, truth = model(batch), as_targets(model.config, batch_of, batch)
        for head in HEADS:
            wanted = getattr(truth, head)
            known = (wanted != UNKNOWN) & (
                batch.mask if wanted.dim() == 2 else batch.mask[..., None]
            )
            logits[head].append(getattr(outputs, head)[known].numpy())
            targets[head].append(wanted[known].numpy())
    return {
        head: temperature_of(np.concatenate(logits[head]), np.concatenate(targets[head]))
        for head in HEADS
    }


def _in_turn(dialogues: Sequence[Dialogue], size: int = 64) -> Iterator[Sequence[Dialogue]]:
    for first in range(0, len(dialogues), size):
        yield dialogues[first : first + size]


@torch.no_grad()
def label_dialogues(
    model: Labeller, dialogues: Sequence[Dialogue], temperatures: dict[str, float] | None = None
) -> list[list[TurnLabels]]:
    """Labels of each turn of each dialogue with their chances; what dialogues stand beside each
    other changes nothing but rounding."""
    found: list[list[TurnLabels]] = []
    temperature = dict.fromkeys(HEADS, 1.0) | (temperatures or {})
    for rows in _in_turn(dialogues):
        batch = as_batch(model.config, rows, model)
        outputs = model(batch)
        goal = (outputs.goal / temperature["goal"]).softmax(-1).numpy()
        achieved = (outputs.achieved / temperature["achieved"]).numpy()
        intent = (outputs.intent / temperature["intent"]).softmax(-1).numpy()
        slots = (outputs.slots / temperature["slots"]).softmax(-1).numpy()
        satisfied = (outputs.satisfied / temperature["satisfied"]).sigmoid().numpy()
        for row, dialogue in enumerate(rows):
            rows_of = (goal[row], achieved[row], intent[row], slots[row], satisfied[row])
            found.append(_labels(model.config, dialogue, *rows_of))
    return found


def _labels(
    config: LabellerConfig, dialogue: Dialogue, goal: np.ndarray, achieved: np.ndarray,
    intent: np.ndarray, slots: np.ndarray, satisfied: np.ndarray,
) -> list[TurnLabels]:  # fmt: skip
    count = len(dialogue.turns)
    goals, current = [], -1
    for n in range(count):
        kind = int(goal[n].argmax())
        # The first turn that is not outside begins a goal, whatever the network says.
        current += kind == BEGIN or (kind != OUTSIDE and current < 0)
        goals.append(-1 if kind == OUTSIDE else current)
    chance_of = {}
    for number in set(goals):
        mine = [achieved[n] for n in range(count) if goals[n] == number]
        # One label a goal: the mean of what its turns say, in log-odds.
        chance_of[number] = float(1 / (1 + np.exp(-np.mean(mine))))
    labels = []
    for n, turn in enumerate(dialogue.turns):
        words, chance = _slots(config, turn, slots[n])
        best = int(intent[n].argmax())
        happy = corrected(float(satisfied[n]), config.label_noise)
        reached = chance_of[goals[n]]
        named = config.intents[best] if config.intents else None
        labels.append(
            TurnLabels(
                *(goals[n], float(goal[n].max())),
                *(reached >= 0.5, max(reached, 1 - reached)),
                *(named, float(intent[n].max())),
                *(words, chance),
                *(happy >= 0.5, max(happy, 1 - happy)),
            )
        )
    return labels


def _slots(
    config: LabellerConfig, turn: Turn, chances: np.ndarray
) -> tuple[tuple[tuple[int, int, str], ...], float]:
    """The likeliest tags in which each I- follows its own kind (Viterbi over the tags' order)."""
    tags = config.tags
    count = min(len(spans_of(turn.request)), len(chances))
    if not count:
        return (), 1.0
    scores = np.log(chances[:count] + 1e-9)
    allowed = np.zeros((len(tags), len(tags)))
    for b, tag in enumerate(tags):
        if tag.startswith("I-"):
            allowed[:, b] = [
                0.0 if other[2:] == tag[2:] and other != "O" else -1e6 for other in tags
            ]
    first = np.array([-1e6 if tag.startswith("I-") else 0.0 for tag in tags])
    best = scores[0] + first
    back = np.zeros((count, len(tags)), np.int64)
    for n in range(1, count):
        paths = best[:, None] + allowed
        back[n] = paths.argmax(0)
        best = paths.max(0) + scores[n]
    path = [int(best.argmax())]
    for n in range(count - 1, 0, -1):
        path.append(int(back[n, path[-1]]))
    path.reverse()
    chance = float(min(chances[n, tag] for n, tag in enumerate(path)))
    return tuple(slots_of(turn.request, [tags[tag] for tag in path])), chance


def save_labeller(
    model: Labeller, folder: Path, temperatures: dict[str, float], thresholds: dict[str, float]
) -> None:
    """Write a labeller into a folder of its own, whole or not at all; one that is there goes.

    Raises ConfigurationError where the folder holds anything else.
    """
    from safetensors.torch import save_file

    check_replaceable(folder, MANIFEST)
    with whole_folder(folder, replace=True) as part:
        save_file(
            {n: v.contiguous() for n, v in model.state_dict().items()}, part / "model.safetensors"
        )
        write_json(
            part / MANIFEST,
            {
                "config": asdict(model.config), "temperatures": temperatures,
                "thresholds": thresholds,
            },
        )  # fmt: skip


def load_labeller(folder: Path) -> tuple[Labeller, dict[str, float], dict[str, float]]:
    """The labeller of a folder, its temperatures and thresholds; raises RunError for anything
    else."""
    record = read_object(folder / MANIFEST, RunError)
    try:
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record["config"].items()
        }
        config = LabellerConfig(**given)
        temperatures = {head: float(record["temperatures"][head]) for head in HEADS}
        thresholds = {head: float(record["thresholds"][head]) for head in HEADS}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{folder / MANIFEST}: not a labeller's ({one_line(error, REASON)}); train it again"
        ) from None
    model = Labeller(config)
    tensors = read_tensors(folder / "model.safetensors", RunError)
    try:
        model.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
    except RuntimeError as error:
        raise RunError(
            f"{folder / 'model.safetensors'}: not of this labeller ({str(error)[:120]!r})"
        ) from None
    return model.eval(), temperatures, thresholds


def kept(labels: TurnLabels, thresholds: dict[str, float]) -> dict[str, object]:
    """The labels of a turn whose chances reach their thresholds, by head."""
    return {
        head: getattr(labels, head)
        for head in HEADS
        if getattr(labels, f"{head}_chance") >= thresholds.get(head, 0.0)
    }
