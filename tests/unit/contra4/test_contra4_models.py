"""A real (tiny, random) model of vidweave on Contra4: several labelled scenes in one prompt, of different modalities."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.contra4.contra4_media import clip_of
from tests.unit.contra4.contra4_questions import question
from tests.unit.model.tiny_models import tiny_config, with_processor
from vidweave.contra4.baselines.apart import SceneByScene
from vidweave.contra4.evaluate import Evaluation, evaluate
from vidweave.contra4.task import Contra4Task
from vidweave.evaluation.predictions import read_predictions
from vidweave.language.layout import AnswerFormat, EachScene, OptionsFormat, Slot, Special, TemplateLayout, Text
from vidweave.model.config import StreamConfig
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import FrameNeed

LAYOUT = TemplateLayout(
    parts=(
        Special(token="bos", if_any=True),
        EachScene(
            parts=(Text(text="{label} : "), Slot(block="video", optional=True), Slot(block="image", optional=True))
        ),
        Text(text="{question}{options}"),
    ),
    options=OptionsFormat(prefix=" Options : ", item="( {option} )"),
    answer=AnswerFormat(eos=True),
)
FRAMES = {"video": 3, "image": 1}  # one encoder, a stream and a port for each
SEEN = [question(n, scenes=4, answer=2 + n % 2).reordered([2, 3]) for n in range(5)]  # an image and a video each


@pytest.fixture(scope="module", params=["causal", "seq2seq"])
def model(request):
    plain = tiny_config(request.param).parse()
    port = replace(plain.connector.ports["video"], absent="skip")
    streams = {m: StreamConfig(encoder="rgb", modalities=(m,), need=FrameNeed(num_frames=n)) for m, n in FRAMES.items()}
    connector = replace(plain.connector, ports=dict.fromkeys(FRAMES, port))
    return SlotPipeline(with_processor(tiny_config(request.param, layout=LAYOUT, streams=streams, connector=connector)))


def test_all_scenes_stand_in_one_prompt_and_the_labels_are_scored(model, tmp_path):
    what = Evaluation(questions=SEEN, locate=clip_of, controls=True, orders=True, batch_size=3, progress=False)
    result = evaluate(model, what, tmp_path / "r.jsonl")
    assert result["overall"]["num_items"] == 5
    assert result["choices"].keys() <= {"A", "B"}  # scored options are always readable
    assert result["manifest"]["model"]["weights"] == model.describe()["weights"]
    assert "<image>" in result["manifest"]["prompt"]
    assert "<video>" in result["manifest"]["prompt"]
    _, records = read_predictions(tmp_path / "r.jsonl")
    assert all(None not in record.scores and len(record.scores) == 2 for record in records)
    assert {use["stream"] for record in records for use in record.frames} == {"video", "image"}
    _, blank = read_predictions(tmp_path / "r.text_only.jsonl")
    assert [r.scores for r in blank] != [r.scores for r in records]  # the model does look


def test_batched_is_one_by_one(model):
    queries = [Contra4Task(SEEN, locate=clip_of).example(i).query for i in range(len(SEEN))]
    together = model.answer(queries)
    for query, answer in zip(queries, together, strict=True):
        (alone,) = model.answer([query])
        assert [o.text for o in alone.options] == [o.text for o in answer.options]
        assert [o.score for o in alone.options] == pytest.approx([o.score for o in answer.options], abs=1e-4)


def test_the_same_model_looks_at_scenes_one_by_one(model):
    queries = [Contra4Task(SEEN, locate=clip_of).example(i).query for i in range(len(SEEN))]
    answers = SceneByScene(model=model).answer(queries, trace=False)
    assert all({o.text for o in a.options} == {"Scene A", "Scene B"} for a in answers)
