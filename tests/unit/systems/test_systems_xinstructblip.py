"""X-InstructBLIP: sizes of the paper on the meta device, prompts, tiny replicas of its released files, questions end to end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_systems_blip2 import _tokenizer

import vidweave
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.beats import BeatsConfig, beats_to_microsoft
from vidweave.encoders.eva_vit import eva_to_lavis
from vidweave.encoders.pointbert import ULIP, PointBertConfig
from vidweave.errors import CheckpointError, ConfigError, ModalityError, QueryError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.conversion import Request
from vidweave.model.conversion import convert as convert_file
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.registry import CONVERTERS, MODELS
from vidweave.systems.xinstructblip import checkpoint
from vidweave.systems.xinstructblip.frames import head_tail, train_head_tail
from vidweave.systems.xinstructblip.keys import NAMES, qformer_keys, rename
from vidweave.systems.xinstructblip.preset import MODALITIES, Sizes, build, xinstructblip
from vidweave.systems.xinstructblip.prompts import PROMPTS, discrn_question
from vidweave.types import AudioSpec, Clip, Frames, PointCloud, PointSpec, Query, Scene, TextSpec, VisualSpec, Waveform

SIZES = Sizes(
    vision={
        "model_type": "blip_2_vision_model", "hidden_size": 14, "intermediate_size": 18, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6,
    },
    audio=BeatsConfig(
        width=12, layers=2, heads=2, intermediate=14, patch=16, patch_width=5, conv_width=6, conv_groups=2,
        num_buckets=8, max_distance=16,
        specs={"audio": AudioSpec(sample_rate=16_000, window_seconds=0.32, mel_bins=16, windows_of="frames")},
    ),
    points=PointBertConfig(
        width=10, hidden=8, layers=2, heads=2, num_groups=5, group_size=3, group_width=6,
        specs={"point_cloud": PointSpec(num_points=19, sampling="farthest")},
    ),
    qformer=QFormerConfig(
        hidden=16, layers=2, heads=2, intermediate=20, vocab_size=60, max_positions=30,
        text_spec=TextSpec(tokenizer="qformer", max_tokens=30, truncation_side="left"),
    ),
    language={
        "model_type": "llama", "vocab_size": 60, "hidden_size": 20, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 400, "bos_token_id": 2, "eos_token_id": 2,
        "pad_token_id": 0,
    },
    num_query_tokens=3,
)  # fmt: skip


@pytest.fixture
def whole():
    torch.manual_seed(1)
    model = VideoLanguageModel(build(sizes=SIZES)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.2)
            if name.endswith("qkv.bias"):
                parameter[14:28] = 0
    return model


# ---- presets


def test_sizes_of_the_paper():
    with torch.device("meta"):
        model = VideoLanguageModel(xinstructblip())

    def count(module):
        return sum(p.numel() for p in module.parameters())

    assert {name: count(encoder) for name, encoder in model.encoders.items()} == {
        "vision": 985_894_528 + 39 * 1408,  # transformers fuses a key bias of zeros into each block
        "audio": 90_311_792 - 128,  # weight norm of the convolution is folded
        "points": 21_858_816 + 768 * 512,
    }
    widths = {"image": 1408, "video": 1408, "audio": 768, "point_cloud": 512}
    trunks = {"image": 185_660_160, "video": 185_660_160, "audio": 179_761_920, "point_cloud": 177_402_624}
    assert {name: count(trunk) for name, trunk in model.connector.trunks.items()} == trunks
    for name, port in model.connector.ports.items():
        assert count(port) == 2 * widths[name] + 24_576 + 3_149_824
    assert len(model.connector.trunks["image"].state_dict()) == 328  # and position_ids
    twice = build(shared_vision=False).parse().encoders
    assert {"image_vision", "video_vision"} <= twice.keys()


def test_registered_names():
    names = [name for name in MODELS if name.startswith("xinstructblip-")]
    assert names == [f"xinstructblip-{n}" for n in ("contra4-7b", "discrn-7b", "vicuna-13b", "vicuna-7b")]
    for name in names:
        assert MODELS.get(name)().name == name


def test_constants_of_the_preset():
    spec = xinstructblip().parse()
    trunk, port = spec.connector.trunks["audio"], spec.connector.ports["audio"]
    assert (trunk.text_spec.max_tokens, trunk.text_spec.truncation_side, trunk.layer_norm_eps) == (128, "left", 1e-12)
    assert (port.norm_eps, port.num_query_tokens, port.absent) == (1e-5, 32, "skip")
    heard = spec.encoders["audio"].specs["audio"]
    assert (heard.mel_mean, heard.mel_std, heard.scale) == (15.41663, 2 * 6.55582, 2.0**15)
    assert (heard.window_seconds, heard.mel_bins, heard.min_windows, heard.remainder) == (5.12, 128, 1, "pad")
    points = spec.encoders["points"].specs["point_cloud"]
    assert (points.num_points, points.normalize, points.voxels) == (8192, True, 0)
    legacy = xinstructblip(legacy_media=True).parse().encoders
    assert legacy["audio"].specs["audio"].remainder == "repeat_length"
    assert legacy["vision"].specs["video"].channels == "bgr"
    assert legacy["vision"].specs["image"].channels == "rgb"


def test_preset_faults():
    with pytest.raises(UnknownNameError, match="unknown prompt of X-InstructBLIP 'contra'; did you mean 'contra4'"):
        xinstructblip("contra")
    with pytest.raises(UnknownNameError, match="unknown modality of X-InstructBLIP 'depth'"):
        build(("depth",))
    with pytest.raises(ConfigError, match="needs modalities, each once"):
        build(("audio", "audio"))
    with pytest.raises(ConfigError, match="needs a model_type that is causal, got 't5'"):
        build(sizes=Sizes(language={"model_type": "t5"}))
    with pytest.raises(ConfigError, match=r"read the instruction; give Sizes\.qformer a text_spec"):
        build(sizes=Sizes(qformer=QFormerConfig()))
    with pytest.raises(ConfigError, match="read_short_side must be at least 1, got 0"):
        VisualSpec(height=4, width=4, read_short_side=0)
    with pytest.raises(ConfigError, match="head and tail need 2 or more frames"):
        head_tail(9, 25.0, 1)
    with pytest.raises(ConfigError, match="a video of 3 frames has fewer than 2 in each half"):
        train_head_tail(3, 4, None)


def test_discrn_questions():
    assert discrn_question("Which image has a louder audio?") == "which of the two options has a louder object?"


# ---- questions end to end


def processor(config):
    return Processor(config, {"language": _tokenizer(False), "qformer": _tokenizer(False)})


def clip_of(*modalities):
    draw = np.random.default_rng(3)
    frames = draw.integers(0, 255, (5, 31, 37, 3), dtype=np.uint8)
    sources = {
        "image": Frames(frames[:1], np.zeros(1), np.zeros(1, dtype=np.int64)),
        "video": Frames(frames, np.arange(5.0), np.arange(5)),
        "audio": Waveform(draw.normal(size=16_000).astype(np.float32), 16_000),
        "point_cloud": PointCloud(draw.normal(size=(41, 3)).astype(np.float32)),
    }
    return Clip(**{name: sources[name] for name in modalities})


def asked(prompt, queries, **options):
    torch.manual_seed(0)
    model = VideoLanguageModel(build(sizes=SIZES, prompt=PROMPTS[prompt], **options)).eval()
    model.processor = processor(model.config)
    plain = {"max_new_tokens": 2, "num_beams": 1, "min_new_tokens": 0}
    return model, [SlotPipeline(model).answer(query, **({} if query.options else plain)) for query in queries]


def test_every_modality_alone_and_all_together():
    queries = [Query.about(clip_of(name), "what happens") for name in MODALITIES]
    joint = Query.about(clip_of(*MODALITIES), "what happens")
    model, _ = asked("released", [*queries, joint])
    inputs = model.processor([*queries, joint])
    embeds, _ = model.embed(inputs)
    counts = embeds.mask.sum(1).tolist()
    # tokens of one modality: 3 queries for each segment (4 frames; 4 windows of 1 s in 0.32 s)
    plain = [embeds_length - 3 * segments for embeds_length, segments in zip(counts, (1, 1, 4, 4), strict=False)]
    assert max(plain) - min(plain) <= 3  # cues differ by words
    assert counts[-1] > max(counts[:-1])


def test_scenes_of_contra4():
    scenes = tuple(
        Scene(f"Scene {letter}", clip_of(name)) for letter, name in zip("ABC", ("audio", "audio", "image"), strict=True)
    )
    query = Query("which", scenes, tuple(scene.label for scene in scenes))
    model, answers = asked("contra4", [query])
    assert answers
    with pytest.raises(QueryError, match="the query has 3 scenes, but this model's prompt takes only one"):
        asked("released", [query])
    inputs = model.processor([query])
    blocks = [name for name, _, _ in inputs.plan.slots]
    assert sorted(blocks) == ["audio", "audio", "image"]


def test_text_of_other_items_is_read_by_the_fault_alone():
    """In a batch each segment reads its own instruction; with the fault of the original it reads another's (X4)."""
    queries = [Query.about(clip_of("audio"), text) for text in ("what happens", "red")]
    right, _ = asked("first", [])
    wrong, _ = asked("first", [], legacy_text_rows=True)
    for model, is_right in ((right, True), (wrong, False)):
        together, _ = model.embed(model.processor(queries))
        alone, _ = model.embed(model.processor(queries[:1]))
        same = torch.allclose(together.values[0][together.mask[0]], alone.values[0][alone.mask[0]], atol=1e-5)
        assert same is is_right


