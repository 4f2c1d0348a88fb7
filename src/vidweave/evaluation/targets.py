"""Targets of `vidweave evaluate`: a task or data set by name, a file of examples, or a toy world folder."""

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
EXAMPLES = "examples"  # the data set that reads files in vidweave's format
TOYWORLD = "toyworld"
QUESTIONS = "questions.jsonl"  # in a folder of `vidweave toyworld make`


@dataclass(frozen=True, kw_only=True)
class Target:
    """A task or a data set, resolved by `find_target`.

    Attributes:
        name: Registered name.
        kind: "task" or "data set".
        settings: Settings implied by the target: ``data=PATH`` if it is a path.
    """

    name: str
    kind: str
    settings: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """Description of the target for messages."""
        return f"{self.kind} {self.name!r}"


def find_target(text: str) -> Target:
    """Find the target named by `text`.

    Raises:
        UnknownNameError: `text` is neither a registered name nor a file or folder; lists near matches.
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
    """Build the task of a target from its settings.

    Args:
        texts: ``key=value`` settings, checked against the declared types of the target.
        given: Further settings from command-line options.

    Raises:
        ConfigError: A setting has the wrong type, is given twice, unknown, missing, or refused by the target.
        UnknownNameError: The target does not have a ``key=value`` setting.
    """
    # Imported here, so that a wrong target fails before numpy is imported
    from vidweave.evaluation.tasks.dataset import DatasetTask

    registry = TASKS if target.kind == "task" else DATASETS
    factory: Any = registry.get(target.name)
    parsed = parse_settings(factory, [*target.settings, *texts], target.what)
    if twice := sorted(parsed.keys() & (given or {}).keys()):
        raise ConfigError(
            f"{', '.join(twice)} of {target.what} is given twice, by an option and as a setting; drop one"
        )
    settings = {**parsed, **(given or {})}
    _check(factory, settings, target.what)
    built: Any = factory(**settings) if callable(factory) else factory
    if target.kind == "task":
        return built
    task = DatasetTask(target.name, built, settings)
    task.ids()  # unreadable files and missing media are reported before a model is loaded
    task.require_media()
    return task


def _check(factory: Any, settings: Mapping[str, Any], what: str) -> None:
    known = settings_of(factory)
    unknown = [name for name in settings if name not in known]
    if unknown and not takes_any_setting(factory):
        raise ConfigError(f"the {what} has no setting {', '.join(unknown)}; it has: {', '.join(known) or 'nothing'}")
    if missing := [s.name for s in known.values() if s.is_required and s.name not in settings]:
        raise ConfigError(f"the {what} needs {', '.join(f'{name}=…' for name in missing)}; see `vidweave list`")
