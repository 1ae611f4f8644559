"""The variational goal generator p(G | tau) with latent z: instructions from paths.

Encoder q(z | tau, G), prior N(0, I), decoder p(G | tau, z) with attention over the steps of tau
(the paper names the parts; prior, decoder and sizes are designed here). Two ways to sample:

- `paraphrase`: z from q(z | tau, G), another wording of an instruction that fits the path already;
- `free`: z from N(0, I), an instruction for a path that has none.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.goals.config import GeneratorConfig
from rayforge.language.encoder import (
    Attention,
    BothWays,
    Dropout,
    InstructionEncoder,
    like_lengths,
)
from rayforge.language.vocabulary import BEGIN, END, PAD, UNKNOWN
from rayforge.paths.observation import GEOMETRY, SECTORS, FeatureDropout, Observation


class GeneratorLoss(NamedTuple):
    """Nats an instruction, mean over the batch; `words` counts the words predicted (END
    included)."""

    reconstruction: Tensor
    kl: Tensor  # [Z], by dimension of the latent
    words: Tensor


class Latent(NamedTuple):
    """q(z | tau, G) = N(mean, diag exp(log_variance)), [B, Z] each."""

    mean: Tensor
    log_variance: Tensor


class GoalGenerator(nn.Module):
    """p(G | tau): paths as `Observation`s with the actions taken in, instructions out."""

    def __init__(
        self,
        vocabulary: int,
        dimension: int,
        config: GeneratorConfig,
        image_encoder: nn.Module | None = None,
    ) -> None:
        """`image_encoder` encodes images, where there are any: its own, since it is trained before
        others."""
        super().__init__()
        self.config = config
        self.image_encoder = image_encoder
        hidden = config.hidden
        self.dropout = Dropout(config.dropout)
        self.hide = FeatureDropout(config.feature_dropout)
        self.look = nn.Linear(SECTORS * dimension + GEOMETRY, hidden)
        self.choose = nn.Linear(dimension + GEOMETRY, hidden)
        self.steps = BothWays(2 * hidden, hidden)
        self.reader = InstructionEncoder(vocabulary, config.word, hidden, config.dropout)
        self.read = nn.Linear(3 * hidden, hidden)
        self.posterior = nn.Linear(hidden, 2 * config.latent)
        self.embedding = nn.Embedding(vocabulary, config.word, padding_idx=PAD)
        self.begin = nn.Linear(hidden + config.latent, 2 * hidden)
        self.write = nn.LSTM(config.word + config.latent, hidden, batch_first=True)
        self.attend = Attention(hidden, hidden)
        self.compose = nn.LSTM(2 * hidden, hidden, batch_first=True)
        self.attend_again = Attention(hidden, hidden)
        self.project = nn.Linear(2 * hidden, config.word)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def encode_path(
        self, seen: Observation, action: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Codes [B, T, H] of the steps of paths (what was seen and which way was chosen), and
        which steps are real, bool [B, T]."""
        seen = self.hide(seen)
        batch, steps, actions = seen.legal.shape
        # Position of each chosen candidate among the compact candidates.
        position = torch.zeros(batch * steps * actions, dtype=torch.int64, device=action.device)
        position[seen.place] = torch.arange(len(seen.place), device=action.device)
        flat = torch.arange(batch * steps, device=action.device) * actions + action.flatten()
        chosen = seen.candidates[position[flat]].view(batch, steps, -1)
        look = self.look(torch.cat([seen.state, seen.arrival], -1)).relu()
        inputs = torch.cat([look, self.choose(chosen).relu()], -1)
        path = self.dropout(self.steps(self.dropout(inputs), length))
        return path, torch.arange(steps, device=path.device) < length[:, None]

    def encode_instruction(self, path: Tensor, real: Tensor, tokens: Tensor) -> Latent:
        """q(z | tau, G); path codes [B, T, H], `real` bool [B, T], tokens [B, N].

        The mean of the words' codes says what an instruction is like, their maximum what it holds.
        """
        words = self.reader(tokens)
        mask = words.mask[..., None]
        mean = (words.codes * mask).sum(1) / mask.sum(1)
        most = words.codes.masked_fill(~mask, -torch.inf).amax(1)
        read = self.read(torch.cat([_mean(path, real), mean, most], -1)).tanh()
        return Latent(*self.posterior(read).chunk(2, -1))

    def loss(
        self, seen: Observation, action: Tensor, length: Tensor, tokens: Tensor
    ) -> GeneratorLoss:
        """The two terms of the evidence bound for pairs of paths and instructions."""
        path, real = self.encode_path(seen, action, length)
        latent = self.encode_instruction(path, real, tokens)
        z = latent.mean
        if self.training:
            z = z + (0.5 * latent.log_variance).exp() * torch.randn_like(z)
        nats = self._nats(path, real, tokens, z)
        return GeneratorLoss(
            nats.mean(), unit_kl(*latent).mean(0), (tokens != PAD).sum() / len(tokens)
        )

    @torch.no_grad()
    def log_likelihood(self, path: Tensor, real: Tensor, tokens: Tensor) -> Tensor:
        """log p(G | tau, z = 0), nats [B], of encoded paths: how well a path alone accounts for an
        instruction.

        At the prior's mean, because the posterior has read the instruction and would say for a
        wrong path what that path lacks.
        """
        return -self._nats(path, real, tokens, path.new_zeros(len(path), self.config.latent))

    @torch.no_grad()
    def log_evidence(
        self, seen: Observation, action: Tensor, length: Tensor, tokens: Tensor, samples: int,
        random: torch.Generator,
    ) -> tuple[Tensor, Latent]:  # fmt: skip
        """log p(G | tau), nats [B], by importance sampling from q(z | tau, G), and that posterior.

        log 1/S sum_s p(G | tau, z_s) p(z_s) / q(z_s | tau, G): a lower bound in expectation that
        `samples` tighten (Burda, Grosse & Salakhutdinov 2016).
        """
        self.eval()
        path, real = self.encode_path(seen, action, length)
        latent = self.encode_instruction(path, real, tokens)
        weights = []
        for _ in range(samples):
            noise = torch.randn(latent.mean.shape, generator=random).to(path.device)
            z = latent.mean + (0.5 * latent.log_variance).exp() * noise
            prior = -0.5 * z.square().sum(-1)  # both up to the same constant
            posterior = -0.5 * (noise.square() + latent.log_variance).sum(-1)
            weights.append(prior - posterior - self._nats(path, real, tokens, z))
        return torch.stack(weights).logsumexp(0) - math.log(samples), latent

    def _nats(self, path: Tensor, real: Tensor, tokens: Tensor, z: Tensor) -> Tensor:
        """- log p(G | tau, z) [B]; while training, words that the decoder is fed are hidden.

        Instructions are decoded together with those of like length: half of a batch is padding.
        """
        lengths = (tokens != PAD).sum(1).clamp(min=1)
        tokens = tokens[:, : int(lengths.max())]
        inputs = torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens[:, :-1]], 1)
        if self.training:
            hidden = torch.rand(inputs.shape, device=inputs.device) < self.config.word_dropout
            inputs = torch.where(hidden & (inputs > END), UNKNOWN, inputs)
        order = lengths.argsort()
        sizes, ends = like_lengths(lengths[order], tokens.shape[1])
        columns = (
            part.index_select(0, order).split(sizes) for part in (tokens, inputs, z, path, real)
        )
        nats = []
        for end, words, fed, latent, codes, steps in zip(ends, *columns, strict=True):
            logits, _ = self._decode(fed[:, :end], latent, codes, steps, None)
            words = words[:, :end]
            told = F.cross_entropy(
                logits.flatten(0, 1), words.flatten(), ignore_index=PAD, reduction="none"
            )
            nats.append(told.view(words.shape).sum(1))
        return torch.cat(nats).index_select(0, order.argsort())

    @torch.no_grad()
    def sample(
        self,
        seen: Observation,
        action: Tensor,
        length: Tensor,
        limit: int,
        random: torch.Generator,
        rephrase: Tensor | None = None,
        candidates: int = 1,
    ) -> Tensor:
        """Instructions int64 [B * candidates, limit] for paths, those of one path side by side:
        rephrased from tokens `rephrase` [B, N], or free.

        Every random number comes from `random`, so that the same paths in the same batch get the
        same instructions wherever they are labelled.
        """
        self.eval()
        path, real = self.encode_path(seen, action, length)
        latent = None if rephrase is None else self.encode_instruction(path, real, rephrase)
        path, real = (part.repeat_interleave(candidates, 0) for part in (path, real))
        count = len(path)
        z = torch.randn(count, self.config.latent, generator=random).to(path.device)
        if latent is not None:
            mean, log_variance = (part.repeat_interleave(candidates, 0) for part in latent)
            z = mean + (0.5 * log_variance).exp() * z
        word = torch.full((count, 1), BEGIN, device=path.device)
        written = torch.full((count, limit), PAD, device=path.device)
        rows = torch.arange(count, device=path.device)  # the instructions that go on
        memory = None
        for position in range(limit):
            logits, memory = self._decode(word, z, path, real, memory)
            logits[..., [PAD, UNKNOWN, BEGIN]] = -torch.inf
            draw = torch.rand(count, generator=random).to(path.device)[rows]
            chosen = _nucleus(logits[:, 0].softmax(-1), self.config.top_p, draw)
            chosen = chosen if position < limit - 1 else torch.full_like(chosen, END)
            written[rows, position] = chosen
            going = (chosen != END).nonzero().squeeze(1)
            if not len(going):
                break
            if len(going) < len(rows):
                rows, z, path, real, chosen = (
                    part.index_select(0, going) for part in (rows, z, path, real, chosen)
                )
                memory = tuple(
                    tuple(state.index_select(1, going) for state in pair) for pair in memory
                )
            word = chosen[:, None]
        return written

    def _decode(
        self, words: Tensor, z: Tensor, path: Tensor, real: Tensor, memory: tuple[Any, ...] | None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Logits [B, N, vocabulary] of the next words and the recurrences' states."""
        if memory is None:
            start = self.begin(torch.cat([_mean(path, real), z], -1)).tanh().chunk(2, -1)
            first, second = (
                (state[None].contiguous(), torch.zeros_like(state)[None]) for state in start
            )
        else:
            first, second = memory
        latent = z[:, None].expand(-1, words.shape[1], -1)
        inputs = torch.cat([self.dropout(self.embedding(words)), latent], -1)
        written, first = self.write(inputs, first)
        written = self.dropout(written)
        context = self.attend(written, path, real)
        composed, second = self.compose(torch.cat([written, context], -1), second)
        composed = self.dropout(composed)
        context = self.attend_again(composed, path, real)
        features = self.dropout(self.project(torch.cat([composed, context], -1)).tanh())
        return F.linear(features, self.embedding.weight, self.bias), (first, second)


def unit_kl(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)) = 1/2 (mu^2 + sigma^2 - 1 - log sigma^2), nats, any shape."""
    return 0.5 * (mu.square() + log_variance.exp() - 1.0 - log_variance)


def free_bits(kl: Tensor, free: float) -> Tensor:
    """sum_j max(kl_j, free / Z), nats: what a KL [Z] is charged as (Kingma et al. 2016).

    Below its share a dimension costs a constant, so that nothing pushes it into saying nothing.
    """
    return kl.clamp(min=free / len(kl)).sum()


def _mean(path: Tensor, real: Tensor) -> Tensor:
    return (path * real[..., None]).sum(1) / real.sum(1, keepdim=True)


def _nucleus(probabilities: Tensor, top_p: float, draw: Tensor) -> Tensor:
    """Word numbers [B] drawn by inverse distribution from the top-p set of [B, vocabulary].

    Looked for among the 64 likeliest words: a full sort would cost more than the networks do.
    """
    ordered, words = probabilities.topk(min(64, probabilities.shape[1]), -1)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered * (before < top_p)
    ordered[:, 0] = ordered[:, 0].clamp(min=1e-12)  # greedy where top_p is 0
    cumulative = ordered.cumsum(-1)
    place = (cumulative < draw[:, None] * cumulative[:, -1:]).sum(-1)
    return words.gather(1, place.clamp(max=words.shape[1] - 1)[:, None]).squeeze(1)
