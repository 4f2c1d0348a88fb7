"""Convert released files of other layouts to a model folder of ours: strict, weights only, with a report of every key.

A layout is a name in `registry.CONVERTERS`; its function takes a `Request` and returns a report. All of them go through
the same steps: `Request.expect` (checks that read no weight), `read_released`, their own key tables, `write_model`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_type_hints

import torch
from torch import Tensor

from vidweave import __version__
from vidweave.errors import CheckpointError, ConfigError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import check_keys, files_hash
from vidweave.model.precision import kept_in_float32
from vidweave.model.processor import Processor
from vidweave.model.released import Checkpoint, read_checkpoint
from vidweave.model.sharded import LazyTensor, write_sharded
from vidweave.model.staging import check_free, staged_folder
from vidweave.nn.numbers import is_finite
from vidweave.registry import CONVERTERS
from vidweave.types import config_from_dict, config_to_dict

__all__ = [
    "KeyReport",
    "Progress",
    "Report",
    "Request",
    "Source",
    "assemble",
    "convert",
    "options_of",
    "read_released",
    "write_model",
]

Options = TypeVar("Options")
Weights = Mapping[str, Tensor | LazyTensor]
Progress = Callable[[str, int, int], None]
Fill = Callable[[dict[str, Any], Mapping[str, Tensor]], list[str]]
DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16")}
ACCOUNT = "conversion.json"
_SHARD_BYTES = 5 << 30
# Layouts that no converter reads, by name: a description of the file, and the advice.
_FOREIGN = {
    "a file of a vidweave model, which needs no conversion; give its folder to --model": re.compile(
        r"connector\.(ports|trunks)\.|encoders\.\w+\.|language_model\.model\.(model|encoder|shared)\."
    ),
    "a file of transformers' BLIP-2 or InstructBLIP, which needs no conversion; give its folder to --model": re.compile(
        r"(vision_model|qformer|language_projection)\."
    ),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request for a conversion.

    Attributes:
        file: The released file.
        out: Folder for the model; it must be new or empty.
        base: Name, folder or hub id of a model with the weights that the file lacks.
        parts: Role → further file, folder or hub id (`vision`, `language`, …), as the layout names them.
        options: Settings that the file does not hold, as text; the layout's function reads them with `options_of`.
        dtype: Of the weights that are written; None keeps that of each.
        allow_nonfinite: Write weights with NaN or infinity too; the report names them.
        layout: Name in `registry.CONVERTERS`; `convert` sets it.
        progress: Called with the current activity, bytes done, and total bytes.
    """

    file: Path
    out: Path
    base: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None
    allow_nonfinite: bool = False
    layout: str = ""
    progress: Progress | None = None

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """`dtype` as torch has it; raises UnknownNameError for one that weights are not written in."""
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UnknownNameError("dtype of weights", self.dtype, DTYPES)
        return None if self.dtype is None else DTYPES[self.dtype]

    def expect(self, *, parts: Sequence[str] = (), base: bool = False) -> None:
        """Check all that needs no weight: parts, base, dtype, file and folder.

        Args:
            parts: Roles that the layout takes.
            base: Whether it takes a base.

        Raises:
            UnknownNameError: a part or a dtype that there is not.
            ConfigError: a base that the layout has no use for.
            CheckpointError: no file, or a folder that is in use.
        """
        for role in self.parts:
            if role not in parts:
                raise UnknownNameError("part of this layout", role, parts)
        if self.base is not None and not base:
            raise ConfigError(f"{self.file.name} needs no base, got {self.base!r}; leave it out")
        assert self.torch_dtype is None or self.dtype
        if not self.file.exists():
            raise CheckpointError(f"there is no file {str(self.file)!r}")
        check_free(self.out)


class Report(Protocol):
    """Report of the conversion of one file."""

    def lines(self) -> list[str]:
        """For people: one line per finding."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, with every key."""
        ...


