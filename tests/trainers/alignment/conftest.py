"""A tiny model with a tokeniser, and preference pairs that a tiny model can learn."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rayforge.language.tiny_model import TinyModelConfig, make_tiny_model, make_tokeniser
from trainers.alignment.config import AlignConfig

WORDS = ("lamp", "bed", "chair", "table", "sofa", "desk", "shelf", "door")


def made_up_pairs(count: int, seed: int) -> list[dict[str, object]]:
    """Chosen repeats the words of the prompt, rejected says others; a fifth is flipped."""
    chance = random.Random(seed)
    records = []
    for number in range(count):
        said = [chance.choice(WORDS) for _ in range(chance.randint(2, 4))]
        other = [chance.choice(WORDS) for _ in range(chance.randint(1, 5))]
        sides = [f" go to the {' and '.join(words)}" for words in (said, other)]
        flipped = number % 5 == 0
        chosen, rejected = sides[::-1] if flipped else sides
        if chosen == rejected:
            rejected += " now"
        prompt = f"route {number} by {' , '.join(said)} :"
        records.append(
            {"prompt": prompt, "chosen": chosen, "rejected": rejected, "flipped": flipped}
        )
    return records


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pairs as JSON lines; not to be changed."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in made_up_pairs(60, 0)))
    return file


@pytest.fixture(scope="session")
def held_out_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs more."""
    file = tmp_path_factory.mktemp("pairs") / "held_out.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in made_up_pairs(12, 1)))
    return file


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights for the words of the made-up pairs; not to be changed."""
    texts = [str(r[k]) for r in made_up_pairs(60, 0) for k in ("prompt", "chosen", "rejected")]
    tokeniser = make_tokeniser([*texts, " now"], 4096)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    make_tiny_model(
        TinyModelConfig(width=32, layers=1, heads=2, context=96), tokeniser
    ).save_pretrained(folder)
    tokeniser.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small(pairs_file: Path, held_out_file: Path, model_folder: Path) -> AlignConfig:
    """Every part of SeRA at a size that takes seconds, in this process."""
    return AlignConfig(
        method="sera", data=str(pairs_file), evaluation=str(held_out_file), model=str(model_folder),
        rounds=3, steps=4, batch=8, learning_rate=2e-3, prompts=12, max_new_tokens=24,
        evaluation_prompts=6, generation_batch=4, scoring_batch=8, checkpoint_steps=2, threads=1,
    )  # fmt: skip
