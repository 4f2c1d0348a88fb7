"""A mixture of experts as a trunk: routers of ports, positions that are computed, tags, faults of configurations."""

from dataclasses import replace

import pytest
import torch

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.expert_mixture import ExpertMixtureConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.routers import Router
from vidweave.errors import ConfigError
from vidweave.types import Features, TrunkInput

TRUNK = ExpertMixtureConfig(width=6, num_experts=3, layers=2, heads=3, intermediate=7)
PORT = PortConfig(trunk="shared", input_width=6, num_query_tokens=4, router_width=5, output_norm=True, tags=True)


def connector(**ports):
    torch.manual_seed(0)
    config = ConnectorConfig(trunks={"shared": TRUNK}, ports=ports, fusion=NoFusionConfig(), output_width=8)
    built = config.build().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.5)
    return built


def features(rows, groups=2, tokens=3):
    values = torch.randn(rows, groups, tokens, 6)
    mask = torch.ones(rows, groups, tokens, dtype=torch.bool)
    return Features(values, mask, torch.zeros(rows, groups, 2), torch.arange(rows), torch.zeros(rows, dtype=torch.long))


def test_routers_divide_sigmoids_by_their_sum():
    router = Router(6, 5, 3)
    tokens = torch.randn(2, 7, 6)
    scores = router.down(torch.nn.functional.gelu(router.up(tokens)))
    expected = scores.sigmoid() / scores.sigmoid().sum(-1, keepdim=True)
    torch.testing.assert_close(router(tokens), expected)
    assert not torch.allclose(router(tokens), scores.softmax(-1), atol=1e-4)


def test_each_row_is_weighed_by_the_router_of_its_port():
    built = connector(a=PORT, b=PORT)
    trunk, ports = built.trunks["shared"], built.ports
    keys, queries = torch.randn(3, 5, 6), torch.randn(3, 4, 6)
    with torch.no_grad():
        mixed = trunk(TrunkInput(queries, keys, adapter=torch.tensor([1, 0, 1])))
        for row, name in enumerate("bab"):
            tokens = torch.cat([queries, keys], 1)[[row]]
            weights = ports[name].router(queries[[row]])
            whole = torch.stack([expert(tokens, None, tokens.shape[1])[:, :4] for expert in trunk.experts], -1)
            torch.testing.assert_close(mixed[[row]], (whole * weights[:, :, None]).sum(-1), atol=1e-5, rtol=1e-5)


def test_tokens_stand_between_the_tags_of_their_port():
    built, seen = connector(a=PORT, b=PORT), features(2)
    with torch.no_grad():
        blocks, _ = built({"a": seen, "b": seen}, seen.item, seen.scene)
    for name, block in blocks.items():
        port = built.ports[name]
        assert block.values.shape == (2, 2, 6, 8)
        for place, tag in ((0, port.start_tag), (-1, port.end_tag)):
            torch.testing.assert_close(block.values[:, :, place], tag.expand(2, 2, -1))
    assert not torch.allclose(blocks["a"].values, blocks["b"].values)


def test_every_parameter_of_a_port_is_trained():
    built, seen = connector(a=PORT), features(1)
    blocks, _ = built({"a": seen}, seen.item, seen.scene)
    blocks["a"].values.square().sum().backward()
    assert {n for n, p in built.named_parameters() if p.grad is None} == set()


def test_faults():
    trunk = TRUNK.build()
    keys = torch.zeros(1, 2, 6)
    with pytest.raises(ConfigError, match=r"needs the index of each row's port \(adapter\), got none"):
        trunk(TrunkInput(keys, keys))
    with pytest.raises(ConfigError, match="port 0 has no router; set router_width"):
        trunk(TrunkInput(keys, keys, adapter=torch.zeros(1, dtype=torch.long)))
    with pytest.raises(ConfigError, match="answers query tokens, got none"):
        trunk(TrunkInput(None, keys))
    with pytest.raises(ConfigError, match="sizes of an expert mixture must be at least 1"):
        replace(TRUNK, num_experts=0)
    with pytest.raises(ConfigError, match="router_width=None, trunk 'shared' needs a router_width for its experts"):
        connector(a=replace(PORT, router_width=None))
    plain = ConnectorConfig(
        trunks={"shared": MLPConfig(key_width=6, widths=(8,))},
        ports={"a": replace(PORT, num_query_tokens=0, tags=False)},
        fusion=NoFusionConfig(),
        output_width=8,
    )
    with pytest.raises(ConfigError, match="router_width=5, trunk 'shared' has no experts; leave it out"):
        plain.build()
    tagged = replace(plain, ports={"a": replace(PORT, num_query_tokens=0, router_width=None)})
    with pytest.raises(ConfigError, match="tags stand around the query tokens of a trunk without a memory"):
        tagged.build()
