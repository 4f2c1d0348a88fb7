"""The pipeline of a whole vision-language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, overload

import torch

from vidweave.errors import ConfigError, NotStreamableError, QueryError
from vidweave.language.decoding import Decoding
from vidweave.media.limits import Limits
from vidweave.model.cache import module_fingerprint
from vidweave.model.files import read_model_type
from vidweave.model.load import find_folder, weights_dtype
from vidweave.pipelines.frame_selection.names import frame_selector
from vidweave.pipelines.frame_selection.panel import select_frames
from vidweave.pipelines.frame_selection.uniform import UniformFrames
from vidweave.pipelines.messages import query_of
from vidweave.pipelines.upload import push_folder
from vidweave.pipelines.vlm.answering import Call, VlmEngine
from vidweave.pipelines.vlm.load import chat_template, family_class, read_files, read_model
from vidweave.pipelines.vlm.prompt import PromptWriter
from vidweave.pipelines.vlm.saving import save_folder
from vidweave.pipelines.writing import write_pieces
from vidweave.types import Answer, Clip, FrameSelector, OptionScore, Pipeline, Query

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

__all__ = ["VlmInfo", "VlmPipeline"]


@dataclass(frozen=True, kw_only=True)
class VlmInfo:
    """Settings of a pipeline.

    Attributes:
        name: As it was given to `load`.
        model_type: Of transformers.
        family: Name of the class that prepares frames.
        num_frames: Frames of a video unless a number is requested.
        max_pixels: Pixel budget of frames; None is the folder's own.
        times: `model`: times reach the model as its family does it; `text`: a sentence before each video lists them too.
        choices: Options are shown and scored as `letters` or `texts`.
    """

    name: str
    model_type: str
    family: str
    num_frames: int
    max_pixels: int | None = None
    times: Literal["model", "text"] = "model"
    choices: Literal["letters", "texts"] = "letters"

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ConfigError(f"num_frames must be at least 1, got {self.num_frames}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ConfigError(f"max_pixels must be at least 1, got {self.max_pixels}")
        for name, known in (("times", ("model", "text")), ("choices", ("letters", "texts"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be {' or '.join(known)}, got {getattr(self, name)!r}")


class VlmPipeline:
    """Answers questions about files with a whole vision-language model of transformers.

    Media are decoded and frames chosen here; the model's own chat template, tokenizer and weights do the rest. Threads may
    share one: each call keeps its own state.

    Args:
        engine: The model with its family and prompt writer.
        config: Settings.
        selector: Chooses frames of videos; a name such as `similarity:FOLDER`, a frame selector, or None for even spacing.
    """

    def __init__(self, engine: VlmEngine, config: VlmInfo, selector: str | FrameSelector | None = None) -> None:
        self.engine = engine
        self.config = config
        self.selector = frame_selector(selector)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        folder: Path | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        quantization_config: Any = None,
        cache_folder: str | Path | None = None,
        selector: str | FrameSelector | None = None,
        num_frames: int | None = None,
        max_pixels: int | None = None,
        times: Literal["model", "text"] = "model",
        choices: Literal["letters", "texts"] = "letters",
    ) -> Self:
        """Read a model folder or hub id that transformers wrote.

        Args:
            folder: Result of `find_folder` for `name`, if it was called already.
            cache_folder: Keep features of the frame selector there.
            selector, num_frames, max_pixels, times, choices: See `VlmPipeline` and `VlmInfo`.

        Raises:
            CheckpointError: a folder that lacks a file, or is not what its configuration says.
            ConfigError: settings that do not fit the family.
        """
        folder = find_folder(name) if folder is None else folder
        model_type = read_model_type(folder)
        family_type = family_class(model_type, folder)
        files = read_files(folder)
        family = family_type(files)
        info = VlmInfo(
            name=str(name),
            model_type=model_type,
            family=family_type.__name__,
            num_frames=family.num_frames if num_frames is None else num_frames,
            max_pixels=max_pixels,
            times=times,
            choices=choices,
        )
        family.refuse_budget(max_pixels)
        chosen = frame_selector(selector, device=device, cache_folder=cache_folder)
        place = None if device is None else torch.device(device)
        options: dict[str, Any] = {"dtype": weights_dtype(dtype, place, device_map), "device_map": device_map}
        if quantization_config is not None:
            options["quantization_config"] = quantization_config
        model = read_model(folder, family_type, files.config, **options)
        if place is not None:
            model.to(place)
        writer = PromptWriter(family, chat_template(files), choices)
        return cls(VlmEngine(model, family, writer), info, chosen)

    def __repr__(self) -> str:
        return f"VlmPipeline({self.config.name}, {self.config.model_type}, {self.device}, {self.dtype})"

    @property
    def model(self) -> Any:
        """The model of transformers."""
        return self.engine.model

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.model.dtype

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the model to a device or dtype, as `torch.nn.Module.to` does."""
        self.model.to(*args, **kwargs)
        return self

    # -- questions -----------------------------------------------------------------------------------------------

    @overload
    def ask(
        self, clip: Clip | str | Path, question: str, *, stream: Literal[False] = ..., **options: Any
    ) -> Answer: ...

    @overload
    def ask(
        self, clip: Clip | str | Path, question: str, *, stream: Literal[True], **options: Any
    ) -> Iterator[str]: ...

    def ask(
        self,
        clip: Clip | str | Path,
        question: str,
        *,
        options: Sequence[str] = (),
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        stream: bool = False,
        **arguments: Any,
    ) -> Answer | Iterator[str]:
        """Ask one question about one clip.

        Args:
            clip: A path of a video, or a Clip with a video, an image or both.
            options: Answers to choose from, scored by log-probability; without them the answer is generated.
            start_seconds, end_seconds: The span to use.
            stream: Return an iterator of text pieces, yielded while the model generates; without a Trace.
            arguments: Further arguments of `answer`.
        """
        given = clip if isinstance(clip, Clip) else Clip(clip)
        span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
        if any(value is not None for value in span.values()):
            given = Clip(**given, **given.settings | {n: v for n, v in span.items() if v is not None})
        query = Query.about(given, question, options)
        return self._write(query, arguments) if stream else self.answer([query], **arguments)[0]

    def answer(
        self,
        queries: Query | Sequence[Query],
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        selector: str | FrameSelector | None = None,
        max_pixels: int | None = None,
        times: Literal["model", "text"] | None = None,
        trace: bool | str = True,
        normalize: str = "sum",
        limits: Limits | None = None,
        cancel: Event | None = None,
        **decoding: Any,
    ) -> list[Answer]:
        """Return one answer per query, in order.

        Args:
            num_frames: Frames of each video, each at a chosen timestamp, which reaches the model.
            fps: Sample videos densely at this rate instead, as the family pairs frames itself.
            selector: Chooses the frames, instead of the pipeline's own.
            max_pixels: Upper bound of pixels of a frame (of all frames, for families whose budget is per video).
            times: `text` adds a sentence with the times of the frames to the prompt.
            trace: False leaves the Trace out; "full" keeps every frame in it.
            normalize: Option scores are log-probabilities, `sum` over tokens or `mean` per token.
            limits: Caps on media for this call.
            cancel: Set it from another thread to stop the call, which then raises CancelledError.
            decoding: Arguments of transformers' `generate` (max_new_tokens, num_beams, do_sample, …).

        Raises:
            QueryError: no query, or decoding arguments where every query has options.
            ModalityError: a modality that the model does not read.
            MediaError: media that cannot be used.
            ConfigError: a prompt that is longer than the model's context; says how to shorten it.
            CancelledError: `cancel` was set meanwhile.
        """
        asked = [queries] if isinstance(queries, Query) else list(queries)
        if not asked:
            raise QueryError("no queries; give at least one")
        if strange := next((query for query in asked if not isinstance(query, Query)), None):
            raise QueryError(f"expected queries, got {strange!r}; use ask(clip, question), or Query.about")
        if decoding and all(query.options for query in asked):
            raise QueryError(f"{', '.join(sorted(decoding))} would do nothing: options are scored, not generated")
        call = self._call(
            num_frames=num_frames,
            fps=fps,
            selector=selector,
            max_pixels=max_pixels,
            times=times,
            trace=trace,
            normalize=normalize,
            limits=limits,
            cancel=cancel,
            decoding=decoding,
        )
        return [self.engine.answer(query, call) for query in asked]

    def score(self, queries: Query | Sequence[Query], **options: Any) -> list[tuple[OptionScore, ...]]:
        """Score the options of each query, best first; arguments as for `answer`.

        Raises:
            QueryError: a query without options.
        """
        queries = [queries] if isinstance(queries, Query) else list(queries)
        if any(not query.options for query in queries):
            raise QueryError("a query without options has nothing to score; give options, or use answer()")
        return [answer.options for answer in self.answer(queries, trace=False, **options)]

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        options: Sequence[str] = (),
        stream: bool = False,
        **arguments: Any,
    ) -> Answer | Iterator[str]:
        """Answer the last message of a conversation about one clip, in transformers' message form."""
        query = query_of(messages, options)
        return self._write(query, arguments) if stream else self.answer([query], **arguments)[0]

    def select(
        self,
        clip: Clip | str | Path,
        question: str,
        *,
        num_frames: int,
        selector: str | FrameSelector | None = None,
        limits: Limits | None = None,
        cancel: Event | None = None,
    ) -> dict[str, Any]:
        """Select the timestamps of `clip` that the question is about, without answering it or running the model.

        Args:
            num_frames: How many timestamps.
            selector: Used instead of the pipeline's own.

        Returns:
            `reason`, `seconds`, `indices` of the frames at these times, `spans` with `start`, `end` and `score`, `notes`.
        """
        given = clip if isinstance(clip, Clip) else Clip(clip)
        Query.about(given, question)  # checks the text
        chosen = self.selector if selector is None else frame_selector(selector, device=self.device)
        call = {"num_frames": num_frames, "limits": limits, "cancel": cancel}
        return select_frames(chosen or UniformFrames(), given, question, **call)

    def stream(self, question: str | Sequence[str] | None = None, *, limits: Limits | None = None) -> NoReturn:
        """Raise NotStreamableError: a vision-language model reads whole clips."""
        raise NotStreamableError(
            "a vision-language model reads a whole clip at once; ask about a span with start_seconds and end_seconds, or "
            "stream with a model of vidweave's slots"
        )

    def describe(self) -> dict[str, Any]:
        """Name, type, fingerprint of the weights, settings and dtype, for the record of a run."""
        return {
            "model": self.config.name,
            "model_type": self.config.model_type,
            "weights": module_fingerprint(self.model),
            "settings": {name: getattr(self.config, name) for name in ("num_frames", "max_pixels", "times", "choices")},
            "selector": None if self.selector is None else self.selector.describe(),
            "dtype": str(self.dtype),
        }

    # -- files ---------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write model, tokenizer and preprocessing settings into `folder`, as transformers does."""
        save_folder(self.model, self.engine.family.files.folder, Path(folder), **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> CommitInfo:
        """Upload what `save_pretrained` writes; `options` are those of huggingface_hub."""
        return push_folder(self.save_pretrained, repo_id, **options)

    def close(self) -> None:
        """Write features of the selector that are still in memory; the pipeline keeps working."""
        if self.selector is not None:
            self.selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # -- parts ---------------------------------------------------------------------------------------------------

    def _call(self, **arguments: Any) -> Call:
        given = {name: value for name, value in arguments.items() if value is not None}
        chosen = given.pop("selector", None)
        defaults = {"times": self.config.times, "max_pixels": self.config.max_pixels}
        return Call(
            default_frames=self.config.num_frames,
            selector=self.selector if chosen is None else frame_selector(chosen, device=self.device),
            **{**defaults, **given},
        )

    def _write(self, query: Query, arguments: Mapping[str, Any]) -> Iterator[str]:
        """Process the query now, and generate while the pieces are consumed."""
        known = {n: v for n, v in arguments.items() if n in Call.names()}
        decoding = {n: v for n, v in arguments.items() if n not in known}
        call = self._call(**known, decoding=decoding)
        if query.options:
            raise QueryError("options are scored, not written; leave out stream=True, or the options")
        settings = Decoding.of({**call.decoding})
        if settings.num_beams > 1 or settings.num_return_sequences > 1:
            raise ConfigError("only a single beam can be streamed; set num_beams=1 and num_return_sequences=1")
        prepared = self.engine.prepare(query, call)

        def generate(streamer: Any, stop: Event) -> None:
            self.engine.generate(prepared, call, streamer=streamer, stop=stop)
            call.check_cancelled()

        return write_pieces(generate, self.engine.writer.tokenizer)


if TYPE_CHECKING:

    def _is_a_pipeline(pipe: VlmPipeline) -> Pipeline:
        """The type checker compares every signature."""
        return pipe
