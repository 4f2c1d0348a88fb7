"""CREMA's released files, and the files that they begin from, as a model folder of ours: strict, with a report.

- `crema_initial.pth`, `crema_pretrained.pth`: Q-Former and all modalities' parameters; no tower, no T5, hardly an adapter;
- `v1_ckpt/*`, `v2_ckpt/*`: what was learnt, or only the last modality and the fusion of it: they need a `base`;
- LAVIS' `blip2_pretrained_flant5xl.pth`: every modality begins as a copy of its video (the authors' own start);
- parts: `vision` (LAVIS' eva_vit_g.pth), `audio` (BEATs_iter3_plus_AS2M.pt), `language` (Flan-T5-XL's folder or hub id).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.encoders.beats import beats_from_microsoft
from vidweave.encoders.eva_vit import LAVIS_EVA_VIT, eva_from_lavis
from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.conversion import KeyReport, Request, Source, assemble, options_of, read_checkpoint, save
from vidweave.model.files import locate, read_weights
from vidweave.model.load import load
from vidweave.model.processor import Processor
from vidweave.systems.crema.keys import rename, stream_names
from vidweave.systems.crema.preset import DATASETS, IMAGE_LIKE, Fusion, Sizes, build

__all__ = ["Settings", "convert", "from_blip2", "from_crema"]

PARTS = ("vision", "audio", "language")
# What a file may lack, since training begins it at random or at zero.
_FRESH = (".adapter.", ".input_proj.", "connector.fusion.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What CREMA's files do not say.

    Attributes:
        dataset: Prompt and decoding, one of `preset.DATASETS`.
        modalities: Of the model, video first; empty: the data set's. The original's names work too (rgb, norm, pc).
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
    """Write the file of `request` as a folder; `sizes` are those of a file that is not the paper's.

    Raises:
        CheckpointError: keys that are missing, unknown or of another shape; a part that is needed and not given.
        ConfigError: a fusion in the file, and no `stream_order`.
    """
    request.expect(parts=PARTS, base=True)
    settings = options_of(Settings, request)
    modalities = stream_names(settings.modalities) or DATASETS[settings.dataset].modalities
    state = read_checkpoint(request.file)
    base = None if request.base is None else load(request.base)
    sizes = sizes if base is None else _sizes_of(base)
    config = build(modalities, dataset=settings.dataset, fusion=settings.fusion, sizes=sizes)
    source = _source(request.file.name, state, settings, modalities)
    given = [source] if base is None else [_of_base(base, config), source]
    given = [*_parts(request), *given]
    if base is None and _missing(config, given):
        parts = ", ".join(_missing(config, given))
        raise CheckpointError(f"{request.file.name} holds no {parts}; give them (part) or a base that has them")
    dtype = None if request.dtype is None else getattr(torch, request.dtype, None)
    model, report = assemble(config, *given, fill=_Fill(config, modalities), dtype=dtype)
    _add_processor(model, request, base)
    save(model, request)
    return replace(report, notes=tuple(_notes(base, source, modalities)))


def from_crema(
    name: str, state: Mapping[str, Tensor], order: Sequence[str] | None = None, filled: Mapping[str, str] | None = None
) -> Source:
    """A file of CREMA's; `order` and `filled` as in `keys.rename`."""
    renamed = rename(state, order, filled)
    return Source(name, renamed.state, tuple(renamed.dropped))


def from_blip2(name: str, state: Mapping[str, Tensor], modalities: Sequence[str]) -> Source:
    """LAVIS' BLIP-2 file: Q-Former, and its query tokens, norm and projection for every modality."""
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
    return Source(name, result, tuple(key for key in state if key.startswith("t5_model.")))


def _source(name: str, state: Mapping[str, Tensor], settings: Settings, modalities: Sequence[str]) -> Source:
    if "query_tokens" in state:
        return from_blip2(name, state, modalities)
    pairs = [text.partition(":") for text in settings.filled]
    if any(not sign for _, sign, _ in pairs):
        raise ConfigError(f"filled takes pairs such as normals:touch, got {', '.join(settings.filled)}")
    filled = {stream_names([slot])[0]: stream for slot, _, stream in pairs}
    source = from_crema(name, state, settings.stream_order or None, filled)
    prefixes = {f"connector.ports.{name}." for name in modalities}
    others = {key for key in source.state if key.startswith("connector.ports.") and not key.startswith(tuple(prefixes))}
    kept = {key: value for key, value in source.state.items() if key not in others}
    return Source(name, kept, (*source.dropped, *sorted(others)))


