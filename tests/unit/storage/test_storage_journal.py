"""Journals: what a kill, a full disk, a second process and a wrong file do to them."""

import errno
import json
import os

import pytest

from vidweave.errors import PredictionError
from vidweave.storage import Journal, changed_settings, read_journal

HEADER = {"format": "test", "settings": {"k": 4, "name": "a"}}


def opened(path, header=HEADER):
    def check(recorded):
        if changed := changed_settings(recorded, header):
            raise PredictionError(f"other settings: {changed}")

    return Journal(path, header, check=check, parse=lambda row: row["n"], error=PredictionError, what="number file")


def test_rows_come_back_and_a_torn_line_is_cut_off(tmp_path):
    path = tmp_path / "new" / "j.jsonl"
    with opened(path) as journal:
        assert journal.rows == []
        journal.append([{"n": 3}, {"n": 5}])
    whole = path.read_bytes()
    for length in range(len(whole) - len(b'{"n": 5}\n'), len(whole)):  # the last line, torn anywhere
        path.write_bytes(whole[:length])
        assert read_journal(path, parse=lambda r: r["n"], error=PredictionError, what="number file") == (HEADER, [3])
        assert path.read_bytes() == whole[:length]
        with opened(path) as journal:
            assert journal.rows == [3]
            journal.append([{"n": 5}])
        assert path.read_bytes() == whole


def test_a_torn_header_begins_again(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(json.dumps(HEADER).encode()[:7])
    with opened(path) as journal:
        assert journal.rows == []
    assert json.loads(path.read_text()) == HEADER


def test_other_settings_change_nothing_in_the_file(tmp_path):
    path = tmp_path / "j.jsonl"
    with opened(path) as journal:
        journal.append([{"n": 1}])
    torn = path.read_bytes() + b'{"n"'
    path.write_bytes(torn)
    with pytest.raises(PredictionError, match=r"other settings: \[\('settings.k', 4, 7\)\]"):
        opened(path, {"format": "test", "settings": {"k": 7, "name": "a"}})
    assert path.read_bytes() == torn


@pytest.mark.parametrize("text", ["no json\n", "[1]\n", "7\n"])
def test_a_file_of_something_else_is_refused_as_it_is(tmp_path, text):
    path = tmp_path / "j.jsonl"
    path.write_text(text + "more")
    with pytest.raises(PredictionError, match=r"is not a number file .*; move it away or use another name"):
        opened(path)
    assert path.read_text() == text + "more"


@pytest.mark.parametrize("line", ["{}", "nonsense", "[3]", '{"m": 3}', "[" * 4000])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps(HEADER) + '\n{"n": 1}\n' + line + '\n{"n": 2}\n')
    for use in (opened, lambda p: read_journal(p, parse=lambda r: r["n"], error=PredictionError, what="number file")):
        with pytest.raises(PredictionError, match=r"j.jsonl:3 is damaged .*; delete that line to have it made again"):
            use(path)


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "j.jsonl"
    with (
        opened(path),
        pytest.raises(PredictionError, match="is being written by another process; wait for it, or choose"),
    ):
        opened(path)
    with opened(path):
        pass


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "j.jsonl"
    with opened(path) as journal:
        journal.append([{"n": 1}])
        before = path.read_bytes()
        write = os.write

        def half(descriptor, view):
            if len(view) > 4:
                return write(descriptor, view[:4])
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(PredictionError, match=r"cannot use the number file .* No space left.*free some space"):
                journal.append([{"n": 2}])
        assert path.read_bytes() == before
        journal.append([{"n": 3}])
    with opened(path) as journal:
        assert journal.rows == [1, 3]


def test_a_missing_or_empty_file_cannot_be_read(tmp_path):
    arguments = {"parse": dict, "error": PredictionError, "what": "number file"}
    with pytest.raises(PredictionError, match=r"cannot use the number file .*: No such file"):
        read_journal(tmp_path / "none", **arguments)
    (tmp_path / "empty").touch()
    with pytest.raises(PredictionError, match="holds no lines yet; it should be a number file"):
        read_journal(tmp_path / "empty", **arguments)


def test_changed_settings_are_named_by_leaf():
    assert changed_settings({"a": {"b": 1, "c": {}}, "d": [1]}, {"a": {"b": 2}, "d": [1], "e": None}) == [
        ("a.b", 1, 2), ("a.c", {}, None),
    ]  # fmt: skip
