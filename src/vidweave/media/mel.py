"""Log-mel spectrograms, computed as Kaldi's filter banks (without dither)."""

# Axes: V windows, S samples, F frames, M mel bins, B frequency bins

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vidweave.errors import ShapeError
from vidweave.types import AudioSpec

__all__ = ["log_mel", "mel_banks"]

_LOW_HZ = 20.0
_PREEMPHASIS = 0.97
_FLOOR = torch.finfo(torch.float32).eps


def log_mel(windows: Tensor, spec: AudioSpec) -> Tensor:
    """(V, S) → (V, F, mel_bins): frames of `frame_seconds` every `hop_seconds`, only complete ones.

    Per frame: mean removed, pre-emphasis 0.97, Povey or Hann window, power spectrum, triangular mel filters, log.

    Raises:
        ShapeError: a window shorter than one frame.

    Source: Kaldi, `compute-fbank-feats` with its defaults and no dither.
    """
    size = round(spec.frame_seconds * spec.sample_rate)
    hop = round(spec.hop_seconds * spec.sample_rate)
    if windows.shape[-1] < size or hop < 1 or size < 2:
        raise ShapeError(f"a window of {windows.shape[-1]} samples holds no mel frame of {size} samples every {hop}")
    frames = windows.unfold(-1, size, hop)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    before = functional.pad(frames, (1, 0), mode="replicate")[..., :-1]
    frames = frames - _PREEMPHASIS * before
    frames = frames * torch.hann_window(size, periodic=False).pow(0.85 if spec.mel_window == "povey" else 1.0)
    padded = 1 << (size - 1).bit_length()
    power = torch.fft.rfft(frames, n=padded).abs().square()
    return (power[..., :-1] @ mel_banks(spec.mel_bins, padded, spec.sample_rate)).clamp(min=_FLOOR).log()


def mel_banks(num_bins: int, fft_size: int, sample_rate: int) -> Tensor:
    """Triangular filters (B, M), B = fft_size / 2, from 20 Hz to half the sample rate, even on the mel scale."""
    low, high = _mel(_LOW_HZ), _mel(sample_rate / 2)
    step = (high - low) / (num_bins + 1)
    left = low + step * torch.arange(num_bins)
    hertz = torch.arange(fft_size // 2, dtype=torch.float64) * sample_rate / fft_size
    mel = (1127.0 * (1.0 + hertz / 700.0).log()).unsqueeze(1)
    rising, falling = (mel - left) / step, (left + 2 * step - mel) / step
    return torch.minimum(rising, falling).clamp(min=0).float()


def _mel(hertz: float) -> float:
    return 1127.0 * math.log(1.0 + hertz / 700.0)
