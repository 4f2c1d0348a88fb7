"""Choosing frames from scores: gate, grid, coverage and spans, on numbers alone."""

import numpy as np
import pytest

from vidweave.errors import ConfigError
from vidweave.selectors.similarity import (
    SimilaritySettings,
    choose_frames,
    coarse_positions,
    dense_positions,
    find_spans,
    is_global_question,
    refined_positions,
    snapped,
    stands_out,
)


def shots(seed, lengths, width=24):
    """Features (S, D) of shots whose frames look alike, each shot in a direction of its own."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((len(lengths), width))
    rows = np.concatenate([c + 0.05 * rng.standard_normal((n, width)) for c, n in zip(centers, lengths, strict=True)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("question", "is_global"),
    [
        ("Summarize the video.", True),
        ("What is  this VIDEO about?", True),
        ("What is the main topic here?", True),
        ("How does the mood change throughout the film?", True),
        ("What color is the cup on the table?", False),
        ("Who enters the room after the phone rings?", False),
    ],
)
def test_questions_about_the_whole_clip_are_told_by_their_wording(question, is_global):
    assert is_global_question(question) == is_global


def test_noise_does_not_stand_out_and_a_peak_does():
    flags = []
    for seed in range(200):
        noise = np.random.default_rng(seed).standard_normal(180)
        flags.append(stands_out(noise))
        noise[77] = 9.0
        assert stands_out(noise)
    assert np.mean(flags) < 0.25  # the largest of 180 normal numbers is above sqrt(2 ln 180) in a few of them
    assert not stands_out(np.full(40, 0.3))
    assert not stands_out(np.array([0.7]))
    half = np.concatenate([np.full(30, 0.1), np.full(31, 0.9)]) + 0.01 * np.arange(61)
    assert not stands_out(half)  # relevant in half of the clip: uniform frames show it


def test_an_hour_needs_two_percent_of_its_frames():
    settings = SimilaritySettings()
    for total in (36_000, 90_000, 216_000):
        coarse = settings.coarse_count(total, 8)
        refined = settings.refined_count(settings.budget(total))
        assert coarse + refined <= 0.02 * total
        assert refined == 64
    assert settings.coarse_count(100, 8) == 100  # a short clip is scored whole
    assert settings.coarse_count(36_000, 16) == settings.coarse_count(36_000, 32)  # one grid for usual numbers
    assert settings.coarse_count(400, 90) == 192
    assert settings.coarse_count(300, 290) == 300


def test_positions_of_the_grid():
    assert coarse_positions(4, 10).tolist() == [1, 3, 6, 8]
    grid = np.array([5, 15, 25, 35])
    assert snapped(grid, np.array([0, 12, 24, 36])).tolist() == [0, 12, 24, 36]  # at most half a step of 10
    assert snapped(grid, np.array([20])).tolist() == [5, 20, 35]  # two positions become one
    assert snapped(grid, np.array([], dtype=int)).tolist() == [5, 15, 25, 35]


def test_refining_looks_around_the_best_frames():
    grid, scores = np.array([10, 20, 30, 31, 50]), np.array([0.1, 0.2, 0.9, 0.3, 0.0])
    cells = refined_positions(grid, scores, 7, 4)
    assert [cell.tolist() for cell in cells] == [[22, 24, 26, 28], [35, 40, 45]]  # 30..31 has nothing between
    assert refined_positions(grid, scores, 0, 4) == []


def test_chosen_frames_are_relevant_and_no_cluster():
    features = shots(0, [200, 12, 150, 9, 229])
    seconds = np.arange(600) * 0.5
    scores = np.full(600, 0.1) + 1e-4 * np.random.default_rng(1).standard_normal(600)
    scores[200:212], scores[362:371] = 0.5, 0.45
    chosen = choose_frames(scores, features, seconds, 8, SimilaritySettings())
    assert len(set(chosen.tolist())) == 8
    assert list(chosen) == sorted(chosen)
    inside = [i for i in chosen if 200 <= i < 212 or 362 <= i < 371]
    assert any(i < 212 for i in inside)
    assert any(i >= 362 for i in inside)
    assert np.diff(seconds[inside]).min() >= 0.99  # alike side by side: 0.5 s apart they would be a cluster
    plain = np.sort(np.argsort(-scores)[:8])
    assert np.diff(seconds[plain]).min() == pytest.approx(0.5)  # the eight best alone are one


def test_an_empty_choice_of_relevant_frames_is_filled_evenly():
    scores = np.zeros(90)
    scores[40] = 1.0
    chosen = choose_frames(scores, shots(2, [90]), np.arange(90.0), 5, SimilaritySettings())
    assert 40 in chosen
    assert np.diff(chosen).min() >= 10
    assert chosen[0] <= 5
    assert chosen[-1] >= 84


def test_more_frames_than_scored_ones_are_all():
    assert choose_frames(np.arange(5.0), shots(3, [5]), np.arange(5.0), 9, SimilaritySettings()).tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_spans_are_runs_of_relevant_frames():
    scores = np.array([0.1, 0.1, 0.8, 0.9, 0.1, 0.1, 0.1, 0.7, 0.1])
    spans = find_spans(scores, np.arange(9) * 2.0, 0.5)
    assert [(s.first, s.last, s.start, s.end, s.score) for s in spans] == [
        (2, 3, 3.0, 7.0, 0.9),
        (7, 7, 13.0, 15.0, 0.7),
    ]


def test_dense_positions_stay_inside_the_spans_until_they_must_grow():
    assert dense_positions([(10, 19), (40, 49)], 5, 100).tolist() == [12, 16, 40, 44, 48]
    grown = dense_positions([(50, 51)], 8, 100)
    assert len(set(grown.tolist())) == 8
    assert grown.min() >= 46
    assert grown.max() <= 55
    assert dense_positions([(0, 0)], 7, 7).tolist() == list(range(7))


@pytest.mark.parametrize("values", [{"share": 0}, {"diversity": 1.5}, {"relevant": 0.0}, {"max_redundancy": -0.1}])
def test_parts_lie_between_0_and_1(values):
    with pytest.raises(ConfigError, match=r"share, diversity, max_redundancy and relevant must lie in 0..1, got"):
        SimilaritySettings(**values)


@pytest.mark.parametrize("values", [{"min_scored": 1}, {"refined": -1}, {"per_cell": 0}, {"near_seconds": 0}])
def test_counts_are_positive(values):
    with pytest.raises(
        ConfigError, match="min_scored must be at least 2, refined 0, per_cell 1, and near_seconds above 0"
    ):
        SimilaritySettings(**values)
