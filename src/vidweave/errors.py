"""Every error that vidweave raises on purpose.

VidweaveError
├── InputError (ValueError)                 what the user gave; the command line exits with 2
│   ├── QueryError                          question, options or scenes
│   ├── ShapeError                          shape, dtype or values of an array or tensor
│   ├── UnknownNameError                    a name that no registry holds; lists near matches
│   ├── ModalityError                       a modality unknown, missing, or supplied and unused
│   ├── ConfigError                         a configuration field or override
│   ├── AnnotationError                     a data set file
│   └── MediaError
│       ├── MediaNotFoundError (FileNotFoundError)
│       ├── MediaAccessError (PermissionError)      unreadable, a special file, outside the allowed root
│       ├── MediaTypeError                  not the kind of media that was asked for
│       ├── MediaLimitError                 above a cap; names the setting that raises it
│       └── MediaDecodeError                empty, truncated or corrupt
├── CheckpointError                         missing, extra or mis-shaped keys; a hostile file
│   └── ModelNotFoundError (InputError)     a name or folder that holds no model
├── StoreError                              the feature store cannot be used
├── RecordError                             an evaluation record file cannot be used
├── CancelledError                          a call that its caller cancelled
├── EngineError                             a language model elsewhere that serves nothing
├── TrainingError                           a run that cannot start, go on or resume
├── PipelineError                           a generation run that cannot start, go on or resume
├── NonFiniteError                          NaN or infinity where a stage hands its numbers to the next
├── NotStreamableError                      a part that needs the whole clip, asked to stream
├── MissingProgramError                     a program on the machine that an optional feature runs
└── MissingExtraError (ImportError)         an optional dependency; carries the install line
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
    "RecordError",
    "ShapeError",
    "StoreError",
    "TrainingError",
    "UnknownNameError",
    "VidweaveError",
]


class VidweaveError(Exception):
    """Base of all errors that vidweave raises on purpose."""


class InputError(VidweaveError, ValueError):
    """The input is wrong; the message says what came, what was expected and what to do."""


class QueryError(InputError):
    """A question, option list or scene list that cannot be asked."""


class ShapeError(InputError):
    """An array or tensor of the wrong shape, dtype or values."""


class UnknownNameError(InputError):
    """A name that is not known; the message lists near matches."""

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
    """A modality that is unknown, missing, or supplied and used by nothing."""


class ConfigError(InputError):
    """A configuration value or override that does not fit its field."""


class AnnotationError(InputError):
    """A data set file that does not say what it should; the message names file and line."""


class MediaError(InputError):
    """A media file, folder or array that cannot be used."""


class MediaNotFoundError(MediaError, FileNotFoundError):
    """The media file does not exist."""


class MediaAccessError(MediaError, PermissionError):
    """The media file may not be read: permissions, a special file, or outside the allowed root."""


class MediaTypeError(MediaError):
    """The file is not the kind of media that was asked for."""


class MediaLimitError(MediaError):
    """The media is larger than a cap allows; the message names the setting."""


class MediaDecodeError(MediaError):
    """The media is empty, truncated or corrupt beyond use."""


class CheckpointError(VidweaveError):
    """Weights that do not fit the model, or a file that must not be loaded."""


class ModelNotFoundError(CheckpointError, InputError):
    """A name, file or folder that was given as a model and is none."""


class StoreError(VidweaveError):
    """The feature store cannot be read or written."""


class RecordError(VidweaveError):
    """An evaluation record file cannot be read, written or continued."""


class CancelledError(VidweaveError):
    """A call that was cancelled by its caller before there was an answer."""


class EngineError(VidweaveError):
    """A language model behind an endpoint that serves nothing: unreachable, or key or model name are wrong."""


class TrainingError(VidweaveError):
    """A training run that cannot start, go on or resume."""


class PipelineError(VidweaveError):
    """A generation run that cannot start, go on or resume."""


class NonFiniteError(VidweaveError):
    """NaN or infinity in what a stage hands to the next; the message names the stage and the dtype."""


class NotStreamableError(VidweaveError):
    """A part that needs the whole clip was asked to work on a stream."""


class MissingProgramError(VidweaveError):
    """A program that an optional feature runs is not installed, such as Java; the message says how to get it."""


class MissingExtraError(VidweaveError, ImportError):
    """An optional dependency is missing; the message carries the line that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{purpose} needs {package}; install it with: pip install 'vidweave[{extra}]'")
