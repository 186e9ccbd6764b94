"""A model directory in this process, with transformers: for a laptop and for tests. For throughput there is vLLM.

Requests are worked off one by one, the `n` draws of a request together. Batching several requests would be faster on a GPU, but
padding changes the last bits of the logits and with them now and then a word: what a post gets would depend on its
neighbours in the shard.

Draw i comes from a generator seeded with `seed + i`, by the Gumbel-max rule: the likeliest token of logits/T + Gumbel noise is a
draw from softmax(logits/T) (Gumbel 1954; Maddison et al. 2014). So draws need no global seed and do not depend on n.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nouns.errors import InputError
from nouns.post import Completion, Request
from synthesis.generation.base import Finished, failed, request_extra

if TYPE_CHECKING:
    import torch

    from synthesis.settings import DraftCandidatesSettings


class LocalTransformers:
    """`TextGenerator` on `settings.model`: a directory, or a name in the local cache of models. Loaded at the first batch.

    Runs in the model's own precision on a GPU and, if that is bfloat16, on a processor that computes in it (twice as fast); else in float32. `settings.adapter` is put on top with peft.
    Schemas are not enforced here; what comes back is read as any other text.
    """

    name = "transformers"

    def __init__(self, settings: DraftCandidatesSettings) -> None:
        if not settings.model:
            raise InputError(
                "settings.draft_candidates.backend = 'transformers' needs settings.draft_candidates.model, the directory of a model."
            )
        self.settings = settings
        self._template_extra = request_extra(settings.request_extra).get("chat_template_kwargs", {})
        self._loaded: tuple[Any, Any] | None = None

    def generate(self, requests: Sequence[Request], *, finished: Finished | None = None) -> list[Completion]:
        completions = []
        for request in requests:
            completion = self._complete(request)
            completions.append(completion)
            if finished:
                finished(completion)
        return completions

    def _load(self) -> tuple[Any, Any]:
        """Tokenizer and model. Raises `InputError` where the directory holds no chat model."""
        if self._loaded is None:
            import torch
            from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

            name, revision = self.settings.model, self.settings.model_revision or None
            on_gpu = torch.cuda.is_available()
            try:
                tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
                config = AutoConfig.from_pretrained(name, revision=revision)
                halves = getattr(config, "dtype", None) == torch.bfloat16 and _computes_in_bfloat16()
                model: Any = AutoModelForCausalLM.from_pretrained(
                    name, revision=revision, dtype="auto" if on_gpu or halves else torch.float32
                )
            except (OSError, ValueError) as error:
                raise InputError(
                    f"No language model could be loaded from settings.draft_candidates.model = {name!r}: {str(error)[:300]} "
                    "Give a directory with config.json, weights and tokenizer."
                ) from None
            if not tokenizer.chat_template:
                raise InputError(
                    f"The tokenizer of {name!r} has no chat template: it is a base model. Take its instruction-tuned variant."
                )
            if self.settings.adapter:
                from peft import PeftModel

                try:
                    model = PeftModel.from_pretrained(model, self.settings.adapter).merge_and_unload()
                except (OSError, ValueError) as error:
                    raise InputError(
                        f"settings.draft_candidates.adapter = {self.settings.adapter!r} is no LoRA adapter of {name!r}: {str(error)[:300]}"
                    ) from None
            self._loaded = tokenizer, model.to("cuda" if on_gpu else "cpu").eval()
        return self._loaded

    def _complete(self, request: Request) -> Completion:
        import torch

        tokenizer, model = self._load()
        began = time.monotonic()
        facts: dict[str, Any] = {"model_revision": self.settings.model_revision or None}
        prompt = torch.tensor([self._tokens(tokenizer, request)], device=model.device)  # (1, n_prompt)
        room = (getattr(model.config, "max_position_embeddings", None) or 1 << 30) - prompt.shape[1]
        if room < 1:
            words = f"{prompt.shape[1]:,} tokens, {room + prompt.shape[1]:,} fit"
            return failed(request, self.settings.model, "prompt_too_long", words, **facts)
        n = 1 if request.temperature <= 0 else max(1, request.n)
        try:
            with torch.inference_mode():
                output = model.generate(
                    prompt.expand(n, -1),
                    attention_mask=torch.ones_like(prompt).expand(n, -1),
                    generation_config=self._config(tokenizer, model, min(request.max_tokens, room)),
                    logits_processor=[_sampler(request, n)] if request.temperature > 0 else None,
                )
        except torch.OutOfMemoryError:
            return failed(
                request, self.settings.model, "out_of_memory", f"{n} draws of {prompt.shape[1]:,} tokens", **facts
            )
        ends = _ends(tokenizer, model)
        texts, reasons, tokens = [], [], 0
        for row in output[:, prompt.shape[1] :].tolist():
            length = next((i for i, token in enumerate(row) if token in ends), None)
            tokens += len(row) if length is None else length + 1
            texts.append(tokenizer.decode(row if length is None else row[:length], skip_special_tokens=True).strip())
            reasons.append("length" if length is None else "stop")
        kept = [(text, reason) for text, reason in zip(texts, reasons, strict=True) if text]
        return Completion(
            request_id=request.request_id,
            texts=tuple(text for text, _ in kept),
            model=self.settings.model,
            failure=None if len(kept) == n else f"missing_choices: the model gave {len(kept)} of {n} texts",
            finish_reasons=tuple(reason for _, reason in kept),
            prompt_tokens=prompt.shape[1],
            completion_tokens=tokens,
            seconds=time.monotonic() - began,
            **facts,
        )

    def _tokens(self, tokenizer: Any, request: Request) -> list[int]:
        """The prompt by the model's own chat template; templates without a system role get it at the head of the first turn."""
        from jinja2 import TemplateError

        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        try:
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self._template_extra
            )
        except TemplateError:
            if len(messages) < 2 or messages[0]["role"] != "system":
                raise
            first = {"role": messages[1]["role"], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            text = tokenizer.apply_chat_template(
                [first, *messages[2:]], tokenize=False, add_generation_prompt=True, **self._template_extra
            )
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    @staticmethod
    def _config(tokenizer: Any, model: Any, max_tokens: int) -> Any:
        """Greedy as far as transformers knows: the noise of `_sampler` does the drawing. Penalties of the model's own config are left out."""
        from transformers import GenerationConfig

        ends = sorted(_ends(tokenizer, model))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends[0] if ends else 0)
        return GenerationConfig(max_new_tokens=max_tokens, do_sample=False, eos_token_id=ends or None, pad_token_id=pad)


