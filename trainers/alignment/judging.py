"""Judges of responses: by execution, by a reward model's folder, by a command the user names."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from rayforge.errors import ConfigurationError, MachineError
from rayforge.evaluation.win_rate import win_rate_from_success

Prompt = Any
"""Text, or a list of messages."""


class Judge(Protocol):
    """Says which of two responses to a prompt is better."""

    @property
    def name(self) -> str:
        """As a report calls it."""

    def wins(
        self, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
    ) -> np.ndarray:
        """float64 [n, 2]: 1 where ours wins, 0 where theirs does, 0.5 for a tie; in both orders."""


@dataclass(frozen=True)
class ScoringJudge:
    """Scores each response alone, so the order of the two cannot matter."""

    name: str
    score: Callable[[Sequence[Prompt], Sequence[str]], np.ndarray]
    """float64 [n] of prompts and responses."""
    succeeds: bool
    """Whether a score is success (1) or failure (0)."""

    def wins(
        self, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
    ) -> np.ndarray:
        won = win_rate_from_success(self.score(prompts, ours), self.score(prompts, theirs))
        return np.repeat(won, 2, axis=1)


def reward_model(folder: Path, device: str, batch: int = 16) -> ScoringJudge:
    """A sequence classifier with one output that reads prompt and response.

    Raises ConfigurationError where the folder holds none.
    """
    from transformers import AutoModelForSequenceClassification

    from trainers.alignment.models import find_model, load_tokeniser

    find_model(str(folder))
    tokeniser = load_tokeniser(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
    if model.config.num_labels != 1:
        raise ConfigurationError(
            f"judge {folder} has {model.config.num_labels} outputs; a reward model has one"
        )
    model = model.to(device).eval()

    @torch.inference_mode()
    def score(prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        found = []
        for start in range(0, len(prompts), batch):
            part = slice(start, start + batch)
            texts = [
                _whole(tokeniser, p, r) for p, r in zip(prompts[part], responses[part], strict=True)
            ]
            ids = tokeniser(texts, return_tensors="pt", padding=True, truncation=True).to(device)
            ids.pop("token_type_ids", None)
            found.append(model(**ids).logits[:, 0].double().cpu().numpy())
        return np.concatenate(found) if found else np.zeros(0)

    return ScoringJudge(f"reward model {folder.name}", score, succeeds=False)


def _whole(tokeniser: Any, prompt: Prompt, response: str) -> str:
    if isinstance(prompt, str):
        return prompt + response
    messages = [*prompt, {"role": "assistant", "content": response}]
    return str(tokeniser.apply_chat_template(messages, tokenize=False))


@dataclass(frozen=True)
class CommandJudge:
    """Asks a program: it reads JSON lines (`prompt`, `first`, `second`) and answers each with a
    line that says `first`, `second` or `tie`. Every pair is asked in both orders."""

    name: str

    def wins(
        self, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
    ) -> np.ndarray:
        asked = [
            {"prompt": p, "first": a, "second": b}
            for first, second in ((ours, theirs), (theirs, ours))
            for p, a, b in zip(prompts, first, second, strict=True)
        ]
        # The user's own command line, which he expects a shell to read.
        done = subprocess.run(
            self.name, shell=True, text=True, capture_output=True,
            input="".join(json.dumps(question) + "\n" for question in asked),
        )  # fmt: skip
        answers = [line.strip().strip('"').lower() for line in done.stdout.splitlines()]
        wrong = next((a for a in answers if a not in ("first", "second", "tie")), None)
        if done.returncode or len(answers) != len(asked) or wrong is not None:
            why = (
                f"ended with code {done.returncode}: {done.stderr.strip()[-200:]}"
                if done.returncode
                else f"answered {len(answers)} lines to {len(asked)} questions"
                if len(answers) != len(asked)
                else f"answered {wrong!r}"
            )
            raise MachineError(
                f"the judge `{self.name}` {why}; it must answer every line that it reads with one "
                "of first, second, tie"
            )
        value = np.array([{"first": 1.0, "second": 0.0, "tie": 0.5}[a] for a in answers])
        forth, back = value[: len(prompts)], 1 - value[len(prompts) :]
        return np.stack([forth, back], axis=1)
