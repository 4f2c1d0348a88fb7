"""Ways to answer: captions, an endpoint, scene by scene."""

from __future__ import annotations

import base64
import io
import json
import wave

import numpy as np
import pytest
from PIL import Image

from tests.unit.contra4.contra4_media import Brightest, clip_of
from tests.unit.contra4.contra4_questions import question
from vidweave.contra4.baselines.apart import Probe, SceneByScene
from vidweave.contra4.baselines.captions import CaptionAnswerer, read_captions
from vidweave.contra4.baselines.endpoint import EndpointAnswerer
from vidweave.contra4.baselines.toy_probes import asks_toy_world
from vidweave.contra4.task import Contra4Task
from vidweave.engines import Completion, ScriptedEngine
from vidweave.errors import AnnotationError, EngineError, ModalityError, QueryError
from vidweave.media import write_video
from vidweave.toyworld.questions import QUESTION_TYPES
from vidweave.toyworld.questions import question as toy_question
from vidweave.toyworld.scene import sample_scene
from vidweave.types import Answer, Answerer, Clip, Frames, Query, Scene


def queries(*questions, **arguments) -> list[Query]:
    task = Contra4Task(questions, **arguments)
    return [task.example(i).query for i in range(len(questions))]


class Recorder(ScriptedEngine):
    def __init__(self, reply: str = "Scene B. because\nand more") -> None:
        super().__init__(self._say, "recorder")
        self.said, self.asked = reply, []

    def _say(self, request) -> str:
        self.asked.append(request)
        return self.said

    def complete(self, requests):
        return [Completion(text=self._say(request)) for request in requests]


@pytest.mark.parametrize(
    "answerer",
    [CaptionAnswerer(engine=Recorder()), EndpointAnswerer(engine=Recorder()), SceneByScene(model=Brightest())],
)
def test_all_of_them_are_answerers_that_say_what_they_are(answerer) -> None:
    assert isinstance(answerer, Answerer)
    json.dumps(answerer.describe())


# -- captions


def test_a_language_model_reads_question_and_captions_and_its_first_line_counts() -> None:
    engine = Recorder()
    (answer,) = CaptionAnswerer(engine=engine).answer(queries(question(scenes=2)))
    (message,) = engine.asked[0].prompt
    assert message["content"].endswith('Question: Which? Choices:Scene A. "thing "\nScene B. "thing x" Answer:')
    assert answer.text == "Scene B. because"
    assert answer.trace is not None
    assert "thing x" in answer.trace.panels["prompt"]


def test_a_base_model_continues_the_published_text() -> None:
    engine = Recorder(" B: thing</s> x")
    (answer,) = CaptionAnswerer(engine=engine, style="text").answer(queries(question(scenes=2)))
    assert engine.asked[0].prompt == (
        "<s>Answer the question Which? by selecting one of the following options: "
        "Option A: thing , Option B: thing x. Answer: Option"
    )
    assert answer.text == "B: thing"
    assert (engine.asked[0].sampling.temperature, engine.asked[0].sampling.max_tokens) == (0.3, 30)


def test_an_engine_that_fails_leaves_an_empty_answer_with_the_reason() -> None:
    (answer,) = CaptionAnswerer(engine=Failing(False)).answer(queries(question()))
    assert (answer.text, answer.trace.notes) == ("", ["no answer: it fails"])
    one, other = CaptionAnswerer(engine=Failing(False, True)).answer(queries(question(0), question(1)))
    assert one.text == other.text == ""


def test_a_server_that_has_gone_is_no_wrong_answer() -> None:
    with pytest.raises(EngineError, match="all 2 requests failed, the first with: it fails; run again to resume"):
        CaptionAnswerer(engine=Failing(True, True)).answer(queries(question(0), question(1)))


class Failing(ScriptedEngine):
    """Fails each request, in a way that may pass or in one that does not."""

    def __init__(self, *may_pass: bool) -> None:
        super().__init__(lambda request: "", "failing")
        self.may_pass = may_pass

    def complete(self, requests):
        return [Completion(text="", error="it fails", may_pass=passes) for passes in self.may_pass]


