"""What a round trains on: given pairs that pass the rule, and pairs the model makes itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.alignment.margin import (
    margin,
    per_token,
    without_length,
    without_length_head,
)
from rayforge.alignment.monitoring import length_gap, margin_figures
from rayforge.alignment.pairs import BuiltPairs, build_pairs
from rayforge.alignment.schedule import generated_count, generated_share
from rayforge.alignment.selection import select
from rayforge.errors import ConfigurationError
from rayforge.evaluation.win_rate import area_under_curve
from trainers.alignment.config import AlignConfig
from trainers.alignment.generation import Responses, Sampling, answering, generate
from trainers.alignment.judging import ScoringJudge
from trainers.alignment.models import Tokeniser, end_tokens
from trainers.alignment.review import texts_of
from trainers.alignment.rewards import Folds, Rewards, lengths
from trainers.alignment.task import Task
from trainers.alignment.tokens import Completion, Ids, TokenPairs


@dataclass(frozen=True)
class Chosen:
    """Candidate pairs, their margins, and which were kept."""

    pairs: TokenPairs
    margins: np.ndarray
    """float64 [n], in the unit of the loss's reward; 0 where none was taken."""
    kept: np.ndarray
    """Rows, sorted, int64 [m]."""
    figures: Mapping[str, float]
    flipped: np.ndarray | None = None
    """P(the label is flipped) of each, by which the loss is smoothed, float64 [n]; None where it is
    not."""


def seed_of(config: AlignConfig, number: int, what: int) -> int:
    """A seed of its own for each use in each round."""
    return int(np.random.SeedSequence([config.seed, number, what]).generate_state(1)[0])


def choose_given(
    config: AlignConfig, task: Task, rewards: Rewards, number: int, folds: Folds | None
) -> Chosen:
    """The given pairs of a round: all of them in round 1 and where nothing is selected. With
    `folds` margins are those of models that were not trained on the pair."""
    pairs = task.pairs
    everything = np.arange(len(pairs), dtype=np.int64)
    if number == 1:
        if config.selects:
            # Round 2 needs the reference's scores of all pairs: one pass now serves both.
            rewards.reference_columns(1, pairs)
        return Chosen(
            pairs, np.zeros(len(pairs)), everything, given_figures(task, pairs, everything)
        )
    if folds is None:
        reward = rewards.ensembled(number, pairs.completions())
    else:
        reward = rewards.cross_fitted_reward(number, pairs.completions(), folds)
    margins = margin(config.loss, reward[: len(pairs)], reward[len(pairs) :], config.beta)
    if config.length_control:
        margins = without_length(margins, pairs.lengths())
    if config.length_head:
        margins = _headed(rewards, number, pairs, margins)
    kept = everything
    if config.selects:
        kept = _keep(config, margins, config.keep, seed_of(config, number, 0))
    figures = given_figures(task, pairs, kept)
    figures |= {f"select/{name}": value for name, value in margin_figures(margins).items()}
    if task.flipped is not None and task.flipped.any() and not task.flipped.all():
        figures["select/flip_auc"] = area_under_curve(-margins, task.flipped)
    return Chosen(pairs, margins, kept, figures)


def _headed(rewards: Rewards, number: int, pairs: TokenPairs, margins: np.ndarray) -> np.ndarray:
    """Margins corrected by the length head; its features are those that the margins are made of."""
    models = [rewards.checkpoint(number - 1), rewards.reference(number)]
    scores = [rewards.log_probabilities(number, pairs.completions(), model) for model in models]
    features = np.stack([s[: len(pairs)] - s[len(pairs) :] for s in scores], 1)
    return without_length_head(margins, features, pairs.lengths())


def _keep(config: AlignConfig, margins: np.ndarray, share: float, seed: int) -> np.ndarray:
    rule = "random" if config.method == "random" else config.rule
    return select(rule, margins, config.threshold, share, seed)


def given_figures(task: Task, pairs: TokenPairs, kept: np.ndarray) -> dict[str, float]:
    """How many given pairs are kept, and what they are like; `pairs` are the task's, some of them
    perhaps turned round."""
    size = pairs.lengths()
    longer = size[:, 0] > size[:, 1]
    figures = {
        "select/given": float(len(task.pairs)),
        "select/kept": float(len(kept)),
        "select/kept_share": len(kept) / len(task.pairs),
        "select/longer_chosen": float(longer.mean()),
        "select/kept_longer_chosen": float(longer[kept].mean()),
        "select/length_gap": length_gap(size[kept, 0], size[kept, 1]),
    }
    if task.flipped is not None:
        figures["select/flipped"] = float(task.flipped.mean())
        figures["select/kept_flipped"] = float(task.flipped[kept].mean())
    return figures


