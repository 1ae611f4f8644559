"""A little engine behind vLLM's public names: transformers on a CPU, for tests without a GPU.

It takes what vLLM takes and nothing else, so that a misspelt argument fails here too.
STAND_IN_LOG names a file of what it did. STAND_IN_DIES names one that is made when it ends its own
process (or raises, where STAND_IN_RAISES is set) in its fourth call after new weights: those before
are the review's two and the first batch of a round's prompts.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from transformers import AutoModelForCausalLM, GenerationConfig


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int = 16
    stop_token_ids: list[int] = field(default_factory=list)
    detokenize: bool = True


@dataclass
class CompletionOutput:
    token_ids: tuple[int, ...]


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


class LLM:
    def __init__(
        self, model: str, *, dtype: str, seed: int, trust_remote_code: bool, load_format: str,
        generation_config: str, max_model_len: int, tensor_parallel_size: int = 1,
        distributed_executor_backend: str | None = None,
    ) -> None:  # fmt: skip
        if tensor_parallel_size > 1:
            from ray.util import get_current_placement_group

            group = get_current_placement_group()
            assert group is not None and len(group.bundle_specs) == tensor_parallel_size
            assert distributed_executor_backend == "ray"
        assert not trust_remote_code and load_format == "safetensors"
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self.model.generation_config = GenerationConfig()
        self.longest = max_model_len
        self.cached, self.calls, self.reloaded = False, 0, False
        _note(f"start {model}")

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> list[None]:
        assert method == "reload_weights", method
        folder = Path(kwargs["weights_path"])
        load_model(self.model, folder / "model.safetensors")
        self.calls, self.reloaded = 0, True
        _note(f"reload {folder}")
        return [None]

    def reset_prefix_cache(self) -> bool:
        self.cached = False
        return True

    @torch.inference_mode()
    def generate(
        self, prompts: list[dict[str, list[int]]], settings: list[SamplingParams], *, use_tqdm: bool
    ) -> list[RequestOutput]:
        assert not (self.reloaded and self.calls == 0 and self.cached), "another model's cache"
        self.cached, self.calls = True, self.calls + 1
        _perhaps_die(self.reloaded and self.calls == 4)
        asked = zip(prompts, settings, strict=True)
        return [self._answer(prompt["prompt_token_ids"], how) for prompt, how in asked]

    def _answer(self, ids: list[int], how: SamplingParams) -> RequestOutput:
        assert len(ids) + how.max_tokens <= self.longest
        drawn = how.temperature > 0
        chance = {"temperature": how.temperature, "top_p": how.top_p, "top_k": 0} if drawn else {}
        outputs = []
        for number in range(how.n):
            torch.manual_seed((how.seed or 0) + number)
            asked = torch.tensor([ids])
            found = self.model.generate(
                input_ids=asked, attention_mask=torch.ones_like(asked), do_sample=drawn,
                max_new_tokens=how.max_tokens, pad_token_id=0, eos_token_id=how.stop_token_ids,
                **chance,
            )  # fmt: skip
            outputs.append(CompletionOutput(tuple(found[0, len(ids) :].tolist())))
        return RequestOutput(outputs)


def _note(line: str) -> None:
    if "STAND_IN_LOG" in os.environ:
        with Path(os.environ["STAND_IN_LOG"]).open("a") as log:
            log.write(f"{os.getpid()} {line}\n")


def _perhaps_die(now: bool) -> None:
    mark = os.environ.get("STAND_IN_DIES")
    if mark is None or not now or Path(mark).exists():
        return
    Path(mark).write_text("")
    if "STAND_IN_RAISES" in os.environ:
        raise RuntimeError("the stand-in raises, as it was told to")
    os.kill(os.getpid(), signal.SIGKILL)
