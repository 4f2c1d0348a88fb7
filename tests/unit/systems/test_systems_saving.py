"""Nothing trained is lost: every shipped model, every preset, every converted file and every way to grow a model."""

import importlib
import json

import pytest
import torch
from kept_weights import assert_kept, assert_same, change_everything
from test_systems_conversion_faults import MAKERS, request_of, run, small
from test_systems_half_precision import PRESETS, merv
from test_systems_half_precision import fresh as fresh_preset

import vidweave
from vidweave.language.adapters import add_lora
from vidweave.model.assets import asset_folder, asset_names
from vidweave.model.growth import add_modality
from vidweave.systems.malmm.checkpoint import plug_in
from vidweave.systems.merv.checkpoint import folded
from vidweave.systems.merv.rows import load_row
from vidweave.systems.merv.tiny import ROWS

__all__ = ["small"]  # a fixture: presets of the size of the files
SHIPPED = [
    name
    for name in asset_names()
    if (asset_folder(name) / "config.json").is_file()
    and json.loads((asset_folder(name) / "config.json").read_text())["model_type"] == "vidweave"
]


def preset(name, folder):
    return vidweave.load(PRESETS[name][0](folder)).model


GROWN = {
    "memory": lambda folder: plug_in(preset("instructblip-llama", folder), length=3, num_frames=7),
    "folded mixer": lambda folder: folded(vidweave.load(fresh_preset(merv("attention"), ("language",))(folder)).model),
    "modality": lambda _: add_modality(vidweave.load("tiny-base").model, "depth"),
    "modality of CREMA": lambda folder: add_modality(preset("crema", folder), "thermal", like="depth"),
}


def test_all_shipped_models_are_here():
    assert len(SHIPPED) == 9
    assert {"tiny-base", "tiny-crema", "tiny-malmm", "tiny-malmm-fifo", "tiny-merv", "tiny-videotgb"} <= set(SHIPPED)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_weight_of_a_shipped_model_is_kept(name, tmp_path):
    assert_kept(vidweave.load(asset_folder(name)).model, tmp_path)


@pytest.mark.slow
def test_every_weight_of_a_row_of_merv_is_kept(tmp_path):
    assert_kept(load_row(next(row for row in ROWS if row != "attention")), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_weight_of_a_preset_is_kept(name, tmp_path):
    assert_kept(preset(name, tmp_path / "made"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blip2-t5", "merv"])
def test_every_weight_in_half_precision_is_kept(name, tmp_path):
    model = vidweave.load(PRESETS[name][0](tmp_path / "made"), dtype="bfloat16").model
    assert_kept(model, tmp_path, dtype=torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("layout", MAKERS)
def test_every_weight_of_a_converted_file_is_kept(layout, tmp_path):
    (tmp_path / "made").mkdir()
    case = MAKERS[layout](tmp_path / "made")
    case.folder = tmp_path / "made"
    torch.save(case.content, case.folder / "file.pth")
    run(layout, case, request_of(case, tmp_path / "out"))
    assert_kept(vidweave.load(tmp_path / "out").model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "has_lora"), [*((name, False) for name in GROWN), ("memory", True)])
def test_every_weight_of_a_grown_model_is_kept(name, has_lora, tmp_path):
    model = GROWN[name](tmp_path / "made")
    if has_lora:
        add_lora(model.language_model, rank=2)
    assert_kept(model, tmp_path)


# -- what recipes leave


@pytest.fixture
def finish():
    """What a recipe does at its end, by the name of its folder."""
    return lambda name: importlib.import_module(f"vidweave.recipes.{name}.train")._finish


def test_cremas_recipe_keeps_what_it_trained(tmp_path, finish):
    """As it was found: start=tiny-crema, whose parts are named as bases."""
    model = vidweave.load("tiny-crema").model
    assert model.config.bases
    change_everything(model)
    finish("crema")(model, tmp_path)
    assert_same(model, vidweave.load(tmp_path / "model").model)


@pytest.mark.slow
def test_videotgbs_last_stage_keeps_its_merged_adapters(tmp_path, finish):
    model = vidweave.load("tiny-videotgb").model
    before = {name: tensor.clone() for name, tensor in model.language_model.state_dict().items()}
    names = add_lora(model.language_model)
    with torch.no_grad():
        for name in names:
            model.language_model.get_parameter(name).normal_()
    finish("videotgb")(model, tmp_path)
    again = vidweave.load(tmp_path / "model").model
    assert_same(model, again)
    changed = [n for n, tensor in again.language_model.state_dict().items() if not torch.equal(tensor, before[n])]
    assert len(changed) == len(names) // 2
