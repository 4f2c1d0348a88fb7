"""`similarity` and `ground`: what they choose, what they keep, and what they refuse."""

from threading import Event, Thread

import numpy as np
import pytest
from long_clips import MODEL, clip, frames_of, question, scene, write_long_clip

from vidweave.errors import CancelledError, ConfigError, MediaError, ModalityError, UnknownNameError
from vidweave.media.open import OpenSource
from vidweave.pipelines.frame_selection.names import PipelineSelector, frame_selector
from vidweave.pipelines.frame_selection.similarity import GroundSelector, SimilaritySelector
from vidweave.pipelines.frame_selection.uniform import UniformFrames
from vidweave.selectors.similarity import SimilaritySettings
from vidweave.types import Clip, Frames, FrameSelector, PrecomputedFeatures, Waveform


@pytest.fixture(scope="module")
def similarity():
    return SimilaritySelector(MODEL)


@pytest.fixture(scope="module")
def ground():
    return GroundSelector(MODEL)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_long_clip(tmp_path_factory.mktemp("clips") / "long.mp4")


@pytest.fixture
def decoded(monkeypatch):
    """Indices of frames that are decoded."""
    seen: list[int] = []
    read = OpenSource.read_frames

    def counted(source, indices):
        seen.extend(np.asarray(indices).tolist())
        return read(source, indices)

    monkeypatch.setattr(OpenSource, "read_frames", counted)
    return seen


def test_frames_of_the_visit_are_found(similarity, ground):
    found = {"similarity": 0, "ground": 0, "uniform": 0}
    selectors = {"similarity": similarity, "ground": ground, "uniform": UniformFrames()}
    for number in range(3):
        for visit in scene(number).objects[:3]:
            for name, selector in selectors.items():
                chosen = selector.select(clip(number), question(visit), num_frames=8)
                assert len(chosen.seconds) == len(set(chosen.seconds)) == 8
                assert chosen.seconds == pytest.approx([i / 8 for i in chosen.indices])
                found[name] += frames_of(visit, chosen.indices)
    assert found["similarity"] > 3 * found["uniform"]
    assert found["ground"] > 3 * found["uniform"]


def test_all_three_keep_the_protocol(similarity, ground):
    for selector in (similarity, ground, UniformFrames()):
        assert isinstance(selector, FrameSelector)
        chosen = selector.select(clip(), question(scene().objects[1]), num_frames=5)
        assert chosen.reason == selector.name
        assert selector.describe()["selector"] == selector.name
        assert len(repr(chosen)) < 500
    assert similarity.describe()["weights"] == ground.describe()["weights"]


def test_questions_about_the_whole_clip_get_uniform_frames_and_decode_nothing(similarity, decoded):
    chosen = similarity.select(clip(), "Summarize the video.", num_frames=6)
    assert chosen.is_uniform
    assert chosen.notes == ("similarity: the question is about the whole clip; frames are sampled uniformly",)
    assert chosen.seconds == UniformFrames().select(clip(), "", num_frames=6).seconds
    assert decoded == []


def test_a_flat_curve_gets_uniform_frames(similarity):
    rng = np.random.default_rng(4)
    noise = Clip(Frames.from_array(rng.integers(0, 256, (70, 48, 48, 3), dtype=np.uint8), fps=5))
    chosen = similarity.select(noise, "What shape is the red object?", num_frames=4)
    assert chosen.notes == ("similarity: no frame stands out for this question; frames are sampled uniformly",)
    assert len(chosen.curve) == 70
    forced = SimilaritySelector(MODEL, settings=SimilaritySettings(gate=False))
    assert forced.select(noise, "What shape is the red object?", num_frames=4).reason == "similarity"


def test_the_second_question_decodes_no_grid(video, tmp_path, decoded):
    settings = SimilaritySettings(min_scored=40, refined=16)
    first, second, _ = (question(visit) for visit in scene().objects[:3])
    with_store = {"cache_folder": tmp_path / "store", "settings": settings}
    selector = SimilaritySelector(MODEL, **with_store)
    chosen = selector.select(Clip(video), first, num_frames=4)
    grid = len(decoded)
    assert chosen.costs["frames_scored"] == chosen.costs["frames_decoded"] == grid <= 40
    assert selector.select(Clip(video), first, num_frames=4).costs["frames_decoded"] == 0
    again = selector.select(Clip(video), second, num_frames=4)
    assert again.costs["frames_decoded"] <= 10  # between other frames of the grid
    selector.close()
    decoded.clear()
    other = SimilaritySelector(MODEL, **with_store)  # as another process would
    assert other.select(Clip(video), first, num_frames=4).seconds == chosen.seconds
    assert other.select(Clip(video), second, num_frames=4).seconds == again.seconds
    assert decoded == []


def test_a_changed_file_is_indexed_again(tmp_path, decoded):
    path = write_long_clip(tmp_path / "a.mp4", 0)
    selector = SimilaritySelector(MODEL, settings=SimilaritySettings(min_scored=20, refined=0))
    selector.select(Clip(path), "a ring", num_frames=2)
    before = len(decoded)
    write_long_clip(path, 1)
    selector.select(Clip(path), "a ring", num_frames=2)
    assert len(decoded) == 2 * before
    renamed = path.rename(tmp_path / "b.mp4")
    selector.select(Clip(renamed), "a ring", num_frames=2)  # known by its content
    assert len(decoded) == 2 * before


