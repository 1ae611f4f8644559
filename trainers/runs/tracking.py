"""A run's figures in Weights & Biases and in MLflow, for those who keep all their runs in one.

Both get what `metrics.jsonl` gets. A thread follows that file, so a slow server never holds
training up, and a run whose workers write the records needs no tracker in them.

Keys and addresses come from the environment, as both packages read it (WANDB_API_KEY, WANDB_MODE,
MLFLOW_TRACKING_URI, ...): no setting holds one, so no configuration, report or line can show it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import netrc
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol
from urllib.parse import urlsplit

from rayforge.errors import MachineError, RunError
from rayforge.files import write_text
from rayforge.readers.faults import reading
from rayforge.readers.json_text import read_object
from trainers.configuration import to_dict

Tracker = Literal["wandb", "mlflow"]

PROJECT = "rayforge"
"""W&B's project and MLflow's experiment, where WANDB_PROJECT and MLFLOW_EXPERIMENT_NAME name no
other."""
ID_FILE = "tracking-id"
"""File of a run folder: the name that both services know the run by, also when it is resumed."""
_EVERY = 5.0  # seconds between two looks at metrics.jsonl


@dataclass(frozen=True)
class Identity:
    """What is tracked, as both services show it."""

    id: str
    """Unique, and the same again when the run is resumed."""
    name: str
    group: str
    """The search that a trial belongs to; empty for a run of its own."""
    settings: Mapping[str, Any]
    """The whole configuration, nested."""
    files: Path
    """Folder for W&B's own files (all there is when WANDB_MODE is offline)."""
    store: Path
    """Folder for MLflow's data base, where MLFLOW_TRACKING_URI names no server."""


