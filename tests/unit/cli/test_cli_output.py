"""Text and JSON of results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vidweave.cli.amounts import format_bytes, format_count, parse_bytes, parse_seconds
from vidweave.cli.output import show, table
from vidweave.errors import ConfigError


def test_json_is_plain(capsys):
    show({"a": np.arange(3), "b": float("nan"), "c": Path("x"), "d": (np.float32(0.5), {1})}, "", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": [0, 1, 2], "b": None, "c": "x", "d": [0.5, [1]]}


def test_text_is_printed_as_it_is(capsys):
    show({}, "ja, naïve", as_json=False)
    assert capsys.readouterr().out == "ja, naïve\n"


def test_table_lines_numbers_up():
    assert table([("a", "9"), ("bcd", "10")], ("name", "n")).splitlines() == ["name   n", "a      9", "bcd   10"]
    assert table([]) == ""


@pytest.mark.parametrize(
    ("text", "count"), [("500", 500), ("2GB", 2 * 10**9), ("2g", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("3kib", 3072)]
)
def test_sizes_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1", "2 parsec", "1e9", "1,5GB"])
def test_a_wrong_size_is_refused(text):
    with pytest.raises(ConfigError, match=r"is not a size; write it like 500MB, 2GB or 1\.5GiB"):
        parse_bytes(text)


def test_amounts_are_rounded():
    assert [format_bytes(n) for n in (0, 999, 1_000, 1_550_000, 2_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.6 MB",
        "2.0 GB",
    ]
    assert [format_count(n) for n in (None, 0, 7, 188_000_000)] == ["-", "0", "7", "188 M"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(
            ("90", 90),
            ("0", 0),
            ("12.5", 12.5),
            (".5s", 0.5),
            ("90s", 90),
            ("5m", 300),
            (" 0.5M ", 30),
            ("1.5 h", 5400),
        ),
        *(("1h30m", 5400), ("1h 30m 2s", 5402), ("1d", 86_400), ("30d", 2_592_000)),
        *(("1:30", 90), ("0:07", 7), ("1:05.25", 65.25), ("95:00", 5700), ("1:02:03", 3723), ("0:01:30.5", 90.5)),
    ],
)
def test_times_are_read(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "m", "5x", "-5", "-1:30", "5m1h", "nan", "inf", "1e3", "1:60", "1:75:00", "1:2:3:4", ":30", "1:", "1,5"],
)
def test_a_wrong_time_is_refused(text):
    with pytest.raises(ConfigError, match=r"is not a time; write it like 90, 5s, 1\.5m, 1h30m, 1:30 or 0:01:30"):
        parse_seconds(text)