# ---- released files


def qformer_file(model, theirs):
    """One modality's file under the original's names."""
    ours = NAMES[theirs]
    prefixes = (f"connector.trunks.{ours}.", f"connector.ports.{ours}.")
    own = {key: value for key, value in model.state_dict().items() if key.startswith(prefixes)}
    state = qformer_keys(theirs).to_theirs(own)
    return {**state, f"{theirs}_Qformer.bert.embeddings.position_ids": torch.arange(3)}


@pytest.fixture
def files(whole, tmp_path):
    """All released files, by part; the language model has no row for padding yet."""
    result = {}
    for theirs in NAMES:
        result[f"{theirs}_qformer"] = tmp_path / f"{theirs}_qformer{'_improved' * (theirs == 'audio')}.pth"
        torch.save({"model": qformer_file(whole, theirs)}, result[f"{theirs}_qformer"])
    result |= {"vision": tmp_path / "eva.pth", "audio": tmp_path / "beats.pt", "points": tmp_path / "ulip.pt"}
    torch.save(eva_to_lavis(whole.encoders["vision"].state_dict()), result["vision"])
    torch.save({"cfg": {}, "model": beats_to_microsoft(whole.encoders["audio"].state_dict())}, result["audio"])
    points = {**ULIP.to_theirs(whole.encoders["points"].state_dict()), "logit_scale": torch.ones(())}
    torch.save({"state_dict": {f"module.{key}": value for key, value in points.items()}}, result["points"])
    inner = whole.language_model.model
    with torch.no_grad():
        inner.model.embed_tokens.weight[-1] = 0
        inner.lm_head.weight[-1] = 0
    inner.save_pretrained(
        tmp_path / "vicuna",
        state_dict={k: v[:-1].clone() if v.shape[0] == 60 else v for k, v in inner.state_dict().items()},
    )
    _tokenizer(False).save_pretrained(tmp_path / "vicuna")
    _tokenizer(False).save_pretrained(tmp_path / "bert")
    return {**result, "language": tmp_path / "vicuna", "qformer": tmp_path / "bert"}


