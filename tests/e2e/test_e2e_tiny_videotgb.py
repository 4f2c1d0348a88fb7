"""The shipped bridge finds what the question asks for, through the front door, and other models can look at it."""

import importlib.util

import numpy as np
import pytest

import vidweave
from vidweave.media.write import write_video
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.toyworld.splits import scene_seeds


@pytest.fixture(scope="module")
def model():
    return vidweave.load("tiny-videotgb")


def test_most_timestamps_lie_in_the_event_that_is_asked_for(model, tmp_path):
    inside = []
    for seed in scene_seeds(77, 6):
        scene = sample_scene(seed, length="long", num_frames=150)
        clip = write_video(tmp_path / "clip.mp4", render(scene, "video", size=96), fps=scene.fps)
        (asked,) = questions(scene, question_types=["event_colour"])
        event = next(o for o in scene.objects if o.colour == asked.answer)
        chosen = model.select(clip, asked.text, num_frames=4)
        frames = np.array(chosen["indices"])
        inside += ((frames >= event.start_frame) & (frames < event.end_frame)).tolist()
    assert np.mean(inside) > 0.5  # 4% of a clip is in its event


def test_a_plain_video_model_uses_the_timestamps(repository, capsys):
    spec = importlib.util.spec_from_file_location("select_moments_example", repository / "examples/select_moments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reply = module.main()
    assert "selected by grounding" in reply
    assert reply in capsys.readouterr().out
