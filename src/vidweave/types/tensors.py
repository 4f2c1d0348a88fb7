"""Tensor carriers between encoders, connector and language model. Shapes are checked at construction."""

# Axes: R rows = present (item, scene) pairs of a stream, B items, T segments, N tokens, C encoder width,
#       Q query tokens, D language-model width, L text tokens (motion steps of a selection), S sequence length,
#       k selected timestamps, m spans; of a selection C candidate timestamps.
# Masks: True = real.

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from vidweave.errors import ShapeError
from vidweave.types.summary import Summarized

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from torch import Tensor

__all__ = [
    "Blocks",
    "Embeds",
    "FeatureSink",
    "Features",
    "ModelInputs",
    "Prefix",
    "PromptPlan",
    "Selection",
    "SelectorInputs",
    "StoreEntry",
    "StreamInputs",
    "TextTokens",
]


def _expect(owner: object, **shapes: tuple[str | int, ...]) -> None:
    """Check that named tensors have the named axes; one letter has one size throughout."""
    sizes: dict[str, int] = {}
    for name, axes in shapes.items():
        value = getattr(owner, name)
        if value is None:
            continue
        got = tuple(value.shape)
        ok = len(got) == len(axes)
        for axis, size in zip(axes, got, strict=False):
            want = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            ok = ok and want == size
        if not ok:
            known = ", ".join(f"{a}={s}" for a, s in sizes.items())
            raise ShapeError(
                f"{type(owner).__name__}.{name} must be ({', '.join(map(str, axes))}) with {known}; got {got}"
            )


class _Movable(Summarized):
    """Adds `to`: a copy with every tensor on another device (floating ones also in another dtype)."""

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        def move(value: Any) -> Any:
            if isinstance(value, _Movable):
                return value.to(device, dtype)
            if isinstance(value, dict):
                return {key: move(item) for key, item in value.items()}
            if hasattr(value, "is_floating_point"):
                return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            return value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})  # type: ignore[type-var]


@dataclass(frozen=True, eq=False, repr=False)
class Features(_Movable):
    """Features from an encoder. R = 0 is legal.

    `seconds` is kept in float32 whatever the dtype of `values`; `item` and `scene` are the indices of each row's query and clip.
    """

    values: Tensor  # (R, T, N, C)
    mask: Tensor  # (R, T, N) bool
    seconds: Tensor  # (R, T, 2) start and end of each segment
    item: Tensor  # (R,) int64
    scene: Tensor  # (R,) int64

    def __post_init__(self) -> None:
        _expect(
            self, values=("R", "T", "N", "C"), mask=("R", "T", "N"), seconds=("R", "T", 2), item=("R",), scene=("R",)
        )


@dataclass(frozen=True, eq=False, repr=False)
class Selection(_Movable):
    """Timestamps selected per row (`media.plan` converts them to frames).

    A trainable selector adds `logits` of start and end at the motion steps, whose times are `steps`; and, if it is
    trained through the answer, `mix`, the weights of the candidate timestamps (`candidates`) in each selected one. Then
    all candidates are encoded, and their features are mixed.
    """

    seconds: Tensor  # (R, k)
    mask: Tensor  # (R, k) bool
    spans: Tensor  # (R, m, 2) seconds
    scores: Tensor | None = None  # (R, m) probability of each span, 0 where there are fewer spans
    logits: Tensor | None = None  # (R, L, 2)
    steps: Tensor | None = None  # (R, L, 2) seconds
    step_mask: Tensor | None = None  # (R, L) bool
    mix: Tensor | None = None  # (R, k, C)
    candidates: Tensor | None = None  # (R, C) seconds
    candidate_mask: Tensor | None = None  # (R, C) bool
    item: Tensor | None = None  # (R,) int64
    scene: Tensor | None = None  # (R,) int64
    reason: str = "uniform"
    notes: tuple[tuple[int, str], ...] = ()  # (row, note for the user), for the Trace

    def __post_init__(self) -> None:
        _expect(
            self,
            seconds=("R", "k"),
            mask=("R", "k"),
            spans=("R", "m", 2),
            scores=("R", "m"),
            logits=("R", "L", 2),
            steps=("R", "L", 2),
            step_mask=("R", "L"),
            mix=("R", "k", "C"),
            candidates=("R", "C"),
            candidate_mask=("R", "C"),
            item=("R",),
            scene=("R",),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Blocks(_Movable):
    """Tokens of a connector for the language model; the fusion names them."""

    values: Tensor  # (R, T, Q, D)
    mask: Tensor  # (R, T, Q) bool
    seconds: Tensor  # (R, T, 2)
    item: Tensor  # (R,) int64
    scene: Tensor  # (R,) int64

    def __post_init__(self) -> None:
        _expect(
            self, values=("R", "T", "Q", "D"), mask=("R", "T", "Q"), seconds=("R", "T", 2), item=("R",), scene=("R",)
        )


@dataclass(frozen=True, eq=False, repr=False)
class TextTokens(_Movable):
    """Text for one slot: right-padded ids and mask, one row per item."""

    ids: Tensor  # (B, L) int64
    mask: Tensor  # (B, L) bool

    def __post_init__(self) -> None:
        _expect(self, ids=("B", "L"), mask=("B", "L"))


class FeatureSink(Protocol):
    """Protocol of a store of features by key, such as `vidweave.media.store.FeatureStore`."""

    def put(self, key: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any] | None = None) -> None:
        """Store `tensors` and `info` under `key`."""
        ...


