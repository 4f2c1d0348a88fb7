"""Leave-one-out: the probability of an answer without each modality, and its panels."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, with_processor

from vidweave.cli.audit import audit_lines
from vidweave.model.growth import add_modality, parameters_of
from vidweave.pipelines.attribution import leave_one_out
from vidweave.pipelines.slot import SlotPipeline
from vidweave.report.attribution import attribution_panel, gates_panel
from vidweave.report.context import PanelContext
from vidweave.types import Clip, Frames, Query, Trace

QUESTION = "what colour is the circle ?"


def frames(seed):
    values = np.random.default_rng(seed).integers(0, 255, (4, 20, 20, 3), dtype=np.uint8)
    return Frames(values, np.arange(4) / 5, np.arange(4))


@pytest.fixture(params=["causal", "seq2seq"])
def model(request):
    grown = add_modality(with_processor(tiny_config(request.param)), "depth")
    with torch.no_grad():
        for name in parameters_of(grown, "depth"):
            grown.get_parameter(name).normal_(std=0.3)
    return grown


def test_entries_are_the_probabilities_of_those_queries(model):
    options = ["red", "blue"]
    query = Query.about(Clip(video=frames(0), depth=frames(1)), QUESTION, options)
    answer = SlotPipeline(model).answer([query])[0]
    whole, video, depth = leave_one_out(SlotPipeline(model), query, answer)
    assert video == {"modality": "video", "needed": True}
    alone = SlotPipeline(model).answer([Query.about(Clip(video=frames(0)), QUESTION, options)])[0]
    scores = {option.text: option.score for option in alone.options}
    expected = torch.tensor([scores[option] for option in options]).softmax(0)[options.index(answer.text)]
    assert depth["probability"] == pytest.approx(float(expected), abs=1e-5)
    assert depth["change"] == pytest.approx(depth["probability"] - whole["probability"])


def test_free_answers_have_a_probability_too(model):
    query = Query.about(Clip(video=frames(0), depth=frames(1)), QUESTION)
    answer = SlotPipeline(model).answer([query])[0]
    whole, _, depth = leave_one_out(SlotPipeline(model), query, answer)
    assert 0 < whole["probability"] <= 1
    assert 0 < depth["probability"] <= 1


def test_panels_and_lines(model):
    query = Query.about(Clip(video=frames(0), depth=frames(1)), QUESTION, ["red", "blue"])
    answer = SlotPipeline(model).answer([query])[0]
    context = PanelContext(answer.trace, (0.0, 1.0))
    assert attribution_panel(leave_one_out(SlotPipeline(model), query, answer), context) is not None
    assert gates_panel(answer.trace.panels["gates"], context) is not None
    assert attribution_panel([{"modality": None, "probability": 1.0}], context) is None
    lines = audit_lines(answer.trace)
    assert lines[0].startswith("tokens: video ")
    assert "depth 100%" in lines[1]
    alone = audit_lines(SlotPipeline(model).ask(Clip(video=frames(0)), QUESTION).trace)
    assert alone[-1] == "not given: depth"
    assert audit_lines(Trace(tokens={"video": 3})) == []
    assert audit_lines(None) == []
