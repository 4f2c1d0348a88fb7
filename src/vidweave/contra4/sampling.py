"""Stage: sample tuples of two to four media of different modalities, at random or near the first one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from vidweave.contra4.embedding import Embedder, TfIdfEmbedder
from vidweave.contra4.neighbours import Neighbours
from vidweave.contra4.rows import Row
from vidweave.contra4.schema import MAX_SCENES, Selection, check_modality
from vidweave.contra4.stage import described
from vidweave.errors import AnnotationError, ConfigError, PipelineError

__all__ = ["PUBLISHED_ORDER", "Tuples", "pools_of", "sample_tuples"]

PUBLISHED_ORDER = ("audio", "pc", "image", "video")
SEED = 123
NEAREST = 30  # the papers say fifty
MAX_TRIES = 1_000

Pools = Mapping[str, Sequence[Row]]
"""Modality → media with captions, in the order in which modalities are combined."""


def sample_tuples(
    pools: Pools,
    selection: Selection,
    per_combination: int,
    *,
    seed: int = SEED,
    embeddings: Mapping[str, np.ndarray] | None = None,
    nearest: int = NEAREST,
    any_anchor: bool = False,
    keep_rejected_scenes: bool = False,
) -> Iterator[Row]:
    """Sample tuples of media, `per_combination` for each combination of 2, 3 and 4 modalities, without repeated sets.

    The anchor (a medium of the first modality of the combination) is drawn uniformly; of each other modality one medium
    is drawn uniformly, from all or from those nearest to the anchor. A set that was drawn before is drawn again.

    Args:
        pools: At least two modalities with media.
        selection: How the other media are drawn.
        embeddings: (media, D) per modality, of unit length, for ``similarity``.
        any_anchor: Draw which modality of the combination is the anchor, and shuffle the scenes, as in 2024, instead of
            taking the first: near scenes are then not always near the audio.
        keep_rejected_scenes: Defect of the released code: scenes of a repeated set stay in the row.

    Yields:
        ``{id, selection_type, q_type, examples, modalities}``; ids count up over all combinations.

    Raises:
        PipelineError: the pools are too small for that many different sets.
    """
    rng = random.Random(seed)
    draw = _Draw(pools, selection, embeddings or {}, nearest, rng)
    seen: set[frozenset[str]] = set()
    counter = 0
    names = [name for name in pools if pools[name]]
    for size in range(2, min(MAX_SCENES, len(names)) + 1):
        for combination in combinations(names, size):
            for _ in range(per_combination):
                order = rng.sample(combination, size) if any_anchor else combination
                chosen = _distinct(draw, order, seen, keep_rejected_scenes)
                if any_anchor:
                    rng.shuffle(chosen)
                yield _row(pools, chosen, f"{selection}_{counter}", selection, size)
                counter += 1


def _distinct(draw: _Draw, order: Sequence[str], seen: set[frozenset[str]], keeps: bool) -> list[tuple[str, int]]:
    """Draw media, as (modality, index in its pool), that were not drawn together before; adds them to `seen`."""
    chosen = [(order[0], draw.anchor(order[0]))]
    for _ in range(MAX_TRIES):
        others = [(name, draw.other(name, *chosen[0])) for name in order[1:]]
        chosen = (chosen if keeps else chosen[:1]) + others
        key = frozenset(draw.key(name, place) for name, place in chosen)
        if key not in seen:
            seen.add(key)
            return chosen
    raise PipelineError(
        f"{MAX_TRIES} draws from {', '.join(order)} gave only sets that were drawn before; "
        "use larger pools or fewer tuples"
    )


def _row(pools: Pools, chosen: Sequence[tuple[str, int]], name: str, selection: Selection, size: int) -> Row:
    keys = ("source", "id", "url", "meta", "caption")
    return {
        "id": name,
        "selection_type": selection,
        "q_type": f"mc_{size}",
        "examples": [{key: pools[m][place][key] for key in keys if key in pools[m][place]} for m, place in chosen],
        "modalities": [modality for modality, _ in chosen],
    }


class _Draw:
    """Draw from pools; calls the random generator in the same order as the released code."""

    def __init__(
        self, pools: Pools, selection: str, embeddings: Mapping[str, np.ndarray], nearest: int, rng: random.Random
    ) -> None:
        self.pools, self.selection, self.embeddings, self.nearest, self.rng = pools, selection, embeddings, nearest, rng
        self._neighbours: dict[tuple[str, str], Neighbours] = {}
        self._keys = {name: [f"{row['source']}{row['id']}" for row in pool] for name, pool in pools.items()}

    def anchor(self, modality: str) -> int:
        return self.rng.randint(0, len(self.pools[modality]) - 1)

    def other(self, modality: str, anchor_modality: str, anchor: int) -> int:
        if self.selection == "random":
            return self.rng.choice(range(len(self.pools[modality])))
        pair = anchor_modality, modality
        if pair not in self._neighbours:
            queries, base = (self.embeddings[name] for name in pair)
            self._neighbours[pair] = Neighbours(queries, base, self.nearest)
        return int(self.rng.choice(self._neighbours[pair][anchor]))

    def key(self, modality: str, place: int) -> str:
        return self._keys[modality][place]


@dataclass(frozen=True, kw_only=True)
class Tuples:
    """Settings of the stage: turn pool rows into tuples, one selection after the other.

    Attributes:
        selections: Selections in order; each starts with the same seed, as published.
        per_combination: Tuples per combination of modalities; published 30,000.
        modalities: Order of modalities; those without media are skipped.
        embedder: Embeds captions to find near ones, for ``similarity``.
        one_row_per_medium: Use only the first of several rows of the same medium (COCO images have five).
        any_anchor, keep_rejected_scenes: See `sample_tuples`.
    """

    name: ClassVar[str] = "sampling"
    scope: ClassVar[str] = "file"
    selections: tuple[Selection, ...] = ("random", "similarity")
    per_combination: int = 30_000
    modalities: tuple[str, ...] = PUBLISHED_ORDER
    seed: int = SEED
    nearest: int = NEAREST
    embedder: Embedder = field(default_factory=TfIdfEmbedder)
    one_row_per_medium: bool = False
    any_anchor: bool = False
    keep_rejected_scenes: bool = False

    def __post_init__(self) -> None:
        if self.per_combination < 1 or self.nearest < 1:
            raise ConfigError(
                f"per_combination and nearest must be at least 1, got {self.per_combination} and {self.nearest}"
            )

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        pools = pools_of(rows, self.modalities, one_row_per_medium=self.one_row_per_medium)
        for selection in self.selections:
            embeddings = _embed(pools, self.embedder) if selection == "similarity" else None
            yield from sample_tuples(
                pools,
                selection,
                self.per_combination,
                seed=self.seed,
                embeddings=embeddings,
                nearest=self.nearest,
                any_anchor=self.any_anchor,
                keep_rejected_scenes=self.keep_rejected_scenes,
            )

    def describe(self) -> dict[str, Any]:
        return described(self)


def pools_of(
    rows: Iterable[Row], modalities: Sequence[str], *, one_row_per_medium: bool = False
) -> dict[str, list[Row]]:
    """Group pool rows by modality, in the order of `modalities`.

    Raises:
        AnnotationError: a row of another modality, or an empty caption.
        PipelineError: fewer than two modalities with media.
    """
    pools: dict[str, list[Row]] = {name: [] for name in modalities}
    seen: set[tuple[str, str, str]] = set()
    for row in rows:
        where = f"medium {row['id']!r} of {row['source']}"
        if check_modality(row["modality"], where) not in pools:
            raise AnnotationError(f"{where} has modality {row['modality']!r}, expected one of {', '.join(modalities)}")
        if not (row["caption"] and row["caption"][0].strip()):
            raise AnnotationError(f"{where} has an empty caption; every medium needs one")
        key = row["modality"], row["source"], str(row["id"])
        if not (one_row_per_medium and key in seen):
            pools[row["modality"]].append(row)
        seen.add(key)
    if sum(bool(pool) for pool in pools.values()) < 2:
        raise PipelineError(f"sampling needs media of two modalities, got {_sizes(pools)}")
    return pools


def _sizes(pools: Pools) -> str:
    return ", ".join(f"{len(pool)} of {name}" for name, pool in pools.items())


def _embed(pools: Pools, embedder: Embedder) -> dict[str, np.ndarray]:
    """Embed all captions in one call, so that word weights are computed over all of them."""
    values = embedder.embed([row["caption"][0] for pool in pools.values() for row in pool])
    borders = np.cumsum([len(pool) for pool in pools.values()])[:-1]
    return dict(zip(pools, np.split(values, borders), strict=True))
