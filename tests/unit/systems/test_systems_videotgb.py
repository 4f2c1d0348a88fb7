"""VideoTGB: presets at paper size, and released files as tiny replicas with the real names."""

import json

import numpy as np
import pytest
import torch
from test_systems_blip2 import NUM_QUERIES, QFORMER, VISION, _shake, _text_config, _tokenizer
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
)

import vidweave
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.causal import CausalConfig
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.conversion import Request, convert
from vidweave.model.describe import describe_model
from vidweave.nn.raft import RAFT_KEYS, Raft
from vidweave.pipelines.slot import SlotPipeline
from vidweave.registry import MODELS
from vidweave.selectors.bridge import Bridge
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.systems.videotgb import checkpoint
from vidweave.systems.videotgb.attach import attach_bridge
from vidweave.systems.videotgb.bridge_keys import BRIDGE
from vidweave.systems.videotgb.checkpoint import convert_file
from vidweave.systems.videotgb.preset import videotgb, videotgb_flan_t5_xl, videotgb_vicuna_7b
from vidweave.types import Clip, Frames, MotionSpec, TextSpec

BRIDGE_SIZES = {"hidden": 24, "layers": 3, "fusion_layer": 1, "heads": 3, "intermediate": 28, "vocab_size": 40}
SIDE, PATCH, POSITIONS = 128, 16, 24


