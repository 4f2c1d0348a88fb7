"""Progress on stderr: after two seconds, in place on a terminal, by lines elsewhere."""

import sys
import threading
import time
from contextlib import contextmanager

import pytest

from vidweave.cli.loading import load_pipeline
from vidweave.cli.progress import ByteProgress, show_elapsed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def printed(clock, times, capsys):
    progress = ByteProgress(clock)
    for seconds in times:
        clock.now = 100.0 + seconds
        progress("writing weights", int(1e9 * seconds), int(40e9))
    progress.close()
    return capsys.readouterr().err


def test_short_work_says_nothing(capsys):
    assert printed(Clock(), [0.1, 1.0, 1.9], capsys) == ""


def test_long_work_says_a_line_now_and_then(capsys):
    err = printed(Clock(), [1, 3, 4, 12, 14, 30], capsys)
    assert err.splitlines() == [f"writing weights: {share}% of 40.0 GB" for share in ("8", "35", "75")]


def test_on_a_terminal_one_line_is_rewritten_and_cleared(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    err = printed(Clock(), [1, 3, 3.1, 4], capsys)
    assert "\n" not in err
    assert err.count("writing weights") == 2
    assert err.endswith("\r\x1b[K")


@pytest.mark.parametrize("total", [0, 5])
def test_nothing_to_do_is_no_division_by_zero(total, capsys):
    progress = ByteProgress(clock := Clock())
    clock.now += 5
    progress("hashing files", 0, total)
    assert capsys.readouterr().err.startswith("hashing files: 0% of ")


def test_short_work_without_a_count_shows_nothing(capsys):
    with show_elapsed("loading m", patience=60, pause=60):
        pass
    assert capsys.readouterr().err == ""


def test_a_log_gets_a_line_now_and_then(capsys):
    with show_elapsed("loading m", patience=0, pause=0.01):
        time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"loading m: 0 s"}


def test_a_terminal_gets_a_spinner_that_vanishes(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with show_elapsed("loading m", patience=0):
        time.sleep(0.3)
    err = capsys.readouterr().err
    assert "loading m" in err
    assert "0:00:00" in err
    assert err.endswith("\x1b[2K")  # the line is cleared


def test_the_display_ends_when_the_work_fails(capsys):
    with pytest.raises(ValueError, match="no"), show_elapsed("loading m", patience=0, pause=0.01):
        raise ValueError("no")
    assert "vidweave-elapsed" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(("name", "shows"), [("tiny-base", True), ("owner/model", False)])
def test_hub_ids_show_their_downloads_alone(name, shows, monkeypatch):
    shown = []

    @contextmanager
    def record(what):
        shown.append(what)
        yield

    monkeypatch.setattr("vidweave.cli.loading.show_elapsed", record)
    monkeypatch.setattr("vidweave.load", lambda name, **options: (name, options), raising=False)
    assert load_pipeline(name, device="cpu") == (name, {"device": "cpu"})
    assert shown == [f"loading {name}"] * shows
