"""Clips and queries as values."""

import pickle

from vidweave.types import Clip, Query


def test_a_query_goes_to_another_process():
    clip = Clip("a.mp4", audio=True, depth="d.npy", start_seconds=0.5)
    query = Query.about(clip, "What happens?", ["nothing", "much"])
    other = pickle.loads(pickle.dumps(query))  # noqa: S301 - our own bytes
    (scene,) = other.scenes
    assert (other.text, other.options) == (query.text, query.options)
    assert dict(scene.clip) == {"video": "a.mp4", "audio": "a.mp4", "depth": "d.npy"}
    assert (scene.clip.start_seconds, scene.clip.end_seconds) == (0.5, None)
