"""Converter of VideoTGB's released files to a model folder: strict, weights only, tensor by tensor, with a report of all keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.errors import ConfigError
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.conversion import KeyReport, Progress, Request, Source, options_of, read_released, write_model
from vidweave.model.files import locate
from vidweave.model.processor import Processor
from vidweave.model.released import Checkpoint
from vidweave.selectors.bridge import Mode
from vidweave.systems.videotgb.preset import MotionSource, Pooling, videotgb_flan_t5_xl, videotgb_vicuna_7b
from vidweave.systems.videotgb.released import check_roots, form_of, to_ours

__all__ = ["Settings", "convert", "convert_file"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that the file does not contain.

    Attributes:
        motion: Source of motion; the weights were trained on RAFT's.
        pooling: Pooling of frames; the released weights were trained with the mean.
        mode: Layers of the bridge that run; the original evaluated the 7B model with `multi_modal`.
    """

    motion: MotionSource = "raft"
    pooling: Pooling = "mean"
    mode: Mode = "fusion"


def convert(request: Request) -> KeyReport:
    """Convert a released file to a folder; the parts `language` (a folder of the base model, with the Q-Former's tokenizer),
    `selector` (BERT's) and `qformer` provide the tokenizers. Without them the folder has no processor."""
    request.expect(parts=("language", "selector", "qformer"))
    settings = options_of(Settings, request)
    checkpoint = _read(request)
    config = _preset(checkpoint)(**asdict(settings))
    return _write(request, checkpoint, config, tokenizers=_tokenizers(request, config), settings=settings)


def _read(request: Request) -> Checkpoint:
    checkpoint = read_released(request, "videotgb")
    check_roots(checkpoint)
    return checkpoint


def _preset(checkpoint: Checkpoint) -> Callable[..., VideoLanguageConfig]:
    return videotgb_vicuna_7b if form_of(checkpoint.state) == "instructblip" else videotgb_flan_t5_xl


def _tokenizers(request: Request, config: VideoLanguageConfig) -> dict[str, PreTrainedTokenizerBase] | None:
    if not request.parts:
        return None
    folders = {role: locate(source) for role, source in request.parts.items()}
    if "language" in folders and (folders["language"] / "qformer_tokenizer").is_dir():
        folders.setdefault("qformer", folders["language"] / "qformer_tokenizer")
    names = ["language", *(text.tokenizer for text in config.parse().text.values())]
    missing = [name for name in names if name not in folders]
    if missing:
        raise ConfigError(f"the tokenizers of {', '.join(missing)} are missing; give them as parts, or give no part")
    return {name: load_tokenizer(folders[name]) for name in dict.fromkeys(names)}


def convert_file(
    file: str | Path,
    out: str | Path,
    *,
    config: VideoLanguageConfig | None = None,
    tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
    dtype: str | None = None,
    max_shard_bytes: int = 5 << 30,
    progress: Progress | None = None,
) -> KeyReport:
    """Convert `file` (`LSTP-7B.ckpt`, `LSTP-FlanT5xl.ckpt`; bare or a Lightning checkpoint) to the folder `out`.

    Only one tensor at a time is in memory, for any size of the file. Adapters of the language model are merged.

    Args:
        config: A configuration of `preset.videotgb`; default is the paper's model of the file.
        tokenizers: `language`, `selector` (BERT's), and with InstructBLIP `qformer`; without them the folder can be
            loaded, but has no processor.
        dtype: Type of the weights; None keeps float32.
        progress: Called with the current step, bytes done, and total bytes.

    Raises:
        CheckpointError: a file that is not VideoTGB's or would run code; missing, extra or mis-shaped keys (listed); an
            `out` that is not empty.
    """
    request = Request(file=Path(file), out=Path(out), dtype=dtype, layout="videotgb", progress=progress)
    request.expect()
    checkpoint = _read(request)
    config = _preset(checkpoint)() if config is None else config
    return _write(request, checkpoint, config, tokenizers=tokenizers, max_shard_bytes=max_shard_bytes)


def _write(
    request: Request,
    checkpoint: Checkpoint,
    config: VideoLanguageConfig,
    *,
    tokenizers: Mapping[str, PreTrainedTokenizerBase] | None,
    **arguments: Any,
) -> KeyReport:
    motion = config.parse().encoders["motion"]
    assert isinstance(motion, MotionEncoderConfig)  # of the preset
    has_raft = any(spec.source == "pictures" for spec in motion.specs.values())
    released = to_ours(checkpoint.state, has_raft=has_raft, pooled=motion.pooling == "weighted")
    merged = len(released.merged)
    notes = [f"merged adapters into {merged} matrices"] if merged else []
    source = Source.of(checkpoint, released.tensors, released.dropped)
    processor = None if tokenizers is None else Processor(config, tokenizers)
    return write_model(request, config, source, processor=processor, notes=notes, **arguments)
