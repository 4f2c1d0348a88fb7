"""Whatever is raised below a command: one line, an exit code, and the traceback only for those who ask."""

from __future__ import annotations

import errno
import json
import re
import sys
from typing import Any

import pytest

from vidweave.cli.failures import one_line, report
from vidweave.errors import CheckpointError, MediaDecodeError, MissingExtraError


@pytest.fixture
def raising(monkeypatch):
    """Make `inspect` raise what is given."""

    def arm(error: BaseException) -> None:
        there: dict[str, Any] = {"error": error}
        # compiled, so that it is raised in no file, since a file that is not installed would be the user's
        exec(compile("def fail(*_):\n    raise error", "<library>", "exec"), there)  # noqa: S102
        monkeypatch.setattr("vidweave.media.inspect.inspect_file", there["fail"])

    return arm


class OutOfMemoryError(RuntimeError):
    """Called as torch calls its own, which is known by its name."""


class UnwritableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def wrapped(cause: BaseException) -> Exception:
    error = ModuleNotFoundError("Could not import module 'T5Model'")
    error.__cause__ = cause
    return error


FAILURES = [
    (MediaDecodeError("the file is truncated"), 2, "error: the file is truncated"),
    (CheckpointError("3 keys are missing"), 1, "error: 3 keys are missing"),
    (MissingExtraError("peft", "train", "LoRA"), 1, r"LoRA needs peft; install it with: pip install"),
    (CheckpointError("first\n\n  second\tthird"), 1, "error: first second third$"),
    (RuntimeError("Expected all tensors\non one device"), 1, "unexpected RuntimeError: Expected all tensors on one"),
    (
        ZeroDivisionError(),
        1,
        "unexpected ZeroDivisionError: without a message; please report it, with the output of --debug",
    ),
    (AssertionError("Torch not compiled with CUDA enabled"), 1, "unexpected AssertionError: Torch not compiled"),
    (RecursionError("maximum recursion depth exceeded"), 1, "unexpected RecursionError"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 1, "unexpected UnicodeDecodeError: 'utf-8'"),
    (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), 1, "unexpected ExceptionGroup: two"),
    (KeyError("d_model"), 1, "unexpected KeyError: 'd_model'"),
    (UnwritableError(), 1, "unexpected UnwritableError: without a message"),
    (RuntimeError("x" * 9_000), 1, "x{400}.*…; please report it"),
    (MemoryError(), 1, r"out of memory \(no further details\); use fewer --frames"),
    (OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), 1, r"out of memory \(CUDA out of memory\. Tried 2 GiB\);"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 1, r"out of memory \(DefaultCPUAllocator"),
    (FileNotFoundError(errno.ENOENT, "No such file", "a/b"), 2, "'a/b' cannot be used: No such file"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "'x' cannot be used: Permission denied"),
    (OSError(errno.EROFS, "Read-only file system", "x"), 2, "'x' cannot be used: Read-only file system"),
    (OSError(errno.ENOSPC, "No space left on device"), 1, "system error: No space left on device"),
    (PermissionError(errno.EPERM, "Operation not permitted"), 1, "system error: Operation not permitted"),
    (OSError("the hub is away"), 1, "unexpected OSError: the hub is away"),
    (SystemExit("a library left"), 1, "error: a library left"),
    (KeyboardInterrupt(), 130, "error: interrupted$"),
    (wrapped(KeyboardInterrupt()), 130, "error: interrupted$"),
]


@pytest.mark.parametrize(("error", "code", "words"), FAILURES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
def test_every_failure_is_one_line_and_an_exit_code(vid, raising, error, code, words, flags):
    raising(error)
    done = vid("inspect", "x", *flags)
    assert done.code == code
    if flags:
        info = json.loads(done.out)["error"]
        assert (info["type"], info["exit_code"]) == (type(error).__name__, code)
        assert done.err == f"error: {info['message']}\n"
    else:
        assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert re.search(words, done.err.rstrip("\n")), done.err


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_debug_shows_the_traceback_before_the_line(vid, raising, place):
    raising(ZeroDivisionError("ours"))
    words = ["inspect", "x"]
    words.insert(place, "--debug")
    done = vid(*words)
    assert done.code == 1
    *traceback, last = done.err.splitlines()
    assert traceback[0].startswith("Traceback (most recent call last)")
    assert traceback[-1] == "ZeroDivisionError: ours"
    assert last.startswith("error: unexpected ZeroDivisionError: ours")


def test_debug_behind_two_dashes_is_a_word_like_others(vid, raising):
    raising(ZeroDivisionError("ours"))
    assert "Traceback" not in vid("inspect", "--", "--debug").err


def test_debug_stands_in_the_help(vid):
    assert "--debug" in vid("--help").out


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (3, 3)])
def test_an_exit_that_says_nothing_keeps_its_code(vid, raising, code, expected):
    raising(SystemExit(code))
    done = vid("inspect", "x")
    assert (done.code, done.err) == (expected, "")


def test_a_reader_that_left_gets_no_report(raising, monkeypatch, capsys):
    from vidweave.cli.main import run

    raising(BrokenPipeError())
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back afterwards
    assert run(["inspect", "x"]) == 1
    assert capsys.readouterr().err == ""


def test_causes_that_go_in_circles_are_followed_once():
    error = ValueError("round")
    error.__cause__ = error
    assert report(error) == 1


def test_one_line_escapes_what_steers_a_terminal():
    assert one_line("a\x1b[31m\r\nb\x07\x9bc\u202e") == "a\\x1b[31m b\\x07\\x9bc\\u202e"
