"""NaN and infinity anywhere in a model: the stage is named, and nothing becomes an answer."""

import numpy as np
import pytest
import torch
from test_model_motion import motion_model, moving
from tiny_models import tiny_config, with_processor

from vidweave.cli.main import run
from vidweave.data.schema import Example
from vidweave.errors import MediaDecodeError, NonFiniteError
from vidweave.evaluation.predictions import read_predictions
from vidweave.evaluation.runner import collect
from vidweave.media.open import open_source
from vidweave.media.write import write_video
from vidweave.pipelines.frame_scores import FrameScorer
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Answer, Clip, OptionScore, PrecomputedFeatures, Query

QUESTION = "what is the circle ?"
OPTIONS = ("red", "blue green")

# A weight of each stage → what the error says of it
STAGES = {
    "encoders.rgb.norm.weight": r"features of stream 'video' hold NaN or infinity \(\d+ of \d+ float32 numbers\); check",
    "connector.ports.video.query_tokens": r"tokens of block 'video' from the connector hold NaN",
    "language_model.model.lm_head.weight": "logits of the language model (in generation )?hold NaN",
}


def broken(family, weight, value=torch.nan):
    language = {"causal": {"tie_word_embeddings": False}, "seq2seq": {"tie_word_embeddings": False}}[family]
    config = tiny_config(family)
    spec = config.parse()
    spec.language_model.config.update(language)
    model = with_processor(type(config)(spec, name="broken"))
    with torch.no_grad():
        model.get_parameter(weight).view(-1)[3] = value
    return model


WAYS = {
    "options": lambda model, clip: SlotPipeline(model).ask(clip, QUESTION, options=OPTIONS),
    "greedy": lambda model, clip: SlotPipeline(model).ask(clip, QUESTION),
    "beams": lambda model, clip: SlotPipeline(model).ask(clip, QUESTION, num_beams=3),
    "draws": lambda model, clip: SlotPipeline(model).ask(clip, QUESTION, do_sample=True, seed=1),
    "minimum": lambda model, clip: SlotPipeline(model).ask(clip, QUESTION, min_new_tokens=2),
    "forward": lambda model, clip: model(model.processor(Query.about(clip, QUESTION))),
}


@pytest.mark.parametrize(
    ("weight", "value"), [*((weight, torch.nan) for weight in STAGES), (next(iter(STAGES)), torch.inf)]
)
def test_a_bad_weight_is_named_by_its_stage_however_the_model_is_asked(family, weight, value, frames):
    model = broken(family, weight, value)
    for name, ask in WAYS.items():
        with pytest.raises(NonFiniteError, match=STAGES[weight]):
            pytest.fail(f"{name}: {ask(model, Clip(frames))}")


def test_a_bad_word_embedding_is_not_blamed_on_the_connector(family, frames):
    name = {"causal": "embed_tokens", "seq2seq": "shared"}[family]
    model = broken(family, "connector.ports.video.query_tokens", 0.5)
    with torch.no_grad():
        next(m for n, m in model.language_model.named_modules() if n.endswith(name)).weight[:] = torch.nan
    with pytest.raises(NonFiniteError, match="text embeddings of the language model hold NaN"):
        SlotPipeline(model).ask(Clip(frames), QUESTION)


def test_a_number_too_large_for_float16_is_reported_with_the_way_out(frames):
    model = with_processor(tiny_config("causal"))
    with torch.no_grad():
        model.encoders["rgb"].norm.weight.fill_(6e4)
    model.encoders.half()
    with pytest.raises(
        NonFiniteError, match=r"features of stream 'video'.* float16 numbers\); .* dtype bfloat16 or float32"
    ):
        SlotPipeline(model).ask(Clip(frames), QUESTION)


def test_a_bad_selector_and_bad_motion_are_named(tmp_path):
    model, clip = motion_model(), Clip(moving())
    with torch.no_grad():
        model.selector.bridge.span_head.bias[0] = torch.nan
    with pytest.raises(NonFiniteError, match="logits of the selector hold NaN"):
        SlotPipeline(model).ask(clip, QUESTION)
    flow = np.zeros((24, 4, 6, 2), np.float32)
    flow[3, 0, 0] = 3e38  # finite; its patch is not
    model.encoders["motion"].encode = lambda values, modality: values.new_full((*values.shape[:2], 6, 8), torch.inf)
    with pytest.raises(NonFiniteError, match="features of stream 'motion' hold NaN"):
        SlotPipeline(model).ask(clip, QUESTION)


