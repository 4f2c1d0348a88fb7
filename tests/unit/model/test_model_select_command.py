"""`vidweave select`: timestamps, spans and scores of any model with a selector."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from test_model_motion import motion_model, moving

from vidweave.cli.main import run
from vidweave.media.write import write_video


@pytest.fixture
def vid(capsys):
    def call(*arguments):
        code = run([str(a) for a in arguments])
        reply = capsys.readouterr()
        data = json.loads(reply.out) if reply.out.startswith("{") else None
        return SimpleNamespace(code=code, out=reply.out, err=reply.err, data=data)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selecting")
    motion_model().save_pretrained(folder / "model")
    write_video(folder / "clip.mp4", moving(), fps=10)
    return folder


def test_timestamps_spans_and_scores(vid, folder):
    reply = vid("select", folder / "clip.mp4", "what moves left ?", "--k", 4, "--model", folder / "model", "--json")
    assert reply.code == 0, reply.err
    data = reply.data
    assert data["selector"] == data["reason"] == "grounding"
    assert len(data["seconds"]) == len(data["indices"]) == 4
    assert data["seconds"] == pytest.approx([index / 10 for index in data["indices"]])
    assert 0 < data["spans"][0]["score"] <= 1
    assert len(data["steps"]) == len(data["energy"]) == len(data["probability"]) == 23
    assert data["notes"] == []
    text = vid("select", folder / "clip.mp4", "what moves left ?", "--model", folder / "model").out
    assert text.startswith("seconds  frame")
    assert "span " in text


@pytest.mark.parametrize("selector", ["uniform", "motion_peaks", "all_frames"])
def test_other_selectors_need_no_bridge(selector, vid, folder):
    command = (
        "select",
        folder / "clip.mp4",
        "anything ?",
        "-k",
        3,
        "--selector",
        selector,
        "--model",
        folder / "model",
    )
    data = vid(*command, "--json").data
    assert data["reason"] == selector
    expected = {"uniform": [3, 11, 19], "all_frames": list(range(24))}
    if selector in expected:
        assert np.abs(np.array(data["indices"]) - expected[selector]).max() <= 1
    else:
        assert all(0.6 < t < 2.0 for t in data["seconds"])  # where it moves


def test_what_cannot_be_selected_is_reported(vid, folder):
    model = ("--model", folder / "model")
    assert "unknown selector 'best'" in vid("select", folder / "clip.mp4", "x", "--selector", "best", *model).err
    assert "the question is empty" in vid("select", folder / "clip.mp4", " ", *model).err
    assert "does not exist" in vid("select", folder / "none.mp4", "x", *model).err
    reply = vid("select", folder / "clip.mp4", "x", "--model", "tiny-base")
    assert reply.code == 2
    assert "the selector of this model is 'uniform'; give a model with a bridge" in reply.err
