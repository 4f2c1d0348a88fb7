"""Answers of vision-language models equal those of transformers' own class on the same inputs."""

from __future__ import annotations

import pytest
import torch
from tiny_vlms import FAMILIES, clip_at, quick_first

import vidweave
from vidweave.pipelines.vlm.answering import Call
from vidweave.pipelines.vlm.scoring import read_prompt
from vidweave.testing import check_pipeline
from vidweave.types import Clip, Query, Scene

QUESTION, OPTIONS = "Which colour is it?", ("red", "a dark blue", "green")
TOLERANCE = 2e-5  # of log-probabilities in float32, through another order of sums


def _prepared(pipe, clip, options=()):
    call = Call(default_frames=4)
    return pipe.engine.prepare(Query.about(clip, QUESTION, options), call), call


@pytest.mark.parametrize("name", quick_first(FAMILIES))
def test_every_family_fulfils_the_contract(name, vlm, uneven):
    check_pipeline(vlm(name), uneven, QUESTION, OPTIONS, max_new_tokens=6)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_and_text_equal_transformers(name, vlm):
    pipe = vlm(name)
    clip = clip_at([0.0, 1.0, 2.0, 3.0])
    prepared, _ = _prepared(pipe, clip)
    own_interval = {"second_per_grid_ts": torch.tensor([1.0])} if name == "qwen2_5_vl" else {}
    with torch.no_grad():
        expected = pipe.model(**prepared.inputs, **own_interval).logits[0, -1]
    got = read_prompt(pipe.model, prepared.inputs, prepared.positions).logits
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    length = prepared.prompt.ids.shape[1]
    with torch.no_grad():
        ids = pipe.model.generate(**prepared.inputs, **own_interval, max_new_tokens=8, do_sample=False)
    ids = ids[:, length:] if ids.shape[1] > 8 else ids
    assert pipe.ask(clip, QUESTION, num_frames=4, max_new_tokens=8).text == pipe.engine.writer.decode(ids)[0]


@pytest.mark.parametrize("choices", ["texts", pytest.param("letters", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FAMILIES)
def test_option_scores_equal_a_full_forward_per_option(name, choices, vlm_folder, uneven):
    pipe = vidweave.load(vlm_folder(name), choices=choices)
    prepared, _ = _prepared(pipe, uneven, OPTIONS)
    ids = pipe.engine.writer.option_ids(prepared.prompt, OPTIONS)
    scores = {score.text: score.score for score in pipe.ask(uneven, QUESTION, options=OPTIONS, num_frames=4).options}
    for option, tokens in zip(OPTIONS, ids, strict=True):
        assert scores[option] == pytest.approx(_full_score(pipe, prepared, tokens), abs=TOLERANCE * len(tokens))


def _full_score(pipe, prepared, tokens):
    """Log-probability of `tokens` by one pass over prompt and option together."""
    more = torch.tensor([tokens])
    inputs = dict(prepared.inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more], 1)
    for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.full_like(more, name == "attention_mask")], 1)
    blocks = [part.block for part in prepared.parts]
    positions = pipe.engine.family.positions(pipe.model, inputs, blocks)
    places = {} if positions is None else {"position_ids": positions}
    with torch.no_grad():
        logits = pipe.model(**inputs, **places).logits[0, -len(tokens) - 1 : -1].float()
    return float(logits.log_softmax(-1).gather(1, more[0][:, None]).sum())


@pytest.mark.parametrize("name", quick_first(sorted(set(FAMILIES) - {"molmo2"})))  # which reads one video per prompt
def test_scenes_and_stills_go_into_one_prompt(name, vlm, uneven):
    still = clip_at([0.0], seed=3)["video"]
    scenes = (Scene("Scene A", Clip(clip_at([0.0, 0.5, 2.5, 7.0], seed=1)["video"])), Scene("Scene B", uneven))
    pictured = (*scenes[:1], Scene("Scene C", Clip(image=still)))
    pipe = vlm(name)
    (answer,) = pipe.answer(Query("Which scene is darker?", scenes, ("Scene A", "Scene B")), num_frames=4)
    prompt = answer.trace.panels["prompt"]
    assert prompt.index("Scene A:") < prompt.index("Scene B:") < prompt.index("Which scene")
    assert [use.scene for use in answer.trace.frames] == ["Scene A"] * 4 + ["Scene B"] * 4
    if pipe.engine.family.reads_stills:
        (answer,) = pipe.answer(Query("Which?", pictured, ("Scene A", "Scene C")), num_frames=2)
        assert answer.trace.tokens["image"] > 0
    else:
        answer = pipe.ask(Clip(image=still), "What is this?", max_new_tokens=2)
        assert answer.trace.tokens["image"] > 0
        assert any("a still goes in as a video of one frame" in note for note in answer.trace.notes)
