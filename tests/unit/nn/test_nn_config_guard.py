"""One guard for configurations of transformers: families read what they write, old keys go, dangerous ones are refused."""

import json
import os
import socket

import pytest
from transformers import CONFIG_MAPPING

from vidweave.encoders.families import FAMILIES
from vidweave.encoders.vision_tower import VisionTowerConfig, tower_config
from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.language.causal import CausalConfig
from vidweave.language.pretrained import source_config
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.language.tokenizer import load_tokenizer
from vidweave.nn.config_guard import checked_config, class_config
from vidweave.nn.config_source import guard_source

CAUSAL = (
    "llama mistral mixtral qwen2 qwen2_moe qwen3 gemma gemma2 gemma3_text phi phi3 opt gpt2 gpt_neox bloom falcon cohere "
    "cohere2 stablelm starcoder2 olmo2 granite smollm3 mpt codegen gptj deepseek_v3 glm4"
).split()
SEQ2SEQ = ["t5", "mt5", "umt5", "bart", "pegasus"]
TOWERS = [*sorted(FAMILIES), "deit", "beit", "ijepa", "vit_msn", "dinov3_vit"]
# What transformers 4.30 wrote into every text configuration, and what some families had besides
OLD = {
    **dict.fromkeys(("output_attentions", "torchscript", "use_bfloat16", "add_cross_attention"), False),
    **dict.fromkeys(("tie_encoder_decoder", "do_sample", "early_stopping", "output_scores"), False),
    **dict.fromkeys(("return_dict_in_generate", "remove_invalid_values", "tf_legacy_loss"), False),
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences", "temperature", "top_p"), 1),
    **dict.fromkeys(("typical_p", "repetition_penalty", "length_penalty", "diversity_penalty"), 1.0),
    **dict.fromkeys(("min_length", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
    **dict.fromkeys(("prefix", "task_specific_params", "unk_token_id", "finetuning_task", "bad_words_ids"), None),
    "pruned_heads": {}, "max_length": 20, "top_k": 50, "max_sequence_length": 2048, "_attn_implementation_autoset": True,
    "_name_or_path": "owner/name", "architectures": ["X"], "transformers_version": "4.30.0", "torch_dtype": "float16",
    "return_dict": True, "output_hidden_states": False, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0},
}  # fmt: skip


@pytest.fixture
def no_network(monkeypatch):
    """Nothing leaves the machine: a socket is an error, and so is a look at the hub."""

    def refuse(*_, **__):
        raise AssertionError("something asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def same(one, other):
    return {k: v for k, v in one.to_dict().items() if v != other.to_dict().get(k)} == {}


@pytest.mark.parametrize("model_type", [*CAUSAL, *SEQ2SEQ])
@pytest.mark.usefixtures("no_network")
def test_a_language_model_reads_what_its_class_writes_and_what_4_30_wrote(model_type):
    make = Seq2SeqConfig if model_type in SEQ2SEQ else CausalConfig
    theirs = CONFIG_MAPPING[model_type]()
    data = theirs.to_dict()
    config = make(config={**OLD, **data, **({} if make is CausalConfig else {"decoder_start_token_id": 0})})
    ours = config.transformers_config()
    ours.decoder_start_token_id = getattr(theirs, "decoder_start_token_id", None)
    given = {k: v for k, v in theirs.to_dict().items() if k != "decoder_start_token_id"}
    assert {k: v for k, v in given.items() if ours.to_dict().get(k) != v} == {}
    assert not config.config.keys() & {"torchscript", "_name_or_path", "id2label", "transformers_version"}
    assert json.loads(json.dumps(config.to_dict()))["config"] == config.config
    assert config.width > 0


@pytest.mark.parametrize("model_type", TOWERS)
@pytest.mark.usefixtures("no_network")
def test_a_tower_reads_what_its_class_writes(model_type):
    theirs = CONFIG_MAPPING[model_type]()
    config = VisionTowerConfig(config={**OLD, **theirs.to_dict()})
    assert same(theirs, tower_config(config.config))


@pytest.mark.parametrize("whole", ["clip", "siglip", "blip-2", "instructblip"])
def test_of_a_whole_model_the_tower_is_taken(whole):
    inner = {"hidden_size": 24, "num_hidden_layers": 3, "image_size": 28, "patch_size": 14}
    theirs = CONFIG_MAPPING[whole](vision_config=inner)
    config = VisionTowerConfig(config=theirs.to_dict()).config
    assert config["model_type"] == theirs.vision_config.model_type
    assert same(theirs.vision_config, tower_config(config))
    with pytest.raises(ConfigError, match=f"vision_config of a '{whole}' model must be a mapping, got 3"):
        VisionTowerConfig(config={"model_type": whole, "vision_config": 3})


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("siglip2", r"'siglip2' cannot be a vision tower here: SigLIP 2 NaFlex .* use a SigLIP 2 of fixed size"),
        ("siglip2_vision_model", "rows of patches of any shape"),
        ("xclip", "'xclip' cannot be a vision tower here: X-CLIP passes messages"),
        ("xclip_vision_model", "use CLIP, VideoMAE or ViViT"),
        ("videoprism", "use a folder of videoprism_vision_model"),
    ],
)
def test_towers_with_other_preprocessing_are_refused_in_one_line(model_type, message):
    with pytest.raises(ConfigError, match=message) as caught:
        VisionTowerConfig(config={"model_type": model_type})
    assert "\n" not in str(caught.value)


