"""A smaller circuit: the modules that say least to the outputs are taken out of its weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rayforge.circuits.config import CircuitConfig, Links
from rayforge.circuits.wiring import links_between, reach

SIGNATURE = "generator.signature"
"""How the name of a circuit's signatures ends among the weights of a network."""


@dataclass(frozen=True)
class Pruned:
    """Weights without the modules that were dropped."""

    weights: dict[str, np.ndarray]
    modules: int
    """Processors that are left in each circuit."""
    inner: int
    """Width of the feed-forward layers, which stays."""
    without_way: dict[str, int]
    """Processors that had no way to an output, by the name of their circuit."""


def importance(signature: np.ndarray, config: CircuitConfig) -> np.ndarray:
    """How much of each processor gets to the outputs (`reach`), [U], by the signatures [U + O, S]
    of a circuit. Of a conditioned circuit those before the condition count."""
    processors, outputs = torch.from_numpy(signature)[None].split(
        [config.modules, config.outputs], 1
    )
    how: Links = "threshold" if config.links == "threshold" else "mean"
    among, _ = links_between(processors, processors, how, config.truncate, config.rate)
    reading, _ = links_between(outputs, processors, how, config.truncate, config.rate)
    found: np.ndarray = reach(among[0], reading[0], config.layers).numpy()
    return found


def pruned(weights: dict[str, np.ndarray], config: CircuitConfig, keep: float) -> Pruned:
    """Keep a share of the processors of every circuit among the weights of a network, those with
    the most importance; of those without a way to an output none.

    All circuits of an agent have one size: that of the one that keeps most.

    Raises ValueError where there is no circuit among the weights.
    """
    prefixes = [k.removesuffix(SIGNATURE) for k in weights if k.endswith(SIGNATURE)]
    if not prefixes:
        raise ValueError("there is no circuit among the weights")
    # Targets follow the critics, number by number: they lose the same modules.
    sources = {p: p.replace("targets.", "critics.", 1) if p.startswith("targets.") else p
               for p in prefixes}  # fmt: skip
    scores = {p: importance(weights[sources[p] + SIGNATURE], config) for p in prefixes}
    asked = max(1, round(keep * config.modules))
    connected = {p: int((s > 0).sum()) for p, s in scores.items()}
    count = max(1, min(asked, max(connected.values())))
    found = dict(weights)
    for prefix, score in scores.items():
        best = np.sort(np.argsort(-score, kind="stable")[:count])
        rows = np.concatenate([best, config.modules + np.arange(config.outputs)])
        for name in ("signature", "code", "state"):
            key = f"{prefix}generator.{name}"
            found[key] = np.ascontiguousarray(weights[key][rows])
    think = next(k for k in weights if k.endswith("circuit.read_out.think.narrow.linear.weight"))
    return Pruned(
        found, count, int(weights[think].shape[1]),
        {prefix: config.modules - n for prefix, n in connected.items()},
    )  # fmt: skip
