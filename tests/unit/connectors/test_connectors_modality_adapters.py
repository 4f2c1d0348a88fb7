"""Adapters on a shared Q-Former: one pass for all streams equals one trunk per stream with merged weights."""

import copy
from dataclasses import replace

import pytest
import torch
from test_connectors_connector import build, features, pairs, port

from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.errors import ConfigError
from vidweave.testing import check_trunk

SMALL = AdapterConfig(rank=2, dropout=0.0)
EVERY = AdapterConfig(
    rank=3, alpha=6.0, targets=("query", "key", "value", "cross_query", "cross_key", "cross_value"), layers=(0,)
)


def connector(memory=None, **adapters):
    qformer = QFormerConfig(hidden=12, layers=3, heads=3, intermediate=10, encoder_width=14, memory=memory)
    return build({name: port(adapter=adapter) for name, adapter in adapters.items()}, {"qformer": qformer})


def merged(whole, name):
    """A connector of one stream whose trunk has the stream's adapter in its weights."""
    alone = copy.deepcopy(whole)
    adapter = alone.ports[name].adapter
    trunk = alone.trunks["qformer"]
    with torch.no_grad():
        for site, lora in adapter.sites().items() if adapter is not None else ():
            trunk.sites()[site].weight.copy_(lora.merged(trunk.sites()[site].weight))
    for port_ in alone.ports.values():
        port_.adapter = None
    trunk.attach([None] * len(alone.ports))
    return alone


@pytest.mark.parametrize("memory", [None, MemoryConfig(length=2), MemoryConfig(length=2, banks="query")])
def test_one_pass_equals_a_merged_trunk_per_stream(memory):
    """Every row takes its own port's adapter, whatever the targets and the scale; 2e-6: products in another order."""
    whole = connector(memory, video=SMALL, depth=EVERY, plain=None)
    seen = {"video": features([4, 2]), "depth": features([3, 3], seed=2), "plain": features([2, 4], seed=3)}
    blocks, _ = whole(seen, *pairs(2))
    for name in seen:
        with torch.no_grad():
            expected = merged(whole, name)(seen, *pairs(2))[0][name]
        torch.testing.assert_close(blocks[name].values, expected.values, atol=2e-6, rtol=2e-6)


def test_one_pass_for_all_streams(monkeypatch):
    whole = connector(video=SMALL, depth=SMALL, audio=SMALL)
    calls = []
    forward = type(whole.trunks["qformer"]).forward
    monkeypatch.setattr(
        type(whole.trunks["qformer"]),
        "forward",
        lambda self, given: calls.append(len(given.queries)) or forward(self, given),
    )
    whole({name: features([4, 2], seed=i) for i, name in enumerate(whole.ports)}, *pairs(2))
    assert calls == [18]


def test_a_fresh_adapter_changes_nothing():
    torch.manual_seed(0)
    plain, adapted = connector(video=None), connector(video=SMALL)
    adapted.load_state_dict(plain.state_dict(), strict=False)
    for lora in adapted.ports["video"].adapter.sites().values():
        torch.nn.init.zeros_(lora.up)
    seen = {"video": features([4, 2])}
    expected, result = plain(seen, *pairs(2))[0]["video"], adapted(seen, *pairs(2))[0]["video"]
    assert torch.equal(result.values, expected.values)


def test_only_the_stream_s_own_adapter_is_trained():
    whole = connector(video=SMALL, depth=SMALL).train()
    blocks, _ = whole({"depth": features([2, 1]), "video": features([2, 1])}, *pairs(2))
    blocks["depth"].values[blocks["depth"].mask].sum().backward()
    assert all(p.grad is not None for p in whole.ports["depth"].adapter.parameters())
    assert all(p.grad is None or not p.grad.any() for p in whole.ports["video"].adapter.parameters())


def test_the_trunk_contract_holds_with_adapters():
    for memory in (None, MemoryConfig(length=2)):
        check_trunk(connector(memory, video=EVERY, depth=SMALL).trunks["qformer"])


def test_dropout_is_in_training_only():
    whole = connector(video=replace(SMALL, dropout=0.9))
    for name in ("embeddings.dropout",):
        whole.trunks["qformer"].get_submodule(name).p = 0.0
    seen = {"video": features([2, 2])}
    first, again = (whole(seen, *pairs(2))[0]["video"].values for _ in range(2))
    assert torch.equal(first, again)
    whole.ports["video"].adapter.train()
    assert not torch.equal(whole(seen, *pairs(2))[0]["video"].values, first)


def test_a_copy_of_a_connector_uses_its_own_adapters():
    whole = connector(video=SMALL)
    other = copy.deepcopy(whole)
    seen = {"video": features([2, 2])}
    before = whole(seen, *pairs(2))[0]["video"].values
    with torch.no_grad():
        for parameter in other.ports["video"].adapter.parameters():
            parameter.mul_(3.0)
    assert torch.equal(whole(seen, *pairs(2))[0]["video"].values, before)
    assert not torch.equal(other(seen, *pairs(2))[0]["video"].values, before)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"rank": 0}, "needs a rank"),
        ({"targets": ()}, "needs a rank, a dropout below 1 and targets"),
        ({"layers": (1,), "targets": ("cross_key",)}, "an adapter at cross_key, which its trunk does not have"),
        ({"layers": (0, 7)}, "an adapter at 7, which its trunk does not have"),
    ],
)
def test_what_an_adapter_refuses(adapter, message):
    with pytest.raises(ConfigError, match=message):
        connector(video=AdapterConfig(**adapter))


def test_a_trunk_without_sites_takes_none():
    with pytest.raises(ConfigError, match="port 'video' has an adapter, but its trunk takes none"):
        build(
            {"video": port(trunk="mlp", num_query_tokens=0, adapter=SMALL)},
            {"mlp": MLPConfig(key_width=14, widths=(5,))},
        )
