"""The files of a model folder are replaced as a whole: after a kill at any change of the disk, old or new ones count."""

import errno
import os
import subprocess
import sys

import pytest
from disk_faults import Disk, Killed, watched

from vidweave.errors import CheckpointError
from vidweave.model import swap
from vidweave.model.swap import current, replaced

OLD = {
    "config.json": "old",
    "model.safetensors": "old weights",
    "tokenizers/a/t.json": "old",
    "processor_config.json": "o",
}
NEW = {
    "config.json": "new",
    "model-00001-of-00002.safetensors": "1",
    "model-00002-of-00002.safetensors": "2",
    "model.safetensors.index.json": "index",
    "tokenizers/b/t.json": "new",
    "processor_config.json": "n",
}
CARD = {"README.md": "mine", "codes.safetensors": "not of the model"}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder):
    """Files that count, by name."""
    folder = current(folder)
    files = [p for p in folder.rglob("*") if p.is_file() and not p.relative_to(folder).parts[0].startswith(".")]
    return {str(p.relative_to(folder)): p.read_text() for p in files}


def save(folder, files):
    with replaced(folder) as staging:
        write(staging, files)


def without_card(files):
    return {name: text for name, text in files.items() if name not in CARD}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """A killed process loses nothing that it has written; waiting is for power cuts, and slow."""
    monkeypatch.setattr(swap, "sync", lambda *paths: None)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "model", OLD | CARD)
    return tmp_path / "model"


def count_changes(folder, **disk):
    """Number of changes of the disk that one save makes."""
    with watched(Disk(**disk)) as seen:
        save(folder, NEW)
    return seen.count


@pytest.fixture
def fresh(tmp_path):
    def make(name):
        write(tmp_path / name, OLD | CARD)
        return tmp_path / name

    return make


def test_new_files_replace_the_old_model_and_nothing_else(folder):
    save(folder, NEW)
    assert read(folder) == NEW | CARD
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    save(folder, OLD)
    assert read(folder) == OLD | CARD


@pytest.mark.parametrize("has_links", [True, False])
def test_after_a_kill_at_any_change_the_old_or_the_new_files_count(fresh, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    total, seen = count_changes(fresh("count")), []
    assert total > 25
    for at in range(total):
        folder = fresh(f"at-{at}")
        with pytest.raises(Killed), watched(Disk(at)):
            save(folder, NEW)
        result = without_card(read(folder))
        assert result in (OLD, NEW), at
        seen.append(result == NEW)
        save(folder, NEW | {"config.json": "next"})
        assert read(folder) == NEW | CARD | {"config.json": "next"}, at
        assert not [name for name in os.listdir(folder) if name.startswith(".")], at
    assert seen == sorted(seen)  # once the new files count, they do so for good
    assert 5 < sum(seen) < total - 5


@pytest.mark.parametrize("has_links", [True, False])
def test_a_full_disk_at_any_write_is_reported_and_leaves_the_old_or_the_new_files(fresh, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    for at in range(count_changes(fresh("count"), is_full=True)):
        folder = fresh(f"at-{at}")
        message = r"could not save to .*No space left on device"
        with watched(Disk(at, is_full=True)), pytest.raises(CheckpointError, match=message) as caught:
            save(folder, NEW)
        is_new = "the new model is complete" in str(caught.value)
        assert is_new or "existing files are unchanged; free space" in str(caught.value)
        assert without_card(read(folder)) == (NEW if is_new else OLD), at
        if not is_new:
            assert sorted(os.listdir(folder)) == sorted({name.split("/")[0] for name in OLD | CARD})


def test_what_fails_while_it_is_written_leaves_no_new_folder(tmp_path):
    with pytest.raises(TypeError, match="NoneType"), replaced(tmp_path / "new") as staging:
        write(staging, {**NEW, "last": None})
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match=r"could not save to .*file.*choose another folder"):
        save(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_kept_is_taken_over_unless_it_is_new(folder):
    with replaced(folder, keep=lambda name: name in ("config.json", "tokenizers")) as staging:
        write(staging, {"config.json": "new"})
    assert without_card(read(folder)) == {"config.json": "new", "tokenizers/a/t.json": "old"}


FORKS = """
import os, random, signal, sys, time
from pathlib import Path
from vidweave.model.swap import replaced

def save_forever(folder):
    number = 0
    while True:
        number += 1
        with replaced(folder) as staging:
            for name in ("config.json", "model.safetensors", *(f"tokenizers/{i}.json" for i in range(number % 7))):
                (staging / name).parent.mkdir(exist_ok=True)
                (staging / name).write_text(f"{number}\\n" * 999)

for attempt in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        save_forever(Path(sys.argv[1]) / str(attempt))
    time.sleep(0.3 + 0.0137 * attempt)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_a_process_killed_while_it_saves_leaves_one_whole_model(tmp_path):
    subprocess.run([sys.executable, "-c", FORKS, str(tmp_path), "15"], check=True)
    interrupted = 0
    for folder in tmp_path.iterdir():
        result = read(folder)
        if (
            "config.json" not in result
        ):  # killed before its first save ended, on a busy machine: nothing was there to lose
            assert not result
            continue
        number = int(result["config.json"].split()[0])
        assert set(result.values()) == {f"{number}\n" * 999}
        assert len(result) == 2 + number % 7
        interrupted += any(name.startswith(".") for name in os.listdir(folder))
        save(folder, NEW)
        assert read(folder) == NEW
    assert interrupted > 5
