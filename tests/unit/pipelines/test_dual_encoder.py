"""Dual encoders from folders: the same vectors as transformers' own processor and model, and one line for what does not fit."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers as tf
from dual_folders import FAMILIES, TEXT_TOKENS, dual_folder
from safetensors.torch import load_file, save_file
from torch.nn import functional

from vidweave.errors import CheckpointError, ConfigError, NonFiniteError, QueryError
from vidweave.pipelines.frame_selection.text_model import FrameTextModel
from vidweave.types import Frames


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("dual")
    return {family: dual_folder(family, root / family) for family in FAMILIES}


def frames(height=30, width=42, count=3):
    values = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return Frames.from_array(values, fps=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_equal_those_of_transformers(family, folders):
    model, theirs = FrameTextModel(folders[family]), FAMILIES[family][0].from_pretrained(folders[family]).eval()
    processor = getattr(tf, f"{FAMILIES[family][3]}Pil").from_pretrained(folders[family])
    shown = frames()
    inputs = processor(images=list(shown.values), return_tensors="pt")
    with torch.no_grad():
        expected = functional.normalize(theirs.get_image_features(**inputs).pooler_output, dim=-1)
    # transformers rounds a resized frame to 8 bits and rescales in another order
    assert torch.allclose(model.embed_frames(shown), expected, atol=2e-3)
    pads = {"padding": "max_length", "max_length": TEXT_TOKENS} if "siglip" in family else {}
    tokens = tf.AutoTokenizer.from_pretrained(folders[family])(["a red cup"], return_tensors="pt", **pads)
    given = {"input_ids": tokens["input_ids"]} if "siglip" in family else {**tokens}
    given.pop("token_type_ids", None)
    with torch.no_grad():
        expected = functional.normalize(theirs.get_text_features(**given).pooler_output, dim=-1)
    assert torch.allclose(model.embed_text("a red cup"), expected[0], atol=1e-6)


def test_naflex_keeps_the_shape_of_frames(folders):
    model = FrameTextModel(folders["siglip2"])
    for height, width, grid in ((24, 72, (2, 6)), (72, 24, (6, 2)), (40, 40, (3, 3))):
        spec = model._spec_for(frames(height, width, 1))
        assert (spec.height // 8, spec.width // 8) == grid


def test_the_fingerprint_names_weights_and_preprocessing(folders, tmp_path):
    first = FrameTextModel(folders["siglip"]).fingerprint
    other = shutil.copytree(folders["siglip"], tmp_path / "other")
    assert FrameTextModel(other).fingerprint == first  # not the folder's name
    data = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps({**data, "image_mean": [0.4] * 3}))
    assert FrameTextModel(other).fingerprint != first


def test_a_text_that_is_too_long_is_refused(folders):
    model = FrameTextModel(folders["clip"])
    model.embed_text("x" * (TEXT_TOKENS - 2))
    with pytest.raises(
        QueryError, match=r"the question has 25 tokens, the text encoder of .* takes at most 24; shorten it"
    ):
        model.embed_text("x" * (TEXT_TOKENS - 1))


def test_a_folder_that_is_no_dual_encoder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(
        ConfigError, match=r"a 'llama' model is no dual encoder of frames and texts; give a folder or hub id"
    ):
        FrameTextModel(tmp_path)
    with pytest.raises(CheckpointError, match="is neither a folder, nor a shipped asset, nor a hub id"):
        FrameTextModel("no/such/folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        FrameTextModel(tmp_path / "empty")


def test_code_in_the_folder_is_never_run(folders, tmp_path):
    folder = shutil.copytree(folders["clip"], tmp_path / "hostile")
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "auto_map": {"AutoModel": "code.Model"}}))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    FrameTextModel(folder)
    assert not (tmp_path / "ran").exists()
    (folder / "config.json").write_text(json.dumps({**data, "_attn_implementation_internal": "owner/kernel"}))
    with pytest.raises((CheckpointError, ConfigError), match="_attn_implementation_internal"):
        FrameTextModel(folder)


@pytest.mark.parametrize("change", ["missing", "unexpected", "of another shape"])
def test_weights_that_do_not_fit(change, folders, tmp_path):
    folder = shutil.copytree(folders["siglip"], tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    name = "vision_model.head.probe"
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        state["vision_model.head.second_probe"] = state[name].clone()
    else:
        state[name] = torch.zeros(1, 1, 5)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=change if change != "of another shape" else r"do not fit"):
        FrameTextModel(folder)


def test_weights_with_nan_are_named(folders, tmp_path):
    folder = shutil.copytree(folders["clip"], tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state["visual_projection.weight"][0] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(NonFiniteError, match="the dual encoder's features of frames hold NaN"):
        FrameTextModel(folder).embed_frames(frames())


def test_a_missing_preprocessor_is_named(folders, tmp_path):
    folder = shutil.copytree(folders["clip"], tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        FrameTextModel(folder)
