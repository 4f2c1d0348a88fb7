"""OneLLM's processors and real token ids against recorded outputs of the original code."""

import json
from dataclasses import replace

import numpy as np
import pytest
from goldens import close, golden_files
from onellm_cases import SYSTEM, query_of, tensors

from vidweave.media.plan import clip_starts
from vidweave.media.preprocess import apply
from vidweave.systems.onellm.preset import SPECS, build
from vidweave.systems.onellm.prompts import PROMPTS
from vidweave.types import Frames, PointCloud, VisualSpec, Waveform


def facts(name):
    (file,) = golden_files(SYSTEM, name)
    return json.loads(file.read_text())


def frames_of(pictures):
    count = len(pictures)
    return Frames(values=pictures, pts_seconds=np.arange(float(count)), indices=np.arange(count))


# ---- frames


def test_images():
    golden = tensors("processors")
    expected = golden["image.eval"]
    for name in ("image", "rgbd", "rgbn"):
        spec = replace(SPECS[name], height=expected.shape[1], width=expected.shape[2])
        seen, _ = apply(spec, frames_of(golden["image.raw"].numpy()[None]))
        close(seen[0], expected, 1e-5)


@pytest.mark.parametrize("name", ["", "tall_"])
def test_three_crops_of_a_frame(name):
    """Recorded after the frame was resized: start, middle and end of the long side, in this order for each frame."""
    golden = tensors("processors")
    frame = golden[f"video.{name}frame"].permute(1, 2, 3, 0).numpy()  # (T, H, W, 3)
    expected = golden[f"video.{name}crops"].transpose(1, 2)  # (crops, T, 3, h, w)
    height, width = expected.shape[-2:]
    spec = replace(SPECS["video"], height=height, width=width, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
    seen, _ = apply(spec, frames_of(frame.copy()))
    close(seen.unflatten(0, (len(frame), -1)).transpose(0, 1), expected, 1e-5)
    assert isinstance(spec, VisualSpec)
    assert (spec.interpolation, spec.antialias, spec.crops) == ("bilinear", False, 3)


@pytest.mark.parametrize("row", facts("processors.json")["clip_timepoints"])
def test_clips_of_a_video(row):
    starts = [start for start, _ in row["clips"]]
    assert clip_starts(row["duration"], len(starts)).tolist() == pytest.approx(starts, abs=1e-9)


# ---- audio


def sounds():
    marks = [key for key in tensors("processors") if key.startswith("audio.waveform.")]
    return [key.removeprefix("audio.waveform.") for key in marks]


@pytest.mark.parametrize("name", sounds())
def test_audio(name):
    """The original hears the first channel."""
    golden = tensors("processors")
    expected, spec = golden[f"audio.{name}"], SPECS["audio"]
    spec = replace(spec, window_seconds=len(expected) * spec.hop_seconds, mel_bins=expected.shape[1])
    seen, _ = apply(spec, Waveform(golden[f"audio.waveform.{name}"][0].numpy(), spec.sample_rate))
    close(seen[0], expected, 1e-3)


# ---- points


def test_points_with_colors():
    golden = tensors("processors")
    raw = golden["point.raw"].numpy()
    spec = replace(SPECS["point_cloud"], num_points=len(raw))
    close(apply(spec, PointCloud(raw[:, :3], raw[:, 3:]))[0][0], golden["point.norm"], 1e-5)


def test_points_as_contra4_reads_them():
    """Every point twice, and raw coordinates in place of colors."""
    golden = tensors("processors")
    raw = golden["point.raw"].numpy()[:, :3]
    spec = build(legacy_media=True).parse().encoders["universal"].specs["point_cloud"]
    assert spec.num_points == 2 * SPECS["point_cloud"].num_points
    seen, _ = apply(replace(spec, num_points=2 * len(raw)), PointCloud(raw))
    close(seen[0], golden["point.contra4"], 1e-5)
    once, _ = apply(replace(spec, num_points=len(raw)), PointCloud(raw))
    close(once[0], golden["point.contra4"][: len(raw)], 1e-5)


# ---- real ids


class Recorded:
    """Llama-2's tokenizer, of which the recorded texts are known; another text is an error."""

    bos_token_id, eos_token_id = 1, 2
    all_special_tokens = ()

    def __init__(self, known):
        self.known = known

    def __call__(self, text, **_):
        return {"input_ids": self.known[text]}


def test_real_ids_of_contra4():
    data = facts("real_token_ids.json")
    asked = data["inference"]
    begin, *words = asked["ids"]
    known = {**data["scene_prefix"], asked["prompt"]: words}
    labels = [label for label in data["scene_prefix"] if label.removesuffix(": ") in asked["prompt"]]
    question = asked["prompt"].partition("Human: ")[2].partition(" Choose from")[0]
    layout = build(prompt=PROMPTS["contra4"]).parse().layout
    groups = {(name, 0, scene): 1 for scene, name in zip(range(len(labels)), ("audio", "imu"), strict=False)}
    ids = layout.plan([query_of(question, len(labels))], Recorded(known), groups).ids[0].tolist()
    expected = [begin]
    for label in labels:
        expected += [*data["scene_prefix"][label], -1]
    assert ids == expected + words
