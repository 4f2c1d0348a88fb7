"""Detect the type of a file by its first bytes; names and suffixes are never trusted."""

from __future__ import annotations

from typing import Literal

from vidweave.errors import MediaTypeError

__all__ = ["FOREIGN_FORMATS", "HEAD_BYTES", "Kind", "holds_array", "kind_of", "refuse_foreign"]

Kind = Literal["image", "array", "map", "points", "features", "container"]
HEAD_BYTES = 512  # enough for every format below

_IMAGES = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"),
    *(b"P%d%c" % (number, space) for number in range(1, 7) for space in b"\n\r "),  # PBM, PGM, PPM
)
_MAPS = (b"PIEH", b"PF\n", b"Pf\n", b"PF\r", b"Pf\r")

_REMUX = "convert it to a container without re-encoding: ffmpeg -i FILE -c copy OUT.{}"
_AS_PNG = "save it as PNG or JPEG"
_AS_PLY = "save it as PLY or as an .npy array (P, 3) or (P, 6)"
_AS_NPY = "save its array as .npy (numpy.save)"
_UNPACK = "unpack it and give the files inside"
_AUDIO = "convert it to FLAC or WAV: ffmpeg -i FILE OUT.flac"

# (offset, first bytes, format, advice): known formats that are not supported.
FOREIGN_FORMATS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", "save it as .npy floats, or as PNG"),
    (0, b"# .PCD", "a PCD point cloud", _AS_PLY),
    (0, b"VERSION .7", "a PCD point cloud", _AS_PLY),
    (0, b"LASF", "a LAS or LAZ point cloud", _AS_PLY),
    (0, b"ASTM-E57", "an E57 point cloud", _AS_PLY),
    (0, b"glTF", "a glTF scene", f"sample its surface, and {_AS_PLY}"),
    (0, b"solid ", "an STL mesh", f"sample its surface, and {_AS_PLY}"),
    (0, b"OFF\n", "an OFF mesh", _AS_PLY),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", f"load it with scipy.io.loadmat, and {_AS_NPY}"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5, or .mat of MATLAB 7.3)", f"load it with h5py, and {_AS_NPY}"),
    (0, b"\xff\x0a", "a JPEG XL image", _AS_PNG),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image", _AS_PNG),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image", _AS_PNG),
    (0, b"8BPS", "a Photoshop image", _AS_PNG),
    (0, b"DDS ", "a DDS image", _AS_PNG),
    (0, b"\0\0\x01\0", "an icon", _AS_PNG),
    (0, b"<svg", "an SVG drawing", _AS_PNG),
    (128, b"DICM", "a DICOM file", _AS_PNG),
    (0, b"%PDF", "a PDF document", _AS_PNG),
    (0, b"MThd", "a MIDI file, which holds notes and no audio", "render it to WAV"),
    (0, b"\x0b\x77", "a raw AC-3 stream", _REMUX.format("mka")),
    (0, b"\x7f\xfe\x80\x01", "a raw DTS stream", _REMUX.format("mka")),
    (0, b"wvpk", "a WavPack file", _AUDIO),
    (0, b"MAC ", "a Monkey's Audio file", _AUDIO),
    (0, b"DSD ", "a DSD file", _AUDIO),
    (0, b".RMF", "a RealMedia file", "convert it to MP4: ffmpeg -i FILE OUT.mp4"),
    (0, b"FWS", "a Flash file", "convert it to MP4"),
    (0, b"\x06\x0e\x2b\x34", "an MXF file", _REMUX.format("mkv")),
    (0, b"nut/multimedia", "a NUT file", _REMUX.format("mkv")),
    (0, b"BIK", "a Bink video", "convert it to MP4: ffmpeg -i FILE OUT.mp4"),
    (0, b".snd", "an AU file", _AUDIO),
    (0, b"TTA1", "a True Audio file", _AUDIO),
    (0, b"<?xml", "an XML file, perhaps a manifest that names other files", "give the media file itself"),
    (0, b"v=0", "a session description (SDP), which names streams", "give the media file itself"),
    (0, b"YUV4MPEG2", "raw video (Y4M)", "encode it: ffmpeg -i FILE -crf 12 OUT.mp4"),
    (0, b"#EXTM3U", "a playlist, which names other files", "give the media file itself"),
    (0, b"ffconcat", "a list of files for FFmpeg", "give the media file itself"),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PAR1", "a Parquet table", "write its media columns to files"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"),
    *((0, bytes((0x80, p)), "a Python pickle, which is never loaded", _AS_NPY) for p in range(2, 6)),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_RAW_STARTS = (b"\0\0\0\x01", b"\0\0\x01")
_RAW_VIDEO = {"H.264": (0x67, 0x27, 0x47, 0x09), "H.265": (0x40, 0x42, 0x46)}  # first bytes of parameter sets


def holds_array(head: bytes) -> bool:
    """Return whether the file starting with `head` is an `.npz` archive: a zip whose first member is an `.npy` array."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(b"PK\x03\x04") and name.endswith(b".npy")


def kind_of(head: bytes) -> Kind:
    """Return the kind of the file starting with `head` (at least 16 bytes); `container` if nothing else matches."""
    if head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    if head.startswith(b"\x93NUMPY") or holds_array(head):
        return "array"
    if head.startswith(_MAPS):
        return "map"
    if head.startswith((b"ply\n", b"ply\r")):
        return "points"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**30:
        return "features"
    return "container"


def refuse_foreign(head: bytes, label: str) -> None:
    """Raise MediaTypeError with advice if the file starting with `head` has a known but unsupported format."""
    foreign = _foreign(head)
    if foreign is not None:
        name, advice = foreign
        raise MediaTypeError(f"{label} is {name}, which is not supported: {advice}")


def _foreign(head: bytes) -> tuple[str, str] | None:
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "a HEIC image", _AS_PNG
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "an AVIF image", _AS_PNG
    if head.startswith(b"PK\x03\x04") and not holds_array(head):
        is_torch = head[30:].split(b"\0")[0].rstrip().endswith((b"data.pkl", b"data.pklFB"))
        return ("a PyTorch file", _AS_NPY) if is_torch or b"/data.pkl" in head[30:160] else ("a zip archive", _UNPACK)
    if head.lstrip()[:14].lower() == b"<!doctype html" or head.lstrip()[:5].lower() == b"<html":
        return "a web page, perhaps in place of a download", "download the file again"
    start = next((mark for mark in _RAW_STARTS if head.startswith(mark)), None)
    if start is not None:
        codec = next((name for name, first in _RAW_VIDEO.items() if head[len(start)] in first), None)
        if codec:
            return f"a raw {codec} stream, which has no timestamps", _REMUX.format("mp4")
    return next(
        ((name, advice) for place, mark, name, advice in FOREIGN_FORMATS if head[place:].startswith(mark)), None
    )
