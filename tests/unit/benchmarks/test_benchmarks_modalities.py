"""The benchmark of modalities runs, and one pass gives what one pass per modality gives."""

from dataclasses import replace

from benchmarks import modalities
from vidweave.connectors.qformer import QFormerConfig

TINY = replace(
    modalities.SMALL, qformer=QFormerConfig(hidden=8, layers=2, heads=2, intermediate=6, encoder_width=5), rank=2,
    clips=2, segments=1, keys=3, queries=2, language=modalities._t5(8, 1, 2, 6),
)  # fmt: skip


def test_passes():
    result = modalities.passes(TINY, 1)  # it checks that both give the same
    assert result["ratio"] > 0
    assert result["bound_seconds"] > 0


def test_answers():
    assert modalities.answers(TINY, 1)["five_to_two"] > 0
