"""Instruction encoder and attention: padding is never read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rayforge.language import encoder
from rayforge.language.encoder import (
    Attention,
    BothWays,
    Dropout,
    InstructionEncoder,
    LockedDropout,
    like_lengths,
    run_lstm,
    step_lstm,
)
from rayforge.language.vocabulary import END

LENGTHS = {
    "few and short": [2, 5, 1],
    "in groups": [20, 1, 3, 17, 9, 9, 2, 20, 4, 11, 6],
    "one at a time": [1] * 8 + [16],
}


@pytest.mark.parametrize("spare", [encoder._RUN, 3, 0])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_lstm_over_padding_is_the_lstm_over_each_sequence(
    lengths: list[int], spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs and gradients; what stands in the padding has no part in either."""
    monkeypatch.setattr(encoder, "_RUN", spare)
    monkeypatch.setattr(encoder, "_STEP", min(spare, encoder._STEP))
    torch.manual_seed(0)
    lstm, size = nn.LSTM(3, 4, batch_first=True), (len(lengths), max(lengths), 3)
    inputs = torch.randn(size, requires_grad=True)
    outputs = run_lstm(lstm, inputs, torch.tensor(lengths))
    assert outputs.shape == (*size[:2], 4)
    real = torch.arange(size[1]) < torch.tensor(lengths)[:, None]
    weights = torch.randn(outputs.shape) * real[..., None]
    (gradient,) = torch.autograd.grad((outputs * weights).sum(), inputs)
    assert not gradient[~real].any()
    for row, length in enumerate(lengths):
        own = inputs[row : row + 1, :length].detach().requires_grad_()
        alone, _ = lstm(own)
        torch.testing.assert_close(outputs[row, :length], alone[0])
        (expected,) = torch.autograd.grad((alone * weights[row, :length]).sum(), own)
        torch.testing.assert_close(gradient[row, :length], expected[0])


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_both_ways_is_torchs_bidirectional_lstm(lengths: list[int]) -> None:
    torch.manual_seed(0)
    ours, torchs = BothWays(3, 8), nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, weight in torchs.named_parameters():
            way = ours.back if name.endswith("_reverse") else ours.onward
            getattr(way, name.removesuffix("_reverse")).copy_(weight)
    inputs = torch.randn(len(lengths), max(lengths), 3)
    outputs = ours(inputs, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, _ = torchs(inputs[row : row + 1, :length])
        torch.testing.assert_close(outputs[row, :length], alone[0])


def test_instruction_codes_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    reader = InstructionEncoder(30, 6, 8, dropout=0.5).eval()
    tokens = torch.tensor([[7, 8, 9, END, 0, 0], [5, END, 0, 0, 0, 0], [END, 0, 0, 0, 0, 0]])
    together = reader(tokens)
    assert together.codes.shape == (3, 4, 8), "columns that no instruction uses are dropped"
    assert together.mask.sum(1).tolist() == [4, 2, 1]
    for row in range(3):
        alone = reader(tokens[row : row + 1])
        count = int(together.mask[row].sum())
        torch.testing.assert_close(alone.codes[0], together.codes[row, :count])


def test_word_order_matters() -> None:
    torch.manual_seed(0)
    reader = InstructionEncoder(30, 6, 8, dropout=0.0)
    there, back = reader(torch.tensor([[7, 8, END]])), reader(torch.tensor([[8, 7, END]]))
    assert not torch.allclose(there.codes[0, -1], back.codes[0, -1], atol=1e-3)
    assert not torch.allclose(there.codes[0, 0], back.codes[0, 0], atol=1e-3)


def test_dropout_acts_while_training_alone() -> None:
    torch.manual_seed(0)
    reader, tokens = InstructionEncoder(30, 6, 8, dropout=0.5), torch.tensor([[7, 8, END]])
    assert not torch.equal(reader(tokens).codes, reader(tokens).codes)
    reader.eval()
    assert torch.equal(reader(tokens).codes, reader(tokens).codes)


def test_attention_is_a_weighted_mean_of_the_words_there_are() -> None:
    torch.manual_seed(0)
    attend = Attention(2, 2)
    keys = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [50.0, 50.0]]])
    mask = torch.tensor([[True, True, False]])
    with torch.no_grad():
        attend.project.weight.copy_(torch.eye(2))
    queries = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [30.0, 0.0]]])
    out = attend(queries, keys, mask)[0]
    share = torch.tensor(1.0).sigmoid()
    expected = torch.stack([torch.tensor([0.5, 0.5]), torch.stack([share, 1 - share])])
    torch.testing.assert_close(out[:2], expected)
    torch.testing.assert_close(out[2], torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)


def test_a_locked_mask_serves_every_step() -> None:
    torch.manual_seed(0)
    drop, ones = LockedDropout(0.25), torch.ones(8, 5, 400)
    dropped = drop(ones)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropped.mean() == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(dropped[0], dropped[1])
    assert drop.eval()(ones) is ones


def test_a_run_of_sequences_has_little_padding() -> None:
    lengths = torch.randint(1, 80, (200,)).sort().values
    sizes, ends = like_lengths(lengths, 80)
    assert sum(sizes) == 200 and len(sizes) < 60
    for run, end in zip(lengths.split(sizes), ends, strict=True):
        assert int(run.max()) == end and int((end - run).sum()) <= 40 + 4 * end
    # In no order there are more runs; the rows stay where they are.
    lengths = lengths[torch.randperm(200)]
    sizes, ends = like_lengths(lengths, 80)
    assert [int(run.max()) for run in lengths.split(sizes)] == ends


def test_one_step_is_the_lstms_own() -> None:
    torch.manual_seed(0)
    lstm, inputs, memory = nn.LSTM(3, 4, batch_first=True), torch.randn(5, 6, 3), None
    whole, (h, c) = lstm(inputs)
    for step in range(6):
        output, memory = step_lstm(lstm, inputs[:, step : step + 1], memory)
        torch.testing.assert_close(output, whole[:, step : step + 1])
    assert memory is not None
    torch.testing.assert_close(memory, (h, c))


def test_dropout_is_torchs_in_distribution() -> None:
    torch.manual_seed(0)
    drop, ones = Dropout(0.25), torch.ones(400, 300)
    dropped = drop(ones)
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropped.mean() == pytest.approx(1.0, abs=0.01)
    assert dropped.mean(0).var() == pytest.approx(0.25 / 0.75 / 400, rel=0.3)  # independent
    assert dropped.mean(1).var() == pytest.approx(0.25 / 0.75 / 300, rel=0.3)
    assert drop.eval()(ones) is ones
