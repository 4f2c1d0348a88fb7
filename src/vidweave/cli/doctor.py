"""`vidweave doctor`: check the installation and suggest a fix for each problem."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import typer

from vidweave import __version__
from vidweave.cli.cache import default_cache_folder
from vidweave.cli.output import Json, show, table

__all__ = ["CHECKS", "Finding", "doctor"]

Status = Literal["ok", "note", "problem"]
# Purpose of each extra
EXTRAS = {
    "train": "vidweave train",
    "large": "models split over several devices, device_map",
    "quantization": "language models in 8 or 4 bits, quantization_config",
    "eval": "models behind endpoints",
    "caption-metrics": "caption metrics",
    "scale": "Ray workers, captions as parquet",
    "real": "the tests that ask a real language model",
    "test": "the tests",
}


@dataclass(frozen=True)
class Finding:
    """Result of one check; a `problem` has a `fix` and sets exit code 1, a `note` is informational."""

    what: str
    status: Status
    found: str
    fix: str = ""


def doctor(as_json: Json = False) -> None:
    """Check Python, torch, the media library, extras, cache and network settings."""
    findings = [finding for check in CHECKS for finding in check()]
    problems = [finding for finding in findings if finding.status == "problem"]
    lines = [table((f.status, f.what, f.found) for f in findings)]
    lines += [f"fix {f.what}: {f.fix}" for f in findings if f.fix]
    lines.append(f"{len(problems)} problem{'s' * (len(problems) != 1)}")
    show({"ok": not problems, "findings": [asdict(f) for f in findings]}, "\n".join(lines), as_json=as_json)
    if problems:
        raise typer.Exit(1)


def _check_python() -> Iterator[Finding]:
    """Check the interpreter."""
    result = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", f"{result} at {sys.prefix}, vidweave {__version__}")


def _check_torch() -> Iterator[Finding]:
    """Check torch and accelerators."""
    result = _version("torch")
    if result is None:
        yield Finding("torch", "problem", "not installed", "pip install 'torch>=2.11,<2.14'")
        return
    if not (2, 11) <= _numbers(result) < (2, 14):
        yield Finding(
            "torch", "problem", result, "vidweave is tested with 2.11 to 2.13: pip install 'torch>=2.11,<2.14'"
        )
        return
    if reason := _import_failure("torch"):
        yield Finding(
            "torch", "problem", f"{result} does not load: {reason}", "pip install --force-reinstall 'torch>=2.11,<2.14'"
        )
        return
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    yield Finding("torch", "ok", f"{result}, {device}")


def _check_torchvision() -> Iterator[Finding]:
    """Check torchvision: vidweave does not use it, but transformers refuses every model if a broken one is installed."""
    if find_spec("torchvision") is None:
        yield Finding("torchvision", "ok", "not installed (not needed)")
    elif reason := _import_failure("torchvision"):
        fix = "pip uninstall torchvision, or install the build that belongs to your torch; vidweave does not need it"
        yield Finding("torchvision", "problem", f"{_version('torchvision')} does not load: {reason}", fix)
    else:
        yield Finding("torchvision", "ok", f"{_version('torchvision')} (not needed)")


def _check_required() -> Iterator[Finding]:
    """Check required packages and their minimum versions."""
    for name, least, why in (
        ("av", (17, 1), "older versions have a parser that corrupts memory"),
        ("transformers", (5, 3), "older versions run code named in config.json"),
        ("safetensors", (0, 5), "weights are read with it"),
        ("numpy", (1, 26), "arrays"),
        ("tokenizers", (0, 22), "text"),
    ):
        result = _version(name)
        requirement = f"{name}>={'.'.join(map(str, least))}"
        if result is None or _numbers(result) < least:
            yield Finding(name, "problem", result or "not installed", f"pip install '{requirement}' ({why})")
        elif name == "av" and (reason := _import_failure("av")):
            yield Finding(
                name, "problem", f"{result} does not load: {reason}", f"pip install --force-reinstall '{requirement}'"
            )
        else:
            yield Finding(name, "ok", result)


def _check_extras() -> Iterator[Finding]:
    """Check which packages of each extra are installed."""
    for extra, required in _extras().items():
        purpose = f" ({EXTRAS[extra]})" if extra in EXTRAS else ""
        line = f"pip install 'vidweave[{extra}]'"
        missing = [f"{name}>={least}" for name, least in required.items() if not _holds(name, least)]
        if not missing:
            yield Finding(f"extra {extra}", "ok", f"installed{purpose}")
        elif len(missing) == len(required):
            yield Finding(f"extra {extra}", "note", f"not installed{purpose}: {line}")
        else:
            yield Finding(f"extra {extra}", "note", f"missing {', '.join(missing)}{purpose}: {line}")


def _extras() -> dict[str, dict[str, str]]:
    """Map each extra to its packages and their minimum versions, as declared by the installed vidweave."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        declared = requires("vidweave") or []
    except PackageNotFoundError:  # run from a source tree
        return {}
    extras: dict[str, dict[str, str]] = {}
    for line in declared:
        match = re.match(r"([\w.-]+)(\[[\w, -]+\])?[^;]*?(?:[>=]=\s*([\d.]+))?[^;]*;.*extra\s*==\s*['\"]([\w-]+)", line)
        if match is not None:
            name, inner, least, extra = match.groups()
            packages = extras.setdefault(extra, {})
            if name == "vidweave":  # an extra that combines others
                for other in re.findall(r"[\w-]+", inner or ""):
                    packages.update(extras.get(other, {}))
            else:
                packages[name] = least or "0"
    return extras


def _holds(package: str, least: str) -> bool:
    result = _version(package)
    return result is not None and _numbers(result) >= _numbers(least)


def _check_cache() -> Iterator[Finding]:
    """Check that the feature cache can be written."""
    folder = Path(os.environ.get("VIDWEAVE_CACHE") or default_cache_folder())
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        yield Finding("cache", "ok", f"{folder}{'' if folder.exists() else ' (does not exist yet)'}")
    else:
        fix = "set VIDWEAVE_CACHE to a writable folder, or give --cache"
        yield Finding("cache", "problem", f"{nearest} is not writable", fix)


def _check_models() -> Iterator[Finding]:
    """Check which models load without a network."""
    from vidweave.model.assets import asset_names

    names = asset_names()
    if names:
        yield Finding("shipped models", "ok", ", ".join(names))
    else:
        yield Finding(
            "shipped models",
            "problem",
            "none",
            "the installation is incomplete: pip install --force-reinstall vidweave",
        )
    if any(
        os.environ.get(name, "").lower() in ("1", "on", "true", "yes")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    ):
        yield Finding(
            "hub", "note", "offline by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE; folders and shipped models load"
        )
    else:
        yield Finding("hub", "ok", os.environ.get("HF_ENDPOINT", "default endpoint"))


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _check_python,
    _check_torch,
    _check_torchvision,
    _check_required,
    _check_extras,
    _check_cache,
    _check_models,
)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:2] if part.isdigit())


def _import_failure(module: str) -> str:
    """The reason why `module` fails to import, or ""; a broken binary package may raise anything."""
    try:
        import_module(module)
    except Exception as error:  # noqa: BLE001
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""
