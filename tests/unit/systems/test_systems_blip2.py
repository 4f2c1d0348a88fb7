"""Folders of transformers' BLIP-2 and InstructBLIP load as they are and give transformers' own logits."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipVideoConfig,
    InstructBlipVideoForConditionalGeneration,
    LlamaConfig,
    OPTConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
)

import vidweave
from vidweave.errors import CheckpointError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.registry import MODELS
from vidweave.systems.blip2.checkpoint import config_from_folder, to_ours
from vidweave.types import Clip, Frames

VISION = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 28,
}
QFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "encoder_hidden_size": 24,
    "vocab_size": 50,
    "max_position_embeddings": 20,
}
NUM_QUERIES, IMAGE_TOKEN = 6, 59
WORDS = "what is the colour of circle red blue green ? a cat in here".split()


def _text_config(kind):
    common = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "t5":
        t5 = {"vocab_size": 60, "d_model": 20, "d_kv": 5, "d_ff": 40, "num_layers": 2, "num_heads": 4}
        ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2}
        return T5Config(**t5, **ids, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    if kind == "opt":
        return OPTConfig(**common, **sizes, ffn_dim=44, word_embed_proj_dim=24, max_position_embeddings=64)
    return LlamaConfig(**common, **sizes, intermediate_size=44, max_position_embeddings=64)


CASES = {
    "blip2-t5": (Blip2Config, Blip2ForConditionalGeneration, "t5"),
    "blip2-opt": (Blip2Config, Blip2ForConditionalGeneration, "opt"),
    "blip2-llama": (Blip2Config, Blip2ForConditionalGeneration, "llama"),
    "instructblip-t5": (InstructBlipConfig, InstructBlipForConditionalGeneration, "t5"),
    "instructblip-llama": (InstructBlipConfig, InstructBlipForConditionalGeneration, "llama"),
    "instructblipvideo-llama": (InstructBlipVideoConfig, InstructBlipVideoForConditionalGeneration, "llama"),
}


def _tokenizer(is_seq2seq: bool) -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    frame = "$A </s>" if is_seq2seq else "<s> $A"
    inner.post_processor = processors.TemplateProcessing(single=frame, special_tokens=[("<s>", 1), ("</s>", 2)])
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


@pytest.fixture(params=CASES)
def saved(request, tmp_path):
    """A folder that transformers wrote, and the model that it was."""
    config_class, model_class, kind = CASES[request.param]
    token = {"video_token_index": IMAGE_TOKEN} if "video" in request.param else {"image_token_index": IMAGE_TOKEN}
    text = _text_config(kind).to_dict()
    config = config_class(
        vision_config=VISION, qformer_config=QFORMER, text_config=text, num_query_tokens=NUM_QUERIES, **token
    )
    torch.manual_seed(1)
    model = model_class(config).eval()
    _shake(model)
    model.save_pretrained(tmp_path)
    _tokenizer(kind == "t5").save_pretrained(tmp_path)
    if "instruct" in request.param:
        _tokenizer(False).save_pretrained(tmp_path / "qformer_tokenizer")
    return tmp_path, model, kind


def _shake(model):
    """Random values everywhere: fresh zeros (query tokens) and ones (norms) would hide a wrong key."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)


def _frames(count: int) -> Frames:
    rng = np.random.default_rng(5)
    return Frames.from_array(rng.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8), fps=1)


def _their_inputs(model, inputs, plan_ids, frames):
    """What transformers wants for the same frames and text: placeholder tokens first, then the text."""
    pixels = inputs.streams["video"].values[:, :, 0]
    has_video = "Video" in type(model).__name__
    ids = torch.cat([torch.full((1, NUM_QUERIES * frames), IMAGE_TOKEN), plan_ids], 1)
    given = {
        "pixel_values": pixels if has_video else pixels[:, 0],
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }
    if "Instruct" in type(model).__name__:
        text = inputs.text["trunk"]
        given |= {"qformer_input_ids": text.ids, "qformer_attention_mask": text.mask.long()}
    return given


