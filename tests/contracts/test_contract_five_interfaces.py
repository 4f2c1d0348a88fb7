"""The five interfaces carry what the planned systems need, before any of them exists.

Six fake streams on one road, Selection → frames → Features → connector → Blocks → plan → splice:

    rgb_a, rgb_b   one modality seen by two encoders
    depth          a second modality seen by the first encoder, in the same trunk pass, with other query tokens
    audio          windows of its own length and number, every token alone, joined to rgb_a's times
    touch          missing for some scenes; learned tokens stand in
    long           every frame, segment by segment, in a memory

over three (item, scene) pairs: item 0 compares two scenes, item 1 has one; clips of unequal length.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import fake_timm
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.counts import block_segments
from vidweave.connectors.expert_mixture import ExpertMixtureConfig
from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.projectors import ProjectorConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.resampler import ResamplerConfig
from vidweave.connectors.trunk import MemoryTrunk
from vidweave.encoders.beats import BeatsConfig
from vidweave.encoders.languagebind import LanguageBindConfig
from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.encoders.pillars import PillarEncoderConfig
from vidweave.encoders.point_cloud import PointFeaturesConfig
from vidweave.encoders.pointbert import PointBertConfig
from vidweave.encoders.timm_tower import TimmTowerConfig
from vidweave.encoders.universal import UniversalEncoderConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import ModalityError
from vidweave.language.layout import EachScene, EachSegment, Slot, TemplateLayout, Text
from vidweave.language.splice import splice
from vidweave.registry import ENCODERS, SELECTORS, TRUNKS
from vidweave.selectors.all_frames import AllFramesSelectorConfig
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.selectors.motion_peaks import MotionPeaksSelectorConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.testing import check_encoder, check_selector, check_trunk
from vidweave.testing.encoders import example_payload
from vidweave.types import (
    AudioSpec,
    Clip,
    ComponentConfig,
    Features,
    MotionSpec,
    PointSpec,
    Query,
    Scene,
    SeriesSpec,
    TextSpec,
    TextTokens,
    VisualSpec,
)

WIDTH, WORDS = 10, "compare the clips A B : frame 1 2 3 sound memory which is red ? blue".split()
PAIRS = [(0, 0), (0, 1), (1, 0)]
FRAMES = {(0, 0): 7, (0, 1): 4, (1, 0): 5}  # per clip
SOUNDS = {(0, 0): 2, (0, 1): 1, (1, 0): 3}  # windows
TOUCHED = {(0, 1)}  # clips that have a touch map
TIMESTAMPS = 3


class FakeEncoder:
    """Every token is a fixed random projection of one frame."""

    def __init__(self, modalities, width, num_tokens, seed):
        generator = torch.Generator().manual_seed(seed)
        self.specs = dict.fromkeys(modalities, VisualSpec(height=2, width=3))
        self.width, self.num_tokens = width, num_tokens
        self.weight = torch.randn(18, num_tokens * width, generator=generator)

    def encode(self, values, modality):
        if modality not in self.specs:
            raise ModalityError(f"{modality!r} is not among {sorted(self.specs)}")
        return (values[:, :, 0].flatten(2) @ self.weight).unflatten(-1, (self.num_tokens, self.width))


@dataclass(frozen=True, kw_only=True)
class FakeMemoryConfig(ComponentConfig):
    kind: ClassVar[str] = "fake_memory"
    has_memory: ClassVar[bool] = True

    def build(self):
        return FakeMemory()


class FakeMemory(MemoryTrunk):
    """Remembers the running sum of its segments' means, the older the fainter."""

    key_width, width, query_width = 8, 6, 6

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 6)

    def empty_memory(self, inputs):
        return inputs.keys.new_zeros(len(inputs.keys), self.width)

    def step(self, inputs, memory):
        weight = inputs.mask[..., None].to(inputs.keys.dtype)
        mean = self.linear((inputs.keys * weight).sum(1) / weight.sum(1).clamp(min=1))
        seen = torch.where(inputs.mask.any(1)[:, None], 0.7 * memory + mean, memory)
        return inputs.queries + torch.tanh(seen)[:, None], seen


