"""What cannot be composed is told in one line that says what to do."""

import json
import shutil

import huggingface_hub
import pytest
import transformers as tf
from hub_folders import CHATML, byte_tokenizer, write_language_model, write_tower
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

import vidweave
from vidweave.errors import VidweaveError
from vidweave.model.assets import asset_folder

REFUSING = CHATML.replace("{% for", "{{ raise_exception('no turns today') }}{% for", 1)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return write_tower(folder / "clip", "clip"), write_language_model(folder / "llama", "llama")


def broken(folder, tmp_path, change):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    change(copy)
    return copy


def refused(words, encoder, language_model, *arguments, **settings):
    with pytest.raises(VidweaveError, match=words) as caught:
        vidweave.compose(encoder, language_model, *arguments, **settings)
    assert "\n" not in str(caught.value)


def edit(name, **changes):
    def change(folder):
        data = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({key: value for key, value in data.items() if value is not None}))

    return change


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"connector": "qformr"}, "qformer"),
        ({"connector": "mixer"}, "add another"),
        ({"connector": "mlp", "memory": 4}, "memory belongs to connector 'qformer'"),
        ({"connector": "resampler", "tokens_per_frame": None}, "needs tokens_per_frame"),
        ({"tokens_per_frame": 5}, "must be a square number up to the 16 tokens"),
        ({"tokens_per_frame": 0}, "at least 1"),
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"memory": 0, "connector": "qformer"}, "None for no memory"),
        ({"selector": "unifrom"}, "uniform"),
        ({"choices": "numbers"}, "letters"),
        ({"layer": -9}, "outside the hidden states"),
        ({"adapter_rank": -1, "connector": "qformer"}, "adapter_rank must be"),
    ],
)
def test_settings_that_do_not_fit(parts, settings, words):
    refused(words, *parts, **settings)


def test_no_encoder(parts):
    refused("needs at least one encoder", [], parts[1])


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("clip", lambda f: (f / "model.safetensors").unlink(), "holds no .safetensors file"),
        ("llama", lambda f: (f / "model.safetensors").unlink(), "holds no .safetensors file"),
        ("clip", lambda f: (f / "config.json").unlink(), "config.json"),
        ("clip", lambda f: (f / "preprocessor_config.json").unlink(), "copy it from the model's repository"),
        ("llama", lambda f: (f / "tokenizer.json").unlink(), "cannot load a tokenizer"),
        ("llama", lambda f: byte_tokenizer(REFUSING).save_pretrained(f), "no turns today"),
        (
            "llama",
            lambda f: byte_tokenizer(extra_special_tokens=[f"<{i}>" for i in range(30)]).save_pretrained(f),
            "take tokenizer and model from one folder",
        ),
    ],
    ids=["tower's weights", "weights", "config", "preprocessor", "tokenizer", "template", "vocabulary"],
)
def test_folders_that_lack_something(parts, tmp_path, name, change, words):
    folders = [broken(folder, tmp_path, change) if folder.name == name else folder for folder in parts]
    refused(words, *folders)


def test_a_model_that_never_ends(parts, tmp_path):
    def change(folder):
        edit("config.json", eos_token_id=None)(folder)
        (folder / "generation_config.json").unlink()
        byte_tokenizer(eos_token=None).save_pretrained(folder)

    refused("has an end token, so no answer would end", parts[0], broken(parts[1], tmp_path, change))


def test_end_and_padding_of_tokenizer_or_model_do_for_both(parts, tmp_path):
    def change(folder):
        edit("config.json", eos_token_id=None, pad_token_id=None)(folder)
        (folder / "generation_config.json").unlink()

    pipe = vidweave.compose(parts[0], broken(parts[1], tmp_path, change), num_frames=1)
    assert pipe.model.language_model.end_tokens == (257,)


def test_remote_code_of_a_family_that_transformers_has_is_left_out_with_a_note(parts, tmp_path, caplog):
    named = edit("config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})
    folders = [broken(folder, tmp_path, named) for folder in parts]
    with caplog.at_level("INFO", logger="vidweave"):
        vidweave.compose(*folders, num_frames=1)
    assert "left out auto_map; transformers has its own class for 'llama'" in caplog.text
    assert "own class for 'clip'" in caplog.text
    other = edit("config.json", model_type="evil")
    refused("'evil'", folders[0], broken(folders[1], tmp_path / "other", other))


def test_parts_in_the_wrong_place(parts):
    encoder, language_model = parts
    refused("'clip' model, which is no causal or sequence-to-sequence", encoder, encoder)
    refused("vision tower", language_model, language_model)


def test_a_tower_without_patch_tokens(parts, tmp_path):
    config = tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    tf.ResNetModel(config).save_pretrained(tmp_path / "resnet")
    shutil.copy(parts[0] / "preprocessor_config.json", tmp_path / "resnet")
    refused("no tower of patches", tmp_path / "resnet", parts[1])


def test_frames_that_a_video_tower_cannot_divide(parts, tmp_path):
    tower = write_tower(tmp_path / "videomae", "videomae")
    refused("set num_frames to a multiple of 4", tower, parts[1], num_frames=6)


@pytest.mark.parametrize(
    ("error", "words"),
    [(GatedRepoError, "is gated: accept its terms"), (LocalEntryNotFoundError, "give a local folder instead")],
)
def test_a_part_that_cannot_be_fetched(parts, monkeypatch, error, words):
    def fetch(*_, **__):
        made = error.__new__(error)
        Exception.__init__(made, "no")
        raise made

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    refused(words, parts[0], "owner/model")
    refused(words, "owner/tower", parts[1])


def test_a_q_former_of_other_sizes(parts, tmp_path):
    refused("a Q-Former is taken from", *parts, "qformer", qformer=parts[1])


def test_an_output_folder_that_is_there(tmp_path):
    from vidweave.cli.compose import compose

    (tmp_path / "file").write_text("mine")
    with pytest.raises(VidweaveError, match="choose another folder for --out"):
        compose(["a"], "b", tmp_path)


@pytest.mark.parametrize("which", [0, 1])
def test_weights_that_are_not_finite_are_refused(parts, tmp_path, which):
    def poison(folder):
        state = load_file(folder / "model.safetensors")
        name = next(name for name, tensor in state.items() if tensor.is_floating_point())
        state[name].view(-1)[0] = float("nan")
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    both = list(parts)
    both[which] = broken(parts[which], tmp_path, poison)
    refused(r"has 1 weights with NaN or infinity: .*; get another copy of", *both)


def test_a_folder_of_one_of_our_encoders(tmp_path, parts):
    shutil.copytree(asset_folder("tiny-rgb"), tmp_path / "rgb")
    (tmp_path / "rgb" / "config.json").write_text('{"model_type": "vidweave_encoder", "encoder": {"kind": "pach"}}')
    refused("pach", tmp_path / "rgb", parts[1])
    (tmp_path / "rgb" / "config.json").write_text('{"model_type": "vidweave_encoder"}')
    refused("needs a 'kind'", tmp_path / "rgb", parts[1])
