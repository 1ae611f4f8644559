"""`rayforge feedback failures RUN`: which stage of an agent fails first, by replay and from a log.

Replay names the failure point of each failed request of a log with truth. Injected faults say how
often it is right. A mixing encoder learns the names from the log alone, on some homes, and is
scored on the others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.graph.buildings import Buildings
from envs.sessions.noise import AMBIGUOUS, PRIVATE, VAGUE
from envs.sessions.people import Route
from envs.sessions.turns import SIGNALS, SOURCES, Turn
from rayforge.errors import DataError
from rayforge.evaluation.intervals import bootstrap_interval, share_interval
from rayforge.feedback.failure_points import STAGES, macro_f1
from rayforge.feedback.mixing import Fields, MixingConfig, Record, probabilities, train_mixing
from rayforge.feedback.text import normal
from rayforge.reports.section import (
    Cell,
    Example,
    Examples,
    Part,
    Row,
    Section,
    Table,
    Text,
    Words,
    span,
)
from rayforge.reports.small_map import small_map
from trainers.feedback.follower import Follower
from trainers.feedback.replay import (
    ACTION,
    GROUNDED,
    HEARD,
    PROGRESS,
    STOP,
    UNDERSTOOD,
    Episode,
    Fault,
    Replay,
)

CLASSES = ("correct", *STAGES)
MEANINGS = {
    "heard": "the words were misheard",
    "understood": "the words do not say the way: too short, vague, a private name",
    "grounded": "it enters a kind of room that is not on the way",
    "progress": "it does not notice that it has strayed",
    "action": "it takes the wrong next step",
    "STOP": "it stops too early, too late or not at all",
}
"""What goes wrong at a stage."""
SHOWN = 2
"""Examples of each stage."""
DRAWN = 2
"""Requests that are drawn from a log for each failure that is wanted."""


class Case(NamedTuple):
    """A request of a log with the way that was meant, and what was said next."""

    turn: Turn
    route: Route
    following: Turn | None


def cases_of(turns: Sequence[Turn], routes: Mapping[str, Sequence[Route]]) -> list[Case]:
    """The requests of a log with truth that a way of the data answers."""
    by_ends: dict[tuple[str, str, str], Route] = {}
    for own in routes.values():
        for route in own:
            by_ends.setdefault((route.building, route.start, route.goal), route)
    after: dict[str, Turn] = {}
    found = []
    for turn in reversed(turns):
        following = after.get(turn.user)
        after[turn.user] = turn
        if turn.truth is None or turn.truth.intent != "go" or not turn.path:
            continue
        wanted = by_ends.get((turn.building, turn.path[0], turn.truth.place))
        if wanted is not None:
            late = following is None or following.time - turn.time - turn.duration > 120
            found.append(Case(turn, wanted, None if late else following))
    return found[::-1]


def episode_of(case: Case) -> Episode:
    turn, route = case.turn, case.route
    assert turn.truth is not None, "cases have truth"
    said = turn.said if turn.said is not None else turn.truth.clean
    short = {VAGUE, AMBIGUOUS, PRIVATE} & set(turn.truth.noise)
    own = [text for text in route.wordings if normal(said) in normal(text)]
    meant = (own or list(route.wordings))[0] if short else said
    return Episode(turn.building, route.path, turn.heading, turn.heard, said, meant)


def analyse(follower: Follower, turns: Sequence[Turn], most: int, seed: int) -> dict[str, Any]:
    """Replay a log's requests, inject faults, train and score the encoder: `failures.json`.

    Raises DataError where the log has no request with truth that the agent fails.
    """
    cases = cases_of(turns, follower.routes)
    # The same words at the same place are one episode: the agent does the same every time.
    distinct = {
        (e.building, e.way, e.heard, e.said): (e, case) for case in cases
        for e in [episode_of(case)]
    }  # fmt: skip
    if not distinct:
        raise DataError("the log has no request with truth whose way is in the data")
    order = np.random.default_rng(seed).permutation(len(distinct))[: DRAWN * most]
    every = list(distinct.items())
    distinct = dict(every[row] for row in sorted(order))
    episodes = [episode for episode, _ in distinct.values()]
    rooms = dict(follower.rooms)
    replay = Replay(follower.agent, rooms, episodes)
    rows = np.arange(len(episodes))
    started = time.perf_counter()
    good = replay.succeeds(0, rows)
    rolled = time.perf_counter() - started
    failed = rows[~good][:most]
    if not len(failed):
        raise DataError("the agent fails none of the log's requests: there is nothing to name")
    part = Replay(follower.agent, rooms, [episodes[row] for row in failed])
    started = time.perf_counter()
    points = part.points()
    seconds = time.perf_counter() - started
    kinds = list(distinct.values())
    shares = _shares(points)
    document: dict[str, Any] = {
        "episodes": len(episodes), "failed": len(failed), "seconds": round(seconds, 2),
        "ratio": round(seconds / len(failed) / (rolled / len(episodes)), 2),
        "shares": shares,
        "by_building": _groups(points, [episodes[row].building for row in failed]),
        "by_room": _groups(points, [kinds[row][1].route.room or "other" for row in failed]),
        "injected": injected(follower, rooms, [episodes[r] for r in rows[good]], seed),
        "examples": _examples(points, part),
    }  # fmt: skip
    shown = sorted({example["building"] for example in document["examples"]})
    document["maps"] = {name: _map(follower.buildings, name) for name in shown}
    named = {
        (episodes[row].building, episodes[row].way, episodes[row].heard, episodes[row].said): int(p)
        for row, p in zip(failed, points, strict=True)
    }
    document["encoder"] = _encoder(cases, named, good, list(distinct), seed)
    return document


def _shares(points: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"stage": name, **bootstrap_interval((points == k).astype(float), samples=2000).as_dict()}
        for k, name in enumerate(STAGES)
    ]


def _groups(points: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Share of each stage, and the number of failures, by group."""
    found = {}
    groups = np.array(names)
    for name in sorted(set(names)):
        own = points[groups == name]
        found[name] = {stage: round(float((own == k).mean()), 4) for k, stage in enumerate(STAGES)}
        found[name]["count"] = len(own)
    return found


