from dataclasses import replace

import pytest
import torch

import vidweave
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.projectors import ProjectorConfig
from vidweave.encoders.languagebind import LanguageBindConfig
from vidweave.errors import CheckpointError, ConfigError, QueryError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.describe import describe_model
from vidweave.registry import MODELS
from vidweave.systems.merv import preset
from vidweave.systems.merv.arch import Arch, parse_arch
from vidweave.systems.merv.choices import naive_question
from vidweave.systems.merv.preset import (
    dinov2_single,
    languagebind_single,
    merv,
    merv_frozen,
    merv_full,
    siglip_single,
    vivit_single,
)
from vidweave.systems.merv.tiny import ROWS, tiny_merv

TINY_LLAMA = {"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 20}
TINY_LLAMA |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 4096}


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_paper_size():
    """Spec 1.5. Layers behind the published ones are not built, so the towers are smaller than in the paper."""
    with torch.device("meta"):
        model = VideoLanguageModel(merv_frozen())
    assert millions(model.connector.trunks) == pytest.approx(14.70, abs=0.005)
    assert millions(model.language_model) == pytest.approx(6738.9, abs=0.05)
    assert {name: (e.num_tokens, e.width) for name, e in model.encoders.items()} == {
        "languagebind": (8 * 256, 1024),
        "dinov2": (256, 1024),
        "vivit": (16 * 196, 768),
        "siglip": (196, 768),
    }
    assert millions(model.encoders["vivit"]) == pytest.approx(88.6, abs=0.05)
    layers = {"dinov2": 303.2, "siglip": 92.9}  # whole, with a pooling head that nothing here uses (siglip)
    one = {"dinov2": 12 * 1024**2 / 1e6, "siglip": 12 * 768**2 / 1e6}
    assert millions(model.encoders["dinov2"]) == pytest.approx(layers["dinov2"] - one["dinov2"], rel=0.01)
    assert millions(model.encoders["siglip"]) == pytest.approx(layers["siglip"] - 2 * one["siglip"], rel=0.01)
    with torch.device("meta"):
        assert millions(LanguageBindConfig(final_norm=True).build()) == pytest.approx(404.2, abs=0.9)


def test_released_configuration():
    spec = merv_full().parse()
    needs = {name: (s.need.num_frames, s.need.stride, s.need.window) for name, s in spec.streams.items()}
    assert needs == {"languagebind": (16, 2, 8), "dinov2": (16, 2, 1), "vivit": (32, 1, 32), "siglip": (16, 2, 1)}
    assert {s.pool.grid for s in spec.streams.values()} == {8}
    assert list(spec.streams) == list(spec.connector.trunks)
    assert spec.connector.fusion.query_width == 3072
    assert spec.language_model.config["vocab_size"] == 32064
    assert spec.layout.parts[2].text == "In: {question}{options}\nOut:"


@pytest.mark.parametrize("single", [languagebind_single, dinov2_single, vivit_single, siglip_single])
def test_single_encoders(single):
    spec = single().parse()
    assert len(spec.streams) == 1
    (stream,) = spec.streams.values()
    assert stream.need.stride == 1


@pytest.mark.parametrize("fusion", ["attention", "query_mlp", "scalar", "equal", "channel", "channel_norm", "sequence"])
def test_every_fusion_and_any_set(fusion):
    config = merv(("clip", "hiera", "vivit"), fusion=fusion, head="mlp", tokens_per_frame=4, language=TINY_LLAMA)
    assert VideoLanguageConfig(**config.to_diff_dict()).parse() == config.parse()


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_tiny_model(row):
    config = tiny_merv(row)
    assert VideoLanguageConfig(config.spec).parse() == config.parse()
    with torch.device("meta"):
        model = VideoLanguageModel(config)
    assert model.connector.block_names == ("video",)


def test_the_generalist_is_as_large_as_the_three():
    with torch.device("meta"):
        three = VideoLanguageModel(tiny_merv("attention")).encoders
        one = VideoLanguageModel(tiny_merv("generalist")).encoders
    assert millions(one) == pytest.approx(millions(three), rel=0.03)
    assert millions(one) >= millions(three)


