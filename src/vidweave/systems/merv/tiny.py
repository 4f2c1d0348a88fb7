"""tiny-merv as configurations: three small eyes that see different things, and a mixer; its rows for comparison.

The general eye is that of the other tiny models. The eye for detail sees few pictures, and fine texture in them; the eye for
tempo sees many pictures at once, and how fast things move. A fourth, as large as the three together and trained as the
general one, stands alone for comparison.
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
    "EYES",
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
TUBE = 8  # pictures that a token of the eye for tempo looks through
EYES = ("general", "detail", "tempo")
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
    **{eye: ((eye,), MixerConfig(name="video", weighting="equal")) for eye in (*EYES, "generalist")},
    **{
        w: (EYES, MixerConfig(name="video", weighting=w, query_width=WIDTH))
        for w in ("attention", "query_mlp", "scalar")
    },
    "channel": (EYES, ChannelConcatConfig(name="video")),
    "channel_norm": (EYES, ChannelConcatConfig(name="video", norm=True)),
    "sequence": (EYES, ConcatFusionConfig(name="video", along="stream")),
}


def detail_config() -> PatchEncoderConfig:
    """The eye for texture: small, one picture at a time, in patches of one period of a pattern (4 pixels)."""
    return PatchEncoderConfig(size=48, patch=4, width=_NARROW, layers=3, heads=4, chunk=256, specs={**_SPECS})


def tempo_config() -> VisionTowerConfig:
    """The eye for speed: all eight pictures of a window at once, each patch through all of them.

    Tokens of two pictures each would have to find the same object in one another to tell how far it went.
    """
    inner = {"model_type": "vivit", "hidden_size": _NARROW, "num_hidden_layers": 3, "num_attention_heads": 4}
    inner |= {"intermediate_size": 4 * _NARROW, "image_size": 48, "num_frames": 8, "tubelet_size": [TUBE, 8, 8]}
    inner |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return VisionTowerConfig(config=inner, drop_cls=True, final_norm=True, chunk=256, specs=_SPECS)


def generalist_config() -> PatchEncoderConfig:
    """One eye with as many weights as the three together."""
    return PatchEncoderConfig(size=48, patch=8, width=158, layers=4, heads=2, chunk=1024, specs={**_SPECS})


_ENCODERS = {"general": encoder_config, "detail": detail_config, "tempo": tempo_config, "generalist": generalist_config}
_NEEDS = {
    "general": FrameNeed(num_frames=8),
    "detail": FrameNeed(num_frames=2),
    "tempo": FrameNeed(num_frames=8, window=8, rule="linspace"),
    "generalist": FrameNeed(num_frames=8),
}


def tiny_merv(row: str = "attention") -> VideoLanguageConfig:
    """The model of a row of `ROWS`; the default is what is shipped as tiny-merv.

    Raises:
        UnknownNameError: no such row.
    """
    if row not in ROWS:
        raise UnknownNameError("row of tiny-merv", row, ROWS)
    eyes, fusion = ROWS[row]
    encoders = {eye: _ENCODERS[eye]() for eye in eyes}
    connector = ConnectorConfig(
        trunks={eye: _trunk(eye) for eye in eyes},
        ports={eye: _port(eye, _width(encoders[eye])) for eye in eyes},
        fusion=fusion,
        output_width=WIDTH,
    )
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders=encoders,
        streams={eye: StreamConfig(encoder=eye, modalities=("video", "image"), need=_NEEDS[eye]) for eye in eyes},
        connector=connector,
        language_model=llama_config(),
        layout=layout(),
        decoding={"max_new_tokens": 80},
    )
    return VideoLanguageConfig(spec, name="tiny-merv" if row == "attention" else f"tiny-merv-{row}")


def _is_general(eye: str) -> bool:
    return eye in ("general", "generalist")


def _width(encoder: Any) -> int:
    return encoder.width if isinstance(encoder, PatchEncoderConfig) else encoder.config["hidden_size"]


def _trunk(eye: str) -> Any:
    """General eyes keep the Q-Former of tiny-base, with its weights; the others look once."""
    if not _is_general(eye):
        return ResamplerConfig(key_width=WIDTH, heads=4, mlp_ratio=2)
    return connector_config().trunks["qformer"]


def _port(eye: str, width: int) -> PortConfig:
    port = PortConfig(
        trunk=eye, input_width=width, input_proj=WIDTH, input_norm=True, num_query_tokens=NUM_TOKENS, span="clip"
    )
    return replace(port, num_time_positions=64 if _is_general(eye) else 8)
