"""OneLLM: sizes of the paper on the meta device, prompts, tiny replicas of its released file, questions end to end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_systems_blip2 import _tokenizer

import vidweave
from vidweave.connectors.expert_mixture import ExpertMixtureConfig
from vidweave.encoders.universal import UniversalEncoderConfig
from vidweave.errors import CheckpointError, ConfigError, ModalityError, QueryError, ShapeError, UnknownNameError
from vidweave.language.layout import AnswerFormat
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.conversion import Request
from vidweave.model.conversion import convert as convert_file
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.registry import CONVERTERS, MODELS
from vidweave.systems.onellm import checkpoint
from vidweave.systems.onellm.keys import DROPPED, NAMES, to_ours, to_theirs
from vidweave.systems.onellm.preset import MODALITIES, SPECS, Sizes, build, onellm
from vidweave.systems.onellm.prompts import PROMPTS
from vidweave.types import Clip, Frames, PointCloud, Query, Scene, Series, Waveform

HEADS = 2
PIXELS = {"height": 28, "width": 28}
SIZES = Sizes(
    encoder=UniversalEncoderConfig(
        width=12, layers=2, heads=2, mlp_width=14, patch=14, size=28, num_groups=5, group_size=3, vector_tokens=2
    ),
    specs={
        **{name: replace(SPECS[name], **PIXELS) for name in ("image", "video", "rgbd", "rgbn")},
        "audio": replace(SPECS["audio"], window_seconds=0.38, mel_bins=28),
        "point_cloud": replace(SPECS["point_cloud"], num_points=19),
        "imu": replace(SPECS["imu"], channels=3, length=21, rate=10.0),
        "fmri": replace(SPECS["fmri"], channels=11),
    },
    experts=ExpertMixtureConfig(width=12, num_experts=3, layers=2, heads=2, intermediate=10),
    language={
        "model_type": "llama", "vocab_size": 60, "hidden_size": 20, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": HEADS, "max_position_embeddings": 400, "bos_token_id": 2, "eos_token_id": 2,
        "pad_token_id": 0, "tie_word_embeddings": False,
    },
    num_query_tokens=4,
)  # fmt: skip


def tiny(**options):
    torch.manual_seed(1)
    model = VideoLanguageModel(build(sizes=SIZES, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


# ---- presets

# The paper's full size, part by part (specification, section 1).
LANGUAGE, CLIP, CLIP_PROJ, EXPERT = 6_738_415_616, 304_228_352, 1024 * 1024, 102_776_832
TOKENIZERS = {"audio": 263_168, "point_cloud": 7_168, "imu": 61_440, "fmri": 128_819_200}
PARTS = {
    "positions": 2_702_336, "query_tokens": 245_760, "input": 8_413_184, "output": 33_652_736, "router": 33_685_528,
    "tags": 65_536,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    with torch.device("meta"):
        return VideoLanguageModel(onellm())


def count(parameters):
    return sum(p.numel() for p in parameters)


def test_sizes_of_the_paper(whole):
    encoder, ports = whole.encoders["universal"], whole.connector.ports
    assert count(whole.language_model.parameters()) == LANGUAGE
    assert {name: count(t.parameters()) for name, t in encoder.tokenizers.items()} == TOKENIZERS
    assert count(encoder.positions.values()) == PARTS["positions"]
    own = count(encoder.parameters()) - sum(TOKENIZERS.values()) - PARTS["positions"]
    assert own == CLIP - CLIP_PROJ  # the released file has CLIP's own projection too
    assert [count(e.parameters()) for e in whole.connector.trunks["universal"].experts] == [EXPERT] * 3
    result = dict.fromkeys(PARTS, 0)
    for key, parameter in ports.named_parameters():
        part = key.split(".")[1]
        result[
            {"start_tag": "tags", "end_tag": "tags"}.get(part, part.removesuffix("_proj").removesuffix("_norm"))
        ] += parameter.numel()
    assert result | {"positions": PARTS["positions"]} == PARTS
    assert count(whole.parameters()) == 7_558_890_520 - CLIP_PROJ


def test_released_keys_both_ways(whole):
    """934 tensors without CLIP's text parts, of which its projection is not used (specification of Contra4, 5.3)."""
    ours = whole.state_dict()
    theirs = to_theirs(ours, 32)
    assert len(theirs) + 1 == 934
    shapes = {
        "tok_embeddings.weight": (32_000, 4096), "layers.31.attention.wq.weight": (4096, 4096),
        "layers.0.feed_forward.w2.weight": (4096, 11_008), "layers.7.ffn_norm.weight": (4096,),
        "clip.visual.positional_embedding": (257, 1024), "clip.visual.conv1.weight": (1024, 3, 14, 14),
        "clip.visual.transformer.resblocks.23.attn.in_proj_weight": (3072, 1024),
        "resample_layers.2.7.feed_forward.w1.weight": (2816, 1024), "conv1.audio.weight": (1024, 1, 16, 16),
        "conv1.point.conv1.weight": (1024, 6, 1, 1), "conv1.imu.weight": (1024, 6, 10),
        "conv1.fmri.weight": (8192, 15_724), "positional_embedding.audio": (1213, 1024),
        "positional_embedding.point": (1025, 1024), "positional_embedding.fmri": (9, 1024),
        "positional_embedding.imu": (392, 1024), "resample_tokens.rgbn": (1, 30, 1024), "start_tag.fmri": (1, 1, 4096),
        "clip_proj1.video.0.weight": (1024, 1024), "clip_proj2.point.0.weight": (4096, 1024),
        "routers.imu.fc1.weight": (4096, 1024), "routers.imu.fc2.bias": (3,), "output.weight": (32_000, 4096),
    }  # fmt: skip
    assert {key: tuple(theirs[f"llma.{key}"].shape) for key in shapes} == shapes
    again, dropped = to_ours(theirs, 32)
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in ours.items()}
    assert not dropped


