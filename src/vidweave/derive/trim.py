"""Cut spans out of clips without re-encoding, including the spans of Touch-QA and Thermal-QA annotations."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av

from vidweave.derive.cut_plan import CutPlan, plan_cut
from vidweave.derive.edit_list import MOVIE_TICKS, limit_video
from vidweave.errors import AnnotationError, ConfigError, MediaTypeError
from vidweave.media.container import decoding, open_container, require_codec, time_origin
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS
from vidweave.media.packets import RunningClock
from vidweave.media.video import VideoReader

__all__ = ["Cut", "TrimJob", "cut_video", "cuts_of_annotations"]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One span of one file in seconds; `end_seconds` None is the end of the file."""

    source: Path
    start_seconds: float = 0.0
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        end = math.inf if self.end_seconds is None else self.end_seconds
        if not 0 <= self.start_seconds < end:
            raise ConfigError(
                f"a cut must start at 0 or later and end after its start, got {self.start_seconds}..{end}"
            )


@dataclass(frozen=True, kw_only=True)
class TrimJob:
    """Write `NAME.mp4` per cut by copying packets.

    A cut starts at the last keyframe before the requested start, so it can begin a little early, like the cuts of the
    original tools; the manifest gives the difference (`early_seconds`).

    Attributes:
        cuts: Name → span.
    """

    cuts: Mapping[str, Cut] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        spans = {n: [c.source.name, c.start_seconds, c.end_seconds] for n, c in sorted(self.cuts.items())}
        return {"kind": "trim", "cuts_sha256": hashlib.sha256(json.dumps(spans).encode()).hexdigest()}

    def run(self, source: Path, name: str, out: Path) -> dict[str, Any]:
        early = cut_video(self.cuts[name], out / f"{name}.mp4")
        return {"outputs": [f"{name}.mp4"], "early_seconds": round(early, 6)}


