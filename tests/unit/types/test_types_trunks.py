"""The input of a trunk, and how parts are asked what else they can do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.mlp import MLP, MLPConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.projectors import ProjectorConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.connectors.resampler import ResamplerConfig
from vidweave.connectors.trunk import MemoryTrunk, Trunk
from vidweave.errors import ConfigError, ShapeError
from vidweave.registry import TRUNKS
from vidweave.types import (
    HasMemory,
    KeepsMemory,
    MergesTime,
    ReadsText,
    SeesClips,
    TakesAdapters,
    TextSpec,
    TrunkInput,
    text_spec_of,
)

SPEC = TextSpec(tokenizer="words", max_tokens=7)
QFORMER = {"hidden": 6, "layers": 1, "heads": 2, "intermediate": 5, "encoder_width": 4, "vocab_size": 11}
CONFIGS = {
    "qformer": (QFormerConfig(**QFORMER), {ReadsText, TakesAdapters}),
    "reading": (QFormerConfig(**QFORMER, text_spec=SPEC), {ReadsText, TakesAdapters}),
    "memory": (QFormerConfig(**QFORMER, memory=MemoryConfig(length=3)), {ReadsText, TakesAdapters, KeepsMemory}),
    "projector": (ProjectorConfig(key_width=4, num_tokens=4), {MergesTime, SeesClips}),
    "mlp": (MLPConfig(key_width=4), set()),
    "resampler": (ResamplerConfig(key_width=4, heads=2), set()),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_each_trunk_keeps_the_protocols_of_what_it_can_do(name):
    config, expected = CONFIGS[name]
    trunk = config.build()
    assert {
        p for p in (ReadsText, TakesAdapters, KeepsMemory, SeesClips, MergesTime) if isinstance(trunk, p)
    } == expected
    assert (isinstance(config, HasMemory) and config.has_memory) == (KeepsMemory in expected)
    assert isinstance(config, MergesTime) == (MergesTime in expected)
    assert text_spec_of(config) == text_spec_of(trunk) == (SPEC if name == "reading" else None)


def test_steps_and_keys_of_an_input():
    mask = torch.arange(30).view(2, 3, 5) % 2 == 0
    inputs = TrunkInput(torch.zeros(2, 4, 6), torch.randn(2, 3, 5, 7), mask, text=torch.zeros(2, 8, dtype=torch.long))
    assert torch.equal(inputs.step(-1).keys, inputs.keys[:, 2])
    assert torch.equal(inputs.step(1).mask, mask[:, 1])
    part = inputs.steps(slice(1, 3))
    assert (part.keys.shape, part.mask.shape) == ((2, 2, 5, 7), (2, 2, 5))
    assert part.queries is inputs.queries
    assert part.text is inputs.text
    assert inputs.with_keys(inputs.keys[:, 0], None).step(0).mask is None
    assert "queries=float32 (2, 4, 6)" in repr(inputs)


@pytest.mark.parametrize("name", ["queries", "mask", "text", "adapter"])
def test_rows_that_do_not_fit_are_refused(name):
    parts = {"queries": None, "keys": torch.zeros(2, 5, 7), name: torch.zeros(3, 5)}
    message = rf"TrunkInput.{name} must have one row per row of keys \(2\), got \(3, 5\)"
    with pytest.raises(ShapeError, match=message):
        TrunkInput(**parts)


@dataclass(frozen=True, kw_only=True)
class _Planned(MLPConfig):
    kind = "planned"
    has_memory: bool = False
    text_spec: TextSpec | None = None
    needs_clip: bool = False
    time: int = 1

    def build(self):
        return MLP(4, ())


@pytest.fixture
def planned():
    TRUNKS.register("planned", _Planned)
    yield lambda **facts: ConnectorConfig(
        trunks={"t": _Planned(key_width=4, **facts)},
        ports={"video": PortConfig(trunk="t", input_width=4)},
        output_width=3,
    )
    TRUNKS.unregister("planned")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"has_memory": True}, "trunk 't' has has_memory=False, but its configuration states True; make them agree"),
        ({"text_spec": SPEC}, "trunk 't' has text_spec=None, but its configuration states TextSpec"),
        ({"time": 2}, "trunk 't' has time=None, but its configuration states 2"),
    ],
)
def test_a_configuration_must_state_what_its_trunk_does(planned, facts, message):
    with pytest.raises(ConfigError, match=message):
        planned(**facts).build()


def test_faults_of_base_classes():
    inputs = TrunkInput(None, torch.zeros(2, 5, 4))
    with pytest.raises(ConfigError, match="a resampler needs query tokens; set num_query_tokens"):
        CONFIGS["resampler"][0].build()(inputs)
    with pytest.raises(ConfigError, match=r"MemoryTrunk needs a memory; start with empty_memory\(\)"):
        MemoryTrunk()(inputs)
    with pytest.raises(ConfigError, match="MemoryTrunk cannot switch to another text"):
        MemoryTrunk().replay(inputs, None)
    with pytest.raises(NotImplementedError, match="Trunk has no forward"):
        Trunk()(inputs)
    with pytest.raises(ConfigError, match="has an adapter, but its trunk takes none"):
        ConnectorConfig.from_dict(
            {
                "trunks": {"t": MLPConfig(key_width=4).to_dict()},
                "ports": {"video": {"trunk": "t", "input_width": 4, "adapter": {"rank": 2}}},
                "output_width": 3,
            }
        ).build()