def test_constants_of_the_preset():
    spec = onellm().parse()
    port, trunk = spec.connector.ports["fmri"], spec.connector.trunks["universal"]
    assert (port.norm_eps, port.num_query_tokens, port.router_width, port.absent) == (1e-5, 30, 4096, "skip")
    assert (trunk.norm_eps, trunk.num_experts, trunk.layers, trunk.heads) == (1e-5, 3, 8, 16)
    encoder = spec.encoders["universal"]  # parity cannot tell an epsilon of 1e-6 here
    assert (encoder.norm_eps, encoder.num_groups, encoder.group_size) == (1e-5, 1024, 32)
    heard = encoder.specs["audio"]
    assert (heard.mel_mean, heard.mel_std, heard.scale, heard.window_frames) == (-4.2677393, 9.1379948, 1.0, 1024)
    assert spec.streams["video"].need.num_frames == spec.streams["video"].need.window == 5
    assert spec.language_model.config["rms_norm_eps"] == 1e-5
    assert (spec.decoding, PROMPTS["contra4"].decoding) == ({"max_new_tokens": 128}, {"max_new_tokens": 5})
    assert onellm("contra4", legacy_decoding=True).parse().decoding == {"max_new_tokens": 5, "legacy_inserted": 30}


def test_registered_names():
    names = [name for name in MODELS if name.startswith("onellm-")]
    assert names == ["onellm-7b", "onellm-contra4-7b"]
    for name in names:
        assert MODELS.get(name)().name == name


def test_preset_faults():
    with pytest.raises(UnknownNameError, match="unknown prompt of OneLLM 'chats'; did you mean 'chat'"):
        onellm("chats")
    with pytest.raises(UnknownNameError, match="unknown modality of OneLLM 'depth'"):
        build(("depth",))
    with pytest.raises(ConfigError, match="needs modalities, each once"):
        build(("audio", "audio"))
    with pytest.raises(ConfigError, match="experts are as wide as its encoder, got 16 and 12"):
        build(sizes=replace(SIZES, experts=replace(SIZES.experts, width=16)))


