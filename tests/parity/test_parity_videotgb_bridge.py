"""VideoTGB's bridge against recorded outputs of its original code, at the tolerances of the folder's README."""

import pytest
import torch
from goldens import cases, close, golden_files, load, load_only
from videotgb_cases import SYSTEM, below, bridge, motion_of, steps_mask

from vidweave.nn.rotary import rotate, sinusoid_table
from vidweave.nn.span_rounding import round_spans, segment_places

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def test_rotary_positions():
    for case in cases(load_only(SYSTEM, "rope*.safetensors")).values():
        table, x = case["table"], case["x"]
        close(sinusoid_table(*table.shape), table, **CLOSE)
        close(rotate(x, table), case["apply_rope"], **CLOSE)
        close(rotate(x, table), case["self_q"], **CLOSE)
        close(rotate(x.flip(0), table), case["self_k"], **CLOSE)


@pytest.mark.parametrize("file", golden_files(SYSTEM, "tgb_encoder*.safetensors"), ids=lambda f: f.stem)
def test_bridge(file):
    case = load(file)
    weights = below(case, "w.")
    motion, mask = motion_of(case), steps_mask(case["in.flow_mask"])
    ids, ids_mask = case["in.text_ids"], case["in.text_mask"]
    tokens = case["in.flow_mask"].bool()
    modes = sorted({key.split(".")[1] for key in case if key.endswith(".span_logits")})
    assert modes
    for mode in modes:
        made = bridge(weights, mode=mode)
        with torch.no_grad():
            close(made.motion(motion, mask)[tokens], case["out.video_embed"][tokens], **CLOSE)
            close(made.words(ids), case["out.text_embed"], **CLOSE)
            states = made.states(motion, mask, ids, ids_mask)
            close(states[-1][tokens], case[f"out.{mode}.sequence_output"][tokens], **CLOSE)
            logits = made(motion, mask, ids, ids_mask)
            close(logits[mask], case[f"out.{mode}.span_logits"][mask], **CLOSE)
        for index, expected in sorted(
            (int(key.rsplit(".", 1)[1]), value) for key, value in case.items() if key.startswith(f"out.{mode}.hidden.")
        ):
            close(states[index][tokens], expected[tokens], **CLOSE)


@pytest.mark.parametrize("file", golden_files(SYSTEM, "tgb_encoder*.safetensors"), ids=lambda f: f.stem)
def test_pooled_vectors_give_the_same(file):
    case = load(file)
    made = bridge(below(case, "w."))
    motion, mask = motion_of(case), steps_mask(case["in.flow_mask"])
    tokens = case["in.flow_mask"].bool()
    with torch.no_grad():
        vectors = made.motion.spatial @ motion
        close(made.motion.pooled()(vectors[:, :, None], mask)[tokens], case["out.video_embed"][tokens], **CLOSE)


# Code path → how many steps it thinks there are, and its rounding (spec 2.6)
PATHS = {
    "sf_train": ("own", "ends"),
    "sf_blip2_train": ("own", "ends_inclusive"),
    "sf_blip2_eval": ("own", "ends"),
    "sf_small_train": ("frames + 2", "share"),
    "video_only_train": ("frames + 2", "share"),
    "eval_instructblip": ("own", "share"),
    "eval_blip2": ("own", "ends"),
    "demo_instructblip": ("three", "share"),
    "demo_blip2": ("frames", "share"),
    "uniform_baseline": None,
}


def test_spans_to_frames_of_every_code_path():
    case = load_only(SYSTEM, "frame_selection*.safetensors")
    variants = {key.removeprefix("out."): value for key, value in case.items() if key.startswith("out.")}
    assert set(variants) <= set(PATHS)
    for row in range(len(case["in.nframe"])):
        frames, own, k = (int(case[f"in.{name}"][row]) for name in ("num_frames", "flow_len", "nframe"))
        spans = list(zip(case["in.start_idx"][row].tolist(), case["in.end_idx"][row].tolist(), strict=True))
        for name, expected in variants.items():
            if PATHS[name] is None:
                got = round_spans([], num_steps=1, num_frames=frames, k=k, rounding="ends")
            else:
                count, rounding = PATHS[name]
                steps = {"own": own, "frames": frames, "frames + 2": frames + 2, "three": 3}[count]
                got = round_spans(spans, num_steps=steps, num_frames=frames, k=k, rounding=rounding)
            assert got == expected[row][:k].tolist(), (name, row, spans, frames, own)


def test_uniform_places():
    case = load_only(SYSTEM, "sample_frames*.safetensors")
    rules = {"mid": "middle", "fixstart1": "second"}
    result = {key: value for key, value in case.items() if key != "video_len"}
    assert result
    for key, value in result.items():
        rule, _, count = key.partition(".n")
        for length, expected in zip(case["video_len"].tolist(), value.tolist(), strict=True):
            requested = [place for place in expected if place >= 0]
            assert segment_places(length, int(count), rules[rule]) == requested, (key, length)