@pytest.mark.parametrize("num_frames", [1, 4])
def test_logits_equal_those_of_transformers(saved, num_frames):
    folder, theirs, kind = saved
    is_video = "Video" in type(theirs).__name__
    if num_frames > 1 and not is_video:
        pytest.skip("transformers' image classes take one picture")
    if num_frames == 1 and is_video:
        pytest.skip("transformers' video class takes four pictures")
    ours = vidweave.load(folder).model
    inputs = ours.processor(Clip(video=_frames(num_frames)), "what is the colour of a cat ?", num_frames=num_frames)
    plan_ids = inputs.plan.ids[inputs.plan.ids >= 0][None]
    given = _their_inputs(theirs, inputs, plan_ids, num_frames)
    if kind == "t5":
        given["decoder_input_ids"] = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        expected = theirs(**given).logits[:, -1]
        got = ours(inputs).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_an_image_is_one_frame(saved):
    """As transformers' image classes see it; a video of the same folder has its four."""
    folder, theirs, kind = saved
    if "Video" in type(theirs).__name__:
        pytest.skip("transformers' video class takes four pictures")
    ours = vidweave.load(folder).model
    question = "what is the colour of a cat ?"
    inputs = ours.processor(Clip(image=_frames(1)), question)
    assert inputs.streams["video"].values.shape[1] == 1
    assert ours.embed(inputs)[1]["tokens_by_item"] == [{"video": NUM_QUERIES}]
    assert ours.processor(Clip(video=_frames(9)), question).streams["video"].values.shape[1] == 4
    given = _their_inputs(theirs, inputs, inputs.plan.ids[inputs.plan.ids >= 0][None], 1)
    if kind == "t5":
        given["decoder_input_ids"] = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        expected, got = theirs(**given).logits[:, -1], ours(inputs).logits
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


# What the public config.json of BLIP-2 OPT-2.7B holds: differences from the defaults of transformers' classes, and keys
# of old releases.
PUBLIC_BLIP2 = {
    "architectures": ["Blip2ForConditionalGeneration"],
    "image_text_hidden_size": 256,
    "image_token_index": 50265,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "model_type": "blip-2",
    "num_query_tokens": 32,
    "qformer_config": {"classifier_dropout": None, "model_type": "blip_2_qformer"},
    "text_config": {
        "_name_or_path": "facebook/opt-2.7b",
        "activation_dropout": 0.0,
        "architectures": ["OPTForCausalLM"],
        "eos_token_id": 50118,
        "ffn_dim": 10240,
        "hidden_size": 2560,
        "model_type": "opt",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "prefix": "</s>",
        "torch_dtype": "float16",
        "vocab_size": 50304,
        "word_embed_proj_dim": 2560,
    },
    "torch_dtype": "float32",
    "transformers_version": "4.47.0.dev0",
    "use_decoder_only_language_model": True,
    "vision_config": {
        "dropout": 0.0,
        "initializer_factor": 1.0,
        "model_type": "blip_2_vision_model",
        "num_channels": 3,
        "projection_dim": 512,
    },
}


@pytest.mark.parametrize("leave_out", [(), ("num_query_tokens",)])
def test_a_config_of_differences_alone_is_filled_by_transformers_defaults(tmp_path, caplog, leave_out):
    data = {key: value for key, value in PUBLIC_BLIP2.items() if key not in leave_out}
    (tmp_path / "config.json").write_text(json.dumps(data))
    with caplog.at_level("INFO", logger="vidweave"):
        config = config_from_folder(tmp_path)
    (note,) = [record.getMessage() for record in caplog.records]
    for key in ("text_config.prefix", "text_config.activation_dropout", "vision_config.num_channels"):
        assert key in note
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreTrainedModel, "init_weights", lambda self: None)
        model = VideoLanguageModel(config)
        theirs = Blip2ForConditionalGeneration(Blip2Config(**data))
    ours = to_ours(dict(zip(theirs.state_dict(), theirs.state_dict(), strict=True)), "blip2")
    assert set(ours) == set(model.state_dict())
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    assert {ours[name]: tensor.shape for name, tensor in model.state_dict().items()} == shapes


