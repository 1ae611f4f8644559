"""Invariants of the networks: padding, batches, steps, masks, and what a warm start begins from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rayforge.goals.config import GeneratorConfig
from rayforge.goals.generator import GoalGenerator
from rayforge.irl import losses
from rayforge.irl.config import NetworkConfig
from rayforge.irl.networks import (
    ActionValues,
    Classifier,
    Policy,
    Reward,
    probabilities,
)
from rayforge.irl.trunks.memory import Memory
from rayforge.language import encoder
from rayforge.language.encoder import InstructionEncoder
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GEOMETRY, SECTORS, FeatureDropout
from tests.rayforge.made_up import (
    DIMENSION,
    MAX_STEPS,
    SMALL,
    WORDS,
    World,
    columns,
    real_steps,
)

SIZES = (WORDS, DIMENSION)
SMALL_GENERATOR = GeneratorConfig(word=12, hidden=16, latent=4)

Answer = Callable[[World, Paths], Tensor]


def instruction_encoder() -> InstructionEncoder:
    return InstructionEncoder(WORDS, SMALL.word, SMALL.hidden, dropout=0.0)


def policy_answer() -> Answer:
    network = Policy(*SIZES, SMALL).eval()

    def answer(world: World, paths: Paths) -> Tensor:
        c = columns(paths)
        return network(world.see(paths), network.instruction_encoder(c["tokens"]), c["length"])

    return answer


def values_answer() -> Answer:
    network = ActionValues(DIMENSION, SMALL, heads=2).eval()
    nn.init.normal_(network.values.weight)
    reader = instruction_encoder()

    def answer(world: World, paths: Paths) -> Tensor:
        c = columns(paths)
        values, _ = network(world.see(paths), reader(c["tokens"]), c["length"])
        return values.permute(1, 2, 3, 0).flatten(2)

    return answer


def reward_answer() -> Answer:
    network = Reward(DIMENSION, SMALL, shaping=True, gamma=0.9).eval()
    assert network.potential is not None
    nn.init.normal_(network.potential.weight)
    reader = instruction_encoder()

    def answer(world: World, paths: Paths) -> Tensor:
        c = columns(paths)
        return network(world.see(paths), reader(c["tokens"]), c["length"], c["action"])[..., None]

    return answer


def generator_answer() -> Answer:
    """The codes of paths, the posterior's two parameters beside each."""
    network = GoalGenerator(*SIZES, SMALL_GENERATOR).eval()

    def answer(world: World, paths: Paths) -> Tensor:
        c = columns(paths)
        codes, real = network.encode_path(world.see(paths), c["action"], c["length"])
        assert torch.equal(real, real_steps(paths))
        z = torch.cat(network.encode_instruction(codes, real, c["tokens"]), -1)
        return torch.cat([codes, z[:, None].expand(-1, codes.shape[1], -1)], -1)

    return answer


ANSWERS = [policy_answer, values_answer, reward_answer, generator_answer]


def padded(paths: Paths, steps: int, words: int) -> Paths:
    def wider(array: np.ndarray, width: int) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, width)))

    return Paths(
        wider(paths.viewpoint, steps),
        wider(paths.heading, steps),
        wider(paths.action, steps),
        paths.length,
        wider(paths.tokens, words),
    )


