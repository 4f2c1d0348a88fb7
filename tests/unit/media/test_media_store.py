"""The feature store: what goes in comes out, damage never does."""

import json
import os
import pickle
import threading
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidweave.errors import StoreError
from vidweave.media.store import FeatureStore, store_key
from vidweave.media.store import store as store_module
from vidweave.media.store.folder import GRACE_SECONDS
from vidweave.types import VisualSpec

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "uint16"]
DTYPES += ["float8_e4m3fn", "float8_e5m2", "uint32", "uint64"]


def some_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"values": torch.randn(3, 5, 7, generator=generator).bfloat16(), "seconds": torch.arange(6.0).reshape(3, 2)}


def same(got: dict[str, torch.Tensor] | None, requested: dict[str, torch.Tensor]) -> bool:
    return (
        got is not None
        and got.keys() == requested.keys()
        and all(got[n].dtype == t.dtype and got[n].shape == t.shape for n, t in requested.items())
        and all(bytes_of(got[n]) == bytes_of(t) for n, t in requested.items())
    )


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def files(root: Path, part: str) -> list[Path]:
    return sorted((root / part).iterdir())


def filled(root: Path, count: int = 3) -> FeatureStore:
    """A store whose entries k0, k1, … lie in a shard each."""
    store = FeatureStore(root, flush_bytes=1)
    for i in range(count):
        store.put(f"k{i}", some_tensors(i), {"number": i})
        os.utime(files(root, "index")[-1])
    return store


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_comes_back_bit_for_bit(tmp_path, name):
    pattern = torch.arange(2 * 3 * 16, dtype=torch.uint8)
    dtype = getattr(torch, name)
    tensor = (pattern[:6] % 2).bool() if dtype == torch.bool else pattern.view(dtype)
    with FeatureStore(tmp_path / "store") as store:
        store.put("k", {"t": tensor.reshape(2, -1), "empty": torch.empty(0, 4, dtype=dtype), "one": tensor[1]})
    got = FeatureStore(tmp_path / "store").get("k")
    assert same(got, {"t": tensor.reshape(2, -1), "empty": torch.empty(0, 4, dtype=dtype), "one": tensor[1]})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 99), st.booleans()), max_size=12))
def test_the_last_entry_of_a_key_counts_whatever_is_flushed_when(tmp_path_factory, steps):
    root, latest = tmp_path_factory.mktemp("store"), {}
    with FeatureStore(root) as store:
        for key, seed, flush in steps:
            store.put(key, some_tensors(seed), {"seed": seed})
            latest[key] = seed
            if flush:
                store.flush()
        assert all(same(store.get(key), some_tensors(seed)) for key, seed in latest.items())
    again = FeatureStore(root)
    assert again.keys() == sorted(latest)
    assert all(same(again.get(key), some_tensors(seed)) for key, seed in latest.items())
    assert all(again.info(key) == {"seed": seed} for key, seed in latest.items())
    assert again.verify().ok


def test_what_is_put_or_got_may_be_changed_without_harm(tmp_path):
    store, tensor = FeatureStore(tmp_path), torch.ones(2, 3)
    store.put("k", {"t": tensor})
    tensor.zero_()
    for _ in range(2):
        got = store.get("k")
        assert got is not None
        assert bool((got["t"] == 1).all())
        got["t"].zero_()
        store.flush()


def test_a_view_of_a_large_tensor_is_stored_alone(tmp_path):
    big = torch.arange(10_000.0).reshape(100, 100)
    with FeatureStore(tmp_path) as store:
        store.put("k", {"column": big[:, 3], "turned": big[:5, :7].T, "spread": torch.ones(1, 4).expand(3, 4)})
    got = FeatureStore(tmp_path).get("k")
    assert got is not None
    assert torch.equal(got["column"], big[:, 3])
    assert torch.equal(got["turned"], big[:5, :7].T)
    assert files(tmp_path, "shards")[0].stat().st_size < 2_000


def test_a_shard_is_a_plain_safetensors_file(tmp_path):
    from safetensors.torch import load_file

    with FeatureStore(tmp_path) as store:
        store.put("k", some_tensors())
    assert same(load_file(files(tmp_path, "shards")[0]), {f"0/{n}": t for n, t in some_tensors().items()})