def test_what_is_left_out_is_reported_once_and_together(caplog):
    caplog.set_level("INFO", logger="vidweave")
    data = {
        "model_type": "opt",
        "prefix": "</s>",
        "activation_dropout": 0.0,
        "max_length": 20,
        "torch_dtype": "float16",
    }
    config = CausalConfig(config=data)
    config.transformers_config()
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "a causal language model: left out prefix, activation_dropout, max_length, on which no weight depends"
    )
    assert config.config == {"model_type": "opt"}


def test_unknown_keys_are_all_named_at_once_and_those_of_files_are_left_out():
    data = {"hiden_size": 8, "zzzz": 1}
    with pytest.raises(
        ConfigError, match=r"\(llama\) has no fields 'hiden_size' \(did you mean 'hidden_size'.*\), 'zzzz'; correct or"
    ):
        CausalConfig(config={"model_type": "llama", **data})
    cls = CONFIG_MAPPING["clip"]
    data = {"vision_config": {"hiden_size": 8, "patch_size": 4}}
    with pytest.raises(ConfigError, match=r"has no field 'vision_config\.hiden_size'; did you mean 'hidden_size'"):
        checked_config(data, cls, "it")
    assert checked_config(data, cls, "it", unknown="drop") == {"vision_config": {"patch_size": 4}}
    with pytest.raises(ConfigError, match=r"it \(clip\) is wrong: .*hidden_size"):
        class_config({"vision_config": {"hidden_size": "wide"}}, cls, "it")


DANGEROUS = [
    ({"auto_map": {"AutoConfig": "evil.py"}}, "'auto_map', which can run code"),
    ({"trust_remote_code": True}, "'trust_remote_code', which can run code"),
    ({"_attn_implementation": "owner/kernel"}, "'_attn_implementation', which can run code"),
    ({"attn_implementation": {"vision_config": "owner/kernel"}}, "'attn_implementation', which can run code"),
    ({"_experts_implementation": "owner/kernel"}, "'_experts_implementation', which can run code"),
    (
        {"quantization_config": {"quant_method": "awq"}},
        "its weights are quantized, .* take the folder with the original",
    ),
    ({"backbone": "owner/name"}, r"'backbone' \('owner/name'\), which looks a model up on the hub; write"),
    ({"use_pretrained_backbone": True}, "'use_pretrained_backbone'"),
    ({"use_timm_backbone": True}, "'use_timm_backbone'"),
    ({"backbone_config": {"model_type": "timm_backbone"}}, r"'model_type' \('timm_backbone'\)"),
]
PLACES = [lambda bad: bad, lambda bad: {"rope_scaling": {"x": [bad]}}, lambda bad: {"vision_config": bad}]


@pytest.mark.parametrize(("bad", "message"), DANGEROUS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("no_network")
def test_dangerous_keys_are_refused_in_every_slot_at_any_depth(tmp_path, bad, message, place):
    for make, model_type in (
        (CausalConfig, "llama"),
        (Seq2SeqConfig, "t5"),
        (VisionTowerConfig, "clip_vision_model"),
        (VisionTowerConfig, "clip"),
    ):
        with pytest.raises(CheckpointError, match=message):
            make(config={"model_type": model_type, **place(bad)})
    if "auto_map" in place(bad):  # at the top of a file of a native family it is left out (`without_remote_code`)
        return
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **place(bad)}))
    with pytest.raises(CheckpointError, match=message):
        source_config(str(tmp_path))
    if "quantization_config" not in bad:  # transformers reads those itself
        with pytest.raises(CheckpointError, match=message):
            guard_source(tmp_path)


@pytest.mark.parametrize("harmless", [None, False])
def test_what_is_switched_off_is_harmless(harmless):
    data = {"model_type": "vit", "use_pretrained_backbone": harmless, "backbone": harmless, "auto_map": harmless}
    assert VisionTowerConfig(config=data).config == {"model_type": "vit"}
    assert CausalConfig(config={"model_type": "llama", "_attn_implementation": "sdpa"}).config == {
        "model_type": "llama"
    }


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("kind", ["a named pipe", "a character device"])
def test_what_is_no_regular_file_is_not_opened(tmp_path, name, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / name).unlink(missing_ok=True)
    if kind == "a named pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    for encode in (source_config, load_tokenizer, guard_source):
        if encode is source_config and name == "tokenizer.json":
            continue
        with pytest.raises(CheckpointError, match=f"{name} is {kind}; a model folder may only contain regular files"):
            encode(str(tmp_path))


def test_a_link_to_a_regular_file_is_read(tmp_path):
    """As the cache of the hub holds them."""
    (tmp_path / "blob").write_text(json.dumps({"model_type": "llama", "hidden_size": 24}))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to(tmp_path / "blob")
    assert source_config(str(tmp_path / "model")) == {"model_type": "llama", "hidden_size": 24}
    assert guard_source(tmp_path / "model") == {
        "revision": None, "trust_remote_code": False, "local_files_only": True
    }  # fmt: skip


def test_a_nested_model_that_transformers_does_not_have_is_named():
    with pytest.raises(ConfigError, match="text_config is of model type 'zzz', which transformers does not have"):
        checked_config({"text_config": {"model_type": "zzz"}}, CONFIG_MAPPING["blip-2"], "it")
    with pytest.raises(UnknownNameError, match="unknown vision tower 'zzz'"):
        VisionTowerConfig(config={"model_type": "zzz"})
