"""Limits on the cost of media files, checked before the cost is incurred. Always on; errors name the setting."""

from __future__ import annotations

from dataclasses import dataclass

from vidweave.errors import MediaLimitError

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Maximum sizes of media. A file of some kilobytes can decode to gigabytes, so decoded sizes are limited too.

    Attributes:
        max_file_bytes: Size of one file.
        max_pixels: Width times height of one decoded frame.
        max_frames: Frames in one source.
        max_seconds: Duration of one source.
        max_decoded_bytes: Memory for decoded frames, samples or model-ready tensors of one call.
        max_points: Points of one cloud.
        max_files: Files in a folder of frames.
        max_decode_seconds: Wall time of one decoding call.
        max_lost_fraction: Share of the requested frames that may be undecodable and replaced by their neighbors;
            0 refuses every damaged file.
        allow_outside_links: Follow symbolic links that leave their own folder.
        isolate: Decode video files in a separate process, which is killed if one call takes `max_decode_seconds`: for
            untrusted media. Costs its start (about a second) and a copy of the frames.
    """

    max_file_bytes: int = 16 * 2**30
    max_pixels: int = 2**26
    max_frames: int = 2_000_000
    max_seconds: float = 24 * 3600.0
    max_decoded_bytes: int = 2 * 2**30
    max_points: int = 10_000_000
    max_files: int = 200_000
    max_decode_seconds: float = 900.0
    max_lost_fraction: float = 0.5
    allow_outside_links: bool = False
    isolate: bool = False

    def check(self, setting: str, value: float, what: str) -> None:
        """Raise MediaLimitError if `value` exceeds the limit `setting`; `what` describes the value."""
        cap = getattr(self, setting)
        if value > cap:
            raise MediaLimitError(
                f"{what}: {_spell(value)}, at most {_spell(cap)} allowed; if you trust it, raise Limits.{setting}"
            )


def _spell(value: float) -> str:
    return f"{value:,.1f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


DEFAULT_LIMITS = Limits()
