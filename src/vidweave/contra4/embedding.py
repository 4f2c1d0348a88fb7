"""Embed captions as unit vectors whose dot product is their cosine similarity."""

# Axes: N texts, D dimensions, L tokens

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vidweave.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = ["MINILM", "Embedder", "HuggingFaceEmbedder", "TfIdfEmbedder"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The encoder of the published data."""

_WORD = re.compile(r"\w+")


class Embedder(Protocol):
    """Texts → (N, D) float32 of unit length (zero for texts without content); deterministic."""

    def embed(self, texts: Sequence[str]) -> np.ndarray: ...

    def describe(self) -> dict[str, Any]:
        """Settings that determine the values, as JSON data."""
        ...


@dataclass(frozen=True, kw_only=True)
class TfIdfEmbedder:
    """Hash words and word pairs, weighted by their rarity among the given texts, into `dimensions` slots.

    Needs no model and no download. The dot product of two texts without a common word is close to 0: about
    1 / sqrt(dimensions) due to collisions, since hashes carry signs.
    """

    dimensions: int = 512

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ConfigError(f"dimensions must be at least 1, got {self.dimensions}")

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        terms = [_terms(text) for text in texts]
        places: dict[str, int] = {}
        for document in terms:
            for term in document:
                places.setdefault(term, len(places))
        rows = np.repeat(np.arange(len(terms)), [len(document) for document in terms])
        columns = np.fromiter((places[t] for document in terms for t in document), np.int64, len(rows))
        pairs, counts = np.unique(np.stack([rows, columns]), axis=1, return_counts=True)
        seen_in = np.bincount(pairs[1], minlength=len(places))
        weights = counts * (np.log((1 + len(terms)) / (1 + seen_in)) + 1)[pairs[1]]
        slots, signs = _hashed(places, self.dimensions)
        values = np.zeros((len(terms), self.dimensions), np.float32)
        np.add.at(values, (pairs[0], slots[pairs[1]]), (weights * signs[pairs[1]]).astype(np.float32))
        return _unit(values)

    def describe(self) -> dict[str, Any]:
        return {"embedder": "tf-idf", "dimensions": self.dimensions}


def _terms(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def _hashed(terms: Sequence[str] | dict[str, int], dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return slot and sign of each term; blake2 is the same on all machines, unlike Python's own hash."""
    digests = np.array([int.from_bytes(blake2b(t.encode(), digest_size=7).digest(), "big") for t in terms], np.int64)
    return (digests >> 1) % dimensions, np.where(digests & 1, 1.0, -1.0)


def _unit(values: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)


@dataclass(frozen=True, kw_only=True)
class HuggingFaceEmbedder:
    """Embed with any transformers encoder: the mean of its last hidden states over real tokens.

    Attributes:
        model: Hub id or folder; weights are read from safetensors only and no remote code is run.
        revision: Revision of a hub id.
        max_tokens: Longer texts are truncated.
        batch_size: Texts per forward pass, sorted by length to reduce padding.
        device: Device of the model.
    """

    model: str = MINILM
    revision: str | None = None
    max_tokens: int = 256
    batch_size: int = 64
    device: str = "cpu"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        import torch
        from transformers import AutoModel, AutoTokenizer

        from vidweave.nn.config_source import guard_source

        settings = guard_source(self.model, self.revision)
        tokenizer = AutoTokenizer.from_pretrained(self.model, **settings)
        model = AutoModel.from_pretrained(self.model, use_safetensors=True, **settings).to(self.device).eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: dict[int, np.ndarray] = {}
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                places = order[start : start + self.batch_size]
                tokens = tokenizer(
                    [texts[i] for i in places],
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_tensors="pt",
                ).to(self.device)
                hidden = model(**tokens).last_hidden_state
                vectors |= zip(places, _mean(hidden, tokens["attention_mask"]), strict=True)
        return _unit(np.stack([vectors[i] for i in range(len(texts))]))

    def describe(self) -> dict[str, Any]:
        return {
            "embedder": "hugging face",
            "model": self.model,
            "revision": self.revision,
            "max_tokens": self.max_tokens,
        }


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """Average (N, L, D) hidden states over the tokens where `mask` (N, L) is set: (N, D)."""
    weights = mask[..., None].to(hidden.dtype)
    return ((hidden * weights).sum(1) / weights.sum(1).clamp(min=1)).float().cpu().numpy()
