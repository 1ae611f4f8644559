"""Known answers of label generation: swaps, thresholds, noise, causality, segments, slots."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.errors import RunError
from rayforge.feedback.labeller import (
    UNKNOWN,
    Dialogue,
    Labeller,
    LabellerConfig,
    Outputs,
    Targets,
    Turn,
    TurnTruth,
    as_batch,
    as_targets,
    label_loss,
    slots_of,
    tags_of,
)
from rayforge.feedback.labelling import (
    HEADS,
    corrected,
    coverage,
    kept,
    label_dialogues,
    load_labeller,
    mix_slots,
    save_labeller,
    segment_accuracy,
    slot_texts,
    swap_replies,
    temperature_of,
    threshold_for,
    train_labeller,
)

TOPICS = {"heat": "warm room", "light": "bright lamp", "music": "loud song", "food": "cooked rice"}
SMALL = LabellerConfig(
    ("ask", "thank"), ("place",), ("none", "stop"), 1, word=16, hidden=16, heads=2, layers=1,
    epochs=0, pretraining=0, batch=8, dropout=0.0, unseen=0.0, learning_rate=1e-2,
)  # fmt: skip


def dialogues_on(topics: dict[str, str], count: int) -> list[Dialogue]:
    """One turn each: a request about a topic, and a reply with the topic's words."""
    names = sorted(topics)
    return [
        Dialogue((Turn(f"please {names[n % len(names)]} {n % 5}", topics[names[n % len(names)]]),),
                 domain=names[n % len(names)])
        for n in range(count)
    ]  # fmt: skip


def own_reply_accuracy(model: Labeller, dialogues: list[Dialogue], hard: float) -> float:
    generator = np.random.default_rng(9)
    right = []
    for _ in range(4):
        swapped, own = swap_replies(dialogues, hard, generator)
        with torch.no_grad():
            logits = model(as_batch(model.config, swapped, model)).own_reply[:, 0]
        right += [(float(x) > 0) == flags[0] for x, flags in zip(logits, own, strict=True)]
    return float(np.mean(right))


def test_swapped_replies_are_told_apart_across_topics_and_not_within_one() -> None:
    config = replace(SMALL, pretraining=12, hard=0.0)
    apart = dialogues_on(TOPICS, 48)
    across, flags = swap_replies(apart, 0.0, np.random.default_rng(0))
    assert 0.2 < np.mean([f for row in flags for f in row]) < 0.8
    model = train_labeller(config, apart)
    # A swap may hit the same topic, whose replies are equal: only others can be told.
    others = [
        (d, own) for d, own in zip(across, flags, strict=True)
        if own[0] or d.turns[0].reply != TOPICS[d.domain]
    ]  # fmt: skip
    with torch.no_grad():
        logits = model(as_batch(config, [d for d, _ in others], model)).own_reply[:, 0]
    assert all((float(x) > 0) == own[0] for x, (_, own) in zip(logits, others, strict=True))
    same = dialogues_on(dict.fromkeys(TOPICS, "the same words"), 48)
    accuracy = own_reply_accuracy(train_labeller(config, same), same, 0.0)
    assert 0.35 < accuracy < 0.65


def test_swaps_stay_within_a_domain_where_they_must() -> None:
    dialogues = [Dialogue((Turn(f"{n}", f"reply {n}"),), domain="ab"[n % 2]) for n in range(40)]
    swapped, own = swap_replies(dialogues, 1.0, np.random.default_rng(0))
    moved = [
        (n, int(d.turns[0].reply.split()[1]))
        for n, (d, flags) in enumerate(zip(swapped, own, strict=True))
        if not flags[0]
    ]
    assert moved
    assert all(a % 2 == b % 2 and a != b for a, b in moved)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_of_calibrated_chances_precision_is_the_mean_chance(seed: int) -> None:
    generator = np.random.default_rng(seed)
    chances = generator.uniform(0.5, 1.0, 20_000)
    right = generator.random(20_000) < chances
    curve = coverage(chances, right, [0.5, 0.7, 0.9])
    shares = [share for share, _ in curve]
    assert shares == sorted(shares, reverse=True)
    for (_, precision), threshold in zip(curve, [0.5, 0.7, 0.9], strict=True):
        assert precision == pytest.approx(chances[chances >= threshold].mean(), abs=0.03)


