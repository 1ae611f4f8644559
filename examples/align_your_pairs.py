"""Align a language model with preference pairs, and a judge, of your own: SeRA in two rounds.

python examples/align_your_pairs.py --out runs/counting
"""

import json
import sys
from pathlib import Path

import tyro

from rayforge.language.tiny_model import TinyModelConfig
from trainers.alignment.config import AlignConfig
from trainers.alignment.run import train
from trainers.alignment.sft import StartConfig

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def counts_on(prompts: list[str], responses: list[str]) -> list[float]:
    """Your judge: the share of the wanted words that a response begins with, higher is better."""
    scores = []
    for prompt, response in zip(prompts, responses, strict=True):
        wanted, said = answer(prompt).split(), response.split()
        right = [a == b for a, b in zip(wanted, said, strict=False)]
        scores.append(sum(right) / len(wanted) - 0.1 * abs(len(said) - len(wanted)))
    return scores


def answer(prompt: str) -> str:
    """The three numbers after the last word of a prompt."""
    place = NUMBERS.index(prompt.split()[-1])
    return " ".join(NUMBERS[place + 1 : place + 4])


def main(out: Path = Path("runs/counting"), steps: int = 20, pairs: int = 240) -> None:
    """Write your pairs (prompt, chosen, rejected: a JSON line each), then train on them."""
    out.mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(pairs):
        prompt = f"case {number % 40} count on from {NUMBERS[number % 4]}"
        right = answer(prompt)
        wrong = " ".join(reversed(right.split()))
        records.append({"prompt": f"{prompt} ", "chosen": right, "rejected": wrong})
    file = out / "pairs.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    sys.path.insert(0, str(Path(__file__).parent))  # where the judge is found
    config = AlignConfig(
        data=str(file), judge="align_your_pairs:counts_on", method="sera", rounds=2, steps=steps,
        batch=16, generated_share=(0.0, 0.3), prompts=32, max_new_tokens=12, evaluation_prompts=20,
        tiny=TinyModelConfig(width=64, layers=2, heads=2, inner=128), start=StartConfig(steps=60),
    )  # fmt: skip
    train(config, out / "run", resume=False, command="examples/align_your_pairs.py")


if __name__ == "__main__":
    tyro.cli(main)
