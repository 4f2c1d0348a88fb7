"""Exceptions raised by vidweave.

VidweaveError
├── InputError (ValueError)                 invalid user input; the command line exits with 2
│   ├── QueryError                          question, options or scenes
│   ├── ShapeError                          shape, dtype or values of an array or tensor
│   ├── UnknownNameError                    a name that is not registered; lists similar names
│   ├── ModalityError                       a modality unknown, missing, or supplied and unused
│   ├── ConfigError                         a configuration field or override
│   ├── AnnotationError                     a data set file
│   └── MediaError
│       ├── MediaNotFoundError (FileNotFoundError)
│       ├── MediaAccessError (PermissionError)      unreadable, a special file, outside the allowed root
│       ├── MediaTypeError                  not the requested kind of media
│       ├── MediaLimitError                 above a limit; names the setting that raises it
│       └── MediaDecodeError                empty, truncated or corrupt
├── CheckpointError                         missing, extra or mis-shaped keys; a hostile file
│   └── ModelNotFoundError (InputError)     a name or folder that is not a model
├── StoreError                              the feature store cannot be used
├── PredictionError                             a predictions file cannot be used
├── CancelledError                          a call cancelled by its caller
├── EngineError                             a language model endpoint that cannot be used
├── TrainingError                           a run that cannot start, continue or resume
├── PipelineError                           a generation run that cannot start, continue or resume
├── NonFiniteError                          NaN or infinity in the output of a stage
├── NotStreamableError                      a component that needs the whole clip used on a stream
├── MissingProgramError                     a program that an optional feature runs is not installed
└── MissingExtraError (ImportError)         an optional dependency is missing; contains the install line
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AnnotationError",
    "CancelledError",
    "CheckpointError",
    "ConfigError",
    "EngineError",
    "InputError",
    "MediaAccessError",
    "MediaDecodeError",
    "MediaError",
    "MediaLimitError",
    "MediaNotFoundError",
    "MediaTypeError",
    "MissingExtraError",
    "MissingProgramError",
    "ModalityError",
    "ModelNotFoundError",
    "NonFiniteError",
    "NotStreamableError",
    "PipelineError",
    "QueryError",
    "PredictionError",
    "ShapeError",
    "StoreError",
    "TrainingError",
    "UnknownNameError",
    "VidweaveError",
]


class VidweaveError(Exception):
    """Base class of all errors raised by vidweave."""


class InputError(VidweaveError, ValueError):
    """Invalid input; the message says what was given, what was expected and what to do."""


class QueryError(InputError):
    """A question, option list or scene list that cannot be used."""


class ShapeError(InputError):
    """An array or tensor of the wrong shape, dtype or values."""


class UnknownNameError(InputError):
    """An unknown name; the message lists similar names."""

    def __init__(self, what: str, name: str, known: Iterable[str], advice: str = "") -> None:
        self.name = name
        self.known = sorted(known)
        near = get_close_matches(name, self.known, n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(repr(n) for n in near) + "?"
        else:
            hint = "known: " + (", ".join(self.known) or "none")
        super().__init__(f"unknown {what} {name!r}; {hint}" + (f" {advice}" if advice else ""))


class ModalityError(InputError):
    """A modality that is unknown, missing, or supplied but not used."""


class ConfigError(InputError):
    """A configuration value or override that does not fit its field."""


class AnnotationError(InputError):
    """A data set file with missing or invalid content; the message names file and line."""


class MediaError(InputError):
    """A media file, folder or array that cannot be used."""


class MediaNotFoundError(MediaError, FileNotFoundError):
    """The media file does not exist."""


class MediaAccessError(MediaError, PermissionError):
    """The media file cannot be read: permissions, a special file, or outside the allowed root."""


class MediaTypeError(MediaError):
    """The file is not the requested kind of media."""


class MediaLimitError(MediaError):
    """The media exceeds a limit; the message names the setting."""


class MediaDecodeError(MediaError):
    """The media is empty, truncated or corrupt."""


class CheckpointError(VidweaveError):
    """Weights that do not fit the model, or a file that must not be loaded."""


class ModelNotFoundError(CheckpointError, InputError):
    """A name, file or folder given as a model that is not one."""


class StoreError(VidweaveError):
    """The feature store cannot be read or written."""


class PredictionError(VidweaveError):
    """A predictions file cannot be read, written or continued."""


class CancelledError(VidweaveError):
    """A call cancelled by its caller before it returned an answer."""


class EngineError(VidweaveError):
    """A language model endpoint that cannot be used: unreachable, or wrong key or model name."""


class TrainingError(VidweaveError):
    """A training run that cannot start, continue or resume."""


class PipelineError(VidweaveError):
    """A generation run that cannot start, continue or resume."""


class NonFiniteError(VidweaveError):
    """NaN or infinity in the output of a stage; the message names the stage and the dtype."""


class NotStreamableError(VidweaveError):
    """A component that needs the whole clip was used on a stream."""


class MissingProgramError(VidweaveError):
    """A program needed by an optional feature is not installed, such as Java; the message says how to get it."""


class MissingExtraError(VidweaveError, ImportError):
    """An optional dependency is missing; the message contains the install command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{purpose} needs {package}; install it with: pip install 'vidweave[{extra}]'")
