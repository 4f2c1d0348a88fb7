"""Converter of CREMA's released files, and of their base checkpoints, to a model folder: strict, with a report.

- `crema_initial.pth`, `crema_pretrained.pth`: Q-Former and all modalities' parameters; no tower, no T5, few adapters;
- `v1_ckpt/*`, `v2_ckpt/*`: the trained parameters, or only those of the last modality and the fusion: they need a `base`;
- LAVIS' `blip2_pretrained_flant5xl.pth`: every modality starts as a copy of its video (the authors' initialization);
- parts: `vision` (LAVIS' eva_vit_g.pth), `audio` (BEATs_iter3_plus_AS2M.pt), `language` (Flan-T5-XL's folder or hub id).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.encoders.beats import BeatsConfig, beats_from_microsoft
from vidweave.encoders.eva_vit import LAVIS_EVA_VIT, eva_from_lavis
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.conversion import KeyReport, Request, Source, options_of, read_released, write_model
from vidweave.model.files import locate, weight_files
from vidweave.model.processor import Processor
from vidweave.model.released import Checkpoint, read_checkpoint
from vidweave.model.sharded import read_lazily
from vidweave.model.stored import StoredModel, open_model
from vidweave.systems.crema.keys import rename, stream_names
from vidweave.systems.crema.preset import DATASETS, IMAGE_LIKE, Fusion, Sizes, build

__all__ = ["Settings", "convert", "from_blip2", "from_crema"]

PARTS = ("vision", "audio", "language")
# Parameters that a file may lack, since training initializes them at random or at zero.
_FRESH = (".adapter.", ".input_proj.", "connector.fusion.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that CREMA's files do not contain.

    Attributes:
        dataset: Prompt and decoding, one of `preset.DATASETS`.
        modalities: Modalities of the model, video first; empty: the data set's. The original's names work too (rgb, norm, pc).
        fusion: `none` for the zero-shot models of crema_pretrained.
        stream_order: Modalities in the order of the file's fusion, if it has one.
        filled: `normals:touch`: the file's parameters of normals are those of touch.
    """

    dataset: str = "sqa3d"
    modalities: tuple[str, ...] = ()
    fusion: Fusion = "gated_append"
    stream_order: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()


def convert(request: Request, *, sizes: Sizes | None = None) -> KeyReport:
    """Convert the file of `request` to a folder; `sizes` are those of a file other than the paper's.

    Raises:
        CheckpointError: keys that are missing, unknown or of another shape; a missing part.
        ConfigError: a fusion in the file, and no `stream_order`.
    """
    request.expect(parts=PARTS, base=True)
    settings = options_of(Settings, request)
    if settings.dataset not in DATASETS:
        raise UnknownNameError("data set of CREMA", settings.dataset, DATASETS)
    modalities = stream_names(settings.modalities) or DATASETS[settings.dataset].modalities
    checkpoint = read_released(request, "crema")
    source = _source(checkpoint, settings, modalities)
    base = None if request.base is None else open_model(request.base)
    sizes = sizes if base is None else _sizes_of(base)
    config = build(modalities, dataset=settings.dataset, fusion=settings.fusion, sizes=sizes)
    given = [source] if base is None else [_of_base(base, config), source]
    given = [*_parts(request), *given]
    if base is None and _missing(config, given):
        missing = ", ".join(_missing(config, given))
        raise CheckpointError(f"{request.file.name} has no {missing}; give them as parts, or a base that has them")
    notes = [*_notes(base, source, modalities), *_order_note(checkpoint, settings)]
    return write_model(
        request,
        config,
        *given,
        processor=_processor(request, config, base),
        fill=_Fill(config, source.name, notes),
        settings=replace(settings, modalities=tuple(modalities)),
        notes=notes,
    )


def from_crema(
    name: str, state: Mapping[str, Tensor], order: Sequence[str] | None = None, filled: Mapping[str, str] | None = None
) -> Source:
    """Read a file of CREMA; `order` and `filled` as in `keys.rename`."""
    renamed = rename(state, order, filled)
    return Source(name, renamed.state, renamed.dropped)


def from_blip2(name: str, state: Mapping[str, Tensor], modalities: Sequence[str]) -> Source:
    """Read LAVIS' BLIP-2 file: Q-Former, and its query tokens, norm and projection for every modality."""
    vision = {k.removeprefix("visual_encoder."): v for k, v in state.items() if k.startswith("visual_encoder.")}
    rest = {k: v for k, v in state.items() if not k.startswith(("visual_encoder.", "t5_model."))}
    ours = lavis_connector_keys(projection="t5_proj").to_ours(rest)
    result = {f"connector.{key}": value for key, value in ours.items() if key.startswith("trunks.")}
    for key, value in ours.items():
        if key.startswith("ports.video."):
            part = key.removeprefix("ports.video.")
            kept = [name for name in modalities if part.split(".")[0] != "input_norm" or name != "point_cloud"]
            result |= {f"connector.ports.{name}.{part}": value.clone() for name in kept}
    result |= {f"encoders.vision.{key}": value for key, value in eva_from_lavis(vision).items()}
    return Source(name, result, {key: "taken from the part language" for key in state if key.startswith("t5_model.")})