def injected(
    follower: Follower, rooms: dict[tuple[str, str], str], episodes: Sequence[Episode], seed: int,
    each: int = 100,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Break one stage of episodes that succeed; of those that then fail, the share whose stage
    replay names right."""
    rng = np.random.default_rng(seed)
    clean = [e for e in episodes if e.heard == e.said == e.meant and len(e.way) > 3]
    found = {}
    for stage in (HEARD, UNDERSTOOD, GROUNDED, PROGRESS, ACTION, STOP):
        chosen = [clean[k] for k in rng.permutation(len(clean))[: 3 * each]]
        broken, faults = [], []
        for episode in chosen:
            other = chosen[int(rng.integers(len(chosen)))]
            fault: Fault | None = None
            if stage == HEARD:
                episode = episode._replace(heard=other.meant)
            elif stage == UNDERSTOOD:
                episode = episode._replace(heard="go there", said="go there")
            else:
                step = int(rng.integers(1, len(episode.way) - 1))
                fault = Fault(stage, 1 if stage == STOP else step, float(rng.random()))
            broken.append(episode)
            faults.append(fault)
        if not broken:
            continue
        fails = ~Replay(follower.agent, rooms, broken, faults).succeeds(0, np.arange(len(broken)))
        rows = np.flatnonzero(fails)[:each]
        if len(rows):
            points = Replay(
                follower.agent, rooms, [broken[r] for r in rows], [faults[r] for r in rows]
            ).points()
            right = float((points == stage - 1).mean())
            found[STAGES[stage - 1]] = {"right": right, "count": len(rows)}
    return found


FIELDS = Fields(
    ("heard", "next", "reply"),
    ("confidence", "steps", "step", "seconds", "gap", "words", "alike"),
    (("signal", len(SIGNALS)), ("source", len(SOURCES)), ("next signal", len(SIGNALS))),
)


def record_of(case: Case) -> Record:
    """What a log alone says of a turn; nothing of its truth."""
    turn, after = case.turn, case.following
    words = set(normal(turn.heard).split())
    other = set(normal(after.heard).split()) if after else set()
    alike = len(words & other) / max(1, len(words | other)) if after else None
    return Record(
        (turn.heard, after.heard if after else None, turn.reply or None),
        (
            turn.confidence, len(turn.path) / 8, None if turn.step is None else turn.step / 8,
            turn.duration / 30, (after.time - turn.time - turn.duration) / 30 if after else None,
            len(words) / 20, alike,
        ),
        (
            SIGNALS.index(turn.signal), SOURCES.index(turn.source),
            SIGNALS.index(after.signal) if after else None,
        ),
    )  # fmt: skip


def _encoder(
    cases: Sequence[Case], named: Mapping[Any, int], good: np.ndarray, keys: Sequence[Any],
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The mixing encoder, trained on half of the homes and scored on the others."""
    worked = {key for key, fine in zip(keys, good, strict=True) if fine}
    records, classes, homes = [], [], []
    for case in cases:
        e = episode_of(case)
        key = (e.building, e.way, e.heard, e.said)
        if key in named or key in worked:
            records.append(record_of(case))
            classes.append(1 + named[key] if key in named else 0)
            homes.append(e.building)
    names = sorted(set(homes))
    if len(names) < 2:
        return {}
    test_homes = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2].tolist())
    inside = np.array([home in test_homes for home in homes])
    truth = np.array(classes)
    train = [record for record, test in zip(records, inside, strict=True) if not test]
    model = train_mixing(MixingConfig(epochs=6), FIELDS, train, truth[~inside], len(CLASSES), seed)
    test = [record for record, own in zip(records, inside, strict=True) if own]
    said, held = probabilities(model, test).argmax(1), truth[inside]
    common = np.full(len(held), np.bincount(truth[~inside]).argmax())
    signal = np.array([0 if r.categories[0] in (0, 1) else int(common[0] or 1) for r in test])
    wrong = held > 0
    fix_true, fix_said = (int(np.bincount(x[x > 0], minlength=len(CLASSES)).argmax())
                          for x in (held, said))  # fmt: skip
    return {
        "train": len(train), "test": len(test), "test_homes": sorted(test_homes),
        "macro_f1": macro_f1(held, said, len(CLASSES)),
        "macro_f1_majority": macro_f1(held, common, len(CLASSES)),
        "macro_f1_signal": macro_f1(held, signal, len(CLASSES)),
        "accuracy": float((held == said).mean()),
        "accuracy_of_failures": float((held == said)[wrong].mean()) if wrong.any() else None,
        "first_fix": {"replay": CLASSES[fix_true], "encoder": CLASSES[fix_said]},
        "shares": {
            name: {"replay": float((held == k).mean()), "encoder": float((said == k).mean())}
            for k, name in enumerate(CLASSES)
        },
    }  # fmt: skip


