import pytest

from vidweave.errors import CheckpointError
from vidweave.nn.keys import KeyTable

TABLE = KeyTable(
    (("bert.layer.{i}.attention.self.", "layer.{i}.attention."), ("bert.layer.{i}.", "layer.{i}."), ("q", "query")),
    dropped=(r"bert\.position_ids",),
)


def test_first_fit_decides_and_numbers_pass():
    theirs = {
        "bert.layer.12.attention.self.key.bias": 1,
        "bert.layer.3.output.weight": 2,
        "q": 3,
        "bert.position_ids": 4,
    }
    ours = TABLE.to_ours(theirs)
    assert ours == {"layer.12.attention.key.bias": 1, "layer.3.output.weight": 2, "query": 3}
    assert TABLE.to_theirs(ours) == {key: value for key, value in theirs.items() if key != "bert.position_ids"}


def test_unknown_keys_are_listed():
    with pytest.raises(CheckpointError, match="1 keys of the other layout are not in the key table: extra"):
        TABLE.to_ours({"q": 1, "extra": 2})


def test_two_keys_may_not_become_one():
    table = KeyTable((("a.", "x."), ("b.", "x.")))
    with pytest.raises(CheckpointError, match=r"two keys of the other layout become 'x.w'; the second is 'b.w'"):
        table.to_ours({"a.w": 1, "b.w": 2})
