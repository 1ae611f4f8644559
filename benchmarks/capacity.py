"""Memory that `rayforge plan` says against the memory that training takes, at sizes that fit here.

Each size is trained for a few steps in a process of its own, whose highest resident memory is read;
then split between two processes. Prints planned, measured and their ratio.

    python -m benchmarks.capacity --out runs/capacity
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from trainers.alignment.config import AlignConfig
from trainers.alignment.tokens import TokenPairs, pair_columns, write_table
from trainers.alignment.training import TrainingJob, train_round
from trainers.capacity.memory import model_size, training_need
from trainers.machine import processors

WORDS = 4_000
"""Words of the made-up corpus."""


@dataclass(frozen=True)
class Size:
    """A model and the pairs it is trained on."""

    width: int
    layers: int
    tokens: int
    batch: int = 8


SIZES = (Size(256, 8, 128), Size(512, 12, 128), Size(1024, 16, 96, 4))


def make_model(size: Size, folder: Path) -> None:
    from rayforge.language.tiny_model import TinyModelConfig, make_tiny_model, make_tokeniser

    tokeniser = make_tokeniser([f"w{number}" for number in range(WORDS)], 2 * WORDS)
    shape = TinyModelConfig(
        width=size.width, layers=size.layers, heads=8, inner=4 * size.width, context=size.tokens
    )
    make_tiny_model(shape, tokeniser).save_pretrained(folder)
    tokeniser.save_pretrained(folder)


def job(size: Size, folder: Path, world: int) -> TrainingJob:
    config = AlignConfig(
        batch=size.batch, steps=3, shard=world > 1, workers=world if world > 1 else 0,
        checkpoint_steps=0, threads=1,
    )  # fmt: skip
    made = TrainingJob(folder / f"world-{world}", 1, folder / "model", config, 3, 0)
    if not made.pairs.is_file():
        made.folder.mkdir(parents=True, exist_ok=True)
        count, half = 3 * size.batch, size.tokens // 2
        rng = np.random.default_rng(0)

        def side() -> list[tuple[int, ...]]:
            return [tuple(rng.integers(8, WORDS, half).tolist()) for _ in range(count)]

        columns = pair_columns(TokenPairs(side(), side(), side(), np.zeros(count, bool)))
        columns |= {
            name: np.full(count, -300, np.float32)
            for name in ("ref_chosen_logps", "ref_rejected_logps")
        }
        write_table(made.pairs, columns)
    return made


def measure(size: Size, folder: Path, world: int) -> int:
    """Highest resident bytes of any of `world` processes that train."""
    job(size, folder, world)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.capacity", "train", str(folder), str(world)],
            env=os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
                "SIZE": json.dumps(vars(size)),
            } if world > 1 else os.environ | {"SIZE": json.dumps(vars(size))},
            stdout=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    peaks = []
    for process in processes:
        said, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"training {size} in {world} processes failed")
        peaks.append(int(said.splitlines()[-1]))
    return max(peaks)


def resident_at_most(process: str = "self") -> float:
    """Bytes of memory that a process had at its highest.

    Not getrusage's maximum: Linux hands a parent's on to its children, even across exec.
    """
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024.0


def train(folder: Path, world: int) -> None:
    train_round(job(Size(**json.loads(os.environ["SIZE"])), folder, world), world)
    print(int(resident_at_most()))


@dataclass(frozen=True)
class Arguments:
    """Planned against measured memory."""

    out: Path = Path("runs/capacity")


def main(arguments: Arguments) -> None:
    from transformers import AutoConfig

    print(f"{processors()} CPUs")
    rows = []
    for size in SIZES:
        folder = arguments.out / f"{size.width}x{size.layers}"
        if not (folder / "model" / "config.json").is_file():
            make_model(size, folder / "model")
        counted = model_size(AutoConfig.from_pretrained(folder / "model"), size.tokens, 0, False)
        for world in (1, 2):
            planned = training_need(counted, 2 * size.batch // world, world, world > 1, False)
            measured = measure(size, folder, world)
            rows.append(
                {
                    "parameters": counted.parameters, "processes": world,
                    "planned": planned.host_bytes, "measured": measured,
                    "ratio": planned.host_bytes / measured,
                }
            )  # fmt: skip
            print(
                f"{counted.parameters / 1e6:6.1f} M parameters, {world} process(es): planned "
                f"{planned.host_bytes / 1e9:.2f} GB, measured {measured / 1e9:.2f} GB, ratio "
                f"{rows[-1]['ratio']:.3f}", flush=True,
            )  # fmt: skip
    (arguments.out / "capacity.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(tyro.cli(Arguments))
