"""CREMA: sizes of the paper on the meta device, prompts, and released layouts as tiny replicas."""

import json
from importlib import resources

import numpy as np
import pytest
import torch
from test_systems_blip2 import _tokenizer

import vidweave
from vidweave.cli.main import run
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.beats import BeatsConfig, beats_to_microsoft
from vidweave.encoders.eva_vit import eva_to_lavis
from vidweave.errors import CheckpointError, ConfigError, ModalityError, UnknownNameError
from vidweave.language.decoding import Decoding
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.conversion import Request
from vidweave.model.conversion import convert as convert_file
from vidweave.model.describe import describe_model
from vidweave.pipelines.slot import SlotPipeline
from vidweave.registry import CONVERTERS, MODELS
from vidweave.systems.crema import checkpoint
from vidweave.systems.crema.keys import NAMES, rename
from vidweave.systems.crema.preset import DATASETS, Sizes, build, crema
from vidweave.systems.crema.scoring import strict
from vidweave.types import AudioSpec, Clip, Frames

T5 = {
    "model_type": "t5", "vocab_size": 60, "d_model": 20, "d_kv": 6, "d_ff": 36, "num_layers": 2, "num_decoder_layers": 2,
    "num_heads": 3, "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu", "tie_word_embeddings": False,
    "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "model_type": "blip_2_vision_model", "hidden_size": 14, "intermediate_size": 18, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6,
}  # fmt: skip
SOUND = AudioSpec(sample_rate=16_000, window_seconds=0.32, mel_bins=16, windows_of="frames", min_windows=2)
SIZES = Sizes(
    vision=VISION,
    audio=BeatsConfig(
        width=12, layers=2, heads=2, intermediate=14, patch=16, patch_width=5, conv_width=6, conv_groups=2,
        num_buckets=8, max_distance=16, specs={"audio": SOUND},
    ),
    qformer=QFormerConfig(hidden=16, layers=2, heads=2, intermediate=20, encoder_width=14),
    language=T5,
    num_query_tokens=3,
    num_points=5,
    rank=2,
)  # fmt: skip
ALL = ("video", "audio", "flow", "depth", "normals", "point_cloud")


def trained(config):
    """Names of what CREMA trains: ports and fusion."""
    with torch.device("meta"):
        model = VideoLanguageModel(config)
    return {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if name.startswith(("connector.ports.", "connector.fusion."))
    }


@pytest.mark.parametrize(
    ("modalities", "fusion", "expected"),
    [
        (("video",), "none", 3_961_600),
        (("audio",), "none", 5_044_352),
        (("video", "point_cloud", "depth"), "none", 11_884_800),
        (("video", "point_cloud", "depth"), "gated_add", 20_275_456),
        (("video", "audio", "flow"), "none", 12_967_552),
        (("video", "audio", "flow"), "gated_add", 21_358_208),
        (("video", "flow", "depth", "normals"), "gated_append", 28_431_360),
        (("video", "audio", "flow", "depth", "normals"), "gated_append", 37_670_016),
    ],
)
def test_trainable_parameters_at_paper_size(modalities, fusion, expected):
    """Spec 2.1; the original counts a norm for points that it never uses (2,816)."""
    unused = 2_816 * ("point_cloud" in modalities)
    assert sum(trained(build(modalities, fusion=fusion)).values()) + unused == expected


def test_frozen_parameters_at_paper_size():
    with torch.device("meta"):
        model = VideoLanguageModel(crema("music-avqa"))
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in model.encoders.items()}
    assert counts["vision"] == 985_894_528 + 39 * 1408  # transformers fuses a key bias of zeros into each block
    assert counts["audio"] == 90_311_792 - 128
    assert sum(p.numel() for p in model.connector.trunks.parameters()) == 105_137_664
    assert sum(p.numel() for p in model.language_model.parameters()) == 2_849_757_184


def test_lm_head_and_table_share_no_memory():
    torch.manual_seed(0)
    model = VideoLanguageModel(build(("video",), fusion="none", sizes=SIZES))
    inner = model.language_model.model
    assert inner.lm_head.weight.data_ptr() != inner.shared.weight.data_ptr()
    assert inner.config.dense_act_fn == "gelu"
    assert not inner.config.scale_decoder_outputs


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets(name):
    config = crema(name)
    spec = config.parse()
    Decoding.of(spec.decoding)
    assert tuple(spec.connector.ports) == DATASETS[name].modalities
    published = json.loads((resources.files("vidweave.systems.crema") / "published.json").read_text())
    assert name in published["training"] or name.endswith("-test")