def convert(layout: str, request: Request) -> Report:
    """Convert by the function registered for `layout`; its report is in `conversion.json` beside the weights.

    Raises:
        UnknownNameError: no such layout; lists near matches.
        CheckpointError: the file is not there or does not fit; `out` holds something.
    """
    converter = CONVERTERS.get(layout)
    request = replace(request, layout=layout)
    request.expect(parts=list(request.parts), base=True)  # the layout's function checks the rest
    report: Report = converter(request)
    account = request.out / ACCOUNT
    if not account.exists():
        _write_account(account, {"layout": layout, "file": request.file.name, **report.to_dict()})
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


def read_released(request: Request, layout: str) -> Checkpoint:
    """Read the request's file, and refuse one that is of another layout by its names.

    Raises:
        CheckpointError: not a file of tensors, or of another layout, which the message names.
    """
    checkpoint = read_checkpoint(request.file)
    own = _marks(layout)
    if own is None or not _has(own, checkpoint.state):
        look = next((what for what, mark in _others(layout) if _has(mark, checkpoint.state)), None)
        if look is not None:
            raise CheckpointError(f"{checkpoint.name} is not a file of layout {layout!r}; it looks like {look}")
    return checkpoint


def _marks(layout: str) -> re.Pattern[str] | None:
    marks = CONVERTERS.entry(layout).facts.marks if layout in CONVERTERS else None
    return None if marks is None else re.compile(marks)


def _others(layout: str) -> list[tuple[str, re.Pattern[str]]]:
    named = {name: _marks(name) for name in CONVERTERS if name != layout}
    result = [
        (f"one of layout {name!r}; use `vidweave convert {name}`", mark)
        for name, mark in named.items()
        if mark is not None
    ]
    return result + list(_FOREIGN.items())


def _has(mark: re.Pattern[str], names: Iterable[str]) -> bool:
    return any(mark.match(name) for name in names)


@dataclass(frozen=True)
class Source:
    """Weights of one origin under our names.

    Attributes:
        dropped: Its own names that hold no weight of ours → why.
        files: That the weights are read from, for their hash.
        role: `file`, `base`, or that of a part.
        notes: Steps taken to read it.
    """

    name: str
    state: Weights
    dropped: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    role: str = "file"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, checkpoint: Checkpoint, state: Weights, dropped: Mapping[str, str], role: str = "file") -> Source:
        """Weights of a released file under our names; a part is named by its role, the file by its name."""
        name = checkpoint.name if role == "file" else role
        return cls(name, state, dropped, (checkpoint.file,), role, checkpoint.notes)


@dataclass(frozen=True)
class KeyReport:
    """Provenance of every weight of a model.

    Attributes:
        loaded: Source → our names that it filled.
        replaced: Our names that an earlier source had filled too.
        dropped: Source → its names that hold no weight of ours → why.
        fresh: Our names, or parts of them, that no source has; the layout defines their initialization.
        notes: Further remarks.
    """

    loaded: Mapping[str, tuple[str, ...]]
    replaced: tuple[str, ...] = ()
    dropped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people: one line per source and finding."""
        lines = [f"{name}: {len(keys)} weights" for name, keys in self.loaded.items()]
        for name, keys in self.dropped.items():
            for reason in dict.fromkeys(keys.values()):
                why = f" ({reason})" if reason else ""
                lines.append(f"{name}: left out {_shortened([k for k, r in keys.items() if r == reason])}{why}")
        lines += [f"replaced by a later file: {len(self.replaced)} weights"] if self.replaced else []
        lines += [f"in no file, fresh: {_shortened(self.fresh)}"] if self.fresh else []
        return lines + list(self.notes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, with every key."""
        return {
            "loaded": {name: list(keys) for name, keys in self.loaded.items()},
            "replaced": list(self.replaced),
            "dropped": {name: dict(keys) for name, keys in self.dropped.items()},
            "fresh": list(self.fresh),
            "notes": list(self.notes),
        }


