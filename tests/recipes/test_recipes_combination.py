"""Selector, encoders, connector and language model of four papers in one model: it trains, answers and is read back."""

import pytest
import torch

import vidweave
from vidweave.pipelines.slot import SlotPipeline
from vidweave.training import recipe_run, train


def test_the_four_slots_compose(tmp_path):
    run = recipe_run("combination", ["steps=2", "batch_size=3"])
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    result = train(run, tmp_path / "run", has_progress=False, has_events=False)
    moved = {n for n, v in run.model.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.split(".")[0] for name in moved} == {"connector", "language_model"}
    for part in ("ports.sound.adapter", "ports.coarse", "ports.fine", "trunks.qformer"):
        assert any(name.startswith(f"connector.{part}") for name in moved), part

    module = __import__("sys").modules[run.stages[0].collate.func.__module__]
    asked = [module.clip_and_question(index)[0] for index in range(3)]
    model = vidweave.load(result.finish["model"]).model
    together = SlotPipeline(model).answer(asked, max_new_tokens=3)
    alone = [SlotPipeline(model).answer([query], max_new_tokens=3)[0] for query in asked]
    assert [a.text for a in together] == [a.text for a in alone]
    trace = alone[0].trace
    assert {use.why for use in trace.frames if use.stream in ("coarse", "fine")} == {"grounding"}
    weights = trace.panels["encoder_weights"][0]["weights"]
    assert list(weights) == ["coarse", "fine"]
    assert sum(weights.values()) == pytest.approx(1)
    memories = {(m["stream"], m["segments"]) for m in trace.panels["memory"]}
    assert {("coarse", 4), ("fine", 4)} <= memories
    assert trace.tokens["video"] == trace.tokens["sound"] == 4


def test_without_audio_it_still_answers():
    run = recipe_run("combination", ["steps=1"])
    module = __import__("sys").modules[run.stages[0].collate.func.__module__]
    query, _ = module.clip_and_question(0)
    clip = query.scenes[0].clip
    answer = SlotPipeline(run.model.eval()).ask(
        vidweave.Clip(video=clip["video"]), "How many objects are there?", max_new_tokens=2
    )
    assert "sound" not in answer.trace.tokens
