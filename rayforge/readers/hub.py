"""The hub that models and data sets have names on: asked once, and done without where it is silent.

Its clients try again and again, and wait for ever for a server that takes the connection and says
nothing, as behind a wall that drops packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

ANSWER_S = 5.0
"""Seconds that the hub has to answer."""


def hub_fault(name: str, kind: Literal["model", "dataset"]) -> Exception | None:
    """Why the hub says nothing of a model or data set: it is not reached, or has none of that name;
    None where it does."""
    from huggingface_hub import HfApi

    asked = HfApi()
    try:
        (asked.model_info if kind == "model" else asked.dataset_info)(name, timeout=ANSWER_S)
    except Exception as error:  # the hub's client raises many kinds
        return error
    return None


@contextmanager
def without_hub() -> Iterator[None]:
    """A block in which nothing asks the hub: its clients take what is on the disk, or raise."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
