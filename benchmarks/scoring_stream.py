"""Scoring by the pool of actors and by a stream of Ray Data: `python -m benchmarks.scoring_stream`.

The same responses under the same model, the same batch size and number of actors; each way in a
process of its own. Prints seconds from the first batch to
the last file, the driver's memory at its highest, and whether the scores agree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from benchmarks.capacity import Size as ModelShape
from benchmarks.capacity import make_model, resident_at_most
from trainers.alignment.models import fingerprint
from trainers.alignment.scoring import Scores, ScoringJob
from trainers.alignment.tokens import Completion
from trainers.cluster import start_here
from trainers.runs.folder import hardware
from trainers.runs.pool import Pool

Way = Literal["pool", "stream"]
SHAPE = ModelShape(64, 2, 128)
BATCH = 64


class Scorer:
    """An actor of the stream."""

    def __init__(self, job: ScoringJob) -> None:
        self.work = job.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        sides = zip(batch["prompt_ids"], batch["response_ids"], strict=True)
        completions = [Completion(tuple(p.tolist()), tuple(r.tolist())) for p, r in sides]
        return {"row": batch["row"], "log_probability": self.work(completions)}


def write_responses(file: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(8, 4_000, (2, count, SHAPE.tokens // 2), dtype=np.int32)
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(one.ravel()), one.shape[1]).cast(
            pa.list_(pa.int32())
        )
        for name, one in zip(("prompt_ids", "response_ids"), ids, strict=True)
    }
    pq.write_table(pa.table({"row": np.arange(count), **columns}), file, row_group_size=1024)


def by_pool(folder: Path, file: Path, actors: int) -> np.ndarray:
    table = pq.read_table(file)
    sides = (table[name].to_pylist() for name in ("prompt_ids", "response_ids"))
    completions = [Completion(tuple(p), tuple(r)) for p, r in zip(*sides, strict=True)]
    pool = Pool(actors)
    scores = Scores(file.with_name(f"{file.stem}-scores"), "cpu", False, BATCH)
    return scores.of(fingerprint(folder), completions, pool)


def by_stream(folder: Path, file: Path, actors: int) -> np.ndarray:
    import ray

    out = file.with_name(f"{file.stem}-stream")
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.read_parquet(str(file)).map_batches(
        Scorer, fn_constructor_args=(ScoringJob(folder, "cpu", False),), batch_size=BATCH,
        concurrency=actors, num_cpus=1,
    ).write_parquet(str(out))  # fmt: skip
    table = pq.read_table(out)
    order = np.argsort(table["row"].to_numpy())
    return np.asarray(table["log_probability"].to_numpy()[order])


def one(way: Way, folder: Path, file: Path, actors: int) -> None:
    start_here(actors + 1, log_to_driver=False)
    began = time.perf_counter()
    found = (by_pool if way == "pool" else by_stream)(folder, file, actors)
    seconds = time.perf_counter() - began
    np.save(file.with_name(f"{file.stem}-{way}.npy"), found)
    print(json.dumps({"seconds": seconds, "driver": resident_at_most()}))


@dataclass(frozen=True)
class ScoringStream:
    """Compare the two ways."""

    responses: tuple[int, ...] = (4_096,)
    actors: int = 2

    def __call__(self) -> None:
        print(f"{hardware()}; {self.actors} actors, batches of {BATCH} responses of 128 tokens")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            make_model(SHAPE, folder)
            for count in self.responses:
                file = Path(temporary) / f"{count}.parquet"
                write_responses(file, count)
                for way in ("pool", "stream"):
                    command = [
                        sys.executable, "-m", "benchmarks.scoring_stream", "one", way,
                        str(folder), str(file), str(self.actors),
                    ]  # fmt: skip
                    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
                    if done.returncode:
                        raise RuntimeError(done.stderr[-2000:])
                    found = json.loads(done.stdout.splitlines()[-1])
                    print(
                        f"{count:>8} responses by {way:<7}{found['seconds']:>7.1f} s, driver "
                        f"{found['driver'] / 1e6:,.0f} MB", flush=True,
                    )  # fmt: skip
                pool, stream = (
                    np.load(file.with_name(f"{file.stem}-{way}.npy")) for way in ("pool", "stream")
                )
                print(f"         scores differ by {np.abs(pool - stream).max():.2g} at most")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        way_: Any = sys.argv[2]
        one(way_, Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
    else:
        tyro.cli(ScoringStream, description=__doc__)()
