"""Scenes: deterministic, within bounds, of equal motion energy."""

import numpy as np
import pytest

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render import render_flow, render_ids
from vidweave.toyworld.scene import sample_scene
from vidweave.toyworld.splits import SEEDS, check_split, scene_seeds, split_seed


@pytest.mark.parametrize("length", ["short", "long"])
def test_same_seed_same_scene(length):
    assert sample_scene(5, length=length) == sample_scene(5, length=length)
    assert sample_scene(5, length=length) != sample_scene(6, length=length)


def test_short_scene_holds_its_promises():
    for seed in range(300):
        scene = sample_scene(seed)
        assert 1 <= len(scene.objects) <= 4
        assert len({o.shape for o in scene.objects}) == len({o.colour for o in scene.objects}) == len(scene.objects)
        assert 1 <= len(scene.beeper.beeps) <= 4
        for obj in scene.objects:
            assert obj.end_frame - obj.start_frame >= 6
            assert all(obj.start_frame <= f < obj.end_frame for f in obj.beeps)
            assert len(set(obj.beeps)) == len(obj.beeps)
            inside = obj.positions(np.arange(16))
            assert inside.min() >= 3
            assert inside.max() <= 45


@pytest.mark.parametrize("event_frames", [4, 6, 17])
def test_long_visits_do_not_meet_and_stay_inside(event_frames):
    for seed in range(40):
        scene = sample_scene(seed, length="long", num_frames=211, event_frames=event_frames)
        ends = [0] + [o.end_frame for o in scene.objects]
        assert all(o.start_frame >= e for o, e in zip(scene.objects, ends, strict=False))
        assert ends[-1] <= 211
        assert len({o.motion for o in scene.objects}) == len(scene.objects) >= 5
        for obj in scene.objects:
            where = obj.positions(np.arange(obj.start_frame, obj.end_frame))
            assert where.min() >= obj.diameter / 2 - 1
            assert where.max() <= a.WORLD_PX - obj.diameter / 2 + 1


def test_every_kind_of_motion_has_the_same_energy():
    """Path length per frame, and frame area that moves, are equal between the visits of a clip."""
    scene = sample_scene(3, length="long")
    for obj in scene.objects:
        frames = np.arange(obj.start_frame, obj.end_frame - 1)
        step = np.linalg.norm(obj.positions(frames + 1) - obj.positions(frames), axis=1)
        np.testing.assert_allclose(step, obj.step, rtol=0.05)
        assert obj.size == scene.objects[0].size


def test_flow_is_the_motion_plus_the_spin():
    scene = sample_scene(21)
    flow, ids = render_flow(scene, size=96), render_ids(scene, size=96)
    assert not flow[ids < 0].any()
    for i, obj in enumerate(scene.objects):
        for t in np.flatnonzero(obj.is_there(np.arange(16)))[::5]:
            seen = ids[t] == i
            rows, columns = np.nonzero(seen)
            x, y = obj.positions(np.array([t]))[0] * 2
            move = (obj.positions(np.array([t + 1.0])) - obj.positions(np.array([t])))[0] * 2
            turn = (columns + 0.5 - x) * (flow[t][seen][:, 1] - move[1]) - (rows + 0.5 - y) * (
                flow[t][seen][:, 0] - move[0]
            )
            assert np.sign(turn.sum()) == np.sign(a.SPINS[obj.spin])


def test_splits_never_meet():
    assert check_split(split_seed("train", 9), "train") == 9
    assert all(seed in SEEDS["test"] for seed in scene_seeds(7, 5))
    assert not set(scene_seeds(7, 50)) & set(scene_seeds(8, 50))
    assert scene_seeds(2**41 - 1, 3)[-1] + 2**20 in SEEDS["test"]
    with pytest.raises(ConfigError, match="seed 3 is not in split 'test'"):
        check_split(3, "test")
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        split_seed("trian", 3)
    with pytest.raises(ConfigError, match="there is no seed number"):
        split_seed("train", 2**41)
    with pytest.raises(ConfigError, match="between 0 and"):
        scene_seeds(-1, 3)
    with pytest.raises(ConfigError, match="1 to 1048576 clips, got 0"):
        scene_seeds(1, 0)


def test_too_few_frames_are_refused():
    with pytest.raises(ConfigError, match="at least 12 frames"):
        sample_scene(1, num_frames=5)
    with pytest.raises(ConfigError, match="give at least 48 frames"):
        sample_scene(1, length="long", num_frames=20)
    with pytest.raises(ConfigError, match="'short' or 'long', got 'medium'"):
        sample_scene(1, length="medium")  # type: ignore[arg-type]