def test_media_are_blamed_where_they_are_the_cause(family, frames):
    model = with_processor(tiny_config(family))
    inputs = model.processor(Query.about(Clip(frames), QUESTION))
    inputs.streams["video"].values[0, 1, 0, 0, 2, 3] = torch.nan
    with pytest.raises(NonFiniteError, match=r"media of stream 'video' hold NaN or infinity \(1 of "):
        model.generate(inputs)


def test_a_map_with_nan_is_refused_by_the_name_of_its_file(tmp_path):
    values = np.ones((3, 8, 8), np.float32)
    values[1, 2, 2] = np.nan
    np.save(tmp_path / "depth.npy", values)
    (tmp_path / "depth.npy.json").write_text('{"fps": 4}')
    with (
        pytest.raises(MediaDecodeError, match=r"depth.npy' holds 1 values that are not finite .*, first in frame 1"),
        open_source(tmp_path / "depth.npy", "depth") as source,
    ):
        source.read_frames(range(3))


def test_frame_scores_and_streams_refuse_too(frames):
    model = broken("causal", "language_model.model.lm_head.weight")
    scorer = FrameScorer(SlotPipeline(model), num_candidates=3)
    with pytest.raises(NonFiniteError, match="logits of the language model"):
        scorer(Clip(frames), [Query.about(Clip(frames), QUESTION, OPTIONS)], ["red"])
    live = SlotPipeline(broken("causal", "encoders.rgb.norm.weight")).stream()
    with pytest.raises(NonFiniteError, match="features of stream 'video'"):
        live.push(frames)
    assert live.segments == {}


def test_features_that_are_not_finite_are_never_stored(frames, tmp_path):
    model = broken("causal", "encoders.rgb.norm.weight")
    model.encoders.requires_grad_(False)
    pipe = SlotPipeline(model, cache_folder=tmp_path)
    with pytest.raises(NonFiniteError, match="features of stream 'video'"):
        pipe.ask(Clip(frames), QUESTION)
    pipe.cache.store.flush()
    assert pipe.cache.store.stats().num_entries == 0


def test_given_features_that_overflow_in_half_are_named(frames):
    model = with_processor(tiny_config("causal"))
    given = PrecomputedFeatures(np.full((2, 4, 12), 1e5, np.float32), np.array([[0.0, 1.0], [1.0, 2.0]]))
    model.half()
    with pytest.raises(NonFiniteError, match=r"features of stream 'video'.*float16"):
        SlotPipeline(model).ask(Clip(given), QUESTION)


class Task:
    def __init__(self, frames):
        self.frames = frames

    def ids(self):
        return ["one", "two", "three"]

    def example(self, index):
        query = Query.about(Clip(self.frames), QUESTION, OPTIONS)
        return Example(id=self.ids()[index], question_type="f", query=query, answer="red")

    def describe(self):
        return {"name": "toy"}


def test_evaluation_stops_with_the_names_and_records_no_such_answer(frames, tmp_path):
    model, file = broken("causal", "language_model.model.lm_head.weight"), tmp_path / "predictions.jsonl"
    with pytest.raises(NonFiniteError, match=r"logits of the language model .* \(example one … two\)"):
        collect(SlotPipeline(model), Task(frames), file, batch_size=2, progress=False)
    assert read_predictions(file)[1] == []


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_no_model_can_answer_with_a_score_that_is_no_number(score):
    with pytest.raises(NonFiniteError, match="the score of option 'red' is"):
        Answer("red", (OptionScore("red", score),))


@pytest.mark.slow  # a command starts slowly
def test_the_command_fails_in_one_line(tmp_path, frames, capsys):
    broken("causal", "encoders.rgb.norm.weight").save_pretrained(tmp_path / "model")
    clip = write_video(tmp_path / "clip.mp4", frames, fps=5)
    code = run(["ask", str(clip), QUESTION, "--model", str(tmp_path / "model"), "--option", "red", "--option", "blue"])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert "features of stream 'video' hold NaN" in err