def check_trackers(names: Sequence[Tracker]) -> None:
    """Raises ConfigurationError where a tracker's package or W&B's key is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MachineError(
                f"track: the package {name} is not installed: pip install 'rayforge[tracking]'"
            )
    if "wandb" in names and not _wandb_can_log_in():
        raise MachineError(
            "track: W&B has no key on this machine: run `wandb login` or set WANDB_API_KEY; "
            "WANDB_MODE=offline keeps the run here, for `wandb sync` later"
        )


def _wandb_can_log_in() -> bool:
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return True
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for file in files:
        try:
            if netrc.netrc(str(Path(file).expanduser())).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


class _Service(Protocol):
    def send(self, step: int, figures: Mapping[str, float]) -> None: ...

    def end(self, failed: bool) -> None: ...


class _Wandb:
    def __init__(self, identity: Identity) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=identity.id, name=identity.name, group=identity.group or None,
            config=dict(identity.settings), dir=identity.files,
            resume="allow",
            reinit="create_new",  # a search has several at once
            settings=wandb.Settings(console="off", silent=True, init_timeout=30),
        )  # fmt: skip
        # W&B's own step refuses to go back, as a run does that is resumed from a checkpoint.
        self.run.define_metric("*", step_metric="step")

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log({**figures, "step": step})

    def end(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class _MLflow:
    def __init__(self, identity: Identity) -> None:
        # Minutes of MLflow's own retries would pass for a run that hangs.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        server = os.environ.get("MLFLOW_TRACKING_URI")
        store = identity.store.absolute()
        self.client = MlflowClient(tracking_uri=server or f"sqlite:///{store / 'mlflow.db'}")
        self.experiment = self._experiment(None if server else (store / "mlflow").as_uri())
        tags = {"rayforge.id": identity.id, "rayforge.group": identity.group}
        earlier = self.client.search_runs(
            [self.experiment], f"tags.`rayforge.id` = '{identity.id}'"
        )
        if earlier:
            self.run: str = earlier[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        self.run = self.client.create_run(
            self.experiment, tags=tags, run_name=identity.name
        ).info.run_id
        settings = [Param(k, str(v)[:500]) for k, v in _flat(identity.settings)]
        for start in range(0, len(settings), 100):  # as many as it takes at a time
            self.client.log_batch(self.run, params=settings[start : start + 100])

    def _experiment(self, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self.client.create_experiment(name, artifact_location=artifacts))

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in figures.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def end(self, failed: bool) -> None:
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


_SERVICES: dict[Tracker, type[_Wandb] | type[_MLflow]] = {"wandb": _Wandb, "mlflow": _MLflow}


class Tracking:
    """One run in the services that are named.

    A service that fails later on is left out from there with a line: training goes on.
    Raises ConfigurationError where one cannot be reached at the start.
    """

    def __init__(self, names: Sequence[Tracker], identity: Identity) -> None:
        self.services: dict[str, _Service] = {}
        for name in dict.fromkeys(names):
            try:
                self.services[name] = _SERVICES[name](identity)
            except Exception as error:
                self.end(failed=True)
                # What it says may hold an address with a password in it.
                raise MachineError(
                    f"track: {name} cannot be used ({type(error).__name__}); check its server and "
                    "key, or leave it out"
                ) from None

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        for name, service in list(self.services.items()):
            try:
                service.send(step, figures)
            except Exception as error:
                self._drop(name, error)

    def end(self, failed: bool) -> None:
        for name, service in list(self.services.items()):
            try:
                service.end(failed)
            except Exception as error:
                self._drop(name, error)
        self.services.clear()

    def _drop(self, name: str, error: Exception) -> None:
        del self.services[name]
        print(
            f"warning: {name} takes no more figures ({type(error).__name__}); the run's own files "
            "have them all",
            file=sys.stderr,
            flush=True,
        )


class _Follower:
    """Sends each record of a metrics.jsonl once, however often the file is cut back and grows."""

    def __init__(self, file: Path, tracking: Tracking) -> None:
        self.file, self.tracking = file, tracking
        self.known: set[tuple[str, int]] = set()
        self.step = 0
        self.stream: BinaryIO | None = None
        for record in self._new():  # an earlier attempt sent these
            self.known.add(_key(record))

    def send_new(self) -> None:
        for record in self._new():
            key = _key(record)
            if key in self.known:
                continue
            self.known.add(key)
            self.step = max(self.step, key[1])
            figures = {
                name: float(value)
                for name, value in record.items()
                if "/" in name or name in ("updates", "env_steps", "round")
            }
            self.tracking.send(key[1], figures)

    def _new(self) -> Iterator[dict[str, Any]]:
        """Whole lines that were not read yet; all of them where the file was written anew."""
        if not self.file.exists():
            return
        stream = self._opened()
        while line := stream.readline():
            if not line.endswith(b"\n"):
                stream.seek(-len(line), os.SEEK_CUR)
                return
            try:
                yield json.loads(line)
            except ValueError:  # cut by a kill, and gone on after it
                continue

    def _opened(self) -> BinaryIO:
        stream = self.stream
        if stream is not None:
            # As long as the old file is open, a new one cannot have its number.
            if os.path.samestat(os.fstat(stream.fileno()), self.file.stat()):
                return stream
            stream.close()
        self.stream = self.file.open("rb")
        return self.stream

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None


@contextmanager
def tracked(names: Sequence[Tracker], run: Path, config: Any) -> Iterator[None]:
    """Within it, the records of the run folder `run` go to the services named.

    Raises ConfigurationError where one cannot be reached.
    """
    if not names:
        yield
        return
    where = Identity(_run_id(run), run.name, "", to_dict(config), run, run.absolute().parent)
    tracking = Tracking(names, where)
    follower, over = _Follower(run / "metrics.jsonl", tracking), threading.Event()

    def follow() -> None:
        while not over.wait(_EVERY):
            follower.send_new()

    thread = threading.Thread(target=follow, name="tracking", daemon=True)
    thread.start()
    failed = True
    try:
        yield
        failed = False
    finally:
        over.set()
        thread.join()
        follower.send_new()
        follower.close()
        scores = final_scores(run)
        if scores and not failed:
            tracking.send(follower.step, scores)
        tracking.end(failed)


def final_scores(run: Path) -> dict[str, float]:
    """What the agent reached at the end, "SPLIT/METRIC"; nothing for a language model's run."""
    scores: dict[str, float] = {}
    for file in sorted(run.glob("evaluation_*.json")):
        with reading(file, RunError, "evaluate the run again"):
            document = read_object(file, RunError)
            for name, value in document["agents"]["agent"].items():
                scores[f"{document['split']}/{name}"] = float(value["mean"])
    return scores


def _run_id(run: Path) -> str:
    file = run / ID_FILE
    if not file.is_file():
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", run.absolute().name)[:40]
        write_text(file, f"{plain}-{secrets.token_hex(4)}\n")
    return file.read_text().strip()


def _key(record: Mapping[str, Any]) -> tuple[str, int]:
    return str(record["phase"]), int(record.get("iteration", record["updates"]))


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
