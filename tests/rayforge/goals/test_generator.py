"""The goal generator: its KL term, how it samples, and that it learns what it is shown."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from rayforge.goals.config import GeneratorConfig
from rayforge.goals.generator import GoalGenerator, _nucleus, unit_kl
from rayforge.language.encoder import like_lengths
from rayforge.language.vocabulary import BEGIN, END, PAD, UNKNOWN
from rayforge.paths.arrays import Paths
from tests.rayforge.made_up import DIMENSION, WORDS, World, columns, grid, world_of

SMALL = GeneratorConfig(
    word=16, hidden=32, latent=8, dropout=0.0, feature_dropout=0.0, word_dropout=0.0, top_p=0.0
)
LIMIT = 12


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(
    generator: GoalGenerator, world: World, paths: Paths, seed: int, rephrase: bool = False
) -> Tensor:
    c = columns(paths)
    return generator.sample(
        world.see(paths), c["action"], c["length"], LIMIT, seeded(seed),
        c["tokens"] if rephrase else None,
    )  # fmt: skip


def test_kl_of_known_gaussians() -> None:
    zero = torch.zeros(2, 5)
    assert not unit_kl(zero, zero).any()
    found = unit_kl(torch.ones(3, 2), torch.full((3, 2), 0.25).log())
    torch.testing.assert_close(found, torch.full((3, 2), 0.81815), atol=1e-4, rtol=0)


def test_instructions_end_are_padded_and_hold_no_special_words(world: World) -> None:
    torch.manual_seed(0)
    generator = GoalGenerator(WORDS, DIMENSION, GeneratorConfig(word=16, hidden=32, top_p=1.0))
    written = sample(generator, world, world.walks(64, seed=0), seed=1)
    assert written.shape == (64, LIMIT)
    ends = (written == END).int()
    assert (ends.sum(1) == 1).all()
    place = ends.argmax(1)
    assert 0 < int((place < LIMIT - 1).sum()) < 64, "some end early, some are cut"
    before = torch.arange(LIMIT) < place[:, None]
    assert (written[before] > END).all()
    after = torch.arange(LIMIT) > place[:, None]
    assert (written[after] == PAD).all()
    for special in (UNKNOWN, BEGIN):
        assert not (written == special).any()


def test_the_seed_decides_and_nothing_else(world: World) -> None:
    torch.manual_seed(0)
    generator = GoalGenerator(WORDS, DIMENSION, GeneratorConfig(word=16, hidden=32, top_p=0.9))
    paths = world.walks(16, seed=0)
    first = sample(generator.train(), world, paths, seed=1)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(sample(generator, world, paths, seed=1), first)
    assert torch.equal(torch.get_rng_state(), state), "torch's own random numbers are not used"
    assert not torch.equal(sample(generator, world, paths, seed=2), first)
    assert not torch.equal(sample(generator, world, paths, seed=1, rephrase=True), first)


def test_the_nucleus_and_greed() -> None:
    chances = torch.tensor([[0.1, 0.5, 0.15, 0.25]])

    def drawn(top_p: float, draw: float) -> int:
        return int(_nucleus(chances, top_p, torch.tensor([draw])))

    assert {drawn(0.0, d) for d in (0.0, 0.5, 0.999)} == {1}
    # Words 1 and 3 reach 0.75 >= 0.7: two thirds against one third.
    assert [drawn(0.7, d) for d in (0.0, 0.6, 0.7, 0.999)] == [1, 1, 3, 3]
    assert [drawn(1.0, d) for d in (0.0, 0.6, 0.8, 0.95)] == [1, 3, 2, 0]


def test_words_are_drawn_as_often_as_they_are_likely() -> None:
    chances = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).expand(20_000, -1)
    draw = torch.rand(20_000, generator=seeded(0))
    counts = _nucleus(chances, 1.0, draw).bincount(minlength=4) / 20_000
    torch.testing.assert_close(counts, chances[0], atol=0.015, rtol=0)
    cut = _nucleus(chances, 0.7, draw).bincount(minlength=4) / 20_000
    torch.testing.assert_close(cut, torch.tensor([0, 2 / 3, 0, 1 / 3]), atol=0.015, rtol=0)


def test_loss_of_a_batch_is_the_mean_over_its_instructions(world: World) -> None:
    torch.manual_seed(0)
    generator = GoalGenerator(WORDS, DIMENSION, SMALL).eval()
    paths = world.walks(9, seed=3)

    @torch.no_grad()
    def terms(part: Paths) -> Tensor:
        c = columns(part)
        nats, kl, words = generator.loss(world.see(part), c["action"], c["length"], c["tokens"])
        return torch.stack([nats, words, *kl])

    alone = torch.stack([terms(paths[row : row + 1].trimmed()) for row in range(9)])
    torch.testing.assert_close(terms(paths), alone.mean(0), atol=1e-4, rtol=1e-5)
    words = (paths.tokens != PAD).sum(1).mean()
    assert float(terms(paths)[1]) == pytest.approx(words)


def test_an_instructions_likelihood_does_not_depend_on_the_others(world: World) -> None:
    """Short and long ones are decoded apart, and come back in their order."""
    torch.manual_seed(0)
    generator = GoalGenerator(WORDS, DIMENSION, SMALL).eval()
    paths = world.walks(48, seed=0)
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(END + 1, WORDS, (48, 60)))
    ends = torch.from_numpy(rng.permutation(np.r_[np.full(24, 3), np.full(24, 59)]))
    places = torch.arange(60)
    tokens[places == ends[:, None]] = END
    tokens[places > ends[:, None]] = PAD
    c = columns(paths)
    path, real = generator.encode_path(world.see(paths), c["action"], c["length"])
    together = generator.log_likelihood(path, real, tokens)
    alone = [generator.log_likelihood(path[[k]], real[[k]], tokens[[k]]) for k in range(48)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-3)
    assert len(like_lengths(ends.sort().values + 1, 60)[0]) > 1


def corpus(world: World) -> Paths:
    """Six paths, each with two instructions that have no word in common but END."""
    paths = world.walks(6, seed=4)
    rng = np.random.default_rng(0)
    tokens = np.full((12, 9), PAD, np.int16)
    for row in range(12):
        words = rng.integers(4, 12, size=3 + row % 3) + 8 * (row % 2)
        tokens[row, : len(words) + 1] = [*words, END]
    return paths[np.repeat(np.arange(6), 2)].with_tokens(tokens)


@cache
def trained() -> tuple[World, Paths, GoalGenerator, list[float]]:
    """A generator fitted to the corpus, and its loss on the way."""
    torch.manual_seed(0)
    world = world_of(grid("plain", 4, 3))
    paths = corpus(world)
    generator, c = GoalGenerator(WORDS, DIMENSION, SMALL), columns(paths)
    seen = world.see(paths)
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
    course = []
    for _ in range(150):
        loss = generator.loss(seen, c["action"], c["length"], c["tokens"])
        course.append(float(loss.reconstruction.detach()))
        optimizer.zero_grad()
        (loss.reconstruction + 0.02 * loss.kl.sum()).backward()
        optimizer.step()
    return world, paths, generator, course


def test_fits_a_tiny_corpus() -> None:
    _, _, _, course = trained()
    assert course[0] > 8  # about log(20) a word
    assert np.mean(course[-20:]) < 0.05 * course[0]


def test_a_memorised_pair_is_rephrased_by_itself_and_not_by_its_paths_other_instruction() -> None:
    world, paths, generator, _ = trained()
    written = sample(generator, world, paths, seed=5, rephrase=True).numpy()
    np.testing.assert_array_equal(written[:, : paths.tokens.shape[1]], paths.tokens)
    assert not written[:, paths.tokens.shape[1] :].any()


def test_free_instructions_are_of_their_path_and_vary_with_z() -> None:
    """Without an instruction to go by, z from the prior chooses between a path's two."""
    world, paths, generator, _ = trained()
    known = [tuple(row[row != PAD].tolist()) for row in paths.tokens]
    right, seen = 0, set()
    for seed in range(20):
        for row, tokens in enumerate(sample(generator, world, paths, seed).numpy()):
            instruction = tuple(tokens[tokens != PAD].tolist())
            pair = known[row - row % 2], known[row - row % 2 + 1]
            right += instruction in pair
            seen.add((row // 2, instruction))
    assert right > 0.4 * 240
    assert sum((path, known[2 * path + k]) in seen for path in range(6) for k in (0, 1)) >= 9


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"latent": 0}, "generator.latent must be at least 1, got 0"),
        ({"top_p": 1.5}, r"generator.top_p must be in \[0, 1\], got 1.5"),
        ({"word_dropout": -0.5}, "generator.word_dropout"),
        ({"hidden": 33}, "generator.hidden must be even, got 33"),
        ({"updates": -1}, "generator.updates must not be negative, got -1"),
        ({"learning_rate": 0.0}, "generator.learning_rate must be above 0, got 0.0"),
        ({"kl_weight": -0.1}, "generator.kl_weight must not be negative, got -0.1"),
        ({"dropout": 1.0}, r"generator.dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GeneratorConfig(**wrong)  # type: ignore[arg-type]
