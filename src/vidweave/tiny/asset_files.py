"""Asset files written by recipes: weights in half precision, and metadata about the training run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidweave.nn.tensor_files import save_tensors
from vidweave.types import EncoderConfig

__all__ = ["write_encoder", "write_facts", "write_language_model", "write_weights"]


def write_weights(file: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors by name in half precision; create the folder if needed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.detach().half().contiguous() for name, tensor in state.items()}
    save_tensors(file, halves, {"format": "pt"})


def write_encoder(folder: Path, name: str, encoder: Any, config: EncoderConfig) -> None:
    """Write a single encoder for `vidweave compose --encoder FOLDER`: its weights and configuration.

    Args:
        name: Name of the encoder in a model, and so of its stream.
    """
    write_weights(folder / "model.safetensors", encoder.state_dict())
    data = {"model_type": "vidweave_encoder", "name": name, "encoder": config.to_dict()}
    (folder / "config.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_language_model(folder: Path, language: Any, tokenizer: Any) -> None:
    """Write a language model (`language.causal` or `language.seq2seq`) as a folder for transformers: weights without tied
    duplicates, configuration, tokenizer."""
    tied = {f"model.{name}" for name in getattr(language.model, "all_tied_weights_keys", {})}
    untied = {name: tensor for name, tensor in language.state_dict().items() if name not in tied}
    write_weights(folder / "model.safetensors", untied)
    language.model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_facts(file: Path, recipe: str | Path, out: Path, facts: Mapping[str, Any]) -> None:
    """Write the metadata of an asset: the recipe, the hash of its run in `out`, its commit, and `facts`.

    Args:
        file: ``asset.json`` beside the weights; its folder is created if needed.
        recipe: The file of the recipe (``__file__``), named by its last three parts; the commit is that of its
            repository, `unknown` outside of one.
        out: Folder of the run, with its ``run.json``.
        facts: Settings and results.
    """
    path = Path(recipe).resolve()
    run = {"recipe": "/".join(path.parts[-3:]), "run": json.loads((out / "run.json").read_text())["hash"]}
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**run, "commit": _commit(path.parent), **facts}, indent=2)
    file.write_text(text + "\n", encoding="utf-8")


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"  # no git on this machine
    return done.stdout.strip() or "unknown"
