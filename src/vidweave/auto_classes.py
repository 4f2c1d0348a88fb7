"""Make transformers' Auto classes and PEFT know vidweave's models, without importing either of them.

`import vidweave` loads no torch, so nothing can be registered there in the usual way. Instead an import hook adds our names
to their tables when these tables are first imported; the classes behind the names are imported when they are looked up.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # every command imports this file: `typing` and `importlib.abc` would cost it time
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["register"]

MODEL_TYPE = "vidweave"
CONFIG_CLASS, MODEL_CLASS = "VideoLanguageConfig", "VideoLanguageModel"
_CLASSES = {CONFIG_CLASS: "vidweave.model.config", MODEL_CLASS: "vidweave.model.assembly"}
# Query and value matrices of the language model, as PEFT itself chooses for its families
LORA_TARGETS = r"(.*\.)?language_model\..*\.(q_proj|v_proj|q|v|query_key_value|qkv_proj|c_attn)"


def register() -> None:
    """Register our model type with the tables that are imported already, and with the others once they are imported."""
    for name, add in _ADD.items():
        if name in sys.modules:
            add(sys.modules[name])
    if not any(isinstance(finder, _TableFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TableFinder())


class _Classes(type(sys)):
    """The module in which transformers looks for our classes; each is imported when it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in _CLASSES:
            return getattr(import_module(_CLASSES[name]), name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _add_config(table: ModuleType) -> None:
    name = f"transformers.models.{MODEL_TYPE}"
    sys.modules.setdefault(name, _Classes(name))
    table.CONFIG_MAPPING_NAMES[MODEL_TYPE] = CONFIG_CLASS


def _add_model(table: ModuleType) -> None:
    table.MODEL_MAPPING_NAMES[MODEL_TYPE] = MODEL_CLASS
    table.MODEL_MAPPING._reverse_config_mapping.setdefault(CONFIG_CLASS, MODEL_TYPE)  # where this table came first


def _add_lora_targets(table: ModuleType) -> None:
    table.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING[MODEL_TYPE] = LORA_TARGETS


_ADD: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _add_config,
    "transformers.models.auto.modeling_auto": _add_model,
    "peft.utils.constants": _add_lora_targets,
}


class _TableFinder:
    """Find the modules that hold a table as Python does, and register our names in them once they have run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        add = _ADD.get(fullname)
        spec = None if add is None else PathFinder.find_spec(fullname, path, target)
        if add is None or spec is None or spec.loader is None:
            return None
        spec.loader = _TableLoader(spec.loader, add)  # type: ignore[assignment]  # a loader by its methods
        return spec


class _TableLoader:
    def __init__(self, loader: Loader, add: Callable[[ModuleType], None]) -> None:
        self.loader, self.add = loader, add

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader  # from here on the module is as Python would have loaded it
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.add(module)