def choose_generated(
    config: AlignConfig, task: Task, rewards: Rewards, tokeniser: Tokeniser, number: int,
    folder: Path, given: Chosen,
) -> Chosen | None:  # fmt: skip
    """The round's own pairs, beside the kept given ones; None where the round makes none."""
    share = generated_share(number, config.shares)
    if config.method == "dpo" or not share:
        return None
    rows, responses = sample_responses(config, task, rewards, number, folder)
    prompt, winners = np.repeat(rows, config.samples), None
    if config.winner == "given":
        ends = end_tokens(rewards.checkpoint(number - 1).folder, tokeniser)
        prompt, responses = _with_given(task, prompt, responses, given, ends)
        winners = np.arange(len(prompt)) >= len(rows) * config.samples
    asked = [task.prompts.asked[row] for row in prompt]
    texts = texts_of(tokeniser, responses)
    second = None
    if winners is not None:
        second = rewards.ensembled(number, responses.completions)
    elif config.score == "agreement":
        second = probability_scores(rewards, number, responses)
    built = build_pairs(
        prompt,
        [text.strip() for text in texts],  # two ways to spell one text in tokens are no pair
        response_scores(config, task, rewards, number, responses, asked, texts),
        ~responses.finished,
        np.array([not text.strip() for text in texts], bool),
        seed_of(config, number, 2),
        second,
        winners,
    )
    figures = generated_figures(built, len(rows)) | accuracy_figures(task, asked, texts, built)
    if not len(built):
        warn_without_pairs(number, len(rows), built)
    open_gate = figures.get("generate/accuracy", 1.0) >= config.gate
    figures["generate/gate_open"] = float(open_gate)
    wanted = generated_count(len(given.kept), share, len(built)) if open_gate else 0
    pairs, margins = pairs_of(responses, built), built.margin
    if config.length_control:
        margins = without_length(margins, pairs.lengths())
    if config.length_head:
        margins = _headed(rewards, number, pairs, margins)
    kept = np.zeros(0, np.int64)
    if wanted:
        kept = _keep_generated(config, margins, wanted, seed_of(config, number, 3))
    figures["select/generated"] = float(len(kept))
    size = pairs.lengths()[kept]
    figures["generate/length_gap"] = length_gap(size[:, 0], size[:, 1])
    return Chosen(pairs, margins, kept, figures)


