"""Flow as the original normalises and draws it."""

import numpy as np
from goldens import golden_files, load

from vidweave.media.flow_colours import colour_wheel, flow_to_rgb
from vidweave.media.frames import HeldFrames
from vidweave.media.motion import read_motion
from vidweave.types import Frames, MotionSpec


def test_flow_is_drawn_and_normalised_as_recorded():
    for file in golden_files("videotgb", "flow_utils*.safetensors"):
        recorded = load(file)
        flow = recorded["flow"].numpy().astype(np.float32)
        frames = np.ascontiguousarray(flow.transpose(0, 2, 3, 1))
        assert np.array_equal(colour_wheel(), recorded["colorwheel"].numpy())
        assert np.array_equal(flow_to_rgb(frames), recorded["rgb"].numpy())
        spec = MotionSpec(source="flow", fps=1, height=flow.shape[2], width=flow.shape[3], normalize="clip_max")
        maps = read_motion(HeldFrames(Frames.from_array(frames, fps=1)), spec)
        np.testing.assert_allclose(maps.values, recorded["normalized"].numpy(), atol=1e-4, rtol=1e-4)
