"""Preference pairs from sampled responses: the best, or a given one, against the worst."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BuiltPairs:
    """Pairs as rows of the responses they were made of, and what was left out."""

    chosen: np.ndarray
    """Rows of the winners, int64 [p], one pair a prompt at most, by rising prompt."""
    rejected: np.ndarray
    """Rows of the losers, int64 [p]."""
    margin: np.ndarray
    """Score of winner minus score of loser, float64 [p], above 0; with given winners the reward's
    difference."""
    dropped_responses: dict[str, int]
    """Responses left out: "truncated", "empty", "duplicate"."""
    dropped_prompts: dict[str, int]
    """Prompts without a pair: "fewer than two responses", "tie", "disagreement"."""

    def __len__(self) -> int:
        return len(self.chosen)


def build_pairs(
    prompt: np.ndarray,
    responses: Sequence[Hashable],
    scores: np.ndarray,
    truncated: np.ndarray,
    empty: np.ndarray,
    seed: int,
    second: np.ndarray | None = None,
    given: np.ndarray | None = None,
) -> BuiltPairs:
    """y_w = argmax, y_l = argmin of the score among a prompt's responses (recalled, mid).

    `prompt` int [m]: which prompt each response answers. `responses` [m]: token ids as tuples, or
    texts; equal ones of a prompt count once. `scores` float [m], higher is better. `truncated`,
    `empty` bool [m]: responses that are not used; one that is both counts as empty. Where several
    responses share the best or the worst score, `seed` decides. `second` [m]: another score that
    must order the two alike, or the prompt is dropped (designed here).

    `given` bool [m]: responses that are no samples but preferred by the data, one a prompt at most.
    Where it is not None, a prompt's given response is its winner, whatever its score, and a prompt
    without one is dropped; `second` is then the reward that gives the margins (designed here).

    Raises ValueError for lengths that differ, or a score of a usable response that is not finite.
    """
    lists = {"prompt": prompt, "scores": scores, "truncated": truncated, "empty": empty}
    lists |= {k: v for k, v in (("second", second), ("given", given)) if v is not None}
    for name, values in lists.items():
        if len(values) != len(responses):
            raise ValueError(f"{name} has {len(values)} values for {len(responses)} responses")
    score = np.asarray(scores, np.float64)
    other = score if second is None else np.asarray(second, np.float64)
    lost = {"truncated": 0, "empty": 0, "duplicate": 0}
    without = {"fewer than two responses": 0, "tie": 0, "disagreement": 0}
    if given is not None:
        without["no given winner"] = 0
    candidates: dict[int, dict[Hashable, int]] = {}
    for row, response in enumerate(responses):
        group = candidates.setdefault(int(prompt[row]), {})
        if empty[row]:
            lost["empty"] += 1
        elif truncated[row]:
            lost["truncated"] += 1
        elif response in group:
            lost["duplicate"] += 1
        elif not np.isfinite(score[row]) or not np.isfinite(other[row]):
            raise ValueError(
                f"response {row} (prompt {prompt[row]}) has score {score[row]}"
                + ("" if second is None else f" and {other[row]}")
                + ": the model that scored it has diverged; lower the learning rate"
            )
        else:
            group[response] = row
    shuffle = np.random.default_rng(seed).permutation(len(responses))
    pairs = []
    for which in sorted(candidates):
        rows = np.array(list(candidates[which].values()), np.int64)
        if len(rows) < 2:
            without["fewer than two responses"] += 1
            continue
        order = rows[np.lexsort((shuffle[rows], score[rows]))]
        if given is not None:
            winner = rows[given[rows]]
            if not winner.size:
                without["no given winner"] += 1
                continue
            order = np.append(order[~given[order]], winner[0])
        worst, best = order[0], order[-1]
        if given is None and score[worst] == score[best]:
            without["tie"] += 1
        elif not other[best] > other[worst]:
            without["disagreement"] += 1
        else:
            pairs.append((best, worst))
    chosen, rejected = np.array(pairs, np.int64).reshape(-1, 2).T
    measured = score if given is None else other
    return BuiltPairs(chosen, rejected, measured[chosen] - measured[rejected], lost, without)
