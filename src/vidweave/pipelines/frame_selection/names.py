"""Turn what a user gives as `selector=` into a frame selector."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from vidweave.errors import ConfigError
from vidweave.pipelines.frame_selection.check import check_frame_selector
from vidweave.registry import FRAME_SELECTORS, SELECTORS
from vidweave.types import FrameSelector

__all__ = ["PipelineSelector", "frame_selector", "names_frame_selector"]


def frame_selector(
    given: str | FrameSelector | None,
    *,
    model: str | Path | None = None,
    device: Any = None,
    cache_folder: str | Path | None = None,
) -> FrameSelector | None:
    """The frame selector that `given` names.

    Args:
        given: A selector, which is returned as it is; a name in `registry.FRAME_SELECTORS`, e.g. `uniform`, or a name and
            the folder or hub id of its model, e.g. `similarity:google/siglip2-base-patch16-224`; None for none.
        model: The same folder or hub id, given apart.
        device: Device of its model; None is the CPU.
        cache_folder: Keep features of frames there, so that the next question about a clip decodes nothing to choose.

    Raises:
        UnknownNameError: there is no selector of that name.
        ConfigError: a selector without the model that it needs, or with one that it does not take.
        CheckpointError: the model cannot be read.
    """
    if given is None or not isinstance(given, str):
        if given is not None and not isinstance(given, FrameSelector):
            raise ConfigError(
                f"selector must be a name such as 'similarity:FOLDER', or an object with select(), got {given!r}"
            )
        if model is not None:
            raise ConfigError("selector_model belongs to a selector that is given by name, e.g. selector='similarity'")
        return given
    name, source = check_frame_selector(given, model)
    return FRAME_SELECTORS.get(name)(source, device=device, cache_folder=cache_folder)


def names_frame_selector(given: Any) -> bool:
    """Whether a `selector=` that may also be a selector of our slots is a frame selector, or would be one if it were known."""
    if isinstance(given, str):
        return given not in SELECTORS and (":" in given or given in FRAME_SELECTORS)
    return isinstance(given, FrameSelector)


class PipelineSelector:
    """The frame selector of a pipeline, and those that single calls name, each loaded once. Threads may share one.

    Args:
        given: As of `frame_selector`, for all calls that name no other.
        device, cache_folder: As of `frame_selector`.
    """

    def __init__(
        self, given: str | FrameSelector | None = None, *, device: Any = None, cache_folder: str | Path | None = None
    ) -> None:
        self._place = {"device": device, "cache_folder": cache_folder}
        self._named: dict[str, FrameSelector | None] = {}
        self._lock = Lock()
        self.own = self._find(given)

    def of(self, given: str | FrameSelector | None) -> FrameSelector | None:
        """The selector of one call; None is the pipeline's own."""
        return self.own if given is None else self._find(given)

    def describe(self) -> dict[str, Any]:
        """The pipeline's own selector, for the record of a run; empty without one."""
        return {} if self.own is None else {"selector": self.own.describe()}

    def close(self) -> None:
        """Write features that are still in memory; may be called again."""
        for selector in (self.own, *self._named.values()):
            if selector is not None:
                selector.close()

    def _find(self, given: str | FrameSelector | None) -> FrameSelector | None:
        if not isinstance(given, str):
            return frame_selector(given)
        with self._lock:
            if given not in self._named:
                self._named[given] = frame_selector(given, **self._place)
            return self._named[given]
