"""Many streams through one model: several encoders on one video, audio beside it, several scenes, missing ones, spans."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, with_processor

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.ports import PortConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.errors import ConfigError, ModalityError
from vidweave.language.layout import EachScene, Slot, Special, TemplateLayout, Text, When
from vidweave.model.config import StreamConfig, VideoLanguageConfig
from vidweave.pipelines.slot import SlotPipeline
from vidweave.selectors.all_frames import AllFramesSelectorConfig
from vidweave.types import AudioSpec, Clip, FrameNeed, Frames, PoolSpec, Query, Scene, VisualSpec, Waveform

SOUND = AudioSpec(sample_rate=8_000, window_seconds=0.5, mel_bins=16, max_windows=4)
MEL_FRAMES = 48  # of one window, 25 ms wide and 10 ms apart


def _config(family: str) -> VideoLanguageConfig:
    """Two encoders with their own rates and sizes, fused; audio through a plain projector; scenes with labels."""
    base = tiny_config(family).parse()
    wide = VisualSpec(height=24, width=24, resize="crop")
    encoders = {
        **base.encoders,
        "wide": PatchEncoderConfig(size=24, patch=8, width=10, layers=1, heads=2, specs={"video": wide, "depth": wide}),
        "ear": PatchEncoderConfig(
            size=(MEL_FRAMES, 16), patch=16, width=8, layers=1, heads=2, channels=1, specs={"audio": SOUND}
        ),
    }
    streams = {
        **base.streams,
        "wide": StreamConfig(
            encoder="wide", modalities=("video",), need=FrameNeed(num_frames=6), pool=PoolSpec(grid=1, time=2)
        ),
        "ear": StreamConfig(encoder="ear", modalities=("audio",)),
    }
    connector = ConnectorConfig(
        trunks={**base.connector.trunks, "wide": MLPConfig(key_width=10), "ear": MLPConfig(key_width=8)},
        ports={
            **base.connector.ports,
            "wide": PortConfig(trunk="wide", input_width=10),
            "ear": PortConfig(trunk="ear", input_width=8, absent="skip"),
        },
        fusion=ConcatFusionConfig(name="seen", streams=("video", "wide"), align="nearest"),
        output_width=base.connector.output_width,
    )
    scene = (Text(text="{label} :"), Slot(block="seen"), When(present=("ear",), parts=(Slot(block="ear"),)))
    layout = TemplateLayout(
        parts=(Special(token="bos"), EachScene(parts=scene), Text(text="{question}")), options=base.layout.options
    )
    return VideoLanguageConfig(
        replace(base, encoders=encoders, streams=streams, connector=connector, layout=layout), name="many"
    )


def _video(seed: int, count: int) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames.from_array(rng.integers(0, 256, (count, 20, 24, 3), dtype=np.uint8), fps=6)


def _sound(seed: int, seconds: float) -> Waveform:
    rng = np.random.default_rng(seed)
    return Waveform(rng.uniform(-0.5, 0.5, int(seconds * 8_000)).astype(np.float32), 8_000)


def _queries() -> list[Query]:
    both = Query("what is it ?", (Scene("a", Clip(_video(1, 9), audio=_sound(1, 1.7))), Scene("b", Clip(_video(2, 4)))))
    one = Query("what colour ?", (Scene("c", Clip(_video(3, 13), audio=_sound(2, 9.0))),), ("red", "blue"))
    return [both, one]


@pytest.fixture
def model(family):
    return with_processor(_config(family))


def test_two_scenes_and_a_missing_audio_equal_one_by_one(model):
    asked = [Query(q.text, q.scenes, ("red", "blue", "green")) for q in _queries()]
    together, alone = SlotPipeline(model).answer(asked), [SlotPipeline(model).answer([q])[0] for q in asked]
    for a, b in zip(together, alone, strict=True):
        ours, theirs = ([s for _, s in sorted((o.text, o.score) for o in x.options)] for x in (a, b))
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=2e-5, rtol=1e-4)


def test_the_trace_names_streams_scenes_tokens_and_what_was_not_heard(model):
    both, one = SlotPipeline(model).answer(_queries())
    assert {(use.stream, use.scene) for use in both.trace.frames} == {
        (stream, scene) for stream in ("video", "wide") for scene in "ab"
    }
    assert both.trace.tokens["seen"] == 2 * 3 * (5 + 1)
    assert both.trace.tokens["ear"] == 4 * 3  # windows of the first scene, patches of one
    assert any("2.0 s of 9.0 s heard" in note for note in one.trace.notes)


def test_one_decode_serves_all_encoders(model, monkeypatch):
    from vidweave.media.open import OpenSource

    calls = []
    read = OpenSource.read_frames
    monkeypatch.setattr(OpenSource, "read_frames", lambda self, i: calls.append(list(i)) or read(self, i))
    SlotPipeline(model).answer(_queries()[1:])
    assert len(calls) == 1
    assert len(calls[0]) <= 3 + 6


def test_the_cache_serves_every_stream(model, tmp_path):
    plain = SlotPipeline(model).answer(_queries())
    model.encoders.requires_grad_(False)
    pipe = SlotPipeline(model, cache_folder=tmp_path)
    stored = [pipe.answer(_queries()) for _ in range(2)]
    assert [a.text for a in stored[0]] == [a.text for a in stored[1]] == [a.text for a in plain]
    assert len(pipe.cache.store.keys()) == 3 + 3 + 2


def test_a_missing_modality_is_named(model):
    query = Query("what ?", (Scene("a", Clip(audio=_sound(1, 1.0))),))
    with pytest.raises(ModalityError, match=r"stream '(video|wide)' is missing|seen"):
        SlotPipeline(model).answer([query])


def test_every_frame_is_seen_by_a_model_without_a_number(family):
    spec = tiny_config(family).parse()
    streams = {"video": replace(spec.streams["video"], need=FrameNeed())}
    config = VideoLanguageConfig(replace(spec, selector=AllFramesSelectorConfig(), streams=streams), name="all")
    answer = SlotPipeline(with_processor(config)).ask(Clip(video=_video(4, 11)), "what ?")
    assert [use.index for use in answer.trace.frames] == list(range(11))
    assert {use.why for use in answer.trace.frames} == {"all_frames"} or answer.trace.frames[0].why


@pytest.mark.parametrize("cached", [False, True])
def test_segments_that_pooling_over_time_does_not_divide_are_named(model, tmp_path, cached):
    if cached:
        model.encoders.requires_grad_(False)
    pipe = SlotPipeline(model, cache_folder=tmp_path / "store" if cached else None)
    with pytest.raises(ConfigError, match=r"pool\.time=2 does not divide the stream's 3 segments; change num_frames"):
        pipe.answer(_queries(), num_frames=3)
