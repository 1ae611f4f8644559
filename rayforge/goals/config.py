"""The goal generator's settings (kept apart from it: reading them needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rayforge.settings import SHARE, Above, AtLeast, Within, check_limits


@dataclass(frozen=True)
class GeneratorConfig:
    """The goal generator and its training."""

    word: Annotated[int, AtLeast(1)] = 128
    """Size of word vectors."""
    hidden: Annotated[int, AtLeast(1)] = 256
    """Size of the recurrent states."""
    latent: Annotated[int, AtLeast(1)] = 16
    """Size of the latent z."""
    dropout: Annotated[float, Within(0, 1, "[)")] = 0.3
    """Share of activations dropped while training."""
    feature_dropout: Annotated[float, Within(0, 1, "[)")] = 0.3
    """Share of what is seen that is hidden while training, the same features along a path."""
    word_dropout: Annotated[float, SHARE] = 0.25
    """Share of the decoder's input words hidden while training, so that it needs z and the path."""
    updates: Annotated[int, AtLeast(0)] = 1600
    """Updates of its training, before anything else is trained."""
    batch: Annotated[int, AtLeast(1)] = 64
    """Pairs of path and instruction an update."""
    learning_rate: Annotated[float, Above(0)] = 2e-3
    """Adam's step size at the start; falls to a tenth along a cosine."""
    kl_weight: Annotated[float, AtLeast(0)] = 0.2
    """Weight of the KL term at the end of its ramp (1 is the evidence bound; less carries more)."""
    kl_ramp: Annotated[float, SHARE] = 0.5
    """Share of the updates over which that weight rises from 0."""
    free_nats: Annotated[float, AtLeast(0)] = 8.0
    """Nats of the latent that cost nothing, shared evenly by its dimensions (free bits)."""
    top_p: Annotated[float, SHARE] = 0.9
    """Words are sampled from the smallest set that holds this much probability; 0 is greedy."""
    candidates: Annotated[int, AtLeast(1)] = 1
    """Instructions written for a path, of which the one is taken that follower and generator agree
    on most; 1 judges none (`benchmarks.goal_generator` tries others)."""
    agreement: Annotated[float, SHARE] = 0.0
    """Least probability an action (geometric mean) that the policy has to give a path under an
    instruction made for it, or the instruction is rejected; 0 rejects none."""
    others: Annotated[int, AtLeast(0)] = 3
    """Other ways from the same start that the generator has to find less likely under the
    instruction, or it is rejected (navigation graphs)."""

    def __post_init__(self) -> None:
        check_limits(self, "generator.")
        if self.hidden % 2:
            raise ValueError(f"generator.hidden must be even, got {self.hidden}")

    @property
    def judged(self) -> bool:
        """Whether instructions are scored before they are used."""
        return self.candidates > 1 or self.agreement > 0.0
