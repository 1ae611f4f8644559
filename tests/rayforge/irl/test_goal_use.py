"""Does the discriminator read the instruction? Relabelled, mismatched and shuffled pairs.

A field of viewpoints, walks of two or three moves, and template instructions that say how each move
turns. Everything is judged on walks that were not trained on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from rayforge.irl import losses
from rayforge.irl.config import NetworkConfig
from rayforge.irl.networks import Policy, Reward
from rayforge.language.vocabulary import Vocabulary
from rayforge.paths.arrays import Paths
from tests.rayforge.made_up import DIMENSION, World, columns, grid, real_steps, world_of

TURNS = (("ahead", "on"), ("right", "rightwards"), ("back", "round"), ("left", "leftwards"))
TEMPLATES = ("go {} then {} .", "first {} , next {} .", "turn {} and {} .")
SIZES = NetworkConfig(word=16, hidden=32, dropout=0.0)
TRAIN, HELD_OUT = 3000, 800

Instructions = Callable[[list[str], np.random.Generator], list[str]]


def turns(world: World, paths: Paths) -> list[tuple[int, ...]]:
    """Which of `TURNS` each move of each path takes."""
    said = []
    for row in range(len(paths)):
        own = []
        for step in range(int(paths.length[row]) - 1):
            slot = int(paths.action[row, step]) - 1
            heading = world.buildings.heading[paths.viewpoint[row, step], slot]
            turn = heading / (np.pi / 6) - paths.heading[row, step]
            own.append(round(turn / 3) % 4)
        said.append(tuple(own))
    return said


def describe(moves: tuple[int, ...], rng: np.random.Generator) -> str:
    """A perfect generator: one of many wordings, all of which say the very moves."""
    words = [TURNS[move][rng.integers(2)] for move in moves]
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    return template.format(" ".join(words[:-1]), words[-1])


def obeyed(instruction: str) -> tuple[int, ...]:
    """The oracle: the moves that an instruction asks for."""
    meaning = {word: turn for turn, words in enumerate(TURNS) for word in words}
    return tuple(meaning[word] for word in instruction.split() if word in meaning)


def walks(world: World, count: int, seed: int) -> Paths:
    """Walks of two or three moves (their instructions are not used)."""
    paths = world.walks(12 * count, seed)
    return paths[np.flatnonzero(np.isin(paths.length, (3, 4)))[:count]].trimmed()


def mismatched(said: list[str], rng: np.random.Generator) -> list[str]:
    """For each walk the instruction of another one that asks for other moves."""
    other = [said[k] for k in rng.permutation(len(said))]
    for row, instruction in enumerate(other):
        while obeyed(instruction) == obeyed(said[row]):
            instruction = other[row] = said[rng.integers(len(said))]
    return other


def true(said: list[str], rng: np.random.Generator) -> list[str]:
    return said


def shuffled(said: list[str], rng: np.random.Generator) -> list[str]:
    return [said[k] for k in rng.permutation(len(said))]


def constant(said: list[str], rng: np.random.Generator) -> list[str]:
    return ["go ahead then back ."] * len(said)


@pytest.fixture(scope="module")
def field() -> World:
    return world_of(grid("field", 6, 6))


def held_out_accuracy(world: World, positive: Instructions, negative: Instructions) -> float:
    """Train on half of the walks as positives and half as negatives; accuracy on new walks.

    `positive` gives the instructions of the positives. Negatives have another walk's instruction,
    of those that `negative` gives.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    paths = walks(world, TRAIN + HELD_OUT, seed=1)
    assert len(paths) == TRAIN + HELD_OUT
    said = [describe(moves, rng) for moves in turns(world, paths)]
    high = np.arange(len(paths)) % 2 == 0
    pairs = np.array(said, dtype=object)
    pairs[high] = positive(pairs[high].tolist(), rng)
    pairs[~high] = negative(mismatched(pairs[~high].tolist(), rng), rng)
    if positive is shuffled:  # judged on right instructions all the same
        pairs[TRAIN:][high[TRAIN:]] = np.array(said, dtype=object)[TRAIN:][high[TRAIN:]]
    vocabulary = Vocabulary.from_texts(said, 1)
    tokens, cut = vocabulary.encode(pairs.tolist(), 12)
    assert not cut
    paths = paths.with_tokens(tokens)

    policy = Policy(len(vocabulary), DIMENSION, SIZES).eval()
    reward = Reward(DIMENSION, SIZES, shaping=False, gamma=0.95)
    optimizer = torch.optim.Adam(
        [*reward.parameters(), *policy.instruction_encoder.parameters()], lr=1e-2
    )

    def logits(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        part = paths[rows]
        c, seen = columns(part), world.see(part)
        instructions = policy.instruction_encoder(
            c["tokens"]
        )  # learnt with the reward here, not cloned first
        with torch.no_grad():
            log_pi = policy(seen, instructions, c["length"])
        taken = log_pi.gather(-1, c["action"][..., None]).squeeze(-1)
        f = reward(seen, instructions, c["length"], c["action"])
        return losses.discriminator_logit(f, taken), real_steps(part).float()

    for _ in range(250):
        rows = rng.integers(TRAIN, size=64)
        logit, real = logits(rows)
        is_high = torch.from_numpy(high[rows]).float()[:, None]
        loss = losses.discriminator_loss(logit, real * is_high, real * (1 - is_high), 0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows = np.arange(TRAIN, TRAIN + HELD_OUT)
    with torch.no_grad():
        logit, real = logits(rows)
    judged = ((logit * real).sum(1) > 0).numpy()
    return float((judged[high[rows]].mean() + (~judged[~high[rows]]).mean()) / 2)


def test_perfect_generator_passes_the_oracle_and_mismatched_instructions_do_not(
    field: World,
) -> None:
    paths, rng = walks(field, 200, seed=2), np.random.default_rng(0)
    moves = turns(field, paths)
    said = [describe(own, rng) for own in moves]
    assert len(set(said)) > 100
    assert [obeyed(instruction) for instruction in said] == moves
    wrong = mismatched(said, rng)
    assert all(obeyed(instruction) != own for instruction, own in zip(wrong, moves, strict=True))


def test_right_instructions_are_told_from_another_paths(field: World) -> None:
    assert held_out_accuracy(field, true, true) > 0.85


def test_shuffled_instructions_teach_nothing_about_them(field: World) -> None:
    """If it does better than chance now, it goes by the path alone."""
    assert held_out_accuracy(field, shuffled, true) == pytest.approx(0.5, abs=0.07)


def test_a_constant_generators_instructions_cannot_be_told_from_mismatched_ones(
    field: World,
) -> None:
    """Relabelled with one and the same instruction, mismatched among such: nothing to tell
    apart."""
    assert held_out_accuracy(field, constant, constant) == pytest.approx(0.5, abs=0.07)
