"""Rewriting, intents and slots on dialogues that others made.

    python -m benchmarks.dialogue ../shared/data/dialogue

Contextual rewrites (Alexa CQR): the index holds every rewrite of the file as a request of
everyone, gold and crowd-sourced; a request in its dialogue must find one of its own. Three folds by
dialogue: what is scored was not trained on, in words or in thresholds. Intents and slots (Snips):
trained on 70 utterances an intent, as the five engines were whose results come with the data, three
draws, scored on the 100 that are kept for it. Both beside bags of words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from rayforge.errors import DataError
from rayforge.evaluation.intervals import bootstrap_interval, seed_interval
from rayforge.feedback.encoder import Query, train_encoder, words_read
from rayforge.feedback.entries import Entry
from rayforge.feedback.formats import (
    Rewrite,
    Utterance,
    read_engine,
    read_massive,
    read_rewrites,
    read_utterances,
)
from rayforge.feedback.labeller import Dialogue, LabellerConfig, Turn, TurnTruth, slots_of, tags_of
from rayforge.feedback.labelling import label_dialogues, train_labeller
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.rewriting_config import (
    EncoderConfig,
    LearningConfig,
    RankerConfig,
    RewritingConfig,
)
from rayforge.feedback.rewriting_training import Sample, learn_rewriter, pairs_of
from rayforge.feedback.text import normal, words_in
from rayforge.files import write_json
from rayforge.readers.json_text import read_object


@dataclass(frozen=True)
class Benchmark:
    """Rewrites, intents and slots of published dialogues."""

    data: tyro.conf.Positional[Path]
    """Folder with `alexa_cqr` and `snips`."""
    text: str = "wordllama"
    """Text encoder: small, wordllama, or a folder of a transformers model."""
    out: Path = Path("runs/dialogue")
    """Folder of the draws' figures; a draw that is there is not trained again."""
    folds: int = 3
    draws: int = 3
    """Draws of 70 training utterances an intent."""
    seed: int = 0
    utterances: int = 70
    """Training utterances an intent; 0: all."""
    epochs: int = 40
    only: str = ""
    """rewrites or intents: that part alone."""
    rewrites: Path | None = None
    """Another file of contextual rewrites (CQR, CANARD or QReCC)."""
    intents: Path | None = None
    """Another folder of intents and slots (Snips' layout, or `train` and `test` with `seq.in`,
    `seq.out`, `label`), or a MASSIVE file (`en-US.jsonl`)."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        if self.only in ("", "rewrites"):
            named = [self.rewrites] if self.rewrites else []
            for file in named or sorted((self.data / "alexa_cqr").glob("*.json*")):
                print(rewrite_table(file, self))
        if self.only in ("", "intents"):
            print(intents_table(self.intents or self.data / "snips", self))


def samples_of(rewrites: Sequence[Rewrite]) -> list[Sample]:
    return [
        Sample(
            None, Query(r.request, r.context), (r.gold, *r.others) if r.gold else (),
            group=str(r.dialogue),
        )
        for r in rewrites
    ]  # fmt: skip


def rewrite_table(file: Path, b: Benchmark) -> str:
    """Recall and accuracy of online rewriting and of bags of words, as a Markdown table."""
    rewrites = read_rewrites(file)
    samples = samples_of(rewrites)
    entries = [Entry(t, None) for t in sorted({f for s in samples for f in s.fixes})]
    groups = sorted({s.group or "" for s in samples})
    order = np.random.default_rng(b.seed).permutation(len(groups)) % b.folds
    fold_of = dict(zip(groups, order, strict=True))
    figures: dict[str, dict[str, list[float]]] = {}
    for fold in range(b.folds):
        name = f"rewrites-{file.name.split('.')[0]}-{b.text.replace('/', '_')}"
        done = b.out / f"{name}-{b.seed}-{fold}of{b.folds}.json"
        if not done.exists():
            train = [s for s in samples if fold_of[s.group or ""] != fold]
            test = [
                (s, r) for s, r in zip(samples, rewrites, strict=True)
                if fold_of[s.group or ""] == fold
            ]  # fmt: skip
            write_json(done, fold_figures(train, test, entries, b))
        for what, row in read_object(done).items():
            for figure, values in row.items():
                figures.setdefault(what, {}).setdefault(figure, []).extend(values)
    count = sum(bool(s.fixes) for s in samples)
    lines = [
        f"{file.name}: {len(samples)} requests, {count} need a rewrite; {len(entries)} entries;"
        f" text {b.text}; {b.folds} folds by dialogue"
    ]
    for what, row in figures.items():
        said = []
        for figure, values in row.items():
            i = bootstrap_interval(np.array(values, float))
            said.append(f"{figure} {i.mean:.3f} [{i.low:.3f}, {i.high:.3f}]")
        lines.append(f"| {what} | " + " | ".join(said) + " |")
    return "\n".join(lines)


def fold_figures(
    train: list[Sample], test: list[tuple[Sample, Rewrite]], entries: list[Entry], b: Benchmark
) -> dict[str, dict[str, list[float]]]:
    """What one fold's requests gave, by system and figure, 0 or 1 a request."""
    config = LearningConfig(
        EncoderConfig(b.text, epochs=8), RankerConfig(), RewritingConfig(global_k=50), 2,
        harm=1.0, false_alarms=0.1,
    )  # fmt: skip
    rewriter = learn_rewriter(config, train, entries, seed=b.seed)
    first = train_encoder(replace(config.encoder, epochs=0), pairs_of(train), b.seed)
    plain = Rewriter(config.rewriting, first, rewriter.ranker, entries)
    bags = {
        "bag of words, request": Bags(entries, False),
        "bag of words, request and context": Bags(entries, True),
    }
    figures: dict[str, dict[str, list[float]]] = {}
    for sample, rewrite in test:
        right = {normal(fix) for fix in sample.fixes}
        for name, system in (("retrieval, untrained", plain), ("retrieval", rewriter)):
            code = system.encoder.encode_query(sample.query)
            rows = system.everyone.index.search(code, 10)[0].tolist()
            _add(figures, name, [system.everyone.entries[row].text for row in rows], right)
        ranked = [entry.text for entry, _, _ in rewriter.candidates(None, sample.query)]
        _add(figures, "retrieval and ranking", ranked, right)
        answer = rewriter.answer(None, sample.query)
        decided = normal(answer.rewrite or "") in right if right else answer.rewrite is None
        row = figures.setdefault("retrieval and ranking", {})
        row.setdefault("accuracy", []).append(float(decided))
        kind = "rewritten right" if right else "left alone where right"
        row.setdefault(kind, []).append(float(decided))
        if right:
            kept = kept_slots(ranked[0] if ranked else "", rewrite.slots)
            row.setdefault("slots kept", []).append(kept)
        for name, bag in bags.items():
            _add(figures, name, bag.best(sample.query, 10), right)
    return figures