ENCODER_A = FakeEncoder(("video", "depth"), 8, 4, seed=1)
ENCODER_B = FakeEncoder(("video",), 5, 3, seed=2)
ENCODER_S = FakeEncoder(("audio",), 6, 2, seed=3)
ENCODER_T = FakeEncoder(("touch",), 5, 1, seed=4)
STREAMS = {  # (modality, encoder): one modality feeds two encoders, one encoder sees two modalities
    "rgb_a": ("video", ENCODER_A),
    "rgb_b": ("video", ENCODER_B),
    "depth": ("depth", ENCODER_A),
    "sound": ("audio", ENCODER_S),
    "touch": ("touch", ENCODER_T),
    "long": ("video", ENCODER_A),
}
SPEC = TextSpec(tokenizer="words", max_tokens=9)
CONFIG = ConnectorConfig(
    trunks={
        "qformer": QFormerConfig(
            hidden=12,
            layers=2,
            heads=2,
            intermediate=14,
            encoder_width=8,
            vocab_size=30,
            max_positions=9,
            text_spec=SPEC,
        ),
        "mlp": MLPConfig(key_width=6, widths=(7,)),
        "memory": FakeMemoryConfig(),
    },
    ports={
        "rgb_a": PortConfig(trunk="qformer", input_width=8, input_norm=True, num_query_tokens=3),
        "rgb_b": PortConfig(trunk="qformer", input_width=5, input_proj=8, num_query_tokens=2, num_time_positions=4),
        "depth": PortConfig(trunk="qformer", input_width=8, num_query_tokens=3),
        "sound": PortConfig(trunk="mlp", input_width=6),
        "touch": PortConfig(
            trunk="qformer", input_width=5, input_proj=8, num_query_tokens=1, span="clip", absent="learned"
        ),
        "long": PortConfig(trunk="memory", input_width=8, num_query_tokens=2, num_time_positions=7),
    },
    fusion=ConcatFusionConfig(name="scene", streams=("rgb_a", "rgb_b", "depth", "sound"), align="nearest"),
    output_width=WIDTH,
)
LAYOUT = TemplateLayout(
    parts=(
        Text(text="compare the clips"),
        EachScene(
            parts=(
                Text(text="{label} :"),
                EachSegment(block="scene", parts=(Text(text="frame {index}"), Slot(block="scene"))),
                Slot(block="touch"),
                Text(text="memory"),
                Slot(block="long"),
            )
        ),
        Text(text="{question}"),
    )
)
QUERIES = [
    Query("which is red ?", (Scene("A", Clip("a.mp4")), Scene("B", Clip("b.mp4")))),
    Query("red ?", (Scene("A", Clip("c.mp4")),)),
]


@pytest.fixture(autouse=True)
def _registered():
    TRUNKS.register("fake_memory", FakeMemoryConfig)
    yield
    TRUNKS.unregister("fake_memory")


@pytest.fixture
def connector():
    torch.manual_seed(0)
    built = CONFIG.build().eval()
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.4)
    return built


def tokenizer():
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>")


def read_questions(queries):
    """What a trunk reads: right-padded ids and mask."""
    ids = [tokenizer()(query.text)["input_ids"] for query in queries]
    longest = max(map(len, ids))
    mask = torch.arange(longest) < torch.tensor([len(row) for row in ids])[:, None]
    return TextTokens(torch.tensor([row + [0] * (longest - len(row)) for row in ids]), mask)


def pixels(pair, modality, times):
    """The made-up medium: frames (T, 1, 3, 2, 3) that depend on clip, modality and time only."""
    seed = 100 * PAIRS.index(pair) + 10 * sorted(["video", "depth", "audio", "touch"]).index(modality)
    return torch.stack(
        [torch.randn(1, 3, 2, 3, generator=torch.Generator().manual_seed(seed + int(t * 4))) for t in times]
    )


def times_of(pair, name):
    """Times (T,) of a stream: selected timestamps, every frame for the memory, its own windows for audio."""
    every = torch.arange(FRAMES[pair], dtype=torch.float64) / 2
    if name == "long":
        selector = AllFramesSelectorConfig().build()
    elif name == "sound":
        return torch.arange(SOUNDS[pair], dtype=torch.float64)
    else:
        selector = UniformSelectorConfig().build()
    selection = selector(None, None, every[None], torch.ones(1, len(every), dtype=torch.bool), k=TIMESTAMPS)
    return every[(selection.seconds[0, :, None] - every).abs().argmin(-1)]


