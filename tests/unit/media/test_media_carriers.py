"""Carriers of `registry.CARRIERS`: series from files, and a new carrier that costs one file from reading to answers."""

import json
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.ports import PortConfig
from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import ConfigError, MediaDecodeError, MediaError, MediaTypeError, ModalityError, ShapeError
from vidweave.evaluation.controls import blank_clip
from vidweave.language.causal import CausalConfig
from vidweave.language.layout import Slot, TemplateLayout, Text
from vidweave.media import apply, content_hash, open_clip, open_source
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.model.describe import describe_model
from vidweave.model.gather import OpenScene, gather_scene
from vidweave.registry import CARRIERS, ENCODERS, MODALITIES
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.testing.encoders import check_encoder
from vidweave.types import ArrayCarrier, CarrierSpec, Clip, ComponentConfig, FrameNeed, Series, SeriesSpec, Waveform

STEPS = np.arange(63.0).reshape(21, 3)


def saved(folder, values, timing=None, name="imu.npy"):
    np.save(folder / name, values)
    if timing is not None:
        (folder / f"{name}.json").write_text(json.dumps(timing))
    return folder / name


def read(clip, modality="imu", **span):
    with open_clip(clip, modality) as opened:
        return opened.read_carrier(**span)


# ---- series


def test_a_series_has_the_rate_of_its_clip_or_of_the_file_beside_it(tmp_path):
    file = saved(tmp_path, STEPS)
    assert read(Clip(imu=file)).rate is None
    assert read(Clip(imu=file, fps=7.0)).rate == 7.0
    saved(tmp_path, STEPS, {"fps": 5})
    series = read(Clip(imu=file))
    assert (series.rate, series.duration_seconds) == (5.0, pytest.approx(4.2))
    np.testing.assert_array_equal(series.values, STEPS)


def test_a_span_of_a_series(tmp_path):
    file = saved(tmp_path, STEPS, {"fps": 5})
    part = read(Clip(imu=file), start_seconds=1.0, end_seconds=2.0)
    np.testing.assert_array_equal(part.values, STEPS[5:10])
    assert part.start_seconds == 1.0
    again = part.cut(1.4, None)
    np.testing.assert_array_equal(again.values, STEPS[7:10])
    trials = Series(STEPS)
    assert trials.cut(1.0, 2.0) is trials  # no time, so no span
    with pytest.raises(ShapeError, match=r"the series lasts 4\.2 s and has no sample in 9\.0\.\.end s"):
        read(Clip(imu=file), start_seconds=9.0)


def test_one_row_is_one_trial(tmp_path):
    assert read(Clip(fmri=saved(tmp_path, np.arange(11.0))), "fmri").values.shape == (1, 11)


def test_faults_of_files(tmp_path):
    with pytest.raises(MediaError, match="row"):
        read(Clip(imu=saved(tmp_path, np.array([[1.0, np.nan]]))))
    with pytest.raises(ShapeError, match=r"a series must be an array \(samples, channels\), got \(2, 2, 2\)"):
        read(Clip(imu=saved(tmp_path, np.zeros((2, 2, 2)))))
    file = saved(tmp_path, STEPS)
    (tmp_path / "imu.npy.json").write_text("{")
    with pytest.raises(MediaDecodeError, match="is not JSON"):
        read(Clip(imu=file))
    (tmp_path / "a.ply").write_bytes(b"ply\nformat ascii 1.0\nend_header\n")
    with pytest.raises(MediaTypeError, match="is a PLY point cloud, which cannot be used as imu"):
        open_source(tmp_path / "a.ply", "imu")
    with pytest.raises(MediaTypeError, match="imu takes Series or a file, got Waveform"):
        open_source(Waveform(np.zeros(3, dtype=np.float32), 16_000), "imu")
    with (
        open_source(Waveform(np.zeros(3, dtype=np.float32), 16_000), "audio") as opened,
        pytest.raises(ModalityError, match="the audio source is waveform, which has its own reader"),
    ):
        opened.read_carrier()
    for values, message in ((STEPS.astype(str), "must hold numbers"), (STEPS[:0], "must be an array")):
        with pytest.raises(ShapeError, match=message):
            Series(values)
    with pytest.raises(ShapeError, match="the rate of a series must be positive, got 0"):
        Series(STEPS, rate=0)