def tiny(form, *, pooled=True, pooling="mean"):
    """A configuration with the sizes of the replica."""
    text = _text_config("llama" if form == "instructblip" else "t5").to_dict()
    kept = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads pad_token_id bos_token_id"
    kept += " eos_token_id d_model d_kv d_ff num_layers num_heads feed_forward_proj decoder_start_token_id"
    language = {key: text[key] for key in [*kept.split(), "model_type"] if key in text}
    reader = {"vocab_size": 50, "max_positions": 20, "text_spec": TextSpec(tokenizer="qformer", max_tokens=20)}
    spec = MotionSpec(source="pictures", fps=2, height=SIDE, width=SIDE, normalize="clip_max", max_maps=6)
    return videotgb(
        name=f"replica-{form}",
        vision={**VISION, "patch_size": 14, "model_type": "blip_2_vision_model", "layer_norm_eps": 1e-6},
        qformer=QFormerConfig(
            hidden=32,
            layers=3,
            heads=4,
            intermediate=40,
            encoder_width=24,
            **(reader if form == "instructblip" else {}),
        ),
        num_query_tokens=NUM_QUERIES,
        language_model=CausalConfig(config=language)
        if form == "instructblip"
        else Seq2SeqConfig(config={**language, "tie_word_embeddings": False}),
        selector=GroundingSelectorConfig(
            **BRIDGE_SIZES,
            max_positions=POSITIONS,
            motion_width=2 * PATCH**2,
            num_patches=1 if pooled else (SIDE // PATCH) ** 2,
            rope="stored",
            position="absolute+rope",
            cross_position="both",
            text_spec=TextSpec(tokenizer="selector", max_tokens=POSITIONS),
        ),
        motion=MotionEncoderConfig(
            height=SIDE,
            width=SIDE,
            patch=PATCH,
            iterations=1,
            pooling="weighted" if pooled else "none",
            specs={"video": spec, "image": spec},
        ),
        pooling=pooling,
        decoding={"max_new_tokens": 3},
    )


def bridge_state():
    """The released grounding encoder's names, from a bridge of ours, and what it holds besides."""
    bridge = Bridge(
        **BRIDGE_SIZES,
        num_positions=POSITIONS,
        eps=1e-12,
        dropout=0.1,
        motion_width=2 * PATCH**2,
        num_patches=(SIDE // PATCH) ** 2,
        mode="fusion",
        stored_tables=True,
        absolute=True,
        cross_position="both",
        encode_words=False,
        window=None,
    )
    _shake(bridge)
    state = BRIDGE.to_theirs(bridge.state_dict())
    projection = state["temporal_embeddings.projection.weight"]
    state["temporal_embeddings.projection.weight"] = projection.view(-1, 2, PATCH, PATCH)
    state["temporal_embeddings.fc.weight"] = state["temporal_embeddings.fc.weight"][None]
    state["temporal_embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    state["embeddings.position_embeddings.weight"] = torch.randn(POSITIONS, 24)
    return bridge, {f"temporal_encoder.{key}": value for key, value in state.items()}


def replica(form, *, with_lora=False):
    """A state dict with every real name, and transformers' own model, to compare with."""
    classes = {
        "blip2": (Blip2Config, Blip2ForConditionalGeneration, "t5"),
        "instructblip": (InstructBlipConfig, InstructBlipForConditionalGeneration, "llama"),
    }
    config_class, model_class, kind = classes[form]
    torch.manual_seed(2)
    config = config_class(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config=_text_config(kind).to_dict(),
        num_query_tokens=NUM_QUERIES,
        image_token_index=59,
    )
    theirs = model_class(config).eval()
    _shake(theirs)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    if kind == "t5":
        for stack in ("encoder", "decoder"):
            state[f"language_model.{stack}.embed_tokens.weight"] = state["language_model.shared.weight"]
    if with_lora:
        state = add_lora(state)
    for end, value in (("weight", torch.randn(20, 32)), ("bias", torch.randn(20))):
        state[f"temporal_projection.{end}"] = value
    raft = Raft()
    published = RAFT_KEYS.to_theirs(raft.state_dict())
    published |= {key.replace(".norm3.", ".downsample.1."): v for key, v in published.items() if ".norm3." in key}
    bridge, encoder = bridge_state()
    whole = {f"model.{key}": value for key, value in state.items()} | encoder
    return whole | {f"of_extractor.{key}": value for key, value in published.items()}, theirs, bridge, raft


def add_lora(state):
    """PEFT's layout of the released T5: names one level deeper, and an adapter beside each query and value matrix."""
    deep = {}
    for key, value in state.items():
        name = key.replace("language_model.", "language_model.base_model.model.")
        deep[name] = value
        if key.startswith("language_model.") and key.endswith((".q.weight", ".v.weight")):
            up, down = torch.randn(len(value), 8) * 0.1, torch.randn(8, value.shape[1]) * 0.1
            deep[name] = value - 4 * up @ down  # so that the merged matrix is the plain model's
            deep |= {name.replace("weight", "lora_A.default.weight"): down}
            deep |= {name.replace("weight", "lora_B.default.weight"): up}
    return deep


def tokenizers(form):
    names = ("language", "selector", "qformer") if form == "instructblip" else ("language", "selector")
    return {name: _tokenizer(form == "blip2" and name == "language") for name in names}


def clip(count=9):
    rng = np.random.default_rng(6)
    return Clip(video=Frames.from_array(rng.integers(0, 256, (count, 40, 36, 3), dtype=np.uint8), fps=3))


@pytest.mark.parametrize("wrapped", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("form", ["blip2", "instructblip"])
def test_a_released_file_becomes_a_model_that_answers(form, wrapped, tmp_path):
    state, theirs, bridge, raft = replica(form, with_lora=form == "blip2")
    content = {"state_dict": state, "epoch": 1, "global_step": 7} if wrapped else state
    torch.save(content, tmp_path / "LSTP.ckpt")
    report = convert_file(
        tmp_path / "LSTP.ckpt",
        tmp_path / "out",
        config=tiny(form),
        tokenizers=tokenizers(form),
        max_shard_bytes=1 << 20,
    )
    model = vidweave.load(tmp_path / "out").model
    ours = model.state_dict()
    language = {k: v for k, v in theirs.state_dict().items() if k.startswith("language_model.")}
    for key, value in language.items():
        torch.testing.assert_close(ours[f"language_model.model.{key.removeprefix('language_model.')}"], value)
    assert torch.equal(ours["connector.ports.video.query_tokens"], theirs.query_tokens)
    assert torch.equal(ours["encoders.motion.raft.fnet.conv1.weight"], raft.fnet.conv1.weight)
    assert torch.equal(ours["encoders.motion.pooling"], bridge.motion.spatial)
    assert torch.equal(ours["selector.bridge.step_table"], bridge.step_table)
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    assert {"model.temporal_projection.weight", "temporal_encoder.embeddings.position_embeddings.weight"} <= set(
        report.dropped["LSTP.ckpt"]
    )
    assert any("merged adapters into 12 matrices" in line for line in report.lines()) == (form == "blip2")
    assert json.loads(json.dumps(report.to_dict()))["dropped"] == report.dropped
    answer = SlotPipeline(model).ask(clip(), "what is the colour of a cat ?")
    assert len(answer.trace.frames) >= 4
    assert {use.why for use in answer.trace.frames if use.stream == "video"} == {"grounding"}
    assert answer.trace.tokens["video"] == NUM_QUERIES  # averaged over the frames
    assert "selection" in answer.trace.panels
    image = Clip(image=Frames.from_array(np.zeros((1, 30, 30, 3), dtype=np.uint8), fps=1))
    assert SlotPipeline(model).ask(image, "what is here ?").trace.tokens["video"] == NUM_QUERIES


@pytest.mark.parametrize("form", ["blip2", "instructblip"])
def test_the_command_converts_and_brings_tokenizers(form, tmp_path, monkeypatch):
    state, *_ = replica(form)
    torch.save(state, tmp_path / "LSTP.ckpt")
    asked = {}
    preset = "videotgb_vicuna_7b" if form == "instructblip" else "videotgb_flan_t5_xl"
    monkeypatch.setattr(checkpoint, preset, lambda **settings: asked.update(settings) or tiny(form))
    made = tokenizers(form)
    made["language"].save_pretrained(tmp_path / "base")
    made["selector"].save_pretrained(tmp_path / "bert")
    if form == "instructblip":
        made["qformer"].save_pretrained(tmp_path / "base" / "qformer_tokenizer")
    parts = {"language": str(tmp_path / "base"), "selector": str(tmp_path / "bert")}
    request = Request(
        file=tmp_path / "LSTP.ckpt", out=tmp_path / "out", parts=parts, options={"mode": "multi_modal"}, dtype="float16"
    )
    convert("videotgb", request)
    assert asked == {"motion": "raft", "pooling": "mean", "mode": "multi_modal"}
    info = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert info["layout"] == "videotgb"
    assert "model.temporal_projection.bias" in info["dropped"]["LSTP.ckpt"]
    assert vidweave.load(tmp_path / "out").ask(clip(), "what is here ?").trace.tokens["video"] == NUM_QUERIES
    lacking = Request(file=request.file, out=tmp_path / "other", parts={"language": parts["language"]})
    with pytest.raises(ConfigError, match="the tokenizers of selector are missing; give them as parts"):
        convert("videotgb", lacking)


@pytest.mark.slow
def test_pooled_motion_and_patches_choose_the_same(tmp_path):
    state, *_ = replica("blip2")
    torch.save(state, tmp_path / "LSTP.ckpt")
    chosen = []
    for pooled in (True, False):
        out = tmp_path / str(pooled)
        convert_file(tmp_path / "LSTP.ckpt", out, config=tiny("blip2", pooled=pooled), tokenizers=tokenizers("blip2"))
        model = vidweave.load(out).model
        with model.processor.prepare([vidweave.Query.about(clip(), "what is here ?")]) as prepared:
            chosen.append(model.select(prepared))
    torch.testing.assert_close(chosen[0].logits, chosen[1].logits, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_pooling_of_frames_is_stored_and_counts(tmp_path):
    state, *_ = replica("instructblip")
    torch.save(state, tmp_path / "LSTP.ckpt")
    out = tmp_path / "concat"
    convert_file(
        tmp_path / "LSTP.ckpt",
        out,
        config=tiny("instructblip", pooling="concat"),
        tokenizers=tokenizers("instructblip"),
    )
    model = vidweave.load(out).model
    assert model.spec.connector.fusion.kind == "none"
    assert SlotPipeline(model).ask(clip(), "what is here ?").trace.tokens["video"] == 4 * NUM_QUERIES


def test_half_precision(tmp_path):
    state, *_ = replica("blip2")
    torch.save(state, tmp_path / "LSTP.ckpt")
    convert_file(tmp_path / "LSTP.ckpt", tmp_path / "out", config=tiny("blip2"), dtype="bfloat16")
    model = VideoLanguageModel.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("model.query_tokens"), "1 missing: connector.ports.video.query_tokens"),
        (lambda s: s.update({"model.extra": torch.zeros(1)}), "not in the key table: extra"),
        (lambda s: s.update({"optimizer": torch.zeros(1)}), "no checkpoint of VideoTGB.*it has optimizer"),
        (
            lambda s: s.update({"model.language_projection.bias": torch.zeros(3)}),
            r"of another shape: connector.ports.video.output_proj.bias: \(3,\) instead of \(20,\)",
        ),
        (lambda s: s.update({"model.x.lora_A.default.weight": torch.zeros(1)}), "the adapter of x is incomplete"),
    ],
)
def test_files_that_do_not_fit(damage, message, tmp_path):
    state, *_ = replica("blip2")
    damage(state)
    torch.save(state, tmp_path / "LSTP.ckpt")
    with pytest.raises(CheckpointError, match=message):
        convert_file(tmp_path / "LSTP.ckpt", tmp_path / "out", config=tiny("blip2"))
    assert not (tmp_path / "out").exists()


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def test_no_code_is_run_and_nothing_is_overwritten(tmp_path, capsys):
    torch.save({"state_dict": {}, "callbacks": Harmful()}, tmp_path / "harmful.ckpt")
    with pytest.raises(CheckpointError, match=r"harmful\.ckpt cannot be read as a file of tensors alone"):
        convert_file(tmp_path / "harmful.ckpt", tmp_path / "out")
    assert capsys.readouterr().out == ""
    (tmp_path / "torn.ckpt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(CheckpointError, match=r"torn\.ckpt cannot be read"):
        convert_file(tmp_path / "torn.ckpt", tmp_path / "out")
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match=r"list\.ckpt holds no dict of tensors"):
        convert_file(tmp_path / "list.ckpt", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(CheckpointError, match="full' is not empty; give a new folder"):
        convert_file(tmp_path / "list.ckpt", tmp_path / "full")


# The released totals without the projection that nothing uses and the word positions that nothing reads; the pooled form
# folds the spatial sum's bias into the projection's.
UNUSED = {"videotgb-vicuna-7b": 3_149_824, "videotgb-flan-t5-xl": 1_574_912}
TOTALS = {"videotgb-vicuna-7b": 8_045_550_599, "videotgb-flan-t5-xl": 4_073_211_655}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TOTALS))
def test_paper_size(name):
    config = MODELS.get(name)()
    with torch.device("meta"):
        model = VideoLanguageModel(config)
    assert sum(p.numel() for p in model.parameters()) == TOTALS[name] - UNUSED[name] - 512 * 768 - 1
    assert model.spec.streams["video"].need.num_frames == 4
    costs = {cost.slot: cost for cost in describe_model(config)}
    assert costs["encoders.motion"].parameters == 5_257_536 + 196


def test_a_bridge_is_put_in_front_of_a_base(tmp_path):
    state, *_ = replica("instructblip")
    torch.save(state, tmp_path / "LSTP.ckpt")
    config, made = tiny("instructblip"), tokenizers("instructblip")
    convert_file(tmp_path / "LSTP.ckpt", tmp_path / "out", config=config, tokenizers=made)
    base = vidweave.load(tmp_path / "out").model
    encoder = {
        k.removeprefix("temporal_encoder."): v for k, v in state.items() if "temporal_encoder.encoder.layer" in k
    }
    bert = {f"bert.{key}": value for key, value in encoder.items() if "cross" not in key}
    bert = {key.replace("LayerNorm.weight", "LayerNorm.gamma"): value for key, value in bert.items()}
    bert["bert.embeddings.word_embeddings.weight"] = torch.full((40, 24), 2.0)
    bert["bert.pooler.dense.weight"] = torch.zeros(2)
    raft = {k.removeprefix("of_extractor."): v for k, v in state.items() if k.startswith("of_extractor.")}
    model = attach_bridge(base, tiny("instructblip", pooled=False), bert=bert, raft=raft)
    ours, theirs = model.state_dict(), base.state_dict()
    assert (ours["selector.bridge.words.word_embeddings.weight"] == 2).all()
    for key in (
        "connector.ports.video.query_tokens",
        "selector.bridge.layers.1.attention.output.norm.weight",
        "encoders.motion.raft.cnet.conv1.bias",
    ):
        assert torch.equal(ours[key], theirs[key])
    assert SlotPipeline(model).ask(clip(), "what is here ?").trace.tokens["video"] == NUM_QUERIES
    with pytest.raises(CheckpointError, match="this is no state dict of BERT"):
        attach_bridge(base, tiny("instructblip"), bert={"x": torch.zeros(1)})


def test_choices_of_the_preset():
    fresh = videotgb_vicuna_7b(motion="motion_vectors", released=False, pooling="concat", train_through="soft").parse()
    assert fresh.selector.rope == "sinusoid"
    assert fresh.selector.train_through == "soft"
    assert fresh.encoders["motion"].kind == "motion"
    assert fresh.connector.fusion.kind == "none"
    patches = videotgb_flan_t5_xl(pooled_motion=False).parse()
    assert patches.selector.num_patches == patches.encoders["motion"].num_patches == 196
