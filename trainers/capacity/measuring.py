"""What a core of this machine reaches."""

from __future__ import annotations

import time

import torch

SIDE = 768
"""Rows and columns of the products: a transformer's usual width, larger than a core's caches."""


def core_gflops(seconds: float = 1.0) -> float:
    """GFLOP/s of float32 matrix products on one thread, the best of many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, two = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            one @ two
            best = min(best, time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return 2 * SIDE**3 / best / 1e9
