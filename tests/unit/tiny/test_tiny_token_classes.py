"""Labels of tokens: what shows there most, over as many frames as the token begins from."""

import numpy as np
import pytest

from vidweave.errors import ConfigError
from vidweave.tiny.scenes import NOTHING, train_scene
from vidweave.tiny.token_classes import SPEEDS, TOKEN_CLASSES, LabeledTokens
from vidweave.toyworld.labels import dense_labels

NAMES = ("motion", "speed", "quarter", "texture")
SCENES = range(30)
OWN = (2 * (np.arange(6) >= 3)[:, None] + (np.arange(6) >= 3)[None]).flatten()


def named(labels, name, where):
    return {TOKEN_CLASSES[name][label] for label in labels[name][where]}


@pytest.mark.parametrize("index", SCENES)
def test_what_is_there_is_reported_and_what_is_not_is_not(index):
    scene, example = train_scene(index), LabeledTokens(NAMES, patch=8, tube=8, frames=8)[index]
    labels, there = example.labels, example.labels["presence"]
    assert example.frames.shape == (8, 48, 48, 3)
    assert {labels[name].shape for name in labels} == {(36,)}
    assert named(labels, "texture", there) <= {obj.texture for obj in scene.objects}
    assert (labels["texture"][~there] == NOTHING).all()
    moving = labels["speed"] != NOTHING
    assert named(labels, "motion", there & ~moving) <= {"still"}
    assert "still" not in named(labels, "motion", moving)
    assert named(labels, "speed", moving) <= set(SPEEDS)
    assert set(labels["quarter"][there]) <= {obj.quarter for obj in scene.objects}
    np.testing.assert_array_equal(labels["quarter"][~there], OWN[~there])


def test_a_token_of_one_frame_shows_what_is_there_at_its_time():
    source = LabeledTokens(("texture",), patch=4, tube=1, frames=2)
    example = source[5]
    frames = np.random.default_rng([5, 16]).integers(0, 16, 2)
    expected = dense_labels(train_scene(5), frames=frames, patch=4)["texture"].flatten()
    np.testing.assert_array_equal(example.labels["texture"], expected)
    assert len(expected) == 2 * 144


def test_a_token_over_time_shows_what_is_there_most():
    seen = np.full((4, 1, 2), NOTHING)
    seen[:, 0, 0] = [0, 1, 1, NOTHING]
    seen[3, 0, 1] = 0
    whole, halves = (LabeledTokens((), patch=8, tube=tube, frames=4)._shown(seen, 2) for tube in (4, 2))
    assert whole.tolist() == [1, 0]
    assert halves.tolist() == [0, NOTHING, 1, 0]


def test_frames_that_tokens_cannot_share_evenly():
    with pytest.raises(ConfigError, match="frames must be a multiple of tube, got 8 and 3"):
        LabeledTokens(NAMES, patch=8, tube=3, frames=8)