def test_captions_are_read_from_a_file(tmp_path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text(
        '{"source": "s", "id": 7, "caption": "one"}\n{"source": "s", "id": "x", "caption": ["two", "other"]}\n'
    )
    assert read_captions(path) == {("s", "7"): "one", ("s", "x"): "two"}
    path.write_text('{"source": "s", "id": 7}\n')
    with pytest.raises(AnnotationError, match="a caption needs 'id' and 'caption'"):
        read_captions(path)


def test_what_the_caption_baseline_cannot_use_is_refused() -> None:
    with pytest.raises(QueryError, match="0 captions for 1 scenes"):
        CaptionAnswerer(engine=Recorder()).answer([Query.about("a.mp4", "?")])
    with pytest.raises(QueryError, match="num_frames would have no effect"):
        CaptionAnswerer(engine=Recorder()).answer(queries(question()), num_frames=3)


# -- an endpoint


def sent(engine) -> list[dict]:
    (message,) = engine.asked[0].prompt
    return message["content"]


def test_every_scene_stands_behind_its_own_label() -> None:
    engine = Recorder()
    asked = question(scenes=4, answer=3)
    shown = asked.reordered([2, 0, 3])
    EndpointAnswerer(engine=engine, num_frames=2).answer(queries(shown, locate=clip_of))
    info = [part.get("text", part["type"]) for part in sent(engine)]
    assert info == [
        "Scene A: ", "image_url", "Scene B: ", "input_audio", "Scene C: ", "image_url", "image_url",
        "Which? Choose from: Scene A, Scene B, Scene C", "Answer:",
    ]  # fmt: skip


def test_media_arrive_as_they_are() -> None:
    engine = Recorder()
    shown = question(scenes=4, answer=2).reordered([2, 0])
    EndpointAnswerer(engine=engine).answer(queries(shown, locate=clip_of))
    _, frame, _, audio, *_ = sent(engine)
    kind, data = frame["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    image, (clip, *_) = (
        Image.open(io.BytesIO(base64.b64decode(data))),
        [s.clip for s in queries(shown, locate=clip_of)[0].scenes],
    )
    assert image.size == (14, 12)
    assert abs(int(np.asarray(image).mean()) - int(clip["image"].values.mean())) <= 2
    with wave.open(io.BytesIO(base64.b64decode(audio["input_audio"]["data"]))) as wav:
        assert (wav.getframerate(), wav.getnchannels()) == (16_000, 1)


def test_a_video_file_can_be_sent_whole(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", Frames.from_array(np.zeros((4, 32, 48, 3), np.uint8), fps=2))
    engine = Recorder()
    query = Query("Which?", (Scene("Scene A", Clip(str(path))), Scene("Scene B", Clip(str(path)))))
    EndpointAnswerer(engine=engine, video="file").answer([query])
    part = sent(engine)[1]
    assert base64.b64decode(part["video_url"]["url"].split(",")[1]) == path.read_bytes()
    with pytest.raises(QueryError, match="only a whole video file can be sent as a file"):
        EndpointAnswerer(engine=engine, video="file").answer(
            [Query.about(Clip(str(path), start_seconds=1.0), "Which?")]
        )


def test_3d_is_refused_by_name() -> None:
    with pytest.raises(ModalityError, match="accept image, video and audio, not point_cloud; use a vidweave model"):
        EndpointAnswerer(engine=Recorder()).answer(queries(question(scenes=2), locate=clip_of))


# -- one by one


def test_the_likeliest_scene_wins_and_all_are_scored() -> None:
    asked = queries(*[question(n, scenes=2 + n % 3) for n in range(7)], locate=clip_of)
    together, apart = Brightest().answer(asked), SceneByScene(model=Brightest()).answer(asked)
    assert [a.text for a in apart] == [a.text for a in together]
    assert [len(a.options) for a in apart] == [len(q.scenes) for q in asked]


def test_the_best_probe_of_a_scene_counts() -> None:
    def twice(query, scene):
        return [Probe(text=f"{n}?", worth={"yes": w, "no": 0.0}) for n, w in enumerate((0.1, 1.0))]

    asked = queries(*[question(n) for n in range(5)], locate=clip_of)
    one, two = (SceneByScene(model=Brightest(), **options).answer(asked) for options in ({}, {"ask": twice}))
    assert [a.options for a in one] == [a.options for a in two]


def test_a_model_that_only_writes_cannot_look_one_by_one() -> None:
    class Writer(Brightest):
        def answer(self, queries, **decoding):
            return [Answer("yes") for _ in queries]

    with pytest.raises(QueryError, match="need a model that scores options"):
        SceneByScene(model=Writer()).answer(queries(question(), locate=clip_of))


# -- the toy world's words


def toy(text: str, modality: str = "video") -> list[Probe]:
    clip = clip_of(question(scenes=4).scenes[{"audio": 0, "video": 3}[modality]])
    return asks_toy_world(Query(text, (Scene("Scene A", clip),)), Scene("Scene A", clip))


def test_probes_use_words_that_models_know() -> None:
    learnt = {}
    for question_type in ("exists", "count", "beeps"):
        for seed in range(900_000, 900_400):
            asked = toy_question(sample_scene(seed), question_type, np.random.default_rng(seed))
            if asked is not None:
                learnt.setdefault(asked.text, set()).update(asked.options)
    assert QUESTION_TYPES["exists"].needs == {"video"}
    assert len(toy("Which scene holds a ring?")) == len({p.text for p in toy("Which scene holds a ring?")}) > 3
    for probe in [*toy("Which scene holds a ring?"), *toy("Which scene has exactly two of something?")]:
        assert set(probe.worth) == learnt[probe.text]
    (beeps,) = toy("Which scene has the most of something?", "audio")
    assert set(beeps.worth) == learnt[beeps.text]


def test_numbers_are_worth_what_the_question_wants() -> None:
    (exactly,), (most,) = (
        toy("Which scene has exactly three of something?"),
        toy("Which scene has the most of something?"),
    )
    assert exactly.worth == {"1": 0.0, "2": 0.0, "3": 1.0, "4": 0.0}
    assert most.worth == {"1": 1.0, "2": 2.0, "3": 3.0, "4": 4.0}
    with pytest.raises(QueryError, match="not a toyworld question"):
        toy("Which scene is calmer?")
