"""What `vidweave evaluate` measures on: a task or a data set by name, a file of examples, or a folder of the toy world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.registry import DATASETS, TASKS
from vidweave.types.overrides import parse_settings, settings_of, takes_any_setting

if TYPE_CHECKING:
    from vidweave.evaluation.runner import Task

__all__ = ["Target", "find_target", "make_task"]

FILE_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
EXAMPLES = "examples"  # the data set that reads files of our own form
TOYWORLD = "toyworld"
QUESTIONS = "questions.jsonl"  # in a folder of `vidweave world make`


@dataclass(frozen=True, kw_only=True)
class Target:
    """A task or a data set, found by `find_target`.

    Attributes:
        name: Registered name.
        kind: Which registry it is in.
        settings: Settings that the target itself gives: the path, where it is one.
    """

    name: str
    kind: str
    settings: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The target in messages."""
        return f"{self.kind} {self.name!r}"


def find_target(text: str) -> Target:
    """The target that `text` names.

    Raises:
        UnknownNameError: neither a registered name nor a file or folder; lists near matches.
    """
    if text in TASKS:
        return Target(name=text, kind="task")
    if text in DATASETS:
        return Target(name=text, kind="data set")
    path = Path(text)
    if (path / QUESTIONS).is_file():
        return Target(name=TOYWORLD, kind="task", settings=(f"data={text}",))
    if path.suffix.lower() in FILE_SUFFIXES:
        return Target(name=EXAMPLES, kind="data set", settings=(f"data={text}",))
    advice = f"(a data file {', '.join(FILE_SUFFIXES)} or a folder with {QUESTIONS} works too)"
    raise UnknownNameError("task", text, [*TASKS, *DATASETS], advice)


def make_task(target: Target, texts: Sequence[str] = (), given: Mapping[str, Any] | None = None) -> Task:
    """The task of a target with its settings.

    Args:
        texts: ``key=value`` settings, checked against the types that the target declares.
        given: Further settings, by options of the command line.

    Raises:
        ConfigError: a setting of the wrong type, twice, that is not there or that is needed; also whatever the target
            refuses.
        UnknownNameError: a ``key=value`` setting that the target does not have.
    """
    # Imported here, so that naming a wrong target costs no import of numpy
    from vidweave.evaluation.tasks.dataset import DatasetTask

    registry = TASKS if target.kind == "task" else DATASETS
    made_of: Any = registry.get(target.name)
    parsed = parse_settings(made_of, [*target.settings, *texts], target.what)
    if twice := sorted(parsed.keys() & (given or {}).keys()):
        raise ConfigError(
            f"{', '.join(twice)} of {target.what} is given twice, by an option and as a setting; drop one"
        )
    settings = {**parsed, **(given or {})}
    _check(made_of, settings, target.what)
    made: Any = made_of(**settings) if callable(made_of) else made_of
    if target.kind == "task":
        return made
    task = DatasetTask(target.name, made, settings)
    task.ids()  # a file that cannot be read, and missing media, are reported before a model is loaded
    task.require_media()
    return task


def _check(made_of: Any, settings: Mapping[str, Any], what: str) -> None:
    known = settings_of(made_of)
    strangers = [name for name in settings if name not in known]
    if strangers and not takes_any_setting(made_of):
        raise ConfigError(f"the {what} takes no {', '.join(strangers)}; it takes: {', '.join(known) or 'nothing'}")
    if lacking := [s.name for s in known.values() if s.is_required and s.name not in settings]:
        raise ConfigError(f"the {what} needs {', '.join(f'{name}=…' for name in lacking)}; see `vidweave list`")
