"""`--import MODULE`: import Python code that registers names before a command runs."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from vidweave.cli.user_code import place_in_user_code
from vidweave.errors import ConfigError

__all__ = ["import_plugin"]


def import_plugin(name: str) -> None:
    """Import a module by its name, or a Python file by its path.

    A file is imported under its own name, with its folder appended to `sys.path`, so that worker processes find it too.
    The names it registers can be used in the rest of the command line.

    Raises:
        ConfigError: The module or file does not exist, or fails to import.
    """
    is_file = name.endswith(".py") or "/" in name
    module = _module_of(Path(name)) if is_file else name
    try:
        import_module(module)
    except (Exception, SystemExit) as error:  # user code may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise ConfigError(
                f"--import found no module {name!r}; give the name of an importable module or the path of a .py file"
            ) from error
        place = place_in_user_code(error)
        where = f" ({place})" if place else ""
        raise ConfigError(f"--import {name} fails{where}: {type(error).__name__}: {error}") from error


def _module_of(path: Path) -> str:
    """Return the module name of a file; append its folder to `sys.path` if needed."""
    if not path.is_file() or path.suffix != ".py":
        raise ConfigError(f"--import found no Python file {path}; give the name of a module or the path of a .py file")
    if not path.stem.isidentifier():
        raise ConfigError(
            f"--import cannot import {path.name}, since {path.stem!r} is not a valid module name; rename it"
        )
    path = path.resolve()
    if path.stem not in sys.modules and find_spec(path.stem) is None:
        sys.path.append(str(path.parent))
    spec = sys.modules[path.stem].__spec__ if path.stem in sys.modules else find_spec(path.stem)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != path:
        raise ConfigError(
            f"--import cannot import {path}: there is another module {path.stem!r}"
            f"{f' ({spec.origin})' if spec is not None and spec.origin else ''}; rename the file"
        )
    return path.stem
