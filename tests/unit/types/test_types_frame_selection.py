import pytest

from vidweave.errors import QueryError
from vidweave.pipelines.frame_selection.uniform import UniformFrames
from vidweave.types import FrameSelection, FrameSelector


def test_timestamps_ascend_and_each_has_a_score():
    with pytest.raises(QueryError, match=r"must be ascending, got \(2.0, 1.0\)"):
        FrameSelection(seconds=(2.0, 1.0), reason="similarity")
    with pytest.raises(QueryError, match="a selection of 2 timestamps has 1 scores; give one each"):
        FrameSelection(seconds=(1.0, 2.0), scores=(0.5,), reason="similarity")


def test_uniform_leaves_the_choice_to_the_pipeline():
    assert FrameSelection(seconds=(1.0,), reason="uniform").is_uniform
    assert not FrameSelection(seconds=(1.0,), reason="similarity").is_uniform
    assert isinstance(UniformFrames(), FrameSelector)