def _add(
    figures: dict[str, dict[str, list[float]]], name: str, found: list[str], right: set[str]
) -> None:
    if right:
        hits = [normal(text) in right for text in found]
        row = figures.setdefault(name, {})
        row.setdefault("recall@1", []).append(float(any(hits[:1])))
        row.setdefault("recall@10", []).append(float(any(hits[:10])))


def kept_slots(text: str, slots: Sequence[str]) -> float:
    """Share of the slots' texts that stand in a rewrite; 1 where there are none."""
    plain = f" {normal(text)} "
    return float(np.mean([f" {normal(slot)} " in plain for slot in slots])) if slots else 1.0


class Bags:
    """TF-IDF cosine, the baseline."""

    def __init__(self, entries: Sequence[Entry], context: bool) -> None:
        self.entries, self.context = entries, context
        read = [words_read(e.text) for e in entries]
        names = sorted({w for words in read for w in words})
        self.number = {w: n for n, w in enumerate(names)}
        counts = np.zeros((len(read), len(names)))
        for row, words in enumerate(read):
            for word in words:
                counts[row, self.number[word]] += 1
        self.idf = np.log((len(read) + 1) / ((counts > 0).sum(0) + 1))
        weighted = counts * self.idf
        self.rows = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9)

    def best(self, query: Query, k: int) -> list[str]:
        bag = np.zeros(len(self.number))
        texts = [query.request, *(query.context if self.context else ())]
        for text in texts:
            for word in words_read(text):
                if word in self.number:
                    bag[self.number[word]] += self.idf[self.number[word]]
        order = np.argsort(-(self.rows @ bag), kind="stable")[:k]
        return [self.entries[row].text for row in order]


def intents_table(folder: Path, b: Benchmark) -> str:
    """Intent accuracy and slot F1 of the labeller, a bag of words and the five engines."""
    pool, test = utterances_in(folder)
    names = sorted(pool)
    slots = tuple(sorted({s for us in pool.values() for u in us for *_, s in u.slots}))
    figures: dict[str, list[Figures]] = {}
    for draw in range(b.draws):
        file = b.out / f"intents-{folder.name}-{b.text.replace('/', '_')}-{b.seed + draw}.json"
        if not file.exists():
            train = []
            for n, name in enumerate(names):
                generator = np.random.default_rng((b.seed + draw, n))
                order = generator.permutation(len(pool[name]))[: b.utterances or None]
                train += [pool[name][row] for row in order]
            config = LabellerConfig(
                tuple(names), slots, text=b.text, pretraining=0, epochs=b.epochs, batch=16,
                hidden=128,
            )  # fmt: skip
            model = train_labeller(config, [dialogue_of(u) for u in train], b.seed + draw)
            found = label_dialogues(model, [dialogue_of(u) for u in test])
            guesses = [(turns[0].intent or "", turns[0].slots) for turns in found]
            bags = scores(bag_of_words(train, test), test)
            write_json(file, {"labeller": scores(guesses, test), "bag of words": bags})
        for name, row in read_object(file).items():
            figures.setdefault(name, []).append(row)
    size = b.utterances or "all"
    lines = [
        f"{len(test)} utterances, trained on {size} an intent, {b.draws} draws; text {b.text}",
        "",
        "| | intent accuracy | mean slot F1 | slot F1 | whole utterance |",
        "|---|---|---|---|---|",
    ]
    for name, rows in figures.items():
        said = []
        for values in zip(*rows, strict=True):
            i = seed_interval(values)
            said.append(f"{i.mean:.3f} [{i.low:.3f}, {i.high:.3f}]")
        lines.append(f"| {name} | " + " | ".join(said) + " |")
    for engine in sorted({f.name for f in folder.glob("*/*_metrics.json")}):
        results = [r for n in names for r in read_engine(folder / n / engine) if r.intent in names]
        f1 = [_f1(p, r) for x in results for p, r, _ in x.slots.values()]
        recall = float(np.mean([x.recall for x in results]))
        lines.append(f"| {engine.removesuffix('_metrics.json')} | {recall:.3f} | "
                     f"{np.mean(f1):.3f} | | |")  # fmt: skip
    return "\n".join(lines)