def test_the_hash_is_that_of_values_and_times():
    base = content_hash(Series(STEPS, rate=5.0))
    assert base == content_hash(Series(STEPS.copy(), rate=5.0))
    others = [
        Series(STEPS + 1, rate=5.0),
        Series(STEPS, rate=4.0),
        Series(STEPS),
        Series(STEPS, rate=5.0, start_seconds=1),
    ]
    assert len({base, *map(content_hash, others)}) == 1 + len(others)


# ---- how encoders take them


def test_a_series_is_resampled_and_padded():
    spec = SeriesSpec(channels=3, length=12, rate=2.0)
    values, seconds = apply(spec, Series(STEPS, rate=5.0, start_seconds=3.0))
    assert values.shape == (1, 12, 3)
    assert seconds.tolist() == [[3.0, 7.0]]
    requested = np.arange(8) / 2.0
    np.testing.assert_allclose(values[0, :8, 1], np.interp(requested, np.arange(21) / 5, STEPS[:, 1]), rtol=1e-6)
    assert not values[0, 8:].any()
    same, _ = apply(SeriesSpec(channels=3, length=21, rate=5.0), Series(STEPS, rate=5.0))
    np.testing.assert_array_equal(same[0], STEPS.astype(np.float32))


def test_trials_are_averaged():
    values, _ = apply(SeriesSpec(channels=3, average=True), Series(STEPS))
    np.testing.assert_allclose(values[0], STEPS.mean(0, keepdims=True), rtol=1e-6)


def test_faults_of_specs():
    with pytest.raises(ShapeError, match=r"the spec takes 2 s of a series, it has 4 s; choose a span"):
        apply(SeriesSpec(channels=3, length=4, rate=2.0), Series(STEPS, rate=5.0))
    with pytest.raises(ShapeError, match="takes 4 samples of a series, it has 21"):
        apply(SeriesSpec(channels=3, length=4), Series(STEPS))
    with pytest.raises(ShapeError, match="the spec takes 2 channels, the series has 3"):
        apply(SeriesSpec(channels=2), Series(STEPS))
    with pytest.raises(
        ShapeError, match=r"takes 2 samples per second, and the series has no rate; give it \(Clip\(fps"
    ):
        apply(SeriesSpec(channels=3, length=40, rate=2.0), Series(STEPS))
    with pytest.raises(ShapeError, match="the series holds NaN or infinity"):
        apply(SeriesSpec(channels=3, length=21), Series(np.full((21, 3), np.inf)))
    with pytest.raises(ShapeError, match="a SeriesSpec cannot be applied to Waveform"):
        apply(SeriesSpec(channels=3), Waveform(np.zeros(3, dtype=np.float32), 16_000))
    with pytest.raises(ConfigError, match="average=True gives one sample without a time"):
        SeriesSpec(channels=3, length=2, average=True)
    with pytest.raises(ConfigError, match="a series spec needs positive channels"):
        SeriesSpec(channels=0)


# ---- a carrier of one's own: all that it needs is in this section


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(ArrayCarrier):
    """Intensities of a light source, by wavelength."""

    values: np.ndarray
    notes: tuple[str, ...] = ("intensities are relative",)

    @classmethod
    def from_array(cls, values, rate):
        return cls(values)

    def cut(self, start_seconds, end_seconds):
        return self

    def blank(self):
        return Spectrum(np.zeros_like(self.values))

    def parts(self):
        return {"values": self.values}


