import pytest
import torch

from vidweave.errors import CheckpointError
from vidweave.model.files import read_weights
from vidweave.model.sharded import LazyTensor, write_sharded

TENSORS = {
    "b.weight": torch.randn(7, 5),
    "a.bias": torch.randn(3).to(torch.bfloat16),
    "number": torch.tensor(4),
    "c": torch.randn(4, 6).mT,
    "empty": torch.zeros(0, 2, dtype=torch.float16),
}


@pytest.mark.parametrize("most", [1 << 20, 100, 1])
def test_what_is_written_reads_back(tmp_path, most):
    seen = []
    lazy = {key: LazyTensor.of(tensor) for key, tensor in TENSORS.items()}
    files = write_sharded(tmp_path, lazy, max_shard_bytes=most, progress=lambda *done: seen.append(done))
    state = read_weights(tmp_path)
    assert state.keys() == TENSORS.keys()
    assert all(torch.equal(state[key], TENSORS[key]) and state[key].dtype == TENSORS[key].dtype for key in TENSORS)
    assert (len(files) == 1) == (most == 1 << 20) == (not (tmp_path / "model.safetensors.index.json").exists())
    assert seen[-1][0] == seen[-1][1] == sum(t.numel() * t.element_size() for t in TENSORS.values())
    assert not list(tmp_path.glob("*.partial"))


def test_floats_change_their_dtype_and_numbers_do_not(tmp_path):
    write_sharded(tmp_path, {key: LazyTensor.of(tensor, torch.float16) for key, tensor in TENSORS.items()})
    state = read_weights(tmp_path)
    assert state["b.weight"].dtype == torch.float16
    assert state["number"].dtype == torch.int64


def test_a_tensor_that_is_not_as_announced(tmp_path):
    lazy = LazyTensor((2, 3), torch.float32, lambda: torch.zeros(3, 2))
    with pytest.raises(CheckpointError, match=r"x became torch.float32 \(3, 2\), not torch.float32 \(2, 3\)"):
        write_sharded(tmp_path, {"x": lazy})
