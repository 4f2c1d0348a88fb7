"""The recipe of tiny-videotgb bootstraps its own labels, takes a few steps in both stages, and writes an asset that loads."""

import pytest

import vidweave
from vidweave.media.write import write_video
from vidweave.pipelines.slot import SlotPipeline
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.training.loop import train
from vidweave.training.pseudo_labels import read_labels
from vidweave.training.recipe import recipe_run

pytestmark = pytest.mark.slow


def test_from_a_base_model_to_an_asset(tmp_path):
    labels = tmp_path / "labels.jsonl"
    small = [
        "clips=2",
        "candidates=3",
        "least_share=0",
        "bridge_steps=2",
        "bridge_batch=3",
        "answer_steps=2",
        "answer_batch=3",
    ]
    run = recipe_run("tiny/videotgb", [*small, "evaluation_clips=1", f"labels={labels}"])
    learnt = {
        stage.name: {n.split(".")[0] for ns in stage.trainable(run.model).values() for n in ns} for stage in run.stages
    }
    assert learnt == {"bridge": {"selector"}, "answers": {"connector"}}
    result = train(run, tmp_path / "run", has_progress=False, has_events=False)
    manifest, summary = read_labels(labels)
    assert manifest["subtract"] == "median"
    assert all(0 <= label.start < label.end <= 10 for label in summary.values())
    assert set(result.finish) == {"hits_at_75", "hits_at_300"}
    model = vidweave.load(tmp_path / "run" / "assets" / "tiny-videotgb").model
    scene = sample_scene(4, length="long", num_frames=60)
    clip = write_video(tmp_path / "clip.mp4", render(scene, "video", size=96), fps=scene.fps)
    trace = SlotPipeline(model).ask(clip, "What colour is the object that moves left?").trace
    assert {use.why for use in trace.frames} == {"grounding"}
