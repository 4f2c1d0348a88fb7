import errno
import os

import pytest
import torch
from safetensors import SafetensorError
from training_toys import TinyNet

from vidweave.errors import TrainingError
from vidweave.training import checkpoint as checkpoint_module
from vidweave.training.checkpoint import (
    Checkpoints,
    Position,
    load_optimizer,
    load_trainable,
    optimizer_tensors,
    trainable_tensors,
)


def _saved(checkpoints, *steps):
    for step in steps:
        checkpoints.save(Position(step=step, total_steps=step), {"w": torch.full((3,), float(step))}, {})


def test_last_and_previous_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    _saved(checkpoints, 1, 2, 3)
    assert [p.name for p in checkpoints.complete()] == ["000-000000003", "000-000000002"]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["000-000000002", "000-000000003"]
    position, weights, optimizer = checkpoints.latest()
    assert (position.step, weights["w"].tolist(), optimizer) == (3, [3.0] * 3, {})


def test_only_json_and_safetensors_are_written(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    _saved(checkpoints, 1)
    names = sorted(p.name for p in checkpoints.complete()[0].iterdir())
    assert names == ["optimizer.safetensors", "state.json", "weights.safetensors"]


def test_later_stages_are_newer(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    _saved(checkpoints, 999)
    checkpoints.save(Position(stage=1, step=0), {}, {})
    assert checkpoints.latest()[0].stage == 1


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_passed_over_aloud_then_replaced(tmp_path, caplog, name):
    checkpoints = Checkpoints(tmp_path)
    _saved(checkpoints, 1, 2)
    damaged = checkpoints.complete()[0] / name
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert checkpoints.latest()[0].step == 1
    assert "is damaged" in caplog.text
    _saved(checkpoints, 2)
    assert checkpoints.latest()[0].step == 2


def test_when_all_are_damaged_the_run_stops(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    _saved(checkpoints, 1)
    (checkpoints.complete()[0] / "weights.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"every checkpoint in .* is damaged; remove the folder to start over"):
        checkpoints.latest()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("No space left on device")]
)
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, error):
    checkpoints = Checkpoints(tmp_path)
    _saved(checkpoints, 1)

    def full(path, tensors):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint_module, "save_tensors", full)
    with pytest.raises(
        TrainingError, match=r"could not be written .*No space left.* the last good one is .*-000000001; free space"
    ):
        _saved(checkpoints, 2)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["000-000000001"]
    assert checkpoints.latest()[0].step == 1


def test_a_kill_before_the_rename_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    _saved(checkpoints, 1)
    monkeypatch.setattr(checkpoint_module, "sync", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _saved(checkpoints, 2)
    assert checkpoints.latest()[0].step == 1
    checkpoints.clean()
    assert os.listdir(tmp_path) == ["000-000000001"]


def test_weights_and_buffers_come_back_bit_for_bit():
    torch.manual_seed(0)
    model, other = TinyNet(), TinyNet()
    model(torch.randn(5, 3))
    names = ["head.weight", "head.bias"]
    load_trainable(other, names, trainable_tensors(model, names))
    assert torch.equal(other.head.weight, model.head.weight)
    assert torch.equal(other.tower[1].running_mean, model.tower[1].running_mean)
    assert not torch.equal(other.tower[0].weight, model.tower[0].weight)


def test_other_names_or_shapes_are_reported():
    model = TinyNet()
    tensors = trainable_tensors(model, ["head.weight"])
    with pytest.raises(TrainingError, match=r"differ in 1 tensors: head.bias"):
        load_trainable(model, ["head.weight", "head.bias"], tensors)
    with pytest.raises(TrainingError, match=r"head.weight is \(3, 3\) in the checkpoint, \(2, 7\) in the model"):
        load_trainable(model, ["head.weight"], {**tensors, "head.weight": torch.zeros(3, 3)})


def test_the_optimizer_goes_on_bit_for_bit():
    def step(model, optimizer):
        optimizer.zero_grad()
        model.head(torch.ones(4, 7)).pow(2).sum().backward()
        optimizer.step()

    model, other = TinyNet(), TinyNet()
    first, second = (torch.optim.AdamW(m.head.parameters()) for m in (model, other))
    step(model, first)
    names = {f"head.{n}": p for n, p in model.head.named_parameters()}
    own = {f"head.{n}": p for n, p in other.head.named_parameters()}
    load_trainable(other, names, trainable_tensors(model, names))
    load_optimizer(second, own, optimizer_tensors(first, names))
    step(model, first)
    step(other, second)
    assert all(torch.equal(names[n], own[n]) for n in names)
    with pytest.raises(TrainingError, match="optimizer state of 'x', which is not trainable"):
        load_optimizer(second, own, {"x:step": torch.zeros(())})
