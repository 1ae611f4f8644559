"""The information in a language model's weights, by layer, on a frozen probe of texts.

The label is the next token of a response, drawn from the model at every position of given texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rayforge.information.probe import Forward, Trace, measure
from trainers.alignment.models import load_model
from trainers.alignment.tokens import Completion, TokenPairs

TOKENS = 1_000
"""Of the probe, about."""
BATCHES = 8


def probe_texts(pairs: TokenPairs, tokens: int = TOKENS, seed: int = 0) -> list[Completion]:
    """Chosen sides of pairs, drawn until their responses hold about so many tokens."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    sizes = np.cumsum([len(pairs.chosen[row]) for row in order])
    enough = int(np.searchsorted(sizes, tokens)) + 1
    return [Completion(pairs.prompt[row], pairs.chosen[row]) for row in order[:enough]]


def model_batches(model: Any, texts: list[Completion], batches: int = BATCHES) -> list[Forward]:
    """The decisions of a causal language model over the responses of texts."""
    ordered = sorted(texts, key=lambda c: len(c.prompt) + len(c.response))
    size = max(1, -(-len(ordered) // batches))
    return [
        _forward(model, ordered[start : start + size]) for start in range(0, len(ordered), size)
    ]


def _forward(model: Any, texts: list[Completion]) -> Forward:
    longest = max(len(c.prompt) + len(c.response) for c in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    there = torch.zeros_like(ids)
    decides = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, (prompt, response) in enumerate(texts):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor([*prompt, *response])
        there[row, :end] = 1
        # Position t decides token t + 1; the first token of a text is decided by nothing.
        decides[row, max(0, len(prompt) - 1) : end - 1] = True

    def forward() -> tuple[Tensor, None]:
        logits: Tensor = model(input_ids=ids, attention_mask=there).logits
        return logits[decides].float(), None

    return forward


def model_trace(folder: Path, texts: list[Completion], batches: int = BATCHES, **how: Any) -> Trace:
    """`measure` of a model folder, modules named by layer."""
    model = load_model(folder, "cpu", False).requires_grad_(True)
    parameters = {layer_name(name): p for name, p in model.named_parameters()}
    return measure(parameters, model_batches(model, texts, batches), **how)


def layer_name(name: str) -> str:
    """`model.layers.3.self_attn...` as `layer 3.self_attn...`: the first part is the module."""
    parts = name.split(".")
    if "layers" in parts:
        at = parts.index("layers")
        return f"layer {parts[at + 1]}." + ".".join(parts[at + 2 :])
    return ".".join(parts[1:] if parts[0] == "model" else parts)


def information_figures(folder: Path, pairs: TokenPairs) -> dict[str, float]:
    """The figures of `--information-every` for the model of a round."""
    found = model_trace(folder, probe_texts(pairs))
    return {
        "information/trace": float(found.total.mean()),
        "information/trace_fixed": float(found.fixed.mean()),
        "information/uncertainty": found.uncertainty,
        **{f"information/{n.replace(' ', '_')}": float(v.mean()) for n, v in found.modules.items()},
    }
