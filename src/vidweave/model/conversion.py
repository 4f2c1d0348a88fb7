"""Released files of other layouts → a model folder of ours: strict, weights only, with a report of every key.

A layout is a name in `registry.CONVERTERS`; its function takes a `Request` and returns a report. What converters share
is here: reading a file of tensors, putting a model together from several sources, and the account of where each weight
came from.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_type_hints

import torch
from torch import Tensor

from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.registry import CONVERTERS
from vidweave.types import config_from_dict

__all__ = ["KeyReport", "Report", "Request", "Source", "assemble", "convert", "options_of", "read_checkpoint", "save"]

Options = TypeVar("Options")
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be converted.

    Attributes:
        file: The released file.
        out: Folder for the model; it must be new or empty.
        base: Name, folder or hub id of a model that brings what the file lacks.
        parts: Role → further file, folder or hub id (`vision`, `language`, …), as the layout names them.
        options: Settings that the file does not hold, as text; the layout's function reads them with `options_of`.
        dtype: Of the weights that are written; None keeps them.
    """

    file: Path
    out: Path
    base: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None

    def expect(self, *, parts: Sequence[str] = (), base: bool = False) -> None:
        """Raise ConfigError for parts or a base that the layout has no use for; `parts` and `base` say what it takes."""
        for role in self.parts:
            if role not in parts:
                raise UnknownNameError("part of this layout", role, parts)
        if self.base is not None and not base:
            raise ConfigError(f"{self.file.name} needs no base, got {self.base!r}; leave it out")


class Report(Protocol):
    """What became of a file."""

    def lines(self) -> list[str]:
        """For people: one line per finding."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, with every key."""
        ...


def convert(layout: str, request: Request) -> Report:
    """Convert by the function registered for `layout`, and write its report beside the weights (`conversion.json`).

    Raises:
        UnknownNameError: no such layout; lists near matches.
        CheckpointError: the file is not there or does not fit; `out` holds something.
    """
    converter = CONVERTERS.get(layout)
    if not request.file.exists():
        raise CheckpointError(f"there is no file {str(request.file)!r}")
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise CheckpointError(f"{str(request.out)!r} is not empty; give a new folder")
    report: Report = converter(request)
    (request.out / "conversion.json").write_text(
        json.dumps({"layout": layout, "file": request.file.name, **report.to_dict()}, indent=2) + "\n"
    )
    return report


def options_of(cls: type[Options], request: Request) -> Options:
    """The request's options as dataclass `cls`: JSON where that fits the field, lists also as words with commas.

    Raises:
        UnknownNameError: an option that the layout does not have.
        ConfigError: a value of the wrong type.
    """
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    data = {}
    for name, text in request.options.items():
        if name not in known:
            raise UnknownNameError("option of this layout", name, known)
        data[name] = _read(text, hints[name])
    return config_from_dict(cls, data)


def _read(text: str, hint: Any) -> Any:
    if str(hint).startswith("tuple["):
        return [word.strip() for word in text.split(",") if word.strip()]
    if hint is str:
        return text
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        return text


@dataclass(frozen=True)
class Source:
    """Weights of one file under our names, and the keys of the file that hold none."""

    name: str
    state: Mapping[str, Tensor]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyReport:
    """Where every weight of a model came from.

    Attributes:
        loaded: Source → our names that it filled.
        replaced: Our names that an earlier source had filled too.
        dropped: Source → its keys that hold no weight of ours.
        fresh: Our names, or parts of them, that no source holds, and how they start is the layout's to say.
        notes: What else should be known.
    """

    loaded: Mapping[str, tuple[str, ...]]
    replaced: tuple[str, ...] = ()
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people: one line per source and finding."""
        lines = [f"{name}: {len(keys)} weights" for name, keys in self.loaded.items()]
        lines += [f"{name}: left out {_shortened(keys)}" for name, keys in self.dropped.items() if keys]
        lines += [f"replaced by a later file: {len(self.replaced)} weights"] if self.replaced else []
        lines += [f"in no file, fresh: {_shortened(self.fresh)}"] if self.fresh else []
        return lines + list(self.notes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, with every key."""
        return {
            "loaded": {name: list(keys) for name, keys in self.loaded.items()},
            "replaced": list(self.replaced),
            "dropped": {name: list(keys) for name, keys in self.dropped.items()},
            "fresh": list(self.fresh),
            "notes": list(self.notes),
        }


def _shortened(keys: Sequence[str], most: int = 8) -> str:
    more = len(keys) - most
    return ", ".join(keys[:most]) + (f" and {more} more" if more > 0 else "")


def read_checkpoint(file: str | Path, *, inside: str = "model") -> State:
    """Tensors of a `.pth` file (never its code), of the dict `inside` it if there is one; mapped until they are used.

    Raises:
        CheckpointError: not there, not a dict of tensors, or a file that would have to run code.
    """
    try:
        data = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{Path(file).name} cannot be read as a file of tensors alone ({reason})") from error
    state = data.get(inside, data) if isinstance(data, dict) else data
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{Path(file).name} holds no dict of tensors, neither at the top nor under {inside!r}")
    return state


def assemble(
    config: VideoLanguageConfig,
    *sources: Source,
    fill: Callable[[State, Mapping[str, Tensor]], list[str]] | None = None,
    dtype: Any = None,
    device_map: Any = None,
) -> tuple[VideoLanguageModel, KeyReport]:
    """One model from several sources, the later ones over the earlier ones; and where each weight came from.

    Args:
        fill: ``(state, expected) -> names``: puts what no source holds into the state, and names it for the report.

    Raises:
        CheckpointError: missing, extra or mis-shaped keys; the message lists them.
    """
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    state: State = {}
    replaced: list[str] = []
    for source in sources:
        replaced += [key for key in source.state if key in state]
        state |= source.state
    fresh = [] if fill is None else fill(state, skeleton.state_dict())
    what = " and ".join(source.name for source in sources)
    arguments = {"dtype": dtype, "device_map": device_map}
    model = VideoLanguageModel.from_state(config, state, what=what, skeleton=skeleton, **arguments)
    loaded = {source.name: tuple(source.state) for source in sources}
    dropped = {source.name: source.dropped for source in sources if source.dropped}
    return model.eval(), KeyReport(loaded, tuple(dict.fromkeys(replaced)), dropped, tuple(fresh))


def save(model: VideoLanguageModel, request: Request) -> None:
    """Write the model where the request wants it, in its dtype."""
    if request.dtype is not None:
        dtype = getattr(torch, request.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise UnknownNameError("dtype", request.dtype, ["float32", "float16", "bfloat16"])
        model.to(dtype)  # type: ignore[arg-type]  # transformers' wrapper of `to` loses its signature
    model.save_pretrained(request.out)
