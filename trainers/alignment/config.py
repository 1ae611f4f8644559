"""The one configuration of `rayforge align train`: command line, YAML file and search space."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, NamedTuple

from envs.houses.route_task import RouteTaskConfig
from rayforge.alignment.cue import Feature
from rayforge.alignment.selection import Rule
from rayforge.language.tiny_model import TinyModelConfig
from rayforge.settings import (
    FOLDER,
    MAIN,
    MAY_CHANGE,
    MAY_GROW,
    NOT_LEARNT,
    RESOURCE,
    SHARE,
    UNDER_WAY,
    Above,
    AtLeast,
    Heading,
    Within,
    check_limits,
)
from trainers.alignment.named_code import recorded
from trainers.alignment.sft import StartConfig
from trainers.runs.tracking import Tracker

Method = Literal["sera", "dpo", "iterative", "random", "curriculum", "acting"]
Loss = Literal["sigmoid", "robust", "hinge", "ipo", "slic", "simpo"]
Labels = Literal["smooth", "turn", "drop", "keep", "oracle"]
SCORES = ("implicit", "per_token", "probability", "agreement", "judge")
"""What ranks responses without anything from outside."""


STEP_SIZES = {
    "model made here": 1.5e-4,
    "LoRA adapter": 1e-4,
    "pretrained model, all weights": 5e-6,
}
"""Learning rates that train within a hundred steps, by kind of model [design]."""


class TRLLoss(NamedTuple):
    """A loss in the terms of TRL's DPOConfig."""

    types: tuple[str, ...]
    weights: tuple[float, ...]
    beta: float


