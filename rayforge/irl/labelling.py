"""Instructions for paths: the goal generator writes several, and the one is taken that it and the
policy agree on most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rayforge.goals.agreement import Scores, choose, follower_score, path_posterior
from rayforge.irl.agent import Agent
from rayforge.irl.pairs import path_batch
from rayforge.irl.world import World
from rayforge.paths.arrays import Padded


@dataclass(frozen=True)
class Labels:
    """An instruction for each of B paths and what is thought of it.

    Where instructions are not judged, every one is kept and the scores are NaN.
    """

    tokens: np.ndarray  # int16 [B, N]
    kept: np.ndarray  # bool [B], both listeners agree on the path
    follower: np.ndarray  # float32 [B], see `Scores`
    speaker: np.ndarray  # float32 [B]


def label_paths(
    agent: Agent, world: World[Any], paths: Padded, seed: int, rephrase: bool
) -> Labels:
    """The best of the configured number of candidates for each path: its own instruction rephrased,
    or one written freely. `kept` says which are good enough to be used."""
    generator, config = agent.generator, agent.config.generator
    assert generator is not None
    count = len(paths)
    columns = _columns(paths)
    written = generator.sample(
        agent.observe(columns, generator.image_encoder),
        columns["action"],
        columns["length"],
        agent.config.max_words,
        torch.Generator().manual_seed(seed),
        columns["tokens"] if rephrase else None,
        config.candidates,
    )
    tokens = written.numpy().astype(np.int16).reshape(count, config.candidates, -1)
    if not config.judged:
        unknown = np.full(count, np.nan, np.float32)
        return Labels(tokens[:, 0], np.ones(count, bool), unknown, unknown)
    scores = judge(agent, world, paths, tokens, seed)
    # Where nothing was cloned, the policy knows nothing that it could reject an instruction by.
    agreement = config.agreement if agent.config.warm_start else 0.0
    place, kept = choose(scores, columns["length"], agreement)
    follower, speaker = (
        part.gather(1, place[:, None])[:, 0].numpy() for part in (scores.follower, scores.speaker)
    )
    return Labels(tokens[np.arange(count), place.numpy()], kept.numpy(), follower, speaker)


@torch.no_grad()
def judge(
    agent: Agent, world: World[Any], paths: Padded, instructions: np.ndarray, seed: int
) -> Scores:
    """What policy and generator say of B paths under K instructions each: int16 [B, K, N] -> [B,
    K].

    `seed` draws the other ways that the generator compares a path with (none in 3-D scenes). What
    is seen along paths is looked up once, whatever the number of instructions.
    """
    generator, policy, config = agent.generator, agent.policy, agent.config
    assert generator is not None
    policy.eval()
    generator.eval()
    columns = _columns(paths)
    action, length = columns["action"], columns["length"]
    tokens = torch.from_numpy(instructions.astype(np.int64))
    kinds = range(tokens.shape[1])

    seen = agent.observe(columns, policy.image_encoder)
    follower = [
        follower_score(
            policy(seen, policy.instruction_encoder(tokens[:, k]), length), action, length
        )
        for k in kinds
    ]
    rng = np.random.default_rng(seed)
    ways = world.other_ways(paths, config.generator.others, rng)
    if ways is None:
        alone = torch.zeros(tokens.shape[:2])
        return Scores(torch.stack(follower, 1), alone, torch.ones_like(alone, dtype=torch.bool))

    rows, present = torch.from_numpy(ways[1]).nonzero()[:, 0], torch.from_numpy(ways[1])
    own = _encoded(agent, columns)
    other = _encoded(agent, _columns(ways[0][ways[1].ravel()])) if len(rows) else None
    speaker, ahead = [], []
    for k in kinds:
        likelihood = torch.zeros(present.shape)
        if other is not None:
            likelihood[present] = generator.log_likelihood(*other, tokens[rows, k])
        posterior = path_posterior(
            generator.log_likelihood(*own, tokens[:, k]), likelihood, present
        )
        speaker.append(posterior[0])
        ahead.append(posterior[1])
    return Scores(*(torch.stack(part, 1) for part in (follower, speaker, ahead)))


def _encoded(agent: Agent, columns: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The generator's codes of paths and which of their steps are real."""
    generator = agent.generator
    assert generator is not None
    seen = agent.observe(columns, generator.image_encoder)
    return generator.encode_path(seen, columns["action"], columns["length"])


def _columns(paths: Padded) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in path_batch(paths).items()}
