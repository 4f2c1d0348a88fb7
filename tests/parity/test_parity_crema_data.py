"""CREMA's audio, frames, frame numbers, prompts and marks against recorded outputs of the original code."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from goldens import close, golden_files, load_only

from vidweave.encoders.beats import BEATS_AUDIO
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD
from vidweave.language.layout import AnswerFormat
from vidweave.media.plan import spread
from vidweave.media.preprocess import apply
from vidweave.systems.crema.preset import DATASETS, prompt_layout
from vidweave.systems.crema.scoring import by_kind, legacy_music_avqa, legacy_sqa3d, repaired_music_avqa, strict
from vidweave.systems.crema.wording import clean, layout_name, read_row
from vidweave.types import AudioSpec, Frames, VisualSpec, Waveform

SYSTEM = "crema"


def read(pattern):
    (file,) = golden_files(SYSTEM, pattern)
    return json.loads(file.read_text())


def audio_spec(mode, rate, mel_bins, **changes):
    frames = mode["frame_length"]
    seconds = frames * BEATS_AUDIO.hop_seconds
    return replace(BEATS_AUDIO, sample_rate=rate, window_seconds=seconds, mel_bins=mel_bins, **changes)


def test_audio():
    """Training hears the first windows; the other mode of the original (its padding rule is its own) frames the same."""
    modes, tensors = read("audio_fbank*.json"), load_only(SYSTEM, "audio_fbank*.safetensors")
    samples = tensors["in.waveform"].numpy().astype(np.float32) / 32768
    waveform = Waveform(samples, modes["sampling_rate"])
    for name in [key.removeprefix("out.") for key in tensors if key.startswith("out.")]:
        mode, expected = modes[name], tensors[f"out.{name}"]
        spec = audio_spec(
            mode, modes["sampling_rate"], expected.shape[-1], max_windows=mode["n_frames"],
            min_windows=mode["n_frames"], coverage="head",
        )  # fmt: skip
        if not mode["is_eval"]:
            close(apply(spec, waveform)[0], expected, 1e-3)
            continue
        whole = audio_spec(mode, modes["sampling_rate"], expected.shape[-1], max_windows=1000, min_windows=1)
        windows = apply(whole, waveform)[0].flatten(0, 1)
        frames = 1 + (len(samples) - 400) // 160
        length = mode["frame_length"]
        padded = torch.cat([windows[:frames], torch.zeros(frames % length, windows.shape[1])])
        close(padded[: len(padded) // length * length].unflatten(0, (-1, length)), expected, 1e-3)


def test_windows_over_the_whole_clip_are_cut_from_one_frame():
    samples = np.random.default_rng(0).standard_normal(16_000 * 12).astype(np.float32) / 10
    spec = AudioSpec(sample_rate=16_000, window_seconds=2.56, mel_bins=32, windows_of="frames")
    windows, seconds = apply(spec, Waveform(samples, 16_000))
    whole = AudioSpec(sample_rate=16_000, window_seconds=12.8, mel_bins=32, windows_of="frames")
    frame = apply(whole, Waveform(samples, 16_000))[0][0]
    torch.testing.assert_close(windows.flatten(0, 1), frame)
    assert seconds[0].tolist() == [0.0, 2.56]
    assert float(seconds[-1, 1]) == 12.0


def test_frames():
    tensors = load_only(SYSTEM, "image_loading*.safetensors")
    kinds = [key.removeprefix("raw.") for key in tensors if key.startswith("raw.")]
    for kind in kinds:
        raw, out = tensors[f"raw.{kind}"], tensors[f"out.{kind}"]
        images = _source(tensors, kind)[tensors[f"indices.{kind}"]].numpy()
        if kind == "flow":  # the authors' frames of flow lie on their side
            images = np.ascontiguousarray(images.swapaxes(1, 2))
        frames = Frames(images, np.arange(len(images)) / 1.0, np.arange(len(images)))
        plain = VisualSpec(height=raw.shape[2], width=raw.shape[3], scale=1.0, resampler="pillow")
        spec = replace(plain, scale=1 / 255, mean=CLIP_MEAN, std=CLIP_STD)
        for requested, (got, _), atol in ((raw, apply(plain, frames), 0.0), (out, apply(spec, frames), 1e-5)):
            close(got.transpose(0, 1), requested, atol)
        number = len(tensors["in.rgb_png"]) - 1
        assert spread(len(images), number, "borders").tolist() == tensors[f"indices.{kind}"].tolist()


def _source(tensors, kind):
    """Depth is stored in gray; every other map as a frame."""
    gray = tensors["in.gray_png"][..., None].expand(-1, -1, -1, 3)
    return gray if kind == "depth" else tensors["in.rgb_png"]


def test_frame_numbers():
    cases = read("frame_indices*.json")
    assert {case["kind"] for case in cases} == {"frames_dir", "video"}
    for case in cases:
        if case["kind"] == "frames_dir":
            total = case["num_files"] - 1
            start, stop = (int(part * total) for part in case["clip"] or (0.0, 1.0))
            count = case["n_frms"]
        else:
            total = case["num_frames"]
            seconds = case["clip_seconds"] or (0.0, total / case["fps"])
            start, stop = int(seconds[0] * case["fps"]), min(int(seconds[1] * case["fps"]), total)
            count = min(case["n_frms"], total)
            if case["clip_seconds"] is None:
                start, stop = 0, total
        assert (start + spread(count, stop - start, "borders")).tolist() == case["indices"], case


def test_clean_up():
    for case in read("prompts*.json")["text_processor"]:
        assert clean(case["input"]) == case["output"]


@pytest.mark.parametrize("case", read("prompts*.json")["prompts"], ids=lambda c: f"{c['dataset']}-{c['question_id']}")
def test_prompts(case):
    dataset = case["dataset"].replace("_", "-")
    if dataset == "sqa3d" and "question_id" not in case["annotation"]:
        dataset = "3d-llm"  # the original reads both with one class
    example = read_row(dataset, case["annotation"])
    name = layout_name(dataset, trains=case.get("split") == "train")
    layout = prompt_layout(("video",), "none", name)
    text = layout.parts[-2].text.format(
        question=example.query.text, options=layout.options.render(example.query.options)
    )
    assert text == case["qa_input"]
    assert isinstance(layout.answer, AnswerFormat)
    assert layout.answer.write(example.answer, example.query.options) == case["qa_output"]
    assert example.id == str(case["question_id"])
    assert name in DATASETS


def test_marks():
    metrics = read("metrics*.json")
    rows = metrics["sqa3d"]["results"]
    marks = [(r["question_id"].split("_")[0], legacy_sqa3d(r["pred_ans"], r["gt_ans"])) for r in rows]
    _same(by_kind(marks), metrics["sqa3d"]["metrics"], "agg_metrics")
    avqa = metrics["music_avqa"]
    for (prediction, answer), scored in zip(avqa["pairs"], avqa["scored"], strict=True):
        assert repaired_music_avqa(prediction, answer) == scored["pred_ans"]
    marks = [("all pairs", legacy_music_avqa(*pair)) for pair in avqa["pairs"]]
    assert by_kind(marks)["all"] == pytest.approx(avqa["metrics"]["acc"])
    rows = metrics["nextqa"]["results"]
    marks = [(r["qid"].split("_")[0], strict(str(r["prediction"]), str(r["target"]))) for r in rows]
    expected = {**metrics["nextqa"]["metrics"], "agg_metrics": 100 * metrics["nextqa"]["metrics"]["agg_metrics"]}
    assert expected.pop("total") == len(rows)
    _same(by_kind(marks), expected, "agg_metrics")


def _same(got, expected, whole):
    assert got["all"] == pytest.approx(expected[whole])
    kinds = {kind: value for kind, value in expected.items() if kind != whole}
    assert {kind: got.get(kind, 0.0) for kind in kinds} == pytest.approx(kinds)
