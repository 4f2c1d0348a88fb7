"""The bridge as a selector: promises to those that use it, and what it says to bad input."""

import pytest
import torch

from vidweave.errors import ConfigError, ShapeError
from vidweave.registry import SELECTORS
from vidweave.selectors.bridge import Bridge
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.testing import check_selector
from vidweave.types import Features, TextSpec, TextTokens, component_from_dict

SMALL = {
    "hidden": 12,
    "layers": 3,
    "fusion_layer": 1,
    "heads": 3,
    "intermediate": 14,
    "vocab_size": 20,
    "motion_width": 5,
    "max_positions": 16,
    "dropout": 0.0,
    "text_spec": TextSpec(tokenizer="selector", max_tokens=9),
}


def build(seed=0, std=0.4, **changes):
    torch.manual_seed(seed)
    selector = GroundingSelectorConfig(**{**SMALL, **changes}).build().eval()
    with torch.no_grad():
        for name, parameter in selector.named_parameters():
            if "table" not in name and "norm" not in name:
                parameter.normal_(std=std)
    return selector


def motion(lengths, *, patches=1, width=5, step=0.5, seed=1):
    rows, longest = len(lengths), max(lengths)
    values = torch.randn(rows, longest, patches, width, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    values[~mask] = torch.nan  # padding is never read
    start = torch.arange(longest) * step
    seconds = torch.stack([start, start + step], -1).expand(rows, -1, -1)
    row = torch.arange(rows)
    return Features(values, mask[..., None].expand(-1, -1, patches), seconds, row, torch.zeros_like(row))


def text(lengths, *, seed=2):
    ids = torch.randint(1, 20, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    return TextTokens(ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def clip(counts, *, step=0.25):
    candidates = torch.arange(max(counts), dtype=torch.float64).expand(len(counts), -1) * step
    return candidates, torch.arange(max(counts)) < torch.tensor(counts)[:, None]


def row(features, index, length):
    parts = (features.values, features.mask, features.seconds)
    values, mask, seconds = (part[index : index + 1, :length] for part in parts)
    return Features(values, mask, seconds, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize("mode", ["fusion", "multi_modal", "text"])
@pytest.mark.parametrize("text_context", ["embeddings", "encoder"])
@pytest.mark.parametrize(
    ("rope", "position", "cross_position"), [("sinusoid", "rope", "words"), ("stored", "absolute+rope", "both")]
)
def test_a_batch_equals_one_by_one(mode, text_context, rope, position, cross_position):
    selector = build(mode=mode, text_context=text_context, rope=rope, position=position, cross_position=cross_position)
    lengths, words, counts = [7, 3, 5], [4, 2, 6], [13, 6, 9]
    together = selector(motion(lengths), text(words), *clip(counts), k=3)
    for index, (length, word, count) in enumerate(zip(lengths, words, counts, strict=True)):
        ids, candidates = text(words).ids[index : index + 1, :word], clip(counts)[0][:1, :count]
        one = TextTokens(ids, torch.ones_like(ids, dtype=torch.bool))
        alone = selector(
            row(motion(lengths), index, length), one, candidates, torch.ones_like(candidates, dtype=torch.bool), k=3
        )
        torch.testing.assert_close(together.logits[index, :length], alone.logits[0], atol=1e-5, rtol=1e-4)
        assert torch.equal(together.seconds[index], alone.seconds[0])
        assert torch.equal(together.spans[index], alone.spans[0])
        torch.testing.assert_close(together.scores[index], alone.scores[0], atol=1e-5, rtol=1e-4)


def test_contract():
    selector = build()
    check_selector(selector, motion=motion([7, 4, 1, 2]), text=text([4, 2, 5, 1]))
    assert selector.needs_motion
    config = selector.config
    assert component_from_dict(SELECTORS, config.to_dict()) == config


def test_the_question_matters_and_so_does_the_order_of_motion():
    selector = build()
    moved, words, candidates = motion([7]), text([4]), clip([13])
    logits = selector(moved, words, *candidates, k=3).logits
    other = selector(moved, text([4], seed=5), *candidates, k=3).logits
    assert not torch.allclose(logits, other)
    turned = Features(moved.values.flip(1), moved.mask, moved.seconds, moved.item, moved.scene)
    assert not torch.allclose(selector(turned, words, *candidates, k=3).logits.flip(1), logits, atol=1e-3)


def test_timestamps_come_from_the_spans():
    selector = build(num_spans=1)
    chosen = selector(motion([7]), text([4]), *clip([28], step=0.125), k=2)
    first, last = chosen.spans[0, 0].tolist()
    assert all(first <= second <= last for second in chosen.seconds[0].tolist())
    assert chosen.reason == "grounding"
    assert 0 < float(chosen.scores[0, 0]) <= 1


def test_sixteen_times_as_long_as_the_tables_ever_were():
    selector = build(window=3)
    short, words = motion([6]), text([4])
    tiled = Features(
        short.values.repeat(1, 16, 1, 1), short.mask.repeat(1, 16, 1), motion([96]).seconds, short.item, short.scene
    )
    chosen = selector(tiled, words, *clip([200]), k=4)
    assert chosen.logits.shape == (1, 96, 2)
    # Rotary positions see distances alone: far from both ends, the same motion scores the same wherever it stands.
    torch.testing.assert_close(chosen.logits[0, 18:42], chosen.logits[0, 48:72], atol=1e-4, rtol=1e-4)
    as_released = build(window=3, cross_position="both")(tiled, words, *clip([200]), k=4).logits
    assert not torch.allclose(as_released[0, 18:42], as_released[0, 48:72], atol=1e-2)


def test_training_through_the_answer_reaches_the_bridge():
    for way in ("soft", "straight_through"):
        selector = build(train_through=way).train()
        chosen = selector(motion([7, 3]), text([4, 2]), *clip([13, 6]), k=3)
        assert chosen.mix.shape == (2, 3, 13)
        torch.testing.assert_close(chosen.mix.sum(-1), torch.ones(2, 3), atol=1e-5, rtol=0)
        if way == "straight_through":
            timestamps = torch.einsum("rkc,rc->rk", chosen.mix.double(), chosen.candidates * chosen.candidate_mask)
            torch.testing.assert_close(timestamps, chosen.seconds, atol=1e-5, rtol=0)
        (chosen.mix * torch.randn(2, 3, 13)).sum().backward()
        gradient = selector.bridge.span_head.weight.grad
        assert gradient.abs().sum() > 0
        assert torch.isfinite(gradient).all()
        assert selector.eval()(motion([7, 3]), text([4, 2]), *clip([13, 6]), k=3).mix is None


def test_sampling_is_for_training_and_repeats_with_its_generator():
    selector = build(sampling="gumbel", std=0.05)
    arguments = (motion([7]), text([4]), *clip([40], step=0.0875))
    fixed = [selector(*arguments, k=4).seconds for _ in range(2)]
    assert torch.equal(*fixed)
    selector.train()
    with pytest.raises(ConfigError, match="sampling spans needs a generator"):
        selector(*arguments, k=4)
    drawn = [
        selector(*arguments, k=4, generator=torch.Generator().manual_seed(seed)).spans for seed in (0, 0, *range(9))
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert any(not torch.equal(drawn[0], spans) for spans in drawn[2:])


def test_drawn_steps_follow_the_softmax_of_their_logits():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    selector = build(sampling="gumbel", temperature=2.0).train()
    many = logits[None, :, None].expand(20_000, -1, 2)
    shares = selector._sampled(many, torch.Generator().manual_seed(1))[..., 0].argmax(1).bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, (logits / 2.0).softmax(0), atol=0.015, rtol=0)


def test_loss_falls_to_nothing_on_sure_scores_and_ignores_what_is_not_there():
    selector = build()
    chosen = selector(motion([7, 3, 1]), text([4, 2, 3]), *clip([13, 6, 2]), k=2)
    sure = torch.full_like(chosen.logits, -30.0)
    sure[0, 2, 0] = sure[0, 4, 1] = sure[1, 1] = sure[2, 0] = 30.0
    sure[1:, 3:] = 99.0  # padding
    selection = type(chosen)(**{**vars(chosen), "logits": sure})
    target = torch.tensor([[[1.0, 2.5]], [[0.6, 0.9]], [[torch.nan, torch.nan]]])
    assert selector.loss(selection, target) < 1e-5
    wrong = torch.tensor([[[0.0, 0.4]], [[0.6, 0.9]], [[torch.nan, torch.nan]]])
    assert selector.loss(selection, wrong) > 10
    two = torch.cat([target, torch.full_like(target, torch.nan)], 1)
    torch.testing.assert_close(selector.loss(selection, two), selector.loss(selection, target))
    beyond = torch.tensor([[[1.0, 2.5]], [[0.6, 0.9]], [[5.0, 8.0]]])  # after the clip: its last step
    assert selector.loss(selection, beyond) < 1e-5


def test_a_row_without_motion_is_spread_over_the_clip_and_says_so():
    selector = build()
    moved = motion([7, 3])
    still = Features(
        moved.values, moved.mask & torch.tensor([True, False])[:, None, None], moved.seconds, moved.item, moved.scene
    )
    chosen = selector(still, text([4, 2]), *clip([13, 6]), k=3)
    assert chosen.notes == ((1, "no motion available: timestamps are spread over the whole clip"),)
    assert chosen.spans[1].tolist() == [[0.0, 1.25]] * 2
    assert chosen.seconds[1].tolist() == [0.25, 0.75, 1.25]
    assert chosen.scores[1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(chosen.logits[0, :7], selector(moved, text([4, 2]), *clip([13, 6]), k=3).logits[0, :7])
    target = torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]]])
    torch.testing.assert_close(selector.loss(chosen, target), selector.loss(chosen, target[:, :1] + 0.0))
    all_still = Features(moved.values, torch.zeros_like(moved.mask), moved.seconds, moved.item, moved.scene)
    chosen = selector(all_still, text([4, 2]), *clip([13, 6]), k=3)
    assert torch.isfinite(selector.loss(chosen, target))
    assert len(chosen.notes) == 2


@pytest.mark.parametrize("rounding", ["seconds", "ends", "ends_inclusive", "share"])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_more_timestamps_than_frames_one_frame_and_none(rounding, k):
    selector = build(rounding=rounding)
    chosen = selector(motion([7, 1, 1]), text([4, 2, 3]), *clip([3, 1, 0]), k=k)
    assert chosen.seconds.shape == (3, k)
    assert chosen.mask.tolist() == [[True] * k, [True] * k, [False] * k]
    assert set(chosen.seconds[0].tolist()) <= {0.0, 0.25, 0.5}
    assert set(chosen.seconds[1].tolist()) == {0.0}


def test_candidates_are_thinned_evenly():
    chosen = build(num_candidates=5)(motion([7, 3]), text([4, 2]), *clip([50, 4]), k=9)
    assert chosen.candidates.shape == (2, 5)
    assert (chosen.candidates[0] / 0.25).tolist() == [5.0, 15.0, 25.0, 35.0, 45.0]
    assert chosen.candidate_mask.tolist() == [[True] * 5, [True] * 4 + [False]]
    assert set(chosen.seconds[0].tolist()) <= set(chosen.candidates[0].tolist())


def test_patches_and_pooled_vectors_are_one():
    selector = build(num_patches=6, position="absolute+rope")
    moved = motion([7, 3], patches=6)
    embedding = selector.bridge.motion
    real = moved.mask.any(-1)
    vectors = (embedding.spatial @ moved.values)[:, :, None]
    with torch.no_grad():
        torch.testing.assert_close(
            embedding.pooled()(vectors, real), embedding(moved.values, real), atol=1e-5, rtol=1e-4
        )


def test_what_does_not_fit_is_reported():
    selector = build()
    good = (motion([7]), text([4]), *clip([13]))
    with pytest.raises(ConfigError, match="needs k >= 1, got k=0"):
        selector(*good, k=0)
    with pytest.raises(ConfigError, match="needs motion: give the model a stream with role='selector'"):
        selector(None, *good[1:], k=2)
    with pytest.raises(ConfigError, match="needs a question"):
        selector(good[0], None, *good[2:], k=2)
    with pytest.raises(ShapeError, match="rows of candidates, motion and text differ: 1, 2, 1"):
        selector(motion([7, 3]), *good[1:], k=2)
    with pytest.raises(ShapeError, match=r"expects motion \(R, L, 1, 5\), got \(1, 7, 1, 4\)"):
        selector(motion([7], width=4), *good[1:], k=2)
    with pytest.raises(ConfigError, match=r"selection \(uniform\) has no logits"):
        selector.loss(UniformSelectorConfig().build()(None, None, *clip([13]), k=2), torch.zeros(1, 1, 2))
    with pytest.raises(ShapeError, match=r"target_spans must be \(1, m, 2\), got \(2, 1, 2\)"):
        selector.loss(selector(*good, k=2), torch.zeros(2, 1, 2))


def test_questions_and_clips_longer_than_the_tables():
    stored = build(rope="stored", position="rope")
    with pytest.raises(ShapeError, match="the question has 17 tokens, but the bridge's table has 16; use fewer"):
        stored(motion([7]), text([17]), *clip([13]), k=2)
    with pytest.raises(
        ShapeError, match="the clip has 17 motion steps with begin and end, but the bridge's table has 16"
    ):
        stored(motion([15]), text([4]), *clip([13]), k=2)
    with pytest.raises(ShapeError, match="the clip has 15 motion steps, but the bridge's table has 14"):
        build(position="absolute+rope")(motion([15]), text([4]), *clip([13]), k=2)
    assert build()(motion([40]), text([60]), *clip([13]), k=2).mask.all()
    with pytest.raises(ConfigError, match=r"text_spec.max_tokens \(9\) is above max_positions \(8\)"):
        build(rope="stored", max_positions=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 15}, "hidden .15. over heads .3. must be an even number"),
        ({"fusion_layer": 3}, "fusion_layer .3. must be one of the 3 layers"),
        ({"num_spans": 0}, "num_spans .0., num_patches .1. and motion_width .5. must be at least 1"),
        ({"temperature": 0.0}, "temperature above 0"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ConfigError, match=message):
        GroundingSelectorConfig(**{**SMALL, **changes})


def test_paper_size():
    released = {"rope": "stored", "position": "absolute+rope", "num_patches": 196}
    with torch.device("meta"):
        bridge = GroundingSelectorConfig(**released).build().bridge
    assert isinstance(bridge, Bridge)
    # The released encoder without the position table of words, which nothing reads (spec 1.3)
    assert sum(p.numel() for p in bridge.parameters()) == 123_932_615 - 512 * 768
    assert sum(p.numel() for n, p in bridge.named_parameters() if n.endswith("_table")) == 65_536


@pytest.mark.parametrize("cross_position", ["words", "both"])
def test_long_clips_are_read_in_segments_to_the_same_scores(cross_position, monkeypatch):
    selector = build(window=2, cross_position=cross_position, mode="multi_modal")
    watched, asked = motion([37, 23]), text([4, 4])
    real = watched.mask.any(-1)
    whole = selector.bridge(watched.values, real, asked.ids, asked.mask)
    monkeypatch.setattr("vidweave.selectors.bridge.SEGMENT", 7)
    parts = selector.bridge(watched.values, real, asked.ids, asked.mask)
    assert torch.allclose(parts[real], whole[real], atol=1e-5)
