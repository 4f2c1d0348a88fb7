"""What all converters share: requests, options, and files that must not be loaded."""

import json
from dataclasses import dataclass

import pytest
import torch

from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.model.conversion import KeyReport, Request, convert, options_of
from vidweave.registry import CONVERTERS


@dataclass(frozen=True, kw_only=True)
class Settings:
    order: tuple[str, ...]
    length: int = 3
    name: str = "x"
    start: float | None = None


@pytest.fixture
def layout():
    def converter(request):
        request.expect(parts=("vision",))
        request.out.mkdir()
        return KeyReport(
            {"file": ("a", "b")}, ("b",), {"file": {f"z{i}": "unused" for i in range(9)}}, ("c",), ("a note",)
        )

    CONVERTERS.register("toys", converter, summary="for tests", parts=("vision",), options=("order",))
    yield "toys"
    CONVERTERS.unregister("toys")


@pytest.fixture
def file(tmp_path):
    torch.save({}, tmp_path / "file.pth")
    return tmp_path / "file.pth"


def request_with(file, **options):
    return Request(file=file, out=file.parent / "out", options=options)


def test_options_are_read_as_their_fields(file):
    read = options_of(Settings, request_with(file, order="a, b", length="5", name="5", start="0.5"))
    assert read == Settings(order=("a", "b"), length=5, name="5", start=0.5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ordre": "a"}, UnknownNameError, "unknown option of this layout 'ordre'; did you mean 'order'"),
        ({"order": "a", "length": "long"}, ConfigError, "length"),
        ({}, ConfigError, "order"),
    ],
)
def test_options_that_do_not_fit(file, options, error, message):
    with pytest.raises(error, match=message):
        options_of(Settings, request_with(file, **options))


def test_the_report_stands_beside_the_weights(layout, file):
    report = convert(layout, request_with(file))
    info = json.loads((file.parent / "out" / "conversion.json").read_text())
    assert info["layout"] == "toys"
    assert info["file"] == "file.pth"
    assert info["dropped"] == {"file": {f"z{i}": "unused" for i in range(9)}}
    assert report.lines() == [
        "file: 2 weights",
        "file: left out z0, z1, z2, z3, z4, z5, z6, z7 and 1 more (unused)",
        "replaced by a later file: 1 weights",
        "in no file, fresh: c",
        "a note",
    ]


def test_what_is_refused(layout, file, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown checkpoint layout 'toy'; did you mean 'toys'"):
        convert("toy", request_with(file))
    with pytest.raises(CheckpointError, match="there is no file"):
        convert(layout, request_with(tmp_path / "none.pth"))
    with pytest.raises(UnknownNameError, match="unknown part of this layout 'visoin'; did you mean 'vision'"):
        convert(layout, Request(file=file, out=tmp_path / "out", parts={"visoin": "a"}))
    with pytest.raises(ConfigError, match=r"file\.pth needs no base, got 'b'"):
        convert(layout, Request(file=file, out=tmp_path / "out", base="b"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(CheckpointError, match="is not empty; give a new folder"):
        convert(layout, Request(file=file, out=tmp_path / "full"))
