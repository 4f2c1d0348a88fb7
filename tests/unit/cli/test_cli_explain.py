"""`vidweave explain`, with a model that answers without thinking."""

from __future__ import annotations

import pytest
from PIL import Image


def test_writes_a_page_and_a_frame(vid, model, clip, tmp_path):
    out = tmp_path / "page.html"
    done = vid("explain", clip, "Which?", "--option", "red", "--option", "blue", "--out", out, "--frames", 5)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["red", str(out), str(tmp_path / "page.png")]
    assert "Which?" in out.read_text(encoding="utf-8")
    with Image.open(tmp_path / "page.png") as frame:
        assert frame.width > 1000
    assert (model.asked[0]["num_frames"], model.asked[0]["trace"]) == (5, True)


def test_json_names_the_files(vid, model, clip, tmp_path):
    data = vid("explain", clip, "Which?", "--out", tmp_path / "page.html", "--full-trace", "--json").data
    assert data == {"page": str(tmp_path / "page.html"), "picture": str(tmp_path / "page.png"), "answer": "WHICH?"}
    assert model.asked[0]["trace"] == "full"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{clip}"], "a clip and a question are needed, got only"),
        (["{clip}", "q", "--out", "page.png"], "--out must end in .html, got 'page.png'"),
        (["{clip}", "q", "--out", "nowhere/page.html"], "the folder of --out does not exist: 'nowhere'"),
        (["nowhere.mp4", "q"], "'nowhere.mp4' does not exist"),
    ],
)
def test_bad_input_fails_before_a_model_is_loaded(vid, model, clip, arguments, complaint):
    done = vid("explain", *(a.format(clip=clip) for a in arguments))
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not model.loads