def _source(checkpoint: Checkpoint, settings: Settings, modalities: Sequence[str]) -> Source:
    name, state = checkpoint.name, checkpoint.state
    if "query_tokens" in state:
        renamed = from_blip2(name, state, modalities)
        return Source.of(checkpoint, renamed.state, renamed.dropped)
    pairs = [text.partition(":") for text in settings.filled]
    if any(not sign for _, sign, _ in pairs):
        raise ConfigError(f"filled takes pairs such as normals:touch, got {', '.join(settings.filled)}")
    filled = {stream_names([slot])[0]: stream for slot, _, stream in pairs}
    source = from_crema(name, state, settings.stream_order or None, filled)
    prefixes = tuple(f"connector.ports.{name}." for name in modalities)
    others = [key for key in source.state if key.startswith("connector.ports.") and not key.startswith(prefixes)]
    kept = {key: value for key, value in source.state.items() if key not in set(others)}
    dropped = {
        **source.dropped,
        **dict.fromkeys(sorted(others), "parameter of a modality that the model does not have"),
    }
    return Source.of(checkpoint, kept, dropped)


def _parts(request: Request) -> list[Source]:
    """Read the given frozen parts under our names."""
    return [_language(where) if role == "language" else _tower(role, where) for role, where in request.parts.items()]


def _language(where: str) -> Source:
    folder = locate(where)
    state = read_lazily(folder)
    dropped = {key: "the same as shared.weight" for key in state if key.endswith("embed_tokens.weight")}
    ours = {f"language_model.model.{key}": value for key, value in state.items() if key not in dropped}
    return Source("language", ours, dropped, tuple(weight_files(folder)), "language")


def _tower(role: str, where: str) -> Source:
    checkpoint = read_checkpoint(where)
    state = checkpoint.state
    if role == "vision":
        ours = {f"encoders.vision.{key}": value for key, value in eva_from_lavis(state).items()}
        unused = {key for key in state if any(re.fullmatch(pattern, key) for pattern in LAVIS_EVA_VIT.dropped)}
        dropped = {key: "after the layer that is used" for key in state if key in unused}
    else:
        ours = {f"encoders.audio.{key}": value for key, value in beats_from_microsoft(state).items()}
        dropped = {}
    return Source.of(checkpoint, ours, dropped, role)


def _sizes_of(base: StoredModel) -> Sizes:
    """Derive the sizes of the base's towers, Q-Former and language model.

    Raises:
        ConfigError: a base other than BLIP-2 with Flan-T5 or CREMA.
    """
    spec, default = base.config.parse(), Sizes()
    vision, audio, points = (spec.encoders.get(name) for name in ("vision", "audio", "points"))
    qformer, language = spec.connector.trunks.get("qformer"), spec.language_model
    has_its_towers = isinstance(vision, VisionTowerConfig | None)
    if language.kind != "seq2seq" or qformer is None or not has_its_towers or not isinstance(audio, BeatsConfig | None):
        raise ConfigError(
            f"base {base.config.name!r} has a {language.kind} language model ({language.config.get('model_type')}) after "
            f"{', '.join(spec.connector.trunks)}; CREMA starts from BLIP-2 with Flan-T5 (a seq2seq language model after a "
            "qformer), or from a converted CREMA"
        )
    ports = spec.connector.ports.values()
    adapter = next((port.adapter for port in ports if port.adapter is not None), AdapterConfig())
    return Sizes(
        vision=vision.config if vision is not None else default.vision,
        audio=audio if audio is not None else default.audio,
        qformer=qformer,
        language=language.config,
        num_query_tokens=next(iter(ports)).num_query_tokens,
        num_points=points.specs["point_cloud"].num_points if points is not None else default.num_points,
        rank=adapter.rank,
        lora_dropout=adapter.dropout,
    )


def _of_base(base: StoredModel, config: VideoLanguageConfig) -> Source:
    """Select the weights that the new model shares with the base."""
    with torch.device("meta"):
        expected = VideoLanguageModel(config).state_dict()
    state = {key: value for key, value in base.state.items() if key in expected}
    return Source(base.config.name or "base", state, files=base.files, role="base")


