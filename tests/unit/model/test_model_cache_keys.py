"""Keys of stored features: everything that decides the features changes the key, and nothing else does.

The fields are found by reflection, so that a new one cannot be forgotten: it must change the key, or be named below.
"""

import dataclasses
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn

from vidweave.model.cache import FeatureCache, Fingerprints
from vidweave.model.collate import collate_stream
from vidweave.model.config import ModelSpec, StreamConfig
from vidweave.model.encoding import StreamEncoder
from vidweave.model.gather import OpenScene, gather_scene
from vidweave.types import (
    AudioSpec,
    Clip,
    FrameNeed,
    Frames,
    MotionSpec,
    PointCloud,
    PointSpec,
    PoolSpec,
    PreprocessSpec,
    VisualSpec,
    Waveform,
)

SPECS = {
    "video": VisualSpec(height=8, width=9, value_range=(0.0, 2.0)),
    "audio": AudioSpec(sample_rate=1_000, window_seconds=0.25, mel_bins=4, max_windows=5),
    "point_cloud": PointSpec(num_points=6, normalize=False),
    "flow": MotionSpec(source="flow", fps=4.0, height=5, width=6),
}
SOURCES = {
    "video": Frames.from_array(np.random.default_rng(0).integers(0, 255, (12, 7, 8, 3), dtype=np.uint8), fps=4),
    "audio": Waveform(np.random.default_rng(1).normal(size=1_500).astype(np.float32) / 9, 1_000),
    "point_cloud": PointCloud(np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32), np.ones((9, 1))),
    "flow": Frames.from_array(np.random.default_rng(3).normal(size=(12, 7, 8, 2)).astype(np.float32), fps=4),
}
POOL = PoolSpec(grid=2, time=1)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The configuration of an encoder, of every kind of field."""

    specs: dict[str, PreprocessSpec]
    layers: int = 2
    rate: float = 0.5
    activation: Literal["gelu", "relu"] = "gelu"
    has_norm: bool = True
    name: str | None = None
    sizes: tuple[int, ...] = (3, 4)
    nested: PoolSpec = field(default_factory=PoolSpec)


class Encoder(nn.Module):
    """Parameters and buffers, saved and not; what it encodes does not matter here."""

    kept: torch.Tensor
    lost: torch.Tensor
    width = 2

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("kept", torch.arange(3.0))
        self.register_buffer("lost", torch.arange(4.0), persistent=False)

    def encode(self, values: torch.Tensor, modality: str) -> torch.Tensor:
        return values.flatten(2).float().mean(2, keepdim=True)[..., None].expand(-1, -1, 5, 2)


class Keys:
    """A store that knows everything and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, key: str) -> dict[str, torch.Tensor]:
        self.asked.append(key)
        return {"values": torch.zeros(1, 1, 1)}

    def info(self, key: str) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Case:
    """Everything that goes into the key of one stream's features."""

    modality: str = "video"
    spec: PreprocessSpec = SPECS["video"]
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(specs={}))
    stream: StreamConfig = field(
        default_factory=lambda: StreamConfig(
            encoder="eye", modalities=("video", "depth"), need=FrameNeed(num_frames=4), pool=POOL
        )
    )
    source: Any = SOURCES["video"]
    clip: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    timestamps: tuple[float, ...] | None = None
    change: Callable[[Encoder], Any] = lambda encoder: None
    stream_name: str = "rgb"

    def key(self) -> str:
        torch.manual_seed(0)
        module = Encoder().eval().requires_grad_(False)
        with torch.no_grad():
            self.change(module)
        config = replace(self.encoder, specs={self.modality: self.spec})
        spec: Any = types.SimpleNamespace(
            encoders={self.stream.encoder: config}, streams={self.stream_name: self.stream}
        )
        keys: Any = Keys()
        cache = FeatureCache.of(keys, spec, {self.stream.encoder: module}, self.dtype, Fingerprints())
        scene = OpenScene(Clip(**{self.modality: self.source}, **self.clip))
        needs = {self.stream_name: self.stream.need}
        timestamps = None if self.timestamps is None else np.array(self.timestamps)
        gather_scene(spec, scene, needs, timestamps=timestamps, cache=cache)
        scene.close()
        (key,) = keys.asked
        return key


def case_of(modality: str) -> Case:
    stream = StreamConfig(encoder="eye", modalities=(modality,), need=FrameNeed(num_frames=4), pool=POOL)
    return Case(modality=modality, spec=SPECS[modality], stream=stream, source=SOURCES[modality])


