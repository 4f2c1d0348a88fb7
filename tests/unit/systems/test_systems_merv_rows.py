"""The shipped rows of tiny-merv's comparison: frozen parts of tiny-merv, everything else their own."""

import pytest
import torch

import vidweave
from vidweave.errors import CheckpointError, UnknownNameError
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.merv import rows
from vidweave.systems.merv.rows import MODEL, load_row
from vidweave.systems.merv.tiny import ROWS, tiny_merv
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene


@pytest.fixture(scope="module")
def whole():
    return vidweave.load(MODEL).model.state_dict()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_shares_what_is_frozen_and_answers(row, whole):
    model = load_row(row)
    assert model.config.name == tiny_merv(row).name
    for name, tensor in model.state_dict().items():
        frozen = name.startswith(("encoders.", "language_model.", "connector.trunks.general"))
        if frozen and not name.startswith("encoders.generalist."):
            assert torch.equal(tensor, whole[name.replace("trunks.generalist.", "trunks.general.")]), name
        elif row != "attention" and name in whole and name.endswith("query_tokens"):
            assert not torch.equal(tensor, whole[name]), name  # each row is a training of its own
    answer = SlotPipeline(model).ask(
        vidweave.Clip(render(sample_scene(3), "video")), "How many objects are there?", options=["1", "2"]
    )
    assert answer.text in ("1", "2")
    assert answer.trace.tokens["video"] == (48 if row == "sequence" else 16)


def test_a_row_that_is_none_and_one_that_is_not_shipped(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="row of tiny-merv"):
        load_row("best")
    monkeypatch.setattr(rows, "asset_folder", lambda name: tmp_path / name)
    with pytest.raises(CheckpointError, match=r"row 'scalar' of tiny-merv has no weights at .*scalar\.safetensors"):
        load_row("scalar")
