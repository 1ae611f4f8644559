"""Agent and language model together as a system: each report is a part of one and a round of the
other, so that a scheduler sees both early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainers.alignment.system import ALIGN
from trainers.both.config import BothConfig
from trainers.irl.system import IRL
from trainers.runs.system import Need, System


def metrics(config: BothConfig) -> tuple[str, ...]:
    """Those of both, named "irl/..." and "align/..."."""
    irl, align = config.parts()
    return (
        *(f"irl/{name}" for name in IRL.metrics(irl)),
        *(f"align/{name}" for name in ALIGN.metrics(align)),
    )


def resources(config: BothConfig) -> Need:
    """They take turns, but Ray reserves for a trial's whole life."""
    agent, language = IRL.resources(config.irl), ALIGN.resources(config.align)
    gpu = max(agent.bundles[0].get("GPU", 0.0), 1.0 if config.align.device == "cuda" else 0.0)
    first = {"CPU": 1.0, **({"GPU": gpu} if gpu else {})}
    return Need(
        (first, *agent.bundles[1:], *language.bundles[1:]),
        language.outside,
        f"1 for the trial + {config.irl.runners} runners + {config.align.workers} workers + "
        f"{config.align.actors} actors",
    )


def prepare(config: BothConfig) -> None:
    IRL.prepare(config.irl)
    ALIGN.prepare(config.align)


def check_file(config: BothConfig) -> None:
    ALIGN.check_file(config.align)


def train(config: BothConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    """A round of the language model, then a part of the agent; each in a run folder of its own,
    `align` and `irl`."""
    import torch

    irl, align = config.parts()
    folders = {name: run / name for name in ("irl", "align")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    agents = IRL.train(irl, folders["irl"], reports)
    random = torch.get_rng_state()
    for language in ALIGN.train(align, folders["align"], reports):
        torch.set_rng_state(random)  # what a round draws does not change what the agent draws
        agent = next(agents)
        random = torch.get_rng_state()
        yield {
            **{f"irl/{name}": value for name, value in agent.items()},
            **{f"align/{name}": value for name, value in language.items()},
        }


def rounds(config: BothConfig, asked: int) -> int:
    return ALIGN.reports(config.align, asked)


def parts(config: BothConfig) -> dict[str, Any]:
    irl, align = config.parts()
    return {"-irl": irl, "-align": align}


BOTH = System(
    name="both",
    configuration=BothConfig,
    metrics=metrics,
    train=train,
    resources=resources,
    prepare=prepare,
    check_file=check_file,
    reports=rounds,
    parts=parts,
    use=(
        "rayforge irl evaluate {run}/irl --split val_seen",
        "rayforge align evaluate {run}/align --against OTHER_RUN",
    ),
)
