"""Answer a query with a vision-language model, with its Trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from threading import Event
from typing import Any, Literal

import torch
from torch import Tensor

from vidweave.errors import ConfigError, QueryError
from vidweave.language.decoding import Decoding
from vidweave.media.limits import Limits
from vidweave.pipelines.selecting import check_cancelled
from vidweave.pipelines.trace import Stopwatch
from vidweave.pipelines.vlm.family import MediaBlock, VlmFamily
from vidweave.pipelines.vlm.footage import FrameOptions, Shot, read_shots
from vidweave.pipelines.vlm.prompt import Prompt, PromptWriter, ScenePart
from vidweave.pipelines.vlm.scoring import generate, read_prompt, score_options
from vidweave.pipelines.vlm.trace import build_trace
from vidweave.types import Answer, FrameSelector, OptionScore, Query

__all__ = ["Call", "PreparedPrompt", "VlmEngine"]

MAX_NEW_TOKENS = 256  # of free answers, unless requested


@dataclass(frozen=True, kw_only=True)
class Call:
    """How one call is answered; see `VlmPipeline.answer`."""

    default_frames: int
    num_frames: int | None = None
    fps: float | None = None
    selector: FrameSelector | None = None
    max_pixels: int | None = None
    times: Literal["model", "text"] = "model"
    trace: bool | str = True
    normalize: str = "sum"
    limits: Limits | None = None
    cancel: Event | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.trace not in (True, False, "full"):
            raise QueryError(f"trace must be True, False or 'full', got {self.trace!r}")
        if self.times not in ("model", "text"):
            raise ConfigError(f"times must be 'model' or 'text', got {self.times!r}")
        if self.num_frames is not None and self.fps is not None:
            raise ConfigError(f"give num_frames ({self.num_frames}) or fps ({self.fps}), not both")
        for name in ("num_frames", "fps", "max_pixels"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and value > 0):
                raise ConfigError(f"{name} must be a positive number, got {value!r}")
        if self.num_frames is not None and not isinstance(self.num_frames, int):
            raise ConfigError(f"num_frames must be one whole number for such a model, got {self.num_frames!r}")

    @classmethod
    def names(cls) -> frozenset[str]:
        """Names of the arguments of `answer` that are not for `generate`."""
        return frozenset(f.name for f in fields(cls)) - {"default_frames", "decoding"}

    @property
    def frames(self) -> FrameOptions:
        """What concerns the choice of frames."""
        names = ("num_frames", "fps", "selector", "limits", "cancel")
        return FrameOptions(**{name: getattr(self, name) for name in names})

    def check_cancelled(self) -> None:
        """Raise CancelledError once `cancel` is set."""
        check_cancelled(self.cancel)


@dataclass(frozen=True, eq=False)
class PreparedPrompt:
    """A query as inputs of the model, with what its Trace says."""

    query: Query
    shots: Sequence[Shot]
    parts: Sequence[ScenePart]
    prompt: Prompt
    inputs: Mapping[str, Tensor]
    positions: Tensor | None
    watch: Stopwatch


class VlmEngine:
    """A model with its family and prompt writer; keeps no state of a call."""

    def __init__(self, model: Any, family: VlmFamily, writer: PromptWriter) -> None:
        self.model = model
        self.family = family
        self.writer = writer

    def answer(self, query: Query, call: Call) -> Answer:
        """Answer one query: score its options, or generate."""
        prepared = self.prepare(query, call)
        with prepared.watch.stage("answer"):
            answer = self._score(prepared, call) if query.options else self._generated(prepared, call)
        if not call.trace:
            return answer
        trace = build_trace(
            self.family,
            self.writer,
            prepared.shots,
            prepared.parts,
            prepared.prompt,
            prepared.watch.seconds,
            times_as_text=call.times == "text",
            full=call.trace == "full",
        )
        return replace(answer, trace=trace)

    def prepare(self, query: Query, call: Call) -> PreparedPrompt:
        """Open media, choose and decode frames, and write the prompt.

        Raises:
            ConfigError: a prompt longer than the model's context.
        """
        self.family.refuse_budget(call.max_pixels)
        call.check_cancelled()
        watch = Stopwatch(self.model.device)
        shots = read_shots(query, call.default_frames, call.frames, watch)
        call.check_cancelled()
        with watch.stage("preprocess"):
            parts = [ScenePart(shot.label, shot.modality, self._block(shot, call)) for shot in shots]
            prompt = self.writer.prompt(query, parts, times_as_text=call.times == "text")
        self._check_length(prompt, parts, call)
        inputs = self._inputs(prompt, parts)
        blocks = [part.block for part in parts]
        positions = self.family.positions(self.model, inputs, blocks)
        call.check_cancelled()
        return PreparedPrompt(query, shots, parts, prompt, inputs, positions, watch)

    def generate(
        self, prepared: PreparedPrompt, call: Call, *, streamer: Any = None, stop: Event | None = None
    ) -> Tensor:
        """New token ids after a prompt."""
        events = [event for event in (stop, call.cancel) if event is not None]
        return generate(
            self.model,
            prepared.inputs,
            prepared.positions,
            self._decoding(prepared.prompt, call),
            streamer=streamer,
            cancel=events or None,
        )

    # -- parts ---------------------------------------------------------------------------------------------------

    def _block(self, shot: Shot, call: Call) -> MediaBlock:
        footage = shot.footage
        if shot.modality == "image":
            return self.family.image(footage.frames[0], call.max_pixels)
        block = self.family.video(footage, call.max_pixels)
        return replace(block, frame_seconds=tuple(footage.seconds.tolist()))

    def _inputs(self, prompt: Prompt, parts: Sequence[ScenePart]) -> dict[str, Tensor]:
        gathered: dict[str, list[Tensor]] = {}
        for part in parts:
            for name, values in part.block.tensors.items():
                gathered.setdefault(name, []).append(values)
        inputs = {name: self.family.join(name, values) for name, values in gathered.items()}
        inputs = {
            "input_ids": prompt.ids,
            "attention_mask": torch.ones_like(prompt.ids),
            **self.family.flags(prompt.ids),
            **inputs,
        }
        device, dtype = self.model.device, self.model.dtype
        return {
            name: values.to(device, dtype) if values.is_floating_point() else values.to(device)
            for name, values in inputs.items()
        }

    @property
    def max_positions(self) -> int | None:
        """Tokens that the model can read at once; None if its configuration does not say."""
        text = self.model.config.get_text_config()
        value = getattr(text, "max_position_embeddings", None)
        return value if isinstance(value, int) and value > 0 else None

    def _check_length(self, prompt: Prompt, parts: Sequence[ScenePart], call: Call) -> None:
        most, length = self.max_positions, prompt.ids.shape[1]
        requested = call.decoding.get("max_new_tokens", 1)
        if most is None or length + requested <= most:
            return
        visual = sum(self.writer.count_tokens(part.block) for part in parts)
        smaller = " or a smaller max_pixels" if self.family.has_budget else ""
        raise ConfigError(
            f"the prompt has {length} tokens ({visual} visual) and {requested} may follow, the model reads {most}; use fewer "
            f"frames (num_frames, fps){smaller}, or a shorter span"
        )

    def _decoding(self, prompt: Prompt, call: Call) -> Decoding:
        room = MAX_NEW_TOKENS if self.max_positions is None else self.max_positions - prompt.ids.shape[1]
        return Decoding.of({"max_new_tokens": max(1, min(MAX_NEW_TOKENS, room)), **call.decoding})

    def _score(self, prepared: PreparedPrompt, call: Call) -> Answer:
        options = prepared.query.options
        ids = self.writer.option_ids(prepared.prompt, options)
        reading = read_prompt(self.model, prepared.inputs, prepared.positions)
        call.check_cancelled()
        scores = score_options(self.model, reading, ids, call.normalize)
        ranked = sorted(zip(options, scores, strict=True), key=lambda pair: -pair[1])
        return Answer(ranked[0][0], tuple(OptionScore(text, score) for text, score in ranked))

    def _generated(self, prepared: PreparedPrompt, call: Call) -> Answer:
        texts = self.writer.decode(self.generate(prepared, call))
        call.check_cancelled()
        return Answer(texts[0], alternatives=tuple(texts[1:]))
