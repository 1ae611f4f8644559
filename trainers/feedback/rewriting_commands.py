"""`rayforge feedback labels | rephrases | rewrite | serve`: what each command takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from rayforge.errors import ConfigurationError
from rayforge.feedback.rewriting_config import LearningConfig
from rayforge.settings import SHARE, WRITES_FILE, WRITES_FOLDER, AtLeast, Within

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Labels:
    """Learn to label sessions from a log with truth, or label a log.

    With --truth a labeller is learnt and written to --model. With LOG the sessions of that log are
    labelled by Ray Data: goals, whether they were achieved, intents, rooms, objects and directions,
    how the person took it. Only labels above their thresholds are written.

    Examples:
      rayforge feedback labels --truth simulated.jsonl --model runs/labeller
      rayforge feedback labels log.jsonl --model runs/labeller --out labels.parquet
    """

    log: tyro.conf.Positional[Path | None] = None
    """The log to label."""
    model: Path = Path("runs/labeller")
    """Folder of the labeller."""
    truth: Path | None = None
    """A log with truth to learn from, as simulated users make it."""
    out: Annotated[Path, WRITES_FILE] = Path("labels.parquet")
    """Where the labels go."""
    precision: Annotated[float, Within(0, 1, "(]")] = 0.95
    """Precision that kept labels must have, on sessions held back from training."""
    text: str = "small"
    """Text encoder: small, wordllama, or the folder of a transformers model."""
    epochs: Annotated[int, AtLeast(1)] = 12
    """Passes over the sessions with truth."""
    workers: Annotated[int, AtLeast(1)] = 2
    """Processes of Ray Data."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of weights and of what an update draws."""

    def __call__(self) -> None:
        if self.log is None and self.truth is None:
            raise ConfigurationError("name a log to label, or --truth LOG to learn from, or both")
        from trainers.feedback.labels import label_log, train_on_log

        if self.truth is not None:
            said = train_on_log(
                self.truth, self.model, self.text, self.epochs, self.precision, self.seed
            )
            print(said)
        if self.log is not None:
            print(label_log(self.log, self.model, self.out, self.workers))


@dataclass(frozen=True)
class Rephrases:
    """Find which requests of a log were said again, and better.

    Examples:
      rayforge feedback rephrases log.jsonl --out pairs.jsonl
      rayforge feedback rephrases log.jsonl --truth simulated.jsonl --out pairs.jsonl
    """

    log: tyro.conf.Positional[Path]
    """The log in which they are looked for."""
    out: Annotated[Path, WRITES_FILE] = Path("rephrases.jsonl")
    """Where the pairs go, one a line: request, rephrase, count, rate."""
    truth: Path | None = None
    """A log with truth: the spans of rephrases are learnt from it. Without one a rule on feedback
    finds them."""
    text: str = "small"
    """Text encoder: small, wordllama, or the folder of a transformers model."""
    epochs: Annotated[int, AtLeast(1)] = 8
    """Passes over the sessions with truth."""
    least: Annotated[int, AtLeast(1)] = 2
    """Sessions in which a pair must occur."""
    rate: Annotated[float, SHARE] = 0.1
    """Share of the sessions that begin with the request in which it must."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of weights and of what an update draws."""

    def __call__(self) -> None:
        from trainers.feedback.rewrites import rephrases_of_log

        print(rephrases_of_log(
            self.log, self.out, self.truth, self.text, self.epochs, self.least, self.rate,
            self.seed,
        ))  # fmt: skip


@dataclass(frozen=True)
class Rewrite:
    """Learn from a log how to rewrite requests that will likely fail, for `feedback serve`.

    Example:
      rayforge feedback rewrite log.jsonl --out runs/rewriter --learning.encoder.text wordllama
    """

    log: tyro.conf.Positional[Path]
    """The log that is learnt from."""
    out: Annotated[Path, WRITES_FOLDER] = Path("runs/rewriter")
    """Folder of the rewriter; one that is there is replaced, and a running service takes it."""
    table: Path | None = None
    """A table of rewrites: the .jsonl of `feedback tables`, or JSON: {"REQUEST": ["REWRITE",
    SCORE], ...}."""
    least_users: Annotated[int, AtLeast(1)] = 3
    """Users who must have said a request before it may be answered to others."""
    learning: LearningConfig = field(default_factory=LearningConfig)
    """How the rewriter is learnt."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of weights and of what an update draws."""

    def __call__(self) -> None:
        from trainers.feedback.rewrites import rewriter_of_log

        print(rewriter_of_log(
            self.log, self.out, self.learning, self.table, self.least_users, self.seed
        ))  # fmt: skip


@dataclass(frozen=True)
class Serve:
    """Serve a rewriter over HTTP: POST /rewrite answers a rewrite or none, with the reason.

    Listens on this machine alone, and wants the token of --token-file in each request. A folder
    that is replaced is taken up within a second, without an error in between.

    Example:
      rayforge feedback serve runs/rewriter --port 8123
      curl -H "Authorization: Bearer $(cat runs/rewriter.token)" \\
        -d '{"user": "ann", "request": "go to the kitschen"}' http://127.0.0.1:8123/rewrite
    """

    folder: tyro.conf.Positional[Path]
    """Folder of the rewriter."""
    host: str = "127.0.0.1"
    """Where to listen; any other address than this machine's own needs --open."""
    port: Annotated[int, Within(0, 65535)] = 8123
    """Port; 0 picks a free one."""
    open: bool = False
    """Listen where other machines reach it. The token then goes over the network in the clear:
    put a proxy with TLS before it."""
    token_file: Path | None = None
    """File of the token; FOLDER.token by default, made where there is none."""
    replicas: Annotated[int, AtLeast(1)] = 1
    """Processes that answer; with two, one that dies is not noticed."""
    ready: Annotated[Path | None, WRITES_FILE] = None
    """A file that gets HOST:PORT once requests are taken."""

    def __call__(self) -> None:
        if self.host not in LOOPBACK and not self.open:
            raise ConfigurationError(
                f"host {self.host[:80]!r} may be reached by other machines: add --open, or leave"
                " host out"
            )
        from rayforge.feedback.rewriter_files import check_rewriter
        from trainers.feedback.service import run_service, token_of

        folder = self.folder
        check_rewriter(folder)  # before a token is made
        token = token_of(self.token_file or folder.with_name(f"{folder.name}.token"))
        run_service(folder, self.host, self.port, token, self.replicas, self.ready)
