"""Notes on what changes when a video is converted to 8-bit RGB."""

from __future__ import annotations

from typing import Any

__all__ = ["conversion_notes"]

_HDR = {16: "PQ", 18: "HLG"}  # transfer functions by FFmpeg's numbers


def conversion_notes(stream: Any, label: str) -> list[str]:
    """Return notes on frames whose aspect ratio, bit depth or brightness differs from what players show."""
    context, notes = stream.codec_context, []
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        width, height = context.width, context.height
        shown = f"{round(width * aspect)}x{height}"
        notes.append(
            f"{label}: pixels are not square ({aspect.numerator}:{aspect.denominator}); frames are returned as stored"
            f" ({width}x{height}), players show {shown}"
        )
    transfer = _HDR.get(int(context.color_trc or 0))
    bits = max((component.bits for component in context.format.components), default=8) if context.format else 8
    if transfer is not None:
        notes.append(f"{label}: HDR ({transfer}) was reduced to 8 bits without tone mapping; frames look flat and dark")
    elif bits > 8:
        notes.append(f"{label}: {bits} bits per channel were reduced to 8")
    return notes