def _keep_generated(config: AlignConfig, margins: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """At most `wanted` generated pairs, chosen as the given ones are; at random without a rule."""
    n = len(margins)
    if config.method in ("iterative", "curriculum"):
        return select("random", margins, 0.0, wanted / n, seed)
    kept = _keep(config, margins, min(config.keep_generated, wanted / n), seed)
    if len(kept) > wanted:  # a threshold knows no number
        kept = kept[select("random", margins[kept], 0.0, wanted / len(kept), seed)]
    return kept


def warn_without_pairs(number: int, prompts: int, built: BuiltPairs) -> None:
    """Say why none of so many prompts gave a pair."""
    lost = {**built.dropped_responses, **built.dropped_prompts}
    print(
        f"warning: round {number}: none of {prompts} prompts gave a pair, so it trains on "
        "given ones alone ("
        + ", ".join(f"{count} {reason}" for reason, count in lost.items() if count)
        + "); where most are truncated, raise max_new_tokens",
        file=sys.stderr,
        flush=True,
    )


def generated_figures(built: BuiltPairs, prompts: int) -> dict[str, float]:
    """How many pairs were made of so many prompts, and what was dropped."""
    figures = {"generate/prompts": float(prompts), "generate/pairs": float(len(built))}
    for dropped in (built.dropped_responses, built.dropped_prompts):
        for reason, count in dropped.items():
            figures[f"generate/{reason.replace(' ', '_')}"] = float(count)
    if len(built):
        found = margin_figures(built.margin)
        figures |= {f"generate/{name}": value for name, value in found.items()}
    return figures


def sample_responses(
    config: AlignConfig, task: Task, rewards: Rewards, number: int, folder: Path
) -> tuple[np.ndarray, Responses]:
    """Prompts of the round, rows int64 [p], and the last model's responses to them."""
    chance = np.random.default_rng(seed_of(config, number, 1))
    rows = np.sort(chance.permutation(len(task.prompts))[: config.prompts])
    checkpoint = rewards.checkpoint(number - 1)
    how = Sampling(config.samples, config.temperature, config.top_p, config.max_new_tokens)
    job = answering(config, checkpoint, how)
    responses = generate(
        job, task.prompts.take(rows).ids, folder / "responses.parquet", config.generation_batch,
        seed_of(config, number, 4), rewards.pool, rewards.progress.of(number, "sample"),
    )  # fmt: skip
    return rows, responses


def _with_given(
    task: Task, prompt: np.ndarray, responses: Responses, given: Chosen, ends: tuple[int, ...]
) -> tuple[np.ndarray, Responses]:
    """Prompts and responses, followed by the chosen sides of those prompts' kept given pairs.

    What the chat template prints behind the last end token is taken off: samples have none of it.
    """
    ids = {row: task.prompts.ids[row] for row in dict.fromkeys(prompt.tolist())}
    kept = given.pairs.take(given.kept)
    chosen = dict(zip(kept.prompt, kept.chosen, strict=True))
    rows = [row for row, asked in ids.items() if asked in chosen]
    more = [Completion(ids[row], _up_to_end(chosen[ids[row]], ends)) for row in rows]
    finished = np.concatenate([responses.finished, np.ones(len(more), bool)])
    return np.append(prompt, rows).astype(np.int64), Responses(
        [*responses.completions, *more], finished
    )


def _up_to_end(response: Ids, ends: tuple[int, ...]) -> Ids:
    """A response up to and with its last end token; the whole one where it has none."""
    last = next((n for n in range(len(response), 0, -1) if response[n - 1] in ends), len(response))
    return response[:last]


def response_scores(
    config: AlignConfig, task: Task, rewards: Rewards, number: int, responses: Responses,
    prompts: Sequence[Any], texts: Sequence[str],
) -> np.ndarray:  # fmt: skip
    """What ranks a prompt's responses, float64 [p * K]."""
    if config.score == "judge":
        if not isinstance(task.judge, ScoringJudge):
            raise ConfigurationError(
                "score is judge, but there is no judge that scores single responses: the data "
                "routes have one, or name a reward model's folder as judge"
            )
        return task.judge.score(prompts, texts)
    if task.outside is not None:
        return rewards.outside(number, task.outside, prompts, texts)
    if config.score == "probability":
        return probability_scores(rewards, number, responses)
    reward = rewards.ensembled(number, responses.completions)
    if config.score == "per_token":
        return per_token(reward, lengths(responses.completions))
    return reward


def probability_scores(rewards: Rewards, number: int, responses: Responses) -> np.ndarray:
    """The last model's own log-probability per token, float64 [p * K]."""
    completions = responses.completions
    policy = rewards.log_probabilities(number, completions, rewards.checkpoint(number - 1))
    return per_token(policy, lengths(completions))


def pairs_of(responses: Responses, built: BuiltPairs) -> TokenPairs:
    """Built pairs in token ids."""
    completions = responses.completions
    return TokenPairs(
        [completions[row].prompt for row in built.chosen],
        [completions[row].response for row in built.chosen],
        [completions[row].response for row in built.rejected],
        np.ones(len(built), bool),
    )


def accuracy_figures(
    task: Task, prompts: Sequence[Any], texts: Sequence[str], built: BuiltPairs
) -> dict[str, float]:
    """How often the judge agrees with the score, over the pairs on which it decides."""
    if task.judge is None or not len(built):
        return {}
    asked, ours, theirs = (
        [values[row] for row in rows]
        for values, rows in (
            (prompts, built.chosen), (texts, built.chosen), (texts, built.rejected),
        )
    )  # fmt: skip
    won = task.judge.wins(asked, ours, theirs).mean(axis=1)
    decided = won != 0.5
    figures = {"generate/decided": float(decided.mean())}
    if decided.any():
        figures["generate/accuracy"] = float((won[decided] > 0.5).mean())
    return figures
