"""What a trunk keeps of an episode between two steps."""

from __future__ import annotations

from torch import Tensor

Memory = tuple[Tensor, ...]
"""Tensors [B, ...], a row for each episode; a row of zeros is one that has just begun."""