def encode(pairs, name):
    """Features of one stream: rows are the pairs that have the modality; item numbers start at the first pair's."""
    modality, encoder = STREAMS[name]
    rows = [pair for pair in pairs if name != "touch" or pair in TOUCHED]
    times = [times_of(pair, name) for pair in rows]
    longest = max((len(t) for t in times), default=0)
    values = torch.full((len(rows), longest, encoder.num_tokens, encoder.width), torch.nan)  # padding is never read
    mask = torch.zeros(len(rows), longest, encoder.num_tokens, dtype=torch.bool)
    seconds = torch.zeros(len(rows), longest, 2)
    for index, (pair, t) in enumerate(zip(rows, times, strict=True)):
        values[index, : len(t)] = encoder.encode(pixels(pair, modality, t)[None], modality)[0]
        mask[index, : len(t)] = True
        seconds[index, : len(t)] = torch.stack([t, t + 0.5], -1).float()
    return Features(values, mask, seconds, *numbers(rows, pairs))


def numbers(rows, pairs):
    first = min(item for item, _ in pairs)
    item = torch.tensor([item - first for item, _ in rows], dtype=torch.long)
    return item, torch.tensor([scene for _, scene in rows], dtype=torch.long)


def batch(pairs):
    """Features of all streams and the arguments of begin."""
    queries = [QUERIES[item] for item in sorted({item for item, _ in pairs})]
    return {name: encode(pairs, name) for name in STREAMS}, (*numbers(pairs, pairs), read_questions(queries)), queries


def segments_of(features, pairs):
    lengths = {}
    for name, f in features.items():
        for item, scene, count in zip(f.item.tolist(), f.scene.tolist(), f.mask.any(-1).sum(1).tolist(), strict=True):
            lengths[name, item, scene] = count
    item, scene = numbers(pairs, pairs)
    return block_segments(CONFIG, lengths, list(zip(item.tolist(), scene.tolist(), strict=True)))


def embeds_of(blocks, features, pairs, queries, side="left"):
    torch.manual_seed(7)
    table = nn.Embedding(30, WIDTH)
    plan = LAYOUT.plan(queries, tokenizer(), segments_of(features, pairs))
    return splice(plan, blocks, table, side)


def cut(features, start, end):
    return Features(
        features.values[:, start:end],
        features.mask[:, start:end],
        features.seconds[:, start:end],
        features.item,
        features.scene,
    )


def test_blocks_have_the_promised_shape(connector):
    features, begin, _ = batch(PAIRS)
    blocks, info = connector(features, *begin)
    assert tuple(blocks) == connector.block_names == ("scene", "touch", "long")
    assert blocks["scene"].values.shape == (3, TIMESTAMPS, 3 + 2 + 3 + 2, WIDTH)
    assert blocks["touch"].values.shape == (3, 1, 1, WIDTH)
    assert blocks["long"].values.shape == (3, 1, 2, WIDTH)
    assert all(torch.isfinite(block.values).all() for block in blocks.values())
    assert info == {"absent": {"touch": [(0, 0), (1, 0)]}, "fused": {"scene": ["rgb_a", "rgb_b", "depth", "sound"]}}
    assert segments_of(features, PAIRS) == {
        (name, item, scene): int(block.mask[row].any(-1).sum())
        for name, block in blocks.items()
        for row, (item, scene) in enumerate(PAIRS)
    }


