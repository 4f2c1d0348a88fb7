"""Converter of released MERV files to a VideoLanguageModel: strict, weights only, with a report of all keys.

A released folder contains `config.json` and `checkpoints/latest-checkpoint.pt` with `projectors`, `feature_fusion` and
`llm_backbone` (single encoders: `projector`; early files: `adapter`). Encoders are in separate folders, which the
caller names; timm's files of SigLIP and DINOv2 and LanguageBind's are read under their names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidweave.connectors.mixer import Mixer, MixerConfig, fold
from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.language.chat import CHAT_FORMATS
from vidweave.language.pretrained import source_config
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import slot_state
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.conversion import KeyReport, Request, Source, options_of, read_released, write_model
from vidweave.model.files import PICKLED_WEIGHTS, locate, read_json, read_weights, weight_files
from vidweave.model.processor import Processor
from vidweave.model.released import Checkpoint, read_checkpoint
from vidweave.model.sharded import LazyTensor
from vidweave.systems.merv.arch import FUSIONS, parse_arch
from vidweave.systems.merv.keys import (
    dinov2_from_timm,
    languagebind_from_hub,
    mixer_from_merv,
    projector_from_merv,
    siglip_from_timm,
)
from vidweave.systems.merv.preset import ENCODERS, merv

__all__ = ["convert", "folded", "from_released", "modules_of", "stream_order"]

Parts = Mapping[str, Mapping[str, Tensor]]
_OLDER = {"projector": "projectors", "adapter": "feature_fusion"}
_TIMM = {"siglip": siglip_from_timm, "dinov2": dinov2_from_timm}


def modules_of(checkpoint: Checkpoint) -> dict[str, dict[str, Tensor]]:
    """Group a released file by module: `projectors`, `feature_fusion`, `llm_backbone`.

    Raises:
        CheckpointError: a file with other modules.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in checkpoint.state.items():
        module, _, rest = key.partition(".")
        if module == "projector":  # a single encoder
            rest = f"0.{rest}"
        parts.setdefault(_OLDER.get(module, module), {})[rest] = value
    if unknown := parts.keys() - {"projectors", "feature_fusion", "llm_backbone"}:
        raise CheckpointError(f"{checkpoint.name} has {', '.join(sorted(unknown))}, which is no module of MERV")
    return parts


def stream_order(backbones: Sequence[str]) -> tuple[str, ...]:
    """Map released backbone ids, or our names, to our names, in the file's order.

    Raises:
        UnknownNameError: an unknown id.
    """
    known = {released: name for name, info in ENCODERS.items() for released in (name, *info.released_names)}
    for backbone in backbones:
        if backbone not in known:
            raise UnknownNameError("video backbone", backbone, known)
    return tuple(known[backbone] for backbone in backbones)


def from_released(parts: Parts, order: Sequence[str], name: str = "merv") -> Source:
    """Rename the file's modules; `order` names the encoders of the projectors and weights.

    Raises:
        CheckpointError: another number of projectors than `order`, projectors of other widths (another order), or
            unknown keys.
    """
    projectors: dict[int, dict[str, Tensor]] = {}
    for key, value in parts.get("projectors", {}).items():
        number, _, rest = key.partition(".")
        if not number.isdigit():
            raise CheckpointError(
                f"{name} has a projector {key!r}; projectors are numbered, e.g. 0.projector.projector.weight"
            )
        projectors.setdefault(int(number), {})[rest] = value
    if sorted(projectors) != list(range(len(order))):
        raise CheckpointError(
            f"{name} has {len(projectors)} projectors, the order names {len(order)} encoders ({', '.join(order)}); "
            "give the encoders of the file (stream_order)"
        )
    _check_order(projectors, order, name)
    state: dict[str, Tensor] = {}
    for number, stream in enumerate(order):
        ours = projector_from_merv(projectors[number], "mlp")
        state |= {f"connector.trunks.{stream}.{key}": value for key, value in ours.items()}
    fusion = parts.get("feature_fusion", {})
    if len(order) > 1:  # a single encoder always has weight 1
        state |= {f"connector.fusion.{key}": value for key, value in mixer_from_merv(fusion).items()}
    for key, value in parts.get("llm_backbone", {}).items():
        if not key.startswith("llm."):
            raise CheckpointError(f"{name} has {key!r} in llm_backbone; its keys start with 'llm.'")
        if not key.endswith("rotary_emb.inv_freq"):
            state[f"language_model.model.{key.removeprefix('llm.')}"] = value
    dead = {f"feature_fusion.{key}": "never used" for key in fusion if len(order) == 1 or _is_dead(key)}
    computed = [key for key in parts.get("llm_backbone", {}) if key.endswith("rotary_emb.inv_freq")]
    return Source(name, state, dead | {f"llm_backbone.{key}": "computed" for key in computed})


def _is_dead(key: str) -> bool:
    return key == "attention.v_proj_weight" or key.startswith("attention.out_proj.")


