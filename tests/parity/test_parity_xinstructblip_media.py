"""X-InstructBLIP's processors and real token ids against recorded outputs of the original code."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from goldens import close, golden_files
from xinstructblip_cases import SYSTEM, tensors

from vidweave.errors import MediaError
from vidweave.media.audio import read_audio
from vidweave.media.preprocess import apply
from vidweave.systems.xinstructblip.frames import head_tail, train_head_tail
from vidweave.systems.xinstructblip.keys import NAMES
from vidweave.systems.xinstructblip.preset import build
from vidweave.systems.xinstructblip.prompts import CUES, PROMPTS
from vidweave.types import Clip, Frames, PointCloud, PointSpec, Query, Scene, VisualSpec, Waveform


def facts():
    (file,) = golden_files(SYSTEM, "processors.json")
    return json.loads(file.read_text())


def spec_of(encoder, modality, prompt="released", **options):
    return build(prompt=PROMPTS[prompt], **options).parse().encoders[encoder].specs[modality]


def frames_of(pictures):
    count = len(pictures)
    return Frames(values=pictures, pts_seconds=np.arange(float(count)), indices=np.arange(count))


# ---- video


def test_frames_of_evaluation():
    for row in facts()["head_tail"]["rows"]:
        asked, got = head_tail(row["frames"], row["fps"], row["num_frames"])
        assert asked == row["asked"]
        expected = row["asked"][: row["got"]]
        assert got == expected + [expected[-1]] * (row["num_frames"] - row["got"])


def test_frames_of_training():
    recorded = facts()["train_head_tail"]
    draw = random.Random(int("".join(filter(str.isdigit, recorded["seed"]))))
    for row in recorded["rows"]:
        got = train_head_tail(row["frames"], row["num_frames"], draw)
        asked = row["indices"]
        assert got == asked + [asked[-1]] * (row["num_frames"] - len(asked))


def test_frames_are_read_as_recorded():
    """By the rule of the file: blue counts frames, green and red are ramps."""
    v = facts()["video"]
    _, indices = head_tail(v["frames"], v["fps"], v["n_frms"])
    rows, columns = np.mgrid[: v["size"][0], : v["size"][1]]
    images = [np.stack([11 * rows % 256, 7 * columns % 256, np.full(rows.shape, i % 256)], -1) for i in indices]
    frames, side = frames_of(np.stack(images).astype(np.uint8)), v["image_size"]
    read = tensors("processors")["video.clip_bgr_uint8_as_float"]
    as_read = VisualSpec(
        height=read.shape[2], width=read.shape[3], resize="none", read_short_side=side, channels="bgr", scale=1.0
    )
    close(apply(as_read, frames)[0][: read.shape[1]], read.transpose(0, 1), 1e-5)
    spec = spec_of("vision", "video", legacy_media=True)
    assert spec.read_short_side == spec.height
    seen, _ = apply(replace(spec, height=side, width=side, read_short_side=side), frames)
    close(seen, tensors("processors")["video.processed"].transpose(0, 1), 1e-5)


# ---- image


@pytest.mark.parametrize(("name", "prompt"), [("clip_eval", "released"), ("blip_eval", "contra4")])
def test_images(name, prompt):
    expected = tensors("processors")[f"image.{name}"]
    spec = replace(spec_of("vision", "image", prompt), height=expected.shape[1], width=expected.shape[2])
    seen, _ = apply(spec, frames_of(tensors("processors")["image.raw"].numpy()[None]))
    close(seen[0], expected, 1e-5)


# ---- audio


def sounds():
    names = [key.removeprefix("audio.waveform.") for key in tensors("processors") if key.startswith("audio.waveform.")]
    return [(mode, name) for mode in ("train", "eval") for name in names]


@pytest.mark.parametrize(("mode", "name"), sounds())
def test_audio(mode, name):
    """Two channels are averaged, of others the original hears the first alone; training hears the first windows."""
    a, channels = facts()["audio"], tensors("processors")[f"audio.waveform.{name}"]
    samples = channels.mean(0) if len(channels) == 2 else channels[0]
    spec = spec_of("audio", "audio", legacy_media=mode == "eval")
    spec = replace(spec, window_seconds=a["frame_length"] * spec.hop_seconds, mel_bins=a["mel"])
    if mode == "train":
        spec = replace(spec, max_windows=a["n_frames"], coverage="head")
    seen, _ = apply(spec, Waveform(samples.numpy(), spec.sample_rate))
    close(seen, tensors("processors")[f"audio.{mode}.{name}"], 1e-3)


def test_audio_that_cannot_be_read_is_no_silence(tmp_path):
    for key in (f"audio.{mode}.bad" for mode in ("train", "eval")):
        silence = tensors("processors")[key]  # what the original answers from
        assert not silence.any()
        assert len(silence) == facts()["audio"]["n_frames"]
    file = tmp_path / "bad.wav"
    file.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(MediaError):
        read_audio(file, sample_rate=16_000)


# ---- points


def test_points():
    golden, first = tensors("processors"), facts()["pc"]["fps_start"]
    raw = golden["pc.raw"].numpy()
    spec = replace(spec_of("points", "point_cloud"), num_points=len(raw))
    placed = apply(spec, PointCloud(raw))[0][0]
    close(placed, golden["pc.normalised"], 1e-5)
    for name in ("first", "second"):  # the original shuffles, which changes no answer
        near = torch.cdist(golden[f"pc.equal.{name}"].double(), placed.double()).min(1)
        assert sorted(near.indices.tolist()) == list(range(len(raw)))
        assert near.values.max() < 1e-5
    order = [first, *(i for i in range(len(raw)) if i != first)]  # the first point is where ours begins
    few = replace(spec, num_points=len(golden["pc.fps"]))
    close(apply(few, PointCloud(raw[order]))[0][0], golden["pc.fps"], 1e-5)


def test_too_few_points_repeat():
    assert "IndexError" in facts()["pc"]["fewer_points_than_npoints"]
    cloud = PointCloud(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    seen = apply(PointSpec(num_points=7, sampling="farthest"), cloud)[0][0]
    assert torch.equal(seen[5:], seen[:2])


# ---- real ids


class Recorded:
    """Vicuna's tokenizer, of which the recorded texts are known; another text is an error."""

    bos_token_id = eos_token_id = 2
    all_special_tokens = ("</s>",)

    def __init__(self, groups):
        self.known = {}
        for entry in groups:
            ids = entry["ids"]
            assert len(ids) == len(entry["pieces"])
            if entry["add_special_tokens"]:
                assert ids[0] == self.bos_token_id
                ids = ids[1:]
            self.known[entry["text"]] = ids

    def __call__(self, text, **_):
        return {"input_ids": self.known[text]}


