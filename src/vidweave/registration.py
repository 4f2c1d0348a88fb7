"""Registries: names → lazily imported objects with typed facts, from this package, user code, or plug-ins.

A registry maps a name to an import path ``"package.module:attribute"`` that is imported on first use, so that listing
names needs no imports. Duplicates raise; unknown names list similar names.

A plug-in is an installed package with entry points in the group of a registry, e.g. ``vidweave.datasets``. An entry
point ``name = "package.module:attribute"`` registers that object under that name; ``name = "package.module"`` imports the
module, which calls ``DATASETS.register`` itself and can give facts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache, reduce
from importlib import import_module
from typing import Any, Generic, Literal, TypeVar

from vidweave.errors import ConfigError, UnknownNameError

__all__ = [
    "ConverterFacts",
    "DatasetFacts",
    "Entry",
    "Facts",
    "FormatFacts",
    "FrameSelectorFacts",
    "ModalityFacts",
    "ModelFacts",
    "PanelFacts",
    "Registry",
    "import_object",
]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a registered name; all fields have defaults.

    Attributes:
        summary: One line for listings.
    """

    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Facts):
    """Facts about a model.

    Attributes:
        weights: Shipped asset, folder or hub id of the weights; empty if they must be converted first.
        get: How to obtain weights, where `weights` is empty.
        loader: Import path of a function(folder, configuration, …) → model, for weights in another model's folder.
    """

    weights: str = ""
    get: str = "register it with weights=FOLDER, or load a folder"
    loader: str = ""


@dataclass(frozen=True, kw_only=True)
class FormatFacts(Facts):
    """Facts about a checkpoint format, as import paths.

    Attributes:
        config: A function(folder) → the model's configuration alone.
        open: A function(folder) → configuration, lazily read weights, processor.
    """

    config: str = ""
    open: str = ""


@dataclass(frozen=True, kw_only=True)
class FrameSelectorFacts(Facts):
    """Facts about a frame selector.

    Attributes:
        needs_model: Whether it takes the folder or hub id of a model, as in `NAME:MODEL`.
    """

    needs_model: bool = False


@dataclass(frozen=True, kw_only=True)
class ConverterFacts(Facts):
    """Facts about a checkpoint layout.

    Attributes:
        base: The base model of a converted file; empty if none is needed.
        parts: Roles of further files.
        options: Names of settings.
        marks: Pattern of tensor names that occur only in files of this layout.
    """

    base: str = ""
    parts: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    marks: str = ""


@dataclass(frozen=True, kw_only=True)
class PanelFacts(Facts):
    """Facts about a report panel.

    Attributes:
        title: Heading of the panel; empty shows the name.
    """

    title: str = ""


@dataclass(frozen=True, kw_only=True)
class ModalityFacts(Facts):
    """Facts about a modality.

    Attributes:
        carrier: Form of raw values: `frames`, `waveform`, `points`, or a name in `registry.CARRIERS`.
    """

    carrier: str = "frames"


@dataclass(frozen=True, kw_only=True)
class DatasetFacts(Facts):
    """Facts about a data set.

    Attributes:
        kind: Kind of answer: one of given options, free text, a caption, or a class.
        splits: Names of its splits.
        license: License or terms of the annotations; empty if unknown.
        access: Source of annotations and media, in one line.
        modalities: Modalities of its media.
        split: Split of the published results.
        metric: Description of these results.
        scorer: Import path of its scorer, a function(outcomes) → scores (`evaluation.benchmarks.scoring`); empty for the
            scorer of its kind.
        blind: Accuracy in percent of rules that use no media, on `split`, where measured.
    """

    kind: Literal["choice", "open", "caption", "class"] = "open"
    splits: tuple[str, ...] = ()
    license: str = ""
    access: str = ""
    modalities: tuple[str, ...] = ("video",)
    split: str = ""
    metric: str = ""
    scorer: str = ""
    blind: str = ""


FactsT = TypeVar("FactsT", bound=Facts)