def request(files, out, *, first="image_qformer", **changes):
    parts = {role: str(path) for role, path in files.items() if role != first}
    return Request(file=files[first], out=out, **{"parts": parts, **changes})


def test_released_files_become_the_model(whole, files, tmp_path):
    report = checkpoint.convert(request(files, tmp_path / "out"), sizes=SIZES)
    model = vidweave.load(tmp_path / "out").model
    ours, result = whole.state_dict(), model.state_dict()
    assert ours.keys() == result.keys()
    for key, value in ours.items():
        torch.testing.assert_close(result[key], value, msg=key)
    assert report.dropped["points"] == {"logit_scale": "no weight of the model"}
    assert report.dropped["image_qformer.pth"] == {
        "image_Qformer.bert.embeddings.position_ids": "no weight of the model"
    }
    assert (
        "audio_qformer_improved.pth: trained with cue and tokens twice, and used with one copy, as released"
        in report.notes
    )
    assert any("a row of zeros was added for the padding token" in note for note in report.notes)
    words = model.processor.tokenizers["language"]
    assert words.bos_token == words.eos_token == words.unk_token == "</s>"
    assert words.pad_token == "[PAD]"


@pytest.mark.slow
def test_one_file_over_a_base(whole, files, tmp_path):
    checkpoint.convert(request(files, tmp_path / "base"), sizes=SIZES)
    asked_for = Request(file=files["video_qformer"], out=tmp_path / "out", base=str(tmp_path / "base"))
    checkpoint.convert(replace(asked_for, options={"prompt": "contra4", "num_frames": "2"}), sizes=SIZES)
    model = vidweave.load(tmp_path / "out").model
    assert list(model.connector.ports) == ["video"]
    assert model.spec.streams["video"].need.num_frames == 2
    assert model.spec.layout.blocks == {"video"}