def test_threshold_for_a_precision() -> None:
    chances = np.array([0.9, 0.8, 0.8, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    assert threshold_for(chances, right, 0.75) == 0.6
    assert threshold_for(chances, right, 0.9) == 0.9
    assert threshold_for(chances, ~right, 1.0) == 1.01
    assert threshold_for(np.zeros(0), np.zeros(0, bool), 0.5) == 1.01


def test_noisy_feedback_is_taken_out() -> None:
    assert corrected(0.8, 0.2) == pytest.approx(1.0)
    assert corrected(0.2, 0.2) == pytest.approx(0.0)
    assert corrected(0.5, 0.2) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="got 0"):
        corrected(0.5, 0.5)


def test_a_model_of_noisy_feedback_reaches_its_posterior_and_back() -> None:
    generator = np.random.default_rng(0)
    dialogues = []
    for n in range(400):
        true = bool(n % 2)
        noisy = true != (generator.random() < 0.2)
        text = "it went well" if true else "it was bad"
        dialogues.append(Dialogue((Turn(text),), (TurnTruth(satisfied=noisy),)))
    shares = [np.mean([d.truth[0].satisfied for d in dialogues[k::2]]) for k in (0, 1)]
    config = replace(SMALL, epochs=5, batch=40)
    model = train_labeller(config, dialogues)
    with torch.no_grad():
        logits = model(as_batch(config, dialogues[:2], model)).satisfied[:, 0]
    chances = logits.sigmoid().tolist()
    assert chances == pytest.approx(shares, abs=0.06)
    assert shares == pytest.approx([0.2, 0.8], abs=0.06)
    assert [corrected(c, 0.2) for c in chances] == pytest.approx([0.0, 1.0], abs=0.15)


def test_later_turns_count_unless_the_labeller_is_online() -> None:
    one = Dialogue((Turn("go"), Turn("no, stop", signal="stop")))
    other = Dialogue((Turn("go"), Turn("thanks a lot")))
    for online in (False, True):
        torch.manual_seed(0)
        model = Labeller(replace(SMALL, online=online)).eval()
        with torch.no_grad():
            first, second = (model(as_batch(SMALL, [d], model)).goal[0, 0] for d in (one, other))
        assert torch.equal(first, second) == online


def test_dialogues_of_a_batch_are_independent() -> None:
    torch.manual_seed(0)
    model = Labeller(SMALL).eval()
    many = [
        Dialogue(
            tuple(Turn(f"word{m} " * (n + 1), "yes", "none", (0.1 * n,)) for m in range(n + 1))
        )
        for n in range(5)
    ]
    forward = label_dialogues(model, many)
    backward = label_dialogues(model, many[::-1])[::-1]
    for a, b in zip(forward, backward, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.goal == y.goal
            assert x.goal_chance == pytest.approx(y.goal_chance, abs=1e-5)
            assert x.slots_chance == pytest.approx(y.slots_chance, abs=1e-5)
    assert label_dialogues(model, [many[3]])[0][0].goal_chance == pytest.approx(
        forward[3][0].goal_chance, abs=1e-5
    )


def test_segment_accuracy() -> None:
    assert segment_accuracy([0, 0, 1, 1, 1], [0, 0, 0, 1, 1]) == pytest.approx(0.8)
    assert segment_accuracy([5, 5, 2], [0, 0, 1]) == 1.0
    assert segment_accuracy([0, -1], [0, 0]) == 0.5


def test_unknown_labels_count_nowhere_and_equal_logits_give_logs() -> None:
    count, turns, words = 1, 2, 3
    zero = Outputs(
        torch.zeros(count, turns, 3), torch.zeros(count, turns), torch.zeros(count, turns, 2),
        torch.zeros(count, turns, words, 3), torch.zeros(count, turns), torch.zeros(count, turns),
    )  # fmt: skip
    known = torch.zeros(count, turns, dtype=torch.long)
    none = torch.full((count, turns), UNKNOWN)
    slots = torch.full((count, turns, words), UNKNOWN)
    mask = torch.ones(count, turns, dtype=torch.bool)
    assert float(label_loss(zero, Targets(none, none, none, slots, none), mask)) == 0.0
    every = Targets(known, known, known, torch.zeros(count, turns, words).long(), known)
    wanted = math.log(3) + math.log(2) + math.log(2) + math.log(3) + math.log(2)
    assert float(label_loss(zero, every, mask)) == pytest.approx(wanted, abs=1e-5)


def test_goals_become_begins_and_slots_become_tags() -> None:
    truth = (
        TurnTruth(0, intent="ask", slots=((10, 21, "place"),)), TurnTruth(0), TurnTruth(-1),
        TurnTruth(1), TurnTruth(),
    )  # fmt: skip
    turns = (Turn("go to the dining room"), *[Turn("x")] * 4)
    dialogue = Dialogue(turns, truth)
    model = Labeller(SMALL)
    batch = as_batch(SMALL, [dialogue], model)
    targets = as_targets(SMALL, [dialogue], batch)
    assert targets.goal[0].tolist() == [0, 1, 2, 0, UNKNOWN]
    assert targets.slots[0, 0].tolist() == [0, 0, 0, 1, 2]
    with pytest.raises(ValueError, match="intent 'sing'"):
        as_targets(SMALL, [Dialogue(turns[:1], (TurnTruth(intent="sing"),))], batch)


@given(st.lists(st.sampled_from(["O", "B-place", "I-place"]), min_size=4, max_size=4))
def test_tags_and_slots_are_inverse(tags: list[str]) -> None:
    text = "one two three four"
    slots = slots_of(text, tags)
    again = tags_of(text, slots)
    assert slots_of(text, again) == slots
    assert [tag == "O" for tag in again] == [tag == "O" for tag in tags]


def test_mixed_slots_stand_where_they_should() -> None:
    texts = [("go to the old kitchen now", "old kitchen"), ("find my red chair", "red chair")]
    dialogues = []
    for text, slot in texts:
        begin = text.index(slot)
        truth = TurnTruth(slots=((begin, begin + len(slot), "place"),))
        dialogues.append(Dialogue((Turn(text),), (truth,)))
    pool = slot_texts(dialogues)
    assert pool == {"place": ["old kitchen", "red chair"]}
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        for (text, slot), mixed in zip(
            texts, mix_slots(dialogues, 0.5, pool, generator), strict=True
        ):
            ((begin, end, _),) = mixed.truth[0].slots or ()
            inner = mixed.turns[0].request[begin:end]
            assert inner in pool["place"]
            assert mixed.turns[0].request == text.replace(slot, inner)
            seen.add((slot, inner))
    assert len(seen) == 4
    assert mix_slots(dialogues, 0.0, pool, generator) == dialogues


def test_temperature_undoes_a_scale() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 3)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([generator.choice(3, p=row) for row in chances])
    assert temperature_of(logits * 3, targets) == pytest.approx(3.0, rel=0.1)


def test_a_labeller_learns_slots_and_comes_back_from_its_folder(tmp_path: Path) -> None:
    dialogues = []
    for n in range(32):
        place = ("kitchen", "garage", "attic", "hall")[n % 4]
        verb = ("go to", "find", "see", "walk to")[n // 4 % 4]
        text = f"{verb} the {place} now"
        begin = text.index(place)
        truth = TurnTruth(0, True, "ask", ((begin, begin + len(place), "place"),), True)
        thanks = TurnTruth(0, True, "thank", (), True)
        dialogues.append(Dialogue((Turn(text), Turn("thanks")), (truth, thanks)))
    model = train_labeller(replace(SMALL, epochs=12), dialogues)
    thresholds = dict.fromkeys(HEADS, 0.5)
    save_labeller(model, tmp_path / "m", dict.fromkeys(HEADS, 1.0), thresholds)
    again, temperatures, found = load_labeller(tmp_path / "m")
    labels = label_dialogues(again, dialogues[:6], temperatures)
    assert labels == label_dialogues(model, dialogues[:6])
    for dialogue, row in zip(dialogues, labels, strict=False):
        assert [label.intent for label in row] == ["ask", "thank"]
        assert row[0].slots == dialogue.truth[0].slots
        assert [label.goal for label in row] == [0, 0]
        assert "slots" in kept(row[0], found)
    assert kept(labels[0][0], dict.fromkeys(HEADS, 1.01)) == {}
    (tmp_path / "m" / "labeller.json").write_text("{}")
    with pytest.raises(RunError, match="not a labeller's"):
        load_labeller(tmp_path / "m")
