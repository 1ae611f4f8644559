"""`rayforge feedback labels | rephrases | rewrite | serve`: what each command takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from rayforge.errors import ConfigurationError
from rayforge.feedback.rewriting_config import LearningConfig

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
    out: Path = Path("labels.parquet")
    """Where the labels go."""
    precision: float = 0.95
    """Of the labels that are kept, on sessions held back from training."""
    text: str = "small"
    """Text encoder: small, wordllama, or the folder of a transformers model."""
    epochs: int = 12
    workers: int = 2
    """Processes of Ray Data."""
    seed: int = 0

    def __call__(self) -> None:
        if self.log is None and self.truth is None:
            raise ConfigurationError("name a log to label, or --truth LOG to learn from, or both")
        if not 0 < self.precision <= 1:
            raise ConfigurationError(f"precision must be in (0, 1], got {self.precision}")
        if self.workers < 1 or self.epochs < 1:
            raise ConfigurationError("workers and epochs must be at least 1")
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
    out: Path = Path("rephrases.jsonl")
    """Where the pairs go, one a line: request, rephrase, count, rate."""
    truth: Path | None = None
    """A log with truth: the spans of rephrases are learnt from it. Without one a rule on feedback
    finds them."""
    text: str = "small"
    """Text encoder: small, wordllama, or the folder of a transformers model."""
    epochs: int = 8
    least: int = 2
    """Sessions in which a pair must occur."""
    rate: float = 0.1
    """Share of the sessions that begin with the request in which it must."""
    seed: int = 0

    def __call__(self) -> None:
        if self.least < 1 or not 0 <= self.rate <= 1 or self.epochs < 1:
            raise ConfigurationError(
                "least and epochs must be at least 1, rate within [0, 1], got"
                f" {self.least}, {self.epochs} and {self.rate}"
            )
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
    out: Path = Path("runs/rewriter")
    """Folder of the rewriter; one that is there is replaced, and a running service takes it."""
    table: Path | None = None
    """A table of rewrites as JSON: {"REQUEST": ["REWRITE", SCORE], ...}."""
    least_users: int = 3
    """Users who must have said a request before it may be answered to others."""
    learning: LearningConfig = field(default_factory=LearningConfig)
    seed: int = 0

    def __call__(self) -> None:
        if self.least_users < 1:
            raise ConfigurationError(f"least-users must be at least 1, got {self.least_users}")
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
    port: Annotated[int, tyro.conf.arg(help="Port; 0 picks a free one.")] = 8123
    open: bool = False
    """Listen where other machines reach it. The token then goes over the network in the clear:
    put a proxy with TLS before it."""
    token_file: Path | None = None
    """File of the token; FOLDER.token by default, made where there is none."""
    replicas: int = 1
    """Processes that answer; with two, one that dies is not noticed."""
    ready: Path | None = None
    """A file that gets HOST:PORT once requests are taken."""

    def __call__(self) -> None:
        if self.host not in LOOPBACK and not self.open:
            raise ConfigurationError(
                f"host {self.host[:80]!r} may be reached by other machines: add --open, or leave"
                " host out"
            )
        if not 0 <= self.port < 65536 or self.replicas < 1:
            raise ConfigurationError(
                "port must be in [0, 65535] and replicas at least 1, got"
                f" {self.port} and {self.replicas}"
            )
        from trainers.feedback.service import run_service, token_of

        folder = self.folder
        token = token_of(self.token_file or folder.with_name(f"{folder.name}.token"))
        run_service(folder, self.host, self.port, token, self.replicas, self.ready)
