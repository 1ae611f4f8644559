"""Answers by vLLM, an optional package (the extra `vllm`) that is imported here alone.

What is used of it is public: `LLM`, `SamplingParams`, `LLM.generate`, `LLM.collective_rpc` with the
worker's `reload_weights`, and `LLM.reset_prefix_cache`. An engine takes a minute or more to start;
so it stays, and each round's model is read into it from its folder of safetensors.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainers.alignment.models import architecture, context_length, end_tokens, load_tokeniser
from trainers.alignment.tokens import Ids
from trainers.runs.pool import Job

if TYPE_CHECKING:
    from trainers.alignment.generation import GenerationJob


class VllmWork:
    """An engine that answers prompts with one checkpoint after the other."""

    def __init__(self, job: GenerationJob) -> None:
        if job.parallel > 1 and job.device == "cuda":
            # Ray hides the GPUs from an actor that asks for none itself; those of its placement
            # group are for the engine's workers, and the engine looks at what kind they are.
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if job.parallel == 1:
            # In one process, so that requests are scheduled the same way each time.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        from vllm import LLM

        limit = context_length(job.folder) or job.longest
        split: dict[str, Any] = {}
        if job.parallel > 1:
            split = {"tensor_parallel_size": job.parallel, "distributed_executor_backend": "ray"}
        self.engine = LLM(
            str(job.folder), dtype="bfloat16" if job.bf16 else "float32", seed=0,
            trust_remote_code=False, load_format="safetensors", generation_config="vllm",
            max_model_len=min(limit, job.longest), **split,
        )  # fmt: skip
        self._take(job)

    def _take(self, job: GenerationJob) -> None:
        self.job = job
        self.ends = list(end_tokens(job.folder, load_tokeniser(job.folder)))

    def renew(self, job: Job) -> bool:
        """Read another checkpoint's weights into the engine.

        False, with nothing done, for a model of another architecture or another kind of job.
        """
        own = self.job
        if type(job) is not type(own):
            return False
        asked: GenerationJob = job
        if replace(asked, folder=own.folder, sampling=own.sampling) != own:
            return False
        if asked.folder != own.folder:
            if architecture(asked.folder) != architecture(own.folder):
                return False
            self.engine.collective_rpc("reload_weights", kwargs={"weights_path": str(asked.folder)})
            self.engine.reset_prefix_cache()  # what it holds is the other model's
        self._take(asked)
        return True

    def __call__(self, batch: tuple[int, list[Ids]]) -> list[Ids]:
        """Responses [n * K] to prompts [n] as token ids, up to and with the first end token."""
        from vllm import SamplingParams

        (seed, prompts), s = batch, self.job.sampling
        settings = [
            SamplingParams(
                # The engine draws a prompt's responses with K seeds from this one on.
                seed=seed + place * s.responses, n=s.responses, temperature=s.temperature,
                top_p=s.top_p, max_tokens=s.max_new_tokens, stop_token_ids=self.ends,
                detokenize=False,
            )
            for place in range(len(prompts))
        ]  # fmt: skip
        asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
        answers = self.engine.generate(asked, settings, use_tqdm=False)
        return [tuple(o.token_ids) for answer in answers for o in answer.outputs]
