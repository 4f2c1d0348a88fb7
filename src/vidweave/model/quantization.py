"""Quantization at load: transformers' configurations, applied to the language model alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from vidweave.errors import ConfigError, MissingExtraError

__all__ = ["quantizing"]

# Slots that are not quantized, and the language model's output layer, which every method skips
_SKIPPED = ("selector", "encoders", "connector", "lm_head", "embed_out", "output_layer")
_SKIP_FIELDS = ("modules_to_not_convert", "llm_int8_skip_modules")


@contextmanager
def quantizing(arguments: dict[str, Any]) -> Iterator[None]:
    """Limit the `quantization_config` among the arguments of `from_pretrained` to the language model.

    Raises:
        ConfigError: a method that cannot leave parts of a model alone, or that this machine cannot run.
        MissingExtraError: the library of the method is not installed.
    """
    given = arguments.get("quantization_config")
    if given is None:
        yield
        return
    try:
        arguments["quantization_config"] = _for_language_model(given)
        yield
    except ImportError as error:
        raise MissingExtraError(_missing(given), "quantization", "this quantization_config") from error


def _for_language_model(given: Any) -> Any:
    from transformers.quantizers.auto import AutoQuantizationConfig

    try:
        config = AutoQuantizationConfig.from_dict(dict(given)) if isinstance(given, dict) else copy.deepcopy(given)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"quantization_config {given!r} is not known to transformers: {error}") from error
    field = next((name for name in _SKIP_FIELDS if hasattr(config, name)), None)
    if field is None:
        raise ConfigError(
            f"quantization by {type(config).__name__} cannot leave the encoders and the connector as they are; use "
            "TorchAoConfig or BitsAndBytesConfig"
        )
    setattr(config, field, [*(getattr(config, field) or ()), *_SKIPPED])
    return config


def _missing(given: Any) -> str:
    """The missing library of a method: its own, or accelerate, which some methods need too."""
    method = given.get("quant_method") if isinstance(given, dict) else getattr(given, "quant_method", None)
    library = str(getattr(method, "value", method))
    return "accelerate" if find_spec(library) is not None else library
