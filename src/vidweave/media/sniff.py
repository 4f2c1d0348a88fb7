"""What a file is, by its first bytes: names and endings are never trusted."""

from __future__ import annotations

from typing import Literal

__all__ = ["Kind", "holds_array", "kind_of"]

Kind = Literal["picture", "array", "points", "features", "container"]

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")


def holds_array(head: bytes) -> bool:
    """Whether the file that starts with `head` is an `.npz` archive: zip whose first member is an `.npy` array."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(b"PK\x03\x04") and name.endswith(b".npy")


def kind_of(head: bytes) -> Kind:
    """Kind of the file that starts with `head` (some 16 bytes or more); `container` if it is nothing else."""
    if head.startswith(_PICTURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "picture"
    if head.startswith(b"\x93NUMPY") or holds_array(head):
        return "array"
    if head.startswith((b"ply\n", b"ply\r")):
        return "points"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**30:
        return "features"
    return "container"
