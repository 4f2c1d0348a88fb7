"""Renderers and dense labels show the scene, and nothing of what another modality has to tell."""

from dataclasses import replace

import numpy as np
import pytest

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.labels import LABEL_CLASSES, MODALITY_CLASSES, audio_labels, dense_labels, modality_labels
from vidweave.toyworld.render import (
    RENDERERS,
    render,
    render_audio,
    render_depth,
    render_ids,
    render_normals,
    render_points,
    render_rgb,
    render_thermal,
    render_touch,
    touched,
)
from vidweave.toyworld.scene import sample_scene

PICTURES = sorted(set(RENDERERS) - {"audio", "point_cloud"})
TELLS = {
    "video": {"shape", "colour", "size", "texture", "motion"},
    "depth": {"shape", "size", "motion", "distance_metres"},
    "normals": {"shape", "size", "motion", "relief"},
    "flow": {"shape", "size", "motion", "spin"},
    "thermal": {"shape", "size", "motion", "temperature"},
    "touch": {"shape", "firmness"},
    "audio": {"pitch", "beeps"},
    "point_cloud": {"shape", "size", "consistency"},
}
OTHER_VALUES = {
    "colour": "purple",
    "shape": "ring",
    "size": "big",
    "texture": "checked",
    "motion": "up",
    "spin": "left",
}
OTHER_VALUES |= {"temperature": "hot", "relief": "dented", "firmness": "soft", "consistency": "hollow", "pitch": "low"}
OTHER_VALUES |= {"distance_metres": 6.1, "beeps": (3, 6)}


def rendered(scene, modality):
    """The numbers that a modality makes of a scene."""
    sense = render(scene, modality)
    return getattr(sense, {"audio": "samples", "point_cloud": "coordinates"}.get(modality, "values"))


@pytest.mark.parametrize("modality", sorted(RENDERERS))
def test_rendering_is_deterministic(modality):
    np.testing.assert_array_equal(rendered(sample_scene(8), modality), rendered(sample_scene(8), modality))


@pytest.mark.parametrize("modality", sorted(RENDERERS))
def test_a_modality_reports_what_it_should_and_keeps_the_secrets_of_the_others(modality):
    scene = sample_scene(30)
    before = rendered(scene, modality)
    changed = set()
    for attribute, value in OTHER_VALUES.items():
        assert any(getattr(o, attribute) != value for o in scene.objects)
        other = replace(scene, objects=tuple(replace(o, **{attribute: value}) for o in scene.objects))
        if not np.array_equal(before, rendered(other, modality)):
            changed.add(attribute)
    assert changed == TELLS[modality]


@pytest.mark.parametrize("modality", PICTURES)
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


def test_depth_is_in_metres():
    scene = sample_scene(13)
    depth, ids = render_depth(scene), render_ids(scene)
    for i, obj in enumerate(scene.objects):
        np.testing.assert_allclose(depth[ids == i], obj.distance_metres, atol=0.06)
    np.testing.assert_allclose(depth[ids < 0], 10.0, atol=0.06)


def test_thermal_is_in_degrees():
    scene = sample_scene(13)
    thermal, ids = render_thermal(scene), render_ids(scene)
    for i, obj in enumerate(scene.objects):
        np.testing.assert_allclose(thermal[ids == i], a.TEMPERATURES[obj.temperature], atol=1.6)
    np.testing.assert_allclose(thermal[ids < 0], 20.0, atol=1.6)


def test_normals_are_unit_vectors_that_slope_as_the_relief_says():
    for seed in range(6):
        scene = sample_scene(seed)
        normals, ids = render_normals(scene), render_ids(scene)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(normals[ids < 0], np.tile([0, 0, 1], (int((ids < 0).sum()), 1)))
        rows, columns = np.mgrid[:48, :48] + 0.5
        for i, obj in enumerate(scene.objects):
            seen = ids[8] == i
            x, y = obj.positions(np.array([8]))[0]
            outward = normals[8][seen][:, 0] * (columns[seen] - x) + normals[8][seen][:, 1] * (rows[seen] - y)
            if seen.any():
                assert (outward.mean() > 0) == (obj.relief == "bulging")