def test_files_that_do_not_fit(whole, files, tmp_path):
    out = tmp_path / "out"
    few = {role: path for role, path in files.items() if role not in ("points", "language")}
    with pytest.raises(CheckpointError, match="the files have no points, language; give them"):
        checkpoint.convert(request(few, out), sizes=SIZES)
    alone = {role: files[role] for role in ("image_qformer", "vision", "language", "audio")}
    with pytest.raises(ConfigError, match="part 'audio' is given, but no file has a Q-Former that uses it"):
        checkpoint.convert(request(alone, out), sizes=SIZES)
    with pytest.raises(UnknownNameError, match="unknown part of this layout 'eyes'"):
        checkpoint.convert(request({**files, "eyes": files["vision"]}, out), sizes=SIZES)
    with pytest.raises(UnknownNameError, match="unknown prompt of X-InstructBLIP 'demos'; did you mean 'demo'"):
        checkpoint.convert(request(files, out, options={"prompt": "demos"}), sizes=SIZES)
    state = qformer_file(whole, "image")
    for change, message in (
        ({"image_strange": torch.zeros(1)}, "1 keys are none of X-InstructBLIP's: image_strange"),
        ({"image_Qformer.bert.strange": torch.zeros(1)}, r"not in the key table: image_Qformer\.bert\.strange"),
    ):
        torch.save({**state, **change}, files["image_qformer"])
        with pytest.raises(CheckpointError, match=message):
            checkpoint.convert(request(files, out), sizes=SIZES)
    lacking = {key: value for key, value in state.items() if key != "image_ln.bias"}
    torch.save(lacking, files["image_qformer"])
    with pytest.raises(CheckpointError, match=r"missing.*connector\.ports\.image\.input_norm\.bias"):
        checkpoint.convert(request(files, out), sizes=SIZES)
    torch.save({key: value for key, value in state.items() if "query_tokens" not in key}, files["image_qformer"])
    with pytest.raises(CheckpointError, match="has no query tokens: it is no Q-Former of X-InstructBLIP"):
        checkpoint.convert(request(files, out), sizes=SIZES)
    assert not out.exists()


def test_layouts_are_distinguished(files, tmp_path):
    with pytest.raises(CheckpointError, match="it looks like one of layout 'xinstructblip'"):
        convert_file("videotgb", Request(file=files["audio_qformer"], out=tmp_path / "out"))
    assert set(checkpoint.PARTS) == set(CONVERTERS.entry("xinstructblip").facts.parts)


def test_two_towers_that_differ_are_not_one(whole):
    eva = eva_to_lavis(whole.encoders["vision"].state_dict())
    state = {f"{name}_encoder.{key}": value for name in ("image", "video") for key, value in eva.items()}
    assert len(rename(state).state) == len(whole.encoders["vision"].state_dict())
    state["video_encoder.cls_token"] = state["video_encoder.cls_token"] + 1
    with pytest.raises(CheckpointError, match="the towers of images and of frames differ"):
        rename(state)
    assert {key.split(".")[1] for key in rename(state, shared_vision=False).state} == {"image_vision", "video_vision"}


def test_a_modality_without_a_q_former_reaches_no_token():
    model, _ = asked("released", [])
    small = VideoLanguageModel(build(("image",), sizes=SIZES)).eval()
    small.processor = processor(small.config)
    with pytest.raises(ModalityError):
        SlotPipeline(small).answer(Query.about(clip_of("audio"), "what happens"))
    assert model.spec.connector_streams.keys() == set(MODALITIES)
