"""The commands of alignment: `rayforge align ...`. What is heavy is imported when one is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from trainers.alignment.config import SCORES, AlignConfig
from trainers.cluster import choose_address
from trainers.runs.folder import named_folder


@dataclass(frozen=True)
class AlignTrain:
    """Align a language model: DPO, review by an agent that acts, SeRA and other baselines.

    --config FILE.yaml starts from that file's settings; any of them can be given here as well.

    Examples:
      rayforge align train --method sera --run runs/sera
      rayforge align train --score follower:runs/follower --routes.flip-share 0.2 --run runs/acting
      rayforge align train --data pairs.jsonl.gz --model Qwen/Qwen3-0.6B --lora-rank 16 --run runs/q
      rayforge align train --resume runs/sera
    """

    settings: Annotated[AlignConfig, tyro.conf.arg(name="")]
    run: Path | None = None
    """Folder of the run; it must not hold one yet."""
    resume: Path | None = None
    """A run to go on with, under its own settings."""
    debug: bool = False
    """Everything in this process and small, without Ray: breakpoints work."""
    address: str = ""
    """The Ray cluster to join, as HOST:PORT, instead of what RAY_ADDRESS names."""

    def __call__(self) -> None:
        choose_address(self.address)
        run = named_folder(self.run, self.resume)
        from trainers.alignment.debugging import small_language_model
        from trainers.alignment.preflight import check_run
        from trainers.runs.identity import going_on

        settings = small_language_model(self.settings) if self.debug else self.settings
        if self.resume is not None:
            settings = going_on(run, settings)
        check_run(settings, run, self.resume is not None)
        from trainers.alignment.run import train
        from trainers.runs.folder import command_line

        train(settings, run, self.resume is not None, command_line())


@dataclass(frozen=True)
class AlignEvaluate:
    """Compare a run's answers with another's, prompt by prompt: win rate, length-controlled too.

    Example: rayforge align evaluate runs/sera --against runs/dpo
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    against: Path
    """Another run's folder, or a model's."""
    judge: str = ""
    """As in training; empty: the run's own judge."""

    def __call__(self) -> None:
        from trainers.alignment.evaluate import evaluate_against
        from trainers.runs.folder import command_line

        evaluate_against(self.run, self.against, self.judge, command_line())


def with_method(words: list[str]) -> list[str]:
    """The words of `align train` with `--method acting` where they name a score from outside and
    leave the method out, as the configuration does where both are left out."""
    flags = {word.partition("=")[0] for word in words}
    if "--method" in flags or "--score" not in flags:
        return words
    at = next(k for k, word in enumerate(words) if word.partition("=")[0] == "--score")
    named = words[at].partition("=")[2] or (words[at + 1] if at + 1 < len(words) else "")
    return words if not named or named in SCORES else [*words, "--method", "acting"]
