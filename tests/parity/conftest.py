"""Which parity modules are collected: those whose goldens are there, and those that `-k` names.

Modules read their golden files when they are collected, so a folder with the goldens of one system would stop the
session for the sake of all others. With the project's own goldens, every module is collected.
"""

import re
from pathlib import Path

import pytest
from goldens import ROOT

OWN = Path(__file__).parents[1] / "golden"


def system_of(path: Path) -> str | None:
    """The golden folder of a test module: the first word of its name."""
    result = re.fullmatch(r"test_parity_([a-z0-9]+)(_\w+)?", path.stem)
    return result.group(1) if result else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    system = system_of(collection_path)
    if system is None or collection_path.parent != Path(__file__).parent:
        return None
    systems = {system_of(path) for path in collection_path.parent.glob("test_parity_*.py")}
    named = {name for name in systems if name and name in (config.option.keyword or "")}
    if named and system not in named and " not " not in f" {config.option.keyword}":
        return True
    given = {folder.name for folder in ROOT.iterdir() if folder.is_dir()} & systems
    return True if ROOT != OWN and given and system not in given else None


def pytest_report_header() -> str | None:
    if ROOT == OWN:
        return None
    systems = {system_of(path) for path in Path(__file__).parent.glob("test_parity_*.py")}
    return (
        f"goldens: {ROOT}; without {', '.join(sorted(s for s in systems if s and not (ROOT / s).is_dir())) or 'none'}"
    )