def test_registered_names():
    for name in ("crema-sqa3d", "crema-music-avqa", "crema-nextqa", "crema-touch-qa", "crema-thermal-qa"):
        assert MODELS.get(name)().name == name


def test_preset_faults():
    with pytest.raises(UnknownNameError, match="unknown data set of CREMA 'sqa3'; did you mean 'sqa3d'"):
        crema("sqa3")
    with pytest.raises(UnknownNameError, match="unknown modality of CREMA 'deph'; did you mean 'depth'"):
        crema("sqa3d", modalities=("video", "deph"))
    with pytest.raises(ConfigError, match="start with the video"):
        crema("sqa3d", modalities=("depth", "video"))
    with pytest.raises(ConfigError, match="each once"):
        crema("sqa3d", modalities=("video", "depth", "depth"))


# ---- released layouts


@pytest.fixture
def whole():
    """A model with all modalities, from which files of every layout are made."""
    torch.manual_seed(1)
    model = VideoLanguageModel(build(ALL, fusion="gated_append", sizes=SIZES)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.2)
            if name.endswith("qkv.bias"):
                parameter[14:28] = 0
    return model


def theirs(model, *, order=ALL):
    """CREMA's names of a model's connector."""
    names = {ours: original for original, ours in NAMES.items()}
    state, fusion = {}, {}
    parts = {"query_tokens": "query_tokens_{}", "output_proj": "t5_proj_{}", "input_norm": "ln_{}"}
    for key, value in model.connector.state_dict().items():
        room, _, rest = key.partition(".")
        if room == "trunks":
            rest = rest.removeprefix("qformer.").replace("embeddings.layernorm", "embeddings.LayerNorm")
            rest = rest.replace("attention.attention.", "attention.self.")
            if ".crossattention." not in rest:
                rest = rest.replace("self.query.", "self.query.w.").replace("self.value.", "self.value.w.")
            state[f"Qformer.bert.{rest}"] = value
        elif room == "ports":
            name, _, part = rest.partition(".")
            first, _, tail = part.partition(".")
            if first == "adapter":
                _, layer, target, half = tail.split(".")
                half = "a" if half == "down" else "b"
                state[f"Qformer.bert.encoder.layer.{layer}.attention.self.{target}.w_{half}_{names[name]}.weight"] = (
                    value
                )
            elif first == "input_proj":
                state[f"projection_audio.{tail}"] = value
            else:
                state[".".join(filter(None, [parts[first].format(names[name]), tail]))] = value
        elif rest == "bias":
            state["fusion.0.bias"] = value
        else:
            fusion[rest.removeprefix("weights.")] = value
    if fusion:
        state["fusion.0.weight"] = torch.cat([fusion[name] for name in order if name in fusion], 1)
    return state


@pytest.fixture
def files(whole, tmp_path):
    """The frozen parts in their released layouts."""
    torch.save({"model": eva_to_lavis(whole.encoders["vision"].state_dict())}, tmp_path / "eva.pth")
    torch.save({"cfg": {}, "model": beats_to_microsoft(whole.encoders["audio"].state_dict())}, tmp_path / "beats.pt")
    whole.language_model.model.save_pretrained(tmp_path / "t5")
    _tokenizer(False).save_pretrained(tmp_path / "t5")
    return {"vision": tmp_path / "eva.pth", "audio": tmp_path / "beats.pt", "language": tmp_path / "t5"}


def request(tmp_path, state, files=(), **changes):
    file = tmp_path / f"file{len(list(tmp_path.glob('file*')))}.pth"
    torch.save({"model": state, "epoch": 3}, file)
    settings = {"modalities": ",".join(ALL), **changes.pop("options", {})}
    out = changes.pop("out", tmp_path / f"out-{file.stem}")
    return Request(file=file, out=out, parts={k: str(v) for k, v in dict(files).items()}, options=settings, **changes)


