"""Write a vision-language model as transformers does, with the files of its tokenizer and preprocessing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

__all__ = ["save_folder"]

# Written by the model itself, or about weights that are written anew
_OF_THE_MODEL = ("config.json", "generation_config.json", "model.safetensors.index.json")
_KEPT = (".json", ".jinja", ".txt", ".model")


def save_folder(model: Any, source: Path, folder: Path, **options: Any) -> None:
    """Save `model` into `folder` and copy the tokenizer's and processor's files of `source` beside it, unchanged."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, **options)
    if folder.resolve() == source.resolve():
        return
    for file in sorted(source.iterdir()):
        if file.is_dir() and (file / "tokenizer_config.json").is_file():  # a second tokenizer, e.g. of a Q-Former
            shutil.copytree(file, folder / file.name, dirs_exist_ok=True)
        elif file.suffix in _KEPT and file.name not in _OF_THE_MODEL:
            shutil.copyfile(file, folder / file.name)