def _shortened(keys: Sequence[str], most: int = 8) -> str:
    more = len(keys) - most
    return ", ".join(keys[:most]) + (f" and {more} more" if more > 0 else "")


def _merged(
    sources: Sequence[Source], fill: Fill | None, expected: Mapping[str, Tensor]
) -> tuple[dict[str, Any], KeyReport]:
    """Merge the states of all sources, later ones over earlier ones, and record where each weight came from."""
    state: dict[str, Any] = {}
    replaced: list[str] = []
    for source in sources:
        replaced += [key for key in source.state if key in state]
        state |= source.state
    fresh = [] if fill is None else fill(state, expected)
    loaded = {source.name: tuple(source.state) for source in sources}
    dropped = {source.name: dict(source.dropped) for source in sources if source.dropped}
    return state, KeyReport(loaded, tuple(dict.fromkeys(replaced)), dropped, tuple(fresh))


def assemble(
    config: VideoLanguageConfig,
    *sources: Source,
    fill: Fill | None = None,
    dtype: Any = None,
    device_map: Any = None,
) -> tuple[VideoLanguageModel, KeyReport]:
    """Build one model in memory from several sources, the later ones over the earlier ones; and report on every weight.

    Args:
        fill: ``(state, expected) -> names``: adds weights that no source has to the state, and names them for the report.

    Raises:
        CheckpointError: missing, extra or mis-shaped keys; the message lists them.
    """
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    state, report = _merged(sources, fill, skeleton.state_dict())
    what = " and ".join(source.name for source in sources)
    arguments = {"dtype": dtype, "device_map": device_map}
    model = VideoLanguageModel.from_state(config, state, what=what, skeleton=skeleton, **arguments)
    return model.eval(), report


def write_model(
    request: Request,
    config: VideoLanguageConfig,
    *sources: Source,
    processor: Processor | None = None,
    fill: Fill | None = None,
    settings: Any = None,
    notes: Sequence[str] = (),
    max_shard_bytes: int = _SHARD_BYTES,
) -> KeyReport:
    """Write a model folder from several sources, the later ones over the earlier ones; one tensor at a time is in memory.

    The folder appears when it is whole. All weights are checked to be finite.

    Args:
        fill: As in `assemble`.
        settings: The layout's options as they were used, for the account.
        notes: For the report.

    Raises:
        CheckpointError: missing, extra or mis-shaped keys, weights with NaN or infinity (both are listed), or an `out`
            that is in use.
    """
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    expected, tied = skeleton.state_dict(), skeleton.all_tied_weights_keys
    state, report = _merged(sources, fill, expected)
    check_keys(" and ".join(source.name for source in sources), expected, state, tied=tied)
    _check_ties(state, tied)
    kept = kept_in_float32(skeleton, state, request.torch_dtype)
    tensors = {
        key: LazyTensor.of(value, None if key in kept else request.torch_dtype)
        for key, value in state.items()
        if key not in tied
    }
    main, mixed = _dtypes(tensors, request.dtype)
    config.dtype, config.bases = main, {}
    with staged_folder(request.out) as folder:
        account = _account(request, sources, settings, main)
        bad = _write(folder, tensors, request, max_shard_bytes)
        read = [note for source in sources for note in source.notes]
        report = replace(report, notes=(*report.notes, *read, *notes, *mixed, *bad))
        config.save_pretrained(folder)
        if processor is not None:
            processor.for_config(config).save_pretrained(folder)
        _write_account(folder / ACCOUNT, {**account, **report.to_dict()})
    return report


def _check_ties(state: Mapping[str, Any], tied: Mapping[str, str]) -> None:
    """Of weights that the model shares one is kept, so they must be equal."""
    for key, kept in tied.items():
        if key in state and kept in state:
            one, two = (LazyTensor.of(state[name]).make() for name in (key, kept))
            if not torch.equal(one, two):
                raise CheckpointError(f"{key} and {kept} are one weight of this model, and the files have two of them")


