"""Exit codes, one-line errors, help."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import typer

from vidweave import __version__
from vidweave.cli import inspect
from vidweave.cli.app import app


def _leaves(command: Any = None, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command that the parser knows, as words of a command line."""
    command = command or typer.main.get_command(app)
    if not (inner := getattr(command, "commands", {})):
        return [path]
    return [leaf for name, sub in inner.items() for leaf in _leaves(sub, (*path, name))]


LEAVES = _leaves()


def test_the_parser_is_walked_to_its_end():
    assert len(LEAVES) > 25
    assert {("ask",), ("cache", "prune"), ("contra4", "stats"), ("extract", "depth")} <= set(LEAVES)


def test_help_names_every_verb(vid):
    done = vid("--help")
    assert (done.code, done.err) == (0, "")
    for verb in {leaf[0] for leaf in LEAVES}:
        assert f"\n  {verb} " in done.out


@pytest.mark.parametrize("leaf", LEAVES, ids=" ".join)
def test_every_command_has_help_and_json(vid, leaf):
    """Every command prints JSON where it is asked to, and an error of one is one JSON value too."""
    done = vid(*leaf, "--help")
    assert done.code == 0
    assert "--json" in done.out
    wrong = vid(*leaf, "--zzz", "--json")
    message = f"No such option: --zzz; see `vidweave {' '.join(leaf)} --help`"
    assert wrong.data == {"error": {"type": "NoSuchOption", "message": message, "exit_code": 2}}
    assert (wrong.code, wrong.err) == (2, f"error: {message}\n")


def test_json_behind_two_dashes_is_no_option(vid):
    assert vid("inspect", "--", "--json").out == ""


def test_version(vid):
    assert vid("--version").out == f"vidweave {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fly"], "No such command 'fly'; see `vidweave --help`"),
        (["inspect"], "Missing argument 'file'; see `vidweave inspect --help`"),
        (["inspect", "a", "--colour"], "No such option: --colour; see `vidweave inspect --help`"),
        (["toyworld", "make", "--clips", "two", "--out", "x"], "Invalid value for '--clips': "),
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