@dataclass(frozen=True, repr=False)
class StoreEntry(Summarized):
    """Destination of the features of one row: the `key` in a feature store, and the information stored with them.

    Attributes:
        store: Receives the features; None stores nothing.
    """

    key: str
    info: Mapping[str, Any] = field(default_factory=dict)
    store: FeatureSink | None = None


@dataclass(frozen=True, eq=False, repr=False)
class StreamInputs(_Movable):
    """Rows of one stream: preprocessed media for its encoder, precomputed features, or some rows of each.

    `values` is (R, T, window, 3, H, W) for frames, (R, T, samples) or (R, T, frames, mels) for audio,
    (R, 1, points, 3 + width) for points; None if there is nothing to encode. `mask`, `seconds`, `item` and `scene`
    describe the rows of `values`, or those of `features` if there are no values.

    Attributes:
        modality: Modality of all rows.
        features: Features of the rows that need no encoder, with their own `item` and `scene`.
        entries: One per row of `values`, if its features go to the feature store.
        same: For each row of `values`, the first row with the same media, which is encoded for both; empty if all differ.
    """

    values: Tensor | None
    mask: Tensor  # (R, T) bool
    seconds: Tensor  # (R, T, 2)
    item: Tensor  # (R,) int64
    scene: Tensor  # (R,) int64
    modality: str
    features: Features | None = None
    entries: tuple[StoreEntry, ...] = ()
    same: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _expect(self, mask=("R", "T"), seconds=("R", "T", 2), item=("R",), scene=("R",))
        if self.values is None and self.features is None:
            raise ShapeError("a stream holds values to encode, features, or both; got neither")
        if self.values is not None and tuple(self.values.shape[:2]) != tuple(self.mask.shape):
            raise ShapeError(
                f"stream values start with {tuple(self.values.shape[:2])}, the mask is {tuple(self.mask.shape)}"
            )
        if self.entries and (self.values is None or len(self.entries) != len(self.values)):
            raise ShapeError(f"a stream needs one store entry per row to encode, got {len(self.entries)} entries")

    def has_steps(self) -> Tensor:
        """(R,) bool: rows with at least one real time step, those to encode and those with features, by (item, scene)."""
        rows = [] if self.values is None else [(self.item, self.scene, self.mask.any(1))]
        if self.features is not None:
            rows.append((self.features.item, self.features.scene, self.features.mask.flatten(1).any(1)))
        parts = [row for part in rows for row in zip(*(t.tolist() for t in part), strict=True)]
        return self.mask.new_tensor([has for _, _, has in sorted(parts)])


