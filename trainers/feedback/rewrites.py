"""`rayforge feedback rephrases` and `rewrite`: from a log to pairs, from pairs to a rewriter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from envs.progress import Progress
from envs.sessions.log import Session
from envs.sessions.turns import SIGNALS, Turn
from rayforge.errors import DataError
from rayforge.feedback.entries import gather
from rayforge.feedback.rephrases import (
    Found,
    Mined,
    RephraseConfig,
    SpanReader,
    find_rephrases,
    mine,
    train_reader,
)
from rayforge.feedback.rewriter_files import MANIFEST, save_rewriter
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.rewriting_config import LearningConfig
from rayforge.feedback.rewriting_training import learn_rewriter
from rayforge.feedback.text import fixed_vectors
from rayforge.files import check_replaceable, write_text
from rayforge.readers.faults import REASON, kind_of, one_line
from rayforge.readers.json_text import read_json_lines, read_object
from trainers.feedback.from_logs import outcomes_of, said_of, samples_of, tails
from trainers.feedback.labels import sessions_in


def learn_reader(sessions: Sequence[Session], text: str, epochs: int, seed: int = 0) -> SpanReader:
    """A reader of rephrases from sessions with truth."""
    config = RephraseConfig(SIGNALS, text, epochs=epochs)
    with Progress("learning rephrases: epochs", epochs) as progress:
        said = [said_of(session) for session in tails(sessions)]
        return train_reader(config, said, seed, progress.add)


def by_feedback(sessions: Sequence[Session], window_s: float = 120.0) -> list[Found | None]:
    """Rephrases by a rule, where no log with truth is at hand to learn from: after a request that
    ended badly, the next one that ended well, if nothing but bad ends lie between them."""
    found: list[Found | None] = []
    for session in sessions:
        rephrase, late = None, 0.0
        if not session.turns[0].ended_well:
            for number, turn in enumerate(session.turns[1:], 1):
                before = session.turns[number - 1]
                late += max(0.0, turn.time - before.time - before.duration)
                if late > window_s or before.signal == "stop":
                    break
                if turn.ended_well:
                    rephrase = Found(number, turn.heard, 0.0)
                    break
        found.append(rephrase)
    return found


def rephrases_of_log(
    log: Path, out: Path, truth: Path | None, text: str, epochs: int, least: int, rate: float,
    seed: int,
) -> str:  # fmt: skip
    """Find the rephrases of a log, write the pairs that occur often enough; what was found."""
    fixed_vectors(text)
    sessions = tails(sessions_in(log))
    if truth is not None:
        reader = learn_reader(sessions_in(truth), text, epochs, seed)
        found = find_rephrases(reader, [said_of(session) for session in sessions])
        how = f"by spans, learnt from {truth}"
    else:
        found, how = by_feedback(sessions), "by the feedback rule"
    pairs = mine([said_of(session) for session in sessions], found, least, rate)
    write_text(
        out, "".join(json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in pairs)
    )
    count = sum(rephrase is not None for rephrase in found)
    return f"{len(sessions)} requests, {count} with a rephrase {how}; {len(pairs)} pairs in {out}"


def read_pairs(file: Path) -> list[Mined]:
    """Pairs that `rephrases_of_log` wrote; raises DataError for anything else."""
    pairs = []
    for place, record in read_json_lines(file):
        if not isinstance(record, dict):
            raise DataError(f"{place}: a pair is an object, found {kind_of(record)}")
        try:
            pair = Mined(**record)
        except TypeError as error:
            raise DataError(
                f"{place}: not a pair of rephrases ({one_line(error, REASON)})"
            ) from None
        if not isinstance(pair.request, str) or not isinstance(pair.rephrase, str):
            raise DataError(f"{place}: request and rephrase must be texts")
        pairs.append(pair)
    return pairs


def read_rewrite_table(file: Path) -> dict[str, tuple[str, float]]:
    """A table of rewrites: {"REQUEST": ["REWRITE", SCORE], ...}, or the lines that `rayforge
    feedback tables` writes; raises DataError else.

    Those lines are of a place each. A request that is rewritten differently from one place to
    another is left out: a service does not know where it is said.
    """
    found: dict[str, tuple[str, float]] = {}
    if file.suffix == ".jsonl":
        unlike: set[str] = set()
        for place, record in read_json_lines(file):
            row = record if isinstance(record, dict) else {}
            request, rewrite, score = (row.get(name) for name in ("request", "rewrite", "score"))
            if (
                not isinstance(request, str) or not isinstance(rewrite, str)
                or isinstance(score, bool) or not isinstance(score, int | float)
            ):  # fmt: skip
                raise DataError(f"{place}: no row of a table: it needs request, rewrite and score")
            before = found.setdefault(request, (rewrite, float(score)))
            found[request] = max(before, (rewrite, float(score)), key=lambda row: row[1])
            if before[0] != rewrite:
                unlike.add(request)
        return {request: row for request, row in found.items() if request not in unlike}
    for request, row in read_object(file).items():
        if (
            not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str)
            or isinstance(row[1], bool) or not isinstance(row[1], int | float)
        ):  # fmt: skip
            raise DataError(f"{file}: {request[:80]!r} must hold [rewrite, score]")
        found[request] = (row[0], float(row[1]))
    return found


def rewriter_from(
    config: LearningConfig, sessions: Sequence[Session], turns: Sequence[Turn],
    table: Mapping[str, tuple[str, float]] | None = None, least_users: int = 3,
    found: Sequence[Found | None] | None = None, seed: int = 0,
) -> Rewriter:  # fmt: skip
    """A rewriter from the sessions of a log.

    `found`: the rephrases of `tails(sessions)`; by the feedback rule where they are not given.
    Raises DataError where nothing can be learnt.
    """
    cut = tails(sessions)
    samples = samples_of(cut, by_feedback(cut) if found is None else found)
    entries = gather(outcomes_of(turns), least_users)
    try:
        return learn_rewriter(config, samples, entries, table, seed)
    except ValueError as error:
        raise DataError(
            f"no rewriter can be learnt from this log: {one_line(error, REASON)}"
        ) from None


def rewriter_of_log(
    log: Path, out: Path, config: LearningConfig, table: Path | None, least_users: int, seed: int
) -> str:
    """Learn a rewriter from a log and write it into a folder; what it holds."""
    check_replaceable(out, MANIFEST)
    fixed_vectors(config.encoder.text)
    rows = read_rewrite_table(table) if table is not None else None
    sessions = sessions_in(log)
    turns = [turn for session in sessions for turn in session.turns]
    rewriter = rewriter_from(config, sessions, turns, rows, least_users, seed=seed)
    version = save_rewriter(rewriter, out)
    own = sum(entry.user is not None for entry in rewriter.entries)
    c = rewriter.config
    return (
        f"{out}: version {version}; {len(rewriter.entries) - own} entries of everyone, {own} of"
        f" {len(rewriter.users)} users, {len(rewriter.table)} rows of the table; thresholds"
        f" {c.personal_threshold:.2f} (personal), {c.global_threshold:.2f} (everyone)"
    )
