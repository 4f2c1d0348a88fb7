"""Read a folder of a vision-language model that transformers wrote: configuration, weights, tokenizer, settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from vidweave.errors import CheckpointError
from vidweave.loading import quiet_loading
from vidweave.model.files import listed, weight_files
from vidweave.nn.config_guard import without_remote_code
from vidweave.nn.config_keys import refuse_code, refuse_dangerous
from vidweave.nn.config_source import config_of
from vidweave.pipelines.vlm.family import FamilyFiles, VlmFamily
from vidweave.registry import VLM_FAMILIES
from vidweave.storage.regular_files import read_json_mapping, require_regular_files
from vidweave.types import check_layers

__all__ = ["chat_template", "family_class", "read_config", "read_files", "read_model"]

_VIDEO_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
_IMAGE_FILES = ("preprocessor_config.json",)


def family_class(model_type: str, folder: Path) -> type[VlmFamily]:
    """The family registered for `model_type`, or the general one; raises CheckpointError if transformers lacks the type."""
    name = model_type if model_type in VLM_FAMILIES else "general"
    family: type[VlmFamily] = VLM_FAMILIES.get(name)
    if name != "general" and not hasattr(transformers, family.model_class):
        raise CheckpointError(
            f"{folder} holds a {model_type!r} model, which transformers {transformers.__version__} does not have; "
            "upgrade transformers"
        )
    if name == "general" and model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise CheckpointError(
            f"{folder} holds a {model_type!r} model, which is no vision-language model that transformers "
            f"{transformers.__version__} knows"
        )
    return family


def read_config(folder: Path) -> Any:
    """The configuration of a folder, as transformers' own class, after a look at what it would do.

    Raises:
        CheckpointError: one that can run code, looks models up on the hub, or cannot be read.
        ConfigError: too many layers.
    """
    require_regular_files(folder)
    where = f"the configuration of {str(folder)!r}"
    data = without_remote_code(config_of(folder), where)
    refuse_dangerous(data, where)
    check_layers(data, where)
    if (folder / "generation_config.json").is_file():
        refuse_code(read_json_mapping(folder / "generation_config.json"), "generation_config.json")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # every bad value comes wrapped in an error of transformers' own
        raise CheckpointError(f"{where} cannot be read: {' '.join(str(error).split())}") from error


def read_files(folder: Path) -> FamilyFiles:
    """Everything but the weights.

    Raises:
        CheckpointError: a file that is missing, hostile, or of another form; the message names it.
    """
    config = read_config(folder)
    processor = _read_if_there(folder / "processor_config.json")
    return FamilyFiles(
        folder,
        config,
        _tokenizer(folder),
        video=_settings(folder, processor, "video_processor", _VIDEO_FILES),
        image=_settings(folder, processor, "image_processor", _IMAGE_FILES),
        processor=processor,
    )


def _settings(folder: Path, processor: Mapping[str, Any], key: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Settings of the video or image processor: inside the processor's, or in a file of their own."""
    inside = processor.get(key)
    if isinstance(inside, Mapping):
        return inside
    for name in names:
        if (folder / name).is_file():
            return read_json_mapping(folder / name)
    if isinstance(processor.get("image_processor"), Mapping):  # saved by a program without torchvision
        return processor["image_processor"]
    raise CheckpointError(
        f"{folder} has no preprocessing settings ({', '.join(names)}); fetch the folder's files again"
    )


def _read_if_there(file: Path) -> Mapping[str, Any]:
    return read_json_mapping(file) if file.is_file() else {}


def _tokenizer(folder: Path) -> Any:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")):
        raise CheckpointError(f"{folder} has no tokenizer (tokenizer.json); fetch the folder's files again")
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"the tokenizer of {folder} cannot be read: {' '.join(str(error).split())}") from error


def chat_template(files: FamilyFiles) -> str:
    """The chat template of the processor, or of the tokenizer; empty if there is none."""
    folder = files.folder
    if not (folder / "chat_template.jinja").is_file():
        for settings in (_read_if_there(folder / "chat_template.json"), files.processor):
            if isinstance(settings.get("chat_template"), str):
                return settings["chat_template"]
    template = files.tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    return template or ""


def read_model(folder: Path, family: type[VlmFamily], config: Any, **options: Any) -> Any:
    """The model with its weights, from safetensors alone.

    Raises:
        CheckpointError: no safetensors file, or one whose tensors do not fit the model.
    """
    if any(file.suffix != ".safetensors" for file in weight_files(folder)):
        raise CheckpointError(
            f"{folder} has pickled weights only; vision-language models are read from safetensors: load the model with "
            "transformers, then save_pretrained"
        )
    cls: Any = getattr(transformers, family.model_class) if family.model_class else AutoModelForImageTextToText
    try:
        with quiet_loading():
            model, info = cls.from_pretrained(
                folder, config=config, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
            )
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise CheckpointError(f"the weights of {folder} cannot be read: {' '.join(str(error).split())}") from error
    problems = [listed(word, sorted(map(str, info.get(f"{word}_keys") or ()))) for word in ("missing", "mismatched")]
    if any(problems):
        raise CheckpointError(f"{folder} does not fit its model: " + "; ".join(filter(None, problems)))
    return model.eval()
