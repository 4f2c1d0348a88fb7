"""The five interfaces, and what evaluation and training know of a model."""

# Axes: see vidweave.types.tensors

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vidweave.types.answer import Answer
    from vidweave.types.query import Query
    from vidweave.types.specs import PreprocessSpec
    from vidweave.types.tensors import Blocks, Embeds, Features, Prefix, Selection, TextTokens

__all__ = ["Answerer", "Connector", "Encoder", "LanguageModel", "Objective", "Selector", "Trunk"]


@runtime_checkable
class Encoder(Protocol):
    """Sees. Frozen as a rule; publishes tokens before any norm that a paper trains (that norm is the port's)."""

    specs: Mapping[str, PreprocessSpec]  # modality → how its raw media become `values`
    width: int  # C

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, *payload) → (R, T, N, C); the payload is what `specs[modality]` makes, see StreamInputs."""
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


class Trunk(Protocol):
    """Computes few tokens from many; owned once by name, shared by the ports of many streams."""

    def forward(
        self,
        queries: Tensor | None,
        keys: Tensor,
        key_mask: Tensor,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        adapter: Tensor | None = None,
        memory: Any = None,
    ) -> tuple[Tensor, Any]:
        """queries (R, Q, H), keys (R, K, C), key_mask (R, K), text (R, L) → hidden (R, Q + L, H) and the new memory."""
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
    """Compute a training loss and its parts.

    An objective whose loss is not one mean over examples also has ``means(batch) -> {term: MeanOver}``: the terms that
    its loss is the weighted sum of, by name of the part, and what each averages over.
    """

    def __call__(self, model: Any, batch: Any, /) -> dict[str, Tensor]:
        """Returns at least `loss`."""
        ...
