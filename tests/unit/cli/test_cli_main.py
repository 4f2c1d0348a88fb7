"""Exit codes, one-line errors, help."""

from __future__ import annotations

import warnings

import pytest

from vidweave import __version__
from vidweave.cli import inspect

VERBS = ["ask", "stream", "inspect", "models", "world", "train", "evaluate", "compare", "cache", "doctor"]
LEAVES = [
    "ask",
    "stream",
    "inspect",
    "models list",
    "models show",
    "world make",
    "world show",
    "train",
    "evaluate",
    "compare",
    "cache ls",
    "cache verify",
    "cache prune",
    "doctor",
]


def test_help_names_every_verb(vid):
    done = vid("--help")
    assert (done.code, done.err) == (0, "")
    for verb in VERBS:
        assert f"\n  {verb} " in done.out


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_command_has_help_and_json(vid, leaf):
    done = vid(*leaf.split(), "--help")
    assert done.code == 0
    assert "--json" in done.out


def test_version(vid):
    assert vid("--version").out == f"vidweave {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fly"], "No such command 'fly'; see `vidweave --help`"),
        (["inspect"], "Missing argument 'file'; see `vidweave inspect --help`"),
        (["inspect", "a", "--colour"], "No such option: --colour; see `vidweave inspect --help`"),
        (["world", "make", "--clips", "two", "--out", "x"], "Invalid value for '--clips': "),
        (["ask", "a", "b", "--frames", "0"], "Invalid value for '--frames': "),
    ],
)
def test_wrong_usage_is_one_line_and_two(vid, arguments, line):
    done = vid(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert line in done.err
    assert done.err.count("\n") == 1


def test_a_message_stays_on_one_line_whatever_a_file_is_called(vid):
    done = vid("inspect", "no\n\x1b[31mfile.mp4")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err


def test_nothing_given_prints_help(vid):
    done = vid()
    assert done.code == 2
    assert "Usage: vidweave" in done.err + done.out


def test_library_warnings_are_held_back_and_ours_are_a_line(vid, monkeypatch):
    def chatty(path: str) -> dict:
        warnings.warn_explicit("theirs", UserWarning, "/lib/other.py", 1)
        warnings.warn_explicit("ours", UserWarning, inspect.__file__, 1)
        return {}

    monkeypatch.setattr("vidweave.media.inspect.inspect_file", chatty)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr("sys.warnoptions", [])
        done = vid("inspect", "x")
    assert done.err == "warning: ours\n"