def cut_video(cut: Cut, out: Path) -> float:
    """Copy the packets of a span into the MP4 file `out`; return how many seconds before the start it begins.

    The cut begins at the last keyframe before the start at which decoding can begin, and shows every frame up to the
    end. Frames after the end from which others are predicted are included, but an edit list hides them.

    Raises:
        MediaError: a file that cannot be read, a span after its end, or a codec that MP4 does not support.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    try:
        with VideoReader(cut.source) as reader:
            plan = plan_cut(reader, cut.start_seconds, cut.end_seconds)
            _write(reader, plan, cut, part)
            if plan.hides_frames:
                limit_video(part, plan.stop_seconds - plan.first_seconds)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return max(0.0, cut.start_seconds - plan.first_seconds)


def _write(reader: VideoReader, plan: CutPlan, cut: Cut, part: Path) -> None:
    options = {"movie_timescale": str(MOVIE_TICKS)}
    with (
        GuardedFile(cut.source, limits=DEFAULT_LIMITS) as file,
        open_container(file) as given,
        decoding(reader.label),
        av.open(str(part), "w", format="mp4", options=options) as made,
    ):
        video = _add_stream(made, reader.stream, reader.label)
        sources = [_video_packets(reader, plan, video)]
        if given.streams.audio:
            require_codec(given.streams.audio[0], reader.label)
            audio = _add_stream(made, given.streams.audio[0], reader.label)
            sources.append(_audio_packets(given, plan, cut.end_seconds, audio, is_joined=reader.index.num_joins > 0))
        for _, packet in heapq.merge(*sources, key=lambda timed: timed[0]):
            made.mux(packet)


def _add_stream(made: Any, template: Any, label: str) -> Any:
    name = template.codec_context.name
    try:
        return made.add_stream_from_template(template)
    except ValueError:
        raise MediaTypeError(
            f"{label} uses the codec {name!r}, which MP4 does not support; convert it to H.264 first"
        ) from None


def _video_packets(reader: VideoReader, plan: CutPlan, stream: Any) -> Iterator[tuple[float, Any]]:
    """Yield (seconds, packet) of the video in decode order, on the clock of the cut."""
    for position, packet in reader.decoder.packets(reader.index, plan.start):
        if position > plan.stop:
            return
        if position in plan.times:
            packet.pts, packet.dts = plan.times[position]
            packet.stream = stream
            yield float(packet.dts * packet.time_base), packet


def _audio_packets(
    given: Any, plan: CutPlan, end: float | None, stream: Any, *, is_joined: bool
) -> Iterator[tuple[float, Any]]:
    """Yield (seconds, packet) of the first audio stream, on the clock of the cut."""
    source, origin = given.streams.audio[0], time_origin(given)
    start, stop = plan.first_seconds, math.inf if end is None else end
    clock = RunningClock(given.format.name, source.time_base)
    if not is_joined:  # a concatenated file cannot be seeked by time
        given.seek(int((start + origin) * av.time_base), backward=True)
    for packet in given.demux(source):
        if packet.pts is None or not packet.size:
            continue
        shift = clock.shift(packet.pts, packet.duration or 0)
        at = float((packet.pts + shift) * packet.time_base - origin)
        if at >= stop:
            return
        if at >= start - 1e-6:
            packet.pts = packet.dts = packet.pts + shift - round((Fraction(start) + origin) / packet.time_base)
            packet.stream = stream
            yield at - start, packet


def cuts_of_annotations(
    annotations: str | os.PathLike[str], videos: str | os.PathLike[str], task: Literal["touch", "thermal"]
) -> dict[str, Cut]:
    """Return the cuts that CREMA's tools make for Touch-QA (`touch`) or Thermal-QA (`thermal`), with their names.

    A sample has `video_id`, `question_id`, `start` and, for touch, `end`, in frames of its RGB video. Touch and Go holds
    `dataset/<video_id>/video.mp4` and `gelsight.mp4`, Thermal-IM `<video_id>/RGBD_RGB.mp4` and `RGBT_T.mp4`; cuts are
    `clips/<question_id>` and `touch_clips/<question_id>_touch` or `thermal_clips/<question_id>_touch` (spelled as in the
    original). Thermal cuts extend to the end of the file.

    Raises:
        AnnotationError: a sample with missing or invalid fields.
        MediaError: an RGB video that cannot be read.
    """
    try:
        samples = json.loads(Path(annotations).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{annotations} is not JSON ({error})") from None
    if not isinstance(samples, list):
        raise AnnotationError(f"{annotations} must hold a list of samples, got {type(samples).__name__}")
    below, rgb, other, folder = {
        "touch": ("dataset", "video.mp4", "gelsight.mp4", "touch_clips"),
        "thermal": ("", "RGBD_RGB.mp4", "RGBT_T.mp4", "thermal_clips"),
    }[task]
    rates: dict[Path, float] = {}
    cuts: dict[str, Cut] = {}
    for number, sample in enumerate(samples):
        video, name, first, stop = _sample(annotations, number, sample, task)
        home = Path(videos) / below / video
        if home not in rates:
            rates[home] = _rate(home / rgb)
        fps = rates[home]
        span = {"start_seconds": first / fps, "end_seconds": None if stop is None else stop / fps}
        cuts[f"clips/{name}"] = Cut(source=home / rgb, **span)
        cuts[f"{folder}/{name}_touch"] = Cut(source=home / other, **span)
    return cuts


def _sample(annotations: Any, number: int, sample: Any, task: str) -> tuple[str, str, float, float | None]:
    required = ("video_id", "question_id", "start", *(("end",) if task == "touch" else ()))
    missing = [name for name in required if not isinstance(sample, dict) or name not in sample]
    if missing:
        raise AnnotationError(f"{annotations}: sample {number} has no {', '.join(missing)}")
    video, name = str(sample["video_id"]), str(sample["question_id"])
    if any(part in ("", ".", "..") for text in (video, name) for part in text.split("/")):
        raise AnnotationError(f"{annotations}: sample {number} names {video!r} and {name!r}, which are not plain names")
    try:
        first, stop = float(sample["start"]), float(sample["end"]) if task == "touch" else None
    except (TypeError, ValueError):
        raise AnnotationError(f"{annotations}: start and end of sample {number} must be frame numbers") from None
    if not 0 <= first < (math.inf if stop is None else stop):
        raise AnnotationError(f"{annotations}: sample {number} ends ({stop}) before it starts ({first})")
    return video, name, first, stop


def _rate(path: Path) -> float:
    """Return the average number of frames per second."""
    with VideoReader(path) as reader:
        return reader.num_frames / reader.duration_seconds