def _missing(config: VideoLanguageConfig, sources: Sequence[Source]) -> list[str]:
    """Frozen parts of the model that no source contains."""
    held = {key for source in sources for key in source.state}
    needed = {"vision": "encoders.vision.", "audio": "encoders.audio.", "language": "language_model."}
    encoders = config.parse().encoders
    roles = [role for role in needed if role == "language" or role in encoders]
    return [role for role in roles if not any(key.startswith(needed[role]) for key in held)]


class _Fill:
    """Initialize missing parameters as in training; image-like modalities without parameters copy the video's.

    A port, an adapter or a fusion is in the files completely or not at all.
    """

    def __init__(self, config: VideoLanguageConfig, name: str, notes: list[str]) -> None:
        self.connector = config.parse().connector
        self.name, self.notes = name, notes

    def __call__(self, state: dict[str, Any], expected: Mapping[str, Tensor]) -> list[str]:
        missing = [key for key in expected if key not in state and key.startswith("connector.")]
        self._refuse_partial(state, expected, missing)
        fresh: Mapping[str, Tensor] = {}
        if any(part in key for key in missing for part in _FRESH):
            fresh = self.connector.build().state_dict(prefix="connector.")
        filled, copied = [], []
        for key in missing:
            source = _video_key(key)
            if any(part in key for part in _FRESH):
                state[key] = fresh[key]
            elif source in state and tuple(state[source].shape) == tuple(expected[key].shape):
                state[key] = state[source]
                copied.append(key.split(".")[2])
            else:
                continue
            filled.append(key)
        if copied:
            names = ", ".join(dict.fromkeys(copied))
            self.notes.append(f"no file has parameters of {names}: they start as copies of the video's")
        return filled

    def _refuse_partial(self, state: Mapping[str, Any], expected: Mapping[str, Tensor], missing: Sequence[str]) -> None:
        lacking: dict[str, list[str]] = {}
        for key in missing:
            lacking.setdefault(_unit(key), []).append(key)
        held = {_unit(key) for key in expected if key in state}
        partial = {unit: keys for unit, keys in lacking.items() if unit in held and unit}
        has_bias, has_weights = (
            any(key.startswith(f"connector.fusion.{n}") for key in state) for n in ("bias", "weights.")
        )
        if has_bias != has_weights:
            partial["connector.fusion"] = lacking[""]
        if partial:
            unit, keys = next(iter(partial.items()))
            raise CheckpointError(
                f"{self.name} has only a part of {unit}: missing {', '.join(keys[:4])}{' and more' * (len(keys) > 4)}; give a "
                "base that has the rest, or exclude the modality (modalities)"
            )


def _unit(key: str) -> str:
    """Module of a weight that a file contains completely or not at all; empty if it is checked elsewhere."""
    parts = key.split(".")
    if parts[1] == "ports":
        return f"connector.ports.{parts[2]}" + (f".{parts[3]}" if parts[3] in ("adapter", "input_proj") else "")
    return ""


def _video_key(key: str) -> str:
    parts = key.split(".")
    if parts[1] != "ports" or parts[2] not in IMAGE_LIKE:
        return ""
    return ".".join([*parts[:2], "video", *parts[3:]])


def _processor(request: Request, config: VideoLanguageConfig, base: StoredModel | None) -> Processor | None:
    if "language" in request.parts:
        return Processor(config, {"language": load_tokenizer(locate(request.parts["language"]))})
    return None if base is None else base.processor


def _notes(base: StoredModel | None, source: Source, modalities: Sequence[str]) -> list[str]:
    notes = [] if base is None else _base_notes(base.state, source, modalities)
    if not any(".adapter." in key for key in source.state):
        notes.append("the file has no adapter: every modality is encoded as in BLIP-2 until it is trained")
    return notes


def _base_notes(base: Mapping[str, Any], source: Source, modalities: Sequence[str]) -> list[str]:
    """Report the parameters of the model's modalities that keep the base's values."""
    held = {_unit(key) for key in source.state if key.startswith("connector.ports.")}
    notes, whole = [], []
    for name in modalities:
        own = [key for key in base if key.startswith(f"connector.ports.{name}.") and key not in source.state]
        partial = [key for key in own if _unit(key) in held]
        if partial:
            notes.append(f"the file has only a part of {name}: the base's {', '.join(partial)} are kept")
        elif own and f"connector.ports.{name}" not in held:
            whole.append(name)
    return notes + ([f"the file has no parameters of {', '.join(whole)}: those of the base are kept"] if whole else [])


def _order_note(checkpoint: Checkpoint, settings: Settings) -> list[str]:
    """Note the assumed order of the fusion's columns: all are equally wide, so the file cannot show their order."""
    if not any(key.startswith("fusion.0.") for key in checkpoint.state):
        return []
    return [
        f"the fusion's columns were taken in the order {', '.join(settings.stream_order)}; the file cannot confirm it"
    ]
