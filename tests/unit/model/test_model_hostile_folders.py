"""Hostile and damaged model folders: each is one typed error, at once, and nothing of it runs."""

import json
import os
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_config, with_processor

import vidweave
from vidweave.errors import CheckpointError, ConfigError, InputError, UnknownNameError, VidweaveError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.files import read_weights
from vidweave.model.sharded import read_lazily


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with_processor(tiny_config("causal")).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A fresh copy to damage."""
    return shutil.copytree(saved, tmp_path / "model")


def _edit(folder, **changes):
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, **changes}))


def test_a_huge_config_is_not_read(folder):
    with (folder / "config.json").open("r+b") as file:
        file.truncate(200 << 20)  # sparse: only its size is looked at
    with pytest.raises(CheckpointError, match=r"no readable config.json \(209,715,200 bytes, at most"):
        vidweave.load(folder)


@pytest.mark.parametrize("depth", [40, 100_000])
def test_a_deeply_nested_config_is_refused(folder, depth):
    (folder / "config.json").write_text('{"model_type": "vidweave", "spec": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(CheckpointError, match=r"no readable config.json \(.*(nested deeper than 32|recursion)"):
        vidweave.load(folder)


def test_a_config_that_is_no_text_is_refused(folder):
    (folder / "config.json").write_bytes(b"\xff\xfe\x00" * 20)
    with pytest.raises(CheckpointError, match=r"no readable config.json"):
        vidweave.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spec": 3}, "spec must be a mapping, got 3"),
        ({"spec": []}, r"spec must be a mapping, got \[\]"),
        ({"spec": {}}, "ModelSpec lacks selector, encoders"),
        ({"bases": [1]}, r"bases must be a mapping from state-dict roots, got \[1\]"),
        ({"bases": {"encoders.rgb": "x"}}, r"base of 'encoders.rgb' needs a 'source'"),
        ({"bases": {"encoders.rgb": {"source": "x", "sha256": 3}}}, "sha256 of the base of 'encoders.rgb' must be"),
        ({"name": ["x"]}, r"name must be a string, got \['x'\]"),
    ],
)
def test_wrong_types_in_a_config_are_named(folder, changes, message):
    _edit(folder, **changes)
    with pytest.raises(ConfigError, match=message):
        vidweave.load(folder)


@pytest.mark.parametrize("path", ["language_model/config/num_hidden_layers", "encoders/rgb/layers"])
def test_more_layers_than_any_model_has_are_not_built(folder, path):
    data = json.loads((folder / "config.json").read_text())
    *parents, last = ["spec", *path.split("/")]
    inner = data
    for key in parents:
        inner = inner[key]
    inner[last] = 100_000_000
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=rf"has {last}=100,000,000; at most 1,000 are allowed"):
        vidweave.load(folder)


def test_a_base_of_a_slot_that_is_not_there_is_named(folder):
    _edit(folder, bases={"encoders.other": {"source": str(folder), "sha256": None}})
    with pytest.raises(
        UnknownNameError, match=r"unknown state-dict root 'encoders.other'; did you mean 'encoders.rgb'"
    ):
        vidweave.load(folder)


PATHS = (
    "", "selector", "encoders", "encoders/rgb", "encoders/rgb/specs", "encoders/rgb/specs/video", "streams",
    "streams/video", "streams/video/need", "streams/video/modalities", "streams/video/pool", "connector",
    "connector/trunks", "connector/trunks/qformer", "connector/ports", "connector/ports/video", "connector/fusion",
    "connector/output_width", "language_model", "language_model/config", "layout", "layout/parts", "layout/options",
    "layout/answer", "decoding",
)  # fmt: skip
OPTIONAL = {"streams/video/pool", "layout/options"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", [None, -7, "x", [[]], {"kind": 3}, {"kind": ["x"]}, {"kind": {}}])
def test_any_wrong_value_anywhere_in_the_spec_is_a_typed_error(folder, path, value):
    if value is None and path in OPTIONAL:
        pytest.skip("None is right here")
    data = json.loads((folder / "config.json").read_text())
    *parents, last = ["spec", *filter(None, path.split("/"))]
    inner = data
    for key in parents:
        inner = inner[key]
    inner[last] = value
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises((InputError, CheckpointError)):
        vidweave.load(folder)


@pytest.mark.parametrize(
    "header", [b"", b"{}", b'{"a": 3}', b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}']
)
@pytest.mark.parametrize("claimed", [None, 1 << 62, 0])
def test_a_hostile_header_is_refused(folder, header, claimed):
    length = len(header) if claimed is None else claimed
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + header)
    with pytest.raises(CheckpointError):
        vidweave.load(folder)


@pytest.mark.parametrize("offsets", [[0, 1 << 60], [4, 0], [-4, 0], [0, 2], ["a", "b"]])
def test_offsets_outside_the_file_are_refused(folder, offsets):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        vidweave.load(folder)


class _Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_pickled_weights_that_would_run_code_are_refused(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save({"a": _Bomb(tmp_path / "mark")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin cannot be read as a file of tensors alone"):
        vidweave.load(folder)
    assert not (tmp_path / "mark").exists()
    (folder / "pytorch_model.bin").rename(folder / "weights.pt")
    with pytest.raises(
        CheckpointError, match=r"no .safetensors file and no pytorch_model.bin, only weights.pt; convert"
    ):
        vidweave.load(folder)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_folder_with_pickled_weights_alone_is_read_as_tensors(saved, folder, sharded):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys, index = sorted(state), {}
    pieces = [keys[: len(keys) // 2], keys[len(keys) // 2 :]] if sharded else [keys]
    for number, piece in enumerate(pieces, 1):
        name = f"pytorch_model-{number:05d}-of-00002.bin" if sharded else "pytorch_model.bin"
        torch.save({key: state[key] for key in piece}, folder / name)
        index |= dict.fromkeys(piece, name)
    if sharded:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    read, lazy, loaded = read_weights(folder), read_lazily(folder), vidweave.load(folder).model.state_dict()
    assert read.keys() == state.keys() == lazy.keys()
    for key, tensor in state.items():
        assert torch.equal(read[key], tensor)
        assert torch.equal(lazy[key].make(), tensor)
        assert torch.equal(loaded[key], tensor)
    if sharded:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {keys[0]: "../x.bin"}}))
        with pytest.raises(CheckpointError, match=r"names '\.\./x\.bin', which is no bin file of its own folder"):
            read_weights(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "pytorch_model.bin", "tokenizers/language/tokenizer.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_file_of_a_folder_that_would_block_or_never_end_is_opened(folder, name, kind):
    (folder / name).unlink(missing_ok=True)
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"only contain regular files|no readable config\.json"):
        vidweave.load(folder)


def test_the_model_is_built_once(folder, monkeypatch):
    built, build = [], VideoLanguageModel.__init__
    monkeypatch.setattr(
        VideoLanguageModel, "__init__", lambda self, *a, **k: (built.append(1), build(self, *a, **k))[1]
    )
    vidweave.load(folder)
    assert built == [1]


def _shard(folder, names):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(state)
    parts = {"model-1.safetensors": keys[:5], "model-2.safetensors": keys[5:]}
    for name, part in parts.items():
        save_file({key: state[key] for key in part}, folder / name, metadata={"format": "pt"})
    index = {"weight_map": {key: names.get(name, name) for name, part in parts.items() for key in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return state


def test_shards_are_read_by_the_index_alone(folder):
    state = _shard(folder, {})
    save_file({"strange": torch.zeros(1)}, folder / "adapter.safetensors")
    assert read_weights(folder).keys() == state.keys()
    vidweave.load(folder)


@pytest.mark.parametrize("name", ["../model-2.safetensors", "/etc/model.safetensors", "model-2.bin", "", ".."])
def test_an_index_that_points_outside_the_folder_is_refused(folder, name):
    _shard(folder, {"model-2.safetensors": name})
    with pytest.raises(CheckpointError, match=r"which is no safetensors file of its own folder"):
        vidweave.load(folder)


def test_a_missing_shard_is_named(folder):
    _shard(folder, {})
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks the shard model-2.safetensors"):
        vidweave.load(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": 3}, {"weight_map": {"a": 3}}])
def test_an_index_without_a_map_is_refused(folder, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="has no weight_map"):
        vidweave.load(folder)


@pytest.mark.parametrize("names", [3, [3], {}, "language", None, [], ["nowhere"], ["../../other"]])
def test_a_damaged_list_of_tokenizers_is_refused(folder, names):
    (folder / "processor_config.json").write_text(json.dumps({"tokenizers": names}))
    with pytest.raises(VidweaveError):
        vidweave.load(folder)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff" * 9, b'{"model": 3}'])
def test_a_damaged_tokenizer_is_refused(folder, damage):
    (folder / "tokenizers" / "language" / "tokenizer.json").write_bytes(damage)
    with pytest.raises(CheckpointError, match="cannot load a tokenizer from"):
        vidweave.load(folder)