def test_arch_specifiers():
    assert parse_arch("no-align+3davg+linear") == Arch("average3d", 1, "linear")
    assert parse_arch("conv+frame2+fused-gelu-mlp") == Arch("conv2d", 2, "fused_mlp")
    assert parse_arch("gelu-mlp") == Arch("none", 1, "mlp")
    with pytest.raises(ConfigError, match=r"'3dmax' in arch_specifier '3dmax\+linear' is not one of avg"):
        parse_arch("3dmax+linear")
    with pytest.raises(ConfigError, match="names no head"):
        parse_arch("avg")


def test_bad_input():
    with pytest.raises(UnknownNameError, match="unknown encoder 'siglib'; did you mean 'siglip'"):
        merv(("siglib",))
    with pytest.raises(
        ConfigError, match="tokens_per_frame must be a square, since it is a grid; got 60, use 49 or 64"
    ):
        merv(tokens_per_frame=60)
    with pytest.raises(
        ConfigError, match=r"numbers of frames must divide the largest \(48\): 'vivit' takes 32; give one of 1, 2, 3"
    ):
        merv(("dinov2", "vivit"), num_frames={"dinov2": 48})
    with pytest.raises(ConfigError, match="'vivit' takes windows of 32 frames, 16 is not a multiple of it"):
        merv(("vivit",), num_frames={"vivit": 16})
    with pytest.raises(ConfigError, match="unequal numbers of segments: 'dinov2' 8, 'siglip' 16; give them equal"):
        merv(("dinov2", "siglip"), num_frames={"dinov2": 8})
    with pytest.raises(ConfigError, match="a clip would take 4096 tokens, the language model has 4096 positions"):
        merv(fusion="sequence")
    with pytest.raises(UnknownNameError, match="prompt 'llama2'"):
        merv(prompt="llama2")
    with pytest.raises(UnknownNameError, match="row of tiny-merv"):
        tiny_merv("best")
    with pytest.raises(QueryError, match="letters for 1 to 5 options, got 6"):
        naive_question("?", "abcdef")


@pytest.mark.parametrize(
    "name", ["merv-frozen", "merv-full", *(f"{encoder}-single" for encoder in preset.RELEASED_ORDER)]
)
def test_registered_models_have_no_weights_to_fetch(name):
    assert MODELS.get(name)().name == name
    with pytest.raises(CheckpointError, match="convert its released file with `vidweave convert merv`"):
        vidweave.load(name)


def test_the_language_model_pays_for_one_encoder():
    small = {"tokens_per_frame": 4, "language": TINY_LLAMA}
    notes = {
        f: describe_model(merv(("siglip", "dinov2"), fusion=f, **small))[-1].note for f in ("attention", "sequence")
    }
    assert notes == {"attention": "prefill of 64 + 32 tokens", "sequence": "prefill of 128 + 32 tokens"}


@pytest.mark.parametrize(("pooling", "inside"), [("average", 0), ("conv3d", 2 * 8 * 36 * 27 * 128 * 128)])
def test_what_a_projector_that_merges_time_costs(pooling, inside):
    """8 frames of 36 tokens become 4 segments of 4, and go through one linear layer."""
    spec = tiny_merv("general").parse()
    projector = ProjectorConfig(key_width=128, pooling=pooling, num_tokens=4, time=2, widths=(128,))
    port = PortConfig(trunk="pool", input_width=128, span="clip", output_proj=False)
    connector = replace(spec.connector, trunks={"pool": projector}, ports={"general": port})
    cost = describe_model(VideoLanguageConfig(replace(spec, connector=connector)))[-2]
    assert (cost.slot, cost.note) == ("connector", "16 tokens to the language model")
    assert cost.flops == 2 * 16 * 128 * 128 + inside


def test_a_language_model_may_be_what_transformers_writes():
    from transformers import Qwen2Config

    theirs = Qwen2Config(hidden_size=96, num_attention_heads=4, num_key_value_heads=2)
    config = merv(language={**theirs.to_dict(), "prefix": None, "max_length": 20, "torchscript": False}).parse()
    assert config.language_model.width == 96
    assert not config.language_model.config.keys() & {"prefix", "max_length", "torchscript", "transformers_version"}
