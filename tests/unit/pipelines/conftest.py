"""Folders of tiny vision-language models, written once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_vlms

import vidweave
from vidweave.pipelines.vlm.pipeline import VlmPipeline
from vidweave.types import Clip


@pytest.fixture(scope="session")
def vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → its folder."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tiny_vlms.write(name, tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture(scope="session")
def vlm(vlm_folder: Callable[[str], Path]) -> Callable[[str], VlmPipeline]:
    """Family → its pipeline."""
    made: dict[str, VlmPipeline] = {}

    def pipe(name: str) -> VlmPipeline:
        if name not in made:
            made[name] = vidweave.load(vlm_folder(name))  # type: ignore[assignment]
        return made[name]

    return pipe


@pytest.fixture
def uneven() -> Clip:
    """Nine frames at a variable rate."""
    return tiny_vlms.clip_at([0.0, 0.4, 1.7, 2.0, 9.3, 61.5, 62.0, 125.75, 3600.2])
