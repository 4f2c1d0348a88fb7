"""Beam search with a start token that counts, against a search through all answers."""

from itertools import product

import pytest
import torch

from vidweave.errors import ConfigError
from vidweave.language.decoding import Decoding
from vidweave.language.legacy_beams import legacy_beam_search
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.types import Embeds

VOCABULARY, END, PAD = 5, 2, 0
TABLE = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(3)).double()


def search(first, **settings):
    """A language model whose next token depends on the last one alone."""
    settings = Decoding(**{"num_beams": 60, "max_new_tokens": 3, "legacy_start": 1, **settings})
    return legacy_beam_search(first, lambda tokens, _: TABLE[tokens], settings, [END], PAD).tolist()


def best(first, penalty, longest=3, least=0):
    """The best of all answers: sums over a length that counts the start and not the end."""
    result = {}
    for count in range(1, longest + 1):
        for answer in product(range(VOCABULARY), repeat=count):
            ended = answer[-1] == END
            if END in answer[:-1] or (count < longest and not ended) or (ended and count <= least):
                continue
            logits = [first, *(TABLE[token] for token in answer[:-1])]
            total = 0.0
            for step, (row, token) in enumerate(zip(logits, answer, strict=True)):
                row = row.log_softmax(-1)
                total += float(row[token]) if step >= least or token != END else float("-inf")
            result[answer] = total / (1 + count - ended) ** penalty
    return list(max(result, key=result.get))


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0, 2.0])
def test_it_finds_the_best_by_its_rule(penalty):
    for seed in range(4):
        first = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)).double()
        (row,) = search(first[None], length_penalty=penalty)
        assert row == best(first, penalty)
        (row,) = search(first[None], length_penalty=penalty, min_new_tokens=2)
        assert row == best(first, penalty, least=2)


def test_the_start_token_is_penalized_and_items_do_not_meet():
    first = torch.zeros(2, VOCABULARY).double()
    first[0, 1], first[0, 3] = 3.0, 2.5  # the start token would win
    first[1, END] = 9.0
    rows = search(first, num_beams=2, max_new_tokens=1, repetition_penalty=9.0)
    assert rows[0] == [3]
    assert search(first, num_beams=2, max_new_tokens=1)[0] == [1]
    for row in range(2):
        (alone,) = search(first[row : row + 1], num_beams=2)
        together = search(first, num_beams=2)[row]
        assert together[: len(alone)] == alone
        assert set(together[len(alone) :]) <= {PAD}


def test_it_needs_beams():
    with pytest.raises(ConfigError, match=r"legacy_start \(1\) is a token that beam search counts"):
        Decoding(legacy_start=1)


def test_it_is_for_causal_models():
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 11}
    model = Seq2SeqConfig(config={"model_type": "t5", "decoder_start_token_id": 0, **sizes}).build()
    embeds = Embeds(torch.zeros(1, 2, 8), torch.ones(1, 2, dtype=torch.bool), torch.arange(2)[None])
    for settings in ({"legacy_start": 1, "num_beams": 2}, {"legacy_inserted": 4}):
        with pytest.raises(ConfigError, match="legacy_start and legacy_inserted are for causal language models"):
            model.generate(embeds, **settings)
