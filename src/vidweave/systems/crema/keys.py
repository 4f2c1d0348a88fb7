"""Mapping of CREMA's state-dict names to ours. The file's modality names are the original's: rgb, audio, flow, depth, norm, pc."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vidweave.connectors.qformer_keys import LAVIS
from vidweave.encoders.beats import beats_from_microsoft
from vidweave.encoders.eva_vit import LAVIS_EVA_VIT, eva_from_lavis
from vidweave.errors import CheckpointError, ConfigError, UnknownNameError

__all__ = ["NAMES", "Renamed", "modalities_in", "rename", "stream_names"]

NAMES = {
    "rgb": "video",
    "audio": "audio",
    "flow": "flow",
    "depth": "depth",
    "norm": "normals",
    "pc": "point_cloud",
}
_THEIRS = "|".join(NAMES)
_LORA = re.compile(
    rf"Qformer\.bert\.encoder\.layer\.(\d+)\.attention\.self\.(query|value)\.w_(a|b)_({_THEIRS})\.weight"
)
_PORT = re.compile(rf"(query_tokens|t5_proj|ln)_({_THEIRS})(\..*)?")
_PARTS = {"query_tokens": "query_tokens", "t5_proj": "output_proj", "ln": "input_norm"}


@dataclass(frozen=True)
class Renamed:
    """Weights under our names, and the reason for each dropped key."""

    state: dict[str, Tensor]
    dropped: dict[str, str]


def stream_names(order: Sequence[str]) -> tuple[str, ...]:
    """Map the original's names, or ours, to ours."""
    known = {*NAMES, *NAMES.values(), "touch", "thermal"}  # the last two have no names in the original's code
    for name in order:
        if name not in known:
            raise UnknownNameError("modality of CREMA", name, known)
    return tuple(NAMES.get(name, name) for name in order)


def modalities_in(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Our names of the modalities with parameters in a file, in the order of `NAMES`."""
    theirs_in_file = {match[2] for key in state if (match := _PORT.fullmatch(key))}
    return tuple(ours for theirs, ours in NAMES.items() if theirs in theirs_in_file)


def rename(
    state: Mapping[str, Tensor], stream_order: Sequence[str] | None = None, as_streams: Mapping[str, str] | None = None
) -> Renamed:
    """Rename the weights of a CREMA file.

    Args:
        stream_order: Modalities of the file's fusion in the order of its columns, with or without the video; the
            file does not contain it. None: the file has no fusion.
        as_streams: Our modality → the stream that it fills (touch for the parameters of normals: {"normals": "touch"}).

    Raises:
        CheckpointError: an unknown key, or a fusion whose columns do not fit the order.
        ConfigError: a fusion and no order.
    """
    streams = {ours: (as_streams or {}).get(ours, ours) for ours in NAMES.values()}
    result, dropped, qformer, vision, audio = {}, {}, {}, {}, {}
    for key, value in state.items():
        if key.endswith("_gradsel_embed"):
            dropped[key] = "never used"
        elif key.startswith("ln_pc."):
            dropped[key] = "never used: points go to the Q-Former without a norm"
        elif match := _LORA.fullmatch(key):
            layer, target, half, modality = match.groups()
            name = f"connector.ports.{streams[NAMES[modality]]}.adapter.layers.{layer}.{target}"
            result[f"{name}.{'down' if half == 'a' else 'up'}"] = value
        elif match := _PORT.fullmatch(key):
            part, modality, rest = match.groups()
            result[f"connector.ports.{streams[NAMES[modality]]}.{_PARTS[part]}{rest or ''}"] = value
        elif key.startswith("projection_audio."):
            result[f"connector.ports.audio.input_proj{key.removeprefix('projection_audio')}"] = value
        elif key.startswith("fusion.0."):
            result |= _fusion(key, value, stream_order, streams)
        elif key.startswith("Qformer."):
            qformer[re.sub(r"\.(query|value)\.w\.", r".\1.", key.removeprefix("Qformer."))] = value
        elif key.startswith("visual_encoder."):
            vision[key.removeprefix("visual_encoder.")] = value
        elif key.startswith("audio_encoder.model."):
            audio[key.removeprefix("audio_encoder.model.")] = value
        elif re.fullmatch(r"t5_model\.(encoder|decoder)\.embed_tokens\.weight", key):
            dropped[key] = "the same as t5_model.shared"
        elif key.startswith("t5_model."):
            result[f"language_model.model.{key.removeprefix('t5_model.')}"] = value
        else:
            raise CheckpointError(f"{key!r} is no key of CREMA's files")
    result |= {f"connector.trunks.qformer.{key}": value for key, value in LAVIS.to_ours(qformer).items()}
    result |= {f"encoders.vision.{key}": value for key, value in eva_from_lavis(vision).items()}
    result |= {f"encoders.audio.{key}": value for key, value in (beats_from_microsoft(audio) if audio else {}).items()}
    dropped |= _none_of_ours(qformer, LAVIS.dropped, "Qformer.")
    return Renamed(result, dropped | _none_of_ours(vision, LAVIS_EVA_VIT.dropped, "visual_encoder."))


def _none_of_ours(state: Mapping[str, Tensor], patterns: Sequence[str], prefix: str) -> dict[str, str]:
    return {prefix + key: "no weight" for key in state if any(re.fullmatch(pattern, key) for pattern in patterns)}


def _fusion(key: str, value: Tensor, order: Sequence[str] | None, streams: Mapping[str, str]) -> dict[str, Tensor]:
    """Split one matrix over all streams side by side into a matrix per stream."""
    if key == "fusion.0.bias":
        return {"connector.fusion.bias": value}
    if order is None:
        raise ConfigError(
            f"the file has a fusion of {value.shape[1] // value.shape[0]} streams and does not name them; give "
            "stream_order, e.g. rgb,pc,depth,norm"
        )
    others = [name for name in stream_names(order) if name != "video"]
    if value.shape[1] != value.shape[0] * len(others):
        raise CheckpointError(
            f"the file's fusion joins {value.shape[1] // value.shape[0]} streams besides the video, stream_order names "
            f"{len(others)} ({', '.join(others)})"
        )
    parts = value.split(value.shape[0], dim=1)
    return {
        f"connector.fusion.weights.{streams.get(name, name)}": part.contiguous()
        for name, part in zip(others, parts, strict=True)
    }
