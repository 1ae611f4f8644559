"""What one GPU reaches: `python -m benchmarks.cuda_scale` (or `make cuda-scale`), in eight minutes.

Tokens a second in training, scoring and generation, of models of 135 million and 1.2 billion
parameters made from configurations with random weights, as shares of the card's peak; the memory
that `rayforge plan` says against the memory that was taken; and updates a second of the agents'
learner at hidden size 256. Each measurement is a process of its own. What does not fit the card is
said and left out; after `--minutes` nothing more is started. `--device cpu` tries all of it on a
processor with models of a few layers.

Shares of the peak count 6 operations a parameter and token of training and 2 of scoring and
generation, attention left out. The peak is the card's dense bfloat16 figure where the card is
known, else what products of large matrices reach there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from benchmarks.capacity import resident_at_most
from rayforge.files import write_text
from rayforge.language.tiny_model import make_tokeniser
from trainers.alignment.config import AlignConfig
from trainers.alignment.generation import GenerationJob, Sampling
from trainers.alignment.scoring import ScoringJob
from trainers.alignment.tokens import Completion, Ids, TokenPairs, pair_columns, write_table
from trainers.alignment.training import TrainingJob, train_round
from trainers.capacity.memory import (
    Need,
    answering_need,
    model_configuration,
    model_size,
    training_need,
)
from trainers.runs.folder import hardware

Phase = Literal["training", "scoring", "transformers", "vllm"]
Device = Literal["cuda", "cpu"]
WORDS = 256
"""Words of the made-up text."""
PEAKS = {
    "H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121,
    "A10": 125, "4090": 165, "3090": 71,
}  # fmt: skip
"""Dense bfloat16 TFLOP/s that makers state, by a part of the card's name; the first that fits."""


@dataclass(frozen=True)
class Shape:
    """A Llama-type model, and what is measured with it."""

    name: str
    width: int
    layers: int
    heads: int
    key_value_heads: int
    inner: int
    vocabulary: int
    pairs: int
    """Pairs a step of training."""
    tokens: int
    """Tokens of a prompt with its response, in training and scoring."""
    scored: int = 64
    """Responses scored at once."""
    asked: int = 64
    """Prompts answered at once, four responses each."""
    answer: int = 128
    """Tokens of an answer."""


SHAPES = (
    Shape("135M", 576, 30, 9, 3, 1536, 49_152, pairs=16, tokens=512),
    Shape("1B", 2048, 16, 32, 8, 8192, 128_256, pairs=8, tokens=512),
)
"""Those of SmolLM2-135M and of Llama 3.2 1B."""
TINY = tuple(
    Shape(name, 64, layers, 4, 2, 128, 512, pairs=2, tokens=32, scored=4, asked=2, answer=8)
    for name, layers in (("tiny", 2), ("less tiny", 4))
)
"""For a processor: to try the command, not to measure."""


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    tokens_a_second: float
    operations: float
    """Operations a parameter and token."""
    memory: float
    """Bytes at the highest: of the card, or of the process on a processor."""
    planned: float


