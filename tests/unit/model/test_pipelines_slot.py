"""A pipeline: everything that can be asked of a model of our slots, alone and from several threads."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from tiny_models import tiny_config, with_processor

from vidweave.errors import CancelledError, ConfigError, MediaLimitError, QueryError
from vidweave.media.limits import Limits
from vidweave.pipelines.messages import query_of
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Answerer, Clip, Frames, Pipeline, Query

QUESTION = "what colour is the circle ?"
LONG = {"max_new_tokens": 24, "min_new_tokens": 24}


@pytest.fixture
def pipe(model) -> SlotPipeline:
    return SlotPipeline(model)


def clip(seed: int, count: int = 5) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(Frames.from_array(rng.integers(0, 256, (count, 20, 24, 3), dtype=np.uint8), fps=5))


def test_it_is_what_evaluation_knows(pipe):
    assert isinstance(pipe, Answerer)
    assert pipe.describe()["model"] == pipe.config.name
    assert (pipe.device, pipe.dtype) == (torch.device("cpu"), torch.float32)
    assert pipe.to(torch.bfloat16) is pipe
    assert pipe.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match=r"expected a VideoLanguageModel, got str; load one with vidweave.load"):
        SlotPipeline("tiny-base")  # type: ignore[arg-type]


def test_it_is_a_pipeline(pipe):
    assert isinstance(pipe, Pipeline)
    members = {name for name in vars(Pipeline) if not name.startswith("_")}
    assert members == {
        "answer", "ask", "chat", "close", "config", "describe", "device", "dtype", "push_to_hub", "save_pretrained",
        "score", "select", "stream", "to",
    }  # fmt: skip
    for name in members:
        assert getattr(SlotPipeline, name).__doc__, name
        planned, made = getattr(Pipeline, name), getattr(SlotPipeline, name)
        if callable(planned):
            assert set(signature(planned).parameters) - {"options", "how"} <= set(signature(made).parameters), name
    for name in members:
        lacking = type("Lacking", (), dict.fromkeys(members - {name}))()
        assert not isinstance(lacking, Pipeline), name


def test_closing_writes_the_features_and_leaves_the_pipeline_answering(pipe, tmp_path):
    pipe.model.encoders.requires_grad_(False)
    pipe.use_cache_folder(tmp_path)
    with pipe as opened:
        text = opened.ask(clip(0), QUESTION).text
    assert list(tmp_path.iterdir())
    pipe.close()
    assert pipe.cache is None
    assert pipe.ask(clip(0), QUESTION).text == text
    pipe.use_cache_folder(tmp_path)
    assert pipe.ask(clip(0), QUESTION).trace.panels["cache"] == {"known": 1, "computed": 0}


def test_every_call_can_be_cancelled_and_limited(pipe, tmp_path):
    cancel = threading.Event()
    cancel.set()
    live = pipe.stream()
    live.push(clip(0))
    for call in (
        lambda: pipe.select(clip(0), QUESTION, num_frames=2, cancel=cancel),
        lambda: pipe.score([Query.about(clip(0), QUESTION, ("red", "blue"))], cancel=cancel),
        lambda: pipe.chat(messages(QUESTION, about=clip(0)), cancel=cancel),
        lambda: live.ask(QUESTION, cancel=cancel),
        lambda: pipe.answer([Query.about(clip(0), QUESTION)], cancel=cancel),
    ):
        with pytest.raises(CancelledError, match="the call was cancelled; nothing was answered"):
            call()
    file, limits = tmp_path / "long.npy", Limits(max_file_bytes=1_000)
    np.save(file, np.zeros((40, 20, 24, 3), np.uint8))
    about = Clip(file, fps=5)
    for call in (
        lambda: pipe.select(about, QUESTION, num_frames=2, limits=limits),
        lambda: pipe.stream(limits=limits).push(about),
    ):
        with pytest.raises(MediaLimitError):
            call()
    pipe.stream().push(about)


def test_a_saved_pipeline_answers_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved", max_shard_size="20KB")
    again = SlotPipeline.load(tmp_path / "saved")
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 1
    assert again.ask(clip(0), QUESTION, options=("red", "blue")).options == (
        pipe.ask(clip(0), QUESTION, options=("red", "blue")).options
    )


def test_an_upload_holds_model_and_processor(pipe, monkeypatch):
    sent = {}

    def upload(self, *, repo_id, folder_path, **commit):
        sent[repo_id] = {path.name for path in Path(folder_path).iterdir()}, commit["commit_message"]

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **_: SimpleNamespace(repo_id=repo_id))
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    pipe.push_to_hub("somebody/tiny")
    files, message = sent["somebody/tiny"]
    assert files >= {"config.json", "model.safetensors", "processor_config.json", "tokenizers"}
    assert message == "Upload model"


def test_two_pipelines_of_one_model_have_their_own_processors(pipe, tmp_path):
    other = SlotPipeline(pipe.model, pipe.processor.for_config(pipe.config))
    other.processor.tokenizers["language"] = copy.deepcopy(pipe.processor.tokenizers["language"])
    other.processor.tokenizers["language"].add_tokens(["unheard"])
    for name, one in {"new": other, "old": pipe}.items():
        one.save_pretrained(tmp_path / name)
        saved = SlotPipeline.load(tmp_path / name).processor.tokenizers["language"].get_vocab()
        assert ("unheard" in saved) == (name == "new")


def test_scores_are_those_of_the_answers(pipe):
    queries = [Query.about(clip(n), QUESTION, ("red", "blue", "green")) for n in range(3)]
    assert pipe.score(queries) == [answer.options for answer in pipe.answer(queries)]
    with pytest.raises(QueryError, match=r"a query without options has nothing to score; give options"):
        pipe.score(Query.about(clip(0), QUESTION))


# -- pieces of text


def test_pieces_are_the_answer(pipe):
    whole = pipe.ask(clip(1), QUESTION, **LONG).text
    pieces = list(pipe.ask(clip(1), QUESTION, stream=True, **LONG))
    assert len(pieces) > 3
    assert "".join(pieces).strip() == whole


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        ({"options": ("red", "blue")}, QueryError, "options are scored, not written"),
        ({"num_beams": 2}, ConfigError, "only a single beam can be streamed"),
    ],
)
def test_what_cannot_be_streamed_is_refused_at_once(pipe, arguments, error, complaint):
    with pytest.raises(error, match=complaint):
        pipe.ask(clip(1), QUESTION, stream=True, **arguments)


def test_a_reader_who_leaves_stops_the_generation(pipe, monkeypatch):
    lengths, generate = [], pipe.model.language_model.generate
    monkeypatch.setattr(
        pipe.model.language_model,
        "generate",
        lambda *a, **k: lengths.append(generate(*a, **k).shape[1]),
    )
    pieces = pipe.ask(clip(1), QUESTION, stream=True, max_new_tokens=90, min_new_tokens=90)
    next(pieces)
    pieces.close()
    assert len(lengths) == 1
    assert lengths[0] < 90
    assert not [t for t in threading.enumerate() if t.name == "vidweave generation"]


def test_what_fails_while_it_writes_is_raised_to_the_reader(pipe, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(pipe.model.language_model, "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(pipe.ask(clip(1), QUESTION, stream=True))


# -- per call


def test_a_cancelled_call_ends(pipe):
    cancel = threading.Event()
    cancel.set()
    for ask in (
        lambda: pipe.ask(clip(0), QUESTION, cancel=cancel),
        lambda: pipe.answer([Query.about(clip(0), QUESTION, ("red", "blue"))], cancel=cancel),
    ):
        with pytest.raises(CancelledError, match="the call was cancelled; nothing was answered"):
            ask()


def test_a_generation_is_cancelled_between_two_tokens(pipe, monkeypatch):
    cancel, steps, model = threading.Event(), [], pipe.model.language_model.model
    forward = type(model).forward

    @wraps(forward)
    def counted(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 3:
            cancel.set()
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counted)
    with pytest.raises(CancelledError):
        pipe.ask(clip(0), QUESTION, cancel=cancel, max_new_tokens=60, min_new_tokens=60)
    assert len(steps) <= 4


def test_limits_hold_for_one_call(pipe, tmp_path):
    file = tmp_path / "long.npy"
    np.save(file, np.zeros((40, 20, 24, 3), np.uint8))
    about = Clip(file, fps=5)
    with pytest.raises(MediaLimitError):
        pipe.ask(about, QUESTION, limits=Limits(max_file_bytes=1_000))
    assert pipe.ask(about, QUESTION).text is not None


def test_threads_share_a_pipeline(pipe, tmp_path):
    """Questions, streams of pieces and a feature cache at once: each gets its own answer and its own counts."""
    pipe.model.encoders.requires_grad_(False)
    pipe.use_cache_folder(tmp_path)
    queries = [Query.about(clip(n % 5), f"what is the {w} ?") for n, w in enumerate(("circle", "square") * 6)]
    expected = [pipe.answer(query)[0].text for query in queries]
    pipe.use_cache_folder(tmp_path / "fresh")

    def ask(number):
        if number % 3 == 0:
            scene = queries[number].scenes[0].clip
            return "".join(pipe.ask(scene, queries[number].text, stream=True)).strip(), None
        answer = pipe.answer(queries[number])[0]
        return answer.text, answer.trace.panels["cache"]

    with ThreadPoolExecutor(6) as pool:
        result = list(pool.map(ask, range(len(queries))))
    assert [text for text, _ in result] == expected
    assert all(counts is None or sum(counts.values()) == 1 for _, counts in result)


# -- conversations


def messages(*texts: str, about: Clip) -> list[dict]:
    made = [
        {"role": ("user", "assistant")[n % 2], "content": [{"type": "text", "text": text}]}
        for n, text in enumerate(texts)
    ]
    made[0]["content"].insert(0, {"type": "video", "video": about["video"]})
    return made


def test_one_turn_is_a_question(pipe):
    assert pipe.chat(messages(QUESTION, about=clip(2))).text == pipe.ask(clip(2), QUESTION).text
    assert (
        "".join(pipe.chat(messages(QUESTION, about=clip(2)), stream=True)).strip() == pipe.ask(clip(2), QUESTION).text
    )


def test_earlier_turns_stand_in_the_prompt_as_they_are_trained(pipe):
    asked = messages("what is the circle ?", "red", "what is the square ?", about=clip(2))
    answer = pipe.chat(asked, options=("blue", "green"))
    prompt = answer.trace.panels["prompt"]
    assert prompt.count("<video>") == 1
    assert prompt.index("circle") < prompt.index("red") < prompt.index("square")
    assert "Options" not in prompt[: prompt.index("red")]
    assert prompt.count("</s>") == 1  # an answer that was given ends as one that is trained on
    alone = pipe.ask(clip(2), "what is the square ?", options=("blue", "green"))
    assert dict(_scores(answer)) != dict(_scores(alone))


def _scores(answer):
    return [(o.text, o.score) for o in answer.options]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ([], "must end with a message of the user"),
        ([{"role": "assistant", "content": "hi"}], "message 1 must have the role 'user', got 'assistant'"),
        ([{"role": "user", "content": "what ?"}], "no message holds a clip; add"),
        ([{"role": "user", "content": 3}], "content of message 1 must be a text or a list of parts, got 3"),
        ([{"role": "user", "content": [{"type": "smell"}]}], r"part of message 1 is not supported: .* one of audio, "),
        ([{"role": "user", "content": [{"type": "video"}]}], "a part of type 'video' has no source"),
        (
            [{"role": "user", "content": [{"type": "video", "path": "a"}, {"type": "video", "url": "b"}]}],
            "two sources of video",
        ),
        (messages(QUESTION, "red", about=Clip("a")), "must end with a message of the user"),
        (messages(QUESTION, " ", QUESTION, about=Clip("a")), "a turn of the history is empty"),
    ],
)
def test_invalid_conversations_are_refused(wrong, complaint):
    with pytest.raises(QueryError, match=complaint):
        query_of(wrong)


# -- the processor is plain


def test_a_processor_knows_no_model(model):
    for name, value in vars(model.processor).items():
        assert not isinstance(value, torch.nn.Module), name
        assert not callable(value), name
    assert len(pickle.dumps(model.processor)) < 100_000


def test_a_selector_with_weights_is_not_left_out_in_silence(frames):
    from vidweave.selectors.motion_peaks import MotionPeaksSelectorConfig

    model = with_processor(tiny_config("causal"))
    spec = model.spec
    object.__setattr__(spec, "selector", MotionPeaksSelectorConfig())
    model.processor.spec = spec
    with pytest.raises(
        QueryError, match=r"selects frames by 'motion_peaks', .* give select=model.select, or a selection"
    ):
        model.processor(Clip(video=frames), QUESTION)