def same(model, other, *, skip=()):
    ours, result = model.state_dict(), other.state_dict()
    assert ours.keys() == result.keys()
    for key, value in ours.items():
        if not any(part in key for part in skip):
            torch.testing.assert_close(result[key], value, msg=key)


ORDER = {"stream_order": "rgb,audio,flow,depth,norm,pc"}


def test_a_whole_file_with_its_parts(whole, files, tmp_path):
    state = {
        **theirs(whole),
        "rgb_gradsel_embed": torch.zeros(1, 3),
        "Qformer.bert.embeddings.position_ids": torch.arange(3),
    }
    asked = request(tmp_path, state, files, options=ORDER)
    report = checkpoint.convert(asked, sizes=SIZES)
    same(whole, vidweave.load(asked.out).model)
    assert not report.fresh
    assert set(report.dropped[asked.file.name]) == {"rgb_gradsel_embed", "Qformer.bert.embeddings.position_ids"}


def test_crema_initial_has_no_adapter(whole, files, tmp_path):
    state = {
        k: v for k, v in theirs(whole).items() if not any(p in k for p in (".w_a_", ".w_b_", "fusion", "projection"))
    }
    eva = torch.load(files["vision"])["model"]
    torch.save({f"module.{key}": value for key, value in eva.items()}, files["vision"])
    asked = request(tmp_path, state, files)
    report = checkpoint.convert(asked, sizes=SIZES)
    assert "eva.pth: stripped 'module.', which DistributedDataParallel puts before every name" in report.notes
    model = vidweave.load(asked.out).model
    same(whole, model, skip=(".adapter.", "fusion", "input_proj"))
    assert all(not v.any() for k, v in model.state_dict().items() if k.endswith(".up"))
    assert len(report.fresh) == 2 * 2 * 2 * 6 + 6 + 2
    assert any("no adapter" in note for note in report.notes)


def test_the_last_modality_and_the_fusion_over_a_base(whole, files, tmp_path):
    initial = request(tmp_path, theirs(whole), files, options=ORDER)
    checkpoint.convert(initial, sizes=SIZES)
    later = {k: v + 1 for k, v in theirs(whole).items() if "_norm" in k.split(".")[0] or "_norm." in k or "fusion" in k}
    later["t5_model.encoder.embed_tokens.weight"] = torch.zeros(60, 20)
    asked = request(tmp_path, later, base=str(initial.out), options=ORDER)
    report = convert_file("crema", asked)
    model = vidweave.load(asked.out).model
    for key, value in model.state_dict().items():
        own = key.startswith(("connector.ports.normals.", "connector.fusion."))
        torch.testing.assert_close(value, whole.state_dict()[key] + own, msg=key)
    assert (
        report.notes[0]
        == "the file has no parameters of video, audio, flow, depth, point_cloud: those of the base are kept"
    )
    assert list(report.dropped[asked.file.name]) == ["t5_model.encoder.embed_tokens.weight"]
    info = json.loads((asked.out / "conversion.json").read_text())
    assert set(info["replaced"]) == {
        k for k in model.state_dict() if k.startswith(("connector.ports.normals.", "connector.fusion."))
    }


def test_blip2_is_the_start(whole, files, tmp_path):
    names = {k: v for k, v in theirs(whole).items() if k.startswith("Qformer.") and ".w_" not in k}
    state = {k.replace(".w.", "."): v for k, v in names.items()}
    state |= {"query_tokens": whole.connector.ports["video"].query_tokens.detach()}
    port = whole.connector.ports["video"]
    state |= {f"t5_proj.{k}": v for k, v in port.output_proj.state_dict().items()}
    state |= {f"ln_vision.{k}": v for k, v in port.input_norm.state_dict().items()}
    asked = request(tmp_path, state, files, options={"modalities": "video,depth,touch"})
    files.pop("audio")
    checkpoint.convert(
        request(tmp_path, state, files, options={"modalities": "video,depth,touch"}, out=tmp_path / "b"), sizes=SIZES
    )
    model = vidweave.load(tmp_path / "b").model
    for name in ("video", "depth", "touch"):
        torch.testing.assert_close(model.connector.ports[name].query_tokens, port.query_tokens)
    assert asked.parts  # with a part that the model has no use for, the keys do not fit
    with pytest.raises(CheckpointError, match=r"unexpected|extra"):
        checkpoint.convert(asked, sizes=SIZES)