# ---- questions end to end


def clip_of(*modalities, **options):
    draw = np.random.default_rng(3)
    frames = draw.integers(0, 255, (31, 33, 41, 3), dtype=np.uint8)
    pair = Frames(frames[:2], np.arange(2.0), np.arange(2))
    sources = {
        "image": Frames(frames[:1], np.zeros(1), np.zeros(1, dtype=np.int64)),
        "video": Frames(frames, np.arange(31.0) / 5, np.arange(31)),
        "audio": Waveform(draw.normal(size=16_000).astype(np.float32), 16_000),
        "point_cloud": PointCloud(draw.normal(size=(41, 3)).astype(np.float32)),
        "rgbd": pair,
        "rgbn": pair,
        "imu": Series(draw.normal(size=(17, 3)), rate=10.0),
        "fmri": Series(draw.normal(size=(3, 11))),
    }
    return Clip(**{name: sources[name] for name in modalities}, **options)


@pytest.fixture(scope="module")
def chat():
    model = tiny()
    model.processor = Processor(model.config, {"language": _tokenizer(False)})
    return model


def test_every_modality_becomes_its_tokens_between_two_tags(chat):
    queries = [Query.about(clip_of(name), "what happens") for name in MODALITIES]
    embeds, _ = chat.embed(chat.processor(queries))
    text = PROMPTS["chat"].text.format(question="what happens", options="")
    words = len(chat.processor.tokenizers["language"](text, add_special_tokens=False)["input_ids"])
    assert set(embeds.mask.sum(1).tolist()) == {1 + words + SIZES.num_query_tokens + 2}
    assert embeds.blocks_end.tolist() == [1 + SIZES.num_query_tokens + 2] * len(queries)
    for row, name in enumerate(MODALITIES):
        first = int((~embeds.mask[row]).sum()) + 1  # behind the begin token
        torch.testing.assert_close(embeds.values[row, first], chat.connector.ports[name].start_tag)


def test_every_modality_is_answered_and_all_together(chat):
    pipeline = SlotPipeline(chat)
    for names in (*((name,) for name in MODALITIES), MODALITIES):
        (answer,) = pipeline.answer(Query.about(clip_of(*names), "what happens"), max_new_tokens=2)
        assert isinstance(answer.text, str)


def test_frames_and_crops_of_a_video_are_averaged(chat):
    (row,) = [chat.processor([Query.about(clip_of("video"), "what")]).streams["video"]]
    assert row.values.shape == (1, 1, 15, 3, 28, 28)
    encoder = chat.encoders["universal"]
    alone = torch.stack([encoder.encode(row.values[:, :, i : i + 1], "video") for i in range(15)]).mean(0)
    torch.testing.assert_close(encoder.encode(row.values, "video"), alone, atol=1e-5, rtol=1e-5)


def test_scenes_of_contra4():
    model = tiny(prompt=PROMPTS["contra4"])
    model.processor = Processor(model.config, {"language": _tokenizer(False)})
    scenes = tuple(Scene(f"Scene {x}", clip_of(name)) for x, name in zip("ABC", ("audio", "imu", "audio"), strict=True))
    query = Query("which", scenes, tuple(scene.label for scene in scenes))
    slots = [name for name, _, _ in model.processor([query]).plan.slots]
    assert slots == ["audio", "imu", "audio"]
    assert SlotPipeline(model).answer(query)
    one = tiny()
    one.processor = Processor(one.config, {"language": _tokenizer(False)})
    with pytest.raises(QueryError, match="the query has 3 scenes, but this model's prompt takes only one"):
        SlotPipeline(one).answer(query)


def test_answers_end_before_the_next_turn(chat):
    assert AnswerFormat(stop="###").cut("a cat\n###Human: and?") == "a cat\n"
    assert AnswerFormat().cut("a ### b") == "a ### b"
    assert chat.spec.layout.answer.stop == "###"


