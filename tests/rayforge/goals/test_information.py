"""What a latent carries, where it is known."""

from __future__ import annotations

import math

import pytest
import torch

from rayforge.goals.generator import free_bits, unit_kl
from rayforge.goals.information import active_units, mutual_information


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_posteriors_that_never_overlap_tell_which_x_it_was() -> None:
    mean = 100.0 * torch.arange(32.0)[:, None].expand(-1, 3)
    carried = mutual_information(mean, torch.zeros_like(mean), seeded())
    assert float(carried) == pytest.approx(math.log(32), abs=1e-4)
    assert active_units(mean) == 3


def test_a_collapsed_posterior_carries_nothing_whatever_its_kl() -> None:
    mean = torch.ones(64, 4)
    log_variance = torch.full_like(mean, 0.25).log()
    assert float(unit_kl(mean, log_variance).sum(-1).mean()) > 3
    assert float(mutual_information(mean, log_variance, seeded())) == pytest.approx(0, abs=1e-4)
    assert active_units(mean) == 0


def test_a_gaussian_channel() -> None:
    """x ~ N(0, s^2), z = x + N(0, 1): I = 1/2 log(1 + s^2)."""
    mean = 3.0 * torch.randn(4000, 1, generator=seeded())
    carried = mutual_information(mean, torch.zeros_like(mean), torch.Generator().manual_seed(1))
    assert float(carried) == pytest.approx(0.5 * math.log(10), abs=0.05)


def test_free_bits() -> None:
    kl = torch.tensor([0.1, 2.0, 0.6], requires_grad=True)
    charged = free_bits(kl, 1.5)
    assert float(charged.detach()) == pytest.approx(0.5 + 2.0 + 0.6)
    charged.backward()
    assert kl.grad is not None
    assert kl.grad.tolist() == [0.0, 1.0, 1.0], "what is free is not pushed down"
    assert float(free_bits(kl.detach(), 0.0)) == pytest.approx(2.7)
