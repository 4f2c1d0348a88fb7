"""Atomic files and folders, and locks: the old or the new at every instant, whatever fails."""

import builtins
import errno
import os
import subprocess
import sys

import pytest

from vidweave.errors import PredictionError
from vidweave.storage import atomic_folder, atomic_path, locked, write_atomically
from vidweave.storage.files import remove_scratch, scratch_name

CALLS = ("open", "write", "fsync", "replace")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_inside(context, work):
    with context as made:
        work(made)
        raise KeyError


@pytest.mark.parametrize("call", CALLS)
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "f.bin"
    path.write_bytes(b"old")

    def refuse(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["f.bin"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_path_for_libraries_keeps_its_ending_and_replaces_at_the_end(tmp_path):
    path = tmp_path / ("n" * 240 + ".mp4")
    path.write_bytes(b"old")
    with atomic_path(path) as part:
        assert part.suffix == ".mp4"
        assert part.parent == tmp_path
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(KeyError):
        fail_inside(atomic_path(path), lambda part: part.write_bytes(b"half"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == [path.name]


def test_a_folder_appears_whole(tmp_path):
    folder = tmp_path / "deep" / "out"
    with atomic_folder(folder) as made:
        (made / "a").write_text("1")
        assert not folder.exists()
    assert names(folder) == ["a"]
    with pytest.raises(KeyError):
        fail_inside(atomic_folder(folder), lambda made: (made / "b").write_text("2"))
    assert names(folder) == ["a"]
    with atomic_folder(folder) as made:
        (made / "b").write_text("2")
    assert names(folder) == ["b"]
    assert names(folder.parent) == ["out"]


def test_only_scratch_is_removed(tmp_path):
    kept = [tmp_path / ".hidden", tmp_path / ".a.b.c", tmp_path / "plain.1.abcdef12", tmp_path / ".lock"]
    for path in kept:
        path.touch()
    scratch_name(tmp_path / "x.json").touch()
    scratch_name(tmp_path / "x").mkdir()
    remove_scratch(tmp_path)
    assert names(tmp_path) == sorted(path.name for path in kept)


def test_a_lock_ends_with_its_process(tmp_path):
    target = tmp_path / "data.jsonl"
    with locked(target, PredictionError("busy")):
        with pytest.raises(PredictionError, match="busy"), locked(target, PredictionError("busy")):
            pass
        code = (
            "from pathlib import Path\nfrom vidweave.storage import locked\nfrom vidweave.errors import PredictionError\n"
            f"with locked(Path({str(target)!r}), PredictionError('busy')): pass"
        )
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert "PredictionError: busy" in child.stderr
    held = subprocess.run([sys.executable, "-c", code.replace("pass", "import os; os._exit(3)")], timeout=60)
    assert held.returncode == 3
    with locked(target, PredictionError("busy")):
        pass
    with locked(tmp_path, PredictionError("busy")):
        assert (tmp_path / ".lock").exists()


@pytest.mark.slow
def test_every_module_imports_without_fcntl():
    """Windows has none; filelock has another way there."""
    code = (
        "import sys, pkgutil, importlib, vidweave\n"
        "sys.modules['fcntl'] = None\n"
        "rooms = ('storage', 'evaluation', 'derive', 'engines', 'training', 'contra4', 'media')\n"
        "for room in rooms:\n"
        "    package = importlib.import_module(f'vidweave.{room}')\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "print('fine')"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110)
    assert child.stdout == "fine\n", child.stderr[-2000:]


def test_nothing_in_the_package_locks_or_renames_by_itself():
    """One home: outside `storage`, no module imports fcntl."""
    import vidweave

    root = os.path.dirname(vidweave.__file__)
    result = []
    for folder, _, files in os.walk(root):
        for name in files:
            if name.endswith(".py"):
                with builtins.open(os.path.join(folder, name), encoding="utf-8") as file:
                    if "import fcntl" in file.read():
                        result.append(name)
    assert result == []