def test_the_grid_prefers_keyframes(video, decoded):
    selector = SimilaritySelector(MODEL, settings=SimilaritySettings(min_scored=28, refined=0))
    selector.select(Clip(video), "a ring", num_frames=2)
    assert len(decoded) == 28
    assert sum(index % 10 == 0 for index in decoded) >= 25  # a keyframe every 10 frames


def test_spans_of_the_clip_are_kept_to(similarity, ground):
    for selector in (similarity, ground, UniformFrames()):
        inside = Clip(clip()["video"], start_seconds=10.0, end_seconds=14.9)
        chosen = selector.select(inside, question(scene().objects[0]), num_frames=40)
        assert len(chosen.seconds) == 40  # all that are there
        assert chosen.seconds[0] == 10.0
        assert chosen.seconds[-1] == 14.875


def test_the_end_of_a_span_is_exclusive_and_one_frame_is_always_on_show(similarity, ground):
    for selector in (similarity, ground, UniformFrames()):
        upto = Clip(clip()["video"], start_seconds=10.0, end_seconds=11.0)
        assert selector.select(upto, "a ring", num_frames=8).seconds[-1] == 10.875
        between = Clip(clip()["video"], start_seconds=10.01, end_seconds=10.1)
        assert selector.select(between, "a ring", num_frames=1).seconds == (10.0,)
    with pytest.raises(MediaError, match=r"the span starts at 99\.0 s, but the clip ends at"):
        similarity.select(Clip(clip()["video"], start_seconds=99.0), "a ring", num_frames=1)


def test_large_numbers_get_distinct_frames(similarity, ground):
    for selector in (similarity, ground):
        chosen = selector.select(clip(), question(scene().objects[0]), num_frames=200)
        assert len(set(chosen.indices)) == 200


def test_a_call_can_be_cancelled_and_continued(video, tmp_path, monkeypatch):
    selector = SimilaritySelector(MODEL, cache_folder=tmp_path / "store")
    cancel, embed = Event(), selector.model.embed_frames
    monkeypatch.setattr(selector.model, "embed_frames", lambda *a: (cancel.set(), embed(*a))[1])
    with pytest.raises(CancelledError):
        selector.select(Clip(video), "a ring", num_frames=4, cancel=cancel)
    assert selector.select(Clip(video), "a ring", num_frames=4).costs["frames_decoded"] == 128


def test_threads_share_a_selector(similarity, video):
    expected = similarity.select(Clip(video), "a red object", num_frames=6).seconds
    results: list = []

    def ask() -> None:
        results.append(similarity.select(Clip(video), "a red object", num_frames=6).seconds)

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


# ---- bad input


def test_a_clip_without_video_is_refused(similarity):
    sound = Clip(audio=Waveform(np.zeros(100, dtype=np.float32), 100))
    with pytest.raises(
        ModalityError, match="a frame selector needs a video with frames, the clip has audio; leave out"
    ):
        similarity.select(sound, "a ring", num_frames=2)
    features = PrecomputedFeatures(np.zeros((3, 2, 4), dtype=np.float32), np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(ModalityError, match="the clip has features of a video"):
        similarity.select(Clip(features), "a ring", num_frames=2)


@pytest.mark.parametrize("selector", [UniformFrames(), "similarity"])
def test_more_frames_than_there_are(selector, similarity):
    selector = similarity if selector == "similarity" else selector
    with pytest.raises(
        MediaError, match="301 frames were requested, the video has 300 in the chosen span; request at most 300"
    ):
        selector.select(clip(), "a ring", num_frames=301)
    with pytest.raises(MediaError, match="at least 1 frame must be requested, got 0"):
        selector.select(clip(), "a ring", num_frames=0)


def test_names_of_selectors():
    assert frame_selector(None) is None
    assert isinstance(frame_selector(f"ground:{MODEL}"), GroundSelector)
    assert isinstance(frame_selector("similarity", model=MODEL), SimilaritySelector)
    own = UniformFrames()
    assert frame_selector(own) is own
    with pytest.raises(UnknownNameError, match="unknown frame selector 'similarty'; did you mean 'similarity'"):
        frame_selector("similarty")
    with pytest.raises(
        ConfigError, match=r"the selector 'ground' needs the folder or hub id of a dual encoder \(CLIP, SigLIP\)"
    ):
        frame_selector("ground")
    with pytest.raises(ConfigError, match="the selector 'uniform' takes no model, got 'a'; leave it out"):
        frame_selector("uniform:a")
    with pytest.raises(ConfigError, match="the selector's model is given twice, as 'a' and as 'b'; give one"):
        frame_selector("similarity:a", model="b")
    with pytest.raises(
        ConfigError, match=r"selector must be a name such as 'similarity:FOLDER', or an object .*, got 3"
    ):
        frame_selector(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="selector_model belongs to a selector that is given by name"):
        frame_selector(own, model="a")
    with pytest.raises(ConfigError, match="num_spans must be at least 1, got 0"):
        GroundSelector(MODEL, num_spans=0)
    for kind in (SimilaritySelector, GroundSelector):
        with pytest.raises(ConfigError, match=f"the selector '{kind.name}' needs the folder or hub id"):
            kind(None)
    with pytest.raises(ConfigError, match="the selector 'uniform' takes no model"):
        UniformFrames("a")


def test_a_named_selector_is_loaded_once():
    selectors = PipelineSelector("uniform")
    assert selectors.of(None) is selectors.own
    first = selectors.of(f"similarity:{MODEL}")
    assert selectors.of(f"similarity:{MODEL}") is first
    assert PipelineSelector().of(None) is None
    assert PipelineSelector().describe() == {}
    selectors.close()
