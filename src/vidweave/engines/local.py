"""Engine that runs a transformers language model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from vidweave.engines.protocol import Completion, Request, Sampling
from vidweave.engines.structured import complaint, in_words
from vidweave.errors import CheckpointError, QueryError
from vidweave.language.drawing import SeededDraws
from vidweave.loading import check_dtype, quiet_loading, usable_device
from vidweave.nn.config_source import guard_source

__all__ = ["TransformersEngine"]


class TransformersEngine:
    """Complete requests with a causal or sequence-to-sequence model.

    Requests with equal sampling settings are batched by length; each sampled one draws with its own seed, so that a text
    never depends on other requests. A schema is requested in words and checked, not enforced.

    Args:
        source: Folder or hub id; weights are read from safetensors only and no remote code is run.
        revision: Revision of a hub id.
        device, dtype: Device and dtype of the weights, e.g. `cuda`, `bfloat16`.
        batch_size: Maximum number of requests per forward pass.
    """

    def __init__(
        self,
        source: str,
        *,
        revision: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 16,
    ) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        weights_dtype = getattr(torch, check_dtype(dtype))
        place = usable_device(device)
        options = guard_source(source, revision)
        self.source, self.revision, self.dtype, self.batch_size = source, revision, dtype, batch_size
        try:
            self._reads_apart = bool(AutoConfig.from_pretrained(source, **options).is_encoder_decoder)
            auto: Any = AutoModelForSeq2SeqLM if self._reads_apart else AutoModelForCausalLM
            with quiet_loading():
                model = auto.from_pretrained(source, dtype=weights_dtype, use_safetensors=True, **options)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot load the language model {source!r}: {error}") from error
        self._model: Any = model.to(place).eval()
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def describe(self) -> dict[str, Any]:
        facts = {"engine": "transformers", "model": self.source, "dtype": self.dtype}
        return {**facts, "revision": self.revision} if self.revision else facts

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order.

        Raises:
            QueryError: chat messages for a model without a chat template, or messages with non-text parts.
        """
        ids = [self._ids(request) for request in requests]
        done: dict[int, Completion] = {}
        for batch in self._batches(requests, ids):
            seeds = [requests[i].sampling.seed for i in batch]
            texts = self._generate([ids[i] for i in batch], requests[batch[0]].sampling, seeds)
            for i, (text, written) in zip(batch, texts, strict=True):
                schema = requests[i].schema
                wrong = complaint(text, schema) if schema is not None else ""
                done[i] = Completion(text=text, error=wrong, input_tokens=len(ids[i]), output_tokens=written)
        return [done[i] for i in range(len(requests))]

    def _batches(self, requests: Sequence[Request], ids: list[list[int]]) -> list[list[int]]:
        batches: list[list[int]] = []
        for i in sorted(range(len(requests)), key=lambda i: len(ids[i])):
            sampling, last = requests[i].sampling, batches[-1] if batches else []
            fits = last and replace(requests[last[0]].sampling, seed=sampling.seed) == sampling
            if fits and len(last) < self.batch_size:
                last.append(i)
            else:
                batches.append([i])
        return batches

    def _ids(self, request: Request) -> list[int]:
        asked = in_words(request.schema) if request.schema is not None else ""
        if isinstance(request.prompt, str):
            return self._tokenizer(f"{request.prompt}\n{asked}" if asked else request.prompt)["input_ids"]
        if not self._tokenizer.chat_template:
            raise QueryError(f"{self.source!r} has no chat template; give the prompt as one text")
        if any(not isinstance(message.get("content"), str) for message in request.prompt):
            raise QueryError(f"{self.source!r} only reads text, but a message has other parts")
        messages = [dict(message) for message in request.prompt]
        messages = [{"role": "system", "content": asked}, *messages] if asked else messages
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates may raise any exception
            roles = ", ".join(str(message.get("role")) for message in messages)
            raise QueryError(
                f"the chat template of {self.source!r} rejects turns of {roles} ({' '.join(str(error).split())[:200]}); "
                "give the prompt as one text"
            ) from error
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def _generate(self, rows: list[list[int]], sampling: Sampling, seeds: Sequence[int]) -> list[tuple[str, int]]:
        """Return text and number of new tokens of each row."""
        inputs = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self._model.device)
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        limits = {"max_new_tokens": sampling.max_tokens, "min_new_tokens": sampling.min_tokens or None}
        stop = {"stop_strings": list(sampling.stop), "tokenizer": self._tokenizer} if sampling.stop else {}
        with SeededDraws(seeds, self._model.device):
            out = self._model.generate(
                **inputs,
                **(
                    drawn
                    if sampling.temperature
                    else {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
                ),
                **limits,
                **stop,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        new = out[:, 1:] if self._reads_apart else out[:, inputs["input_ids"].shape[1] :]
        return [self._text(row, sampling.stop) for row in new.tolist()]

    def _text(self, ids: list[int], stop: Sequence[str]) -> tuple[str, int]:
        kept = [i for i in ids if i != self._tokenizer.pad_token_id]
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        cuts = [text.index(end) for end in stop if end in text]
        return text[: min(cuts)] if cuts else text, len(kept)