def test_touch_in_the_slot_of_normals(whole, files, tmp_path):
    options = {"modalities": "video,touch", "stream_order": "rgb,norm", "filled": "norm:touch", "dataset": "touch-qa"}
    kept = {
        k: v
        for k, v in theirs(whole).items()
        if not any(f"_{m}" in k for m in ("audio", "flow", "depth", "pc")) and "projection" not in k
    }
    kept["fusion.0.weight"] = whole.connector.fusion.weights["normals"].detach()
    files.pop("audio")
    asked = request(tmp_path, kept, files, options=options)
    checkpoint.convert(asked, sizes=SIZES)
    model = vidweave.load(asked.out).model
    torch.testing.assert_close(model.connector.fusion.weights["touch"], whole.connector.fusion.weights["normals"])
    torch.testing.assert_close(
        model.connector.ports["touch"].query_tokens, whole.connector.ports["normals"].query_tokens
    )


def test_files_that_do_not_fit(whole, files, tmp_path):
    state = theirs(whole)
    with pytest.raises(ConfigError, match="a fusion of 5 streams and does not name them; give stream_order"):
        checkpoint.convert(request(tmp_path, state, files), sizes=SIZES)
    with pytest.raises(CheckpointError, match="joins 5 streams besides the video, stream_order names 2"):
        checkpoint.convert(request(tmp_path, state, files, options={"stream_order": "rgb,depth,norm"}), sizes=SIZES)
    with pytest.raises(UnknownNameError, match="unknown modality of CREMA 'nrom'; did you mean 'norm'"):
        checkpoint.convert(request(tmp_path, state, files, options={"stream_order": "rgb,nrom"}), sizes=SIZES)
    with pytest.raises(CheckpointError, match="has no vision, audio, language; give them"):
        checkpoint.convert(request(tmp_path, state, options=ORDER), sizes=SIZES)
    with pytest.raises(CheckpointError, match="'strange' is no key of CREMA's files"):
        checkpoint.convert(request(tmp_path, {**state, "strange": torch.zeros(1)}, files, options=ORDER), sizes=SIZES)
    lacking = {k: v for k, v in state.items() if k != "query_tokens_rgb"}
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.convert(request(tmp_path, lacking, files, options=ORDER), sizes=SIZES)
    with pytest.raises(ConfigError, match="filled takes pairs"):
        checkpoint.convert(request(tmp_path, state, files, options={**ORDER, "filled": "touch"}), sizes=SIZES)


def test_half_a_modality_is_refused_and_a_missing_one_is_noted(whole, files, tmp_path):
    """Half a port used to be filled up with the video's parameters, without a word."""
    state = theirs(whole)
    half = {k: v for k, v in state.items() if not k.startswith(("t5_proj_depth", "ln_depth"))}
    with pytest.raises(
        CheckpointError, match=r"has only a part of connector\.ports\.depth: missing .*input_norm\.weight"
    ):
        checkpoint.convert(request(tmp_path, half, files, options=ORDER), sizes=SIZES)
    lora = {k: v for k, v in state.items() if "w_b_flow" not in k}
    with pytest.raises(CheckpointError, match=r"has only a part of connector\.ports\.flow\.adapter: missing .*\.up"):
        checkpoint.convert(request(tmp_path, lora, files, options=ORDER), sizes=SIZES)
    bias = {k: v for k, v in state.items() if k != "fusion.0.bias"}
    with pytest.raises(CheckpointError, match=r"has only a part of connector\.fusion: missing connector\.fusion\.bias"):
        checkpoint.convert(request(tmp_path, bias, files, options=ORDER), sizes=SIZES)
    without = {k: v for k, v in state.items() if "_depth" not in k}
    report = checkpoint.convert(request(tmp_path, without, files, options=ORDER), sizes=SIZES)
    assert "no file has parameters of depth: they start as copies of the video's" in report.notes
    assert (
        "the fusion's columns were taken in the order rgb, audio, flow, depth, norm, pc; the file cannot confirm it"
        in (report.notes)
    )