def test_touch_presses_on_one_object_after_the_other():
    scene = next(s for s in map(sample_scene, range(50)) if {o.firmness for o in s.objects} == {"hard", "soft"})
    touch, order = render_touch(scene), touched(scene, np.arange(16))
    assert sorted(order) == list(order)
    assert set(order) == set(range(len(scene.objects)))
    for t, i in enumerate(order):
        assert (touch[t].max() > 0.8) == (scene.objects[i].firmness == "hard")
    long = sample_scene(3, length="long")
    frames = np.arange(long.num_frames)
    busy = np.any([o.is_there(frames) for o in long.objects], axis=0)
    np.testing.assert_array_equal(touched(long, frames) >= 0, busy)
    assert render_touch(long, frames=np.flatnonzero(~busy)[:5]).max() < 0.15


def test_points_fill_solid_bodies_and_leave_hollow_ones_empty():
    info = set()
    for seed in range(12):
        scene = sample_scene(seed)
        points = render_points(scene).coordinates
        assert points.shape == (192 * len(scene.objects), 3)
        assert points.dtype == np.float32
        for obj in scene.objects:
            offset = (points - [*(np.array(obj.centre) - 24) * 0.05, 0]) / (obj.diameter * 0.05 / 2)
            near = offset[np.abs(offset).max(axis=1) <= 1.001]
            info.add((obj.consistency, obj.shape))
            assert len(near) == 192
            if obj.shape in ("circle", "square"):
                inside = np.abs(near).max(axis=1) < 0.5
                assert inside.any() == (obj.consistency == "solid")
    assert len(info) > 6


def test_audio_beeps_when_and_as_high_as_the_scene_says():
    for seed in range(12):
        scene = sample_scene(seed)
        audio = render_audio(scene)
        assert len(audio.samples) == 32_000
        loud = np.abs(audio.samples.reshape(16, -1)).max(axis=1) > 0.1
        assert set(np.flatnonzero(loud)) == set(scene.beeper.beeps)
        spectrum = np.abs(np.fft.rfft(audio.samples))
        assert abs(spectrum.argmax() / 2 - a.PITCHES[scene.beeper.pitch]) < 10


def test_dense_labels_agree_with_the_frame():
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
    with pytest.raises(ConfigError, match="frames 0 to 15, got 3 to 16"):
        render(scene, "video", frames=[3, 16])
    with pytest.raises(ConfigError, match="at least 16 pixels, got 7"):
        render(scene, "video", size=7)
    with pytest.raises(ConfigError, match="multiple of patch, got 48 and 7"):
        dense_labels(scene, patch=7)


@pytest.mark.parametrize("modality", sorted(set(MODALITY_CLASSES) - {"audio"}))
def test_modality_labels_report_what_each_patch_shows(modality):
    scene = sample_scene(19)
    frames = np.array([1, 7, 15])
    labels = modality_labels(scene, modality, frames=frames, patch=12)
    info = MODALITY_CLASSES[modality]
    assert set(labels) == set(info)
    frame = rendered(scene, modality)
    there = labels["shape"] < len(a.SHAPES)
    assert there.shape == (1 if modality == "point_cloud" else 3, 4, 4)
    assert there.any()
    assert (~there).any()
    name = a.MODALITY_ATTRIBUTES[modality]
    np.testing.assert_array_equal(labels[name] >= 0, there)
    answer = {o.shape: (getattr(o, name), o.quarter) for o in scene.objects}
    for t, y, x in np.argwhere(there):
        value, quarter = answer[info["shape"][labels["shape"][t, y, x]]]
        assert info[name][labels[name][t, y, x]] == value
        assert "quarter" not in info or labels["quarter"][t, y, x] == quarter
    if modality in ("depth", "thermal", "touch"):  # where nothing is, nothing is seen
        ground = {"depth": 10.0, "thermal": 20.0, "touch": 0.0}[modality]
        patches = frame[frames][..., 0].reshape(3, 4, 12, 4, 12).transpose(0, 1, 3, 2, 4)[~there]
        assert np.median(np.abs(patches - ground)) < 0.5


def test_audio_labels_count_the_beeps_of_each_part():
    for seed in range(8):
        scene = sample_scene(seed)
        labels = audio_labels(scene, 4)
        counts = np.bincount(np.array(scene.beeper.beeps) // 4, minlength=4)
        np.testing.assert_array_equal(labels["beeps"], counts.clip(max=2))
        pitch = a.VALUES["pitch"].index(scene.beeper.pitch)
        np.testing.assert_array_equal(labels["pitch"], np.where(counts > 0, pitch, -1))
