"""Circuits against what is known of them: kernel, links, layers, priors, permutations, cuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rayforge.circuits.attention import Wiring, attend, attend_over, in_blocks
from rayforge.circuits.circuit import Circuit, Tokens
from rayforge.circuits.config import CircuitConfig
from rayforge.circuits.generator import Design, Generator, weight_decay_groups
from rayforge.circuits.modules import ModFC, Propagator, ReadIn
from rayforge.circuits.priors import match, prior_loss, target
from rayforge.circuits.wiring import (
    distance,
    kernel,
    links_between,
    reach,
    relaxed_bernoulli,
    truncated,
)

SMALL = CircuitConfig(modules=6, outputs=2, layers=2, heads=2, code=4, signature=4)
SIZE, INPUTS, INNER = 8, 5, 6
PRIORS = ("planted-partition", "ring-of-cliques", "scale-free", "small-world", "erdos-renyi")


def made(config: CircuitConfig = SMALL, seed: int = 0) -> tuple[Circuit, Generator]:
    torch.manual_seed(seed)
    circuit = Circuit(config, SIZE, INPUTS, INNER).double()
    for layer in (*circuit.layers, circuit.read_out):
        torch.nn.init.normal_(layer.scale)
    return circuit, Generator(config, SIZE).double()


def tokens_of(batch: int = 2, steps: int = 3, seed: int = 1) -> Tokens:
    torch.manual_seed(seed)
    near = torch.randn(batch, steps, 4, INPUTS).double()
    mask = torch.rand(batch, steps, 4) > 0.4
    mask[..., 0] = True
    far_mask = torch.ones(batch, 3, dtype=torch.bool)
    far_mask[0, 2] = False
    return Tokens(near, mask, torch.randn(batch, 3, INPUTS).double(), far_mask)


def test_the_kernel_of_equal_orthogonal_and_opposite_signatures() -> None:
    here = torch.tensor([[2.0, 0.0]])
    there = torch.tensor([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    found = kernel(distance(here, there))[0]
    torch.testing.assert_close(found, torch.tensor([1.0, 0.36788, 0.13534]), atol=1e-5, rtol=0)


def test_with_equal_signatures_a_layer_is_ordinary_attention() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 6, 2, 4).double() for _ in range(3))
    same = torch.ones(1, 6, 5).double()
    links, _ = links_between(same[:, :, :4], same[:, :, :4], "mean", 0.9, 0.5)
    ordinary = torch.nn.functional.scaled_dot_product_attention(
        *(part.transpose(2, 3) for part in (query, key, value))
    ).transpose(2, 3)
    torch.testing.assert_close(attend(query, key, value, links), ordinary)


def jacobian_of_layers(links: Tensor) -> Tensor:
    """d out_u / d x_v of three propagators, summed over the numbers of a state, [U, U]."""
    torch.manual_seed(0)
    layers = [Propagator(4, SIZE, 2, INNER).double() for _ in range(3)]
    code = torch.randn(1, 6, 4).double()

    def run(states: Tensor) -> Tensor:
        states = states[None, None]
        for layer in layers:
            states = layer(states, code, states, code, Wiring(links))
        return states[0, 0]

    found = torch.autograd.functional.jacobian(run, torch.randn(6, SIZE).double())
    return found.abs().sum((1, 3))


def test_what_the_wiring_cuts_does_not_get_through_at_any_depth() -> None:
    alone = jacobian_of_layers(torch.eye(6)[None].double())
    assert (alone[~torch.eye(6, dtype=torch.bool)] == 0).all()
    assert (alone.diagonal() > 0).all()
    cluster = torch.tensor([0, 0, 0, 1, 1, 1])
    same = cluster[:, None] == cluster
    two = jacobian_of_layers(same[None].double())
    assert (two[~same] == 0).all() and (two[same] > 0).all()


def test_a_link_of_zero_lets_nothing_through_whatever_its_score() -> None:
    query = torch.full((1, 1, 1, 1, 1), 400.0)
    key = torch.tensor([0.0, 9.0, -1.0]).view(1, 1, 3, 1, 1)
    value = torch.tensor([1.0, 5.0, 2.0]).view(1, 1, 3, 1, 1)
    found = attend(query, key, value, torch.tensor([[[1.0, 0.0, 0.5]]]))
    assert float(found) == 1.0


def test_without_a_code_a_modulated_layer_is_a_plain_one() -> None:
    torch.manual_seed(0)
    layer, x = ModFC(3, 4, 5), torch.randn(2, 1, 6, 4)
    code = torch.randn(1, 6, 3)
    code[0, 1] = code[0, 0]
    x[:, :, 1] = x[:, :, 0]
    found = layer(x, code)
    torch.testing.assert_close(found[:, :, 0], found[:, :, 1])
    assert not torch.allclose(found, layer.linear(x))
    torch.nn.init.zeros_(layer.read.weight)
    torch.testing.assert_close(layer(x, code), layer.linear(x))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_a_drawn_link_is_above_one_half_as_often_as_it_is_likely(temperature: float) -> None:
    torch.manual_seed(0)
    for p in (0.3, 0.9):
        draws = relaxed_bernoulli(torch.tensor(p), temperature, torch.Size([100_000]))
        assert abs(float((draws > 0.5).float().mean()) - p) < 0.006
        assert ((draws >= 0) & (draws <= 1)).all()


def test_a_planted_partition_of_ten_clusters_has_the_density_of_the_article() -> None:
    assert target("planted-partition", 320).mean() == pytest.approx(0.135)


@pytest.mark.parametrize("modules", [7, 16, 40])
def test_a_shuffled_partition_is_found_again(modules: int) -> None:
    goal = target("planted-partition", modules)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(modules)
        links = torch.from_numpy(goal[order][:, order])[None]
        assert float(prior_loss(links, torch.from_numpy(goal))) == 0.0
    # And what is nothing like it is far from it.
    assert float(prior_loss(torch.rand(1, modules, modules), torch.from_numpy(goal))) > 0.05


@pytest.mark.parametrize("prior", PRIORS)
def test_priors_are_symmetric_probabilities_and_matching_is_no_worse_than_none(prior: str) -> None:
    goal = target(prior, 12)  # type: ignore[arg-type]
    assert (goal == goal.T).all() and goal.min() >= 0 and goal.max() <= 1
    rng = np.random.default_rng(0)
    links = rng.random((12, 12))
    order = match(links, goal)
    assert sorted(order) == list(range(12))
    assert ((links - goal[np.ix_(order, order)]) ** 2).sum() <= ((links - goal) ** 2).sum()


def test_the_prior_draws_the_wiring_towards_it() -> None:
    circuit, generator = made(replace(SMALL, modules=9, prior_weight=1.0))
    optimizer = torch.optim.Adam([generator.signature], lr=0.05)
    losses = []
    for _ in range(80):
        loss = circuit.prior_loss(generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_order_of_modules_says_nothing() -> None:
    circuit, generator = made()
    circuit.eval()
    design, tokens = generator(), tokens_of()
    order = torch.cat([torch.randperm(SMALL.modules), SMALL.modules + torch.arange(2)])
    shuffled = Design(*(part[:, order] for part in design))
    torch.testing.assert_close(circuit(shuffled, tokens), circuit(design, tokens))


def test_modules_without_a_way_to_an_output_change_nothing() -> None:
    circuit, generator = made()
    circuit.eval()
    signature = torch.zeros(1, 8, 4).double()
    signature[0, :3] = torch.randn(3, 4).double().abs()
    signature[0, 3:6] = -torch.randn(3, 4).double().abs()  # further than 0.9 from all others
    signature[0, 6:] = torch.randn(2, 4).double().abs()
    design, tokens = generator()._replace(signature=signature), tokens_of()
    among, reading = circuit.links(design, 1)
    ways = reach(among[0], reading[0], SMALL.layers)
    assert (ways[:3] > 0).all() and (ways[3:] == 0).all()
    kept = torch.tensor([0, 1, 2, 6, 7])
    fewer, _ = made(replace(SMALL, modules=3))
    fewer.load_state_dict(circuit.state_dict())
    smaller = Design(*(part[:, kept] for part in design))
    torch.testing.assert_close(fewer.eval()(smaller, tokens), circuit(design, tokens))


def test_gradients_of_a_small_circuit() -> None:
    config = replace(SMALL, modules=3, outputs=1, layers=1, truncate=2.0, sampled=False)
    circuit, generator = made(config)
    tokens = tokens_of(1, 2)
    design = generator()

    def run(signature: Tensor, code: Tensor, state: Tensor, near: Tensor) -> Tensor:
        return circuit(Design(signature, code, state), tokens._replace(near=near))

    given = [part.detach().requires_grad_() for part in (*design, tokens.near)]
    assert torch.autograd.gradcheck(run, given)


def test_a_cut_link_keeps_its_gradient() -> None:
    distances = torch.tensor([[0.5, 1.2]], requires_grad=True)
    links = truncated(kernel(distances), distances, 0.9)
    assert links[0, 1] == 0 and links[0, 0] > 0
    links.sum().backward()
    torch.testing.assert_close(distances.grad, -kernel(distances.detach()))


@pytest.mark.parametrize("how", ["mean", "sampled", "threshold"])
def test_every_receiver_hears_somebody(how: str) -> None:
    torch.manual_seed(0)
    far = torch.tensor([[[1.0, 0.0], [0.9, 0.1]]])
    links, probability = links_between(-far, far, how, 0.5, 0.5, 3)  # type: ignore[arg-type]
    assert (links > 0).any(-1).all()
    assert (probability == 0).all()
    assert len(links) == (3 if how == "sampled" else 1)


def test_keys_of_every_pair_and_the_cheap_form_of_them_are_equal() -> None:
    torch.manual_seed(0)
    read, tokens = ReadIn(4, SIZE, INPUTS, 2).double(), tokens_of()
    states, code = torch.randn(2, 3, 6, SIZE).double(), torch.randn(2, 6, 4).double()
    query = read.query(read.before(states), code).unflatten(-1, (2, -1))
    inputs = torch.cat([tokens.near, tokens.far[:, None].expand(-1, 3, -1, -1)], 2)
    mask = torch.cat([tokens.near_mask, tokens.far_mask[:, None].expand(-1, 3, -1)], 2)
    pairs = read.tokens(inputs)[:, :, None]  # [B, T, 1, V, I]
    key = read.key.linear(pairs * read.key.modulation(code)[:, None, :, None])
    value = read.value.linear(pairs * read.value.modulation(code)[:, None, :, None])
    key, value = (part.unflatten(-1, (2, -1)) for part in (key, value))
    scores = torch.einsum("btuhe,btuvhe->btuhv", query, key) / (SIZE // 2) ** 0.5
    shares = scores.masked_fill(~mask[:, :, None, None], -torch.inf).softmax(-1)
    plain = states + read.out(torch.einsum("btuhv,btuvhe->btuhe", shares, value).flatten(-2), code)
    torch.testing.assert_close(read(states, code, *tokens), plain)


def test_attention_over_kept_links_alone_is_attention_over_all() -> None:
    torch.manual_seed(0)
    cluster = torch.arange(48)[torch.randperm(48)] % 4
    links = (cluster[:, None] == cluster).double()[None] * (0.2 + torch.rand(48, 48)).double()
    wiring = in_blocks(links)
    assert wiring.blocks is not None
    assert sum(len(b.receivers) * len(b.senders) for b in wiring.blocks) <= 48 * 48 / 2
    parts = [torch.randn(2, 3, 48, 2, 4).double() for _ in range(3)]
    torch.testing.assert_close(attend_over(*parts, wiring), attend(*parts, links))
    assert in_blocks(torch.ones(1, 48, 48)).blocks is None


def test_another_condition_makes_another_wiring_and_drawn_links_differ_by_sample() -> None:
    torch.manual_seed(0)
    generator = Generator(SMALL, SIZE, condition=5)
    circuit = Circuit(SMALL, SIZE, INPUTS, INNER)
    words, mask = torch.randn(2, 4, 5) * 3, torch.ones(2, 4, dtype=torch.bool)
    design = generator(words, mask)
    among, _ = circuit.eval().links(design, 2)
    assert among.shape == (2, 6, 6) and not torch.allclose(among[0], among[1])
    # Words that do not count change nothing.
    mask[0, 3] = False
    before = generator(words, mask)
    words[0, 3] += 1
    torch.testing.assert_close(generator(words, mask).signature, before.signature)
    plain = Generator(SMALL, SIZE)
    drawn, _ = circuit.train().links(plain(), 3)
    assert drawn.shape == (3, 6, 6) and not torch.allclose(drawn[0], drawn[1])
    with pytest.raises(ValueError, match="needs the tokens"):
        generator()


def test_signatures_take_no_weight_decay() -> None:
    circuit, generator = made()
    network = torch.nn.ModuleList([circuit, generator])
    decayed, free = weight_decay_groups(network, 0.05)
    assert decayed["weight_decay"] == 0.05 and free["weight_decay"] == 0.0
    free_ids = {id(p) for p in free["params"]}  # type: ignore[attr-defined]
    assert {id(generator.signature), id(generator.code), id(generator.state)} <= free_ids
    both = [*decayed["params"], *free["params"]]  # type: ignore[misc]
    assert {id(p) for p in both} == {id(p) for p in network.parameters()}