@dataclass(frozen=True)
class Entry(Generic[FactsT]):
    """A registered name.

    Attributes:
        name: The name.
        target: Import path ``"package.module:attribute"``, or the object itself.
        facts: Facts of the registry's type.
        plugin: Distribution that registered the name by an entry point; otherwise empty.
    """

    name: str
    target: Any
    facts: FactsT
    plugin: str = ""

    def load(self) -> Any:
        """Import and return the object; a target that is not an import path is returned unchanged.

        Raises:
            ConfigError: the object of a plug-in cannot be imported; names the plug-in.
        """
        try:
            return import_object(self.target)
        except Exception as error:
            if not self.plugin:
                raise
            raise ConfigError(
                f"{self.name!r} of the plug-in {self.plugin} cannot be imported from {self.target}: {_reason(error)}; "
                "mend or uninstall it"
            ) from error


def import_object(target: Any) -> Any:
    """Import the object at ``"package.module:attribute"``; anything else is returned unchanged."""
    if not isinstance(target, str) or ":" not in target:
        return target
    module, _, attribute = target.partition(":")
    return reduce(getattr, attribute.split("."), import_module(module))


class Registry(Generic[FactsT]):
    """Mapping of names to lazily imported objects.

    Args:
        what: Kind of the named objects, for messages.
        facts: Type of the facts.
        group: Entry-point group for plug-ins; empty for none.
    """

    def __init__(self, what: str, facts: type[FactsT] = Facts, *, group: str = "") -> None:  # type: ignore[assignment]
        self.what = what
        self.group = group
        self._facts = facts
        self._entries: dict[str, Entry[FactsT]] = {}
        self._has_plugins = not group

    def register(self, name: str, target: Any = None, **facts: Any) -> None:
        """Add `name`; `target` is ``"package.module:attribute"`` or the object itself, `facts` are fields of its facts.

        Raises:
            ConfigError: the name is already registered.
            UnknownNameError: a fact that this registry does not have.
        """
        known = [f.name for f in fields(self._facts)]
        if stranger := next((fact for fact in facts if fact not in known), None):
            raise UnknownNameError(f"fact of a {self.what}", stranger, known)
        self._add(Entry(name, target, self._facts(**facts)))

    def entry(self, name: str) -> Entry[FactsT]:
        """Return the entry of `name`; raises UnknownNameError with similar names."""
        if name not in self:
            raise UnknownNameError(self.what, name, self._entries)
        return self._entries[name]

    def get(self, name: str) -> Any:
        """Return the object registered as `name`, importing it if needed."""
        return self.entry(name).load()

    def unregister(self, name: str) -> None:
        """Remove `name` (for tests that register objects)."""
        self.entry(name)
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            self._read_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._read_plugins()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self._read_plugins()
        return len(self._entries)

    def _add(self, entry: Entry[FactsT]) -> None:
        if entry.name in self._entries:
            taken = self._entries[entry.name].target
            raise ConfigError(f"{self.what} {entry.name!r} is already registered ({taken}); use another name")
        self._entries[entry.name] = entry

    def _read_plugins(self) -> None:
        """Register the names of installed plug-ins, once; a broken plug-in causes a warning that names it."""
        if self._has_plugins:
            return
        self._has_plugins = True
        for point in _entry_points().select(group=self.group):
            plugin = point.dist.name if point.dist else "unknown"
            try:
                if point.attr:
                    self._add(Entry(point.name, f"{point.module}:{point.attr}", self._facts(), plugin))
                else:
                    import_module(point.module)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # third-party code may raise anything
                warnings.warn(
                    f"the plug-in {plugin} is left out: its entry point {point.name!r} of {self.group} fails: "
                    f"{_reason(error)}",
                    RuntimeWarning,
                    stacklevel=1,
                )


@cache
def _entry_points() -> Any:
    """Return the entry points of all installed packages, searched once."""
    from importlib.metadata import entry_points

    return entry_points()


def _reason(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