def _check_order(projectors: Mapping[int, Mapping[str, Tensor]], order: Sequence[str], name: str) -> None:
    widths = [next((v.shape[1] for v in projectors[n].values() if v.ndim == 2), None) for n in range(len(order))]
    for number, (stream, width) in enumerate(zip(order, widths, strict=True)):
        if ENCODERS[stream].width != width:
            have = ", ".join(map(str, widths))
            raise CheckpointError(
                f"projector {number} of {name} takes tokens of width {width}, encoder {stream!r} gives "
                f"{ENCODERS[stream].width}: the file has its encoders in another order (widths {have}); give it as "
                "stream_order"
            )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options beside the file's config.json: the order of its encoders, the prompt, and whether to fold the mixer
    to one vector."""

    stream_order: tuple[str, ...] = ()
    prompt: str = ""
    fold: bool = False


# Released ids of language models → their prompt in MERV's code (spec 2.7).
_PROMPTS = {
    **dict.fromkeys(("llama2-7b-pure", "llama2-13b-pure", "llama3-8b-pure"), "llama2-base"),
    **dict.fromkeys(("llama2-7b-chat", "llama2-13b-chat", "llama3-8b-chat"), "llama2-chat"),
    **dict.fromkeys(("vicuna-v15-7b", "vicuna-v15-13b"), "vicuna"),
    "llama3.1-8b-chat": "llama3-chat",
    **dict.fromkeys(("qwen2.5-7b-instruct", "qwen2.5-3b-instruct"), "qwen-chat"),
}


def convert(request: Request) -> KeyReport:
    """Convert a released file and its `config.json` (beside it, or one folder above) to a folder.

    Parts: `config` (another config.json), `tokenizer` and `language` (folder or hub id of the language model: its
    configuration and tokenizer), and one per encoder by our names; the default of an encoder is its hub id.

    Raises:
        CheckpointError, ConfigError, UnknownNameError: as `from_released`, or an invalid config.json.
    """
    request.expect(parts=("config", "language", "tokenizer", *ENCODERS))
    settings = options_of(Settings, request)
    described = _read_config(request)
    settings = replace(settings, prompt=settings.prompt or _prompt(described["llm_backbone_id"]))
    backbones = stream_order(described["video_backbone_ids"])
    order = stream_order(settings.stream_order) or backbones
    language = _language(request)
    checkpoint = read_released(request, "merv")
    parts = modules_of(checkpoint)
    renamed = from_released(parts, order, checkpoint.name)
    released = Source.of(checkpoint, renamed.state, renamed.dropped)
    config = _config(described, order, settings, {**language, "vocab_size": _vocabulary(parts)})
    beside = Path(os.path.abspath(request.file)).parent
    encoders = [_encoder_source(config, n, request.parts.get(n, ENCODERS[n].source), beside) for n in order]
    if settings.fold:
        config, released = _folded(config, released)
    return write_model(
        request,
        config,
        *encoders,
        released,
        processor=_processor(request, config),
        settings=replace(settings, stream_order=order),
        notes=_notes(described, order, backbones),
    )


def _prompt(backbone: str) -> str:
    if backbone not in _PROMPTS:
        formats = ", ".join(CHAT_FORMATS)
        raise UnknownNameError("llm_backbone_id", backbone, _PROMPTS, f"(or give its prompt: --set prompt={formats})")
    return _PROMPTS[backbone]


def _notes(described: Mapping[str, Any], order: Sequence[str], backbones: Sequence[str]) -> list[str]:
    notes = []
    if described["image_resize_strategy"] != "resize-naive":
        notes.append(
            f"trained with frames resized by {described['image_resize_strategy']!r}; here they are squashed (resize-naive)"
        )
    if tuple(order) != tuple(backbones):
        notes.append(
            f"encoders in the order {', '.join(order)} (stream_order), but config.json has {', '.join(backbones)}; widths "
            "alone cannot show which is right"
        )
    return notes


def _processor(request: Request, config: VideoLanguageConfig) -> Processor | None:
    tokenizer = request.parts.get("tokenizer", request.parts.get("language"))
    return None if tokenizer is None else Processor(config, {"language": load_tokenizer(tokenizer)})


def _read_config(request: Request) -> dict[str, Any]:
    folder = Path(os.path.abspath(request.file)).parent  # a bare file name has a folder above, too; links stay links
    beside = [folder / "config.json", folder.parent / "config.json"]
    given = request.parts.get("config")
    file = Path(given) if given else next((path for path in beside if path.is_file()), None)
    if file is None or not file.is_file():
        raise CheckpointError("a released MERV file has a config.json; give it as part 'config'")
    try:
        described = read_json(file)["model"]
        needed = ("arch_specifier", "feature_fusion", "video_backbone_ids", "llm_backbone_id", "projector_token_length")
        further = {"num_frames": None, "image_resize_strategy": "resize-naive"}
        return {**{key: described[key] for key in needed}, **{k: described.get(k, v) for k, v in further.items()}}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file.name} is no configuration of MERV: {error!r}") from error


def _language(request: Request) -> dict[str, Any]:
    source = request.parts.get("language")
    if source is None:
        raise ConfigError(
            "give the language model's folder or hub id as part 'language': its configuration is required"
        )
    return source_config(source)


def _vocabulary(parts: Parts) -> int:
    table = parts.get("llm_backbone", {}).get("llm.model.embed_tokens.weight")
    if table is None:
        raise CheckpointError(
            "the file has no llm_backbone; a file of stage align needs the model that it started from"
        )
    return len(table)


def _config(
    described: Mapping[str, Any], order: Sequence[str], settings: Settings, language: Mapping[str, Any]
) -> VideoLanguageConfig:
    arch = parse_arch(described["arch_specifier"])
    if arch.pooling not in ("average", "average3d") or arch.time != 1:
        raise ConfigError(
            f"arch_specifier {described['arch_specifier']!r} is not a released one; its projectors can be built "
            "(connectors.projectors), but no released file has them"
        )
    fusion = described["feature_fusion"]
    if fusion not in FUSIONS:
        raise UnknownNameError("feature_fusion", str(fusion), FUSIONS)
    frames = described["num_frames"]
    frames = (
        dict(zip(order, [frames] * len(order) if isinstance(frames, int) else frames, strict=True)) if frames else None
    )
    return merv(
        order,
        fusion=FUSIONS[fusion] if len(order) > 1 else "equal",
        head=arch.head,
        tokens_per_frame=described["projector_token_length"],
        num_frames=frames,
        language=language,
        prompt=settings.prompt,
    )


def _encoder_source(config: VideoLanguageConfig, name: str, source: str, beside: Path) -> Source:
    """Read the weights of one encoder, in the layout of its folder."""
    root, encoder = f"encoders.{name}", config.parse().encoders[name]
    state, files, notes = _open_encoder(name, source, beside)
    if any(".attn.qkv." in key for key in state) and name in _TIMM:
        state = {f"tower.{key}": value for key, value in _TIMM[name](state).items()}
    elif name == "languagebind" and not any(key.startswith("layers.") for key in state):
        state = languagebind_from_hub(state)
    else:
        with torch.device("meta"):
            skeleton = VideoLanguageModel(config)
        return Source(
            name, slot_state(root, dict(state), skeleton, f"encoder {name!r}"), files=files, role=name, notes=notes
        )
    with torch.device("meta"):
        expected = encoder.build().state_dict().keys()
    kept = {f"{root}.{key}": value for key, value in state.items() if key in expected}
    dropped = {key: "after the layer that is used" for key in state if key not in expected}
    return Source(name, kept, dropped, files, name, notes)


def _open_encoder(
    name: str, source: str, beside: Path
) -> tuple[Mapping[str, Tensor], tuple[Path, ...], tuple[str, ...]]:
    """Open weights, files and notes of an encoder; LanguageBind's are on the hub only as `pytorch_model.bin`."""
    folder = locate(source, beside, pickled=(PICKLED_WEIGHTS,) if name == "languagebind" else ())
    pickled = folder / PICKLED_WEIGHTS
    if pickled.is_file() and not list(folder.glob("*.safetensors")):
        checkpoint = read_checkpoint(pickled)
        return checkpoint.state, (pickled,), checkpoint.notes
    return read_weights(folder), tuple(weight_files(folder)), ()