def other(hint: Any, value: Any) -> Any:
    """Another value of the same type."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return None if value is not None else other(kinds[0], None)
    if get_origin(hint) is Literal:
        return next(choice for choice in get_args(hint) if choice != value)
    if get_origin(hint) is tuple:
        return tuple(item + 1 for item in value) if value else (0.5, 1.5)
    if get_origin(hint) is dict:
        return {**value, "more": 1}
    if isinstance(value, bool):
        return not value
    if hint is int:
        return 1 if value is None else value + 1
    if hint is float:
        return value * 1.25 if value else 0.5
    if hint is str:
        return f"{value} more"
    if dataclasses.is_dataclass(hint):
        first = fields(hint)[0]
        return replace(value, **{first.name: other(get_type_hints(hint)[first.name], getattr(value, first.name))})
    raise TypeError(f"no other value of {hint} is known; teach this function one")


def changed(value: Any, *, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(field, a copy of dataclass `value` with another value of that field), for all fields."""
    hints = get_type_hints(type(value))
    for item in fields(value):
        if item.name not in skip:
            yield item.name, replace(value, **{item.name: other(hints[item.name], getattr(value, item.name))})


def shifted(source: Any, name: str) -> Any:
    """The same source with one value changed by the smallest step."""
    values = getattr(source, name).copy()
    values.reshape(-1)[-1] += 1 if values.dtype == np.uint8 else 1e-3
    return replace(source, **{name: values})


def weight(name: str) -> Callable[[Encoder], Any]:
    """Change one number of a tensor of the encoder."""
    return lambda encoder: encoder.get_parameter(name).view(-1)[-1].add_(1e-3)


def buffer(name: str) -> Callable[[Encoder], Any]:
    return lambda encoder: encoder.get_buffer(name).view(-1)[-1].add_(1e-3)


def changing() -> Iterator[tuple[str, Case, Case]]:
    """(what changes, before, after): pairs whose features differ."""
    for modality in SPECS:
        before = case_of(modality)
        for name, spec in changed(SPECS[modality], skip=("short_side", "crops")):
            yield f"{type(spec).__name__}.{name}", before, replace(before, spec=spec)
    crop = replace(case_of("video"), spec=replace(SPECS["video"], resize="crop"))  # what these need
    yield "VisualSpec.short_side", crop, replace(crop, spec=replace(crop.spec, short_side=64))
    yield "VisualSpec.crops", crop, replace(crop, spec=replace(crop.spec, crops=3))
    plain = Case()
    for name, pool in changed(POOL):
        yield f"PoolSpec.{name}", plain, replace(plain, stream=replace(plain.stream, pool=pool))
    for name, config in changed(plain.encoder, skip=("specs",)):
        yield f"encoder.{name}", plain, replace(plain, encoder=config)
    for name, tensor in Encoder().named_parameters():
        del tensor
        yield f"parameter {name}", plain, replace(plain, change=weight(name))
    for name in ("kept", "lost"):
        yield f"buffer {name}", plain, replace(plain, change=buffer(name))
    yield "dtype of the weights", plain, replace(plain, change=lambda encoder: encoder.bfloat16())
    for dtype in (torch.float16, torch.bfloat16):
        yield f"dtype {dtype}", plain, replace(plain, dtype=dtype)
    for modality, names in {
        "video": ("values", "pts_seconds"),
        "audio": ("samples",),
        "point_cloud": ("coordinates", "features"),
        "flow": ("values",),
    }.items():
        before = case_of(modality)
        for name in names:
            yield f"{modality} {name}", before, replace(before, source=shifted(SOURCES[modality], name))
    yield (
        "audio start",
        case_of("audio"),
        replace(case_of("audio"), source=replace(SOURCES["audio"], start_seconds=0.25)),
    )
    yield "the modality", plain, replace(plain, modality="depth")
    for name, need in {
        "number": FrameNeed(num_frames=3),
        "rule": FrameNeed(num_frames=4, rule="linspace"),
        "rate": FrameNeed(fps=2.0),
        "window": FrameNeed(num_frames=4, window=2),
        "stride": FrameNeed(num_frames=4, stride=2, rule="linspace"),
    }.items():
        yield f"frames: {name}", plain, replace(plain, stream=replace(plain.stream, need=need))
    yield "timestamps", plain, replace(plain, timestamps=(0.1, 0.2, 2.0, 2.5))
    for modality in ("video", "audio", "flow"):
        before = case_of(modality)
        yield f"{modality}: start", before, replace(before, clip={"start_seconds": 0.5})
        yield f"{modality}: end", before, replace(before, clip={"end_seconds": 1.0})
    yield "fps of the clip", plain, replace(plain, clip={"fps": 3.0})