def test_released_decoding_is_greedy_and_alone(chat):
    query = Query.about(clip_of("audio"), "what happens")
    pipeline = SlotPipeline(chat)
    with pytest.raises(ConfigError, match="legacy_inserted decodes greedily, without beams"):
        pipeline.answer(query, legacy_inserted=4, num_beams=2)
    assert pipeline.answer(query, legacy_inserted=4, max_new_tokens=3)
    embeds, _ = chat.embed(chat.processor([query]))
    with pytest.raises(ConfigError, match="needs prompts with the end of their blocks"):
        chat.language_model.generate(replace(embeds, blocks_end=None), legacy_inserted=4)


def test_a_lag_of_nothing_is_no_fault(chat):
    """The released cache counts right where it counts all that was inserted."""
    embeds, _ = chat.embed(chat.processor([Query.about(clip_of("imu"), "what happens")]))
    inserted = int(embeds.blocks_end) - 1
    right = chat.language_model.generate(embeds, max_new_tokens=6)
    assert torch.equal(chat.language_model.generate(embeds, max_new_tokens=6, legacy_inserted=inserted), right)


# ---- released files


def released(model):
    """The original's file, with what it holds besides."""
    state = to_theirs(model.state_dict(), HEADS)
    extra = {"clip.visual.proj": (12, 9), "clip.ln_final.weight": (9,), "clip.token_embedding.weight": (7, 9)}
    extra |= {"clip.positional_embedding": (5, 9), "clip.text_projection": (9, 9), "clip.logit_scale": ()}
    return {**state, **{f"llma.{key}": torch.zeros(shape) for key, shape in extra.items()}}


@pytest.fixture(scope="module")
def model():
    return tiny()


def test_a_released_file_becomes_the_model(model, tmp_path):
    file = tmp_path / "consolidated.00-of-01.pth"
    torch.save({"model": released(model)}, file)
    _tokenizer(False).save_pretrained(tmp_path / "llama")
    request = Request(
        file=file,
        out=tmp_path / "out",
        parts={"tokenizer": str(tmp_path / "llama")},
        options={"prompt": "contra4", "legacy_decoding": "true"},
    )
    report = checkpoint.convert(request, sizes=SIZES)
    loaded = vidweave.load(tmp_path / "out").model
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, atol=0.0, rtol=0.0, msg=key)
    assert set(report.dropped[file.name].values()) == {DROPPED}
    assert len(report.dropped[file.name]) == 6
    assert loaded.spec.decoding == {"max_new_tokens": 5, "legacy_inserted": SIZES.num_query_tokens}
    assert loaded.processor is not None


def cut(state, count):
    """As fairscale cuts a model for `count` processes."""
    shards = [{} for _ in range(count)]
    for key, value in state.items():
        name = key.removesuffix(".weight").rpartition(".")[2]
        axis = {"wo": 1, "w2": 1, "tok_embeddings": 1, "output": 0, **dict.fromkeys(("wq", "wk", "wv", "w1", "w3"), 0)}
        parts = value.chunk(count, axis[name]) if name in axis else [value] * count
        for shard, part in zip(shards, parts, strict=True):
            shard[key] = part.clone()
    return shards


