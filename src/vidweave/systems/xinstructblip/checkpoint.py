"""Converter of X-InstructBLIP's released files to a model folder: strict, with a report of every key.

Each file (`image_qformer.pth`, `video_qformer.pth`, `audio_qformer_improved.pth`, `pc_qformer.pth`) contains the Q-Former,
norm, query tokens and projection of one modality. The frozen parts are in separate files: LAVIS' `eva_vit_g.pth`
(`vision`), `BEATs_iter3_plus_AS2M.pt` (`audio`), ULIP-2's PointBERT (`points`), Vicuna-7B v1.1 (`language`); a `base`, an
InstructBLIP with that Vicuna, provides vision, language and tokenizers together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.nn import functional

from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.conversion import KeyReport, Request, Source, options_of, read_released, write_model
from vidweave.model.files import locate, weight_files
from vidweave.model.processor import Processor
from vidweave.model.released import Checkpoint, read_checkpoint
from vidweave.model.sharded import LazyTensor, read_lazily
from vidweave.model.stored import StoredModel, open_model
from vidweave.systems.xinstructblip.keys import encoder, modalities_in, rename
from vidweave.systems.xinstructblip.preset import MODALITIES, Sizes, build
from vidweave.systems.xinstructblip.prompts import PROMPTS

__all__ = ["PARTS", "Settings", "convert"]

QFORMERS = ("image_qformer", "video_qformer", "audio_qformer", "pc_qformer")
ENCODERS = ("vision", "audio", "points")
PARTS = (*QFORMERS, *ENCODERS, "language", "qformer")
_LANGUAGE = "language_model.model."
_VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that X-InstructBLIP's files do not contain.

    Attributes:
        prompt: One of `PROMPTS`.
        num_frames: Frames of a video.
        legacy_media: Read videos and audio as the original's evaluation does.
    """

    prompt: str = "released"
    num_frames: int = 4
    legacy_media: bool = False


def convert(request: Request, *, sizes: Sizes | None = None) -> KeyReport:
    """Convert the files of `request` to a folder; the model has the modalities whose Q-Formers they contain.

    Args:
        sizes: Sizes of files other than the paper's.

    Raises:
        CheckpointError: keys that are missing, unknown or of another shape; a missing part.
    """
    request.expect(parts=PARTS, base=True)
    settings = options_of(Settings, request)
    if settings.prompt not in PROMPTS:
        raise UnknownNameError("prompt of X-InstructBLIP", settings.prompt, PROMPTS)
    checkpoints = [read_released(request, "xinstructblip")]
    checkpoints += [read_checkpoint(request.parts[role]) for role in QFORMERS if role in request.parts]
    sources = [_released(checkpoint) for checkpoint in checkpoints]
    available = {name for checkpoint in checkpoints for name in modalities_in(checkpoint.state)}
    modalities = [name for name in MODALITIES if name in available]
    config = build(
        modalities,
        prompt=PROMPTS[settings.prompt],
        name=f"xinstructblip-{settings.prompt}",
        sizes=sizes,
        num_frames=settings.num_frames,
        legacy_media=settings.legacy_media,
    )
    base = None if request.base is None else open_model(request.base)
    sources = [*([] if base is None else [_of_base(base)]), *_frozen(request, config), *sources]
    _check_parts(config, sources)
    processor = _processor(request, config, base)
    notes = _improved(checkpoints)
    return write_model(request, config, *sources, processor=processor, settings=settings, notes=notes)


def _released(checkpoint: Checkpoint) -> Source:
    renamed = rename(checkpoint.state)
    if not modalities_in(checkpoint.state):
        raise CheckpointError(f"{checkpoint.name} has no query tokens: it is no Q-Former of X-InstructBLIP")
    return Source.of(checkpoint, renamed.state, renamed.dropped)


def _frozen(request: Request, config: VideoLanguageConfig) -> list[Source]:
    """Read encoders and language model given as parts."""
    sources = []
    for role in (role for role in ENCODERS if role in request.parts):
        if role not in config.parse().encoders:
            raise ConfigError(f"part {role!r} is given, but no file has a Q-Former that uses it; omit it")
        checkpoint = read_checkpoint(request.parts[role])
        renamed = encoder(role, checkpoint.state)
        sources.append(Source.of(checkpoint, renamed.state, renamed.dropped, role))
    if "language" in request.parts:
        sources.append(_language(request.parts["language"], config.parse().language_model.config["vocab_size"]))
    return sources


def _language(where: str, vocabulary: int) -> Source:
    """Read Vicuna's folder; add a missing row for `[PAD]`, which no prompt contains."""
    folder = locate(where)
    state = {key: value for key, value in read_lazily(folder).items() if not key.endswith("rotary_emb.inv_freq")}
    notes = []
    for key in _VOCABULARY:
        if key in state and state[key].shape[0] == vocabulary - 1:
            state[key] = _with_row(state[key])
            notes.append(f"{key}: a row of zeros was added for the padding token")
    ours = {_LANGUAGE + key: value for key, value in state.items()}
    return Source("language", ours, {}, tuple(weight_files(folder)), "language", tuple(notes))


def _with_row(lazy: LazyTensor) -> LazyTensor:
    rows, width = lazy.shape
    return LazyTensor((rows + 1, width), lazy.dtype, lambda: functional.pad(lazy.make(), (0, 0, 0, 1)))


def _of_base(base: StoredModel) -> Source:
    """Select the tower and the language model of an InstructBLIP."""
    if base.config.parse().language_model.kind != "causal":
        raise ConfigError(f"base {base.config.name!r} has no causal language model; give an InstructBLIP with Vicuna")
    state = {key: value for key, value in base.state.items() if key.startswith(("encoders.vision.", _LANGUAGE))}
    return Source(base.config.name or "base", state, files=base.files, role="base")


def _check_parts(config: VideoLanguageConfig, sources: Sequence[Source]) -> None:
    available = {key for source in sources for key in source.state}
    roots = {role: f"encoders.{role}." for role in config.parse().encoders} | {"language": _LANGUAGE}
    missing = [role for role, root in roots.items() if not any(key.startswith(root) for key in available)]
    if missing:
        raise CheckpointError(f"the files have no {', '.join(missing)}; give them as parts, or a base that has them")


def _processor(request: Request, config: VideoLanguageConfig, base: StoredModel | None) -> Processor | None:
    """Build the processor with Vicuna's tokenizer as the original changes it, and the Q-Formers'; None if one is missing."""
    tokenizers = {} if base is None or base.processor is None else dict(base.processor.tokenizers)
    if "language" in request.parts:
        tokenizers["language"] = vicuna_tokenizer(locate(request.parts["language"]))
    if "qformer" in request.parts:
        tokenizers["qformer"] = load_tokenizer(locate(request.parts["qformer"]))
    names = {"language", "qformer"}
    return Processor(config, {n: tokenizers[n] for n in names}) if names <= tokenizers.keys() else None


def vicuna_tokenizer(folder: Path) -> Any:
    """Load Vicuna's tokenizer with `</s>` as begin, end and unknown token, and a `[PAD]`."""
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.add_special_tokens(dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>"))
    return tokenizer


def _improved(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Note files of the recipes `*_improved`, which were trained with cue and tokens twice (X5)."""
    names = [checkpoint.name for checkpoint in checkpoints if "improved" in checkpoint.name]
    return (
        [f"{', '.join(names)}: trained with cue and tokens twice, and used with one copy, as released"] if names else []
    )