@pytest.mark.parametrize("side", ["left", "right"])
def test_batch_equals_one_by_one(connector, side):
    features, begin, queries = batch(PAIRS)
    together = embeds_of(connector(features, *begin)[0], features, PAIRS, queries, side)
    for item in range(2):
        pairs = [pair for pair in PAIRS if pair[0] == item]
        features, begin, queries = batch(pairs)
        alone = embeds_of(connector(features, *begin)[0], features, pairs, queries, side)
        torch.testing.assert_close(
            together.values[item][together.mask[item]], alone.values[0][alone.mask[0]], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("cuts", [[0, 1, 3, 7], [0, 3, 4, 5, 6, 7]])
def test_push_in_pieces_equals_push_at_once(connector, cuts):
    features, begin, queries = batch(PAIRS)
    expected = embeds_of(connector(features, *begin)[0], features, PAIRS, queries)
    state = connector.begin(*begin)
    for start, end in pairwise(cuts):
        state = connector.push(state, {name: cut(f, start, end) for name, f in features.items()})
    got = embeds_of(connector.read(state)[0], features, PAIRS, queries)
    assert torch.equal(got.mask, expected.mask)
    torch.testing.assert_close(got.values, expected.values, rtol=1e-4, atol=1e-5)


def test_exception_in_a_push_leaves_the_state_valid(connector, monkeypatch):
    features, begin, _ = batch(PAIRS)
    first, rest = ({name: cut(f, *ends) for name, f in features.items()} for ends in ((0, 2), (2, 7)))
    state = connector.push(connector.begin(*begin), first)
    before, _ = connector.read(state)
    with monkeypatch.context() as patch:
        patch.setattr(connector.trunks["memory"], "commit", lambda *a, **k: (_ for _ in ()).throw(MemoryError("full")))
        with pytest.raises(MemoryError, match="full"):
            connector.push(state, rest)
    after, _ = connector.read(state)
    assert all(torch.equal(before[name].values, after[name].values) for name in before)
    whole, _ = connector(features, *begin)
    resumed, _ = connector.read(connector.push(state, rest))
    torch.testing.assert_close(resumed["long"].values, whole["long"].values, rtol=1e-4, atol=1e-5)


def test_a_trunk_sees_the_text_of_its_item_only(connector):
    features, (item, scene, text), _ = batch(PAIRS)
    changed = TextTokens(text.ids.clone(), text.mask)
    changed.ids[1, 0] = 5
    one, _ = connector(features, item, scene, text)
    two, _ = connector(features, item, scene, changed)
    differs = (one["scene"].values != two["scene"].values).flatten(1).any(1)
    assert differs.tolist() == [False, False, True]
    assert torch.equal(one["long"].values, two["long"].values)  # reads no text


def test_a_missing_modality_is_an_error_where_it_is_needed(connector):
    features, begin, _ = batch(PAIRS)
    del features["depth"]
    with pytest.raises(ModalityError, match="stream 'depth' is missing for item 0, scene 0"):
        connector(features, *begin)


def test_weights_survive_saving_and_nothing_hides_outside_the_state_dict(connector):
    features, begin, _ = batch(PAIRS)
    with torch.device("meta"):
        empty = ConnectorConfig.from_dict(CONFIG.to_dict()).build()
    empty = empty.to_empty(device="cpu").eval()
    empty.load_state_dict(connector.state_dict())
    expected, _ = connector(features, *begin)
    got, _ = empty(features, *begin)
    assert all(torch.equal(got[name].values, expected[name].values) for name in expected)


# Contract checks over everything that is registered; a new kind adds its tiny configuration here.

SMALL_VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "image_size": 12,
    "patch_size": 4,
}
PICTURE = {"video": VisualSpec(height=12, width=12)}
TINY_ENCODERS = {
    "vision_tower": VisionTowerConfig(config=SMALL_VIT, specs=PICTURE),
    "patch": PatchEncoderConfig(size=12, patch=4, width=8, layers=1, heads=2, specs=PICTURE),
    "motion": MotionEncoderConfig(
        height=4,
        width=6,
        patch=2,
        specs={"video": MotionSpec(source="motion_vectors", fps=2, height=4, width=6)},
    ),
    "languagebind": LanguageBindConfig(
        width=8, mlp_width=10, layers=2, heads=2, patch=4, size=12, window=2, specs=PICTURE
    ),
    "timm": TimmTowerConfig(name="vit_tiny", specs=PICTURE),
    "pillars": PillarEncoderConfig(
        extent_metres=2.0,
        depth_metres=2.0,
        pictures=PatchEncoderConfig(size=12, patch=4, width=8, layers=1, heads=2, channels=3),
        specs={"point_cloud": PointSpec(num_points=7, normalize=False)},
    ),
}
TINY_ENCODERS |= {
    "beats": BeatsConfig(
        width=12, layers=2, heads=3, intermediate=14, patch=4, patch_width=5, conv_width=6, conv_groups=2,
        num_buckets=8, max_distance=16, chunk=2,
        specs={
            "audio": AudioSpec(sample_rate=800, window_seconds=0.12, mel_bins=8, windows_of="frames")
        },
    ),
    "point_features": PointFeaturesConfig(
        width=7, specs={"point_cloud": PointSpec(num_points=5, feature_width=7, normalize=False)}
    ),
    "pointbert": PointBertConfig(
        width=7, hidden=12, layers=2, heads=3, num_groups=5, group_size=4, group_width=9, chunk=2,
        specs={"point_cloud": PointSpec(num_points=23, sampling="farthest")},
    ),
    "universal": UniversalEncoderConfig(
        width=8, layers=1, heads=2, mlp_width=10, patch=4, size=12, sound_patch=4, sound_stride=3, num_groups=5,
        group_size=3, series_kernel=4, vector_tokens=3, chunk=2,
        specs={
            "video": VisualSpec(height=12, width=12, resize="crop", crops=3),
            "audio": AudioSpec(sample_rate=800, window_seconds=0.12, mel_bins=8, windows_of="frames"),
            "point_cloud": PointSpec(num_points=7, feature_width=3),
            "imu": SeriesSpec(channels=2, length=9, rate=5.0),
            "fmri": SeriesSpec(channels=11, average=True),
        },
    ),
}  # fmt: skip
TINY_TRUNKS = {
    "qformer": QFormerConfig(hidden=12, layers=2, heads=2, intermediate=14, encoder_width=8),
    "mlp": MLPConfig(key_width=6, widths=(7, 5)),
    "projector": ProjectorConfig(key_width=6, pooling="conv3d", num_tokens=4, time=2, widths=(5,)),
    "resampler": ResamplerConfig(key_width=6, heads=2),
    "expert_mixture": ExpertMixtureConfig(width=6, num_experts=2, layers=2, heads=3, intermediate=7),
    "fake_memory": FakeMemoryConfig(),
}
TINY_SELECTORS = {
    "uniform": UniformSelectorConfig(),
    "all_frames": AllFramesSelectorConfig(),
    "motion_peaks": MotionPeaksSelectorConfig(),
    "grounding": GroundingSelectorConfig(
        hidden=12, layers=2, fusion_layer=1, heads=3, intermediate=14, vocab_size=30, motion_width=6
    ),
}