@pytest.mark.parametrize("spare", [encoder._STEP, 0], ids=["all together", "by length"])
@pytest.mark.parametrize("make", ANSWERS)
def test_a_path_gets_the_same_answer_alone_padded_and_in_a_batch(
    world: World, make: Callable[[], Answer], spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_RUN", spare)
    monkeypatch.setattr(encoder, "_STEP", spare)
    torch.manual_seed(0)
    answer, paths = make(), world.walks(12, seed=1)
    together = answer(world, paths)
    assert together.std() > 0.01
    for row in range(len(paths)):
        alone, length = paths[row : row + 1].trimmed(), int(paths.length[row])
        assert alone.viewpoint.shape[1] == length
        expected = together[row, :length]
        torch.testing.assert_close(answer(world, alone)[0], expected, atol=1e-5, rtol=1e-4)
        wide = answer(world, padded(alone, 3, 4))[0, :length]
        torch.testing.assert_close(wide, expected, atol=1e-5, rtol=1e-4)
    order = np.random.default_rng(2).permutation(len(paths))
    real = real_steps(paths[order])
    torch.testing.assert_close(
        answer(world, paths[order])[real], together[order][real], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("make", [policy_answer, values_answer])
def test_other_buildings_and_more_neighbours_change_nothing(
    world: World, wider_world: World, make: Callable[[], Answer]
) -> None:
    torch.manual_seed(0)
    answer, paths = make(), world.walks(12, seed=1)
    ours, wider = answer(world, paths), answer(wider_world, paths)
    assert wider.shape[-1] > ours.shape[-1]
    torch.testing.assert_close(wider[..., : ours.shape[-1]], ours, atol=1e-5, rtol=1e-4)
    assert not wider[..., ours.shape[-1] :].any()


def test_reward_does_not_depend_on_other_buildings(world: World, wider_world: World) -> None:
    torch.manual_seed(0)
    answer, paths = reward_answer(), world.walks(12, seed=1)
    torch.testing.assert_close(answer(wider_world, paths), answer(world, paths))


def test_step_by_step_the_policy_is_what_it_is_on_the_whole_path(world: World) -> None:
    torch.manual_seed(0)
    policy, paths = Policy(*SIZES, SMALL).eval(), world.walks(16, seed=3)
    c = columns(paths)
    instructions, memory = policy.instruction_encoder(c["tokens"]), None
    whole = policy(world.see(paths), instructions, c["length"])
    arrival, compared = torch.zeros(len(paths), GEOMETRY), 0
    for step in range(MAX_STEPS):
        viewpoint, heading = c["viewpoint"][:, step], c["heading"][:, step]
        going = c["length"] > step
        at = torch.full((len(paths), 1), step)
        seen = world.observer(
            viewpoint[:, None], heading[:, None], at, torch.ones_like(at).bool(), arrival[:, None]
        )
        memory_before: Memory | None = memory
        log_pi, memory = policy.step(seen, instructions, memory_before)
        torch.testing.assert_close(log_pi[going, 0], whole[going, step], atol=1e-5, rtol=1e-4)
        compared += int(going.sum())
        arrival = world.observer.arrivals(viewpoint, heading, c["action"][:, step])
    assert compared == int(paths.length.sum())


def test_probabilities_are_zero_where_illegal_and_sum_to_one(wider_world: World) -> None:
    torch.manual_seed(0)
    policy, paths = Policy(*SIZES, SMALL), wider_world.walks(64, seed=4)
    c, seen = columns(paths), wider_world.see(paths)
    # With dropout: masks hold while training too.
    log_pi = policy(seen, policy.instruction_encoder(c["tokens"]), c["length"])
    pi = probabilities(log_pi, seen.legal)
    assert not pi[~seen.legal].any()
    assert not log_pi[~seen.legal].any()
    assert (pi[seen.legal] > 0).all()
    torch.testing.assert_close(pi.sum(-1), torch.ones(pi.shape[:-1]), atol=1e-5, rtol=0)
    # The last action of an episode, and padding, allow STOP alone.
    assert (pi[:, MAX_STEPS - 1, 0] == 1).all()
    assert (pi[~real_steps(paths)][:, 0] == 1).all()


def test_scores_reach_the_actions_they_belong_to(world: World) -> None:
    """Only the candidate in slot k of state t may move the score of action 1 + k there."""
    torch.manual_seed(0)
    policy, paths = Policy(*SIZES, SMALL).eval(), world.walks(6, seed=5)
    c, seen = columns(paths), world.see(paths)
    codes = policy.trunk(seen, policy.instruction_encoder(c["tokens"]), c["length"])
    scores = policy.scorer(codes, seen).detach()
    for row in (0, len(seen.place) // 2, len(seen.place) - 1):
        candidates = seen.candidates.clone()
        candidates[row] += 1.0
        moved = policy.scorer(codes, seen._replace(candidates=candidates)) != scores
        assert moved.flatten().nonzero().squeeze(1).tolist() == [int(seen.place[row])]


def test_hidden_features_stay_hidden_along_a_path_and_geometry_never_is(world: World) -> None:
    torch.manual_seed(0)
    hide, seen = FeatureDropout(0.5), world.see(world.walks(40, seed=11))
    hidden = hide(seen)
    batch, steps, _ = seen.state.shape
    before = seen.state.view(batch, steps, SECTORS, DIMENSION)
    factor = hidden.state.view(batch, steps, SECTORS, DIMENSION) / before
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor))
    kept = factor[:, 0, 0]
    assert set(kept.round().unique().tolist()) == {0.0, 2.0}
    assert 0.4 < float((kept > 0).float().mean()) < 0.6
    path = seen.place // (steps * seen.legal.shape[-1])
    features = seen.candidates[:, :DIMENSION] * kept[path]
    torch.testing.assert_close(hidden.candidates[:, :DIMENSION], features)
    assert torch.equal(hidden.candidates[:, DIMENSION:], seen.candidates[:, DIMENSION:])
    assert hide.eval()(seen) is seen


def test_what_comes_later_does_not_change_earlier_probabilities(world: World) -> None:
    torch.manual_seed(0)
    answer, paths = policy_answer(), world.walks(12, seed=6)
    before = answer(world, paths)
    viewpoint, action = paths.viewpoint.copy(), paths.action.copy()
    viewpoint[:, 3:], action[:, 3:] = 0, 0
    after = answer(world, Paths(viewpoint, paths.heading, action, paths.length, paths.tokens))
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[0, 4], before[0, 4])