def test_sizes_and_hit_rates_are_reported(tmp_path):
    store = FeatureStore(tmp_path)
    assert store.stats().hit_rate is None
    store.put("a", some_tensors())
    assert (store.stats().num_entries, store.stats().num_pending, store.stats().num_bytes) == (1, 1, 0)
    store.flush()
    assert store.get("b") is None
    for _ in range(3):
        assert store.get("a") is not None
    stats = store.stats().to_dict()
    on_disk = sum(path.stat().st_size for part in ("shards", "index") for path in files(tmp_path, part))
    assert stats == {
        "num_entries": 1,
        "num_shards": 1,
        "num_bytes": on_disk,
        "num_pending": 0,
        "num_hits": 3,
        "num_misses": 1,
        "num_damaged": 0,
        "hit_rate": 0.75,
    }
    json.dumps(store.verify().to_dict())


# Damage


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_any_flipped_byte_of_the_tensors_is_seen_and_the_rebuilt_entry_counts(tmp_path):
    store = filled(tmp_path, 1)
    shard = files(tmp_path, "shards")[0]
    first = shard.stat().st_size - sum(t.numel() * t.element_size() for t in some_tensors().values())
    for position in range(first, shard.stat().st_size, 13):
        flip(shard, position)
        reader = FeatureStore(tmp_path)
        assert reader.get("k0") is None
        assert (reader.stats().num_damaged, reader.stats().num_misses) == (1, 1)
        [bad] = reader.verify().bad
        assert (bad.key, bad.shard, bad.reason) == ("k0", shard.stem, "the bytes do not match their checksum")
        flip(shard, position)
    flip(shard, first)
    assert store.get("k0") is None
    store.put("k0", some_tensors(9))
    assert same(store.get("k0"), some_tensors(9))
    assert same(FeatureStore(tmp_path).get("k0"), some_tensors(9))


def test_any_flipped_byte_of_an_index_is_seen(tmp_path):
    filled(tmp_path, 2)
    index = files(tmp_path, "index")[0]
    broken_key = json.loads(index.read_bytes())["index"]["entries"][0]["key"]
    for position in range(0, index.stat().st_size, 7):
        flip(index, position)
        reader = FeatureStore(tmp_path)
        got = reader.get(broken_key)
        # A digit of the outer layout may survive a flip only if it changes nothing
        assert got is None or same(got, some_tensors(int(broken_key[1])))
        assert reader.get("k0" if broken_key == "k1" else "k1") is not None
        assert got is not None or "index: " in reader.verify().bad[0].reason
        flip(index, position)
    assert FeatureStore(tmp_path).verify().ok


@pytest.mark.parametrize("keep", [0, 5, 8, 40, -1])
def test_a_truncated_shard_is_a_miss(tmp_path, keep):
    filled(tmp_path, 1)
    shard = files(tmp_path, "shards")[0]
    shard.write_bytes(shard.read_bytes()[:keep])
    reader = FeatureStore(tmp_path)
    assert reader.get("k0") is None
    reasons = {bad.key: bad.reason for bad in reader.verify().bad}
    assert "are needed" in reasons["k0"]
    assert "shard: " in reasons[""]


@pytest.mark.parametrize("size", [2**63 - 1, 2**40, 99_999_999])
def test_a_huge_header_size_is_refused_before_allocation(tmp_path, size):
    import tracemalloc

    filled(tmp_path, 1)
    shard = files(tmp_path, "shards")[0]
    shard.write_bytes(size.to_bytes(8, "little") + shard.read_bytes()[8:])
    tracemalloc.start()
    [bad] = FeatureStore(tmp_path).verify().bad
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"the header claims {size} bytes" in bad.reason
    assert peak < 5_000_000
    assert same(FeatureStore(tmp_path).get("k0"), some_tensors(0))  # its bytes are valid, and never read by the header


def with_index(root: Path, change) -> None:
    """Rewrite the only index, checksum included, as a hostile neighbour might."""
    import hashlib

    from vidweave.media.store.keys import canonical_json

    [path] = files(root, "index")
    body = json.loads(path.read_bytes())["index"]
    change(body)
    path.write_bytes(canonical_json({"index": body, "sha256": hashlib.sha256(canonical_json(body)).hexdigest()}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: body["entries"][0]["tensors"][0].update(length=2**50), "cannot have"),
        (lambda body: body["entries"][0]["tensors"][0].update(length=2**50, shape=[2**48]), "are needed"),
        (lambda body: body["entries"][0]["tensors"][0].update(offset=-8), "are needed"),
        (lambda body: body["entries"][0]["tensors"][0].update(dtype="Tensor"), "cannot have"),
        (lambda body: body["entries"][0].update(key="k1"), "do not match their checksum"),
        (lambda body: body["entries"][0].update(info={"number": 1}), "do not match their checksum"),
        (lambda body: body["entries"][0].pop("digest"), "not an index"),
        (lambda body: body.update(version=0), "format version 0, this library reads 1"),
        (lambda body: body.update(entries=7), "not an index"),
    ],
)
def test_an_index_that_lies_is_not_believed(tmp_path, change, reason):
    filled(tmp_path, 1)
    with_index(tmp_path, change)
    reader = FeatureStore(tmp_path)
    assert reader.get("k0") is None
    assert reader.get("k1") is None
    assert reader.stats().num_damaged == 1
    assert reason in reader.verify().bad[0].reason


