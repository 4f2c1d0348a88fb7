"""Recorded outputs of original code: found by pattern, never by name; a pattern that finds nothing is an error."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(os.environ.get("VIDWEAVE_GOLDEN_DIR", Path(__file__).parents[1] / "golden"))


def golden_folder(system: str) -> Path:
    """The folder of one system: below the golden root, or the root itself if it holds files."""
    return ROOT / system if (ROOT / system).is_dir() else ROOT


def golden_files(system: str, pattern: str) -> list[Path]:
    """All files of a system that fit; FileNotFoundError if there are none, so that no test passes on nothing."""
    files = sorted(golden_folder(system).glob(pattern))
    if not files:
        raise FileNotFoundError(f"no golden file fits {pattern!r} in {golden_folder(system)}")
    return files


def load(file: Path) -> dict[str, Tensor]:
    return load_file(file)


def load_only(system: str, pattern: str) -> dict[str, Tensor]:
    """The one file that fits."""
    (file,) = golden_files(system, pattern)
    return load(file)


def cases(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """`case.name` tensors, by case."""
    result: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        case, _, name = key.partition(".")
        result.setdefault(case, {})[name] = value
    return result


def close(got: Tensor, expected: Tensor, atol: float, rtol: float = 0.0) -> None:
    torch.testing.assert_close(got.to(expected.dtype), expected, atol=atol, rtol=rtol)


class WordsOfNumbers:
    """A tokenizer whose words are their own ids."""

    def __init__(self, special: int) -> None:
        self.bos_token_id = self.eos_token_id = special
        self.all_special_tokens = []

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}
