"""The pipeline of a four-slot model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import torch
from huggingface_hub import CommitInfo, HfApi
from torch import nn

from vidweave.errors import ConfigError, QueryError
from vidweave.language.decoding import Decoding
from vidweave.media.limits import Limits
from vidweave.model.adapter_files import load_adapter
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import CacheFolder, FeatureCache, module_fingerprint
from vidweave.model.compose.export import export_llava
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.frame_counts import FrameCounts
from vidweave.model.load import load_model
from vidweave.model.processor import Processor
from vidweave.pipelines.answering import CallOptions, answer_queries, read_queries
from vidweave.pipelines.frame_selection.names import PipelineSelector
from vidweave.pipelines.frame_selection.panel import select_frames
from vidweave.pipelines.frame_selection.scenes import select_prepared
from vidweave.pipelines.live import Stream
from vidweave.pipelines.messages import query_of
from vidweave.pipelines.selecting import select_timestamps
from vidweave.pipelines.writing import write_pieces
from vidweave.types import Answer, Clip, FrameSelector, ModelInputs, OptionScore, Pipeline, Query, config_to_dict

__all__ = ["SlotPipeline"]


class SlotPipeline:
    """Answers questions about files.

    Threads may share one: each call keeps its own state, and no call changes a weight.

    Args:
        model: The model with its weights; `pipe.model` is for training, and for use as in transformers.
        processor: Queries → inputs of the model; None uses the one that was loaded with the model.
        cache_folder: Keep features of frozen encoders there, and use those that are there.
        selector: Chooses the frames of videos in place of the model's own selector: a frame selector or its name, see
            `pipelines.frame_selection.names.frame_selector`.

    Attributes:
        bases: Sources of the frozen parts of a composed model, for `save_pretrained(bases=pipe.bases)`.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        processor: Processor | None = None,
        *,
        cache_folder: str | Path | None = None,
        selector: str | FrameSelector | None = None,
    ) -> None:
        if not isinstance(model, VideoLanguageModel):
            raise ConfigError(f"expected a VideoLanguageModel, got {type(model).__name__}; load one with vidweave.load")
        self.model = model
        self._processor = processor
        self.bases: dict[str, str] = {}
        self._cache_folder = None if cache_folder is None else CacheFolder(cache_folder)
        given = model.config.frame_selector or None if selector is None else selector
        self._selector = PipelineSelector(given, device=model.device, cache_folder=cache_folder)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        cache_folder: str | Path | None = None,
        adapter: str | Path | None = None,
        selector: str | FrameSelector | None = None,
        **options: Any,
    ) -> Self:
        """Read a model; arguments as of `vidweave.load`."""
        model = load_model(name, **options)
        if adapter is not None:
            load_adapter(model, adapter)
        if cache_folder is not None:  # features can be reused only while the encoders are frozen
            model.encoders.requires_grad_(False)
        return cls(model, cache_folder=cache_folder, selector=selector)

    def __repr__(self) -> str:
        return f"SlotPipeline({self.config.name or 'unnamed'}, {self.device}, {self.dtype})"

    @property
    def processor(self) -> Processor:
        """Queries → inputs of the model; the pipeline's own, or the one that was loaded with the model."""
        return self.model.processor if self._processor is None else self._processor

    @property
    def config(self) -> VideoLanguageConfig:
        """The model's configuration."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return self.model.dtype

    @property
    def selector(self) -> FrameSelector | None:
        """Chooses the frames of videos; None leaves that to the model's own selector."""
        return self._selector.own

    @property
    def cache(self) -> FeatureCache | None:
        """Look-up of stored features for the weights as they are now; None without a cache folder."""
        if self._cache_folder is None:
            return None
        return self._cache_folder.look_up(self.model.spec, dict(self.model.encoders.items()), self.model.dtype)

    def use_cache_folder(self, folder: str | Path | None) -> None:
        """Keep features of frozen encoders in `folder` from now on, and use those that are there; None turns it off."""
        if self._cache_folder is not None:
            self._cache_folder.close()
        self._cache_folder = None if folder is None else CacheFolder(folder)

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
        num_frames: FrameCounts | None = None,
        selector: str | FrameSelector | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        trace: bool | str = True,
        stream: bool = False,
        normalize: str = "sum",
        limits: Limits | None = None,
        cancel: Event | None = None,
        **decoding: Any,
    ) -> Answer | Iterator[str]:
        """Ask one question about one clip.

        Args:
            clip: A path of a video, or a Clip with any modalities that the model supports.
            options: Answers to choose from, scored by log-probability; without them the answer is generated.
            num_frames: Frames to sample instead of the configured number; one number, or one for each stream.
            selector: Chooses the frames of this call, e.g. ``"similarity:google/siglip2-base-patch16-224"``.
            start_seconds, end_seconds: The span to use.
            trace: False leaves the Trace out; "full" keeps every frame in it.
            stream: Return an iterator of text pieces, yielded while the model generates; without a Trace.
            normalize: Option scores are log-probabilities, `sum` over tokens or `mean` per token.
            limits: Caps on media for this call.
            cancel: Set it from another thread to stop the call, which then raises CancelledError.
            decoding: Arguments of transformers' `generate` (max_new_tokens, num_beams, do_sample, …).
        """
        if isinstance(clip, (str, Path)) or start_seconds is not None or end_seconds is not None:
            clip = _as_clip(clip, start_seconds, end_seconds)
        query = Query.about(clip, question, options)
        call = {"trace": trace, "normalize": normalize, "limits": limits, "cancel": cancel, "decoding": decoding}
        settings = CallOptions(num_frames=num_frames, selector=self._selector.of(selector), **call)
        return self._write(query, settings) if stream else self._answer([query], settings)[0]

    def answer(
        self,
        queries: Query | Sequence[Query],
        *,
        num_frames: FrameCounts | None = None,
        selector: str | FrameSelector | None = None,
        trace: bool | str = True,
        normalize: str = "sum",
        limits: Limits | None = None,
        cancel: Event | None = None,
        **decoding: Any,
    ) -> list[Answer]:
        """Return one answer per query, in as few batches as their media allow; arguments as for `ask`."""
        call = {"trace": trace, "normalize": normalize, "limits": limits, "cancel": cancel, "decoding": decoding}
        options = CallOptions(num_frames=num_frames, selector=self._selector.of(selector), **call)
        return self._answer(queries, options)

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
        """Answer the last message of a conversation about one clip.

        Each turn is formatted like a single question in the model's prompt, followed by its answer.

        Args:
            messages: Messages in transformers' form, e.g. ``[{"role": "user", "content": [{"type": "video", "path": "a.mp4"},
                {"type": "text", "text": "What is this?"}]}, {"role": "assistant", "content": "A dog."}, …]``.
            arguments: Further arguments of `answer`.
        """
        query = query_of(messages, options)
        if not stream:
            return self.answer([query], **arguments)[0]
        known = {name: arguments.pop(name) for name in ("num_frames", "limits", "cancel") if name in arguments}
        selector = self._selector.of(arguments.pop("selector", None))
        return self._write(query, CallOptions(**known, selector=selector, decoding=arguments))

    def select(
        self,
        clip: Clip | str | Path,
        question: str,
        *,
        num_frames: int,
        selector: nn.Module | FrameSelector | str | None = None,
        limits: Limits | None = None,
        cancel: Event | None = None,
    ) -> dict[str, Any]:
        """Select the timestamps of `clip` that the question is about, without answering it or decoding a frame to encode.

        Args:
            num_frames: How many timestamps.
            selector: Used instead of the pipeline's: a frame selector or its name, or a module, which gets the model's motion.

        Returns:
            `reason`, `seconds`, `indices` of the frames at these times, `spans` with `start`, `end` and `score`; for
            selectors with a motion stream also `steps`, `energy` and `probability`; for frame selectors `scores` and
            `costs`; `notes`.

        Raises:
            ModalityError: the clip has no frames, or lacks the selector's motion input.
        """
        clip = clip if isinstance(clip, Clip) else Clip(clip)
        call: dict[str, Any] = {"num_frames": num_frames, "limits": limits, "cancel": cancel}
        chooser = None if isinstance(selector, nn.Module) else self._selector.of(selector)
        if chooser is not None:
            return select_frames(chooser, clip, question, **call)
        own: Any = selector
        return select_timestamps(self.model, self.processor, clip, question, selector=own, cache=self.cache, **call)

    def stream(self, question: str | Sequence[str] | None = None, *, limits: Limits | None = None) -> Stream:
        """Open a live stream or long clip that is pushed piece by piece and answers questions at any time.

        Args:
            question: Questions to answer exactly with a connector that reads text; others are answered approximately.
            limits: Limits on pushed media, instead of the processor's.
        """
        return Stream(self.model, self.processor, question, limits=limits)

    def inputs(self, queries: Query | Sequence[Query], **arguments: Any) -> ModelInputs:
        """Prepare inputs of `model.forward` and `model.generate`: selected, decoded, and with stored features if there are any.

        Args:
            arguments: Arguments of the processor, e.g. `targets` for training and `num_frames`.
        """
        chooser = self.selector
        select = self.model.select if chooser is None else partial(select_prepared, chooser)
        return self.processor(queries, select=select, cache=self.cache, **arguments)

    def describe(self) -> dict[str, Any]:
        """Name, fingerprints of all weights and of the settings (frames, prompt, …), and dtype, for the record of a run."""
        settings = json.dumps(config_to_dict(self.model.spec), sort_keys=True)
        return {
            "model": self.config.name or "unnamed",
            "weights": module_fingerprint(self.model),
            "settings": sha256(settings.encode()).hexdigest(),
            "dtype": str(self.dtype),
            **self._selector.describe(),
        }

    # -- files ---------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write model and processor into `folder`, from which `vidweave.load` reads them; see the model's own method."""
        self.model.save_pretrained(folder, processor=self._processor, **options)

    def export(self, folder: str | Path) -> None:
        """Write the model as transformers' `LlavaForConditionalGeneration`, which vLLM and llama.cpp read too.

        Raises:
            ConfigError: parts that no class of transformers holds; LLaVA is a tower, an MLP and a causal language model.
        """
        export_llava(self.model, self.processor, folder)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload model",
        **options: Any,
    ) -> CommitInfo:
        """Upload model and processor; `options` are those of `save_pretrained`, the others those of huggingface_hub."""
        hub = HfApi(token=token)
        with TemporaryDirectory(prefix="vidweave-") as folder:
            self.save_pretrained(folder, **options)
            repository = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = {"revision": revision, "create_pr": create_pr, "commit_message": commit_message}
            return hub.upload_folder(repo_id=repository, folder_path=folder, **commit)

    def close(self) -> None:
        """Write the features that are still in memory, and close the feature cache; the pipeline keeps working without one."""
        self.use_cache_folder(None)
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # -- parts ---------------------------------------------------------------------------------------------------

    def _answer(self, queries: Query | Sequence[Query], options: CallOptions) -> list[Answer]:
        return answer_queries(self.model, self.processor, queries, options, self.cache)

    def _write(self, query: Query, options: CallOptions) -> Iterator[str]:
        """Process the query now, and generate while the pieces are consumed."""
        settings = Decoding.of(self.model.decoding(options.decoding))
        if query.options:
            raise QueryError("options are scored, not written; leave out stream=True, or the options")
        if settings.num_beams > 1 or settings.num_return_sequences > 1:
            raise ConfigError("only a single beam can be streamed; set num_beams=1 and num_return_sequences=1")
        embeds = read_queries(self.model, self.processor, [query], options, self.cache).embeds

        def generate(streamer: Any, stop: Event) -> None:
            decoding = self.model.decoding(options.decoding)
            events = [stop] if options.cancel is None else [stop, options.cancel]
            with torch.no_grad():
                self.model.language_model.generate(embeds, streamer=streamer, cancel=events, **decoding)
            options.check_cancelled()

        return write_pieces(generate, self.processor.tokenizers["language"])


if TYPE_CHECKING:

    def _is_a_pipeline(pipe: SlotPipeline) -> Pipeline:
        """The type checker compares every signature."""
        return pipe


def _as_clip(clip: Clip | str | Path, start_seconds: float | None, end_seconds: float | None) -> Clip:
    """A clip with the given span; borders that the clip already has are kept where none is given."""
    if isinstance(clip, (str, Path)):
        return Clip(clip, start_seconds=start_seconds, end_seconds=end_seconds)
    given = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    return Clip(**clip, **clip.settings | {name: value for name, value in given.items() if value is not None})
