"""A hub id: config.json is looked at before anything else is downloaded, and the size of the rest is told."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled
from tiny_models import tiny_config, with_processor

import vidweave
from vidweave.errors import CheckpointError
from vidweave.model.look_first import locate_model


class FakeHub:
    """One repository in a folder; remembers what was asked for."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache, self.asked, self.is_offline = folder, cache, [], False
        self.sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}

    def hf_hub_download(self, repo_id, name):
        self.asked.append(name)
        self.cache.mkdir(exist_ok=True)
        return str(shutil.copy(self.folder / name, self.cache / name))

    def snapshot_download(self, repo_id, allow_patterns):
        self.asked.append(tuple(allow_patterns))
        return str(shutil.copytree(self.folder, self.cache, dirs_exist_ok=True))

    def model_info(self, repo_id, files_metadata):
        if self.is_offline:
            raise OfflineModeIsEnabled
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=n, size=s) for n, s in self.sizes.items()])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    (tmp_path / "repository").mkdir()
    with_processor(tiny_config("causal")).save_pretrained(tmp_path / "repository")
    fake = FakeHub(tmp_path / "repository", tmp_path / "cache")
    for name in ("hf_hub_download", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(fake, name))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    return fake


def test_a_model_of_another_kind_is_refused_before_it_is_downloaded(hub):
    (hub.folder / "config.json").write_text(json.dumps({"model_type": "zamba9_vl"}))
    with pytest.raises(
        CheckpointError, match="'owner/name' holds a 'zamba9_vl' model; vidweave reads folders of: vidweave"
    ):
        vidweave.load("owner/name")
    assert hub.asked == ["config.json"]


def test_the_download_is_announced_with_its_size(hub, caplog):
    caplog.set_level("INFO", logger="vidweave")
    hub.sizes = {"model.safetensors": 15_400_000_000, "config.json": 900_000, "pytorch_model.bin": 9 << 40, "x.png": 5}
    vidweave.load("owner/name")
    assert hub.asked[0] == "config.json"
    assert not any("bin" in pattern for pattern in hub.asked[1])
    (note,) = [r.getMessage() for r in caplog.records if "files" in r.getMessage()]
    assert note.startswith("owner/name: 2 files, 15.4 GB (largest: model.safetensors, 15.4 GB)")


def test_pickled_weights_are_fetched_where_there_are_no_others(hub, caplog):
    caplog.set_level("INFO", logger="vidweave")
    hub.sizes = {
        "pytorch_model-00001-of-00002.bin": 30_000_000,
        "pytorch_model.bin.index.json": 5,
        "optimizer.bin": 9 << 40,
    }
    locate_model("owner/name")
    assert {"pytorch_model*.bin", "pytorch_model.bin.index.json"} <= set(hub.asked[1])
    assert "owner/name: 2 files, 30.0 MB" in caplog.text


def test_without_a_network_the_cache_serves(hub):
    hub.is_offline = True
    assert locate_model("owner/name") == hub.cache


def test_a_gated_repository_says_what_to_do(hub, monkeypatch):
    def refuse(*_, **__):
        raise GatedRepoError("403", response=SimpleNamespace(headers={}, request=None, status_code=403))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(
        CheckpointError, match=r"'owner/name' is gated: accept its terms .* log in with `hf auth login`"
    ):
        vidweave.load("owner/name")


def test_a_folder_is_not_looked_up(hub):
    assert locate_model(hub.folder) == hub.folder
    assert locate_model(str(hub.folder)) == hub.folder
    assert hub.asked == []
