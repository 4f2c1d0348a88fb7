"""Quiet stderr: suppress messages of libraries, and print vidweave's warnings as one line."""

from __future__ import annotations

import logging
import os
import sys
import warnings

__all__ = ["hush_libraries", "narrate"]

# The libraries read these when they are imported, which happens later. Values set by the user are kept.
_SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def hush_libraries() -> None:
    """Suppress warnings and log messages of libraries below errors; ``python -W`` and PYTHONWARNINGS restore them."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if "transformers" in sys.modules:  # it read the settings when it was imported
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    logging.lastResort = logging.StreamHandler()
    logging.lastResort.setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.showwarning = _show_own


def narrate() -> None:
    """Print vidweave's own log messages on stderr, for long commands."""
    logger = logging.getLogger("vidweave")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(_StderrHandler())


class _StderrHandler(logging.Handler):
    """Log to the current stderr: a process may run several commands, each with its own stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _show_own(message: Warning | str, category: type[Warning], filename: str, *_: object, **__: object) -> None:
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.abspath(filename).startswith(folder + os.sep):
        print(f"warning: {message}", file=sys.stderr)
