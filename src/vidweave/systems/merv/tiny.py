"""tiny-merv as configurations: three small encoders with different strengths, and a mixer; its rows for comparison.

The general encoder is that of the other tiny models. The detail encoder reads few frames, for fine texture; the tempo encoder
reads many frames at once, for speed. A fourth, as large as the three together and trained like the general one, is used
alone for comparison.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.mixer import ChannelConcatConfig, MixerConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.resampler import ResamplerConfig
from vidweave.connectors.tiny import connector_config
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.encoders.tiny import PIXELS, WIDTH, encoder_config
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import UnknownNameError
from vidweave.language.tiny import layout, llama_config
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed

__all__ = [
    "ENCODERS",
    "NUM_TOKENS",
    "ROWS",
    "TUBE",
    "Row",
    "detail_config",
    "generalist_config",
    "tempo_config",
    "tiny_merv",
]

NUM_TOKENS = 16
TUBE = 8  # frames covered by a token of the tempo encoder
ENCODERS = ("general", "detail", "tempo")
Row = Literal[
    "general",
    "detail",
    "tempo",
    "generalist",
    "attention",
    "query_mlp",
    "scalar",
    "channel",
    "channel_norm",
    "sequence",
]
_SPECS = {"video": PIXELS, "image": PIXELS}
_NARROW = 64

# Row → its streams, and the fusion that makes one block of them.
ROWS: dict[str, tuple[tuple[str, ...], Any]] = {
    **{name: ((name,), MixerConfig(name="video", weighting="equal")) for name in (*ENCODERS, "generalist")},
    **{
        w: (ENCODERS, MixerConfig(name="video", weighting=w, query_width=WIDTH))
        for w in ("attention", "query_mlp", "scalar")
    },
    "channel": (ENCODERS, ChannelConcatConfig(name="video")),
    "channel_norm": (ENCODERS, ChannelConcatConfig(name="video", norm=True)),
    "sequence": (ENCODERS, ConcatFusionConfig(name="video", along="stream")),
}


def detail_config() -> PatchEncoderConfig:
    """Configure the detail encoder: small, one frame at a time, in patches of one period of a pattern (4 pixels)."""
    return PatchEncoderConfig(size=48, patch=4, width=_NARROW, layers=3, heads=4, chunk=256, specs={**_SPECS})


def tempo_config() -> VisionTowerConfig:
    """Configure the tempo encoder: all eight frames of a window at once, each patch through all of them.

    With tokens of two frames each, an object would have to be matched between tokens to measure its displacement.
    """
    inner = {"model_type": "vivit", "hidden_size": _NARROW, "num_hidden_layers": 3, "num_attention_heads": 4}
    inner |= {"intermediate_size": 4 * _NARROW, "image_size": 48, "num_frames": 8, "tubelet_size": [TUBE, 8, 8]}
    inner |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return VisionTowerConfig(config=inner, drop_cls=True, final_norm=True, chunk=256, specs=_SPECS)


def generalist_config() -> PatchEncoderConfig:
    """Configure one encoder with as many weights as the three together."""
    return PatchEncoderConfig(size=48, patch=8, width=158, layers=4, heads=2, chunk=1024, specs={**_SPECS})


_BUILDERS = {"general": encoder_config, "detail": detail_config, "tempo": tempo_config, "generalist": generalist_config}
_NEEDS = {
    "general": FrameNeed(num_frames=8),
    "detail": FrameNeed(num_frames=2),
    "tempo": FrameNeed(num_frames=8, window=8, rule="linspace"),
    "generalist": FrameNeed(num_frames=8),
}


def tiny_merv(row: str = "attention") -> VideoLanguageConfig:
    """Build the model of a row of `ROWS`; the default is the shipped tiny-merv.

    Raises:
        UnknownNameError: unknown row.
    """
    if row not in ROWS:
        raise UnknownNameError("row of tiny-merv", row, ROWS)
    names, fusion = ROWS[row]
    encoders = {name: _BUILDERS[name]() for name in names}
    connector = ConnectorConfig(
        trunks={name: _trunk(name) for name in names},
        ports={name: _port(name, _width(encoders[name])) for name in names},
        fusion=fusion,
        output_width=WIDTH,
    )
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders=encoders,
        streams={name: StreamConfig(encoder=name, modalities=("video", "image"), need=_NEEDS[name]) for name in names},
        connector=connector,
        language_model=llama_config(),
        layout=layout(),
        decoding={"max_new_tokens": 80},
    )
    return VideoLanguageConfig(spec, name="tiny-merv" if row == "attention" else f"tiny-merv-{row}")


def _is_general(name: str) -> bool:
    return name in ("general", "generalist")


def _width(encoder: Any) -> int:
    return encoder.width if isinstance(encoder, PatchEncoderConfig) else encoder.config["hidden_size"]


def _trunk(name: str) -> Any:
    """Build the trunk of an encoder: general ones keep the Q-Former of tiny-base, the others have one attention layer."""
    if not _is_general(name):
        return ResamplerConfig(key_width=WIDTH, heads=4, mlp_ratio=2)
    return connector_config().trunks["qformer"]


def _port(name: str, width: int) -> PortConfig:
    port = PortConfig(
        trunk=name, input_width=width, input_proj=WIDTH, input_norm=True, num_query_tokens=NUM_TOKENS, span="clip"
    )
    return replace(port, num_time_positions=64 if _is_general(name) else 8)