def test_values_started_from_a_policy_are_a_fixed_point_of_the_soft_backup(world: World) -> None:
    """f = Q = log pi and V = 0: at temperature 1 and any gamma, y = f + gamma V' is Q again, and
    the discriminator says one half."""
    torch.manual_seed(0)
    policy, critics = Policy(*SIZES, SMALL).eval(), ActionValues(DIMENSION, SMALL, heads=2).eval()
    reward = Reward(DIMENSION, SMALL, shaping=True, gamma=0.9).eval()
    paths = world.walks(24, seed=7)
    c, seen = columns(paths), world.see(paths)
    arguments = (seen, policy.instruction_encoder(c["tokens"]), c["length"])
    log_pi = policy(*arguments)
    assert not torch.allclose(critics(*arguments)[0], log_pi.expand(2, -1, -1, -1), atol=1e-2)
    critics.start_from(policy)
    reward.values.start_from(policy)

    q, _ = critics(*arguments)
    for head in q:
        assert torch.equal(head, log_pi)
    taken = log_pi.gather(-1, c["action"][..., None]).squeeze(-1)
    f = reward(*arguments, c["action"])
    assert torch.equal(f, taken)

    value = losses.soft_value(q.amin(0), log_pi, seen.legal, 1.0)
    assert value.abs().max() < 1e-6
    following = torch.cat([value[:, 1:], torch.zeros(len(paths), 1)], 1)
    done = (torch.arange(MAX_STEPS) == c["length"][:, None] - 1).float()
    target = losses.critic_target(f, following, done, gamma=0.9)
    torch.testing.assert_close(target, taken, atol=1e-6, rtol=0)
    half = losses.discriminator_logit(f, taken).sigmoid()
    assert torch.equal(half, torch.full_like(half, 0.5))


def test_a_classifier_started_from_a_policy_sees_alike_and_judges_nothing_yet(world: World) -> None:
    torch.manual_seed(0)
    policy, classifier = Policy(*SIZES, SMALL), Classifier(DIMENSION, SMALL).eval()
    classifier.start_from(policy)
    paths = world.walks(8, seed=7)
    c, seen = columns(paths), world.see(paths)
    instructions = policy.eval().instruction_encoder(c["tokens"])
    assert not classifier(seen, instructions, c["length"], c["action"]).any()
    codes = policy.trunk(seen, instructions, c["length"])
    torch.testing.assert_close(classifier.trunk(seen, instructions, c["length"]), codes)
    nn.init.normal_(classifier.scorer.query.weight)
    judged = classifier(seen, instructions, c["length"], c["action"])
    assert judged[real_steps(paths)].std() > 0, "and may tell actions apart"


def test_potential_shaping_telescopes(world: World) -> None:
    """With gamma = 1 the shaping terms of a path sum to minus the potential of its first state."""
    torch.manual_seed(0)
    reward = Reward(DIMENSION, SMALL, shaping=True, gamma=1.0).eval()
    paths = world.walks(16, seed=8)
    assert reward.potential is not None
    c, seen, real = columns(paths), world.see(paths), real_steps(paths)
    instructions = instruction_encoder()(c["tokens"])
    arguments = (seen, instructions, c["length"], c["action"])
    assert not reward.potential.weight.any(), "it starts as no shaping at all"
    unshaped = reward(*arguments)
    nn.init.normal_(reward.potential.weight)
    nn.init.normal_(reward.potential.bias)
    added = ((reward(*arguments) - unshaped) * real).sum(1)
    _, codes = reward.values(seen, instructions, c["length"])
    first = reward.potential(codes)[:, 0, 0]
    assert first.std() > 0.1
    torch.testing.assert_close(added, -first, atol=1e-5, rtol=1e-4)


