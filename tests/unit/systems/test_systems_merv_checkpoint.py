"""Files in MERV's released layout, of tiny size, become folders of ours."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import vidweave
from vidweave.encoders.languagebind import LANGUAGEBIND_KEYS, LanguageBindConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.model.conversion import Request, convert
from vidweave.model.released import read_checkpoint
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.merv import checkpoint, preset
from vidweave.systems.merv.arch import FUSIONS
from vidweave.types import Frames, VisualSpec

PIXELS = VisualSpec(height=8, width=8)
BOTH = {"video": PIXELS, "image": PIXELS}
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
SIGLIP |= {"num_attention_heads": 2, "image_size": 8, "patch_size": 2, "hidden_act": "gelu"}
ORDER = ("languagebind", "siglip", "clip")
WORDS = "</s> <s> In : Out What is it ?".split()
LLAMA = {"vocab_size": 12, "hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2}
BACKBONES = ["languagebind-video-noclass", "siglip-vit-b16-224px-all-no-cls", "clip"]


def languagebind():
    return LanguageBindConfig(
        width=12, mlp_width=10, layers=2, heads=2, patch=2, size=8, window=2, layer=-2, drop_cls=True, specs=BOTH
    )


def siglip():
    return VisionTowerConfig(config=SIGLIP, layer=-2, drop_cls=True, specs=BOTH)


@pytest.fixture(autouse=True)
def small_eyes(monkeypatch):
    encoders = preset.ENCODERS
    monkeypatch.setitem(
        encoders,
        "languagebind",
        replace(encoders["languagebind"], build=languagebind, width=12, num_frames=4, window=2, steps=2),
    )
    for name in ("siglip", "clip"):
        monkeypatch.setitem(encoders, name, replace(encoders[name], build=siglip, width=8, num_frames=4))


def describe(**changes):
    facts = {
        "arch_specifier": "no-align+3davg+linear",
        "feature_fusion": "cross_attention_avg_lq",
        "num_frames": [4, 4, 4],
    }
    facts |= {"video_backbone_ids": BACKBONES, "llm_backbone_id": "llama2-7b-pure", "projector_token_length": 4}
    return {"model": {**facts, "image_resize_strategy": "resize-naive", **changes}}


def released(language, encoders=ORDER, fusion="attention"):
    """Random weights under the names of the released file."""
    generator = torch.Generator().manual_seed(0)
    make = partial(torch.randn, generator=generator)
    widths = {"languagebind": 12, "siglip": 8, "clip": 8}
    projectors = {}
    for number, name in enumerate(encoders):
        projectors[f"{number}.projector.projector.weight"] = make(8, widths[name])
        projectors[f"{number}.projector.projector.bias"] = make(8)
    q = 3072
    mixer = {"Q": make(1, q), "attention.q_proj_weight": make(q, q) / q, "attention.k_proj_weight": make(q, 8)}
    mixer |= {"attention.v_proj_weight": make(q, 8), "attention.in_proj_bias": make(3 * q)}
    mixer |= {"attention.out_proj.weight": make(1, 1), "attention.out_proj.bias": make(1)}
    backbone = {f"llm.{key}": make(value.shape) for key, value in language.state_dict().items()}
    return {"projectors": projectors, "feature_fusion": mixer, "llm_backbone": backbone}


@pytest.fixture
def folder(tmp_path):
    """Encoders and language model in folders, a released file and its configuration."""
    torch.manual_seed(1)
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", bos_token="<s>", eos_token="</s>")
    language = LlamaForCausalLM(LlamaConfig(**LLAMA, pad_token_id=None))
    language.save_pretrained(tmp_path / "llama")
    words.save_pretrained(tmp_path / "llama")
    (tmp_path / "lb").mkdir()
    tower = replace(languagebind(), layer=-1, final_norm=True).build()
    theirs = LANGUAGEBIND_KEYS.to_theirs(tower.state_dict())
    theirs = {f"vision_model.{k}": v[None] if k.endswith("temporal_embedding") else v for k, v in theirs.items()}
    theirs |= {"logit_scale": torch.ones(()), "text_model.final.weight": torch.ones(2)}
    save_file({k: v.contiguous() for k, v in theirs.items()}, tmp_path / "lb" / "model.safetensors")
    for name in ("siglip", "clip"):
        (tmp_path / name).mkdir()
        whole = VisionTowerConfig(config=SIGLIP, final_norm=True, specs=BOTH).build().tower
        save_file(
            {k: v.contiguous() for k, v in timm_names(whole, name).items()}, tmp_path / name / "model.safetensors"
        )
    (tmp_path / "checkpoints").mkdir()
    torch.save({"model": released(language)}, tmp_path / "checkpoints" / "latest-checkpoint.pt")
    (tmp_path / "config.json").write_text(json.dumps(describe()))
    return tmp_path


def timm_names(tower, name):
    """One encoder as timm writes it, the other as transformers does."""
    state = dict(tower.state_dict())
    if name == "clip":
        return state
    renamed = {"pos_embed": state["embeddings.position_embedding.weight"][None]}
    for part in ("weight", "bias"):
        renamed[f"patch_embed.proj.{part}"] = state[f"embeddings.patch_embedding.{part}"]
        renamed[f"norm.{part}"] = state[f"post_layernorm.{part}"]
        for i in range(SIGLIP["num_hidden_layers"]):
            layer = f"encoder.layers.{i}"
            qkv = [state[f"{layer}.self_attn.{p}_proj.{part}"] for p in "qkv"]
            renamed[f"blocks.{i}.attn.qkv.{part}"] = torch.cat(qkv)
            renamed[f"blocks.{i}.attn.proj.{part}"] = state[f"{layer}.self_attn.out_proj.{part}"]
            for theirs, ours in {
                "norm1": "layer_norm1",
                "norm2": "layer_norm2",
                "mlp.fc1": "mlp.fc1",
                "mlp.fc2": "mlp.fc2",
            }.items():
                renamed[f"blocks.{i}.{theirs}.{part}"] = state[f"{layer}.{ours}.{part}"]
    return {**renamed, "attn_pool.latent": torch.zeros(1)}


def request(folder, out="out", **changes):
    parts = {"language": str(folder / "llama"), "languagebind": str(folder / "lb")}
    parts |= {name: str(folder / name) for name in ("siglip", "clip")}
    made = Request(file=folder / "checkpoints" / "latest-checkpoint.pt", out=folder / out, parts=parts)
    return replace(made, **changes)


def clip():
    generator = torch.Generator().manual_seed(2)
    return vidweave.Clip(
        Frames.from_array(torch.randint(0, 255, (6, 9, 10, 3), generator=generator).byte().numpy(), fps=2)
    )


def test_a_released_file_becomes_a_model(folder):
    report = convert("merv", request(folder))
    model = vidweave.load(folder / "out").model
    answer = SlotPipeline(model).ask(clip(), "What is it?", options=["it", "is"])
    weights = answer.trace.panels["encoder_weights"][0]["weights"]
    assert list(weights) == list(ORDER)
    assert sum(weights.values()) == pytest.approx(1)
    file = torch.load(folder / "checkpoints" / "latest-checkpoint.pt")["model"]
    assert torch.equal(
        model.connector.trunks["siglip"].layers[0].weight, file["projectors"]["1.projector.projector.weight"]
    )
    assert torch.equal(model.language_model.model.lm_head.weight, file["llm_backbone"]["llm.lm_head.weight"])
    assert set(report.dropped["latest-checkpoint.pt"]) == {
        f"feature_fusion.{key}"
        for key in ("attention.v_proj_weight", "attention.out_proj.weight", "attention.out_proj.bias")
    }
    assert sum(map(len, report.loaded.values())) == len(model.state_dict())


def test_folded_it_answers_the_same(folder):
    convert("merv", request(folder))
    convert("merv", request(folder, "small", options={"fold": "true"}))
    whole, small = (vidweave.load(folder / name).model for name in ("out", "small"))
    one, two = (SlotPipeline(m).ask(clip(), "What is it?", options=["it", "is"]) for m in (whole, small))
    assert [o.score for o in one.options] == pytest.approx([o.score for o in two.options], abs=1e-5)
    assert sum(p.numel() for p in small.connector.fusion.parameters()) == 8
    with pytest.raises(ConfigError, match="only a mixer can be folded, this model has"):
        checkpoint.folded(vidweave.load("tiny-base").model)


def test_older_files_and_single_encoders(folder):
    file = folder / "checkpoints" / "latest-checkpoint.pt"
    parts = torch.load(file)["model"]
    single = {k.removeprefix("1."): v for k, v in parts["projectors"].items() if k.startswith("1.")}
    torch.save(
        {"model": {"projector": single, "adapter": parts["feature_fusion"], "llm_backbone": parts["llm_backbone"]}},
        file,
    )
    (folder / "config.json").write_text(json.dumps(describe(video_backbone_ids=BACKBONES[1:2], num_frames=4)))
    report = convert("merv", request(folder))
    model = vidweave.load(folder / "out").model
    assert list(model.encoders) == ["siglip"]
    assert not [key for key in model.state_dict() if "fusion" in key]
    assert "feature_fusion.Q" in report.dropped["latest-checkpoint.pt"]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_released_fusions_have_a_place(fusion):
    assert preset.merv(
        ORDER, fusion=FUSIONS[fusion], language={"model_type": "llama", **LLAMA}, tokens_per_frame=4
    ).parse()


def test_batch_equals_one_by_one_without_a_padding_token(folder):
    """The language model has none, and nothing needs it."""
    convert("merv", request(folder))
    model = vidweave.load(folder / "out").model
    assert model.processor.tokenizers["language"].pad_token is None
    questions = ["What is it?", "What is it? What is? It is it.", "it"]
    queries = [vidweave.Query.about(clip(), q) for q in questions]
    together = [a.text for a in SlotPipeline(model).answer(queries, max_new_tokens=4)]
    assert together == [SlotPipeline(model).answer([q], max_new_tokens=4)[0].text for q in queries]


def test_bad_files(folder):
    file = folder / "checkpoints" / "latest-checkpoint.pt"
    with pytest.raises(CheckpointError, match=r"projector 0 of .* width 12, encoder 'siglip' gives 8: .* stream_order"):
        convert("merv", request(folder, options={"stream_order": "siglip,languagebind,clip"}))
    with pytest.raises(CheckpointError, match="has 3 projectors, the order names 1 encoders"):
        checkpoint.from_released(checkpoint.modules_of(read_checkpoint(file)), ["siglip"])
    with pytest.raises(UnknownNameError, match="video backbone 'languagebind-video'"):
        checkpoint.stream_order(["languagebind-video"])
    with pytest.raises(ConfigError, match="give the language model's folder or hub id as part 'language'"):
        convert("merv", request(folder, parts={}))
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json is no configuration of MERV"):
        convert("merv", request(folder))
    (folder / "config.json").write_text(json.dumps(describe(feature_fusion="query_mlp")))
    with pytest.raises(UnknownNameError, match="feature_fusion 'query_mlp'"):
        convert("merv", request(folder))
    (folder / "config.json").write_text(json.dumps(describe(arch_specifier="conv+linear")))
    with pytest.raises(ConfigError, match="is not a released one"):
        convert("merv", request(folder))
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has a config\.json; give it as part 'config'"):
        convert("merv", request(folder))
    torch.save({"model": {"vision": {"a": torch.zeros(1)}}}, file)
    with pytest.raises(CheckpointError, match="has vision, which is no module of MERV"):
        checkpoint.modules_of(read_checkpoint(file))
    torch.save({"weights": {}}, file)
    with pytest.raises(CheckpointError, match="holds no dict of tensors"):
        checkpoint.modules_of(read_checkpoint(file))
    file.write_bytes(b"no file of tensors")
    with pytest.raises(CheckpointError, match="it is text that begins with 'no file of tensors'"):
        checkpoint.modules_of(read_checkpoint(file))


def test_other_ways_of_resizing_are_reported(folder):
    (folder / "config.json").write_text(json.dumps(describe(image_resize_strategy="letterbox")))
    assert "trained with frames resized by 'letterbox'" in convert("merv", request(folder)).lines()[-1]


def test_unknown_language_models_are_not_asked_as_llama_2(folder):
    (folder / "config.json").write_text(json.dumps(describe(llm_backbone_id="mistral-7b-instruct")))
    with pytest.raises(
        UnknownNameError,
        match=r"unknown llm_backbone_id 'mistral-7b-instruct'; .*--set prompt=llama2-base, llama2-chat",
    ):
        convert("merv", request(folder))
    with pytest.raises(UnknownNameError, match="unknown prompt 'lama'"):
        convert("merv", request(folder, options={"prompt": "lama"}))
    convert("merv", request(folder, options={"prompt": "vicuna"}))
    assert json.loads((folder / "out" / "conversion.json").read_text())["settings"]["prompt"] == "vicuna"


def test_every_released_id_has_the_prompt_of_its_code():
    """Spec 2.7; llama3-8b-chat is asked as Llama-2 in the original."""
    expected = {"llama2-13b-pure": "llama2-base", "llama3-8b-pure": "llama2-base", "llama3-8b-chat": "llama2-chat"}
    expected |= {"llama2-7b-chat": "llama2-chat", "vicuna-v15-13b": "vicuna", "llama3.1-8b-chat": "llama3-chat"}
    expected |= {"qwen2.5-3b-instruct": "qwen-chat", "llama2-7b-pure": "llama2-base"}
    assert {name: checkpoint._prompt(name) for name in expected} == expected


def test_config_json_is_found_for_a_bare_file_name(folder, monkeypatch):
    monkeypatch.chdir(folder / "checkpoints")
    convert("merv", request(folder, file=Path("latest-checkpoint.pt")))
    assert (folder / "out" / "config.json").is_file()


def test_encoders_may_be_pickled(folder):
    """LanguageBind's repository has pytorch_model.bin alone."""
    convert("merv", request(folder))
    for name in ("lb", "siglip", "clip"):
        file = folder / name / "model.safetensors"
        torch.save(load_file(file), folder / name / "pytorch_model.bin")
        file.unlink()
    convert("merv", request(folder, "again"))
    one, two = (load_file(folder / out / "model.safetensors") for out in ("out", "again"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    (folder / "lb" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read: it is empty"):
        convert("merv", request(folder, "third"))


def test_another_order_of_equal_widths_is_noted(folder):
    assert not convert("merv", request(folder)).notes
    report = convert("merv", request(folder, "other", options={"stream_order": "languagebind,clip,siglip"}))
    assert report.notes == (
        "encoders in the order languagebind, clip, siglip (stream_order), but config.json has languagebind, siglip, "
        "clip; widths alone cannot show which is right",
    )