def test_a_registered_name_asks_as_models_show_says(saved, monkeypatch):
    """Prompt and decoding are the preset's: a folder of transformers says neither."""
    folder, theirs, kind = saved
    is_instruct = "Instruct" in type(theirs).__name__
    name = {
        (False, "t5"): "blip2-flan-t5-xl",
        (True, "t5"): "instructblip-flan-t5-xl",
        (True, "llama"): "instructblip-vicuna-7b",
    }.get((is_instruct, kind))
    if name is None:
        pytest.skip("no registered name stands for one")
    entry = MODELS.entry(name)
    here = replace(entry, facts=replace(entry.facts, weights=str(folder)))
    monkeypatch.setitem(MODELS._entries, name, here)
    model, preset = vidweave.load(name).model, MODELS.get(name)().parse()
    assert model.config.name == name
    assert (model.spec.layout, model.spec.decoding) == (preset.layout, preset.decoding)
    assert model.spec.decoding == {"max_new_tokens": 30}
    assert model.processor.spec.layout == preset.layout
    assert vidweave.load(folder).model.spec.decoding == {}


def test_a_folder_without_the_q_formers_tokenizer_says_where_it_is(saved):
    folder, theirs, _ = saved
    if "Instruct" not in type(theirs).__name__:
        pytest.skip("BLIP-2's Q-Former reads no text")
    shutil.rmtree(folder / "qformer_tokenizer")
    with pytest.raises(
        CheckpointError, match=r"no qformer_tokenizer folder, .* copy it from the model's repository on the"
    ):
        vidweave.load(folder)


def test_wrong_folders_are_refused(saved):
    folder, _, _ = saved
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "model_type": "llama"}))
    with pytest.raises(CheckpointError, match="holds a 'llama' model; vidweave reads folders of: vidweave, blip-2"):
        vidweave.load(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "blip-2"}))
    with pytest.raises(CheckpointError, match=r"no readable config.json of BLIP-2 or InstructBLIP"):
        vidweave.load(folder)


# Parameters at full size. The papers' tower has no key bias; transformers' has one, zero, in each of the 39 blocks.
EVA_VIT_G = 985_894_528 + 39 * 1408
QFORMER_PLAIN, QFORMER_TEXT = 105_137_664, 185_660_160


@pytest.mark.parametrize(
    ("name", "qformer", "projection"),
    [
        ("blip2-flan-t5-xl", QFORMER_PLAIN, 768 * 2048 + 2048),
        ("instructblip-flan-t5-xl", QFORMER_TEXT, 768 * 2048 + 2048),
        ("instructblip-vicuna-7b", QFORMER_TEXT, 768 * 4096 + 4096),
        ("instructblip-vicuna-13b", QFORMER_TEXT, 768 * 5120 + 5120),
    ],
)
def test_parameters_at_paper_size(name, qformer, projection):
    with torch.device("meta"):
        model = VideoLanguageModel(MODELS.get(name)())
    counts = {
        root: sum(p.numel() for p in model.get_submodule(root).parameters())
        for root in ("connector.trunks", "connector.ports")
    }
    assert counts["connector.trunks"] == qformer
    assert counts["connector.ports"] == projection + 2 * 1408 + 32 * 768
    vision = sum(p.numel() for p in model.encoders.parameters())
    assert vision == EVA_VIT_G


def test_language_models_at_paper_size():
    sizes = {}
    for name in ("blip2-flan-t5-xl", "instructblip-vicuna-7b"):
        with torch.device("meta"):
            sizes[name] = sum(p.numel() for p in VideoLanguageModel(MODELS.get(name)()).language_model.parameters())
    assert sizes == {"blip2-flan-t5-xl": 2_849_757_184, "instructblip-vicuna-7b": 6_738_423_808}
