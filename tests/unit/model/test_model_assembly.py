"""The road of one question, on tiny models of both language families."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_config, with_processor

from vidweave.errors import CheckpointError, ConfigError, ModalityError, QueryError, UnknownNameError
from vidweave.model import cache as cache_module
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip, Frames, PrecomputedFeatures, Query, Selection

QUESTION = "what colour is the circle ?"


def _clips() -> list[Frames]:
    rng = np.random.default_rng(3)
    return [Frames.from_array(rng.integers(0, 256, (n, 20, 24, 3), dtype=np.uint8), fps=5) for n in (2, 9, 4)]


def _queries(options=()) -> list[Query]:
    texts = [QUESTION, "what is the square", "it moves left right up down ?"]
    return [Query.about(Clip(video=c), t, options) for c, t in zip(_clips(), texts, strict=True)]


def test_ask_writes_an_answer_with_its_account(model, frames):
    answer = SlotPipeline(model).ask(Clip(video=frames), QUESTION)
    assert isinstance(answer.text, str)
    trace = answer.trace
    assert [use.index for use in trace.frames] == [1, 3, 5]
    assert [use.pts_seconds for use in trace.frames] == pytest.approx([0.2, 0.6, 1.0])
    assert trace.tokens["video"] == 15
    assert trace.tokens["text"] >= 6
    assert trace.panels["prompt"].count("<video>") == 1
    assert trace.panels["prompt"].endswith("what colour is the circle ?")
    assert {"decode", "select", "look", "answer"} <= set(trace.seconds)
    json.dumps(answer.to_dict())


def test_options_are_ranked_by_score(model, frames):
    answer = SlotPipeline(model).ask(Clip(video=frames), QUESTION, options=("red", "blue", "green"))
    scores = [option.score for option in answer.options]
    assert scores == sorted(scores, reverse=True)
    assert answer.text == answer.options[0].text
    assert {option.text for option in answer.options} == {"red", "blue", "green"}


@pytest.mark.parametrize("options", [(), ("red", "blue green")])
def test_a_batch_equals_one_by_one(model, options):
    queries = _queries(options)
    together = SlotPipeline(model).answer(queries)
    alone = [SlotPipeline(model).answer([query])[0] for query in queries]
    assert [a.text for a in together] == [a.text for a in alone]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(_scores(a), _scores(b), atol=2e-5, rtol=1e-4)


def test_training_loss_of_a_batch_is_the_mean_over_tokens(model):
    queries, targets = _queries(), ["red", "blue green", "up"]
    with torch.no_grad():
        together = model(model.processor(queries, targets=targets)).loss
        alone = [model(model.processor([q], targets=[t])).loss for q, t in zip(queries, targets, strict=True)]
    weights = torch.tensor([2.0, 3.0, 2.0])  # tokens of each answer with its end token
    torch.testing.assert_close(together, (torch.stack(alone) * weights).sum() / weights.sum(), atol=1e-5, rtol=1e-5)


def test_the_transformers_way_gives_the_same_answer(model, frames):
    inputs = model.processor(Clip(video=frames), QUESTION)
    ids = model.generate(**inputs, max_new_tokens=4)
    assert model.processor.decode(ids) == [SlotPipeline(model).ask(Clip(video=frames), QUESTION).text]
    torch.testing.assert_close(ids, model.generate(inputs, max_new_tokens=4))


def test_generation_with_and_without_a_cache_is_equal(model, frames):
    inputs = model.processor(Clip(video=frames), QUESTION)
    cached = model.generate(inputs, use_cache=True, max_new_tokens=5)
    torch.testing.assert_close(cached, model.generate(inputs, use_cache=False, max_new_tokens=5))


def test_stored_features_give_the_same_answer(model, frames, tmp_path):
    options = ("red", "blue", "green")
    plain = SlotPipeline(model).ask(Clip(video=frames), QUESTION, options=options)
    model.encoders.requires_grad_(False)
    pipe = SlotPipeline(model, cache_folder=tmp_path / "store")
    first = pipe.ask(Clip(video=frames), QUESTION, options=options)
    model.encoders["rgb"].encode = None  # a second encoding would fail
    second = pipe.ask(Clip(video=frames), QUESTION, options=options)
    for answer in (first, second):
        torch.testing.assert_close(_scores(answer), _scores(plain), atol=1e-6, rtol=1e-6)


def test_the_encoder_is_hashed_again_only_when_it_has_changed(model, frames, tmp_path, monkeypatch):
    hashed = []

    fingerprint = cache_module._fingerprint
    monkeypatch.setattr(cache_module, "_fingerprint", lambda tensors: hashed.append(tensors) or fingerprint(tensors))
    model.encoders.requires_grad_(False)
    pipe = SlotPipeline(model, cache_folder=tmp_path / "store")
    for _ in range(3):
        pipe.ask(Clip(video=frames), QUESTION)
    assert len(hashed) == 1
    before = len(list(pipe.cache.store.keys()))
    with torch.no_grad():
        next(model.encoders["rgb"].parameters()).add_(1.0)
    pipe.ask(Clip(video=frames), QUESTION)
    assert len(hashed) == 2
    assert len(list(pipe.cache.store.keys())) == before + 1


def test_features_of_a_learning_encoder_are_never_stored(model, frames, tmp_path):
    pipe = SlotPipeline(model, cache_folder=tmp_path / "store")
    pipe.ask(Clip(video=frames), QUESTION)
    assert list(pipe.cache.store.keys()) == []


def test_given_features_skip_the_encoder(model, frames):
    inputs = model.processor(Clip(video=frames), QUESTION)
    tokens = model.encode_stream("video", inputs.streams["video"])
    given = PrecomputedFeatures(tokens.values[0].detach().numpy(), tokens.seconds[0].numpy())
    direct = SlotPipeline(model).ask(Clip(video=frames), QUESTION, options=("red", "blue"))
    answer = SlotPipeline(model).ask(Clip(video=given), QUESTION, options=("red", "blue"))
    torch.testing.assert_close(_scores(answer), _scores(direct), atol=1e-5, rtol=1e-5)
    wrong = PrecomputedFeatures(np.zeros((3, 4, 7), np.float32), np.zeros((3, 2), np.float32))
    with pytest.raises(ModalityError, match="7 wide, those of encoder 'rgb' 12"):
        SlotPipeline(model).ask(Clip(video=wrong), QUESTION)


def test_a_given_selection_decides_the_frames(model, frames):
    selection = Selection(
        seconds=torch.tensor([[0.0, 1.2, 1.2]]),
        mask=torch.ones(1, 3, dtype=torch.bool),
        spans=torch.zeros(1, 1, 2),
        reason="oracle",
    )
    inputs = model.processor(Clip(video=frames), QUESTION, selection=selection)
    (_, _, row) = inputs.provenance["video"][0]
    assert [index for index, _ in row.frames] == [0, 6, 6]
    assert row.why == "oracle"


def test_an_image_enters_by_the_video_port(model, frames):
    frame = Frames(frames.values[:1], frames.pts_seconds[:1], frames.indices[:1])
    assert SlotPipeline(model).ask(Clip(image=frame), QUESTION).trace.frames


def test_a_modality_that_no_stream_takes_is_refused(model, frames):
    with pytest.raises(ModalityError, match=r"thermal was given.*it takes image, video"):
        SlotPipeline(model).ask(Clip(video=frames, thermal=frames), QUESTION)


def test_generation_settings_for_scored_options_are_refused(model, frames):
    with pytest.raises(QueryError, match="num_beams would do nothing"):
        SlotPipeline(model).ask(Clip(video=frames), QUESTION, options=("red", "blue"), num_beams=2)


def test_several_sequences_come_back_as_alternatives(model, frames):
    answer = SlotPipeline(model).ask(Clip(video=frames), QUESTION, num_beams=3, num_return_sequences=3)
    assert len(answer.alternatives) == 2


def test_num_frames_replaces_the_configured_number(model, frames):
    assert len(SlotPipeline(model).ask(Clip(video=frames), QUESTION, num_frames=2).trace.frames) == 2


def test_a_clip_shorter_than_the_configured_number_repeats_frames_and_says_so(model, frames):
    two = Frames(frames.values[:2], frames.pts_seconds[:2], frames.indices[:2])
    trace = SlotPipeline(model).ask(Clip(video=two), QUESTION).trace
    assert [use.index for use in trace.frames] == [0, 0, 1] or [use.index for use in trace.frames] == [0, 1, 1]
    assert any("3 frames were requested, 2 are available" in note for note in trace.notes)


def test_a_span_limits_the_frames(model, frames):
    trace = SlotPipeline(model).ask(Clip(video=frames), QUESTION, start_seconds=0.6).trace
    assert all(use.pts_seconds >= 0.59 for use in trace.frames)


def test_saved_is_reloaded_bit_for_bit(model, frames, tmp_path):
    model.save_pretrained(tmp_path / "whole")
    again = VideoLanguageModel.from_pretrained(tmp_path / "whole").eval()
    _assert_same_state(model, again)
    assert dict(model.named_buffers()).keys() == dict(again.named_buffers()).keys()
    for (name, a), (_, b) in zip(model.named_buffers(), again.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)
    asked = {"options": ("red", "blue", "green")}
    assert (
        SlotPipeline(again).ask(Clip(video=frames), QUESTION, **asked).options
        == SlotPipeline(model).ask(Clip(video=frames), QUESTION, **asked).options
    )


def test_the_trained_part_is_saved_beside_the_names_of_its_bases(model, frames, tmp_path):
    bases = {}
    for root, module in {"encoders.rgb": model.encoders["rgb"], "language_model": model.language_model}.items():
        folder = tmp_path / root
        folder.mkdir()
        state = {k: v.clone() for k, v in module.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        bases[root] = str(folder)
    model.save_pretrained(tmp_path / "part", bases=bases)
    stored = load_file(tmp_path / "part" / "model.safetensors")
    assert stored
    assert all(name.startswith("connector.") for name in stored)
    _assert_same_state(model, VideoLanguageModel.from_pretrained(tmp_path / "part"))
    base = load_file(tmp_path / "encoders.rgb" / "model.safetensors")
    save_file({k: v + 1 for k, v in base.items()}, tmp_path / "encoders.rgb" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"base .* of 'encoders.rgb' has hash .*trained on"):
        VideoLanguageModel.from_pretrained(tmp_path / "part")


def test_saving_beside_an_unknown_root_is_refused(model, tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(UnknownNameError, match=r"state-dict root 'encoders.rgbb'"):
        model.save_pretrained(tmp_path / "part", bases={"encoders.rgbb": str(tmp_path / "base")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("connector.ports.video.query_tokens"), r"1 missing: connector.ports.video.query_tokens"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected: extra"),
        (
            lambda s: s.update({"connector.ports.video.query_tokens": torch.zeros(1, 4, 16)}),
            r"1 of another shape: connector.ports.video.query_tokens: \(1, 4, 16\) instead of \(1, 5, 16\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_listed(model, tmp_path, change, message):
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        VideoLanguageModel.from_pretrained(tmp_path)


def test_truncated_and_missing_weights_are_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        VideoLanguageModel.from_pretrained(tmp_path)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"holds no \.safetensors file"):
        VideoLanguageModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation_internal"])
def test_a_config_that_could_run_code_is_refused(model, tmp_path, key):
    model.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**data, key: "evil/repo"}))
    with pytest.raises(ConfigError, match=f"config.json holds {key}"):
        VideoLanguageModel.from_pretrained(tmp_path)


def test_a_misspelt_field_in_a_config_is_named(model, tmp_path):
    model.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    data["spec"]["streams"]["video"]["ned"] = {}
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(UnknownNameError, match="did you mean 'need'"):
        VideoLanguageModel.from_pretrained(tmp_path)


def test_the_config_survives_json(family):
    config = tiny_config(family)
    again = VideoLanguageConfig(**json.loads(config.to_json_string()))
    assert again.parse() == config.parse()


def test_a_stream_without_a_port_is_refused(family):
    config = tiny_config(family)
    spec = config.spec
    spec["streams"]["more"] = spec["streams"]["video"]
    with pytest.raises(ConfigError, match=r"streams \['more', 'video'\], ports \['video'\]"):
        VideoLanguageConfig(spec).parse()


def test_a_model_without_a_processor_says_so(family):
    with pytest.raises(ConfigError, match="has no processor"):
        SlotPipeline(VideoLanguageModel(tiny_config(family))).ask("clip.mp4", QUESTION)


def test_other_clips_give_other_answers(family):
    model = with_processor(tiny_config(family))
    scores = [_scores(SlotPipeline(model).ask(Clip(video=c), QUESTION, options=("red", "blue"))) for c in _clips()]
    assert (scores[0] - scores[1]).abs().max() > 1e-5


def _scores(answer) -> torch.Tensor:
    return torch.tensor([score for _, score in sorted((o.text, o.score) for o in answer.options)])


def _assert_same_state(a, b) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0, msg=name)


def test_saving_keeps_the_order_of_streams(tmp_path):
    """transformers sorts the keys of its JSON; the order of ports decides adapters, mixers and prompts."""
    config = tiny_config("causal")
    ports = config.spec["connector"]["ports"]
    (only,) = ports.values()
    config.spec["connector"]["ports"] = {"z": only, "a": only}
    config.save_pretrained(tmp_path)
    assert list(VideoLanguageConfig.from_folder(tmp_path).spec["connector"]["ports"]) == ["z", "a"]


def test_seeded_answers_are_the_same_in_two_threads_as_alone(model, frames):
    def ask(seed):
        answer = SlotPipeline(model).ask(
            Clip(frames),
            "what is it ?",
            do_sample=True,
            temperature=3.0,
            num_return_sequences=6,
            seed=seed,
            trace=False,
        )
        return answer.text, answer.alternatives

    alone = [ask(seed) for seed in (1, 2)]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, (1, 2, 1, 2))) == alone * 2
