"""Files ⇄ carriers: guarded reading of every modality, frame plans, preprocessing, the feature store.

Names are imported lazily: importing the package loads neither PyAV nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidweave.media.audio import read_audio as read_audio
    from vidweave.media.fingerprint import content_hash as content_hash
    from vidweave.media.image import read_image as read_image
    from vidweave.media.inspect import inspect_file as inspect_file
    from vidweave.media.limits import DEFAULT_LIMITS as DEFAULT_LIMITS
    from vidweave.media.limits import Limits as Limits
    from vidweave.media.motion import MotionMaps as MotionMaps
    from vidweave.media.motion import read_motion as read_motion
    from vidweave.media.open import OpenSource as OpenSource
    from vidweave.media.open import open_clip as open_clip
    from vidweave.media.open import open_source as open_source
    from vidweave.media.plan import FramePlan as FramePlan
    from vidweave.media.plan import plan_frames as plan_frames
    from vidweave.media.points import read_points as read_points
    from vidweave.media.precomputed import read_features as read_features
    from vidweave.media.preprocess import apply as apply
    from vidweave.media.store import FeatureStore as FeatureStore
    from vidweave.media.video import VideoReader as VideoReader
    from vidweave.media.write import write_array as write_array
    from vidweave.media.write import write_audio as write_audio
    from vidweave.media.write import write_image as write_image
    from vidweave.media.write import write_points as write_points
    from vidweave.media.write import write_video as write_video

_LAZY = {
    "DEFAULT_LIMITS": "limits",
    "FeatureStore": "store",
    "FramePlan": "plan",
    "Limits": "limits",
    "MotionMaps": "motion",
    "OpenSource": "open",
    "VideoReader": "video",
    "apply": "preprocess",
    "content_hash": "fingerprint",
    "inspect_file": "inspect",
    "open_clip": "open",
    "open_source": "open",
    "plan_frames": "plan",
    "read_audio": "audio",
    "read_features": "precomputed",
    "read_image": "image",
    "read_motion": "motion",
    "read_points": "points",
    "write_array": "write",
    "write_audio": "write",
    "write_image": "write",
    "write_points": "write",
    "write_video": "write",
}

__all__ = [
    "DEFAULT_LIMITS",
    "FeatureStore",
    "FramePlan",
    "Limits",
    "MotionMaps",
    "OpenSource",
    "VideoReader",
    "apply",
    "content_hash",
    "inspect_file",
    "open_clip",
    "open_source",
    "plan_frames",
    "read_audio",
    "read_features",
    "read_image",
    "read_motion",
    "read_points",
    "write_array",
    "write_audio",
    "write_image",
    "write_points",
    "write_video",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(f"vidweave.media.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vidweave.media' has no attribute {name!r}")
