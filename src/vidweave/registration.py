"""Registries: names → lazily imported objects with typed facts, from this package, from a program, or from plug-ins.

A registry maps a name to an import path ``"package.module:attribute"`` that is imported at first use, so that listing
names costs no import. Duplicates raise; unknown names list near matches.

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
    "ModalityFacts",
    "ModelFacts",
    "PanelFacts",
    "Registry",
    "import_object",
]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a registered name; every one of them has a default.

    Attributes:
        summary: One line for listings.
    """

    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Facts):
    """Facts about a model.

    Attributes:
        weights: Shipped asset, folder or hub id that holds the weights; empty if they must be converted first.
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
class ConverterFacts(Facts):
    """Facts about a layout of released files.

    Attributes:
        base: The model that a converted file is laid over; empty if none is needed.
        parts: Roles of further files.
        options: Names of settings.
        marks: Pattern of tensor names that only files of this layout hold.
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
        carrier: What raw values look like: images in time, samples of audio, or points.
    """

    carrier: Literal["frames", "waveform", "points"] = "frames"


@dataclass(frozen=True, kw_only=True)
class DatasetFacts(Facts):
    """Facts about a data set.

    Attributes:
        kind: Kind of answer: one of given options, free text, a caption, or a class.
        splits: Names of its splits.
        license: License or terms of the annotations; empty if unknown.
        access: Where annotations and media come from, in one line.
        modalities: Modalities that its media have.
        split: Split that published numbers are of.
        metric: What those numbers are, in words.
        scorer: Import path of its scorer, a function(outcomes) → scores (`evaluation.benchmarks.scoring`); empty for the
            scorer of its kind.
        blind: Accuracy in percent of rules that look at nothing, on `split`, where they were measured.
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
        plugin: Distribution that brought the name by an entry point; empty for all others.
    """

    name: str
    target: Any
    facts: FactsT
    plugin: str = ""

    def load(self) -> Any:
        """Import and return the object; a target that is no import path is returned as it is.

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
    """The object behind an import path ``"package.module:attribute"``; anything else is returned as it is."""
    if not isinstance(target, str) or ":" not in target:
        return target
    module, _, attribute = target.partition(":")
    return reduce(getattr, attribute.split("."), import_module(module))


class Registry(Generic[FactsT]):
    """A mapping of names to lazily imported objects.

    Args:
        what: What a name stands for, in messages.
        facts: Type of the facts.
        group: Entry-point group that plug-ins use; empty reads none.
    """

    def __init__(self, what: str, facts: type[FactsT] = Facts, *, group: str = "") -> None:  # type: ignore[assignment]
        self.what = what
        self.group = group
        self._facts = facts
        self._entries: dict[str, Entry[FactsT]] = {}
        self._has_plugins = not group

    def register(self, name: str, target: Any = None, **facts: Any) -> None:
        """Add `name`; `target` is ``"package.module:attribute"`` or the object itself, `facts` fields of its facts.

        Raises:
            ConfigError: the name is taken.
            UnknownNameError: a fact that names of this kind do not have.
        """
        known = [f.name for f in fields(self._facts)]
        if stranger := next((fact for fact in facts if fact not in known), None):
            raise UnknownNameError(f"fact of a {self.what}", stranger, known)
        self._add(Entry(name, target, self._facts(**facts)))

    def entry(self, name: str) -> Entry[FactsT]:
        """The entry of `name`; raises UnknownNameError with near matches."""
        if name not in self:
            raise UnknownNameError(self.what, name, self._entries)
        return self._entries[name]

    def get(self, name: str) -> Any:
        """The object that `name` stands for, imported now if it was not yet."""
        return self.entry(name).load()

    def unregister(self, name: str) -> None:
        """Remove `name` (for tests that register something of their own)."""
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
        """Add what installed packages register, once; a broken plug-in is a warning that names it."""
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
            except (Exception, SystemExit) as error:  # noqa: BLE001  # code of others may raise anything
                warnings.warn(
                    f"the plug-in {plugin} is left out: its entry point {point.name!r} of {self.group} fails: "
                    f"{_reason(error)}",
                    RuntimeWarning,
                    stacklevel=1,
                )


@cache
def _entry_points() -> Any:
    """The entry points of all installed packages, which are searched once."""
    from importlib.metadata import entry_points

    return entry_points()


def _reason(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
