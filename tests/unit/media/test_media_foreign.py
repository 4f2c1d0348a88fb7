"""Files of known formats that are not read: the message names the format and what to do, and calls nothing corrupt."""

import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from tests.unit.media.field_files import FIELD
from tests.unit.media.media_files import encode
from vidweave.errors import MediaAccessError, MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.image import read_image
from vidweave.media.inspect import inspect_file
from vidweave.media.open import open_source
from vidweave.media.points import read_points
from vidweave.media.sniff import FOREIGN_FORMATS

MODALITIES = ("video", "image", "audio", "depth", "flow", "point_cloud")


def tar_bytes():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.mp4"))
    return out.getvalue()


def zip_bytes():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.mp4", b"x" * 99)
    return out.getvalue()


def torch_bytes():
    out = io.BytesIO()
    torch.save(torch.zeros(3), out)
    return out.getvalue()


MADE = {
    "a tar archive": tar_bytes(),
    "a zip archive": zip_bytes(),
    "a PyTorch file": torch_bytes(),
    "a Python pickle": pickle.dumps(np.zeros(3)),
    "a HEIC image": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
    "an AVIF image": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + bytes(99),
    "a web page": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "a raw H.264 stream": (FIELD / "raw.h264").read_bytes(),
    "a raw AC-3 stream": (FIELD / "tone.ac3").read_bytes(),
    "a raw H.265 stream": b"\0\0\0\x01\x40\x01\x0c\x01" + bytes(99),
    **{name: bytes(place) + mark + bytes(99) for place, mark, name, _ in FOREIGN_FORMATS},
}


@pytest.mark.parametrize("name", MADE)
def test_every_modality_names_the_format_and_the_remedy(name):
    for modality in MODALITIES:
        with pytest.raises(MediaTypeError, match=r", which is not supported: \w+") as caught:
            open_source(MADE[name], modality)
        assert name in str(caught.value)
        assert "corrupt" not in str(caught.value)


@pytest.mark.parametrize("read", [read_image, read_points, inspect_file])
def test_single_readers_name_it_too(tmp_path, read):
    (tmp_path / "x.heic").write_bytes(MADE["a HEIC image"])
    with pytest.raises(MediaTypeError, match="is a HEIC image, which is not supported: save it as PNG or JPEG"):
        read(tmp_path / "x.heic")


def test_containers_that_are_not_read_are_not_called_corrupt():
    webvtt = b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n"
    with pytest.raises(MediaTypeError, match="unsupported container format; convert it to MP4 or Matroska"):
        open_source(webvtt, "video")
    with pytest.raises(MediaDecodeError, match="truncated, corrupt, or not an audio or video file"):
        open_source(bytes(range(7, 250)) * 9, "video")


def test_what_is_read_is_not_foreign(tmp_path):
    for name in ("x.mp4", "x.mkv", "x.avi", "x.ts"):
        with open_source(encode(tmp_path / name, count=3), "video") as source:
            assert len(source.timeline()[0]) == 3


# ---- links of a hub's cache


def hub(tmp_path, target="blobs/deadbeef", link="snapshots/abc/clip.mp4"):
    """The cache layout of model and dataset hubs: `snapshots/REVISION/NAME` is a link into `blobs`."""
    root = tmp_path / "datasets--who--what"
    for path in (root / target, root / link):
        path.parent.mkdir(parents=True, exist_ok=True)
    encode(tmp_path / "made.mp4", count=3).rename(root / target)
    (root / link).symlink_to(os.path.relpath(root / target, (root / link).parent))
    return root / link


@pytest.mark.parametrize("link", ["snapshots/abc/clip.mp4", "snapshots/abc/train/deep/clip.mp4"])
def test_links_of_a_hub_cache_are_followed(tmp_path, link):
    with open_source(hub(tmp_path, link=link), "video") as source:
        assert len(source.timeline()[0]) == 3


@pytest.mark.parametrize(
    ("target", "link"),
    [
        ("secret/file", "snapshots/abc/clip.mp4"),
        ("blobs/deadbeef", "snapshot/abc/clip.mp4"),
        ("blobs/deadbeef", "snapshots/clip.mp4"),
        ("snapshots/other/file", "snapshots/abc/clip.mp4"),
    ],
)
def test_other_links_out_of_their_folder_are_refused(tmp_path, target, link):
    with pytest.raises(MediaAccessError, match="is a link that leaves its folder"):
        open_source(hub(tmp_path, target, link), "video")


def test_errors_are_one_line():
    for data in MADE.values():
        with pytest.raises(MediaError) as caught:
            open_source(data, "video")
        assert "\n" not in str(caught.value)