def what_it_watches(selector):
    """Motion and text of four clips, for a selector that needs them."""
    if not selector.needs_motion:
        return {}
    item = torch.arange(4)
    mask = torch.arange(7) < torch.tensor([7, 4, 1, 2])[:, None]
    seconds = torch.stack([torch.arange(7.0), torch.arange(7.0) + 1], -1).expand(4, -1, -1)
    motion = Features(torch.randn(4, 7, 1, 6), mask[..., None], seconds, item, torch.zeros_like(item))
    return {"motion": motion, "text": TextTokens(torch.randint(0, 30, (4, 5)), torch.ones(4, 5, dtype=torch.bool))}


@pytest.mark.parametrize(
    ("registry", "tiny", "check"),
    [
        (ENCODERS, TINY_ENCODERS, check_encoder),
        (TRUNKS, TINY_TRUNKS, check_trunk),
        (SELECTORS, TINY_SELECTORS, lambda selector: check_selector(selector, **what_it_watches(selector))),
    ],
    ids=["encoders", "trunks", "selectors"],
)
def test_everything_registered_keeps_its_contract(registry, tiny, check, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", fake_timm.module())
    assert set(tiny) == set(registry), "give each registered kind a tiny configuration here"
    for kind, config in tiny.items():
        assert isinstance(config, registry.get(kind))
        torch.manual_seed(0)
        check(config.build().eval())


def test_checks_take_fakes_and_catch_what_is_wrong():
    check_encoder(ENCODER_A)
    leaky = FakeEncoder(("video",), 5, 3, seed=2)
    leaky.encode = lambda values, modality: (  # type: ignore[method-assign]
        FakeEncoder.encode(leaky, values, modality) + values.mean()
    )
    with pytest.raises(AssertionError, match="one row alone"):
        check_encoder(leaky)
    careless = MLPConfig(key_width=3).build()
    careless.refuse = lambda **extras: None
    with pytest.raises(AssertionError, match="must refuse adapter that it does not take"):
        check_trunk(careless)
    nowhere = UniformSelectorConfig().build()
    forward = nowhere.forward
    nowhere.forward = lambda *a, **k: _later(forward(*a, **k))
    with pytest.raises(AssertionError, match="outside the clip"):
        check_selector(nowhere)


def _later(selection):
    selection.seconds.add_(100.0)
    return selection


def test_example_payloads_follow_the_specs():
    assert example_payload(AudioSpec(sample_rate=100, window_seconds=0.5)) == (50,)
    assert example_payload(AudioSpec(sample_rate=16000, window_seconds=1.0, mel_bins=20)) == (98, 20)
    assert example_payload(PointSpec(num_points=6, feature_width=2)) == (6, 5)