def _parts(request: Request) -> list[Source]:
    """The frozen parts that were given, under our names."""
    sources = []
    for role, where in request.parts.items():
        if role == "vision":
            state = read_checkpoint(where)
            ours = {f"encoders.vision.{key}": value for key, value in eva_from_lavis(state).items()}
            dropped = tuple(
                key for key in state if any(re.fullmatch(pattern, key) for pattern in LAVIS_EVA_VIT.dropped)
            )
        elif role == "audio":
            ours = {f"encoders.audio.{k}": v for k, v in beats_from_microsoft(read_checkpoint(where)).items()}
            dropped = ()
        else:
            state = read_weights(locate(where))
            dropped = tuple(key for key in state if key.endswith("embed_tokens.weight"))
            ours = {f"language_model.model.{key}": value for key, value in state.items() if key not in dropped}
        sources.append(Source(role, ours, dropped))
    return sources


def _sizes_of(base: VideoLanguageModel) -> Sizes:
    """The sizes of the base's towers, Q-Former and language model."""
    spec, default = base.spec, Sizes()
    ports = spec.connector.ports.values()
    adapter = next((port.adapter for port in ports if port.adapter is not None), AdapterConfig())
    vision, audio, points = (spec.encoders.get(name) for name in ("vision", "audio", "points"))
    return Sizes(
        vision=vision.config if vision is not None else default.vision,
        audio=audio if audio is not None else default.audio,
        qformer=spec.connector.trunks["qformer"],
        language=spec.language_model.config,
        num_query_tokens=next(iter(ports)).num_query_tokens,
        num_points=points.specs["point_cloud"].num_points if points is not None else default.num_points,
        rank=adapter.rank,
        lora_dropout=adapter.dropout,
    )


def _of_base(base: VideoLanguageModel, config: VideoLanguageConfig) -> Source:
    """What the new model has in common with the base."""
    with torch.device("meta"):
        wanted = VideoLanguageModel(config).state_dict()
    state = {key: value for key, value in base.state_dict().items() if key in wanted}
    return Source(base.config.name or "base", state)


def _missing(config: VideoLanguageConfig, sources: Sequence[Source]) -> list[str]:
    """Frozen parts of the model that no source holds."""
    held = {key for source in sources for key in source.state}
    needed = {"vision": "encoders.vision.", "audio": "encoders.audio.", "language": "language_model."}
    encoders = config.parse().encoders
    roles = [role for role in needed if role == "language" or role in encoders]
    return [role for role in roles if not any(key.startswith(needed[role]) for key in held)]


class _Fill:
    """What a file may lack begins as training begins it; image-like modalities without parameters copy the video's."""

    def __init__(self, config: VideoLanguageConfig, modalities: Sequence[str]) -> None:
        self.connector, self.modalities = config.parse().connector, modalities

    def __call__(self, state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
        missing = [key for key in expected if key not in state and key.startswith("connector.")]
        fresh: Mapping[str, Tensor] = {}
        if any(part in key for key in missing for part in _FRESH):
            fresh = self.connector.build().state_dict(prefix="connector.")
        filled = []
        for key in missing:
            like = self._like_video(key)
            if any(part in key for part in _FRESH):
                state[key] = fresh[key]
            elif like in state and state[like].shape == expected[key].shape:
                state[key] = state[like].clone()
            else:
                continue
            filled.append(key)
        return filled

    def _like_video(self, key: str) -> str:
        parts = key.split(".")
        if parts[1] != "ports" or parts[2] not in IMAGE_LIKE:
            return ""
        return ".".join([*parts[:2], "video", *parts[3:]])


def _add_processor(model: VideoLanguageModel, request: Request, base: VideoLanguageModel | None) -> None:
    if "language" in request.parts:
        tokenizer = load_tokenizer(locate(request.parts["language"]))
        model.processor = Processor(model.config, {"language": tokenizer})
    elif base is not None and base._processor is not None:
        model.processor = base.processor.for_config(model.config)


def _notes(base: VideoLanguageModel | None, source: Source, modalities: Sequence[str]) -> list[str]:
    held = {key.split(".")[2] for key in source.state if key.startswith("connector.ports.")}
    lacking = [name for name in modalities if name not in held]
    notes = []
    if lacking and base is not None:
        notes.append(f"the file holds no parameters of {', '.join(lacking)}: those of the base stay")
    if not any(".adapter." in key for key in source.state):
        notes.append("the file holds no adapter: every modality sees as BLIP-2 does until it is trained")
    return notes
