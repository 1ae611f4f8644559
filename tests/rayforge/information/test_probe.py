"""The batch trick on a probe: sizes do not matter, modules sum up, nothing of the network moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rayforge.information.probe import Forward, measure

INPUTS = torch.randn(512, 4, generator=torch.Generator().manual_seed(0))


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).eval()


def _batches(network: nn.Module, size: int, rounds: int = 1) -> list[Forward]:
    parts = [p for _ in range(rounds) for p in INPUTS.split(size)]
    return [lambda part=part: (network(part), None) for part in parts]  # type: ignore[misc]


@pytest.mark.parametrize("size", [16, 64, 256])
def test_the_trace_does_not_depend_on_the_batch(size: int) -> None:
    network = _network()
    exact = _exact(network)
    found = measure(dict(network.named_parameters()), _batches(network, size, size), fixed=False)
    assert float(found.total.mean()) == pytest.approx(exact, rel=0.1)


def _exact(network: nn.Module) -> float:
    """E_y || grad log p(y|x) ||^2 with every label weighted by its probability."""
    total = 0.0
    parameters = list(network.parameters())
    for x in INPUTS[:128]:
        log_p = network(x[None]).log_softmax(-1)[0]
        for k in range(3):
            gradients = torch.autograd.grad(log_p[k], parameters, retain_graph=True)
            total += float(log_p[k].detach().exp()) * sum(
                float(g.square().sum()) for g in gradients
            )
    return total / 128


def test_modules_and_diagonal_sum_to_the_total_and_the_network_stays() -> None:
    network = _network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = torch.get_rng_state()
    found = measure(dict(network.named_parameters()), _batches(network, 128), diagonal=True)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert set(found.modules) == {"0", "2"}
    torch.testing.assert_close(sum(found.modules.values()), found.total)
    whole = sum(float(d.sum()) for d in found.diagonal.values())
    assert whole == pytest.approx(float(found.total.mean()), rel=1e-5)
    assert found.decisions == 512 and found.choices == 3


def test_confidence_alone_lowers_the_trace_and_not_the_fixed_one() -> None:
    network = _network()
    with torch.no_grad():
        network[2].weight.mul_(0.5)
        network[2].bias.mul_(0.5)
    parameters = dict(network.named_parameters())

    def at(scale: float) -> tuple[float, float, float]:
        batches = [
            lambda part=part: (scale * network(part), None)  # type: ignore[misc]
            for part in INPUTS.split(8)
        ]
        found = measure(parameters, batches)
        return float(found.total.mean()) / scale**2, found.uncertainty, float(found.fixed.mean())

    mild, sharp = at(1.0), at(40.0)
    assert sharp[0] < 0.3 * mild[0] and sharp[1] < 0.3 * mild[1]
    assert sharp[2] == pytest.approx(mild[2], rel=0.15)


def test_labels_permuted_and_data_repeated_leave_the_vector_as_it_is() -> None:
    network = _network()
    parameters = dict(network.named_parameters())

    def vector(inputs: torch.Tensor, order: list[int]) -> torch.Tensor:
        batches = [
            lambda part=part: (network(part)[:, order], None)  # type: ignore[misc]
            for part in inputs.split(16)
        ]
        return measure(parameters, batches, fixed=False, diagonal=True).diagonal["0.weight"]

    once = vector(INPUTS.repeat(6, 1), [0, 1, 2])
    torch.testing.assert_close(vector(INPUTS.repeat(6, 1), [2, 0, 1]), once, rtol=0.4, atol=1e-3)
    torch.testing.assert_close(vector(INPUTS.repeat(12, 1), [0, 1, 2]), once, rtol=0.4, atol=1e-3)


def test_illegal_choices_and_single_ones() -> None:
    weight = nn.Parameter(torch.zeros(3))
    legal = torch.tensor([[True, True, False]]).repeat(40, 1)
    found = measure({"w": weight}, [lambda: (weight.expand(40, 3), legal)] * 50, fixed=False)
    # Two equal choices: the score is (+1/2, -1/2) or its opposite, and never on the third.
    assert float(found.total.mean()) == pytest.approx(0.5, rel=0.4)
    assert found.choices == 2
    with pytest.raises(ValueError, match="no decision"):
        measure({"w": weight}, [])