def _dtypes(tensors: Mapping[str, LazyTensor], requested: str | None) -> tuple[torch.dtype, list[str]]:
    """The dtype of most weights, and a note where there are several."""
    sizes: dict[torch.dtype, int] = {}
    for lazy in tensors.values():
        if lazy.dtype.is_floating_point:
            sizes[lazy.dtype] = sizes.get(lazy.dtype, 0) + lazy.num_bytes
    ordered = sorted(sizes, key=lambda dtype: -sizes[dtype])
    names = [str(dtype).removeprefix("torch.") for dtype in ordered]
    if requested is not None:
        others = ", ".join(name for name in names if name != requested)
        note = [f"parts that are not computed in {requested} keep {others}"] if others else []
        return DTYPES[requested], note
    note = f"weights keep their dtypes: {', '.join(names)} (most are {names[0]}); --dtype writes one"
    return ordered[0], [note] if len(names) > 1 else []


class _NotFiniteError(Exception):
    """A weight with NaN or infinity is about to be written."""


def _write(folder: Path, tensors: Mapping[str, LazyTensor], request: Request, most: int) -> list[str]:
    """Write the weights, and check that they are finite; a note where they are not and may be."""
    bad: list[str] = []

    def checked(key: str, lazy: LazyTensor) -> LazyTensor:
        def make() -> Tensor:
            tensor = lazy.make()
            if not is_finite(tensor):
                bad.append(key)
                if not request.allow_nonfinite:
                    raise _NotFiniteError
            return tensor

        return replace(lazy, make=make)

    progress = request.progress
    report = None if progress is None else lambda done, total: progress("writing weights", done, total)
    try:
        lazies = {key: checked(key, lazy) for key, lazy in tensors.items()}
        write_sharded(folder, lazies, max_shard_bytes=most, progress=report)
    except _NotFiniteError:
        bad = [key for key, lazy in tensors.items() if not is_finite(lazy.make())]
        raise CheckpointError(_not_finite(bad, request)) from None
    return [f"weights with NaN or infinity, written as they are: {_shortened(bad)}"] if bad else []


def _not_finite(bad: Sequence[str], request: Request) -> str:
    what = "" if request.dtype is None else f" in {request.dtype}"
    advice = (
        "numbers above 65,504 have no place in float16, try --dtype bfloat16; else "
        if request.dtype == "float16"
        else ""
    )
    return (
        f"{len(bad)} weights hold NaN or infinity{what}: {_shortened(bad)}; {advice}get another copy of the file, or convert "
        "it as it is with --allow-nonfinite"
    )


def _account(request: Request, sources: Sequence[Source], settings: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Sources of a conversion: names without folders of this machine, sizes and hashes."""
    total = sum(file.stat().st_size for source in sources for file in source.files)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if request.progress is not None:
            request.progress("hashing files", done, total)

    origins = []
    for source in sources:
        if source.files:
            size = sum(file.stat().st_size for file in source.files)
            digest = files_hash(source.files, progress=advance)
            origins.append({"role": source.role, "source": public_name(source.name), "bytes": size, "sha256": digest})
    return {
        "layout": request.layout,
        "vidweave": __version__,
        "file": request.file.name,
        "base": None if request.base is None else public_name(request.base),
        "parts": {role: public_name(where) for role, where in request.parts.items()},
        "settings": {} if settings is None else config_to_dict(settings),
        "dtype": request.dtype,
        "weights_dtype": str(dtype).removeprefix("torch."),
        "allow_nonfinite": request.allow_nonfinite,
        "sources": origins,
    }


def public_name(source: str) -> str:
    """A hub id or registered name as it is; of a path, its last part only: local folders are private."""
    return Path(source).name if Path(source).is_absolute() or Path(source).exists() else source


def _write_account(file: Path, data: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
