"""LoRA adapters of a language model as a folder in PEFT's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.adapters import add_lora
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.files import read_json
from vidweave.model.swap import replaced
from vidweave.nn.tensor_files import save_tensors

__all__ = ["load_adapter", "write_adapter"]

_PREFIX = "base_model.model."
_ADAPTER = ".default."  # PEFT names an adapter within the module, and leaves the name out of files
_ROOT = "language_model."


def write_adapter(model: VideoLanguageModel, folder: str | Path, *, base: str = "") -> None:
    """Write the adapters as `load_adapter`, and ``PeftModel.from_pretrained(pipe.model, folder)``, read them.

    Args:
        base: Name of the model that they belong to.

    Raises:
        ConfigError: the language model has no adapters.
        CheckpointError: the disk is full; the folder is then as it was.
    """
    spec = model.language_model.config.lora
    if spec is None:
        raise ConfigError("the language model has no LoRA adapters to write")
    state = {
        _PREFIX + name.replace(_ADAPTER, "."): tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if ".lora_" in name
    }
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if model.language_model.config.kind == "causal" else "SEQ_2_SEQ_LM",
        "base_model_name_or_path": base,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "target_modules": rf"{_ROOT}.*\.({'|'.join(spec.targets)})".replace(_ROOT, r"language_model\."),
        "inference_mode": True,
        "bias": "none",
    }
    with replaced(Path(folder)) as staging:
        save_tensors(staging / "adapter_model.safetensors", state, {"format": "pt"})
        (staging / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapter(model: VideoLanguageModel, folder: str | Path) -> None:
    """Put the adapters of a folder on the language model, in place.

    Raises:
        CheckpointError: not a folder of a LoRA adapter, or one of another model; keys are listed.
        ConfigError: the language model has adapters already.
    """
    folder = Path(folder)
    if not (folder / "adapter_config.json").is_file():
        raise CheckpointError(f"{folder} is not a folder with an adapter; give the one that holds adapter_config.json")
    config = read_json(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise CheckpointError(f"{folder} holds a {config.get('peft_type')!r} adapter; vidweave reads LORA")
    state = _read(folder)
    targets = sorted({name.split(".lora_")[0].rpartition(".")[2] for name in state})
    settings: dict[str, Any] = {"rank": config.get("r"), "alpha": config.get("lora_alpha")}
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise CheckpointError(f"{folder}/adapter_config.json has no usable {name}, got {value!r}")
    add_lora(model.language_model, dropout=float(config.get("lora_dropout") or 0.0), targets=targets, **settings)
    own = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" in name}
    renamed = {name.replace(_ADAPTER, "."): name for name in own}
    differing = sorted(renamed.keys() ^ state.keys())
    if differing:
        raise CheckpointError(
            f"the adapter in {folder} belongs to another model: {', '.join(differing[:4])} do not match"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            target = own[renamed[name]]
            if target.shape != tensor.shape:
                raise CheckpointError(
                    f"{name} of the adapter in {folder} is {tuple(tensor.shape)}, the model needs {tuple(target.shape)}"
                )
            target.copy_(tensor)


def _read(folder: Path) -> dict[str, torch.Tensor]:
    try:
        state = load_file(folder / "adapter_model.safetensors")
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{folder}/adapter_model.safetensors cannot be read ({error}); save it again") from error
    return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
