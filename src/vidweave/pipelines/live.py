"""A live stream or a long clip, pushed piece by piece, that answers questions at any time; weights are shared.

The state of a stream is a value that `push` replaces: after an exception it is unchanged. With a memory in the
connector it does not grow. Questions do not change it.

A Q-Former that reads the question makes it part of its memory (unless it keeps a visual bank alone). Questions given at
the start are answered exactly, each from a memory of its own. Any other question is answered from the visual bank (each
entry processed as one segment with the new question): approximate, and the Trace notes it. Without such a text every question is exact and cheap.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from vidweave.connectors.saving import flatten, unflatten
from vidweave.connectors.segments import counts_of, real_segments
from vidweave.connectors.state import ConnectorState
from vidweave.errors import CheckpointError, ModalityError, NotStreamableError, QueryError, ShapeError
from vidweave.media.limits import Limits
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import module_fingerprint
from vidweave.model.collate import collate_stream
from vidweave.model.config import StreamConfig
from vidweave.model.gather import OpenScene, StreamRow, check_modalities, gather_scene
from vidweave.model.processor import Processor
from vidweave.nn.bank import UndoLog
from vidweave.nn.tensor_files import save_tensors
from vidweave.pipelines.answering import CallOptions, answer_embeds
from vidweave.pipelines.trace import MAX_TRACE_FRAMES, Stopwatch, make_panels
from vidweave.types import Answer, Clip, Features, Frames, FrameUse, Query, TextTokens, Trace

__all__ = ["Stream"]

APPROXIMATE = (
    "this question was asked after the frames were pushed; the answer is computed from the memory "
    "(approximate). Give the question when opening the stream for an exact answer"
)


class Stream:
    """See the module.

    Args:
        model: Its selector is not used: the caller decides which frames are pushed.
        processor: Of the model.
        question: Questions to answer exactly with a connector that reads text; others are answered approximately.
        limits: Limits on pushed media, instead of the processor's.

    Raises:
        NotStreamableError: the model's selector needs the whole clip.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        processor: Processor,
        question: str | Sequence[str] | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        if model.spec.selector_streams:
            raise NotStreamableError(
                f"the {model.spec.selector.kind!r} selector needs whole clips; use ask(), or stream with another model"
            )
        self.model, self.processor = model, processor
        self.limits = processor.limits if limits is None else limits
        named = [question] if isinstance(question, str) else list(question or [])
        self.reads_text = "trunk" in model.spec.text
        self.remembers_text: bool = model.connector.remembers_text  # else every question is exact
        self.questions: tuple[str, ...] = tuple(dict.fromkeys(named)) if self.remembers_text else ()
        self._states = {name: self._begin(name) for name in self.questions or ("",)}
        self._last: dict[str, float] = {}
        self._segments: dict[str, int] = {}
        self._frames: deque[FrameUse] = deque(maxlen=MAX_TRACE_FRAMES)

    def __repr__(self) -> str:
        return f"Stream({self.model.config.name or 'unnamed'}, segments={self._segments}, questions={self.questions})"

    @property
    def has_rate(self) -> bool:
        """Whether the model defines a frame rate for live files (`StreamConfig.live_fps`)."""
        return any(stream.live_fps is not None for stream in self.model.spec.connector_streams.values())

    @property
    def segments(self) -> dict[str, int]:
        """Stream of the model → segments that were pushed."""
        return dict(self._segments)

    @torch.no_grad()
    def push(self, source: Any, *, fps: float | None = None) -> None:
        """Push more media: a Clip (with or without a span), a path of a video, `Frames` or features.

        Args:
            fps: Sampling rate. None: the model's own (`StreamConfig.live_fps`); every frame where it has none,
                and always for `Frames`, which the caller has chosen.

        Raises:
            ModalityError: a modality that the model does not support.
            ShapeError: frames earlier than those already pushed.
            NonFiniteError: NaN or infinity in the features.
            MediaError: a source that cannot be read. After any exception the stream is unchanged.
        """
        clip = source if isinstance(source, Clip) else Clip(source)
        rows = self._rows(clip, fps)
        for name, row in rows.items():
            self._check_time(name, row)
        inputs = {name: collate_stream(name, [(0, 0, row)]) for name, row in rows.items()}
        features = self.model.encode_streams(inputs)
        with UndoLog() as undo_log:  # all questions, or none
            states = {k: self.model.connector.push(state, features, undo_log) for k, state in self._states.items()}
        self._remember(clip, states, rows, features)

    @torch.no_grad()
    def ask(
        self,
        question: str,
        *,
        options: Sequence[str] = (),
        normalize: str = "sum",
        trace: bool | str = True,
        cancel: Event | None = None,
        **decoding: Any,
    ) -> Answer:
        """Answer from the media pushed so far; the stream is unchanged.

        Raises:
            QueryError: nothing was pushed yet.
            CancelledError: `cancel` was set from another thread.
        """
        if not self._segments:
            raise QueryError("nothing was pushed into this stream yet; push frames before asking")
        model, query = self.model, Query.about(Clip("stream"), question, tuple(options))
        watch = Stopwatch(model.device)
        with watch.stage("look"):
            state, is_exact = self._state_for(question)
            blocks, info = model.connector.read(state)
        with watch.stage("answer"):
            plan = self.processor.plan([query], counts_of(blocks))
            settings = CallOptions(normalize=normalize, cancel=cancel, decoding=decoding)
            (answer,) = answer_embeds(model, self.processor, [query], model.read(plan, blocks), settings)
        if not trace:
            return answer
        tokens = {name: int(block.mask.sum()) for name, block in blocks.items()}
        tokens["text"] = int((plan.ids >= 0).sum())
        info = make_panels(info, 0, trace == "full")
        panels = {**info, "stream": {"segments": self.segments, "seconds": dict(self._last), "exact": is_exact}}
        notes = [] if is_exact else [APPROXIMATE]
        return replace(answer, trace=Trace(list(self._frames), tokens, watch.seconds, notes, panels))

    # -- files ---------------------------------------------------------------------------------------------------

    def save(self, file: str | Path) -> None:
        """Write the state to a safetensors file, from which `load` continues with the same model."""
        structure, tensors = flatten(self._states)
        about = {
            "structure": structure,
            "questions": self.questions,
            "last": self._last,
            "segments": self._segments,
            "connector": module_fingerprint(self.model.connector),
        }
        tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        save_tensors(Path(file), tensors, {"vidweave_stream": json.dumps(about)})

    @classmethod
    def load(cls, model: VideoLanguageModel, processor: Processor, file: str | Path) -> Stream:
        """A stream from where it was saved.

        Raises:
            CheckpointError: not such a file, or the state of a model with other weights.
        """
        try:
            with safe_open(file, "pt", device=str(model.device)) as opened:
                about = json.loads((opened.metadata() or {})["vidweave_stream"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
            questions, last, segments = about["questions"], about["last"], about["segments"]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise CheckpointError(f"{Path(file).name} holds no stream that can be read ({error})") from error
        if about.get("connector") != module_fingerprint(model.connector):
            raise CheckpointError(
                f"{Path(file).name} is the state of a model with other weights in the connector; load that model"
            )
        stream = cls(model, processor, questions)
        states = unflatten(about["structure"], tensors)
        if set(states) != set(stream._states):
            raise CheckpointError(f"{Path(file).name} holds states for {sorted(states)}, not {sorted(stream._states)}")
        stream._states, stream._last, stream._segments = states, dict(last), dict(segments)
        return stream

    # -- parts ---------------------------------------------------------------------------------------------------

    def _begin(self, question: str) -> ConnectorState:
        zero = torch.zeros(1, dtype=torch.long, device=self.model.device)
        return self.model.connector.begin(zero, zero, self._text(question) if self.reads_text else None)

    def _text(self, question: str) -> TextTokens:
        return self.processor.read_text("trunk", [question]).to(self.model.device)

    def _state_for(self, question: str) -> tuple[ConnectorState, bool]:
        """Return a state for `question`, and whether it is exact."""
        if not self.reads_text:
            return self._states[""], True
        if question in self._states:
            return self._states[question], True
        state = next(iter(self._states.values()))
        return self.model.connector.with_text(state, self._text(question)), not self.remembers_text

    def _rows(self, clip: Clip, fps: float | None) -> dict[str, StreamRow]:
        spec = self.model.spec
        check_modalities(spec, clip)
        needs = {
            name: replace(stream.need, num_frames=None, fps=self._rate(stream, clip) if fps is None else fps)
            for name, stream in spec.connector_streams.items()
        }
        scene = OpenScene(clip, self.limits)
        try:
            rows = gather_scene(spec, scene, needs, why="pushed")
        finally:
            scene.close()
        if not rows:
            raise ModalityError(f"nothing in {clip!r} reaches a token of this model")
        return rows

    def _rate(self, stream: StreamConfig, clip: Clip) -> float | None:
        given = any(isinstance(clip.get(modality), Frames) for modality in stream.modalities)
        return None if given else stream.live_fps

    def _check_time(self, name: str, row: StreamRow) -> None:
        if name in self._last and len(row.seconds) and float(row.seconds[0, 0]) < self._last[name]:
            raise ShapeError(
                f"stream {name!r} was pushed up to {self._last[name]:.3f} s and now gets {float(row.seconds[0, 0]):.3f} s;"
                " push in order of time"
            )

    def _remember(
        self, clip: Clip, states: dict[str, ConnectorState], rows: dict[str, StreamRow], features: dict[str, Features]
    ) -> None:
        self._states = states
        for name, row in rows.items():
            self._segments[name] = self._segments.get(name, 0) + int(real_segments(features[name]).sum())
            if len(row.seconds):
                self._last[name] = float(row.seconds[-1, 0])
            self._frames.extend(FrameUse(index, pts, name, "", "pushed") for index, pts in _frames_of(clip, row))


def _frames_of(clip: Clip, row: StreamRow) -> list[tuple[int, float]]:
    """Index and time of a row's frames; `Frames` carry their own indices."""
    source = clip[row.modality]
    if not isinstance(source, Frames):
        return row.frames
    return [(int(source.indices[index]), pts) for index, pts in row.frames]
