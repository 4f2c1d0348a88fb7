"""Open what a clip names, for every modality, with all guards; nothing is decoded before it is requested."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from vidweave.errors import MediaTypeError, ModalityError
from vidweave.media.array_carriers import read_carrier
from vidweave.media.audio import check_audio, read_audio
from vidweave.media.float_maps import read_map
from vidweave.media.frame_folder import FolderFrames
from vidweave.media.frames import ArrayFrames, FrameSource, HeldFrames
from vidweave.media.guards import GuardedFile, describe
from vidweave.media.image import num_pages, read_image
from vidweave.media.isolate import IsolatedFrames
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.motion import MotionMaps, motion_seconds, read_motion
from vidweave.media.pages import PageFrames
from vidweave.media.plan import check_times
from vidweave.media.points import read_points
from vidweave.media.precomputed import read_features
from vidweave.media.sniff import HEAD_BYTES, Kind, kind_of, refuse_foreign
from vidweave.media.video import VideoReader
from vidweave.registry import CARRIERS, MODALITIES
from vidweave.types import ArrayCarrier, Clip, Frames, MotionSpec, PointCloud, PrecomputedFeatures, Waveform

__all__ = ["OpenSource", "open_clip", "open_source"]

_CARRIERS = {"frames": Frames, "waveform": Waveform, "points": PointCloud}
_KIND_WORDS = {
    "image": "an image",
    "array": "an .npy array",
    "map": "a float map (.flo or .pfm)",
    "points": "a PLY point cloud",
    "features": "a safetensors file",
    "container": "an audio or video file, or of unknown kind",
}


class OpenSource:
    """Opened source of one modality. Use the methods of its `carrier`; all others raise ModalityError.

    Attributes:
        modality: Name in `registry.MODALITIES`.
        carrier: `frames` (`timeline`, `read_frames`, `read_motion`), `waveform` (`read_waveform`), `points`
            (`read_points`), or `features` (`read_features`) for precomputed features, in any modality; or a name in
            `registry.CARRIERS` (`read_carrier`).
        num_lost: Frames read so far that could not be decoded and were replaced by the nearest ones.
    """

    def __init__(
        self,
        source: Any,
        modality: str,
        carrier: str,
        limits: Limits,
        frames: FrameSource | None,
        fps: float | None = None,
    ) -> None:
        self.modality, self.carrier = modality, carrier
        self._source, self._limits, self._frames = source, limits, frames
        self._fps = fps
        self.num_lost = 0
        self._notes: dict[str, None] = {}  # notes on what was read so far, each once

    @property
    def notes(self) -> list[str]:
        """Notes for the user on the source and on what was read so far.

        Lost and corrupt frames, a wrong header, gaps, converted units.
        """
        return [*(self._frames.notes if self._frames is not None else []), *self._notes]

    def note(self, text: str) -> None:
        """Add a note for the user; repeated texts count once."""
        self._notes[text] = None

    def timeline(self) -> tuple[np.ndarray, float]:
        """Return times (N,) of the frames in seconds, and the end of the last one."""
        frames = self._pictures()
        if len(frames.pts_seconds):
            check_times(frames.pts_seconds)
        return frames.pts_seconds, frames.duration_seconds

    def keyframes(self) -> np.ndarray:
        """Return indices of frames that are cheap to decode alone, ascending; empty where there is no difference."""
        frames = self._pictures()
        return frames.keyframes if isinstance(frames, VideoReader) else np.zeros(0, dtype=np.int64)

    def read_frames(self, indices: Sequence[int] | np.ndarray) -> Frames:
        """Read frames by index, in the requested order."""
        frames = self._pictures().read(indices)
        self.num_lost += frames.num_lost
        return frames

    def read_motion(self, spec: MotionSpec, *, span: tuple[float, float] | None = None) -> MotionMaps:
        """Compute motion maps on one clock from the frames (for the modality flow, from the flow itself)."""
        frames = self._pictures()
        label = frames.label if isinstance(frames, (VideoReader, IsolatedFrames)) else f"the {self.modality}"
        if isinstance(frames, IsolatedFrames):
            return frames.call(read_motion, spec, span, self._limits, label)
        return read_motion(frames, spec, span, self._limits, label)

    def motion_seconds(self, spec: MotionSpec, *, span: tuple[float, float] | None = None) -> np.ndarray:
        """Return start and end (T, 2) of the maps of `read_motion`, without decoding."""
        return motion_seconds(self._pictures(), spec, span)

    def read_waveform(
        self, sample_rate: int, *, start_seconds: float | None = None, end_seconds: float | None = None
    ) -> Waveform:
        """Read the audio, or a span of it, mono at `sample_rate`."""
        self._require("waveform")
        waveform = read_audio(
            self._source,
            sample_rate=sample_rate,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            limits=self._limits,
        )
        self._notes |= dict.fromkeys(waveform.notes)
        return waveform

    def read_points(self) -> PointCloud:
        """Read the point cloud."""
        self._require("points")
        cloud = read_points(self._source, limits=self._limits)
        self._notes |= dict.fromkeys(cloud.notes)
        return cloud

    def read_carrier(self, *, start_seconds: float | None = None, end_seconds: float | None = None) -> ArrayCarrier:
        """Read a carrier of `registry.CARRIERS`, or a span of it."""
        if self.carrier not in CARRIERS:
            raise ModalityError(f"the {self.modality} source is {self.carrier}, which has its own reader")
        cls = CARRIERS.get(self.carrier)
        carrier = read_carrier(self._source, cls, fps=self._fps, limits=self._limits)
        self._notes |= dict.fromkeys(carrier.notes)
        return carrier.cut(start_seconds, end_seconds)

    def read_features(self) -> PrecomputedFeatures:
        """Read the precomputed features."""
        self._require("features")
        if isinstance(self._source, PrecomputedFeatures):
            return self._source
        return read_features(self._source, limits=self._limits)

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()

    def _pictures(self) -> FrameSource:
        self._require("frames")
        assert self._frames is not None
        return self._frames

    def _require(self, carrier: str) -> None:
        if self.carrier != carrier:
            raise ModalityError(f"the {self.modality} source has {self.carrier} and cannot be read as {carrier}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_clip(clip: Clip, modality: str, *, limits: Limits = DEFAULT_LIMITS) -> OpenSource:
    """Open the source of one modality of a clip, with the clip's frame rate; see `open_source`."""
    return open_source(clip[modality], modality, fps=clip.fps, limits=limits)


