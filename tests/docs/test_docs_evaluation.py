"""The table of benchmarks in docs/evaluation.md says what the registry, the package's published numbers and scorers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidweave.evaluation.references import published
from vidweave.registry import DATASETS

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
NAMES = [name for name in DATASETS if name != "examples" and DATASETS.entry(name).facts.metric]


def row(name: str) -> str:
    """The line of the table that a data set should have."""
    facts = DATASETS.entry(name).facts
    numbers = [f"{_short(result.name)} {result.overall:g}" for result in published(name)]
    shown = "; ".join(numbers[:6]) + (f"; {len(numbers) - 6} more" if len(numbers) > 6 else "")
    cells = (f"`{name}`", facts.split, facts.metric, shown or "-", facts.blind or "not measured")
    return f"| {' | '.join(cells)} |"


def _short(name: str) -> str:
    """ "merv merv-frozen" is merv-frozen, "benchmarks human" human; "crema V,P" keeps its system."""
    folder, _, rest = name.partition(" ")
    return rest if rest.startswith(folder) or folder == "benchmarks" else name


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_its_line(name):
    assert row(name) in PAGE.splitlines(), f"docs/evaluation.md should hold the line:\n{row(name)}"


def test_the_page_names_no_other_benchmark():
    lines = [line for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 6]
    assert {line.split("`")[1] for line in lines} == set(NAMES)


def test_commands_of_the_page_are_commands_of_the_program():
    import typer

    from vidweave.cli.app import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    commands = [line.split()[1] for line in PAGE.splitlines() if line.startswith("vidweave ")]
    assert len(commands) > 5
    assert set(commands) <= set(known)