def keeping() -> Iterator[tuple[str, Case, Case]]:
    """Pairs whose features are the same."""
    plain = Case()
    yield "the name of the stream", plain, replace(plain, stream_name="other")
    yield "the name of the encoder", plain, replace(plain, stream=replace(plain.stream, encoder="lens"))
    yield "the role", plain, replace(plain, stream=replace(plain.stream, role="selector"))
    yield "further modalities", plain, replace(plain, stream=replace(plain.stream, modalities=("video", "flow")))
    yield (
        "the same frames by another rule",
        plain,
        replace(plain, stream=replace(plain.stream, need=FrameNeed(num_frames=4, max_frames=77))),
    )
    yield "a copy of the content", plain, replace(plain, source=replace(SOURCES["video"], num_lost=1, notes=("x",)))
    yield (
        "frames of every need",
        replace(plain, stream=replace(plain.stream, need=FrameNeed())),
        replace(plain, stream=replace(plain.stream, need=FrameNeed(num_frames=12))),
    )


@pytest.mark.parametrize(("before", "after"), [pytest.param(b, a, id=what) for what, b, a in changing()])
def test_what_decides_the_features_changes_the_key(before, after):
    assert before.key() != after.key()


@pytest.mark.parametrize(("before", "after"), [pytest.param(b, a, id=what) for what, b, a in keeping()])
def test_what_does_not_decide_them_does_not(before, after):
    assert before.key() == after.key()


def test_all_keys_are_different_and_last():
    """Across modalities too, and from one process to the next: a key holds no address, no order of a set."""
    keys: dict[str, list[str]] = {}
    for what, _, after in changing():
        keys.setdefault(after.key(), []).append(what)
    assert [names for names in keys.values() if len(names) > 1] == []
    assert Case().key() == Case().key()


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (StreamConfig, {"encoder", "modalities", "need", "role", "pool", "live_fps"}),
        (ModelSpec, {"encoders", "streams"} | {"selector", "connector", "language_model", "layout", "decoding"}),
        (FrameNeed, {"num_frames", "fps", "window", "rule", "stride"} | {"max_frames", "follow_selection", "still"}),
        (Clip, {"start_seconds", "end_seconds", "fps"}),
    ],
)
def test_no_new_field_is_forgotten(kind, named):
    """Fields that decide features through the plan, or do not at all: each is named in a case above."""
    result = set(Clip("a.mp4").settings) if kind is Clip else {item.name for item in fields(kind)}
    assert result == named


@pytest.mark.parametrize(
    "change",
    [
        lambda encoder: encoder.train(),
        lambda encoder: encoder.drop.train(),
        lambda encoder: encoder.linear.bias.requires_grad_(True),
    ],
)
def test_an_encoder_that_is_trained_or_drops_out_is_not_served(change):
    module = Encoder().eval().requires_grad_(False)
    spec: Any = types.SimpleNamespace(encoders={}, streams={"rgb": Case().stream})
    store: Any = Keys()
    spec.encoders["eye"] = Case().encoder
    assert FeatureCache.of(store, spec, {"eye": module}, torch.float32, Fingerprints()).serves("rgb")
    change(module)
    assert not FeatureCache.of(store, spec, {"eye": module}, torch.float32, Fingerprints()).serves("rgb")


def test_notes_are_kept_with_the_features(tmp_path):
    """What was lost or converted is told again when the features come from the store."""
    from vidweave.media.store import FeatureStore

    frames = np.full((4, 7, 8, 1), 1_500, np.uint16)
    stream = StreamConfig(encoder="eye", modalities=("depth",), need=FrameNeed(num_frames=2))
    config = EncoderConfig(specs={"depth": VisualSpec(height=4, width=4, value_range=(0.0, 10.0))})
    spec: Any = types.SimpleNamespace(encoders={"eye": config}, streams={"d": stream})
    module = Encoder().eval().requires_grad_(False)
    np.save(tmp_path / "x.npy", frames)
    info, features = [], []
    for _ in range(2):
        store = FeatureStore(tmp_path / "store")
        cache = FeatureCache.of(store, spec, {"eye": module}, torch.float32, Fingerprints())
        scene = OpenScene(Clip(depth=tmp_path / "x.npy", fps=2.0))
        row = gather_scene(spec, scene, {"d": stream.need}, cache=cache)["d"]
        info.append(row.notes)
        encoders = torch.nn.ModuleDict({"eye": module})
        encode = StreamEncoder(spec, encoders, torch.device("cpu"), torch.float32).encode
        features.append(encode({"d": collate_stream("d", [(0, 0, row)])})["d"].values)
        scene.close()
        store.flush()
    assert row.values is None
    assert torch.equal(*features)
    assert info[0] == info[1]
    assert "millimeters" in info[0][0]