@dataclass(frozen=True)
class AlignConfig:
    """SeRA and the baselines it is compared with; all take the same number of optimiser steps."""

    data: Annotated[str, FOLDER, MAIN, Heading("Data and model")] = "routes"
    """"routes" (generated houses, judged by execution), a file or folder of preference pairs
    (JSONL, gzipped too, Parquet, `datasets`; TRL's, HH-RLHF's or UltraFeedback's format), or a hub
    name."""
    evaluation: Annotated[str, FOLDER] = ""
    """Held-out pairs, as `data`; empty: a tenth of the data, chosen by the prompts."""
    model: Annotated[str, FOLDER, MAIN] = "tiny"
    """A model folder or hub name; "tiny": a small Llama-type model made from the data and
    fine-tuned on the chosen side first; "smollm2": a pretrained one of 135 million parameters, from
    an optional package (extras/pretrained)."""

    routes: RouteTaskConfig = field(default_factory=RouteTaskConfig)
    """The generated task, where data is "routes"."""
    tiny: TinyModelConfig = field(default_factory=TinyModelConfig)
    """Size of the model, where model is "tiny"."""
    start: StartConfig = field(default_factory=StartConfig)
    """How the tiny model is fine-tuned before round 1; made once and kept."""

    method: Annotated[Method | None, MAIN, Heading("Method")] = None
    """"sera": the article's rule; "dpo": one long run of as many steps; "iterative": rounds without
    selection; "random": SeRA's sizes, chosen at random; "curriculum": all pairs, largest margin
    first; "acting": an outside `score` reviews all pairs, in every round (see `labels`, `decided`
    and `balance`). Left out: "acting" where `score` names something from outside, else "dpo", which
    no review without such a score has beaten."""
    rounds: Annotated[int, MAIN, MAY_GROW, AtLeast(1)] = 3
    """Rounds; the first is plain DPO on all pairs. A run that goes on may be given more."""
    steps: Annotated[int, MAIN, AtLeast(1)] = 32
    """Optimiser steps a round."""
    batch: Annotated[int, MAIN, AtLeast(1)] = 32
    """Pairs a step, all workers and accumulated gradients together."""
    accumulate: Annotated[int, AtLeast(1)] = 1
    """Parts that a worker's share of a batch is computed in."""
    reference: Literal["initial", "previous"] = "initial"
    """The reference model of a round: the model training began with, or the previous round's."""

    loss: Annotated[Loss, MAIN, Heading("Loss")] = "sigmoid"
    """"sigmoid" is DPO's; "hinge" TRL's; "slic" the true SLiC-HF, without reference; "simpo"
    without reference, per token."""
    beta: Annotated[float, MAIN, UNDER_WAY, Above(0)] = 0.1
    """How far the policy may leave the reference: low is far. For "ipo" it is tau, for "simpo" the
    reward's scale; "slic" does not use it."""
    label_smoothing: Annotated[float, UNDER_WAY, Within(0, 0.5, "[)")] = 0.1
    """Share of labels the loss "robust" takes for flipped; no other loss uses it."""
    simpo_margin: Annotated[float, AtLeast(0)] = 0.5
    """Target margin of "simpo"."""
    slic_margin: Annotated[float, Above(0)] = 1.0
    """Margin delta of "slic", in nats."""
    anchor: Annotated[float, UNDER_WAY, AtLeast(0)] = 0.0
    """Weight of the chosen side's negative log-likelihood per token, added to any loss."""

    rule: Annotated[Rule, Heading("Selection")] = "top"
    """Which pairs a round keeps, by their margin under the ensembled implicit reward."""
    keep: Annotated[float, MAIN, UNDER_WAY, Within(0, 1, "(]")] = 0.7
    """Share of the given pairs that is kept ("band": of the middle)."""
    keep_generated: Annotated[float, UNDER_WAY, Within(0, 1, "(]")] = 0.5
    """Share of the generated pairs that is kept."""
    threshold: Annotated[float, UNDER_WAY] = 0.0
    """Least margin, in nats, where the rule is "threshold"; the target margin where it is "gap".
    Generated pairs are measured in the unit of `score`."""
    length_control: bool = False
    """Select by margins from which the effect of length is taken off: a line through all margins
    over the sides' differences in tokens."""
    length_head: bool = False
    """Select by margins corrected by an explicit head for the length, fitted to the log-
    probabilities of policy and reference: m + b g (docs/analyses/parity.md)."""
    ensemble: Annotated[float, UNDER_WAY, SHARE] = 0.3
    """Weight gamma of the round before the last one; 0 uses the last checkpoint alone."""
    ensemble_rounds: Literal["two", "all"] = "two"
    """"two": (1 - gamma) of the last round's reward and gamma of the one before; "all": every
    earlier round's, each gamma times the weight of the next one."""

    cross_fit: bool = False
    """Judge each given pair by a model that was not trained on it: before pairs are first selected,
    two models are trained on half of them each, and each judges the other half, in all rounds. In
    the place of the ensemble; costs as many steps as a round."""

    generated_share: Annotated[
        tuple[float, ...] | None, MAIN, Within(0, 1, "[)"), Heading("Own pairs")
    ] = None
    """Share of generated pairs in the training set of each round; the last holds for the rest. Left
    out, 0, 0.3, 0.5; of "acting" 0.5 in every round."""
    score: Annotated[str, MAIN] = "implicit"
    """What ranks a prompt's own responses: "implicit" reward, that "per_token", the policy's own
    "probability" per token, "agreement" (the implicit reward, where the probability orders the pair
    alike), "judge" (the true judge: an upper bound, not a method). Or from outside:
    "follower:RUN[,RUN...]", agents of `rayforge irl train` that act on what the model says (data
    routes), a reward model's folder, or a Python function MODULE:FUNCTION."""
    winner: Literal["own", "given"] = "own"
    """Against the worst own response of a prompt stands the best "own" one, or the "given" chosen
    side, where the round keeps that pair."""
    gate: Annotated[float, UNDER_WAY, SHARE] = 0.0
    """Least accuracy of the score against the judge on the policy's own pairs; below it a round
    uses no generated pairs. 0 never closes."""
    prompts: Annotated[int, AtLeast(1)] = 512
    """Prompts a round answers, at most."""
    responses: int | None = None
    """Responses sampled a prompt (K). Left out, 4; of "acting" 8."""
    temperature: Annotated[float, UNDER_WAY, AtLeast(0)] = 0.7
    """Temperature of sampling: the higher, the less alike responses to a prompt are."""
    top_p: Annotated[float, UNDER_WAY, Within(0, 1, "(]")] = 1.0
    """Tokens are drawn from the likeliest that together have this probability."""
    max_new_tokens: Annotated[int, AtLeast(1)] = 128
    """Longest response that is sampled; what is cut there is not used."""
    max_tokens: Annotated[int, AtLeast(2)] = 1024
    """Longest prompt with response; longer pairs are left out and counted."""
    generator: Literal["transformers", "vllm"] = "transformers"
    """What answers prompts; "vllm" is an extra (`pip install 'rayforge[vllm]'`), whose engines are
    actors of their own beside those that score."""

    labels: Annotated[Labels, MAIN, Heading("Review by acting")] = "smooth"
    """Method "acting": what becomes of given labels by the probability r that each is flipped.
    "smooth": the loss takes the label with 1 - r and the other one with r; "turn": sides change
    places where r is above a half; "drop": such pairs are left out; "keep": nothing is done;
    "oracle": those known to be flipped are left out (an upper bound, not a method)."""
    decided: Annotated[float, UNDER_WAY, Within(0, 1, "[)")] = 0.4
    """Method "acting": least probability that an own pair's winner is good and its loser is not, by
    the score as the given pairs calibrate it."""
    balance: Feature | Literal["none"] = "length"
    """Method "acting": where chosen sides have more of this (or less) than chance allows, as many
    pairs are taken of either kind, by lot; of own pairs always. "length" is in characters."""

    judge: Annotated[str, MAIN, Heading("Judge and review")] = ""
    """"execution" (routes only), a reward model's folder, "command: PROGRAM ..." that reads JSON
    lines, or a Python function MODULE:FUNCTION (docs/sera.md says how); empty: execution for
    routes, none for other data. Commands and functions are taken from the command line alone."""
    evaluation_prompts: Annotated[int, AtLeast(0)] = 200
    """Held-out prompts answered after every round, greedily and sampled."""

    learning_rate: Annotated[float | None, MAIN, UNDER_WAY, Above(0), Heading("Optimiser")] = None
    """Step size; left out, the default of the kind of model: 1.5e-4 where it is made here, 1e-4 for
    a LoRA adapter, 5e-6 for all weights of a pretrained one. Each run says what it takes."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls within a round."""
    warm_up: Annotated[float, UNDER_WAY, SHARE] = 0.0
    """Share of a round's steps over which the learning rate rises."""
    gradient_norm: Annotated[float, UNDER_WAY, Above(0)] = 1.0
    """Gradients are clipped to this norm."""
    lora_rank: Annotated[int, MAIN, AtLeast(0)] = 0
    """Rank of a LoRA adapter, merged at the end of a round; 0 trains all weights."""
    lora_alpha: Annotated[int, AtLeast(1)] = 32
    """Scale of the adapter: what it adds is multiplied by lora_alpha / lora_rank."""

    workers: Annotated[
        int, MAIN, MAY_CHANGE, NOT_LEARNT, RESOURCE, AtLeast(0), Heading("Machine and record")
    ] = 0
    """Ray Train workers, data parallel; 0 trains in this process, where a breakpoint works. The
    batches are the same for any number; another one adds them up in another order, which changes
    the last bits of what is learnt, as on another machine."""
    shard: Annotated[bool, NOT_LEARNT, RESOURCE] = False
    """Split weights, gradients and the optimiser's moments among the workers (FSDP2), so that a
    model need not fit one of them."""
    actors: Annotated[int, MAIN, MAY_CHANGE, NOT_LEARNT, RESOURCE, AtLeast(0)] = 0
    """Ray actors that sample and score; 0 does it in this process."""
    tensor_parallel: Annotated[int, NOT_LEARNT, RESOURCE, AtLeast(1)] = 1
    """GPUs of one node that each engine of vLLM is split among, in a placement group."""
    keep_engines: Annotated[bool, MAY_CHANGE, NOT_LEARNT, RESOURCE] = False
    """Engines of vLLM have GPUs of their own for the whole run and take each round's weights in
    place. Else they take turns with workers and other actors, and start anew each time."""
    max_failures: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 2
    """Times a round's workers are started again after one died."""
    device: Annotated[Literal["cpu", "cuda"], MAIN, NOT_LEARNT, RESOURCE] = "cpu"
    """Where workers train and actors sample and score."""
    bf16: bool = True
    """bfloat16 arithmetic, on the GPU only."""
    activation_checkpointing: Annotated[bool, NOT_LEARNT] = False
    """Recompute activations in the backward pass: less memory, more time."""
    threads: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 0
    """Threads on the CPU; 0 leaves it to torch."""
    generation_batch: Annotated[int, NOT_LEARNT, AtLeast(1)] = 32
    """Prompts answered at once."""
    scoring_batch: Annotated[int, NOT_LEARNT, AtLeast(1)] = 64
    """Responses scored at once."""
    checkpoint_steps: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 100
    """Optimiser steps between checkpoints inside a round; 0 for none."""
    log_steps: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(1)] = 1
    """Optimiser steps between records."""
    information_every: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 0
    """Rounds between two measurements of the information in the model's weights, by layer, on
    held-out texts; 0 for none."""
    track: Annotated[tuple[Tracker, ...], MAY_CHANGE, NOT_LEARNT] = ()
    """Services that get the run's figures as well: "wandb", "mlflow"."""
    seed: Annotated[int, MAIN, NOT_LEARNT, AtLeast(0)] = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        if self.method is None:
            outside = self.score not in SCORES
            object.__setattr__(self, "method", "acting" if outside else "dpo")
        check_limits(self)
        self._check_generation()
        parts = max(1, self.workers) * self.accumulate
        if self.batch % parts:
            raise ValueError(
                f"batch {self.batch} cannot be split into {parts} equal parts "
                f"(workers {self.workers}, accumulate {self.accumulate}): make it a multiple"
            )
        if self.length_control and self.length_head:
            raise ValueError("length_control and length_head both take the length off: choose one")
        self._check_engines()

    def _check_engines(self) -> None:
        if self.generator != "vllm":
            for name in ("tensor_parallel", "keep_engines"):
                if getattr(self, name) > 1 or getattr(self, name) is True:
                    raise ValueError(
                        f"{name} is {getattr(self, name)}, which only vLLM's engines take: add "
                        "--generator vllm, or leave it out"
                    )
            return
        if not self.actors and (self.device == "cuda" or self.tensor_parallel > 1):
            raise ValueError(
                "generator vllm needs actors, for an engine gives its GPUs back with its process "
                "alone: --actors 1"
            )
        if self.keep_engines and self.device == "cuda" and not self.workers:
            raise ValueError(
                "keep_engines needs workers, for this process would train on a GPU that Ray gives "
                "to an engine: --workers 1"
            )

    def _check_generation(self) -> None:
        shares = self.shares
        if not shares:
            raise ValueError("generated_share is empty: name a share for the first round, 0")
        if shares[0] != 0 and self.method not in ("acting", "dpo"):
            raise ValueError(
                f"generated_share begins with {shares[0]}, but in round 1 the model is the "
                "reference and every implicit reward is 0: begin with 0"
            )
        if self.loss not in ("sigmoid", "robust") and self.smooths:
            raise ValueError(
                f"labels is smooth, which the loss {self.loss} cannot take: use --labels turn, or "
                "the loss sigmoid"
            )
        if self.method == "dpo" and self.score not in SCORES:
            raise ValueError(
                f"score is {self.score[:80]}, but method dpo makes no pairs that it could rank: "
                "use --method acting"
            )
        if self.acts and self.score in SCORES and self.score != "judge":
            raise ValueError(
                f"method acting needs a score from outside, got {self.score}: --score "
                "follower:RUN, a reward model's folder or MODULE:FUNCTION"
            )
        if not self.generates:
            return
        if self.samples < 2:
            raise ValueError(
                f"responses is {self.samples}, but a pair needs two: sample at least 2, or set "
                "generated_share to 0"
            )
        if self.temperature == 0:
            raise ValueError(
                "temperature is 0, so all responses to a prompt would be the same: raise it, or "
                "set generated_share to 0"
            )

    @property
    def kind(self) -> str:
        """The kind of model, by which the default step size goes."""
        if self.lora_rank:
            return "LoRA adapter"
        return "model made here" if self.model == "tiny" else "pretrained model, all weights"

    @property
    def step_size(self) -> float:
        """The learning rate that was asked for, or that of the kind of model."""
        return STEP_SIZES[self.kind] if self.learning_rate is None else self.learning_rate

    def recorded(self) -> AlignConfig:
        """As a run's files say it: with what it takes where nothing was asked for, without the text
        of a command."""
        return replace(
            self, learning_rate=self.step_size, generated_share=self.shares,
            responses=self.samples, judge=recorded(self.judge),
        )  # fmt: skip

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of generated pairs that were asked for, or those of the method."""
        own = (0.5,) if self.method == "acting" else (0.0, 0.3, 0.5)
        return own if self.generated_share is None else self.generated_share

    @property
    def samples(self) -> int:
        """Responses a prompt that were asked for, or those of the method."""
        own = 8 if self.method == "acting" else 4
        return own if self.responses is None else self.responses

    @property
    def acts(self) -> bool:
        """Whether the method reviews pairs by a score from outside."""
        return self.method == "acting" and (self.labels not in ("keep", "oracle") or self.generates)

    @property
    def smooths(self) -> bool:
        """Whether each pair of the loss has a smoothing of its own."""
        return self.method == "acting" and self.labels == "smooth"

    @property
    def generates(self) -> bool:
        """Whether any round answers prompts."""
        return self.method != "dpo" and any(self.shares[: self.rounds])

    @property
    def engine_places(self) -> int:
        """Places (GPUs, or CPUs on device cpu) that vLLM's engines take together."""
        return self.actors * self.tensor_parallel if self.generator == "vllm" else 0

    @property
    def places(self) -> int:
        """Places that workers, actors and engines take at a time: they take turns, but for engines
        that are kept."""
        turns = max(self.workers, self.actors)
        if self.keep_engines:
            return turns + self.engine_places
        return max(turns, self.engine_places)

    @property
    def round_count(self) -> int:
        """Rounds of the method: DPO takes all steps in one."""
        return 1 if self.method == "dpo" else self.rounds

    @property
    def round_steps(self) -> int:
        """Optimiser steps of each of the method's rounds."""
        return self.steps * (self.rounds if self.method == "dpo" else 1)

    @property
    def selects(self) -> bool:
        """Whether rounds choose among the given pairs."""
        return self.method in ("sera", "random") and self.rounds > 1

    @property
    def half(self) -> bool:
        """Whether arithmetic is in bfloat16."""
        return self.bf16 and self.device == "cuda"

    @property
    def uses_reference(self) -> bool:
        return self.loss not in ("slic", "simpo")

    @property
    def trl_loss(self) -> TRLLoss:
        """The loss as TRL computes it.

        SLiC-HF's max(0, delta - (lp_w - lp_l)) is delta times TRL's hinge at beta = 1 / delta with
        a reference of zero; SimPO is its per-token sigmoid with the target margin in the place of
        the reference (see `reference_columns`).
        """
        loss = "robust" if self.smooths else self.loss  # of which each pair has its own smoothing
        name, weight, beta = {
            "slic": ("hinge", self.slic_margin, 1 / self.slic_margin),
            "simpo": ("sigmoid_norm", 1.0, self.beta),
        }.get(loss, (loss, 1.0, self.beta))
        if not self.anchor:
            return TRLLoss((name,), (weight,), beta)
        return TRLLoss((name, "sft"), (weight, self.anchor), beta)
