"""Does this version learn what another one learnt, bit by bit, and go on with its checkpoints?

    git worktree add ../old COMMIT
    python -m benchmarks.golden --old ../old --out runs/golden

Three small runs: an agent in navigation graphs, an agent in 3-D scenes, and three rounds of
alignment. Both versions train each with the same settings; then the other one is stopped in the
middle and this one goes on. All weights are compared byte by byte.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

HERE = Path(__file__).resolve().parent.parent
AGENT = (
    "irl", "train", "--evaluate", "val_unseen", "--checkpoint-minutes", "0", "--threads", "1",
    "--network.word", "8", "--network.hidden", "8", "--generator.word", "8",
    "--generator.hidden", "8", "--generator.latent", "4", "--generator.updates", "4",
    "--generator.batch", "6", "--clone-updates", "4", "--updates", "8",
    "--updates-per-iteration", "2", "--episodes-per-iteration", "16", "--batch", "6",
    "--positives", "3", "--negatives", "4", "--warm-up", "2", "--replay", "64",
)  # fmt: skip
RUNS: dict[str, tuple[str, ...]] = {
    "graph": AGENT,
    "scene": (
        *AGENT, "--env", "continuous", "--max-walk", "160", "--network.view", "8",
        "--simulation.camera.width", "16", "--simulation.camera.height", "16",
    ),
    "alignment": (
        "align", "train", "--method", "sera", "--rounds", "3", "--steps", "6", "--batch", "8",
        "--prompts", "24", "--evaluation-prompts", "16", "--max-new-tokens", "32",
        "--learning-rate", "1.5e-4", "--threads", "1",
        "--routes.pairs", "128", "--routes.start-routes", "128",
        "--routes.test-routes", "16", "--start.steps", "16", "--start.clean-steps", "8",
        "--start.batch", "8",
    ),
}  # fmt: skip
"""What is trained, by name; each takes a minute or two of one core."""


@dataclass(frozen=True)
class Golden:
    """Compare the weights of two versions."""

    old: Path
    """A checkout of the other version."""
    out: Path = Path("runs/golden")
    """Folder of the runs; a new one."""
    parts: tuple[Literal["graph", "scene", "alignment"], ...] = ("graph", "scene", "alignment")
    """What is compared."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True)
        houses = self.out / "houses"
        sizes = ("--train-houses", "3", "--unseen-houses", "1", "--seed", "0")
        self._run(self.old, ["houses", str(houses), *sizes])
        differ = 0
        for part in self.parts:
            data = [] if part == "alignment" else ["--data", str(houses.absolute())]
            words = [*RUNS[part], *data]
            old, new, cut = (self.out / f"{part}-{name}" for name in ("old", "new", "cut"))
            self._run(self.old, [*words, "--run", str(old)])
            self._run(HERE, [*words, "--run", str(new)])
            half = records(old) // 2
            stop = lambda cut=cut, half=half: records(cut) >= half  # noqa: E731
            self._run(self.old, [*words, "--run", str(cut)], stop)
            stopped = records(cut)
            self._run(HERE, [*words[:2], "--resume", str(cut)])
            differ += show(f"{part}, trained by both", old, new)
            what = f"{part}, stopped after {stopped} of {records(old)} records and resumed here"
            differ += show(what, old, cut)
        raise SystemExit(int(differ > 0))

    def _run(
        self, tree: Path, words: Sequence[str], stop: Callable[[], bool] | None = None
    ) -> None:
        """A command of one version; with `stop` it is ended by SIGTERM once that holds.

        Raises RuntimeError where it fails.
        """
        tree = tree.resolve()
        cache = self.out.absolute() / ("cache-old" if tree != HERE else "cache-new")
        environment = {
            **os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(cache),
        }  # fmt: skip
        command = [sys.executable, "-m", "trainers.cli", *map(self._absolute, words)]
        with (self.out / "log.txt").open("a") as log:
            process = subprocess.Popen(
                command, cwd=tree, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            while stop is not None and process.poll() is None:
                if stop():
                    process.send_signal(signal.SIGTERM)
                    break
                time.sleep(0.1)
            code = process.wait()
        if code != (0 if stop is None else 130):
            raise RuntimeError(f"{' '.join(command)} ended with {code}: see {self.out / 'log.txt'}")

    def _absolute(self, word: str) -> str:
        """Run folders in the commands, which work in other directories."""
        return str(Path(word).absolute()) if word.startswith(str(self.out)) else word


def records(run: Path) -> int:
    """Records in a run's metrics so far."""
    file = run / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of each file of weights and optimisers in a run folder, by its place."""
    return {
        str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(run.rglob("*.safetensors"))
        if ".part" not in str(file)
    }


def show(what: str, one: Path, other: Path) -> int:
    """Print how many files are equal; returns how many are not."""
    a, b = weights(one), weights(other)
    equal = sum(a[name] == b.get(name) for name in a)
    print(f"{what}: {equal} of {len(a.keys() | b.keys())} files of weights are equal", flush=True)
    return len(a.keys() | b.keys()) - equal


if __name__ == "__main__":
    tyro.cli(Golden, description=__doc__)()
