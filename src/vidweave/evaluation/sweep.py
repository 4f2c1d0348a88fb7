"""One setting after another: numbers of frames, frame rates, selectors. Each has its prediction file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from vidweave.errors import ConfigError
from vidweave.evaluation.compare import compare_many
from vidweave.evaluation.report import Report
from vidweave.evaluation.significance import holm_adjusted

__all__ = ["Setting", "SweepRow", "settings_of", "sweep_rows"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a sweep.

    Attributes:
        frames: Frames per question; None is the model's own number.
        fps: Frames per second instead.
        selector: Frame selector in front of the model; None is the model's own.
    """

    frames: int | None = None
    fps: float | None = None
    selector: str | None = None

    @property
    def decoding(self) -> dict[str, Any]:
        """Arguments of the model's `answer`."""
        given = {"num_frames": self.frames, "fps": self.fps}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def label(self) -> str:
        """Name in tables, e.g. `8 frames, similarity`."""
        parts = [
            "" if self.frames is None else f"{self.frames} frame{'s' * (self.frames != 1)}",
            "" if self.fps is None else f"{self.fps:g} fps",
            self.selector or "",
        ]
        return ", ".join(filter(None, parts)) or "as configured"

    @property
    def slug(self) -> str:
        """Part of the name of its prediction file."""
        return re.sub(r"[^a-zA-Z0-9.]+", "-", self.label).strip("-.")


def settings_of(frames: Sequence[int] = (), fps: Sequence[float] = (), selectors: Sequence[str] = ()) -> list[Setting]:
    """Return every combination of the values, selectors outermost; one setting if nothing is swept.

    Raises:
        ConfigError: Frames together with a frame rate, a value twice, or two values that would share a file.
    """
    if frames and fps:
        raise ConfigError("--frames and --fps both set the number of frames; give one")
    numbers: list[dict[str, Any]] = [{"frames": n} for n in frames] or [{"fps": rate} for rate in fps] or [{}]
    made = [Setting(selector=selector, **number) for selector, number in product([*selectors] or [None], numbers)]
    slugs = [setting.slug for setting in made]
    if twice := [setting.label for setting in made if slugs.count(setting.slug) > 1]:
        raise ConfigError(f"the setting {twice[0]!r} is given twice; give each value once")
    return made


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """Result of one setting.

    Attributes:
        accuracy, low, high: Accuracy with its 95% Wilson interval.
        difference, difference_low, difference_high: To the first setting, paired by question, with a bootstrap interval; None
            for the first.
        p_value, p_holm: Of McNemar's test, and adjusted for all settings.
        frames_per_question: Median number of frames used.
        seconds: Seconds per part of the run (`evaluation.timing`).
        predictions: Its prediction file.
    """

    setting: Setting
    num_items: int
    accuracy: float
    low: float
    high: float
    frames_per_question: int
    seconds: Mapping[str, float]
    predictions: str
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        own = {name: value for name, value in vars(self).items() if name != "setting"}
        return {"label": self.setting.label, **vars(self.setting), **own, "seconds": dict(self.seconds)}


def sweep_rows(settings: Sequence[Setting], reports: Sequence[Report], files: Sequence[Path]) -> list[SweepRow]:
    """Build one row per setting, compared with the first setting question by question."""
    differences = [c.overall for c in compare_many(files[0], files[1:])] if len(files) > 1 else []
    adjusted = holm_adjusted([d.p_value for d in differences])
    compared: list[dict[str, Any]] = [{}]
    # Later minus first: the comparison is the other way round
    compared += [
        {
            "difference": 0.0 - d.difference,
            "difference_low": 0.0 - d.high,
            "difference_high": 0.0 - d.low,
            "p_value": d.p_value,
            "p_holm": p_holm,
        }
        for d, p_holm in zip(differences, adjusted, strict=True)
    ]
    return [
        SweepRow(
            setting=setting,
            num_items=report.overall.num_items,
            accuracy=report.overall.accuracy,
            low=report.overall.low,
            high=report.overall.high,
            frames_per_question=report.manifest["pictures_per_item"]["median"],
            seconds=report.timing.get("seconds", {}),
            predictions=str(file),
            **more,
        )
        for setting, report, file, more in zip(settings, reports, files, compared, strict=True)
    ]
