"""`vidweave.load`: names, folders, hub ids, dtypes and devices."""

import importlib.util
import json

import pytest
import torch

import vidweave
from vidweave.errors import CheckpointError, MissingExtraError, UnknownNameError
from vidweave.model import load as load_module
from vidweave.model.files import locate


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_folder_loads_in_evaluation_mode_with_its_processor(folder, frames):
    pipe = vidweave.load(folder)
    assert not pipe.model.training
    assert pipe.dtype == torch.float32
    assert pipe.ask(vidweave.Clip(frames), "what ?").trace.frames


def test_half_precision_answers_about_the_same(folder, frames):
    asked = {"question": "what ?", "options": ("red", "blue")}
    full = vidweave.load(folder).ask(vidweave.Clip(frames), **asked)
    half = vidweave.load(folder, dtype="bfloat16").ask(vidweave.Clip(frames), **asked)
    scores = [{o.text: o.score for o in answer.options} for answer in (full, half)]
    assert scores[1] == pytest.approx(scores[0], abs=0.3)


def test_a_device_map_places_the_model(folder, frames):
    pipe = vidweave.load(folder, device_map="cpu")
    assert pipe.ask(vidweave.Clip(frames), "what ?").trace.frames


def test_a_device_map_without_accelerate_names_the_extra(folder, monkeypatch):
    monkeypatch.setattr(
        load_module, "find_spec", lambda name: None if name == "accelerate" else importlib.util.find_spec(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'vidweave\[large\]'"):
        vidweave.load(folder, device_map="auto")


def test_an_unknown_name_lists_near_matches():
    with pytest.raises(UnknownNameError, match=r"unknown model 'tiny-bas'; did you mean 'tiny-base'"):
        vidweave.load("tiny-bas")


def test_an_unknown_dtype_lists_near_matches(folder):
    with pytest.raises(UnknownNameError, match=r"unknown dtype 'float33'; did you mean 'float32'"):
        vidweave.load(folder, dtype="float33")


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is not a folder with a model"):
        vidweave.load(file)


@pytest.mark.parametrize("text", ["", "[]", '{"model_type": 3', "{}"])
def test_a_folder_without_a_readable_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"has no readable config.json"):
        vidweave.load(tmp_path)


def test_a_processor_that_cannot_be_read_is_refused(folder):
    (folder / "processor_config.json").write_text(json.dumps({"tokenizer": []}))
    with pytest.raises(CheckpointError, match=r"holds no readable processor_config.json"):
        vidweave.load(folder)


def test_a_hub_id_without_network_says_to_give_a_folder(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        CheckpointError, match=r"could not fetch 'nobody/nothing-here' from the hub .* give a local folder"
    ):
        vidweave.load("nobody/nothing-here")


def test_what_is_nowhere_is_refused():
    with pytest.raises(CheckpointError, match="neither a folder, nor a shipped asset, nor a hub id"):
        locate("no-such-asset")
