"""Caps on what a media file may cost, checked before it is paid. Always on; each refusal names its setting."""

from __future__ import annotations

from dataclasses import dataclass

from vidweave.errors import MediaLimitError

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large media may be. A file of some kilobytes can decode to gigabytes, so decoded sizes are capped too.

    Attributes:
        max_file_bytes: Size of one file.
        max_pixels: Width times height of one picture, as it is decoded.
        max_frames: Pictures in one source.
        max_seconds: Length of one source.
        max_decoded_bytes: Memory that one call may fill with decoded pictures, samples or model-ready tensors.
        max_points: Points of one cloud.
        max_files: Files in a folder of frames.
        max_decode_seconds: Wall time of one decoding call.
        max_lost_fraction: Share of the pictures asked for that may be undecodable and replaced by their neighbours;
            0 refuses every damaged file.
        allow_outside_links: Follow a symbolic link that leaves its own folder.
        isolate: Decode video files in a process of their own, which is killed after `max_decode_seconds` in one call:
            for media that nobody vouches for. Costs its start (about a second) and a copy of the pictures.
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
        """Raise MediaLimitError when `value` is above the cap `setting`; `what` says what has that value."""
        cap = getattr(self, setting)
        if value > cap:
            raise MediaLimitError(
                f"{what}: {_spell(value)}, at most {_spell(cap)} allowed; if you trust it, raise Limits.{setting}"
            )


def _spell(value: float) -> str:
    return f"{value:,.1f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


DEFAULT_LIMITS = Limits()