def open_source(source: Any, modality: str, *, fps: float | None = None, limits: Limits = DEFAULT_LIMITS) -> OpenSource:
    """Open `source` as `modality`: a path, the bytes of a file, or a carrier of `vidweave.types`.

    Image-like modalities accept a video, an image (one frame at 0 s), a folder of images, an `.npy` array, or Frames. The
    type of a file is determined by its content, not its name. A source that does not match its modality is refused.
    Animated WebP and PNG, and multi-page TIFF, are videos; `.flo` and `.pfm` are float maps of one frame.

    Args:
        fps: Frame rate of a folder or array without times of its own.

    Raises:
        UnknownNameError: the modality is not registered.
        MediaTypeError: the modality does not accept this kind of source.
        MediaError: the source cannot be opened for another reason; see `vidweave.errors`.
    """
    carrier = MODALITIES.entry(modality).facts.carrier
    if isinstance(source, PrecomputedFeatures):
        return OpenSource(source, modality, "features", limits, None)
    if isinstance(source, (Frames, Waveform, PointCloud, ArrayCarrier)):
        expected = _CARRIERS[carrier] if carrier in _CARRIERS else CARRIERS.get(carrier)
        if not isinstance(source, expected):
            raise MediaTypeError(f"{modality} takes {expected.__name__} or a file, got {type(source).__name__}")
        frames = HeldFrames(source, modality=modality, limits=limits) if isinstance(source, Frames) else None
        return _checked(OpenSource(source, modality, carrier, limits, frames))
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        if carrier != "frames":
            raise MediaTypeError(f"{describe(source)} is a folder, but {modality} takes a file")
        return _checked(
            OpenSource(
                source, modality, carrier, limits, FolderFrames(source, fps=fps, modality=modality, limits=limits)
            )
        )
    with GuardedFile(source, limits=limits) as file:
        kind = kind_of(file.head())
    if kind == "features":
        return OpenSource(source, modality, "features", limits, None)
    if carrier != "frames":
        return _open_other(source, modality, carrier, kind, limits, fps)
    opened = OpenSource(source, modality, carrier, limits, _frames_of(source, modality, kind, fps, limits))
    if fps is not None and kind == "container":
        opened.note(f"fps={fps:g} is ignored: {describe(source)} has times of its own")
    return _checked(opened)


def _frames_of(source: Any, modality: str, kind: Kind, fps: float | None, limits: Limits) -> FrameSource:
    if kind == "image" or (modality == "image" and kind == "container" and _is_gif(source, limits)):
        if modality != "image" and kind == "image" and num_pages(source, limits=limits) > 1:
            return PageFrames(source, fps=fps, modality=modality, limits=limits)
        image = read_image(source, modality=modality, limits=limits)
        return HeldFrames(image, modality=modality, limits=limits, label=describe(source))
    if kind == "array":
        return ArrayFrames(source, fps=fps, modality=modality, limits=limits)
    if kind == "map":
        return _map(source, modality, limits)
    if kind == "points":
        raise MediaTypeError(f"{describe(source)} is a PLY point cloud; give it as point_cloud, not as {modality}")
    if limits.isolate:
        return IsolatedFrames(_video, source, limits, limits=limits)
    return _video(source, limits)


def _map(source: Any, modality: str, limits: Limits) -> FrameSource:
    with GuardedFile(source, limits=limits) as file:
        values = read_map(file, limits=limits)[None]
    if modality == "flow" and values.shape[3] == 3:
        values = values[..., :2]  # .pfm has one or three channels; the third of flow is empty
    frames = Frames(values, np.zeros(1), np.zeros(1, dtype=np.int64))
    return HeldFrames(frames, modality=modality, limits=limits, label=describe(source))


def _video(source: Any, limits: Limits) -> FrameSource:
    return VideoReader(source, limits=limits)


def _is_gif(source: Any, limits: Limits) -> bool:
    with GuardedFile(source, limits=limits) as file:
        return file.head(6) in (b"GIF87a", b"GIF89a")


def _open_other(source: Any, modality: str, carrier: str, kind: Kind, limits: Limits, fps: float | None) -> OpenSource:
    fitting = {"waveform": ("container",), "points": ("points", "array")}.get(carrier, ("array",))
    if kind not in fitting:
        with GuardedFile(source, limits=limits) as file:
            refuse_foreign(file.head(HEAD_BYTES), file.label)
        raise MediaTypeError(f"{describe(source)} is {_KIND_WORDS[kind]}, which cannot be used as {modality}")
    if carrier == "waveform":
        check_audio(source, limits=limits)
    return OpenSource(source, modality, carrier, limits, None, fps)


def _checked(opened: OpenSource) -> OpenSource:
    """Check that an image has one frame: a video or a folder would silently lose all but one."""
    if opened.modality == "image" and opened.carrier == "frames":
        count = len(opened.timeline()[0])
        if count != 1:
            opened.close()
            raise MediaTypeError(f"the image holds {count} frames, but one was expected; give it as a video")
    return opened