def utterances_in(folder: Path) -> tuple[dict[str, list[Utterance]], list[Utterance]]:
    """Training utterances by intent and those to be scored: Snips' layout (a folder an intent),
    `train` and `test` with `seq.in`, `seq.out` and `label` each, or a MASSIVE file."""
    train = []
    if folder.is_file():
        parts = read_massive(folder)
        if not parts.get("train") or not parts.get("test"):
            raise DataError(f"{folder}: needs the partitions train and test, has {sorted(parts)}")
        train, test = parts["train"], parts["test"]
    elif (folder / "train").is_dir():
        train, test = (read_utterances(folder / part) for part in ("train", "test"))
    else:
        names = sorted(f.parent.name for f in folder.glob("*/train_*.json"))
        if not names:
            raise DataError(f"{folder}: neither INTENT/train_INTENT.json nor train/seq.in")
        for n in names:
            full = folder / n / f"train_{n}_full.json"
            train += read_utterances(full if full.exists() else folder / n / f"train_{n}.json")
        test = [u for n in names for u in read_utterances(folder / n / f"validate_{n}.json")]
    pool: dict[str, list[Utterance]] = {}
    for u in train:
        pool.setdefault(u.intent, []).append(u)
    return pool, test


def dialogue_of(u: Utterance) -> Dialogue:
    return Dialogue((Turn(u.text),), (TurnTruth(intent=u.intent, slots=u.slots),))


def _f1(precision: float, recall: float) -> float:
    """0 where an engine found none (its precision is then not a number)."""
    if not precision > 0 or not recall > 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


Figures = tuple[float, float, float, float]
Found = tuple[str, Sequence[tuple[int, int, str]]]


def scores(found: Sequence[Found], test: Sequence[Utterance]) -> Figures:
    """(intent accuracy, F1 averaged over the slots of each intent as the engines' is, F1 over all
    slots together, share of utterances with intent and all slots right)."""
    right: dict[tuple[str, str], int] = {}
    guessed, there = dict(right), dict(right)
    for (_, slots), u in zip(found, test, strict=True):
        true = set(u.slots)
        for slot in slots:
            key = u.intent, slot[2]
            guessed[key] = guessed.get(key, 0) + 1
            right[key] = right.get(key, 0) + (slot in true)
        for slot in true:
            there[u.intent, slot[2]] = there.get((u.intent, slot[2]), 0) + 1
    f1 = [_f1(right.get(k, 0) / max(1, guessed.get(k, 0)), right.get(k, 0) / n)
          for k, n in there.items()]  # fmt: skip
    total = sum(right.values())
    whole = [i == u.intent and set(s) == set(u.slots)
             for (i, s), u in zip(found, test, strict=True)]  # fmt: skip
    return (
        float(np.mean([i == u.intent for (i, _), u in zip(found, test, strict=True)])),
        float(np.mean(f1)),
        _f1(total / max(1, sum(guessed.values())), total / max(1, sum(there.values()))),
        float(np.mean(whole)),
    )


def bag_of_words(train: Sequence[Utterance], test: Sequence[Utterance]) -> list[Found]:
    """Intent by multinomial naive Bayes over words; each word has its likeliest tag, by itself."""
    intents = sorted({u.intent for u in train})
    counts: dict[str, Counter[str]] = {i: Counter() for i in intents}
    tags: dict[str, Counter[str]] = {}
    for u in train:
        words = words_in(u.text)
        counts[u.intent].update(w.lower() for w in words)
        for word, tag in zip(words, tags_of(u.text, u.slots), strict=True):
            tags.setdefault(word.lower(), Counter())[tag] += 1
    size = len({w for c in counts.values() for w in c})
    totals = {i: sum(c.values()) for i, c in counts.items()}
    found: list[Found] = []
    for u in test:
        words = [w.lower() for w in words_in(u.text)]
        odds = {
            i: sum(np.log((counts[i][w] + 1) / (totals[i] + size)) for w in words) for i in intents
        }
        guess = [tags[w].most_common(1)[0][0] if w in tags else "O" for w in words]
        found.append((max(intents, key=lambda i: odds[i]), slots_of(u.text, guess)))
    return found


if __name__ == "__main__":
    tyro.cli(Benchmark)()
