"""TRL's trainer and collator on pairs in token ids that carry their reference scores."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from rayforge.alignment.margin import robust_smoothing
from trainers.alignment.models import Tokeniser

FLIPPED = "flipped"
"""Column of the order of training: the probability that the pair's label is flipped."""
STEP_TOKENS = "step_tokens"
"""Column of the order of training: predicted tokens of the chosen sides of the pair's step."""


class PairTrainer(DPOTrainer):
    """TRL's trainer on pairs that are token ids already and carry their reference scores."""

    def _prepare_dataset(self, dataset: Dataset, *rest: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        columns: Any = self._signature_columns
        columns += [name for name in (STEP_TOKENS, FLIPPED) if name not in columns]

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """TRL's, with the anchor a mean over the tokens of the whole step's chosen sides.

        TRL takes the mean over those of each part. What a part's tokens say then weighs the more
        the shorter they are: L = sum_p (1/P) (w/n_p) sum_t -log pi_t for P parts of n_p tokens.
        With w n_p P / N in the place of w it is (w/N) sum_p sum_t -log pi_t, however the step's N
        tokens are split among parts and workers.

        Where pairs carry the probability that they are flipped, each has its own smoothing.
        """
        flipped = inputs.pop(FLIPPED, None)
        if flipped is not None:
            self.label_smoothing: Any = robust_smoothing(flipped)
        tokens = inputs.pop(STEP_TOKENS, None)
        if tokens is not None:
            mask = inputs["completion_mask"][..., 1:]
            own = int(mask[: len(mask) // 2].sum())
            share = own * self.parts / float(tokens[0])
            self.loss_weights = [*self.loss_weights[:-1], self.anchor * share]
        return super()._compute_loss(model, inputs, return_outputs)  # type: ignore[no-untyped-call]

    anchor: float = 0.0
    """Weight of the anchor, the last of the loss's terms."""
    parts: int = 1
    """Parts in which a step's batch is computed, of all workers."""


class PairCollator(DataCollatorForPreference):
    """TRL's, with the tokens of the step that a pair belongs to, and the pair's smoothing."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        found = super().torch_call(examples)
        for name in (STEP_TOKENS, FLIPPED):
            if name in examples[0]:
                found[name] = torch.tensor([e[name] for e in examples])
        return found


def collator(tokeniser: Tokeniser) -> PairCollator:
    return PairCollator(pad_token_id=tokeniser.pad_token_id)
