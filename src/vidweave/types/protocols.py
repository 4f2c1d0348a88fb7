"""The five interfaces, and what evaluation and training know of a model."""

# Axes: see vidweave.types.tensors

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vidweave.types.answer import Answer
    from vidweave.types.means import MeanOver
    from vidweave.types.query import Query
    from vidweave.types.specs import PreprocessSpec
    from vidweave.types.tensors import Blocks, Embeds, Features, Prefix, Selection, TextTokens

__all__ = [
    "Answerer",
    "Configured",
    "Connector",
    "DeclaresMeans",
    "Encoder",
    "HasTokenCount",
    "KeptInFloat32",
    "LanguageModel",
    "Objective",
    "PartOfLargerModel",
    "Selector",
    "TakesWindows",
]


@runtime_checkable
class Encoder(Protocol):
    """Sees. Frozen as a rule; publishes tokens before any norm that a paper trains (that norm is the port's)."""

    specs: Mapping[str, PreprocessSpec]  # modality → how its raw media become `values`
    width: int  # C

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, *payload) → (R, T, N, C); the payload is what `specs[modality]` makes, see StreamInputs."""
        ...


@runtime_checkable
class TakesWindows(Protocol):
    """An encoder whose time steps are windows of several frames."""

    window: int


@runtime_checkable
class HasTokenCount(Protocol):
    """An encoder that makes the same number of tokens for every time step."""

    num_tokens: int


@runtime_checkable
class PartOfLargerModel(Protocol):
    """A module that wraps a part of a transformers model, and reads checkpoints of the whole."""

    neighbours: tuple[str, ...]  # beginnings of the names of the other parts in such a checkpoint

    def whole_model(self) -> Any:
        """The whole transformers model, on the meta device."""
        ...


@runtime_checkable
class KeptInFloat32(Protocol):
    """A module that is loaded in float32 instead of some dtypes."""

    @property
    def float32_instead_of(self) -> tuple[torch.dtype, ...]:
        """The dtypes that it is not loaded in."""
        ...


@runtime_checkable
class Configured(Protocol):
    """A part of a model that knows its configuration."""

    @property
    def config(self) -> Any:
        """The configuration that builds it as it is now."""
        ...


@runtime_checkable
class Selector(Protocol):
    """Chooses moments, before anything is decoded for the encoders."""

    needs_motion: bool

    def forward(
        self,
        motion: Features | None,
        text: TextTokens | None,
        candidates: Tensor,
        mask: Tensor,
        *,
        k: int,
        generator: torch.Generator | None = None,
    ) -> Selection:
        """Candidates (R, C) in seconds and their mask → k moments per row.

        Text has one row per row of `candidates`.
        """
        ...

    def loss(self, selection: Selection, target_spans: Tensor) -> Tensor:
        """How far the selection is from spans (R, m, 2) in seconds; a scalar."""
        ...


class Connector(Protocol):
    """Turns features of all streams into few tokens. State is a value; the module holds weights only."""

    def begin(self, item: Tensor, scene: Tensor, text: TextTokens | None = None) -> Any:
        """An empty state for the given (item, scene) pairs, each (R,); text has one row per item."""
        ...

    def push(self, state: Any, features: Mapping[str, Features]) -> Any:
        """A new state that has also seen `features`; the old one stays valid."""
        ...

    def read(self, state: Any) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Named blocks for the prompt, and information for the Trace; does not change the state."""
        ...


class LanguageModel(Protocol):
    """Reads spliced embeddings; answers."""

    side: str  # where padding goes when reading a prompt: "left" (causal) or "right" (sequence to sequence)

    def embed(self, ids: Tensor) -> Tensor:
        """(…,) token ids → (…, D) embeddings."""
        ...

    def loss(self, embeds: Embeds, target: TextTokens | None = None) -> Tensor:
        """Mean cross-entropy of the learnt tokens: `embeds.labels` (causal) or `target` (sequence to sequence)."""
        ...

    def generate(self, embeds: Embeds, **decoding: Any) -> Tensor:
        """New token ids (B, L), padded on the right."""
        ...

    def prefill(self, embeds: Embeds) -> Prefix:
        """Read the prompt once."""
        ...

    def score(
        self, prefix: Prefix, options: Sequence[Sequence[Sequence[int]]], *, normalize: str = "sum"
    ) -> list[list[float]]:
        """Log-probability of each option (token ids) of each item, given the prefix."""
        ...


@runtime_checkable
class Answerer(Protocol):
    """All that evaluation and the Contra4 benchmark know of a model."""

    def answer(self, queries: Sequence[Query], **decoding: Any) -> list[Answer]:
        """One answer per query, in order."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name, weights fingerprint and settings, for the record of a run."""
        ...


class Objective(Protocol):
    """Compute a training loss and its parts; one whose loss is not one mean over examples also is `DeclaresMeans`."""

    def __call__(self, model: Any, batch: Any, /) -> dict[str, Tensor]:
        """Returns at least `loss`."""
        ...


@runtime_checkable
class DeclaresMeans(Protocol):
    """An objective that states what its loss averages over."""

    def means(self, batch: Any) -> Mapping[str, MeanOver]:
        """The terms that the loss is the weighted sum of, by name of the part, and what each averages over."""
        ...
