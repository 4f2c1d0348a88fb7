"""Helpers for loading weights: check device and dtype names before importing torch, and load quietly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from logging import INFO
from typing import TYPE_CHECKING

from vidweave.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    import torch

__all__ = ["DEVICES", "DTYPES", "check_device", "check_dtype", "quiet_loading", "usable_device"]

DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "npu", "xla")
DTYPES = ("float32", "float16", "bfloat16", "float64")
MOST_WORDS = 160  # maximum characters of torch's message about a device, which can fill a page
# Common names of devices → torch's names
_ALIASES = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "hip": "cuda", "amd": "cuda", "metal": "mps", "tpu": "xla"}


def check_device(name: str) -> str:
    """Return `name` if it has the form of a device: a type, or a type and a number, e.g. ``cuda:1``.

    Raises:
        UnknownNameError: not a device type that torch supports.
    """
    kind, colon, number = name.partition(":")
    if kind.lower() in _ALIASES:
        raise ConfigError(f"unknown device {name!r}; torch calls it {_ALIASES[kind.lower()]!r}")
    if kind not in DEVICES:
        raise UnknownNameError("device", name, DEVICES, "(a number picks one of several, e.g. cuda:1)")
    if colon and re.fullmatch(r"\d{1,3}", number, re.ASCII) is None:
        raise ConfigError(f"{name!r} is not a device; use a number after the colon, e.g. {kind}:1")
    return name


def check_dtype(name: str, *, also: tuple[str, ...] = ()) -> str:
    """Return `name` if it is a dtype for weights or one of the words in `also`; else raise UnknownNameError."""
    if name not in (*DTYPES, *also):
        raise UnknownNameError("dtype", name, (*DTYPES, *also))
    return name


def usable_device(device: str | torch.device) -> torch.device:
    """Return `device` as a torch device, after allocating a tensor on it.

    Raises:
        UnknownNameError: not a device name.
        ConfigError: the device is not available on this machine or in this build of torch.
    """
    import torch

    name = check_device(str(device))
    try:
        parsed = torch.device(name)
        torch.empty(1, device=parsed)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:MOST_WORDS] or type(error).__name__
        raise ConfigError(
            f"device {name!r} cannot be used: {reason.rstrip('.')} (torch {torch.__version__}); use cpu, or install a "
            "torch that is built for it"
        ) from error
    return parsed


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide the progress bars of transformers unless it is set to be verbose (``TRANSFORMERS_VERBOSITY=info``)."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled() or logging.get_verbosity() <= INFO:
        yield
        return
    is_hub_quiet = are_progress_bars_disabled()  # one switch of transformers controls both
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
        if is_hub_quiet:
            disable_progress_bars()
