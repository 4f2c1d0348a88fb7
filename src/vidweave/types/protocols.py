"""The five interfaces, and the protocols through which evaluation and training use a model."""

# Axes: see vidweave.types.tensors

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

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
    "EncoderConfig",
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
    """Encodes one modality, usually frozen; its tokens come before any trainable norm (which belongs to the port)."""

    specs: Mapping[str, PreprocessSpec]  # modality → preprocessing of its raw media to `values`
    width: int  # C

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, *payload) → (R, T, N, C); the payload has the form given by `specs[modality]`, see StreamInputs."""
        ...


class EncoderConfig(Protocol):
    """Configuration of an encoder: a `ComponentConfig` with preprocessing specs."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    kind: ClassVar[str]

    @property
    def specs(self) -> Mapping[str, Any]:
        """Modality → preprocessing of its raw media, as in `Encoder.specs`."""
        ...

    def build(self) -> Any:
        """Make the encoder with fresh weights."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
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
    """A module that wraps a part of a transformers model, and reads checkpoints of the whole model."""

    neighbours: tuple[str, ...]  # name prefixes of the other parts in such a checkpoint

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
    """A part of a model that has a configuration."""

    @property
    def config(self) -> Any:
        """The configuration that builds it in its current form."""
        ...


@runtime_checkable
class Selector(Protocol):
    """Selects timestamps, before anything is decoded for the encoders."""

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
        """Select k timestamps per row from candidates (R, C) in seconds and their mask.

        Text has one row per row of `candidates`.
        """
        ...

    def loss(self, selection: Selection, target_spans: Tensor) -> Tensor:
        """Loss of the selection against target spans (R, m, 2) in seconds; a scalar."""
        ...


class Connector(Protocol):
    """Compresses features of all streams to few tokens. State is a value; the module holds weights only."""

    def begin(self, item: Tensor, scene: Tensor, text: TextTokens | None = None) -> Any:
        """Create an empty state for the given (item, scene) pairs, each (R,); text has one row per item."""
        ...

    def push(self, state: Any, features: Mapping[str, Features]) -> Any:
        """Return a new state with `features` added; the old one stays valid."""
        ...

    def read(self, state: Any) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Return named blocks for the prompt, and information for the Trace; does not change the state."""
        ...


class LanguageModel(Protocol):
    """Answers from spliced embeddings."""

    side: str  # where padding goes when reading a prompt: "left" (causal) or "right" (sequence to sequence)

    def embed(self, ids: Tensor) -> Tensor:
        """(…,) token ids → (…, D) embeddings."""
        ...

    def loss(self, embeds: Embeds, target: TextTokens | None = None) -> Tensor:
        """Mean cross-entropy of the target tokens: `embeds.labels` (causal) or `target` (sequence to sequence)."""
        ...

    def generate(self, embeds: Embeds, **decoding: Any) -> Tensor:
        """Generate new token ids (B, L), padded on the right."""
        ...

    def prefill(self, embeds: Embeds) -> Prefix:
        """Run the prompt once, for scoring or generating from it."""
        ...

    def score(
        self, prefix: Prefix, options: Sequence[Sequence[Sequence[int]]], *, normalize: str = "sum"
    ) -> list[list[float]]:
        """Log-probability of each option (token ids) of each item, given the prefix."""
        ...


@runtime_checkable
class Answerer(Protocol):
    """The interface through which evaluation and the Contra4 benchmark use a model."""

    def answer(self, queries: Sequence[Query], **decoding: Any) -> list[Answer]:
        """One answer per query, in order."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return name, fingerprint of the weights, and settings, for the manifest of a run."""
        ...


class Objective(Protocol):
    """Compute a training loss and its parts; one whose loss is not one mean over examples also is `DeclaresMeans`."""

    def __call__(self, model: Any, batch: Any, /) -> dict[str, Tensor]:
        """Return at least `loss`."""
        ...


@runtime_checkable
class DeclaresMeans(Protocol):
    """An objective that states what its loss averages over."""

    def means(self, batch: Any) -> Mapping[str, MeanOver]:
        """The terms that the loss is the weighted sum of, by name of the part, and what each averages over."""
        ...