def _examples(points: np.ndarray, replay: Replay) -> list[dict[str, Any]]:
    """Some failures of each stage, of different ways where there are."""
    found = []
    for stage, name in enumerate(STAGES):
        first: dict[tuple[str, ...], int] = {}
        for row in np.flatnonzero(points == stage):
            first.setdefault(replay.episodes[int(row)].way, int(row))
        rows = np.array(list(first.values())[:SHOWN], np.int64)
        if not len(rows):
            continue
        for row, walked in zip(rows, replay.walks(rows), strict=True):
            e = replay.episodes[int(row)]
            found.append({"stage": name, "building": e.building, "way": list(e.way),
                          "walked": walked, "heard": e.heard, "said": e.said,
                          "meant": e.meant})  # fmt: skip
    return found


def _map(buildings: Buildings, name: str) -> dict[str, Any]:
    """A building as `small_map` draws it."""
    number = buildings.scans.index(name)
    first, last = int(buildings.first[number]), int(buildings.first[number + 1])
    return {
        "ids": list(buildings.viewpoint_ids[first:last]),
        "positions": buildings.positions[first:last].round(2).tolist(),
        "edges": [[a, int(b) - first] for a, row in enumerate(buildings.neighbours[first:last])
                  for b in row if b - first > a],
    }  # fmt: skip


