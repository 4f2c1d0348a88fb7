"""The dual encoder of the toy world: its examples, and the folder that its recipe writes."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from vidweave.model.assets import asset_folder
from vidweave.pipelines.frame_selection.text_model import FrameTextModel
from vidweave.tiny.frame_texts import CONTENTS, FrameTexts
from vidweave.toyworld import attributes as a
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run
from vidweave.types import Frames


def test_texts_are_about_what_they_name():
    source = FrameTexts()
    examples = [source[i] for i in range(300)]
    for example in examples:
        words = set(example.text.replace("?", "").replace(",", "").lower().split())
        colours, shapes = words & set(a.COLOURS), words & set(a.SHAPES)
        meant = [content for content, hot in zip(CONTENTS, example.meant, strict=True) if hot]
        if meant != [None]:
            assert {c for c, _ in meant} == (colours or set(a.COLOURS))
            assert {s for _, s in meant} == (shapes or set(a.SHAPES))
        assert example.shown.any()
        assert example.shown[-1] in (0.0, float(not example.shown[:-1].any()))
    matches = np.mean([bool(example.shown @ example.meant) for example in examples])
    assert 0.5 < matches < 0.9
    again = source[7]
    assert (again.text, again.frame.tobytes()) == (examples[7].text, examples[7].frame.tobytes())


@pytest.mark.slow  # trains two steps
def test_the_recipe_writes_a_folder_of_transformers(tmp_path):
    small = ["patch_steps=1", "steps=1", "batch_size=4", "evaluation_examples=8"]
    result = train(recipe_run("tiny/siglip", small), tmp_path, has_progress=False, has_events=False)
    assert set(result.finish) == {"loss", "right"}
    folder = tmp_path / "assets" / "tiny-siglip"
    shipped = asset_folder("tiny-siglip")
    assert {f.name for f in folder.iterdir()} == {f.name for f in shipped.iterdir()}
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):
        assert json.loads((folder / name).read_text()) == json.loads((shipped / name).read_text()), name
    ours, theirs = FrameTextModel(folder), AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)("a red ring", padding="max_length", return_tensors="pt")["input_ids"]
    frame = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    pixels = torch.from_numpy(frame).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        cosine = torch.cosine_similarity(
            theirs.get_image_features(pixels).pooler_output, theirs.get_text_features(ids).pooler_output
        )
    found = ours.embed_frames(Frames.from_array(frame, fps=1))[0] @ ours.embed_text("a red ring")
    assert torch.allclose(found, cosine[0], atol=1e-5)


def test_the_shipped_encoder_tells_colors_apart():
    model, source = FrameTextModel("tiny-siglip"), FrameTexts()
    examples = [source[2**31 - 50_000 + i] for i in range(200)]
    frames = model.embed_frames(Frames.from_array(np.stack([e.frame for e in examples]), fps=1))
    for colour in a.COLOURS:
        scores = (frames @ model.embed_text(f"What shape is the {colour} object?")).numpy()
        shown = np.array([any(c and c[0] == colour for c in _contents(e)) for e in examples])
        assert (scores[shown][:, None] > scores[~shown][None]).mean() > 0.95, colour


def _contents(example):
    return [content for content, hot in zip(CONTENTS, example.shown, strict=True) if hot]
