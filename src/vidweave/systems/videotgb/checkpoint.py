"""Released files of VideoTGB as a model folder of ours: strict, weights only, tensor by tensor, with a report of all keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from vidweave.encoders.raft import RaftEncoderConfig
from vidweave.errors import CheckpointError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import check_keys
from vidweave.model.processor import Processor
from vidweave.model.sharded import write_sharded
from vidweave.systems.videotgb.preset import videotgb_flan_t5_xl, videotgb_vicuna_7b
from vidweave.systems.videotgb.released import form_of, read_released, to_ours

__all__ = ["Conversion", "convert"]


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


def convert(
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
    released = to_ours(state, has_raft=isinstance(motion, RaftEncoderConfig), pooled=pooled, dtype=dtype)
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
    report = Conversion(tuple(files), len(tensors), released.merged, dropped)
    told = {"source": Path(file).name, "merged": list(report.merged), "dropped": dict(report.dropped)}
    (out / "conversion.json").write_text(json.dumps(told, indent=2) + "\n")
    return report
