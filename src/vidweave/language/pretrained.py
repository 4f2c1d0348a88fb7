"""transformers configurations from plain dicts by allow-list, and models built from them, without remote code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import CONFIG_MAPPING, GenerationConfig, PreTrainedConfig

from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.lora import LoraSpec, attach_lora
from vidweave.nn.config_guard import checked_config, class_config, without_remote_code
from vidweave.nn.config_keys import refuse_dangerous
from vidweave.nn.config_source import config_of, source_file
from vidweave.nn.numbers import require_finite
from vidweave.storage.regular_files import read_json_mapping
from vidweave.types import ComponentConfig

__all__ = [
    "PretrainedConfig",
    "PretrainedLanguageModel",
    "build_model",
    "finite_logits",
    "source_config",
    "transformers_config",
    "with_end_tokens",
]


@dataclass(frozen=True, kw_only=True)
class PretrainedConfig(ComponentConfig):
    """Configuration of a language model of transformers.

    Attributes:
        config: transformers' own configuration with `model_type`, as in `to_dict()` or a config.json. Only keys that
            the model's class reads are kept; unknown or dangerous ones are errors.
        lora: Adapters on the model, see `adapters.add_lora`; None: the plain model.
    """

    family: ClassVar[frozenset[str]] = frozenset()
    what: ClassVar[str] = ""
    config: dict[str, Any]
    lora: LoraSpec | None = None

    def __post_init__(self) -> None:
        where = f"the configuration of a {self.what} language model"
        refuse_dangerous(self.config, where)
        cls = _family_class(self.config, self.family, self.what, where)
        object.__setattr__(self, "config", checked_config(self.config, cls, where))
        self.transformers_config()

    def transformers_config(self) -> PreTrainedConfig:
        """Return the checked configuration as transformers' class, with defaults filled in; a fresh one at each call."""
        return transformers_config(self.config, self.family, self.what)

    @property
    def width(self) -> int:
        """D, of the embeddings."""
        text = self.transformers_config().get_text_config()
        return int(getattr(text, "word_embed_proj_dim", None) or text.hidden_size)


def _family_class(data: Mapping[str, Any], family: Iterable[str], what: str, where: str) -> type[PreTrainedConfig]:
    model_type, family = data.get("model_type"), set(family)
    if not isinstance(model_type, str) or model_type not in family or model_type not in CONFIG_MAPPING:
        near = get_close_matches(str(model_type), sorted(family), n=3, cutoff=0.5)
        advice = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ConfigError(f"{where} needs a model_type that is {what}, got {model_type!r}{advice}")
    return CONFIG_MAPPING[model_type]


def transformers_config(data: Mapping[str, Any], family: Iterable[str], what: str) -> PreTrainedConfig:
    """Build a transformers configuration from a plain dict.

    Args:
        data: Content of a config.json or `to_dict()`, with `model_type`; harmless unknown keys are dropped.
        family: Supported model types.
        what: Description of the family, for messages.

    Raises:
        CheckpointError: a key that can run remote code.
        ConfigError: a model type outside `family`, keys that the model does not have, or an invalid value.
    """
    where = f"the configuration of a {what} language model"
    refuse_dangerous(data, where)
    cls = _family_class(data, family, what, where)
    return class_config(checked_config(data, cls, where), cls, where)


def build_model(auto_class: Any, config: PreTrainedConfig) -> nn.Module:
    """Build a model with fresh weights, and a neutral generation config, so that only requested options take effect."""
    model = auto_class.from_config(config, trust_remote_code=False)
    _neutral_generation(model)
    return model


class PretrainedLanguageModel(nn.Module):
    """Facts about a wrapped language model; its weights are stored under `model.`."""

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
        """Maximum sequence length (of the prompt, for an encoder-decoder); None: unbounded (relative positions)."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Token ids at which generation stops."""
        return _ids(self.model.generation_config.eos_token_id)

    def require_end(self, token: int | None, where: str) -> None:
        """Raise ConfigError unless generation stops at `token`, which `where` uses as the end of an answer."""
        if token not in self.end_tokens:
            stops = ", ".join(map(str, self.end_tokens)) or "none"
            raise ConfigError(
                f"{where} ends answers with token {token}, at which the language model does not stop (it stops at "
                f"{stops}); add the token to eos_token_id in the language model's configuration, or end answers otherwise"
            )

    def embed(self, ids: Tensor) -> Tensor:
        """Embed token ids (…) → (…, D), as for prompts."""
        return self.model.get_input_embeddings()(ids)


def finite_logits(logits: Tensor) -> Tensor:
    """Return `logits`; raise NonFiniteError if one is NaN or infinite."""
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
    """Read the configuration of a folder or hub id as the dict for `PretrainedConfig.config`.

    Only the description of the architecture is kept; generation settings and remarks in the file are dropped.
    """
    where = f"the configuration of {source!r}"
    raw = without_remote_code(config_of(source, revision), where)
    refuse_dangerous(raw, where)
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise CheckpointError(f"{source!r} is of model type {model_type!r}, which transformers does not have")
    config = checked_config(raw, CONFIG_MAPPING[model_type], where, unknown="drop")
    return with_end_tokens(config, source, revision)


def with_end_tokens(config: dict[str, Any], source: str | Path, revision: str | None = None) -> dict[str, Any]:
    """Add the end tokens of the source's generation_config.json, if it has one, to `eos_token_id` of `config`.

    Chat models often name the token that ends a turn only there (Llama 3). Our models read end tokens only from the
    result: an int, or a list if there are several.

    Raises:
        CheckpointError: a file that cannot be read, or end tokens that are not token ids.
    """
    file = source_file(source, "generation_config.json", revision)
    if file is None:
        return config
    try:
        result = read_json_mapping(file).get("eos_token_id")
        ends = tuple(dict.fromkeys((*_ids(config.get("eos_token_id")), *_ids(result))))
    except (CheckpointError, TypeError) as error:
        raise CheckpointError(f"cannot read generation_config.json of {str(source)!r}: {error}") from error
    return {**config, "eos_token_id": ends[0] if len(ends) == 1 else list(ends)} if ends else config


def _ids(value: Any) -> tuple[int, ...]:
    """Return the token ids of a configuration entry: None, one, or several."""
    ids = (() if value is None else (value,)) if not isinstance(value, (list, tuple)) else tuple(value)
    if any(not isinstance(i, int) or isinstance(i, bool) for i in ids):
        raise TypeError(f"eos_token_id must be a token id or a list of them, got {value!r}")
    return ids
