"""Training a selector through the answer: candidates are fetched, mixed, and the gradient reaches the bridge."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, toy_tokenizer

from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.errors import ConfigError, TrainingError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import StreamConfig
from vidweave.model.mixing import every_candidate, mixed_needs
from vidweave.model.processor import Processor
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.training.objectives import GroundedAnswerLoss, SpanLoss
from vidweave.types import Clip, FrameNeed, Frames, MotionSpec, PoolSpec, Query, TextSpec

LIMIT = 6


def grounded(family, **changes):
    plain = tiny_config(family).parse()
    maps = MotionSpec(source="frame_differences", fps=5, height=8, width=12)
    selector = GroundingSelectorConfig(
        hidden=12,
        layers=2,
        fusion_layer=1,
        heads=3,
        intermediate=14,
        vocab_size=40,
        motion_width=32,
        num_patches=6,
        num_candidates=LIMIT,
        dropout=0.0,
        text_spec=TextSpec(tokenizer="selector", max_tokens=9),
        **changes,
    )
    motion = MotionEncoderConfig(height=8, width=12, patch=4, specs={"video": maps})
    config = tiny_config(
        family,
        selector=selector,
        encoders={**plain.encoders, "motion": motion},
        streams={
            **plain.streams,
            "motion": StreamConfig(encoder="motion", modalities=("video",), need=FrameNeed(), role="selector"),
        },
    )
    torch.manual_seed(0)
    model = VideoLanguageModel(config).eval()
    with torch.no_grad():
        for parameter in model.selector.parameters():
            parameter.normal_(std=0.3)
    model.processor = Processor(config, {"language": toy_tokenizer(), "selector": toy_tokenizer()})
    return model


def clips():
    rng = np.random.default_rng(3)
    return [Clip(video=Frames.from_array(rng.integers(0, 256, (n, 20, 24, 3), dtype=np.uint8), fps=5)) for n in (11, 4)]


def queries():
    first, second = clips()
    return [Query.about(first, "what colour is the circle ?"), Query.about(second, "what is the square")]


def fetch(model, selection=None, spans=None):
    with model.processor.prepare(queries()) as prepared:
        chosen = every_candidate(prepared, 3, limit=LIMIT) if selection is None else selection(prepared)
        return model.processor.fetch(prepared, chosen, targets=["red", "blue green"], target_spans=spans)


def test_hard_mixing_gives_what_decoding_the_timestamps_gives(family):
    model = grounded(family, train_through="hard")
    mixed = fetch(model)
    assert mixed.streams["video"].mask.sum(1).tolist() == [6, 4]
    plain = fetch(model, selection=model.select)
    assert plain.streams["video"].mask.sum(1).tolist() == [3, 3]
    with torch.no_grad():
        expected = model(plain).loss
    model.selector.train()
    output = model(mixed)
    torch.testing.assert_close(output.loss, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.selection.seconds, plain.selection.seconds)
    output.loss.backward()
    assert model.selector.bridge.span_head.weight.grad is None  # as the original: nothing reaches the bridge


@pytest.mark.parametrize("way", ["soft", "straight_through"])
def test_the_loss_of_the_answer_reaches_the_bridge(family, way):
    model = grounded(family, train_through=way)
    model.requires_grad_(False)
    model.selector.requires_grad_(True).train()
    inputs = fetch(model)
    losses = []
    optimizer = torch.optim.Adam(model.selector.parameters(), lr=0.02)
    for _ in range(12):
        optimizer.zero_grad()
        loss = model(inputs).loss
        loss.backward()
        assert model.selector.bridge.motion.projection.weight.grad.abs().sum() > 0
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[1:]) < losses[0]


def test_spans_and_answers_are_trained_together(family):
    model = grounded(family, train_through="straight_through", sampling="gumbel")
    model.selector.train()
    spans = torch.tensor([[[0.4, 0.8]], [[torch.nan, torch.nan]]])
    inputs = fetch(model, spans=spans)
    torch.manual_seed(5)
    parts = GroundedAnswerLoss(span_weight=0.5)(model, inputs)
    torch.testing.assert_close(parts["loss"], parts["answer"] + 0.5 * parts["spans"])
    torch.manual_seed(5)
    torch.testing.assert_close(GroundedAnswerLoss(span_weight=0.5)(model, inputs)["loss"], parts["loss"])
    alone = SpanLoss()(model, inputs.selector_inputs)["loss"]
    torch.testing.assert_close(SpanLoss()(model, inputs)["loss"], alone)
    torch.testing.assert_close(alone, parts["spans"])  # noise is for choosing, not for learning
    alone.backward()
    assert model.selector.bridge.words.word_embeddings.weight.grad.abs().sum() > 0
    assert GroundedAnswerLoss(span_weight=0.0)(model, inputs).keys() == {"loss", "answer"}


def test_what_is_missing_is_reported(family):
    model = grounded(family, train_through="hard", sampling="gumbel")
    model.selector.train()
    with pytest.raises(ConfigError, match="sampling spans needs a generator"):
        model(fetch(model))
    with pytest.raises(TrainingError, match="the batch has no target_spans"):
        SpanLoss()(model, fetch(model))
    no_answers = replace(fetch(model), target=None)
    if family == "seq2seq":
        with pytest.raises(TrainingError, match="returned no loss; give the batch its targets"):
            GroundedAnswerLoss()(model, no_answers)


def test_streams_joined_in_time_cannot_be_mixed():
    stream = StreamConfig(encoder="x", modalities=("video",), pool=PoolSpec(time=2))
    with pytest.raises(ConfigError, match="stream 'video' joins 2 segments, so its candidates cannot be mixed"):
        mixed_needs({"video": FrameNeed(num_frames=4)}, {"video": stream})


def test_every_scene_is_grounded_by_the_question_of_its_item(family):
    model = grounded(family)
    first, second = clips()
    asked = [Query.about(second, "what is the square"), Query.about(first, "what colour is the circle ?")]
    with model.processor.prepare(asked) as prepared:
        together = model.select(prepared)
    for row, query in enumerate(asked):
        with model.processor.prepare([query]) as prepared:
            alone = model.select(prepared)
        assert torch.equal(together.seconds[row], alone.seconds[0])