def test_an_index_of_absurd_size_or_depth_is_not_read(tmp_path):
    filled(tmp_path, 1)
    [index] = files(tmp_path, "index")
    index.write_bytes(b"[" * 200_000)
    assert "index: not an index" in FeatureStore(tmp_path).verify().bad[0].reason
    with index.open("r+b") as file:
        file.truncate(2**31)
    assert "at most 100000000 are expected" in FeatureStore(tmp_path).verify().bad[0].reason


def test_a_shard_that_became_a_link_or_vanished_is_a_miss(tmp_path):
    filled(tmp_path, 2)
    first, second = files(tmp_path, "shards")
    first.rename(tmp_path / "elsewhere")
    first.symlink_to(tmp_path / "elsewhere")
    second.unlink()
    reader = FeatureStore(tmp_path)
    assert reader.get("k0") is None
    assert reader.get("k1") is None
    assert reader.stats().num_damaged == 2


# What is refused, and how it is said


def test_folders_that_are_no_store(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    with pytest.raises(StoreError, match=r"photos is not a feature store: it holds 'a.png'; give an empty or a new"):
        FeatureStore(tmp_path / "photos")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["a.png"]
    with pytest.raises(StoreError, match=r"there is no feature store at .*none"):
        FeatureStore(tmp_path / "none", create=False)
    with pytest.raises(StoreError, match=r"cannot use .*a\.png as a feature store: Not a directory"):
        FeatureStore(tmp_path / "photos" / "a.png")
    FeatureStore(tmp_path / "store")
    mark = tmp_path / "store" / "store.json"
    mark.write_text('{"format": "vidweave feature store", "version": 99}')
    with pytest.raises(StoreError, match=r"99.*this library reads .*; use another folder"):
        FeatureStore(tmp_path / "store")
    mark.write_text("{")
    with pytest.raises(StoreError, match=r"is damaged .*; delete the folder"):
        FeatureStore(tmp_path / "store")


def test_entries_that_cannot_be_kept(tmp_path):
    store = FeatureStore(tmp_path)
    with pytest.raises(StoreError, match="at least one tensor"):
        store.put("k", {})
    with pytest.raises(StoreError, match="'t' has dtype complex64; the store holds bfloat16, bool"):
        store.put("k", {"t": torch.zeros(2, dtype=torch.complex64)})
    with pytest.raises(StoreError, match="only plain JSON data"):
        store.put("k", {"t": torch.zeros(2)}, {"what": {1, 2}})
    with pytest.raises(StoreError, match="there is no entry 'k'"):
        store.info("k")
    assert store.keys() == []
    with pytest.raises(StoreError, match="limits of 0 or more, got max_bytes=-1"):
        store.prune(max_bytes=-1)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
def test_a_store_that_may_not_be_read_is_an_error_not_a_miss(tmp_path):
    filled(tmp_path, 1)
    files(tmp_path, "shards")[0].chmod(0)
    with pytest.raises(StoreError, match="cannot read entries in the feature store"):
        FeatureStore(tmp_path).get("k0")


def test_a_read_that_is_refused_is_an_error_not_a_miss(tmp_path, monkeypatch):
    filled(tmp_path, 1)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    reader = FeatureStore(tmp_path)
    assert reader.keys() == ["k0"]
    monkeypatch.setattr("vidweave.storage.files._open", refuse)
    with pytest.raises(StoreError, match=r"cannot read entries in the feature store at .*: Permission denied"):
        reader.get("k0")


def test_a_store_key_is_about_content_and_nothing_else():
    key = store_key(content="ab", plan=(1, 2), spec=VisualSpec(height=3, width=5))
    assert len(key) == 64
    assert key == store_key(spec=VisualSpec(height=3, width=5), plan=[1, 2], content="ab")
    assert key != store_key(spec=VisualSpec(height=5, width=3), plan=[1, 2], content="ab")
    assert store_key(path=Path("a/b")) == store_key(path="a/b")
    assert store_key(a=1) != store_key(a=True) != store_key(a="1")
    for parts, message in [
        ({}, "at least one part"),
        ({"a": float("nan")}, "plain JSON data"),
        ({"a": {1: 2}}, "keys must be text, got 1"),
        ({"a": torch.zeros(1)}, "plain JSON data"),
    ]:
        with pytest.raises(StoreError, match=message):
            store_key(**parts)


# Pruning


def age(root: Path, key: str, seconds: float) -> None:
    for path in files(root, "index"):
        if json.loads(path.read_bytes())["index"]["entries"][0]["key"] == key:
            now = path.stat().st_mtime
            os.utime(path, (now - seconds, now - seconds))


def test_prune_by_age_and_by_size_takes_the_oldest_first(tmp_path):
    store = filled(tmp_path, 4)
    for i in range(4):
        age(tmp_path, f"k{i}", 1_000 * (4 - i))
    one = store.stats().num_bytes // 4
    report = store.prune(older_than=3_500)
    assert (report.num_shards, report.num_entries) == (1, 1)
    assert store.keys() == ["k1", "k2", "k3"]
    assert store.prune(max_bytes=2 * one + 10).to_dict()["num_entries"] == 1
    assert store.keys() == FeatureStore(tmp_path).keys() == ["k2", "k3"]
    assert store.prune(max_bytes=10 * one).num_shards == 0
    assert store.prune(max_bytes=0).num_entries == 2
    assert store.stats().num_bytes == 0


def test_prune_removes_what_was_replaced_and_what_is_damaged(tmp_path):
    store = filled(tmp_path, 2)
    age(tmp_path, "k0", 100)
    store.put("k0", some_tensors(7))
    assert store.prune().to_dict()["num_shards"] == 1
    assert same(store.get("k0"), some_tensors(7))
    flip(files(tmp_path, "shards")[0], -1)
    bad_key = store.verify().bad[0].key
    assert store.prune(damaged=True).num_entries == 1
    assert store.verify().ok
    assert store.keys() == [key for key in ("k0", "k1") if key != bad_key]


def test_another_process_that_prunes_makes_misses_not_damage(tmp_path):
    filled(tmp_path, 2)
    reader = FeatureStore(tmp_path)
    assert reader.keys() == ["k0", "k1"]
    FeatureStore(tmp_path).prune(max_bytes=0)
    assert reader.get("k0") is None
    assert reader.stats().num_damaged == 0
    assert reader.keys() == []


def test_leftovers_are_swept_only_when_no_writer_can_be_at_them(tmp_path):
    store = filled(tmp_path, 1)
    young, old = tmp_path / "scratch" / "a.json", tmp_path / "shards" / "killed-00001.safetensors"
    for path in (young, old):
        path.write_bytes(b"12345")
    os.utime(old, (1, old.stat().st_mtime - GRACE_SECONDS - 10))
    assert set(store.verify().leftovers) == {"scratch/a.json", "shards/killed-00001.safetensors"}
    assert store.prune().num_bytes == 5
    assert young.exists()
    assert not old.exists()
    assert store.keys() == ["k0"]


# Many at once


def test_stores_on_one_folder_see_each_other(tmp_path):
    one, two = FeatureStore(tmp_path), FeatureStore(tmp_path)
    one.put("a", some_tensors(1))
    assert two.get("a") is None
    one.flush()
    two.put("b", some_tensors(2))
    two.flush()
    assert same(two.get("a"), some_tensors(1))
    assert same(one.get("b"), some_tensors(2))
    assert one.keys() == two.keys() == ["a", "b"]


def test_many_writers_and_readers_and_a_pruner(tmp_path):
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with FeatureStore(tmp_path, flush_bytes=300) as store:
                for i in range(12):
                    got = store.get(f"{i}")
                    assert got is None or same(got, some_tensors(i))
                    store.put(f"{i}", some_tensors(i))
                    if number == 0 and i % 5 == 0:
                        store.prune(max_bytes=5_000)
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert FeatureStore(tmp_path).verify().ok


def test_a_copy_for_a_worker_shares_the_folder_and_no_pending_entry(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path, flush_bytes=12_345)
    store.put("a", some_tensors(), {})
    pickled = pickle.dumps(store)
    assert pickle.loads(pickled) is store  # noqa: S301 - our own bytes
    monkeypatch.setattr(store_module, "_OPEN", weakref.WeakValueDictionary())  # as in another process
    other = pickle.loads(pickled)  # noqa: S301
    assert (other.root, other.flush_bytes, other.get("a")) == (tmp_path, 12_345, None)
    assert pickle.loads(pickle.dumps(other)) is other  # noqa: S301


def test_a_forked_process_writes_none_of_its_parents_entries(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path)
    store.put("parent", some_tensors())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    store.put("child", some_tensors())
    store.flush()
    assert FeatureStore(tmp_path).keys() == ["child"]
