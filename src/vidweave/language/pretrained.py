"""transformers configurations from plain dicts by allow-list, and models from them, without code from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import CONFIG_MAPPING, GenerationConfig, PreTrainedConfig
from transformers.utils.hub import cached_file

from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.lora import LoraSpec, attach_lora
from vidweave.nn.numbers import require_finite
from vidweave.types import ComponentConfig, check_layers

__all__ = [
    "PretrainedConfig",
    "PretrainedLanguageModel",
    "build_model",
    "finite_logits",
    "source_config",
    "transformers_config",
    "with_end_tokens",
]

# What a config.json says about its own file; the weights' dtype is chosen by whoever builds the model.
METADATA = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
# Fields that transformers reads although no config class declares them.
UNDECLARED = {"decoder_start_token_id", "forced_eos_token_id", "rope_scaling", "rope_theta", "tie_word_embeddings"}
UNDECLARED_T5 = {"dense_act_fn", "is_gated_act", "scale_decoder_outputs"}


@dataclass(frozen=True, kw_only=True)
class PretrainedConfig(ComponentConfig):
    """A language model of transformers.

    Attributes:
        config: transformers' own configuration, with `model_type`; keys outside an allow-list are refused.
        lora: Adapters on the model, see `adapters.add_lora`; None: the plain model.
    """

    config: dict[str, Any]
    lora: LoraSpec | None = None


def _refuse_hostile(data: Any, where: str) -> None:
    """Keys that have made transformers run downloaded code (CVE-2026-4372, CVE-2026-5241), at any depth."""
    if isinstance(data, (list, tuple)):
        for item in data:
            _refuse_hostile(item, where)
    if not isinstance(data, Mapping):
        return
    for key, value in data.items():
        if key in ("auto_map", "trust_remote_code", "custom_generate") or "_attn_implementation" in str(key):
            raise CheckpointError(
                f"{where} holds {key!r}, which can run code from elsewhere; remove it to load the rest"
            )
        _refuse_hostile(value, where)


def _advise(name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "remove it"


def _known_fields(model_type: str) -> set[str]:
    cls = CONFIG_MAPPING[model_type]
    known = {f.name for f in fields(cls)} | set(cls.attribute_map) | UNDECLARED  # type: ignore[arg-type]
    return known | UNDECLARED_T5 if "t5" in model_type else known


def transformers_config(data: Mapping[str, Any], family: Iterable[str], what: str) -> PreTrainedConfig:
    """Make a transformers configuration from a plain dict.

    Args:
        data: What a config.json holds; `model_type` is needed, metadata of the file is dropped.
        family: Model types that are possible.
        what: The family in words, for messages.

    Raises:
        CheckpointError: a key that can run code from elsewhere.
        ConfigError: a model type outside `family`, a key that the model does not have, a value that does not fit.
    """
    where = f"the configuration of a {what} language model"
    _refuse_hostile(data, where)
    check_layers(dict(data), where)
    model_type = data.get("model_type")
    if not isinstance(model_type, str) or model_type not in set(family) or model_type not in CONFIG_MAPPING:
        raise ConfigError(
            f"{where} needs a model_type that is {what}, got {model_type!r}; {_advise(str(model_type), set(family))}"
        )
    cls, known = CONFIG_MAPPING[model_type], _known_fields(model_type)
    given = {key: value for key, value in data.items() if key != "model_type" and key not in METADATA}
    for key in given:
        if key not in known:
            raise ConfigError(f"{where} ({model_type}) has no field {key!r}; {_advise(key, known)}")
    try:
        return cls(**given)
    except Exception as error:  # every bad value comes wrapped in an error of transformers' own
        raise ConfigError(f"{where} ({model_type}) is wrong: {' '.join(str(error).split())}") from error


def build_model(auto_class: Any, config: PreTrainedConfig) -> nn.Module:
    """Fresh weights for `config`, and a neutral generation config, so that only what is asked for takes effect."""
    model = auto_class.from_config(config, trust_remote_code=False)
    _neutral_generation(model)
    return model


class PretrainedLanguageModel(nn.Module):
    """What every wrapped language model says about itself; its weights stand under `model.`."""

    def __init__(self, config: PretrainedConfig, model: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.model: Any = model
        if config.lora is not None:
            attach_lora(model, config.lora)

    @property
    def width(self) -> int:
        """D, of the embeddings."""
        return self.model.get_input_embeddings().weight.shape[1]

    @property
    def max_positions(self) -> int | None:
        """Longest sequence it was made for (a prompt, where an encoder reads); None: no bound (relative positions)."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Token ids at which generation stops."""
        return _ids(self.model.generation_config.eos_token_id)

    def require_end(self, token: int | None, where: str) -> None:
        """Raise ConfigError unless generation stops at `token`, which `where` teaches as the end of an answer."""
        if token not in self.end_tokens:
            stops = ", ".join(map(str, self.end_tokens)) or "none"
            raise ConfigError(
                f"{where} ends answers with token {token}, at which the language model does not stop (it stops at "
                f"{stops}); add the token to eos_token_id in the language model's configuration, or end answers otherwise"
            )

    def embed(self, ids: Tensor) -> Tensor:
        """(…) token ids → (…, D), as prompts are read."""
        return self.model.get_input_embeddings()(ids)


