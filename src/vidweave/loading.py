"""What everything that loads weights shares: devices and dtypes, checked by name before torch is imported, and quiet."""

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
MOST_WORDS = 160  # characters of what torch says of a device: it goes on for a page
# What people call a device of torch's
_ALIASES = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "hip": "cuda", "amd": "cuda", "metal": "mps", "tpu": "xla"}


def check_device(name: str) -> str:
    """`name` itself if it reads like a device: a kind, or a kind and a number, e.g. ``cuda:1``.

    Raises:
        UnknownNameError: no kind of device that torch computes on.
    """
    kind, colon, number = name.partition(":")
    if kind.lower() in _ALIASES:
        raise ConfigError(f"unknown device {name!r}; torch calls it {_ALIASES[kind.lower()]!r}")
    if kind not in DEVICES:
        raise UnknownNameError("device", name, DEVICES, "(a number picks one of several, e.g. cuda:1)")
    if colon and re.fullmatch(r"\d{1,3}", number, re.ASCII) is None:
        raise ConfigError(f"{name!r} is no device; behind the colon stands its number, e.g. {kind}:1")
    return name


def check_dtype(name: str, *, also: tuple[str, ...] = ()) -> str:
    """`name` itself if weights can be of that type, or it is one of the further words `also`; else UnknownNameError."""
    if name not in (*DTYPES, *also):
        raise UnknownNameError("dtype", name, (*DTYPES, *also))
    return name


def usable_device(device: str | torch.device) -> torch.device:
    """`device` as torch's, after something was put on it.

    Raises:
        UnknownNameError: no device goes by that name.
        ConfigError: this machine, or this build of torch, has none.
    """
    import torch

    name = check_device(str(device))
    try:
        found = torch.device(name)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:MOST_WORDS] or type(error).__name__
        raise ConfigError(
            f"device {name!r} cannot be used: {reason.rstrip('.')} (torch {torch.__version__}); take cpu, or install a "
            "torch that is built for it"
        ) from error
    return found


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hold back the progress bars of transformers, unless it was told to be verbose (``TRANSFORMERS_VERBOSITY=info``)."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled() or logging.get_verbosity() <= INFO:
        yield
        return
    is_hub_quiet = are_progress_bars_disabled()  # one switch of transformers turns both
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
        if is_hub_quiet:
            disable_progress_bars()