def test_shaping_of_one_step_is_discounted_next_minus_own_potential(world: World) -> None:
    torch.manual_seed(0)
    reward = Reward(DIMENSION, SMALL, shaping=True, gamma=0.9).eval()
    paths = world.walks(16, seed=9)
    assert reward.potential is not None
    c, seen = columns(paths), world.see(paths)
    instructions = instruction_encoder()(c["tokens"])
    arguments = (seen, instructions, c["length"], c["action"])
    unshaped = reward(*arguments)
    nn.init.normal_(reward.potential.weight)
    added = reward(*arguments) - unshaped
    h = reward.potential(reward.values(seen, instructions, c["length"])[1])[..., 0]
    row, last = 0, int(paths.length[0]) - 1
    torch.testing.assert_close(added[row, 0], 0.9 * h[row, 1] - h[row, 0])
    torch.testing.assert_close(added[row, last], -h[row, last])  # nothing after STOP


def loss_of(name: str, world: World, paths: Paths) -> tuple[nn.Module, Callable[[], Tensor]]:
    c, seen, real = columns(paths), world.see(paths), real_steps(paths).float()
    with torch.no_grad():
        arguments = (seen, instruction_encoder()(c["tokens"]), c["length"])

    def taken(values: Tensor) -> Tensor:
        index = c["action"][..., None].expand(*values.shape[:-1], 1)
        return values.gather(-1, index).squeeze(-1)

    def followed(policy: Policy) -> Tensor:
        return policy(seen, policy.instruction_encoder(c["tokens"]), c["length"])

    if name == "policy, cloned":
        policy = Policy(*SIZES, SMALL)
        return policy, lambda: losses.cloning_loss(taken(followed(policy)), real)
    if name == "policy, reinforced":
        policy = Policy(*SIZES, SMALL)
        q = torch.randn(seen.legal.shape) * seen.legal
        return policy, lambda: losses.actor_loss(followed(policy), q, seen.legal, 1.0, real)
    if name == "critics":
        critics = ActionValues(DIMENSION, SMALL, heads=2)
        target = torch.randn(real.shape)
        return critics, lambda: losses.critic_loss(taken(critics(*arguments)[0]), target, real)
    if name == "reward":
        reward = Reward(DIMENSION, SMALL, shaping=True, gamma=0.9)
        share = (torch.arange(len(paths)) % 2)[:, None] * real
        return reward, lambda: losses.discriminator_loss(
            reward(*arguments, c["action"]) + 1.0, share, real - share, 0.0
        )
    if name == "classifier":
        classifier = Classifier(DIMENSION, SMALL)
        half = (torch.arange(len(paths)) % 2)[:, None] * real
        return classifier, lambda: losses.discriminator_loss(
            classifier(*arguments, c["action"]), half, real - half, 0.0
        )
    generator = GoalGenerator(*SIZES, SMALL_GENERATOR)

    def evidence() -> Tensor:
        loss = generator.loss(seen, c["action"], c["length"], c["tokens"])
        return loss.reconstruction + loss.kl.sum()

    return generator, evidence


@pytest.mark.parametrize(
    "name", ["policy, cloned", "policy, reinforced", "critics", "reward", "classifier", "generator"]
)
def test_an_update_changes_every_parameter(world: World, name: str) -> None:
    torch.manual_seed(0)
    network, loss = loss_of(name, world, world.walks(32, seed=10))
    network.train()
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(2):  # what starts at zero passes no gradient on before it has moved
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    for key, value in network.named_parameters():
        assert torch.isfinite(value).all(), key
        assert not torch.equal(value, before[key]), f"{key} did not change"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hidden": 15}, "network.hidden must be even, got 15"),
        ({"word": 0}, "network.word must be at least 1, got 0"),
        ({"dropout": 1.0}, "1.0"),
        ({"dropout": -0.1}, "-0.1"),
        ({"feature_dropout": 1.0}, "network.feature_dropout"),
    ],
)
def test_network_sizes_out_of_range_are_named(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NetworkConfig(**wrong)  # type: ignore[arg-type]
