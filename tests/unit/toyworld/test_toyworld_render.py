"""Renderers and dense labels show the scene's truth, and nothing of what another sense has to tell."""

from dataclasses import replace

import numpy as np
import pytest

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.labels import LABEL_CLASSES, dense_labels
from vidweave.toyworld.render import RENDERERS, render, render_depth, render_ids, render_rgb, render_sound
from vidweave.toyworld.scene import sample_scene


@pytest.mark.parametrize("modality", sorted(RENDERERS))
def test_rendering_is_deterministic(modality):
    first, second = render(sample_scene(8), modality), render(sample_scene(8), modality)
    key = "samples" if modality == "audio" else "values"
    np.testing.assert_array_equal(getattr(first, key), getattr(second, key))


@pytest.mark.parametrize("modality", ["video", "depth", "flow"])
@pytest.mark.parametrize(("size", "length"), [(48, "short"), (67, "short"), (96, "long")])
def test_a_range_of_frames_equals_that_range_of_the_whole(modality, size, length):
    scene = sample_scene(4, length=length, num_frames=70 if length == "long" else None)
    whole, part = render(scene, modality, size=size), render(scene, modality, frames=[3, 9, 11], size=size)
    np.testing.assert_array_equal(whole.values[[3, 9, 11]], part.values)
    np.testing.assert_allclose(part.pts_seconds, np.array([3, 9, 11]) / 8)
    assert part.values.shape[1:3] == (size, size)


def test_rgb_shows_each_object_in_its_colour():
    scene = sample_scene(13)
    rgb, ids = render_rgb(scene), render_ids(scene)
    assert rgb.dtype == np.uint8
    for i, obj in enumerate(scene.objects):
        brightest = rgb[ids == i].max(axis=0)
        np.testing.assert_array_equal(brightest, a.COLOURS[obj.colour])


def test_rgb_keeps_the_secrets_of_other_senses():
    scene = sample_scene(30)
    hidden = {"distance": "far", "distance_metres": 6.1, "spin": "left", "temperature": "hot", "relief": "dented"}
    hidden |= {"firmness": "soft", "consistency": "hollow", "pitch": "low", "beeps": (3,)}
    other = replace(scene, objects=tuple(replace(o, **hidden) for o in scene.objects))
    np.testing.assert_array_equal(render_rgb(scene), render_rgb(other))
    assert not np.array_equal(render_depth(scene), render_depth(other))


def test_depth_is_in_metres():
    scene = sample_scene(13)
    depth, ids = render_depth(scene), render_ids(scene)
    for i, obj in enumerate(scene.objects):
        np.testing.assert_allclose(depth[ids == i], obj.distance_metres, atol=0.06)
    np.testing.assert_allclose(depth[ids < 0], 10.0, atol=0.06)


def test_sound_beeps_when_and_as_high_as_the_scene_says():
    for seed in range(12):
        scene = sample_scene(seed)
        sound = render_sound(scene)
        assert len(sound.samples) == 32_000
        loud = np.abs(sound.samples.reshape(16, -1)).max(axis=1) > 0.1
        assert set(np.flatnonzero(loud)) == set(scene.beeper.beeps)
        spectrum = np.abs(np.fft.rfft(sound.samples))
        assert abs(spectrum.argmax() / 2 - a.PITCHES[scene.beeper.pitch]) < 10


def test_dense_labels_agree_with_the_picture():
    scene = sample_scene(17)
    labels = dense_labels(scene, size=64, patch=16)
    ids = render_ids(scene, size=64).reshape(16, 4, 16, 4, 16)
    assert labels["presence"].shape == (16, 4, 4)
    assert labels["offset"].shape == (16, 4, 4, 2)
    np.testing.assert_allclose(labels["coverage"], (ids >= 0).mean(axis=(2, 4)), rtol=1e-6)
    for t, y, x in np.argwhere(labels["presence"]):
        obj = scene.objects[labels["object"][t, y, x]]
        for name, classes in LABEL_CLASSES.items():
            assert classes[labels[name][t, y, x]] == getattr(obj, name)
        middle = np.array([x, y]) + 0.5 + labels["offset"][t, y, x]
        np.testing.assert_allclose(middle * 12, obj.positions(np.array([t]))[0], atol=1e-4)
    assert (labels["shape"][~labels["presence"]] == -1).all()


def test_faults_are_named():
    scene = sample_scene(1)
    with pytest.raises(UnknownNameError, match="did you mean 'depth'"):
        render(scene, "dept")
    with pytest.raises(ConfigError, match="frames 0 to 15, asked for 3 to 16"):
        render(scene, "video", frames=[3, 16])
    with pytest.raises(ConfigError, match="at least 16 pixels, got 7"):
        render(scene, "video", size=7)
    with pytest.raises(ConfigError, match="multiple of patch, got 48 and 7"):
        dense_labels(scene, patch=7)