@dataclass(frozen=True, kw_only=True)
class SpectrumSpec(CarrierSpec):
    kind: ClassVar[str] = "spectrum"
    carrier: ClassVar[str] = "spectrum"
    bands: int = 5

    def payload(self):
        return (self.bands,)

    def apply(self, carrier):
        assert isinstance(carrier, Spectrum)
        means = [part.mean() for part in np.array_split(carrier.values, self.bands)]
        return np.array([means], dtype=np.float32), np.zeros((1, 2))


@dataclass(frozen=True, kw_only=True)
class SpectrumEncoderConfig(ComponentConfig):
    kind: ClassVar[str] = "spectrum"
    width: int = 6
    specs: dict[str, SpectrumSpec] = field(default_factory=dict)

    def build(self):
        return SpectrumEncoder(self)


class SpectrumEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.specs, self.width = config, dict(config.specs), config.width
        self.linear = nn.Linear(1, config.width)

    def encode(self, values, modality):
        check_modality(modality, self.specs, "spectrum")
        return encode_steps(lambda bands: self.linear(bands[..., None]), values, None)


@pytest.fixture
def spectra():
    """What a plug-in's entry points do."""
    CARRIERS.register("spectrum", Spectrum)
    MODALITIES.register("light", "light", carrier="spectrum")
    ENCODERS.register("spectrum", SpectrumEncoderConfig)
    yield
    for registry, name in ((CARRIERS, "spectrum"), (MODALITIES, "light"), (ENCODERS, "spectrum")):
        registry.unregister(name)


def spectral_model():
    torch.manual_seed(0)
    language = {
        "model_type": "llama", "vocab_size": 30, "hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={"eye": SpectrumEncoderConfig(specs={"light": SpectrumSpec()})},
        streams={"light": StreamConfig(encoder="eye", modalities=("light",), need=FrameNeed(follow_selection=False))},
        connector=ConnectorConfig(
            trunks={"plain": MLPConfig(key_width=6, widths=(8,))},
            ports={"light": PortConfig(trunk="plain", input_width=6)},
            fusion=NoFusionConfig(),
            output_width=8,
        ),
        language_model=CausalConfig(config=language),
        layout=TemplateLayout(parts=(Slot(block="light"), Text(text="{question}"))),
    )
    return VideoLanguageModel(VideoLanguageConfig(spec, name="spectral")).eval()


def test_a_carrier_costs_one_file(spectra, tmp_path):
    """Files, spans, hashes, controls, preprocessing, streams, costs, configurations, and an encoder's contract."""
    values = np.linspace(0.0, 2.0, 23)
    clip = Clip(light=saved(tmp_path, values, name="light.npy"))
    np.testing.assert_array_equal(read(clip, "light").values, values)
    assert content_hash(Spectrum(values)) != content_hash(Spectrum(values + 1)) != content_hash(Series(values[None]))
    blank = blank_clip(clip)
    assert not blank["light"].values.any()
    assert len(blank["light"].values) == 23
    assert "Spectrum" in repr(blank["light"])
    model = spectral_model()
    check_encoder(model.encoders["eye"])
    again = VideoLanguageConfig.from_dict(json.loads(model.config.to_json_string())).parse()
    assert again.encoders["eye"].specs["light"] == SpectrumSpec()
    costs = {cost.slot: cost for cost in describe_model(model.config)}
    assert costs["encoders.eye"].note == "1 x 5 tokens"
    scene = OpenScene(clip)
    rows = gather_scene(model.spec, scene, {"light": model.spec.streams["light"].need})
    assert rows["light"].values.shape == (1, 5)
    assert "intensities are relative" in rows["light"].notes
    np.testing.assert_allclose(rows["light"].values[0], SpectrumSpec().apply(Spectrum(values))[0][0], rtol=1e-6)
    with torch.no_grad():
        assert model.encoders["eye"].encode(rows["light"].values[None], "light").shape == (1, 1, 5, 6)
