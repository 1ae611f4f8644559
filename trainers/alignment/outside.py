"""Scores from outside of the model: agents that act on what it says, a reward model, a function.

Whatever gives the score is a job of `trainers.runs.pool`, so it works on Ray actors in batches, and
its answers are kept beside the log-probabilities.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from envs.houses.route_houses import ROUTES
from rayforge.errors import ConfigurationError
from trainers.alignment.config import SCORES, AlignConfig
from trainers.alignment.judging import numbers, reward_model
from trainers.alignment.models import find_model, fingerprint
from trainers.alignment.named_code import FOLLOWER, is_function
from trainers.alignment.python_function import PythonFunction
from trainers.alignment.reading import Source, text_of
from trainers.alignment.scoring import Progress, Scores
from trainers.runs.pool import Job, Pool, Work


@dataclass(frozen=True)
class Outside:
    """One or several jobs, of which the mean counts."""

    jobs: Mapping[str, Job]
    """By the name under which their answers are kept."""
    item: Callable[[Any, str], Any]
    """What a job is given for a prompt and a response."""
    here: Pool = field(default_factory=lambda: Pool(0))
    """Where there are no actors: it goes on holding what a job loaded, which takes longer to load
    than to ask, while the run's own pool holds a model."""

    def of(
        self, scores: Scores, prompts: Sequence[Any], texts: Sequence[str], pool: Pool,
        progress: Progress | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Float64 [n], higher is better; of followers log P(arrives)."""
        asked = [(p, t.strip()) for p, t in zip(prompts, texts, strict=True)]
        keys = [_key(prompt, text) for prompt, text in asked]
        items = {k: self.item(*one) for k, one in zip(keys, asked, strict=True)}
        sizes = {k: len(text) for k, (_, text) in zip(keys, asked, strict=True)}
        total = np.zeros(len(keys))
        for name, job in self.jobs.items():
            found = scores.by(job, name, items, sizes, pool if pool.actors else self.here, progress)
            total += [found[key] for key in keys]
        return total / len(self.jobs)


def _key(prompt: Any, text: str) -> bytes:
    asked = json.dumps([prompt, text], sort_keys=True)
    return hashlib.blake2b(asked.encode(), digest_size=16).digest()


@dataclass(frozen=True)
class RewardModelJob:
    """A reward model of a folder; gives its scores."""

    folder: Path
    device: str

    def load(self) -> Work:
        judge = reward_model(self.folder, self.device)
        return lambda batch: judge.score([p for p, _ in batch], [t for _, t in batch])


@dataclass(frozen=True)
class FunctionJob:
    """A Python function of the user's, of (prompts, responses); gives its numbers."""

    name: str
    place: str = field(default_factory=os.getcwd)

    def load(self) -> Work:
        function = PythonFunction(self.name, self.place, "score")

        def work(batch: Sequence[tuple[Any, str]]) -> np.ndarray:
            prompts, texts = [p for p, _ in batch], [t for _, t in batch]
            return numbers(self.name, function.here([prompts, texts]), len(batch))

        return work


def outside_score(config: AlignConfig, source: Source) -> Outside | None:
    """What the setting `score` names, checked and tried once; None where nothing from outside is
    asked for.

    Raises UserError where there is no such score, or it does not work.
    """
    score = config.score
    if score in SCORES:
        return None
    if score.startswith(FOLLOWER):
        return _followers(score, config, source)
    if Path(score).is_dir():
        folder = Path(score).absolute()
        job: Job = RewardModelJob(folder, config.device)
        name = fingerprint(find_model(str(folder))).hash
    elif is_function(score):
        function = FunctionJob(score)
        if PythonFunction(score, role="score").parameters() != 2:
            raise ConfigurationError(
                f"score {score} must take two arguments, (prompts, responses), and give a number "
                "for each"
            )
        job, name = function, f"function-{score.replace(':', '-')}"
    else:
        raise ConfigurationError(
            f"score {score[:80]!r} is none of {', '.join(SCORES)}, follower:RUN, a reward model's "
            "folder or a Python function, MODULE:FUNCTION"
        )
    first = source.training[0]
    example = first.prompt, text_of(first.chosen)
    numbers(score, job.load()([example, example]), 2)
    return Outside({name: job}, lambda prompt, text: (prompt, text))


def placed_score(score: str) -> str:
    """A score whose runs and folders have absolute paths, so that a run that keeps it goes on from
    any directory."""
    if score.startswith(FOLLOWER):
        names = [name.removeprefix(FOLLOWER) for name in score.split(",")]
        return FOLLOWER + ",".join(str(Path(name).absolute()) for name in names)
    named = score not in SCORES and Path(score).is_dir()
    return str(Path(score).absolute()) if named else score


def _followers(score: str, config: AlignConfig, source: Source) -> Outside:
    # All that alignment knows of agents; imported here, for nobody else needs Ray before it runs.
    from trainers.irl.follower import FollowerJob, check_follower

    if source.maps is None:
        raise ConfigurationError(
            f"score is {score[:80]}, but {config.data} are no routes, which alone can be acted on: "
            "name a reward model's folder or MODULE:FUNCTION"
        )
    maps, rows = source.maps.folder(), source.maps.rows
    jobs: dict[str, Job] = {}
    for name in score.split(","):
        run = Path(name.removeprefix(FOLLOWER)).absolute()
        check_follower(run, maps, source.maps.unseen)
        job = FollowerJob(run, maps, ROUTES)
        jobs[f"follower-{job.fingerprint}"] = job
    return Outside(jobs, lambda prompt, text: (rows[prompt], text))