def make_model(shape: Shape, folder: Path, device: Device) -> None:
    """Random weights in bfloat16 and a tokeniser of few words, as a model folder."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    configuration = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads, max_position_embeddings=2048,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        dtype="bfloat16",
    )  # fmt: skip
    with torch.device(device):
        model: Any = LlamaForCausalLM(configuration)
    model.to(torch.bfloat16).save_pretrained(folder)
    make_tokeniser([f"w{number}" for number in range(WORDS)], 2 * WORDS).save_pretrained(folder)


def some_ids(rng: np.random.Generator, count: int, length: int) -> list[Ids]:
    return [tuple(rng.integers(8, WORDS, length).tolist()) for _ in range(count)]


def measure(phase: Phase, shape: Shape, folder: Path, device: Device) -> Measured:
    """Measure one phase in this process."""
    gpu = device == "cuda"
    size = model_size(model_configuration(str(folder)), shape.tokens, 0, False)
    if phase == "training":
        rate = training_rate(shape, folder, device)
        need, operations = training_need(size, 2 * shape.pairs, 1, False, gpu), 6.0
    elif phase == "scoring":
        rate = scoring_rate(shape, folder, device)
        # Nothing is kept of earlier tokens where a response is scored.
        need, operations = answering_need(replace(size, cache_width=0), shape.scored, gpu, gpu), 2.0
    else:
        rate = generation_rate(phase, shape, folder, device)
        longest = replace(size, tokens=size.tokens // 2 + shape.answer)
        need, operations = answering_need(longest, 4 * shape.asked, gpu, gpu), 2.0
    return Measured(rate, operations, memory_taken(gpu), planned(need, phase, gpu))


def planned(need: Need, phase: Phase, gpu: bool) -> float:
    """Bytes that a plan says; vLLM takes nine tenths of a card whatever it needs."""
    if phase == "vllm" and gpu:
        return 0.9 * torch.cuda.mem_get_info()[1]
    return need.gpu_bytes if gpu else need.host_bytes


def memory_taken(gpu: bool) -> float:
    """Bytes of the card that this process took at its highest, CUDA's own among them; resident
    bytes where there is no card."""
    if not gpu:
        return resident_at_most()
    free, total = torch.cuda.mem_get_info()
    beside = total - free - torch.cuda.memory_reserved()
    return float(torch.cuda.max_memory_reserved() + beside)


def training_rate(shape: Shape, folder: Path, device: Device, steps: int = 12) -> float:
    """Tokens a second of steps 4 on, both sides of each pair counted; nothing is padded."""
    config = AlignConfig(
        batch=shape.pairs, steps=steps, checkpoint_steps=0, device=device, threads=1,
        learning_rate=1e-6,
    )  # fmt: skip
    job = TrainingJob(folder.with_name(f"{folder.name}-run"), 1, folder, config, steps, 0)
    job.folder.mkdir(parents=True, exist_ok=True)
    rng, count, half = np.random.default_rng(0), steps * shape.pairs, shape.tokens // 2
    prompts, chosen, rejected = (some_ids(rng, count, half) for _ in range(3))
    pairs = TokenPairs(prompts, chosen, rejected, np.zeros(count, bool))
    columns = pair_columns(pairs)
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        columns[name] = np.full(count, -float(half) * 5, np.float32)
    write_table(job.pairs, columns)
    train_round(job)
    records = [json.loads(line) for line in (job.run / "metrics.jsonl").read_text().splitlines()]
    at = {r["updates"]: r["updates"] / r["speed/steps_per_s"] for r in records}
    first = min(3, steps - 1)
    seconds: float = at[steps] - at[first]
    return (steps - first) * 2 * shape.pairs * shape.tokens / seconds


def scoring_rate(shape: Shape, folder: Path, device: Device) -> float:
    """Tokens a second, prompts counted."""
    rng, half = np.random.default_rng(0), shape.tokens // 2
    work = ScoringJob(folder, device, device == "cuda").load()
    sides = (some_ids(rng, shape.scored, half) for _ in range(2))
    batch = [Completion(*both) for both in zip(*sides, strict=True)]
    return shape.scored * shape.tokens * repeated(lambda: work(batch), device)


def generation_rate(engine: str, shape: Shape, folder: Path, device: Device) -> float:
    """Sampled tokens a second; some answers end before the limit."""
    how = Sampling(4, 1.0, 1.0, shape.answer)
    kind: Literal["transformers", "vllm"] = "vllm" if engine == "vllm" else "transformers"
    job = GenerationJob(folder, device, device == "cuda", kind, how, 1, 2048)
    work = job.load()
    prompts = some_ids(np.random.default_rng(0), shape.asked, shape.tokens // 2)
    made: list[int] = []

    def answer() -> None:
        made.append(sum(map(len, work((len(made), prompts)))))

    rate = repeated(answer, device, least=2)
    return rate * float(np.mean(made[1:]))


def repeated(work: Any, device: Device, seconds: float = 4.0, least: int = 3) -> float:
    """Calls a second: after one to warm up, at least `least`, for some seconds at most."""
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    began, calls = time.perf_counter(), 0
    while calls < least or time.perf_counter() - began < seconds * (device == "cuda"):
        work()
        calls += 1
        if device == "cuda":
            torch.cuda.synchronize()
    return calls / (time.perf_counter() - began)


def products_tflops(device: Device) -> float:
    """TFLOP/s of products of square matrices: bfloat16 on a card, float32 on a processor."""
    side = 8192 if device == "cuda" else 512
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    one, two = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    return 2 * side**3 * repeated(lambda: one @ two, device, 1.0) / 1e12


def peak_tflops(device: Device, reached: float) -> float:
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((float(tflops) for part, tflops in PEAKS.items() if part in name), reached)


@dataclass(frozen=True)
class CudaScale:
    """Measure what one GPU reaches."""

    out: Path = Path("runs/cuda-scale")
    """Folder of `cuda_scale.json`; models are made in a temporary one."""
    device: Device = "cuda"
    minutes: float = 7.0
    """After so many nothing more is started."""
    agents: bool = True
    """Measure the agents' learner too (`benchmarks.updates`)."""

    def __call__(self) -> None:
        if self.device == "cuda" and not torch.cuda.is_available():
            sys.exit("there is no CUDA device here; --device cpu tries all of it on a processor")
        began = time.monotonic()
        reached = products_tflops(self.device)
        peak = peak_tflops(self.device, reached)
        name = torch.cuda.get_device_name() if self.device == "cuda" else "processor"
        print(f"{name}; {hardware()}\npeak {peak:.3g} TFLOP/s; products reach {reached:.3g}\n")
        print(
            f"{'model':<10}{'phase':<14}{'tokens/s':>12}{'TFLOP/s':>10}{'of peak':>9}"
            f"{'planned':>10}{'taken':>10}{'ratio':>7}"
        )
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as temporary:
            for shape in SHAPES if self.device == "cuda" else TINY:
                folder = Path(temporary) / shape.name.replace(" ", "-")
                make_model(shape, folder, self.device)
                parameters = model_size(model_configuration(str(folder)), 8, 0, False).parameters
                for phase in phases():
                    row = {"model": shape.name, "parameters": parameters, "phase": phase}
                    found = self._apart(began, phase, shape, folder)
                    rows.append({**row, **found})
                    print(f"{shape.name:<10}{phase:<14}{line(rows[-1], peak)}", flush=True)
        updates = self._updates(began) if self.agents else None
        if updates is not None:
            print(f"\nagents' learner, hidden 256: {updates:.1f} updates/s (goal on a GPU: 100)")
        document = {
            "card": name, "hardware": hardware(), "peak_tflops": peak, "products_tflops": reached,
            "rows": rows, "agent_updates_a_second": updates,
            "minutes": (time.monotonic() - began) / 60,
        }  # fmt: skip
        self.out.mkdir(parents=True, exist_ok=True)
        write_text(self.out / "cuda_scale.json", json.dumps(document, indent=1))
        print(f"{document['minutes']:.1f} minutes; {self.out / 'cuda_scale.json'}")

    def _left(self, began: float) -> float:
        """Seconds left."""
        return 60 * self.minutes - (time.monotonic() - began)

    def _apart(self, began: float, phase: Phase, shape: Shape, folder: Path) -> dict[str, Any]:
        """`measure` in a process of its own; {"problem": ...} where it came to nothing."""
        left = self._left(began)
        if left <= 0:
            return {"problem": "no time left"}
        command = [
            sys.executable, "-m", "benchmarks.cuda_scale", "one", phase, str(folder), self.device,
        ]  # fmt: skip
        environment = os.environ | {"SHAPE": json.dumps(asdict(shape))}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=left + 30
            )
        except subprocess.TimeoutExpired:
            return {"problem": "took too long"}
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no word"])[-1]
            short = "does not fit the card" if "OutOfMemory" in said else said[:80]
            return {"problem": short}
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _updates(self, began: float) -> float | None:
        """Updates a second of the adversarial phase; None where there is no time left."""
        left = self._left(began)
        if left <= 0:
            return None
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / "updates.json"
            command = [
                sys.executable, "-m", "benchmarks.updates", "--device", self.device, "--out",
                str(file), "--updates", "8",
                "--iterations", "4" if self.device == "cuda" else "2",
            ]  # fmt: skip
            try:
                subprocess.run(command, capture_output=True, text=True, timeout=left + 30)
            except subprocess.TimeoutExpired:
                return None
            if not file.is_file():
                return None
            costs = {cost["name"]: cost["clock"] for cost in json.loads(file.read_text())["costs"]}
        return 1e3 / float(costs["adversarial update"])


def phases() -> tuple[Phase, ...]:
    """vLLM's generation is measured where it is installed."""
    own: tuple[Phase, ...] = ("training", "scoring", "transformers")
    return (*own, "vllm") if find_spec("vllm") else own


def line(row: dict[str, Any], peak: float) -> str:
    if "problem" in row:
        return f"  {row['problem']}"
    tflops = row["operations"] * row["parameters"] * row["tokens_a_second"] / 1e12
    return (
        f"{row['tokens_a_second']:>12,.0f}{tflops:>10.3g}{tflops / peak:>9.3f}"
        f"{row['planned'] / 1e9:>7.2f} GB{row['memory'] / 1e9:>7.2f} GB"
        f"{row['planned'] / row['memory']:>7.2f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        torch.set_num_threads(1)
        asked: Any = sys.argv[2]
        on: Any = sys.argv[4]
        shape_ = Shape(**json.loads(os.environ["SHAPE"]))
        print(json.dumps(asdict(measure(asked, shape_, Path(sys.argv[3]), on))))
    else:
        tyro.cli(CudaScale, description=__doc__)()
