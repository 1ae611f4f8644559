"""What a round's model is worth: held-out pairs, and answers that the judge reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rayforge.alignment.margin import margin
from rayforge.alignment.monitoring import (
    distinct_bigrams,
    divergence_per_token,
    margin_figures,
    pair_accuracy,
)
from rayforge.evaluation.win_rate import win_rate_from_success
from trainers.alignment.config import AlignConfig
from trainers.alignment.generation import Responses, Sampling, answering, generate
from trainers.alignment.judging import ScoringJudge
from trainers.alignment.models import Tokeniser
from trainers.alignment.rewards import Rewards, lengths
from trainers.alignment.task import Prompts, Task
from trainers.alignment.tokens import write_table

SAMPLED = 1.0
"""Temperature of the sampled answers: the model's own distribution, so that the mean log-ratio to
the reference estimates their divergence without bias."""


@dataclass(frozen=True)
class Answers:
    """One answer to each of n prompts."""

    prompts: Prompts
    responses: Responses
    texts: list[str]


def answer(
    config: AlignConfig, rewards: Rewards, tokeniser: Tokeniser, number: int, prompts: Prompts,
    temperature: float, file: Path,
) -> Answers:  # fmt: skip
    """The model after round `number` answers prompts once each."""
    how = Sampling(1, temperature, 1.0, config.max_new_tokens)
    checkpoint = rewards.checkpoint(number)
    job = answering(config, checkpoint, how)
    responses = generate(
        job, prompts.ids, file, config.generation_batch, config.seed, rewards.pool,
        rewards.progress.of(number, "answer"),
    )  # fmt: skip
    return Answers(prompts, responses, texts_of(tokeniser, responses))


def texts_of(tokeniser: Tokeniser, responses: Responses) -> list[str]:
    ids = [list(completion.response) for completion in responses.completions]
    return list(tokeniser.batch_decode(ids, skip_special_tokens=True))


def review(
    config: AlignConfig, task: Task, rewards: Rewards, tokeniser: Tokeniser, number: int,
    folder: Path,
) -> dict[str, float]:  # fmt: skip
    """Figures of the model after round `number`; its answers stay in `answers.parquet`."""
    figures: dict[str, float] = {}
    if number > 0:
        reward = rewards.of(number, task.held_out.completions())
        half = len(task.held_out)
        margins = margin(config.loss, reward[:half], reward[half:], config.beta)
        figures["review/accuracy"] = pair_accuracy(margins)
        figures |= {f"review/{name}": value for name, value in margin_figures(margins).items()}
        write_table(folder / "held_out.parquet", {"margin": margins})
    if not len(task.evaluation):
        return figures
    greedy = answer(
        config, rewards, tokeniser, number, task.evaluation, 0.0, folder / "greedy.parquet"
    )
    sampled = answer(
        config, rewards, tokeniser, number, task.evaluation, SAMPLED, folder / "sampled.parquet"
    )
    figures |= _answer_figures(rewards, number, sampled)
    columns: dict[str, Any] = {
        "prompt": pa.array([as_text(prompt) for prompt in task.evaluation.asked]),
        "greedy": greedy.texts,
        "sampled": sampled.texts,
        "greedy_tokens": lengths(greedy.responses.completions),
        "sampled_tokens": lengths(sampled.responses.completions),
    }
    if isinstance(task.judge, ScoringJudge):
        for name, answers in (("greedy", greedy), ("sampled", sampled)):
            score = task.judge.score(task.evaluation.asked, answers.texts)
            columns[f"{name}_score"] = score
            figures[f"review/{name}_score"] = float(score.mean())
        if number > 0:
            scores, start = columns["greedy_score"], folder.parent / "0"
            figures["review/win_rate"] = win_rate_against(start, scores)
    write_table(folder / "answers.parquet", columns)
    return figures


def win_rate_against(other: Path, scores: np.ndarray) -> float:
    """Mean win of greedy answers with these scores [n] against those in another round's folder."""
    theirs = pq.read_table(other / "answers.parquet")["greedy_score"].to_numpy()
    return float(win_rate_from_success(scores, theirs).mean())


def _answer_figures(rewards: Rewards, number: int, sampled: Answers) -> dict[str, float]:
    completions = sampled.responses.completions
    size = lengths(completions)
    policy, start = (
        rewards.log_probabilities(number, completions, rewards.checkpoint(which))
        for which in (number, 0)
    )
    return {
        "review/kl_per_token": divergence_per_token(policy, start, size),
        "review/response_tokens": float(size.mean()),
        "review/finished": float(sampled.responses.finished.mean()),
        "review/distinct_2": distinct_bigrams([c.response for c in completions]),
    }


def as_text(prompt: Any) -> str:
    """A prompt as one text; messages as JSON."""
    import json

    return prompt if isinstance(prompt, str) else json.dumps(prompt)