@dataclass(frozen=True, eq=False, repr=False)
class SelectorInputs(_Movable):
    """Inputs of a selector for a batch, also used to select again with a gradient in training.

    Attributes:
        motion: Motion maps, a row for each row of candidates; None for selectors without a motion stream.
        text: The question, a row for each row of candidates.
        candidates: Seconds; `mask` marks the real ones, `item` and `scene` are each row's query and clip.
        k: Number of timestamps to select.
        target_spans: Target spans in seconds, for training; NaN marks missing spans.
    """

    motion: StreamInputs | None
    text: TextTokens | None
    candidates: Tensor  # (R, C)
    mask: Tensor  # (R, C) bool
    item: Tensor  # (R,) int64
    scene: Tensor  # (R,) int64
    k: int
    target_spans: Tensor | None = None  # (R, m, 2)

    def __post_init__(self) -> None:
        _expect(self, candidates=("R", "C"), mask=("R", "C"), item=("R",), scene=("R",), target_spans=("R", "m", 2))


@dataclass(frozen=True, eq=False, repr=False)
class PromptPlan(_Movable):
    """Positions of text and token blocks, before any embedding: one row per item, right-padded with ids of -1.

    `slot` is -1 for text, else an index into `slots`; each slot position is replaced by a whole block (all its real
    tokens). `slots` names (block, scene, segment); segment None is every segment of the block in order of time.
    `is_target` marks target tokens (answers). `notes` are (item, note for the user), for the Trace.
    """

    ids: Tensor  # (B, L) int64; -1 = padding or slot
    slot: Tensor  # (B, L) int64; -1 = text or padding
    slots: tuple[tuple[str, int, int | None], ...]
    is_target: Tensor  # (B, L) bool
    notes: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        _expect(self, ids=("B", "L"), slot=("B", "L"), is_target=("B", "L"))


@dataclass(frozen=True, eq=False, repr=False)
class Embeds(_Movable):
    """Spliced embeddings for the language model, padded once, on the outside."""

    values: Tensor  # (B, S, D)
    mask: Tensor  # (B, S) bool
    position_ids: Tensor  # (B, S) int64
    labels: Tensor | None = None  # (B, S) int64, -100 = ignored by the loss
    blocks_end: Tensor | None = (
        None  # (B,) int64, one past the last position of a block, counted over real ones; 0: none
    )

    def __post_init__(self) -> None:
        _expect(
            self,
            values=("B", "S", "D"),
            mask=("B", "S"),
            position_ids=("B", "S"),
            labels=("B", "S"),
            blocks_end=("B",),
        )

    def rows(self, items: Sequence[int]) -> Embeds:
        """Select the embeddings of some items."""
        index = list(items)
        labels, ends = (None if value is None else value[index] for value in (self.labels, self.blocks_end))
        return Embeds(self.values[index], self.mask[index], self.position_ids[index], labels, ends)


@dataclass(frozen=True, eq=False, repr=False)
class Prefix(Summarized):
    """A prompt after one pass of the language model: score or generate from it without another pass."""

    embeds: Embeds
    state: Any  # state of the language model: a cache, or encoder states
    next_logits: Tensor | None = None  # (B, vocabulary)


@dataclass(frozen=True, eq=False, repr=False)
class ModelInputs(_Movable):
    """Everything one forward pass needs.

    Attributes:
        streams: Stream name → its inputs.
        text: Slot (`selector`, `trunk`) → its text. The language model reads `plan`.
        plan: The prompt; with targets for training.
        target: (B, L) answers for a sequence-to-sequence model, None otherwise.
        num_items: B.
        pairs: All (item, scene) pairs of the batch.
        selection: The selection, for the Trace; with `mix`, its candidates' features are mixed into its timestamps.
        selector_inputs: Inputs of the selector, if it has a motion stream.
        provenance: Stream → per row the frames used (`indices`, `pts_seconds`), for the Trace.
    """

    streams: dict[str, StreamInputs]
    text: dict[str, TextTokens]
    plan: PromptPlan
    num_items: int
    pairs: tuple[tuple[int, int], ...]
    target: TextTokens | None = None
    selection: Selection | None = None
    selector_inputs: SelectorInputs | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_target_tokens(self) -> int:
        """Number of tokens that the language model's loss averages over.

        The first token of a prompt does not count: nothing precedes it from which it could be predicted.
        """
        return int((self.plan.is_target[:, 1:] if self.target is None else self.target.mask).sum())

    # A mapping of its fields, so that `model.generate(**inputs)` works as in transformers.
    def keys(self) -> Iterator[str]:
        """Names of the fields."""
        return iter([f.name for f in fields(self)])

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)
