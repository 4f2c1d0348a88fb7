"""vidweave: composable video-language reasoning. Names are imported lazily: importing the package loads no torch."""

from importlib import import_module

from vidweave import auto_classes

TYPE_CHECKING = False  # not from `typing`: the console script hears no interrupt before this file is read
if TYPE_CHECKING:
    from vidweave.pipelines.compose import compose as compose
    from vidweave.pipelines.load import load as load
    from vidweave.types import Answer as Answer
    from vidweave.types import Clip as Clip
    from vidweave.types import Query as Query
    from vidweave.types import Scene as Scene

__version__ = "0.1.0.dev0"

_LAZY = {
    "Answer": "vidweave.types",
    "Clip": "vidweave.types",
    "Query": "vidweave.types",
    "Scene": "vidweave.types",
    "compose": "vidweave.pipelines.compose",
    "load": "vidweave.pipelines.load",
}

__all__ = ["Answer", "Clip", "Query", "Scene", "__version__", "compose", "load"]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vidweave' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


auto_classes.register()