def test_half_a_modality_over_a_base_is_noted(whole, files, tmp_path):
    first = request(tmp_path, theirs(whole), files, options=ORDER)
    checkpoint.convert(first, sizes=SIZES)
    asked = request(tmp_path, {"query_tokens_depth": torch.zeros(1, 3, 16)}, base=str(first.out), options=ORDER)
    note = next(
        n for n in convert_file("crema", asked).notes if n.startswith("the file has only a part of depth: the base's ")
    )
    assert all(f"connector.ports.depth.{rest}" in note for rest in ("input_norm.weight", "output_proj.bias"))


def test_bases_and_data_sets_that_do_not_fit(whole, tmp_path):
    asked = request(tmp_path, {"query_tokens_rgb": torch.zeros(1, 3, 16)}, base="tiny-base")
    with pytest.raises(
        ConfigError, match=r"base 'tiny-base' has a causal language model \(llama\) .*; CREMA starts from BLIP-2"
    ):
        convert_file("crema", asked)
    with pytest.raises(UnknownNameError, match="unknown data set of CREMA 'sqa3'; did you mean 'sqa3d'"):
        convert_file("crema", request(tmp_path, {}, options={"dataset": "sqa3"}))
    with pytest.raises(ConfigError, match="CREMA's language model is a T5, got 'llama'"):
        build(("video",), fusion="none", sizes=Sizes(language={"model_type": "llama", "hidden_size": 8}))


def test_costs_of_audio_and_points_are_counted():
    """Windows that are cut from mel frames, and points, whose values a count does not have."""
    rows = {row.slot: row for row in describe_model(build(ALL, sizes=SIZES))}
    assert rows["encoders.audio"].flops > 0
    assert rows["encoders.points"].parameters == 0


def test_a_modality_whose_adapter_is_not_in_the_file_is_named(whole):
    """A port that the model has and the weights lack: the message has its keys."""
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith("connector.ports.depth.adapter.")}
    with pytest.raises(CheckpointError, match=r"missing.*connector\.ports\.depth\.adapter"):
        VideoLanguageModel.from_state(whole.config, state)


def test_the_command_lists_and_refuses(capsys):
    assert "stream_order" in CONVERTERS.entry("crema").facts.options
    assert run(["convert", "crema", "none.pth", "--out", "x"]) == 1
    assert "there is no file" in capsys.readouterr().err


def test_keys_of_a_file_are_reported():
    renamed = rename({"rgb_gradsel_embed": torch.zeros(1), "ln_pc.weight": torch.zeros(1)})
    assert renamed.dropped == {
        "rgb_gradsel_embed": "never used",
        "ln_pc.weight": "never used: points go to the Q-Former without a norm",
    }


# ---- asking


@pytest.fixture
def asked(whole):
    from vidweave.model.processor import Processor

    whole.processor = Processor(whole.config, {"language": _tokenizer(False)})
    return whole


def frames_of(count=6, seed=0):
    values = np.random.default_rng(seed).integers(0, 255, (count, 30, 34, 3), dtype=np.uint8)
    return Frames(values, np.arange(count) / 4, np.arange(count))


def test_all_modalities_cost_as_many_tokens_as_two(asked):
    two = SlotPipeline(asked).ask(Clip(video=frames_of(), depth=frames_of(seed=1)), "what is a cat ?").trace
    more = (
        SlotPipeline(asked)
        .ask(
            Clip(video=frames_of(), depth=frames_of(seed=1), normals=frames_of(seed=2), flow=frames_of(seed=3)),
            "what is a cat ?",
        )
        .trace
    )
    assert two.tokens == more.tokens
    assert {name: two.tokens[name] for name in ("video", "fused")} == {"video": 12, "fused": 12}
    assert list(more.panels["gates"][0]["share"]) == ["flow", "depth", "normals"]


def test_maps_of_another_number_and_length_and_a_single_frame(asked):
    for video, depth in ((6, 3), (1, 6), (1, 1)):
        answer = SlotPipeline(asked).ask(
            Clip(video=frames_of(video), depth=frames_of(depth, seed=1)), "what is a cat ?"
        )
        assert answer.trace.tokens["fused"] == answer.trace.tokens["video"]


def test_video_must_be_there(asked):
    with pytest.raises(ModalityError, match=r"'video'.*is missing"):
        SlotPipeline(asked).ask(Clip(depth=frames_of()), "what is a cat ?")


def test_strict_marks():
    assert strict("Two.", "2")
    assert not strict("able", "table")
    assert not strict("", "table")
