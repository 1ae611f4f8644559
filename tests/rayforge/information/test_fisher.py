"""Known answers of the Fisher information (spec checks 1 to 4 and 7) and of the batch trick."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rayforge.information.fisher import (
    at_temperature,
    squared_scores,
    total,
    uncertainty,
)
from rayforge.information.probe import measure


def _drawn(probabilities: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(probabilities, 1, replacement=True, generator=generator).squeeze(-1)


@pytest.mark.parametrize(("p", "answer"), [(0.5, 0.25), (0.99, 0.0099)])
def test_a_logistic_unit_has_p_times_one_minus_p(p: float, answer: float) -> None:
    weight = torch.tensor([p / (1 - p)]).log()
    labels = torch.tensor([1.0, 0.0])  # each once, weighted by its probability

    def log_likelihood(values: dict[str, Tensor], label: Tensor) -> Tensor:
        return -nn.functional.binary_cross_entropy_with_logits(values["w"][0], label)

    squares = total(squared_scores(log_likelihood, {"w": weight}, labels))
    assert float(squares[0] * p + squares[1] * (1 - p)) == pytest.approx(answer, rel=1e-4)


def test_softmax_regression_uniform_over_ten_classes_has_nine_tenths() -> None:
    torch.manual_seed(0)
    x = nn.functional.normalize(torch.randn(4000, 5), dim=1)
    labels = torch.randint(10, (4000,))

    def log_likelihood(values: dict[str, Tensor], sample: tuple[Tensor, Tensor]) -> Tensor:
        features, label = sample
        return (values["w"] @ features).log_softmax(0).gather(0, label[None])[0]

    squares = squared_scores(log_likelihood, {"w": torch.zeros(10, 5)}, (x, labels))
    assert float(total(squares).mean()) == pytest.approx(0.9, abs=1e-4)


def test_linear_gaussian_regression_does_not_depend_on_the_weights() -> None:
    torch.manual_seed(0)
    x, noise = torch.randn(5000, 3), 0.5

    def trace(weight: Tensor) -> float:
        y = x @ weight + noise * torch.randn(len(x))

        def log_likelihood(values: dict[str, Tensor], sample: tuple[Tensor, Tensor]) -> Tensor:
            return -((sample[1] - sample[0] @ values["w"]) ** 2) / (2 * noise**2)

        return float(total(squared_scores(log_likelihood, {"w": weight}, (x, y))).mean())

    exact = float(x.square().sum(1).mean()) / noise**2
    assert trace(torch.zeros(3)) == pytest.approx(exact, rel=0.06)
    assert trace(torch.tensor([5.0, -3.0, 1.0])) == pytest.approx(exact, rel=0.06)


@pytest.mark.parametrize("size", [1, 8, 64])
def test_the_batch_trick_needs_labels_of_the_model(size: int) -> None:
    torch.manual_seed(1)
    network = nn.Linear(4, 3)
    parameters = dict(network.named_parameters())
    x = torch.randn(64, 4)
    with torch.no_grad():
        p = network(x).softmax(-1)
    exact = float((x.square().sum(1) + 1).mul((p * (1 - p)).sum(1)).mean())
    rows = [torch.randint(64, (size,)) for _ in range(1500)]
    probe = [lambda some=some: (network(x[some]), None) for some in rows]
    assert float(measure(parameters, probe, fixed=False).total.mean()) == pytest.approx(
        exact, rel=0.12
    )
    if size == 64:
        # Labels of the data have scores whose mean is not zero: their squared sum says nothing.
        loss = nn.functional.cross_entropy(network(x), torch.zeros(64).long(), reduction="sum")
        squares = [g.square().sum() for g in torch.autograd.grad(loss, list(parameters.values()))]
        assert float(torch.stack(squares).sum()) / size > 4 * exact


def test_per_sample_trace_agrees_with_curvlinops_within_its_sampling_error() -> None:
    curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is absent: make curvature")
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).eval()
    x = torch.randn(512, 6)
    p = network(x).detach().softmax(-1)
    labels = _drawn(p, 3)

    def log_likelihood(values: dict[str, Tensor], sample: tuple[Tensor, Tensor]) -> Tensor:
        logits = functional_call(network, values, (sample[0][None],))
        return -nn.functional.cross_entropy(logits, sample[1][None])

    parameters = dict(network.named_parameters())
    ours = total(squared_scores(log_likelihood, parameters, (x, labels)))
    # The generalised Gauss-Newton matrix of cross-entropy is the Fisher matrix, labels integrated.
    matrix = curvlinops.GGNLinearOperator(
        network, nn.CrossEntropyLoss(), list(parameters.values()), [(x, labels)]
    )
    dimension = sum(w.numel() for w in parameters.values())
    dense = matrix @ torch.eye(dimension)
    exact = float(torch.trace(dense))
    error = float(ours.std() / len(ours) ** 0.5)
    assert abs(float(ours.mean()) - exact) < 4 * error
    assert error < 0.1 * exact  # the bar above says something


def test_a_modules_trace_changes_with_scale_alone() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(6, 5), torch.randn(3, 6)
    x, labels = torch.randn(32, 5), torch.randint(3, (32,))

    def log_likelihood(values: dict[str, Tensor], sample: tuple[Tensor, Tensor]) -> Tensor:
        hidden = (values["a.weight"] @ sample[0]).relu()
        return (values["b.weight"] @ hidden).log_softmax(0).gather(0, sample[1][None])[0]

    def traces(scale: float) -> dict[str, float]:
        parameters = {"a.weight": first * scale, "b.weight": second / scale}
        squares = squared_scores(log_likelihood, parameters, (x, labels), at_once=7)
        torch.testing.assert_close(total(squares), sum(squares.values()))
        return {name[0]: float(values.mean()) for name, values in squares.items()}

    before, after = traces(1.0), traces(2.0)
    assert after["a"] == pytest.approx(before["a"] / 4, rel=1e-4)
    assert after["b"] == pytest.approx(before["b"] * 4, rel=1e-4)


def test_saturation_is_seen_and_taken_off() -> None:
    logits = torch.tensor([[0.0, 0.0], [8.0, -8.0]])
    assert uncertainty(logits).tolist() == pytest.approx([0.25, 0.0], abs=1e-6)
    legal = torch.tensor([[True, True, False]])
    assert float(uncertainty(torch.tensor([[0.0, 0.0, 50.0]]), legal)) == pytest.approx(0.25)
    mild, sharp = torch.tensor([[1.0, -1.0, 0.0]]), torch.tensor([[9.0, -9.0, 0.0]])
    torch.testing.assert_close(at_temperature(mild), at_temperature(sharp))
    flat = torch.zeros(1, 3)
    torch.testing.assert_close(at_temperature(flat), flat)
    masked = torch.tensor([[1.0, -1.0, -torch.inf]])
    assert at_temperature(masked).tolist() == [[1.0, -1.0, -torch.inf]]
