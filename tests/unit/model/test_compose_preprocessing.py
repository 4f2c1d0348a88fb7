"""The preprocessing of a composed model is that of the tower's own preprocessor_config.json."""

import json

import numpy as np
import pytest
import torch
import transformers as tf
from hub_folders import TOWERS
from PIL import Image

from vidweave.errors import CheckpointError
from vidweave.media.preprocess import apply
from vidweave.model.compose.preprocessing import visual_spec
from vidweave.types import Frames

PICTURE = np.random.default_rng(3).integers(0, 255, (2, 37, 61, 3), dtype=np.uint8)
FRAMES = Frames(PICTURE, np.arange(2.0), np.arange(2))


@pytest.mark.parametrize("family", TOWERS)
def test_pixels_are_those_of_transformers_own_processor(tmp_path, family):
    processor = TOWERS[family][2]
    processor.save_pretrained(tmp_path)
    theirs = processor([Image.fromarray(frame) for frame in PICTURE], return_tensors="pt").pixel_values
    ours, _ = apply(visual_spec(tmp_path), FRAMES)
    torch.testing.assert_close(ours, theirs.reshape(ours.shape), atol=1e-5, rtol=0)


def test_older_files_leave_out_what_their_class_knows(tmp_path):
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 24, "crop_size": 24}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    spec = visual_spec(tmp_path)
    assert (spec.height, spec.width, spec.resize, spec.interpolation) == (24, 24, "crop", "bicubic")
    assert spec.mean == tuple(tf.CLIPImageProcessorPil.image_mean)


def test_a_processor_within_processor_config_is_found(tmp_path):
    inner = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 28, "width": 21}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    spec = visual_spec(tmp_path)
    assert (spec.height, spec.width, spec.resize) == (28, 21, "squash")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": {"shortest_edge": 28}, "do_center_crop": False}, "without a crop"),
        ({"size": {"longest_edge": 28}}, "longest_edge"),
        ({"resample": 1}, "resample=1"),
        ({"image_mean": 3}, "image_mean"),
        ({"size": "large"}, "size='large'"),
    ],
)
def test_steps_that_are_not_done_are_reported(tmp_path, changes, words):
    data = {"image_processor_type": "CLIPImageProcessor", **changes}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=words):
        visual_spec(tmp_path)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match="has no preprocessor_config"):
        visual_spec(tmp_path)
