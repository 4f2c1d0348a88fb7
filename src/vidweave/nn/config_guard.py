"""The one guard for transformers' configurations: what is dangerous is refused, what is harmless is dropped, in one note."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

from transformers import CONFIG_MAPPING, PreTrainedConfig

from vidweave.errors import ConfigError
from vidweave.nn.config_keys import ABOUT_THE_FILE, HARMLESS, known_keys, nested_class, nested_classes, refuse_dangerous
from vidweave.types import check_layers

__all__ = ["checked_config", "class_config", "without_remote_code"]

_log = logging.getLogger(__name__)


def checked_config(
    data: Mapping[str, Any], cls: type[PreTrainedConfig], where: str, *, unknown: Literal["refuse", "drop"] = "refuse"
) -> dict[str, Any]:
    """Keep of `data` what a configuration class reads, nested configurations included.

    Args:
        data: What a config.json or `to_dict()` holds.
        where: Whose configuration it is, for messages.
        unknown: What to do with keys that nobody knows. A file may hold any, and transformers ignores them; in a
            dictionary that a person wrote they are mistakes.

    Raises:
        CheckpointError: a key that can run code, look a model up on the hub, or means quantized weights.
        ConfigError: keys that the class does not read (all of them are named), or too many layers.
    """
    refuse_dangerous(data, where)
    check_layers(dict(data), where)
    dropped: list[str] = []
    strange: dict[str, str] = {}
    kept = _keep(data, cls, "", dropped, strange)
    if strange and unknown == "refuse":
        raise ConfigError(_strange_keys(strange, f"{where} ({data.get('model_type', cls.model_type)})"))
    dropped += strange
    if dropped:
        _log.info("%s: left out %s, on which no weight depends", where, ", ".join(dropped))
    return kept


def _keep(
    data: Mapping[str, Any],
    cls: type[PreTrainedConfig],
    path: str,
    dropped: list[str],
    strange: dict[str, str],
) -> dict[str, Any]:
    known, nested, kept = known_keys(cls), nested_classes(cls), {}
    for key, value in data.items():
        if key == "model_type":
            kept[key] = value
        elif key in ABOUT_THE_FILE or (value is None and key not in known):
            continue
        elif key in nested and isinstance(value, Mapping):
            inner = nested_class(cls, key, value)
            if inner is None:
                raise ConfigError(
                    f"{path}{key} is of model type {value.get('model_type')!r}, which transformers does not have"
                )
            kept[key] = _keep(value, inner, f"{path}{key}.", dropped, strange)
        elif key == "per_layer_config" and isinstance(value, Mapping):
            kept[key] = {
                layer: _keep(dict(changes), cls, f"{path}{key}.{layer}.", dropped, strange)
                for layer, changes in value.items()
            }
        elif key in known:
            kept[key] = value
        elif key in HARMLESS or "_implementation" in key or value is None or value is False:
            dropped.append(path + key)
        else:
            near = get_close_matches(str(key), sorted(known), n=3, cutoff=0.5)
            strange[f"{path}{key}"] = " or ".join(map(repr, near))
    return kept


def _strange_keys(strange: Mapping[str, str], where: str) -> str:
    if len(strange) == 1:
        ((key, near),) = strange.items()
        return f"{where} has no field {key!r}; {f'did you mean {near}?' if near else 'remove it'}"
    listed = ", ".join(f"{key!r}" + (f" (did you mean {near}?)" if near else "") for key, near in strange.items())
    return f"{where} has no fields {listed}; correct or remove them"


def without_remote_code(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Drop `auto_map` from a file's configuration whose family transformers has itself; note it in the log.

    Folders of families that began as remote code (Phi-3) still name that code. The family's own class is built from the
    configuration's fields, so the code is never looked at; any other family's `auto_map` stays, and is refused later.
    """
    model_type = data.get("model_type")
    if "auto_map" not in data or not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return dict(data)
    _log.info("%s: left out auto_map; transformers has its own class for %r", where, model_type)
    return {key: value for key, value in data.items() if key != "auto_map"}


def class_config(data: Mapping[str, Any], cls: type[PreTrainedConfig], where: str) -> PreTrainedConfig:
    """Checked data as transformers' own class, which fills in its defaults; raises ConfigError where a value is wrong."""
    try:
        return cls(**{key: value for key, value in data.items() if key != "model_type"})
    except Exception as error:  # every bad value comes wrapped in an error of transformers' own
        kind = data.get("model_type", cls.model_type)
        raise ConfigError(f"{where} ({kind}) is wrong: {' '.join(str(error).split())}") from error
