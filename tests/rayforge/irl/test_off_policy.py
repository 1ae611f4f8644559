"""Known answers of importance ratios."""

import pytest
import torch

from rayforge.irl.off_policy import importance


def test_a_policy_that_has_not_moved() -> None:
    pi = torch.tensor([[0.5, 0.25], [0.1, 0.9]])
    real = torch.tensor([[True, True], [True, False]])
    found = importance(pi.log(), pi, real)
    assert found == pytest.approx({"mean": 1.0, "max": 1.0, "effective": 1.0})


def test_known_ratios_and_padding_does_not_count() -> None:
    now = torch.tensor([[0.6, 0.1, 1.0]])
    then = torch.tensor([[0.2, 0.1, 0.0]])
    found = importance(now.log(), then, torch.tensor([[True, True, False]]))
    assert found == pytest.approx({"mean": 2.0, "max": 3.0, "effective": 16 / (2 * 10)})
