"""Decoding in a killable process: the same frames, and an end to whatever hangs or dies."""

import os
import signal
import time

import numpy as np
import pytest

from tests.unit.media.media_files import encode
from vidweave.errors import MediaDecodeError, MediaLimitError, MediaTypeError
from vidweave.media.isolate import IsolatedFrames
from vidweave.media.limits import Limits
from vidweave.media.open import open_source
from vidweave.types import MotionSpec

pytestmark = pytest.mark.slow
ISOLATED = Limits(isolate=True, max_decode_seconds=20.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("isolate") / "clip.mp4")


def test_frames_and_motion_are_those_of_the_same_process(clip):
    spec = MotionSpec(source="motion_vectors", fps=10, height=3, width=4)
    with open_source(clip, "video") as here, open_source(clip, "video", limits=ISOLATED) as there:
        for ours, theirs in zip(here.timeline(), there.timeline(), strict=True):
            assert np.array_equal(ours, theirs)
        assert np.array_equal(here.read_frames([7, 2, 7]).values, there.read_frames([7, 2, 7]).values)
        assert np.array_equal(here.read_motion(spec).values, there.read_motion(spec).values)
        assert there.notes == here.notes == []


def test_bad_files_are_reported_in_the_same_words(tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video")
    with pytest.raises(MediaDecodeError, match="not an audio or video file"):
        open_source(tmp_path / "text.mp4", "video", limits=ISOLATED)
    encode(tmp_path / "sound.mp4", sound_seconds=1.0)
    with (
        pytest.raises(MediaTypeError, match="is not flow"),
        open_source(tmp_path / "sound.mp4", "flow", limits=ISOLATED) as s,
    ):
        s.read_motion(MotionSpec(source="flow", fps=2, height=3, width=4))


def test_a_decoder_that_hangs_while_it_opens_is_killed():
    start = time.monotonic()
    with pytest.raises(MediaLimitError, match=r"Limits.max_decode_seconds"):
        IsolatedFrames(time.sleep, 3600, limits=Limits(max_decode_seconds=0.3))
    assert time.monotonic() - start < 30


def test_a_decoder_that_hangs_while_it_decodes_is_killed(clip):
    with open_source(clip, "video", limits=Limits(isolate=True, max_decode_seconds=0.5)) as source:
        process = source._frames._process
        os.kill(process.pid, signal.SIGSTOP)  # as if it hung in C code: deaf to everything but SIGKILL
        with pytest.raises(MediaLimitError, match=r"clip.mp4.*Limits.max_decode_seconds"):
            source.read_frames([3])
        assert not process.is_alive()


def test_a_decoder_that_dies_is_reported(clip):
    with open_source(clip, "video", limits=ISOLATED) as source:
        os.kill(source._frames._process.pid, signal.SIGSEGV)
        with pytest.raises(MediaDecodeError, match=r"the process that decodes it died \(exit code -11\)"):
            source.read_frames([3])
