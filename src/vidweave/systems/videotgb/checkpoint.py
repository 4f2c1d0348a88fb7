"""Released files of VideoTGB as a model folder of ours: strict, weights only, tensor by tensor, with a report of all keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.conversion import Request, options_of
from vidweave.model.files import check_keys, locate
from vidweave.model.processor import Processor
from vidweave.model.sharded import write_sharded
from vidweave.selectors.bridge import Mode
from vidweave.systems.videotgb.preset import MotionSource, Pooling, videotgb_flan_t5_xl, videotgb_vicuna_7b
from vidweave.systems.videotgb.released import form_of, read_released, to_ours

__all__ = ["Conversion", "Settings", "convert", "convert_file"]


@dataclass(frozen=True)
class Conversion:
    """What became of a file.

    Attributes:
        files: Weight files that were written.
        loaded: Number of weights of the model, each from the file.
        merged: Weights that adapters were merged into.
        dropped: Keys of the file that hold no weight of ours → why.
    """

    files: tuple[Path, ...]
    loaded: int
    merged: tuple[str, ...]
    dropped: Mapping[str, str]

    def lines(self) -> list[str]:
        """For people: one line per finding."""
        lines = [f"{self.loaded} weights in {len(self.files)} file{'s' * (len(self.files) > 1)}"]
        lines += [f"merged adapters into {len(self.merged)} matrices"] if self.merged else []
        return lines + [f"left out {key}: {why}" for key, why in self.dropped.items()]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        files = [file.name for file in self.files]
        return {"files": files, "loaded": self.loaded, "merged": list(self.merged), "dropped": dict(self.dropped)}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the file does not say.

    Attributes:
        motion: Where motion comes from; the weights were trained on RAFT's.
        pooling: Of pictures; the released weights were trained with the mean.
        mode: Layers of the bridge that run; `multi_modal` is how the original evaluated the 7B model.
    """

    motion: MotionSource = "raft"
    pooling: Pooling = "mean"
    mode: Mode = "fusion"


def convert(request: Request) -> Conversion:
    """A released file as a folder of ours; parts `language` (a folder of the base model, with the Q-Former's tokenizer),
    `selector` (BERT's) and `qformer` bring the tokenizers. Without them the folder has no processor."""
    request.expect(parts=("language", "selector", "qformer"))
    form = form_of(read_released(request.file))
    preset = videotgb_vicuna_7b if form == "instructblip" else videotgb_flan_t5_xl
    config = preset(**asdict(options_of(Settings, request)))
    dtype = None if request.dtype is None else getattr(torch, request.dtype, None)
    if request.dtype is not None and not isinstance(dtype, torch.dtype):
        raise UnknownNameError("dtype", request.dtype, ["float32", "float16", "bfloat16"])
    return convert_file(request.file, request.out, config=config, tokenizers=_tokenizers(request, config), dtype=dtype)


def _tokenizers(request: Request, config: VideoLanguageConfig) -> dict[str, PreTrainedTokenizerBase] | None:
    if not request.parts:
        return None
    folders = {role: locate(source) for role, source in request.parts.items()}
    if "language" in folders and (folders["language"] / "qformer_tokenizer").is_dir():
        folders.setdefault("qformer", folders["language"] / "qformer_tokenizer")
    wanted = ["language", *(text.tokenizer for text in config.parse().text.values())]
    missing = [name for name in wanted if name not in folders]
    if missing:
        raise ConfigError(f"the tokenizers of {', '.join(missing)} are missing; give them as parts, or give no part")
    return {name: load_tokenizer(folders[name]) for name in dict.fromkeys(wanted)}


def convert_file(
    file: str | Path,
    out: str | Path,
    *,
    config: VideoLanguageConfig | None = None,
    tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = 5 << 30,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write `file` (`LSTP-7B.ckpt`, `LSTP-FlanT5xl.ckpt`; bare or a Lightning checkpoint) as the folder `out`.

    One tensor at a time is in memory, whatever the size of the file. Adapters on the language model are merged.

    Args:
        config: Of `preset.videotgb`; None is the paper's model that the file holds.
        tokenizers: `language`, `selector` (BERT's), and with InstructBLIP `qformer`; without them the folder can be
            loaded, but has no processor.
        dtype: Of the weights; None keeps float32.
        progress: Called with bytes done and bytes in all.

    Raises:
        CheckpointError: a file that is not VideoTGB's or would run code; missing, extra or mis-shaped keys (listed); an
            `out` that holds something.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise CheckpointError(f"{out} is not empty; give a new folder")
    state = read_released(file)
    if config is None:
        config = videotgb_vicuna_7b() if form_of(state) == "instructblip" else videotgb_flan_t5_xl()
    motion = config.parse().encoders["motion"]
    pooled = motion.pooling == "weighted"
    has_raft = any(spec.source == "pictures" for spec in motion.specs.values())
    released = to_ours(state, has_raft=has_raft, pooled=pooled, dtype=dtype)
    tensors: dict[str, Any] = dict(released.tensors)
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    tied = skeleton.all_tied_weights_keys
    check_keys(Path(file).name, skeleton.state_dict(), tensors, tied=tied)
    tensors = {key: value for key, value in tensors.items() if key not in tied}
    files = write_sharded(out, tensors, max_shard_bytes=max_shard_bytes, progress=progress)
    if dtype is not None:
        config.dtype = dtype
    config.save_pretrained(out)
    if tokenizers is not None:
        Processor(config, tokenizers).save_pretrained(out)
    dropped = {**released.dropped, **{key: f"the same as {tied[key]}" for key in released.tensors if key in tied}}
    return Conversion(tuple(files), len(tensors), released.merged, dropped)
