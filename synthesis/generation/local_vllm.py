"""vLLM in this process: whole batches on a GPU without a server. Runs only inside vLLM's own environment.

vLLM pins its own torch and transformers, so it never shares an environment with the pipeline: use it where you call
`open_generator` yourself, or start a server and use the back end `openai`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nouns.errors import InputError
from nouns.post import Completion, Request
from synthesis.generation.base import Finished, failed, request_extra

if TYPE_CHECKING:
    from synthesis.settings import DraftCandidatesSettings

BATCH = 256  # requests handed to the engine at once: what is lost when the process is killed, at most


class LocalVLLM:
    """`TextGenerator` on vLLM's `LLM.chat`. `engine`: arguments for `vllm.LLM` beside the model; the engine starts at the first batch.

    Choice i of a request is drawn from `seed + i`. `settings.seeds = false` leaves the seeds out, which vLLM's CPU build needs
    for big batches. vLLM promises equal draws only for equal batches (peers.md P5): repeat a run from its calls.
    """

    name = "vllm"

    def __init__(self, settings: DraftCandidatesSettings, **engine: Any) -> None:
        if not settings.model:
            raise InputError(
                "settings.draft_candidates.backend = 'vllm' needs settings.draft_candidates.model, a directory or name of a model."
            )
        self.settings = settings
        self._template_extra = request_extra(settings.request_extra).get("chat_template_kwargs")
        self._engine = engine
        self._vllm: Any = None
        self._llm: Any = None
        self._adapter: Any = None

    def generate(self, requests: Sequence[Request], *, finished: Finished | None = None) -> list[Completion]:
        completions: list[Completion] = []
        for start in range(0, len(requests), BATCH):
            for completion in self._batch(requests[start : start + BATCH]):
                completions.append(completion)
                if finished:
                    finished(completion)
        return completions

    def _start(self) -> None:
        if self._llm is not None:
            return
        try:
            import vllm
        except ImportError as error:
            raise InputError(
                f"settings.draft_candidates.backend = 'vllm' needs vLLM in this environment ({error}). It pins its own torch and "
                "transformers: install it into an environment of its own and run there, or start its server and choose backend = 'openai'."
            ) from None
        engine: dict[str, Any] = {"model": self.settings.model, "revision": self.settings.model_revision or None}
        if self.settings.adapter:
            from vllm.lora.request import LoRARequest

            engine["enable_lora"] = True
            self._adapter = LoRARequest("adapter", 1, self.settings.adapter)
        self._vllm = vllm
        self._llm = vllm.LLM(**(engine | self._engine))

    def _batch(self, requests: Sequence[Request]) -> list[Completion]:
        self._start()
        began = time.monotonic()
        conversations = [[{"role": m.role, "content": m.content} for m in request.messages] for request in requests]
        try:
            outputs = self._llm.chat(
                conversations,
                sampling_params=[self._sampling(request) for request in requests],
                use_tqdm=False,
                lora_request=self._adapter,
                chat_template_kwargs=self._template_extra,
            )
        except Exception as error:
            if not _refused(error):
                raise
            # One prompt that does not fit makes vLLM refuse the whole batch: find out which, by halves.
            if len(requests) == 1:
                return [failed(requests[0], self.settings.model, "bad_request", " ".join(str(error).split())[:200])]
            half = len(requests) // 2
            return [*self._batch(requests[:half]), *self._batch(requests[half:])]
        seconds = (time.monotonic() - began) / len(requests)
        return [self._completion(request, output, seconds) for request, output in zip(requests, outputs, strict=True)]

    def _sampling(self, request: Request) -> Any:
        options: dict[str, Any] = {}
        if request.schema is not None and self.settings.structured:
            from vllm.sampling_params import StructuredOutputsParams

            options["structured_outputs"] = StructuredOutputsParams(json=request.schema)
        if self.settings.seeds and request.temperature > 0:
            options["seed"] = request.seed
        return self._vllm.SamplingParams(
            n=1 if request.temperature <= 0 else max(1, request.n),
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_tokens,
            **options,
        )

    def _completion(self, request: Request, output: Any, seconds: float) -> Completion:
        choices = [choice for choice in output.outputs if choice.text.strip()]
        wanted = 1 if request.temperature <= 0 else max(1, request.n)
        missing = f"missing_choices: the model gave {len(choices)} of {wanted} texts" if len(choices) < wanted else None
        return Completion(
            request_id=request.request_id,
            texts=tuple(choice.text for choice in choices),
            model=self.settings.model,
            failure=missing,
            finish_reasons=tuple(str(choice.finish_reason) for choice in choices),
            prompt_tokens=len(output.prompt_token_ids or ()),
            completion_tokens=sum(len(choice.token_ids) for choice in output.outputs),
            seconds=seconds,
            model_revision=self.settings.model_revision or None,
        )


def _refused(error: Exception) -> bool:
    """Whether vLLM means that the request is bad: ValueError before 0.32, VLLMClientError since; anything else is a crash."""
    return isinstance(error, ValueError) or any(kind.__name__ == "VLLMClientError" for kind in type(error).__mro__)
