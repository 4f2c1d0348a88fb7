"""The times that a vision-language model reads are those of the frames in the Trace."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from tiny_vlms import FAMILIES, clip_at

from vidweave.pipelines.vlm.answering import Call
from vidweave.pipelines.vlm.families.qwen2_vl import rope_positions
from vidweave.pipelines.vlm.families.smolvlm import number_in_words
from vidweave.registry import VLM_FAMILIES
from vidweave.types import FrameSelection, Query

QUESTION = "What happens?"
# Family → pattern of a time in its prompt, and how far rounding may move it
PATTERNS = {
    "qwen3_vl": (r"<([\d.]+) seconds>", 0.05),
    "qwen3_5": (r"<([\d.]+) seconds>", 0.05),
    "glm46v": (r"<\|end_of_image\|>([\d.]+) seconds", 0.05),
    "glm4v": (r"<\|end_of_image\|>(\d+)", 1.0),
    "video_llama_3": (r"Time ([\d.]+)s:", 0.05),
    "molmo2": (r"([\d.]+) <frame_start>", 0.05),
    "gemma4": (r"(\d+:\d+) <\|image>", 1.0),
    "smolvlm": (r"Frame from (\d+:\d+):", 1.0),
}
WITHOUT = sorted(name for name in FAMILIES if VLM_FAMILIES.get(name).times == "none")
PICKS = {
    "irregular": (10.0, 610.0, 620.0, 1810.0, 3500.0),
    "one": (61.0,),
    "close": (0.0, 0.1, 0.2, 59.9),
}


class Picks:
    """A frame selector that chooses given times."""

    name = "picks"

    def __init__(self, seconds):
        self.seconds = seconds

    def select(self, clip, question, *, num_frames, options=(), limits=None, cancel=None):
        return FrameSelection(seconds=tuple(self.seconds), reason=self.name, notes=("picked by hand",))

    def describe(self):
        return {"selector": self.name}

    def close(self):
        """Nothing to write."""


def _seconds(text: str) -> float:
    minutes, _, seconds = text.rpartition(":")
    return 60.0 * float(minutes or 0) + float(seconds)


def _prompt_times(name: str, answer) -> list[float]:
    return [_seconds(found) for found in re.findall(PATTERNS[name][0], answer.trace.panels["prompt"])]


def test_every_family_with_times_as_text_is_checked_here():
    assert set(PATTERNS) == {name for name in FAMILIES if VLM_FAMILIES.get(name).times == "text"}
    assert set(WITHOUT) | set(PATTERNS) | {"qwen2_5_vl"} == set(FAMILIES)


@pytest.mark.parametrize("picks", ["irregular", *(pytest.param(p, marks=pytest.mark.slow) for p in ("one", "close"))])
@pytest.mark.parametrize("name", PATTERNS)
def test_chosen_times_stand_in_the_prompt(name, picks, vlm):
    chosen = PICKS[picks]
    clip = clip_at(sorted({*np.arange(0, 3600, 90.5), *chosen}), size=(16, 20))
    answer = vlm(name).ask(clip, QUESTION, num_frames=len(chosen), selector=Picks(chosen), max_new_tokens=1)
    used = [use.pts_seconds for use in answer.trace.frames]
    assert used == list(chosen)
    assert {use.why for use in answer.trace.frames} == {"picks"}
    assert "picked by hand" in answer.trace.notes
    written = _prompt_times(name, answer)
    assert len(written) == len(used)
    rounding = PATTERNS[name][1]
    assert all(abs(a - b) <= rounding + 1e-9 for a, b in zip(written, used, strict=True))
    (times,) = answer.trace.panels["times"]
    assert times["model"] == pytest.approx(written)
    assert times["frames"] == pytest.approx(used, abs=1e-3)
    assert times["reach_the_model_as"] == "text"


@pytest.mark.parametrize("name", PATTERNS)
def test_times_of_a_variable_frame_rate_and_of_an_odd_number(name, vlm, uneven):
    answer = vlm(name).ask(uneven, QUESTION, num_frames=5, max_new_tokens=1)
    used = [use.pts_seconds for use in answer.trace.frames]
    assert len(set(np.diff(used).round(3))) > 1
    assert all(abs(a - b) <= PATTERNS[name][1] for a, b in zip(_prompt_times(name, answer), used, strict=True))


@pytest.mark.parametrize(("name", "expected"), [("qwen3_vl", [0.2, 1.2, 2.0]), ("glm46v", [0.0, 1.0, 2.0])])
def test_dense_frames_keep_the_familys_pairing(name, expected, vlm):
    clip = clip_at([0.0, 0.5, 1.0, 1.5, 2.0])
    dense = vlm(name).ask(clip, QUESTION, fps=2.0, max_new_tokens=1)
    assert _prompt_times(name, dense) == expected
    chosen = vlm(name).ask(clip, QUESTION, num_frames=5, max_new_tokens=1)
    assert len(_prompt_times(name, chosen)) == 5
    assert any("fills a patch of 2 frames" in note for note in chosen.trace.notes)
    assert not any("fills a patch" in note for note in dense.trace.notes)


def _positions(pipe, clip, **call):
    prepared = pipe.engine.prepare(Query.about(clip, QUESTION), Call(default_frames=16, **call))
    is_video = prepared.inputs["mm_token_type_ids"][0] == 2
    return prepared, prepared.positions[1, 0][is_video]


def test_qwen2_5_vl_reads_irregular_times_as_positions(vlm):
    chosen = (10.0, 12.5, 40.0)
    _, places = _positions(vlm("qwen2_5_vl"), clip_at([0.0, *chosen, 50.0]), num_frames=3, selector=Picks(chosen))
    steps = places.unique_consecutive()
    assert (steps - steps[0]).tolist() == [0, 5, 60]  # two positions per second


@pytest.mark.parametrize("call", [{"num_frames": 4}, {"fps": 1.0}])
def test_qwen2_5_vl_on_an_even_clip_equals_transformers(vlm, call):
    pipe = vlm("qwen2_5_vl")
    prepared, _ = _positions(pipe, clip_at([0.0, 1.0, 2.0, 3.0]), **call)
    interval = 2.0 if "fps" in call else 1.0
    expected = rope_positions(pipe.model, prepared.inputs, second_per_grid_ts=torch.tensor([interval]))
    assert torch.equal(prepared.positions, expected)


@pytest.mark.parametrize("name", WITHOUT)
def test_families_without_times_say_so_and_can_get_them_as_text(name, vlm, uneven):
    plain = vlm(name).ask(uneven, QUESTION, num_frames=3, max_new_tokens=1)
    assert any("not their times; times='text'" in note for note in plain.trace.notes)
    told = vlm(name).ask(uneven, QUESTION, num_frames=3, times="text", max_new_tokens=1)
    assert not any("not their times" in note for note in told.trace.notes)
    listed = re.search(r"were taken at (.*)\.\n", told.trace.panels["prompt"])
    assert listed is not None
    written = [float(part.removesuffix(" s")) for part in listed[1].split(", ")]
    assert written == pytest.approx([use.pts_seconds for use in told.trace.frames], abs=0.05)


def test_the_span_keeps_the_times_of_the_file(vlm, uneven):
    answer = vlm("qwen3_vl").ask(uneven, QUESTION, start_seconds=60.0, end_seconds=200.0, max_new_tokens=1)
    assert [use.pts_seconds for use in answer.trace.frames] == [61.5, 62.0, 125.75]
    assert _prompt_times("qwen3_vl", answer) == [61.5, 62.0, 125.8]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (12, "twelve"),
        (64, "sixty-four"),
        (90, "ninety"),
        (100, "one hundred"),
        (121, "one hundred and twenty-one"),
        (1001, "one thousand and one"),
        (2345, "two thousand, three hundred and forty-five"),
    ],
)
def test_numbers_in_words(number, words):
    assert number_in_words(number) == words
