"""Rounds of direct preference optimisation as trials of a study: a round's labels are turned round.

The route task, its tiny model and its pairs are those of `rayforge align train`; the loss is DPO's
against the model that training began with. Rounds share one optimiser, and nothing is selected or
generated: what is studied is the time of the damage alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rayforge.alignment.margin import pair_loss
from rayforge.information.probe import measure
from trainers.alignment.config import AlignConfig
from trainers.alignment.information import model_batches, probe_texts
from trainers.alignment.models import load_model
from trainers.alignment.run import Prepared, prepare_run
from trainers.alignment.tokens import Completion, TokenPairs
from trainers.configuration import from_dict

if TYPE_CHECKING:
    from trainers.analysis.periods_config import PeriodsConfig, Trial

BETA = 0.1
RATE = 3e-4
BATCH = 16


def prepare_preferences(config: PeriodsConfig) -> None:
    """Make the pairs and the start, which trials find in the user's cache afterwards."""
    _prepared(_key(config))


def _key(config: PeriodsConfig) -> str:
    from trainers.configuration import to_yaml

    # Nothing is generated or answered here, so no prompt needs room for an answer.
    plain = {"threads": 1, "evaluation_prompts": 0, "generated_share": [0.0]}
    return to_yaml(from_dict(AlignConfig, {**plain, **config.base}))


@cache
def _prepared(settings: str) -> Prepared:
    import yaml

    return prepare_run(from_dict(AlignConfig, yaml.safe_load(settings)))


def log_probability(model: Any, texts: Sequence[Completion]) -> Tensor:
    """log pi(response | prompt), summed over its tokens, [n], differentiable."""
    ids, there, told = _padded(texts)
    log_p = model(input_ids=ids, attention_mask=there).logits[:, :-1].float().log_softmax(-1)
    found: Tensor = (log_p.gather(2, ids[:, 1:, None]).squeeze(2) * told[:, 1:]).sum(1)
    return found


def _padded(texts: Sequence[Completion]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, which are there, and which are told by what stands before them, [n, T]."""
    longest = max(len(c.prompt) + len(c.response) for c in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    there, told = torch.zeros_like(ids), torch.zeros(len(texts), longest)
    for row, (prompt, response) in enumerate(texts):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor([*prompt, *response])
        there[row, :end] = 1
        told[row, max(1, len(prompt)) : end] = 1.0
    return ids, there, told


def _sides(pairs: TokenPairs, rows: Sequence[int]) -> list[Completion]:
    return [
        Completion(pairs.prompt[row], side[row])
        for side in (pairs.chosen, pairs.rejected)
        for row in rows
    ]


@torch.no_grad()
def margins_of(model: Any, pairs: TokenPairs) -> Tensor:
    """log pi(chosen) - log pi(rejected), [n]."""
    parts = []
    for rows in np.array_split(np.arange(len(pairs)), -(-len(pairs) // 32)):
        chosen, rejected = log_probability(model, _sides(pairs, rows.tolist())).chunk(2)
        parts.append(chosen - rejected)
    return torch.cat(parts)


@torch.no_grad()
def mean_codes(model: Any, pairs: TokenPairs) -> np.ndarray:
    """The last hidden layer's mean over the chosen side less that over the rejected, [n, H]."""
    parts = []
    for rows in np.array_split(np.arange(len(pairs)), -(-len(pairs) // 32)):
        texts = _sides(pairs, rows.tolist())
        ids, there, told = _padded(texts)
        codes = model(input_ids=ids, attention_mask=there, output_hidden_states=True)
        last = codes.hidden_states[-1].float() * told[..., None]
        chosen, rejected = (last.sum(1) / told.sum(1, keepdim=True).clamp(min=1)).chunk(2)
        parts.append((chosen - rejected).double().numpy())
    return np.concatenate(parts)


def preferences_trial(trial: Trial, rates: np.ndarray) -> dict[str, Any]:
    """Rounds of DPO; in damaged ones every label is turned round. The score is the share of
    held-out pairs that the implicit reward orders right."""
    torch.set_num_threads(1)
    config = trial.config
    prepared = _prepared(_key(config))
    pairs, held_out = prepared.task.pairs, prepared.task.held_out
    model = load_model(prepared.initial.folder, "cpu", False).requires_grad_(True)
    reference, before = margins_of(model, pairs), margins_of(model, held_out)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    texts = probe_texts(held_out, 500)
    curve: list[dict[str, float]] = []
    step = 0

    def score() -> float:
        return float((margins_of(model, held_out) > before).double().mean())

    for block, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = RATE * float(rate)
        sign = -1.0 if trial.damaged(block) else 1.0
        for _ in range(config.updates):
            rng = np.random.default_rng((trial.seed, step))
            rows = rng.integers(len(pairs), size=BATCH).tolist()
            chosen, rejected = log_probability(model, _sides(pairs, rows)).chunk(2)
            margin = BETA * sign * (chosen - rejected - reference[rows])
            loss = pair_loss("sigmoid", margin, BETA).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        if trial.experiment == "control":
            found = measure(dict(model.named_parameters()), model_batches(model, texts))
            curve.append(
                {"trace": float(found.total.mean()), "fixed": float(found.fixed.mean()),
                 "uncertainty": found.uncertainty, "score": score()}
            )  # fmt: skip
    return {"score": score(), "chance": 0.5, "curve": curve}
