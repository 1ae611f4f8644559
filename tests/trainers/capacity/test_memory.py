"""Memory of a model's processes, counted without a weight."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from trainers.capacity.memory import FLOAT, model_size, training_need


def llama(width: int = 64, layers: int = 3, vocabulary: int = 96) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=True,
    )  # fmt: skip


def test_the_meta_device_counts_what_a_real_model_has() -> None:
    size = model_size(llama(), 16, 0, False)
    real = AutoModelForCausalLM.from_config(llama())
    assert size.parameters == size.trained == sum(p.numel() for p in real.parameters())
    assert (size.layers, size.width, size.vocabulary) == (3, 64, 96)
    assert size.cache_width == 2 * 2 * 16  # keys and values of two heads of 16


def test_what_is_kept_is_what_autograd_keeps_of_a_real_forward_pass() -> None:
    tokens = 24
    size = model_size(llama(), tokens, 0, False)
    model = AutoModelForCausalLM.from_config(llama())
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mask = torch.zeros(1, 1, tokens, tokens)
        model.get_decoder()(torch.zeros(1, tokens, dtype=torch.long), attention_mask=mask)
    assert size.kept == pytest.approx(sum(kept.values()), rel=0.1)


def test_an_adapter_trains_its_own_rows_alone() -> None:
    size = model_size(llama(), 8, 2, False)
    linear = [m for m in AutoModelForCausalLM.from_config(llama()).model.modules()
              if isinstance(m, torch.nn.Linear)]  # fmt: skip
    assert size.trained == sum(2 * (m.in_features + m.out_features) for m in linear)
    assert size.parameters > size.trained


def test_splitting_and_recomputing_need_less() -> None:
    plain = model_size(llama(128, 8), 64, 0, False)
    again = model_size(llama(128, 8), 64, 0, True)
    assert again.kept < plain.kept / 3
    one = training_need(plain, 4, 1, True, False)
    four = training_need(plain, 4, 4, True, False)
    assert one.host["weights"] == plain.parameters * FLOAT
    for part in ("weights", "gradients", "Adam's moments"):
        assert four.host[part] == one.host[part] / 4
    assert "gathered layers" in four.host
    assert "gathered layers" not in one.host


def test_a_model_of_a_billion_parameters_is_planned_without_its_memory() -> None:
    big = LlamaConfig(
        vocab_size=32_000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
        num_attention_heads=32, num_key_value_heads=4,
    )  # fmt: skip
    size = model_size(big, 512, 0, True)
    assert 1.05e9 < size.parameters < 1.15e9
    need = training_need(size, 2, 1, False, True)
    assert need.gpu["Adam's moments"] == 2 * need.gpu["weights"]
    assert need.gpu_bytes > 16 * size.parameters
