"""From queries to model inputs: `prepare` → (a model's `select`) → `fetch`; calling the processor does all three."""

# Axes: R rows = (item, scene) pairs with frames, C candidate timestamps, B items, L text tokens

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from threading import RLock
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vidweave.connectors.counts import block_segments
from vidweave.errors import CheckpointError, ConfigError, MediaError, ModalityError, QueryError
from vidweave.language.layout import TemplateLayout
from vidweave.language.tokenizer import load_tokenizer
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.model.cache import FeatureCache
from vidweave.model.collate import collate_stream
from vidweave.model.config import ModelSpec, VideoLanguageConfig
from vidweave.model.files import read_json
from vidweave.model.frame_counts import FrameCounts, counts_by_stream, with_count
from vidweave.model.gather import OpenScene, StreamRow, check_modalities, gather_scene, route
from vidweave.model.mixing import mixed_needs, mixed_segments
from vidweave.model.pool import pool_segments
from vidweave.model.prepared import RULE_SELECTIONS, Prepared
from vidweave.model.swap import PROCESSOR_FILES, current, replaced
from vidweave.registry import MODALITIES
from vidweave.types import (
    Clip,
    ModelInputs,
    PrecomputedFeatures,
    PromptPlan,
    Query,
    Selection,
    SelectorInputs,
    TextSpec,
    TextTokens,
)

__all__ = ["Processor"]