def test_a_sharded_file_becomes_the_model(model, tmp_path):
    files = [tmp_path / f"consolidated.{rank:02d}-of-02.pth" for rank in range(2)]
    shards = cut(released(model), 2)
    for file, shard in zip(files, shards, strict=True):
        torch.save(shard, file)
    checkpoint.convert(Request(file=files[1], out=tmp_path / "out"), sizes=SIZES)
    loaded = vidweave.load(tmp_path / "out").model
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, atol=0.0, rtol=0.0, msg=key)
    torch.save({**shards[1], "llma.norm.weight": shards[1]["llma.norm.weight"] + 1}, files[1])
    with pytest.raises(CheckpointError, match=r"llma\.norm\.weight is whole in every shard, and differs between them"):
        checkpoint.convert(Request(file=files[0], out=tmp_path / "other"), sizes=SIZES)
    torch.save({key: value for key, value in shards[1].items() if key != "llma.norm.weight"}, files[1])
    with pytest.raises(CheckpointError, match=r"differ in their keys: llma\.norm\.weight"):
        checkpoint.convert(Request(file=files[0], out=tmp_path / "other"), sizes=SIZES)
    files[1].unlink()
    with pytest.raises(CheckpointError, match=r"is one of 2 files; consolidated\.01-of-02\.pth is missing beside it"):
        checkpoint.convert(Request(file=files[0], out=tmp_path / "other"), sizes=SIZES)


def test_files_that_do_not_fit(model, tmp_path):
    file, out, state = tmp_path / "consolidated.00-of-01.pth", tmp_path / "out", released(model)
    request = Request(file=file, out=out)
    for change, message in (
        ({"llma.strange": torch.zeros(1)}, "1 keys of the other layout are not in the key table: strange"),
        (
            {"llma.clip.visual.transformer.resblocks.0.attn.in_proj_bias": torch.zeros(4)},
            r"a multiple of 3; it is \(4,\)",
        ),
        ({"llma.routers.imu.fc2.bias": torch.zeros(4)}, r"connector\.ports\.imu\.router\.down\.bias"),
    ):
        torch.save({**state, **change}, file)
        with pytest.raises(CheckpointError, match=message):
            checkpoint.convert(request, sizes=SIZES)
    torch.save({key: value for key, value in state.items() if key != "llma.end_tag.fmri"}, file)
    with pytest.raises(CheckpointError, match=r"missing.*connector\.ports\.fmri\.end_tag"):
        checkpoint.convert(request, sizes=SIZES)
    torch.save({key: value for key, value in state.items() if "resample_tokens" not in key}, file)
    with pytest.raises(CheckpointError, match="holds no modality tokens: it is no file of OneLLM"):
        checkpoint.convert(request, sizes=SIZES)
    with pytest.raises(UnknownNameError, match="unknown prompt of OneLLM 'contra'; did you mean 'contra4'"):
        checkpoint.convert(replace(request, options={"prompt": "contra"}), sizes=SIZES)
    with pytest.raises(UnknownNameError, match="unknown part of this layout 'language'"):
        checkpoint.convert(replace(request, parts={"language": "x"}), sizes=SIZES)
    assert not out.exists()


def test_a_file_of_some_modalities(model, tmp_path):
    keep = ("image", "imu")
    gone = [theirs for theirs in NAMES if theirs not in keep]
    state = {key: value for key, value in released(model).items() if not any(f".{name}" in key for name in gone)}
    file = tmp_path / "part.pth"
    torch.save(state, file)
    checkpoint.convert(Request(file=file, out=tmp_path / "out"), sizes=SIZES)
    assert list(vidweave.load(tmp_path / "out").model.connector.ports) == list(keep)


def test_layouts_are_distinguished(model, tmp_path):
    file = tmp_path / "consolidated.00-of-01.pth"
    torch.save(released(model), file)
    with pytest.raises(CheckpointError, match="it looks like one of layout 'onellm'"):
        convert_file("videotgb", Request(file=file, out=tmp_path / "out"))
    assert set(checkpoint.PARTS) == set(CONVERTERS.entry("onellm").facts.parts)


def test_series_of_other_sizes_are_refused(chat):
    wide = Clip(imu=Series(np.zeros((9, 4)), rate=10.0))
    with pytest.raises(ShapeError, match="the spec takes 3 channels, the series has 4"):
        chat.processor([Query.about(wide, "what")])
    with pytest.raises(ModalityError):
        chat.processor([Query.about(Clip(touch=clip_of("image")["image"]), "what")])
