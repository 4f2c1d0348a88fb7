"""Encoders side by side: in CUDA streams that wait for each other, one after the other elsewhere."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from vidweave.model.side_by_side import encode_side_by_side
from vidweave.types import Features


def features(value):
    item = torch.zeros(1, dtype=torch.long)
    return Features(
        torch.full((1, 1, 2, 3), value), torch.ones(1, 1, 2, dtype=torch.bool), torch.zeros(1, 1, 2), item, item
    )


class FakeCuda:
    """Records what runs where, and who waits for whom."""

    def __init__(self):
        self.now, self.told = "main", []

    def current_stream(self, device):
        return FakeStream(self, "main")

    def Stream(self, device):
        return FakeStream(self, f"side {sum(t[0] == 'made' for t in self.told)}")

    @contextmanager
    def stream(self, side):
        self.now, before = side.name, self.now
        yield
        self.now = before


class FakeStream:
    def __init__(self, cuda, name):
        self.cuda, self.name = cuda, name
        if name != "main":
            cuda.told.append(("made", name))

    def wait_stream(self, other):
        self.cuda.told.append((self.name, "waits for", other.name))


def test_one_after_the_other_on_a_cpu():
    order = []

    def encode(name):
        order.append(name)
        return features(float(len(order)))

    result = encode_side_by_side(encode, ["a", "b"], torch.device("cpu"))
    assert order == list(result) == ["a", "b"]
    assert [f.values[0, 0, 0, 0].item() for f in result.values()] == [1.0, 2.0]


def test_each_waits_for_what_came_before_and_the_connector_for_all(monkeypatch):
    cuda, kept = FakeCuda(), []
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: kept.append((self.shape, stream.name)))

    def encode(name):
        cuda.told.append((cuda.now, "encodes", name))
        return features(1.0)

    encode_side_by_side(encode, ["a", "b"], torch.device("cuda"))
    assert [t for t in cuda.told if t[0] != "made"] == [
        ("side 0", "waits for", "main"),
        ("side 0", "encodes", "a"),
        ("side 1", "waits for", "main"),
        ("side 1", "encodes", "b"),
        ("main", "waits for", "side 0"),
        ("main", "waits for", "side 1"),
    ]
    assert {name for _, name in kept} == {"main"}
    assert len(kept) == 10


def test_a_single_stream_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(torch, "cuda", None)
    assert list(encode_side_by_side(lambda name: features(1.0), ["a"], torch.device("cuda"))) == ["a"]


@pytest.mark.gpu
def test_the_same_features_on_a_card():
    device = torch.device("cuda")
    encoders = {name: torch.nn.Linear(64, 64, device=device) for name in "abc"}
    seen = torch.randn(1, 1, 512, 64, device=device)

    def encode(name):
        return replace(
            features(0.0).to(device), values=encoders[name](seen), mask=torch.ones(1, 1, 512, device=device) > 0
        )

    result = encode_side_by_side(encode, list(encoders), device)
    for name, encoder in encoders.items():
        torch.testing.assert_close(result[name].values, encoder(seen))