class Processor:
    """Tokenizers, media and the prompt of one model.

    Plain data without weights or a reference to a model, so that data workers can hold a copy. Threads may share one.

    Args:
        config: The model's configuration.
        tokenizers: `language`, and one for each further name that `spec.text` mentions.
        limits: Caps on media.
    """

    def __init__(
        self,
        config: VideoLanguageConfig,
        tokenizers: Mapping[str, PreTrainedTokenizerBase],
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.config = config
        self.spec: ModelSpec = config.parse()
        self.limits = limits
        self.tokenizers = dict(tokenizers)
        missing = {"language", *(text.tokenizer for text in self.spec.text.values())} - set(self.tokenizers)
        if missing:
            raise ConfigError(f"the processor lacks tokenizers: {', '.join(sorted(missing))}")
        self._lock = RLock()  # a tokenizer is set up for each call, so only one thread may use it at a time

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=RLock())

    def for_config(self, config: VideoLanguageConfig) -> Processor:
        """The same tokenizers and caps for another configuration."""
        return Processor(config, self.tokenizers, limits=self.limits)

    # -- queries -> inputs ---------------------------------------------------------------------------------------

    def prepare(
        self,
        queries: Query | Sequence[Query],
        *,
        num_frames: FrameCounts | None = None,
        cache: FeatureCache | None = None,
        has_motion: bool = True,
        limits: Limits | None = None,
    ) -> Prepared:
        """Open and index the media of `queries`; read text and motion; list candidate timestamps.

        Args:
            num_frames: Replaces the number of frames of every connector stream that has one; a list or a mapping of
                streams to numbers replaces each by its own. The configured number
                is repeated where a clip is shorter, and a note says so; a requested number is not.
            cache: Look-up of stored features of the motion.
            has_motion: Read the selector's motion input; False for a selector that needs none.
            limits: Caps on media for this call, in place of the processor's own.

        Raises:
            ModalityError: a supplied modality that no stream of the model takes.
            MediaError: a source that cannot be used, or with fewer frames than `num_frames`.
        """
        queries = [queries] if isinstance(queries, Query) else list(queries)
        if not queries:
            raise QueryError("no queries; give at least one")
        for query in queries:
            for scene in query.scenes:
                check_modalities(self.spec, scene.clip)
        caps = self.limits if limits is None else limits
        scenes = _open_scenes(queries, caps)
        counts = counts_by_stream(num_frames, {n: s.need for n, s in self.spec.connector_streams.items()})
        needs = {n: with_count(s.need, counts.get(n)) for n, s in self.spec.connector_streams.items()}
        self._check_number(scenes.values(), counts)
        prepared = Prepared(
            queries,
            scenes,
            *self._candidates(scenes),
            text={slot: self.read_text(slot, [query.text for query in queries]) for slot in self.spec.text},
            needs=needs,
        )
        try:
            if has_motion:
                self._add_motion(prepared, cache)
        except BaseException:
            prepared.close()
            raise
        return prepared

    def fetch(
        self,
        prepared: Prepared,
        selection: Selection | None = None,
        *,
        targets: Sequence[str] | None = None,
        target_spans: Tensor | None = None,
        cache: FeatureCache | None = None,
    ) -> ModelInputs:
        """Decode the frames of the selection and the streams' needs, preprocess them, and plan the prompt.

        Args:
            selection: From the model's `select`, or any other (oracle, per-frame labelling); None: by each need's rule.
                One with `mix` (`mixing.every_candidate`) fetches all its candidates.
            targets: Target answers, one per query.
            target_spans: Spans (R, m, 2) in seconds as targets of the selector, a row for each row of candidates.
            cache: Look-up of stored features, whose media are not decoded. New ones are stored after encoding.
        """
        timestamps = (
            {} if selection is None or selection.reason in RULE_SELECTIONS else _timestamps(selection, prepared)
        )
        why = selection.reason if selection is not None else "uniform"
        mixed = selection is not None and selection.mix is not None
        needs = mixed_needs(prepared.needs, self.spec.streams) if mixed else prepared.needs
        gathered: dict[str, list[tuple[int, int, StreamRow]]] = {}
        cache = None if cache is None else cache.for_batch()
        decoded: dict[Any, dict[str, StreamRow]] = {}  # scenes of one clip at the same times are decoded once
        for (item, scene), opened in prepared.scenes.items():
            at = timestamps.get((item, scene))
            key = (id(opened), None if at is None else at.tobytes())
            if key not in decoded:
                decoded[key] = gather_scene(self.spec, opened, needs, timestamps=at, why=why, cache=cache)
            for name, row in decoded[key].items():
                gathered.setdefault(name, []).append((item, scene, row))
        streams = {name: collate_stream(name, rows) for name, rows in gathered.items()}
        seq2seq = self.spec.language_model.kind == "seq2seq"
        segments = self._segments(prepared, gathered, selection)
        plan = self.plan(prepared.queries, segments, None if seq2seq else targets)
        return ModelInputs(
            streams=streams,
            text=prepared.text,
            plan=plan,
            num_items=len(prepared.queries),
            pairs=tuple(prepared.scenes),
            target=self.target_tokens(prepared.queries, targets) if seq2seq and targets is not None else None,
            selection=selection,
            selector_inputs=self._selector_inputs(prepared, selection, target_spans),
            provenance=dict.fromkeys(self.spec.selector_streams, prepared.motion_rows)
            | {name: [(i, s, r.without_tensors()) for i, s, r in rows] for name, rows in gathered.items()},
        )

    def __call__(
        self,
        queries: Query | Sequence[Query] | Clip | str | Path,
        question: str | None = None,
        *,
        options: Sequence[str] = (),
        num_frames: FrameCounts | None = None,
        targets: Sequence[str] | None = None,
        selection: Selection | None = None,
        select: Callable[[Prepared], Selection | None] | None = None,
        cache: FeatureCache | None = None,
        limits: Limits | None = None,
    ) -> ModelInputs:
        """Everything at once: queries, or one clip and a question → inputs of the model's `generate` and `forward`.

        Args:
            selection: Timestamps to decode.
            select: A model's `select`, which chooses them; with neither, each stream places its frames by its own rule.

        Raises:
            QueryError: neither of them for a model whose selector does more than that.
        """
        if isinstance(queries, (Clip, str, Path)):
            if question is None:
                raise QueryError("a clip without a question; call processor(clip, 'What happens?')")
            queries = Query.about(queries, question, options)
        if selection is None and select is None and self.spec.selector.kind not in RULE_SELECTIONS:
            raise QueryError(
                f"this model selects frames by {self.spec.selector.kind!r}, which the processor cannot do alone; give "
                "select=model.select, or a selection"
            )
        with self.prepare(queries, num_frames=num_frames, cache=cache, limits=limits) as prepared:
            if selection is None and select is not None:
                selection = select(prepared)
            return self.fetch(prepared, selection, targets=targets, cache=cache)

    # -- texts ---------------------------------------------------------------------------------------------------

    def plan(
        self,
        queries: Sequence[Query],
        segments: Mapping[tuple[str, int, int], int],
        targets: Sequence[str] | None = None,
        *,
        layout: TemplateLayout | None = None,
    ) -> PromptPlan:
        """The prompts of `queries`.

        Args:
            segments: (block, item, scene) → time steps of that token block, see `connectors.segments.counts_of`.
            targets: Answers to train on, one per query (causal language models only).
            layout: Another prompt than the model's own.
        """
        with self._lock:
            return (layout or self.spec.layout).plan(queries, self.tokenizers["language"], segments, targets=targets)

    def target_tokens(
        self, queries: Sequence[Query], targets: Sequence[str], *, layout: TemplateLayout | None = None
    ) -> TextTokens:
        """Answers to train on, one per query, for a sequence-to-sequence language model; padded on the right."""
        with self._lock:
            return (layout or self.spec.layout).target_tokens(queries, targets, self.tokenizers["language"])

    def read_text(self, slot: str, questions: Sequence[str]) -> TextTokens:
        """Tokenize each question for `slot` (`trunk`, `selector`)."""
        spec = self.spec.text[slot]
        texts = [spec.template.format(question=question) for question in questions]
        with self._lock:
            return _tokenize(self.tokenizers[spec.tokenizer], texts, spec)

    def decode(self, ids: Tensor) -> list[str]:
        """Generated ids (B, L) → texts, without special tokens, up to the layout's stop text, stripped."""
        with self._lock:
            texts = self.tokenizers["language"].batch_decode(ids, skip_special_tokens=True)
        return [self.spec.layout.answer.cut(text).strip() for text in texts]

    def option_ids(self, queries: Sequence[Query]) -> list[list[list[int]]]:
        """Token ids of each query's options, written as the layout writes answers."""
        with self._lock:
            return [self.spec.layout.option_ids(query, self.tokenizers["language"]) for query in queries]

    def answer_ids(self, answer: str, options: Sequence[str] = ()) -> list[int]:
        """Token ids of one answer, written as the layout writes answers."""
        with self._lock:
            return self.spec.layout.answer_ids(answer, self.tokenizers["language"], options)

    def prompts(self, plan: PromptPlan) -> list[str]:
        """The prompts as text, a token block standing as its name in angle brackets."""
        tokenizer, prompts = self.tokenizers["language"], []
        for ids, slots in zip(plan.ids.tolist(), plan.slot.tolist(), strict=True):
            runs = groupby(zip(ids, slots, strict=True), key=lambda pair: pair[1])
            with self._lock:
                parts = [
                    f"<{plan.slots[slot][0]}>" if slot >= 0 else str(tokenizer.decode([i for i, _ in run if i >= 0]))
                    for slot, run in runs
                ]
            prompts.append("".join(parts))
        return prompts

    # -- parts ---------------------------------------------------------------------------------------------------

    def _candidates(self, scenes: Mapping[tuple[int, int], OpenScene]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frame times of each scene's first stream: the candidates of a selector."""
        rows, keys = [], []
        for key, scene in scenes.items():
            modality = self._pictures(scene.clip)
            if modality is not None:
                rows.append(torch.from_numpy(np.array(scene.timeline(modality), dtype=np.float64)))
                keys.append(key)
        if not rows:
            return torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.bool), *_pairs([])
        lengths = torch.tensor([len(row) for row in rows])
        candidates = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return candidates, torch.arange(candidates.shape[1])[None] < lengths[:, None], *_pairs(keys)

    def _pictures(self, clip: Clip) -> str | None:
        """The first modality of the clip that a stream samples frames from."""
        streams = (*self.spec.connector_streams.values(), *self.spec.selector_streams.values())
        routes = (route(stream, clip) for stream in streams)
        return next((modality for modality in routes if modality is not None and _shows_pictures(clip, modality)), None)

    def _check_number(self, scenes: Iterable[OpenScene], counts: Mapping[str, int]) -> None:
        """Raise MediaError where a video has fewer frames; a single image has no number to choose."""
        for scene in scenes:
            for name, count in counts.items():
                modality = route(self.spec.streams[name], scene.clip)
                if modality in (None, "image") or not _shows_pictures(scene.clip, modality):
                    continue
                available = max(1, len(scene.timeline(modality)))  # between two frames, one is on show
                if count > available:
                    raise MediaError(
                        f"{count} frames were requested, the {modality} has {available} in the chosen span; "
                        f"request at most {available}"
                    )

    def _add_motion(self, prepared: Prepared, cache: FeatureCache | None) -> None:
        """Motion input of the selector, one row for each row of candidates."""
        cache = None if cache is None else cache.for_batch()
        for name, stream in self.spec.selector_streams.items():
            rows = []
            watched: dict[int, dict[str, StreamRow]] = {}
            for item, scene in zip(prepared.item.tolist(), prepared.scene.tolist(), strict=True):
                opened = prepared.scenes[item, scene]
                if id(opened) not in watched:
                    watched[id(opened)] = gather_scene(self.spec, opened, {name: stream.need}, cache=cache)
                result = watched[id(opened)]
                if name not in result:
                    raise ModalityError(
                        f"the selector watches {' or '.join(stream.modalities)}, and a clip has none; give it, or use a"
                        " model whose selector needs no motion"
                    )
                rows.append((item, scene, result[name]))
            prepared.motion = collate_stream(name, rows) if rows else None
            prepared.motion_rows = [(i, s, r.without_tensors()) for i, s, r in rows]

    def _selector_inputs(
        self, prepared: Prepared, selection: Selection | None, target_spans: Tensor | None
    ) -> SelectorInputs | None:
        if prepared.motion is None:
            return None
        k = None if selection is None else selection.seconds.shape[1]
        return prepared.selector_inputs(k, target_spans)

    def _segments(
        self,
        prepared: Prepared,
        gathered: Mapping[str, Sequence[tuple[int, int, StreamRow]]],
        selection: Selection | None,
    ) -> dict[tuple[str, int, int], int]:
        """Number of segments of each block of the connector, by (block, item, scene)."""
        lengths: dict[tuple[str, int, int], int] = {}
        for name, rows in gathered.items():
            need = prepared.needs[name]
            mix = None if selection is None or not need.follow_selection else selection.mix
            for item, scene, row in rows:
                pool = None if row.features is not None else self.spec.streams[name].pool
                lengths[name, item, scene] = (
                    pool_segments(len(row.seconds), pool) if mix is None else mixed_segments(need, mix.shape[1])
                )
        return block_segments(self.spec.connector, lengths, prepared.scenes)

    # -- files ---------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the tokenizers next to the model, replacing older ones: `processor_config.json`, `tokenizers/<name>/`.

        Raises:
            CheckpointError: something could not be written (disk full); existing files are unchanged.
        """
        with replaced(Path(folder), keep=_is_of_the_model) as staging:
            self.write_into(staging)

    def write_into(self, folder: Path) -> None:
        """As `save_pretrained`, into a folder that is not in use yet."""
        for name, tokenizer in self.tokenizers.items():
            tokenizer.save_pretrained(folder / "tokenizers" / name)
        (folder / "processor_config.json").write_text(
            json.dumps({"tokenizers": sorted(self.tokenizers)}, indent=2) + "\n"
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, config: VideoLanguageConfig, *, limits: Limits = DEFAULT_LIMITS
    ) -> Self:
        """Load the output of `save_pretrained`.

        Raises:
            CheckpointError: the folder holds no processor.
        """
        folder = current(Path(folder))
        names = read_json(folder / "processor_config.json").get("tokenizers")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CheckpointError(
                f"{folder} holds no readable processor_config.json (tokenizers: {names!r}); save the processor there"
            )
        tokenizers = {name: load_tokenizer(folder / "tokenizers" / Path(name).name) for name in names}
        return cls(config, tokenizers, limits=limits)


def _open_scenes(queries: Sequence[Query], limits: Limits) -> dict[tuple[int, int], OpenScene]:
    """Opened scenes by (item, scene); scenes that show the same sources share one, which opens and indexes them once."""
    opened: dict[Any, OpenScene] = {}
    scenes = {}
    for item, query in enumerate(queries):
        for number, scene in enumerate(query.scenes):
            clip = scene.clip
            sources = tuple((name, str(s) if isinstance(s, (str, Path)) else id(s)) for name, s in clip.items())
            key = (sources, tuple(clip.settings.values()))
            if key not in opened:
                opened[key] = OpenScene(clip, limits)
            scenes[item, number] = opened[key]
    return scenes


def _is_of_the_model(name: str) -> bool:
    return name.endswith((".json", ".safetensors")) and name not in PROCESSOR_FILES


def _shows_pictures(clip: Clip, modality: str) -> bool:
    is_given = isinstance(clip[modality], PrecomputedFeatures)
    return not is_given and MODALITIES.entry(modality).facts.carrier == "frames"


def _timestamps(selection: Selection, prepared: Prepared) -> dict[tuple[int, int], np.ndarray]:
    """Seconds to decode: the selected timestamps, or all candidates if they are to be mixed."""
    item = prepared.item if selection.item is None else selection.item
    scene = prepared.scene if selection.scene is None else selection.scene
    pairs = zip(item.tolist(), scene.tolist(), strict=True)
    seconds, mask = selection.seconds, selection.mask
    if selection.mix is not None and selection.candidates is not None and selection.candidate_mask is not None:
        seconds, mask = selection.candidates, selection.candidate_mask
    return {pair: seconds[r][mask[r]].cpu().numpy() for r, pair in enumerate(pairs)}


def _pairs(keys: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([i for i, _ in keys], dtype=torch.long), torch.tensor([s for _, s in keys], dtype=torch.long)


def _tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], spec: TextSpec) -> TextTokens:
    tokenizer.truncation_side = spec.truncation_side
    special = spec.add_special_tokens
    rows = tokenizer(list(texts), add_special_tokens=special, truncation=True, max_length=spec.max_tokens)["input_ids"]
    return _pad_ids(rows)


def _pad_ids(rows: Sequence[Sequence[int]]) -> TextTokens:
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], dtype=torch.long)
    return TextTokens(ids, torch.arange(length)[None] < torch.tensor([len(row) for row in rows])[:, None])