def folded(model: VideoLanguageModel) -> VideoLanguageModel:
    """Fold the mixer of a model to one vector (the released one has 22 million used weights)."""
    mixer = model.connector.fusion
    if not isinstance(mixer, Mixer):
        raise ConfigError(f"only a mixer can be folded, this model has {type(mixer).__name__}")
    state = {f"connector.fusion.{key}": value for key, value in mixer.state_dict().items()}
    new, small = _folded(model.built_config(), Source("the mixer", state))
    whole = {k: v for k, v in model.state_dict().items() if not k.startswith("connector.fusion.")}
    whole |= {key: LazyTensor.of(value).make() for key, value in small.state.items()}
    folded_model = VideoLanguageModel.from_state(new, whole, dtype=model.dtype).eval()
    if model._processor is not None:
        folded_model.processor = model.processor.for_config(new)
    return folded_model


def _folded(config: VideoLanguageConfig, source: Source) -> tuple[VideoLanguageConfig, Source]:
    """Fold the mixer in configuration and weights; raise ConfigError for another fusion, or a folded one."""
    spec = config.parse()
    connector = spec.connector
    mixer = connector.fusion.build(tuple(connector.ports), connector.output_width)
    if not isinstance(mixer, Mixer):
        raise ConfigError(f"only a mixer can be folded, this model has {type(mixer).__name__}")
    prefix = "connector.fusion."
    mixer.load_state_dict({k.removeprefix(prefix): v for k, v in source.state.items() if k.startswith(prefix)})
    small = fold(mixer)
    assert isinstance(small.config, MixerConfig)
    data = spec.to_dict()
    data["connector"]["fusion"] = small.config.to_dict()
    state = {key: value for key, value in source.state.items() if not key.startswith(prefix)}
    state |= {prefix + key: value for key, value in small.state_dict().items()}
    return VideoLanguageConfig(data, name=config.name), replace(source, state=state)