def failure_parts(document: Mapping[str, Any]) -> list[Part]:
    """`failures.json` as parts of a page."""
    rows = []
    for share in document["shares"]:
        found = document["injected"].get(share["stage"])
        named = Cell("—", "none were injected")
        if found:
            right = share_interval(found["right"], int(found["count"]))
            named = Cell(f"{right.mean:.3f}", f"{span(right)} of {right.n}")
        said = f"[{share['low']:.3f}, {share['high']:.3f}]"
        head = Cell(share["stage"], MEANINGS.get(share["stage"], ""))
        rows.append(Row(head, [Cell(f"{share['mean']:.3f}", said), named]))
    parts: list[Part] = [
        Text(f"{document['failed']} failed requests were replayed, in {document['seconds']:.0f} s. "
             "An oracle gives a stage what it lacked. A request fails at the first stage whose "
             "oracle, together with those of all stages before it, makes it succeed."),
        Table(["Stage", "Share of failures", "Injected faults named right"], rows,
              "Shares with 95 % bootstrap intervals over failures. Injected faults: one stage of a "
              "request that succeeds is broken on purpose; share named right with 95 % Wilson "
              "intervals."),
    ]  # fmt: skip
    for title, key in (("By building", "by_building"), ("By room of the goal", "by_room")):
        groups = document[key]
        body = [
            Row(Cell(name, f"{own['count']} failures"),
                [Cell(f"{own[stage]:.2f}") for stage in STAGES])
            for name, own in groups.items()
        ]  # fmt: skip
        parts.append(Section(title, [Table([title, *STAGES], body)], folded=True))
    encoder = document.get("encoder")
    if encoder:
        parts.append(Text(
            "An encoder that sees the log alone, without replay, names these stages in new homes "
            f"with a macro F1 of {encoder['macro_f1']:.3f} (always the commonest stage: "
            f"{encoder['macro_f1_majority']:.3f}; macro F1 is the mean over stages of the harmonic "
            "mean of precision and recall). The stage to mend first is "
            f"{encoder['first_fix']['replay']} by replay, and {encoder['first_fix']['encoder']} by "
            "the encoder."
        ))  # fmt: skip
    parts.append(Section(
        "Examples", [
            Text("Ring: the start. Blue and dashed, to the green dot: the way that was meant. "
                 "Orange: the agent's own. North is up.", "muted"),
            Examples([_example(e, document["maps"]) for e in document["examples"]]),
        ],
        "Where did it go, and where should it have gone?",
    ))  # fmt: skip
    return parts


def _example(example: Mapping[str, Any], maps: Mapping[str, Any]) -> Example:
    says = (
        f"The way that was meant, dashed, with {len(example['way'])} viewpoints, and the agent's, "
        f"with {len(example['walked'])}"
    )
    facts: list[tuple[str, Words]] = [
        ("Fails first", example["stage"]),
        ("Heard", example["heard"]),
    ]
    if example["said"] != example["heard"]:
        facts.append(("Said", example["said"]))
    if example["meant"] not in (example["said"], example["heard"]):
        facts.append(("Meant", example["meant"]))
    drawn = small_map(maps[example["building"]], example["way"], example["walked"], says)
    return Example(facts, f"Building {example['building']}", drawn)