def finite_logits(logits: Tensor) -> Tensor:
    """`logits`, or NonFiniteError where one is NaN or infinite."""
    require_finite("logits of the language model", {"": (logits, None)})
    return logits


def _neutral_generation(model: Any) -> None:
    old, config = model.generation_config, model.config
    ids = {
        name: next((v for c in (old, config) if (v := getattr(c, name, None)) is not None), None)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    }
    model.generation_config = GenerationConfig(**ids)


def source_config(source: str, revision: str | None = None) -> dict[str, Any]:
    """The configuration of a folder or hub id as the dict that `PretrainedConfig.config` wants.

    Only what describes the architecture is taken; generation settings and remarks of the file are left behind.
    """
    try:
        raw, _ = PreTrainedConfig.get_config_dict(source, revision=revision, local_files_only=Path(source).is_dir())
    except OSError as error:
        raise CheckpointError(f"cannot read the configuration of {source!r}: {error}") from error
    _refuse_hostile(raw, f"the configuration of {source!r}")
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise CheckpointError(f"{source!r} is of model type {model_type!r}, which transformers does not have")
    kept = _known_fields(model_type) - METADATA
    config = {key: value for key, value in raw.items() if key == "model_type" or key in kept}
    return with_end_tokens(config, source, revision)


def with_end_tokens(config: dict[str, Any], source: str | Path, revision: str | None = None) -> dict[str, Any]:
    """`config` whose `eos_token_id` also names the end tokens of the source's generation_config.json, if it has one.

    Chat models often name the token that ends a turn there alone (Llama 3). The result is the one place where our
    models look: an int, or a list if there are several.

    Raises:
        CheckpointError: a file that cannot be read, or end tokens that are no token ids.
    """
    file = cached_file(
        str(source),
        "generation_config.json",
        revision=revision,
        local_files_only=Path(source).is_dir(),
        _raise_exceptions_for_missing_entries=False,
    )
    if file is None:
        return config
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8")).get("eos_token_id")
        ends = tuple(dict.fromkeys((*_ids(config.get("eos_token_id")), *_ids(found))))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"cannot read generation_config.json of {str(source)!r}: {error}") from error
    return {**config, "eos_token_id": ends[0] if len(ends) == 1 else list(ends)} if ends else config


def _ids(value: Any) -> tuple[int, ...]:
    """Token ids of a configuration: None, one, or several."""
    ids = (() if value is None else (value,)) if not isinstance(value, (list, tuple)) else tuple(value)
    if any(not isinstance(i, int) or isinstance(i, bool) for i in ids):
        raise TypeError(f"eos_token_id must be a token id or a list of them, got {value!r}")
    return ids
