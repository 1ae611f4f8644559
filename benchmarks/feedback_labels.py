"""Labels and rephrases on sessions of simulated users in buildings that training did not see.

    python -m benchmarks.feedback_labels --data ../r2r --out runs/feedback_labels

Two logs of simulated users with real instructions, one in 24 training buildings, one in the eight
held-out ones (`benchmarks/r2r.py`). The assistant is a stand-in, so that this takes minutes: it
takes the route that shares its start and most words with the request, and fails by lot, a quarter
of the requests in the words of the data and 60 % of all others; the lot is the request's own, so
that the same words always fare the same. The same command goes on where it was broken off.

Labels: segmentation of goals, whether they were achieved, slots, against a single annotator who
errs with a stated rate, and against the same network on each turn's words alone. Rephrases: F1 of
spans against four baselines, on the log, and on twins whose feedback marks are exchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from scipy.sparse.csgraph import shortest_path

from benchmarks.r2r import HELD_OUT
from envs.episodes.r2r import read_r2r
from envs.graph.boxes import read_room_labels
from envs.graph.navigation_graph import SUFFIX, NavigationGraph, read_connectivity
from envs.sessions.log import Session, sessions_of, write_log
from envs.sessions.noise import confusions, vocabulary_of
from envs.sessions.people import PeopleConfig, Route, people, routes_of
from envs.sessions.simulation import Answer, Asked, simulate_day
from envs.sessions.turns import SIGNALS, Turn
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.feedback.labeller import Dialogue, Labeller, LabellerConfig
from rayforge.feedback.labelling import (
    HEADS,
    coverage,
    label_dialogues,
    load_labeller,
    save_labeller,
    segment_accuracy,
)
from rayforge.feedback.rephrase_baselines import (
    best_turn,
    fitted_threshold,
    last_turn,
    letters_score,
    pairwise_classifier,
    turn_f1,
    vector_score,
)
from rayforge.feedback.rephrases import RephraseConfig, find_rephrases, train_reader
from rayforge.feedback.rephrases import Session as SaidSession
from rayforge.feedback.text import STATIC, fixed_vectors, words_in
from rayforge.files import write_json
from rayforge.readers.json_text import read_object
from trainers.feedback.from_logs import dialogue_of, said_of, tails
from trainers.feedback.labels import chances_and_right, labeller_config, learn_labels


@dataclass(frozen=True)
class Benchmark:
    """Labels and rephrase spans in new buildings."""

    data: Path
    out: Path = Path("runs/feedback_labels")
    users: int = 160
    """In each of the two logs; half as many in the held-out buildings."""
    days: int = 6
    epochs: int = 8
    annotator: float = 0.1
    """Share of labels that a single annotator gets wrong."""
    text: str = "small"
    seed: int = 0
    only: str = ""
    """labels or rephrases: that part alone."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        train, test = self.logs()
        print(f"training: {len(train)} sessions, {sum(len(s.turns) for s in train)} turns in"
              f" {len({s.building for s in train})} buildings; new buildings:"
              f" {len(test)} sessions, {sum(len(s.turns) for s in test)} turns in"
              f" {len({s.building for s in test})}", flush=True)  # fmt: skip
        if self.only in ("", "labels"):
            print(labels_table(train, test, self), flush=True)
        if self.only in ("", "rephrases"):
            print(rephrases_table(train, test, self), flush=True)

    def logs(self) -> tuple[list[Session], list[Session]]:
        episodes = read_r2r(self.data / "R2R_train.json")
        every = routes_of(episodes)
        known = [b for b in sorted(every) if b not in HELD_OUT and len(every[b]) > 40][:24]
        logs = []
        for name, buildings, users in (
            ("train", known, self.users), ("held_out", HELD_OUT, self.users // 2),
        ):  # fmt: skip
            folder = self.data / "connectivity"
            graphs = {b: read_connectivity(folder / f"{b}{SUFFIX}") for b in buildings}
            routes = {b: every[b] for b in buildings}
            letters = read_room_labels(self.data / "vp2room_label.json", buildings)
            turns = simulate(
                PeopleConfig(users=users), routes, graphs, letters, self.days, self.seed
            )
            write_log(self.out / f"{name}.jsonl", turns)
            logs.append(list(sessions_of(turns)))
        return logs[0], logs[1]


class StandIn:
    """The assistant of the module's docstring; its reply names the room that it went to."""

    def __init__(
        self, routes: dict[str, tuple[Route, ...]], letters: dict[tuple[str, str], str]
    ) -> None:
        self.routes, self.letters = routes, letters
        self.at = {
            (b, route.start): [r for r in own if r.start == route.start]
            for b, own in routes.items() for route in own
        }  # fmt: skip
        self.exact = {text for own in routes.values() for r in own for text in r.wordings}

    def follow(self, asked: Sequence[Asked]) -> list[Answer]:
        return [self._one(request) for request in asked]

    def _one(self, asked: Asked) -> Answer:
        said = set(words_in(asked.heard.lower()))
        route = max(
            self.at[asked.building, asked.start],
            key=lambda r: max(len(said & set(words_in(w.lower()))) for w in r.wordings),
        )
        lot = hashlib.blake2b(f"{asked.building} {asked.heard}".encode(), digest_size=4).digest()
        chance = int.from_bytes(lot) / 2**32
        path = route.path
        if chance < (0.25 if asked.heard in self.exact else 0.6):
            path = path[: max(1, len(path) // 2)]
        room = self.letters.get((asked.building, path[-1]), "-")
        return Answer(path, reply=f"going to a room of kind {room}")

    def question(self, turns: Sequence[Turn]) -> str | None:
        return None

    def taught(self, turn: Turn, phrase: str) -> None:
        raise AssertionError("nothing is asked")


def simulate(
    config: PeopleConfig, routes: dict[str, tuple[Route, ...]], graphs: dict[str, NavigationGraph],
    letters: dict[tuple[str, str], str], days: int, seed: int,
) -> list[Turn]:  # fmt: skip
    tables = {}
    for building, graph in graphs.items():
        a, b = np.nonzero(graph.adjacency)
        weights = np.zeros(graph.adjacency.shape)
        weights[a, b] = np.linalg.norm(graph.positions[a] - graph.positions[b], axis=1)
        tables[building] = shortest_path(weights, directed=False)

    def metres(building: str, a: str, b: str) -> float:
        rows = graphs[building].rows
        return float(tables[building][rows[a], rows[b]])

    texts = [text for own in routes.values() for route in own for text in route.wordings]
    sounds = confusions(vocabulary_of(texts))
    users = people(config, routes, seed)
    assistant = StandIn(routes, letters)
    return [
        turn
        for day in range(days)
        for turn in simulate_day(config, users, routes, sounds, day, seed, assistant, metres)
    ]


def labels_table(train: list[Session], test: list[Session], b: Benchmark) -> str:
    """Goal segmentation, goals achieved, slots: labeller, one annotator, words alone."""
    config = labeller_config(b.text, b.epochs)
    dialogues, wanted = [dialogue_of(s) for s in train], [dialogue_of(s) for s in test]
    model, temperatures, thresholds = labeller(b.out / "labeller", config, dialogues, b.seed)
    found = label_dialogues(model, wanted, temperatures)
    turns = [t for d in dialogues for t in apart(d)]
    alone = labeller(b.out / "labeller-turns", config, turns, b.seed)
    plain = [[row[0] for row in label_dialogues(alone[0], apart(d), alone[1])] for d in wanted]
    generator = np.random.default_rng(b.seed)
    lines = [
        "| | segmentation | goal achieved | F1 of failures | slot F1 |",
        "|---|---|---|---|---|",
    ]
    rows = {"labeller": found, "words of the turn alone": plain}
    for name, labels in rows.items():
        goals = [[t.goal for t in row] for row in labels]
        if name != "labeller":  # a turn by itself begins a goal; two in a row of one cannot be told
            goals = [list(range(len(row))) for row in labels]
        said = [[t.achieved for t in row] for row in labels]
        slots = [[set(t.slots) for t in row] for row in labels]
        lines.append(line(name, wanted, goals, said, slots))
    goals, said, slots = annotated(wanted, b.annotator, generator)
    lines.append(line(f"one annotator, {b.annotator:.0%} wrong", wanted, goals, said, slots))
    lines.append("\n| kept at | " + " | ".join(HEADS) + " |\n|---|" + "---|" * len(HEADS))
    chances = chances_and_right(model, wanted, temperatures)
    curves = {
        head: coverage(*chances[head], [0.0, 0.7, 0.9, 0.95, thresholds[head]]) for head in HEADS
    }
    for n, at in enumerate(("all", "0.7", "0.9", "0.95", "threshold for 0.95")):
        cells = [f"{curves[h][n][1]:.3f} of {curves[h][n][0]:.0%}" for h in HEADS]
        lines.append(f"| {at} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def labeller(
    folder: Path, config: LabellerConfig, dialogues: Sequence[Dialogue], seed: int
) -> tuple[Labeller, dict[str, float], dict[str, float]]:
    """The labeller of a folder; learnt and written there where it is not there yet."""
    if not folder.exists():
        model, temperatures, thresholds = learn_labels(config, dialogues, 0.95, seed)
        save_labeller(model, folder, temperatures, thresholds)
    return load_labeller(folder)


def apart(dialogue: Dialogue) -> list[Dialogue]:
    """Each turn by itself, its words and the reply alone."""
    return [
        Dialogue((turn._replace(signal="none", numbers=()),), (truth,), dialogue.domain)
        for turn, truth in zip(dialogue.turns, dialogue.truth, strict=True)
    ]


Labelled = tuple[list[list[int]], list[list[bool]], list[list[set[tuple[int, int, str]]]]]


def annotated(wanted: Sequence[Dialogue], error: float, generator: np.random.Generator) -> Labelled:
    """What one annotator says who errs with a rate: borders, ends of goals, slots left out."""
    goals, said, slots = [], [], []
    for dialogue in wanted:
        begins = [
            n == 0 or t.goal != dialogue.truth[n - 1].goal for n, t in enumerate(dialogue.truth)
        ]
        begins = [begin != (generator.random() < error) or n == 0 for n, begin in enumerate(begins)]
        goals.append([int(g) - 1 for g in np.cumsum(begins)])
        wrong = {g: generator.random() < error for g in {t.goal for t in dialogue.truth}}
        said.append([bool(t.achieved) != wrong[t.goal] for t in dialogue.truth])
        slots.append(
            [{s for s in t.slots or () if generator.random() >= error} for t in dialogue.truth]
        )
    return goals, said, slots


def line(
    name: str, wanted: Sequence[Dialogue], goals: list[list[int]], said: list[list[bool]],
    slots: list[list[set[tuple[int, int, str]]]],
) -> str:  # fmt: skip
    segments = [
        segment_accuracy(g, [t.goal or 0 for t in d.truth])
        for g, d in zip(goals, wanted, strict=True)
        if len(d.turns) > 1
    ]
    right, pairs = [], []
    true_slots = found_slots = both = 0
    for d, row, tags in zip(wanted, said, slots, strict=True):
        for truth, guess, tag in zip(d.truth, row, tags, strict=True):
            right.append(guess == truth.achieved)
            pairs.append((not guess, not truth.achieved))
            if truth.slots is not None:
                true = set(truth.slots)
                true_slots, found_slots = true_slots + len(true), found_slots + len(tag)
                both += len(true & tag)
    failures = 2 * sum(a and b for a, b in pairs) / max(1, sum(a + b for a, b in pairs))
    cells = [shown(segments), shown(right), f"{failures:.3f}"]
    return f"| {name} | " + " | ".join(cells) + f" | {2 * both / (true_slots + found_slots):.3f} |"


def shown(values: Sequence[float]) -> str:
    i = bootstrap_interval(np.array(values, float), samples=2000)
    return f"{i.mean:.3f} [{i.low:.3f}, {i.high:.3f}]"


def twins(sessions: Sequence[SaidSession]) -> list[SaidSession]:
    """Sessions of three turns and more twice, the second time with the marks of the rephrase and of
    another later turn exchanged: the texts are equal, the answers differ."""
    found = []
    for session in sessions:
        if session.rephrase is None or len(session.turns) < 3:
            continue
        true = session.rephrase[0]
        other = next(n for n in range(1, len(session.turns)) if n != true)
        a, b = session.turns[true], session.turns[other]
        if a.well == b.well:
            continue
        turns = list(session.turns)
        turns[true] = a._replace(signal=b.signal, well=b.well)
        turns[other] = b._replace(signal=a.signal, well=a.well)
        found += [session, SaidSession(tuple(turns), (other, 0, len(b.request)))]
    return found


def rephrases_table(train: list[Session], test: list[Session], b: Benchmark) -> str:
    """F1 of the rephrase's turn: spans and four baselines, on the log and on its twins."""
    learn = [said_of(s) for s in tails(train) if len(s.turns) > 1]
    wanted = [said_of(s) for s in tails(test) if len(s.turns) > 1]
    window = RephraseConfig().window_s
    fixed = fixed_vectors(STATIC)
    assert fixed is not None, "the static vectors are there, or an error was raised"
    near = vector_score(fixed)
    lines = ["| | new buildings | twins with exchanged marks |", "|---|---|---|"]
    cells: dict[str, list[str]] = {}
    for name, training, sessions in (
        ("log", learn, wanted), ("twins", learn + twins(learn), twins(wanted)),
    ):  # fmt: skip
        there = sum(s.rephrase is not None for s in sessions)
        lines.insert(0, f"{name}: {len(sessions)} requests in new buildings, {there} rephrased")
        done = b.out / f"rephrases-{name}.json"
        if done.exists():
            for what, f1 in read_object(done).items():
                cells.setdefault(what, []).append(f"{f1:.3f}")
            continue
        reader = train_reader(RephraseConfig(SIGNALS, b.text, epochs=b.epochs), training, b.seed)
        found = find_rephrases(reader, sessions)
        rows: dict[str, list[int | None]] = {"spans": [f.turn if f else None for f in found]}
        rows["last turn"] = [last_turn(s, window) for s in sessions]
        scores: dict[str, Callable[[str, str], float]] = {
            "nearest by static vectors": near, "edit distance": letters_score,
            "pairwise classifier": pairwise_classifier(training, window, near),
        }  # fmt: skip
        for what, score in scores.items():
            threshold = fitted_threshold(training, window, score)
            rows[what] = [best_turn(s, window, score, threshold) for s in sessions]
        f1s = {what: turn_f1(guesses, sessions) for what, guesses in rows.items()}
        write_json(done, f1s)
        for what, f1 in f1s.items():
            cells.setdefault(what, []).append(f"{f1:.3f}")
    return "\n".join([*lines, *(f"| {w} | " + " | ".join(c) + " |" for w, c in cells.items())])


if __name__ == "__main__":
    tyro.cli(Benchmark)()