def _computes_in_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; where it is emulated it is slower than float32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _ends(tokenizer: Any, model: Any) -> set[int]:
    given = getattr(model.generation_config, "eos_token_id", None)
    ends = set(given) if isinstance(given, list) else {given}
    return {int(token) for token in ends | {tokenizer.eos_token_id} if token is not None}


def _sampler(request: Request, n: int) -> Any:
    """A logits processor that turns greedy search into `n` seeded draws with temperature and top-p."""
    import torch
    from transformers import LogitsProcessor

    class Sampler(LogitsProcessor):
        def __init__(self) -> None:
            self.sources: list[torch.Generator] = []

        def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
            if not self.sources:
                self.sources = [
                    torch.Generator(scores.device).manual_seed((request.seed + i) % (1 << 63)) for i in range(n)
                ]
            logits = nucleus(scores.float() / request.temperature, request.top_p)  # (n, vocabulary)
            noise = torch.empty_like(logits)
            for row, source in zip(noise, self.sources, strict=True):
                row.exponential_(generator=source)
            return logits - noise.clamp_min(1e-30).log()  # -log of an exponential variable is Gumbel noise

    return Sampler()


def nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """`logits` (rows, vocabulary) with everything outside the smallest set of tokens of mass >= top_p at minus infinity.

    The likeliest token always stays. Source: Holtzman et al. 2020, section 3.1.
    """
    if top_p >= 1.0:
        return logits
    ordered, places = logits.sort(dim=-1, descending=True)
    mass = ordered.softmax(dim=-1)
    before = mass.cumsum(dim=-1) - mass  # mass of the tokens that are likelier
    outside = (before >= top_p).scatter(-1, places, before >= top_p)
    outside.scatter_(-1, places[..., :1], False)
    return logits.masked_fill(outside, float("-inf"))
