"""Folders of vision-language models: what is read, what is refused, and what is written."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_vlms
import torch
import transformers as tf

import vidweave
from vidweave.errors import CheckpointError, ConfigError
from vidweave.pipelines.vlm.families.qwen3_vl import Qwen3VL
from vidweave.pipelines.vlm.pipeline import VlmPipeline
from vidweave.registry import VLM_FAMILIES

QUESTION, OPTIONS = "Which colour is it?", ("red", "blue")


@pytest.fixture
def copy(vlm_folder, tmp_path):
    """A copy of a tiny folder that a test may damage."""

    def make(name: str = "qwen3_vl"):
        return shutil.copytree(vlm_folder(name), tmp_path / name)

    return make


def _edit(file, **changes):
    data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    file.write_text(json.dumps({**data, **changes}), encoding="utf-8")


def _refused(folder, error=CheckpointError):
    with pytest.raises(error) as told:
        vidweave.load(folder)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("tokenizer.json", "has no tokenizer (tokenizer.json)"),
        ("model.safetensors", "holds no .safetensors file"),
        ("config.json", "has no readable config.json"),
    ],
)
def test_a_missing_file_is_named(copy, missing, message):
    folder = copy()
    (folder / missing).unlink()
    with pytest.raises(CheckpointError) as told:
        vidweave.load(folder)
    assert message in str(told.value)


def test_missing_preprocessing_settings_are_named(copy):
    folder = copy()
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        (folder / name).unlink()
    assert "has no preprocessing settings (video_preprocessor_config.json, preprocessor_config.json)" in _refused(
        folder
    )


def test_settings_inside_the_processors_file_are_read(copy, vlm, uneven):
    folder = copy()
    settings = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("video_preprocessor_config", "preprocessor_config")
    }
    for name in settings:
        (folder / f"{name}.json").unlink()
    inside = {
        "video_processor": settings["video_preprocessor_config"],
        "image_processor": settings["preprocessor_config"],
    }
    (folder / "processor_config.json").write_text(json.dumps(inside))
    again, usual = (pipe.ask(uneven, QUESTION, options=OPTIONS) for pipe in (vidweave.load(folder), vlm("qwen3_vl")))
    assert again.options == usual.options


def test_chat_templates_of_older_folders_are_read(copy, vlm, uneven):
    folder = copy()
    template = folder / "chat_template.jinja"
    _edit(folder / "chat_template.json", chat_template=template.read_text(encoding="utf-8"))
    template.unlink()
    again, usual = (pipe.ask(uneven, QUESTION, options=OPTIONS) for pipe in (vidweave.load(folder), vlm("qwen3_vl")))
    assert again.trace.panels["prompt"] == usual.trace.panels["prompt"]


def test_templates_without_parts_and_without_media(copy, uneven):
    folder = copy()
    flat = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}\n{% endfor %}assistant:"
    (folder / "chat_template.jinja").write_text(flat, encoding="utf-8")
    prompt = vidweave.load(folder).ask(uneven, QUESTION, num_frames=1, max_new_tokens=1).trace.panels["prompt"]
    assert prompt.startswith("user: <9.3 seconds>")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['role'] }}", encoding="utf-8")
    with pytest.raises(
        CheckpointError, match="does not place the 1 media of the prompt as '<|video_pad|>'".replace("|", r"\|")
    ):
        vidweave.load(folder).ask(uneven, QUESTION)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "code.Model"}, "model_type": "unheard_vl"}, "holds a 'unheard_vl' model"),
        ({"quantization_config": {"quant_method": "awq"}}, "its weights are quantized"),
        ({"attn_implementation": "someone/kernel"}, "can run code from elsewhere"),
        ({"custom_generate": "someone/code"}, "can run code from elsewhere"),
        ({"backbone": "resnet50"}, "looks a model up on the hub"),
        ({"text_config": {"num_hidden_layers": 10**9}}, "at most 1,000 are allowed"),
        ({"vision_config": {"depth": "two"}}, "cannot be read"),
    ],
)
def test_dangerous_configurations_are_refused(copy, changes, message):
    folder = copy()
    _edit(folder / "config.json", **changes)
    assert message in _refused(folder, Exception)


def test_code_of_a_family_that_transformers_has_is_left_alone(copy, uneven):
    folder = copy()
    _edit(folder / "config.json", auto_map={"AutoModel": "code.Model"})
    (folder / "code.py").write_text("raise SystemExit('the code of the folder ran')")
    assert vidweave.load(folder).ask(uneven, QUESTION, options=OPTIONS).text in OPTIONS
    _edit(folder / "generation_config.json", custom_generate="someone/code")
    assert "generation_config.json holds 'custom_generate'" in _refused(folder)


def test_pickled_weights_are_refused(copy):
    folder = copy()
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert "are read from safetensors" in _refused(folder)


def test_weights_that_do_not_fit_are_told(copy):
    from safetensors.torch import load_file, save_file

    folder = copy()
    state = load_file(folder / "model.safetensors")
    name = next(key for key in state if "layers.1.mlp" in key)
    save_file(
        {key: value for key, value in state.items() if key != name}, folder / "model.safetensors", {"format": "pt"}
    )
    assert "1 missing: " in _refused(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": None}, "'patch_size' must be a positive number, got None"),
        ({"size": "large"}, "hold no readable size: 'large'"),
        ({"image_mean": ["dark"]}, "cannot be read"),
    ],
)
def test_bad_preprocessing_settings_are_told(copy, changes, message):
    folder = copy()
    _edit(folder / "video_preprocessor_config.json", **changes)
    assert message in _refused(folder)


def test_a_family_that_the_installed_transformers_lacks_is_told_with_its_version(copy, monkeypatch):
    folder = copy()
    monkeypatch.setattr(Qwen3VL, "model_class", "Qwen99ForConditionalGeneration")
    assert f"a 'qwen3_vl' model, which transformers {tf.__version__} does not have; upgrade" in _refused(folder)


def test_a_model_without_pictures_is_no_vision_language_model(copy):
    folder = copy()
    _edit(folder / "config.json", model_type="llama")
    assert "holds a 'llama' model; vidweave reads folders of" in _refused(folder)


def test_settings_of_another_kind_of_model_are_refused():
    with pytest.raises(ConfigError, match="models of type 'vidweave' take no setting max_pixels"):
        vidweave.load("tiny-base", max_pixels=3)


@pytest.mark.parametrize("bad", [{"num_frames": 0}, {"max_pixels": 0}, {"times": "never"}, {"choices": "numbers"}])
def test_bad_settings_are_refused(vlm_folder, bad):
    with pytest.raises(ConfigError, match=f"{next(iter(bad))} must be"):
        vidweave.load(vlm_folder("qwen3_vl"), **bad)


def test_an_adapter_is_refused(vlm_folder, tmp_path):
    with pytest.raises(ConfigError, match="merge it into the 'qwen3_vl' model"):
        vidweave.load(vlm_folder("qwen3_vl"), adapter=tmp_path)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "smolvlm"])
def test_what_is_saved_is_what_is_loaded(name, vlm, uneven, tmp_path):
    pipe = vlm(name)
    pipe.save_pretrained(tmp_path / "saved")
    again = vidweave.load(tmp_path / "saved")
    assert isinstance(again, VlmPipeline)
    assert again.ask(uneven, QUESTION, options=OPTIONS).options == pipe.ask(uneven, QUESTION, options=OPTIONS).options
    assert again.describe()["weights"] == pipe.describe()["weights"]
    again.save_pretrained(tmp_path / "saved")  # into its own folder
    assert (tmp_path / "saved/tokenizer.json").is_file()


def test_weights_load_in_the_requested_dtype(tmp_path, uneven):
    folder = tiny_vlms.write("qwen3_vl", tmp_path, torch.bfloat16)
    assert vidweave.load(folder).dtype is torch.float32
    pipe = vidweave.load(folder, dtype="bfloat16", device="cpu")
    assert pipe.dtype is torch.bfloat16
    assert pipe.ask(uneven, QUESTION, options=OPTIONS).text in OPTIONS
    assert repr(pipe).endswith("qwen3_vl, cpu, torch.bfloat16)")
    assert pipe.to(torch.float32).dtype is torch.float32


def test_another_package_can_add_a_family(copy, monkeypatch, uneven):
    class Louder(Qwen3VL):
        num_frames = 2

    VLM_FAMILIES.unregister("qwen3_vl")
    try:
        VLM_FAMILIES.register("qwen3_vl", Louder)
        answer = vidweave.load(copy()).ask(uneven, QUESTION, options=OPTIONS)
    finally:
        VLM_FAMILIES.unregister("qwen3_vl")
        VLM_FAMILIES.register("qwen3_vl", "vidweave.pipelines.vlm.families.qwen3_vl:Qwen3VL")
    assert len(answer.trace.frames) == 2