def real_words():
    (file,) = golden_files(SYSTEM, "real_token_ids.json")
    data = json.loads(file.read_text())
    entries = [data["prefix"], data["space"], *(cue for cues in data["cues"].values() for cue in cues)]
    for name in ("scene_labels", "enumerate_ab", "contra4_text", "caption_text", "answers"):
        entries += data[name] if isinstance(data[name], list) else [data[name]]
    return data, Recorded(entries)


def plan(prompt, query, modalities):
    _, words = real_words()
    layout = build(prompt=PROMPTS[prompt]).parse().layout
    groups = {(NAMES[theirs], 0, scene): 1 for scene, theirs in enumerate(modalities)}
    return layout.plan([query], words, groups).ids[0].tolist()


def test_real_ids_of_contra4():
    data, _words = real_words()
    texts = data["contra4_text"]
    assert texts
    space = data["space"]["ids"]
    for entry in texts:
        count = entry["text"].count("Scene ")
        labels = [f"Scene {letter}" for letter in "ABCDEFGH"[:count]]
        modalities = [list(NAMES)[i % len(NAMES)] for i in range(count)]
        question = entry["text"].removeprefix("Question: ").partition("Choose from:")[0]
        query = Query(question, tuple(Scene(label, Clip("unused.mp4")) for label in labels))
        expected = list(data["prefix"]["ids"])
        for number, theirs in enumerate(modalities):
            cue = next(cue for cue in data["cues"][theirs] if not cue["text"].startswith(" "))
            expected += [*data["scene_labels"][number]["ids"], *cue["ids"], -1, *space]
        assert plan("contra4", query, modalities) == expected + entry["ids"]


def test_real_ids_of_captions():
    data, _ = real_words()
    entry = data["caption_text"]
    question = entry["text"].removesuffix("\nASSISTANT:")
    cue = next(cue for cue in data["cues"]["pc"] if not cue["text"].startswith(" "))
    expected = [*data["prefix"]["ids"], *cue["ids"][1:], -1, *data["space"]["ids"], *entry["ids"]]
    assert plan("caption", Query.about("unused.mp4", question), ["pc"]) == expected


def test_real_ids_of_cues_and_answers():
    data, words = real_words()
    for theirs, (plain, stripped) in data["cues"].items():
        assert plain["text"] == CUES[NAMES[theirs]]
        assert stripped["text"] == CUES[NAMES[theirs]].lstrip()
    layout = build().parse().layout
    for entry in data["answers"]:
        ids = entry["ids"][1:] if entry["add_special_tokens"] else entry["ids"]
        text = entry["text"].removesuffix("</s>")
        words.known[text] = ids if text == entry["text"] else ids[:-1]
        assert layout.answer_ids(text, words) == [*words.known[text], 2]
