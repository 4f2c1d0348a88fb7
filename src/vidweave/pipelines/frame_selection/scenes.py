"""Frame selectors and queries of several scenes: one choice per scene that has a video."""

# Axes: R rows = (item, scene) pairs, k timestamps, m spans

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event

import torch
from torch.nn.utils.rnn import pad_sequence

from vidweave.errors import ModalityError
from vidweave.media.limits import Limits
from vidweave.media.plan import frames_inside
from vidweave.model.prepared import Prepared
from vidweave.pipelines.frame_selection.panel import selection_panel
from vidweave.types import FrameSelection, FrameSelector, PrecomputedFeatures, Query, Scene, Selection, Trace

__all__ = ["add_choices", "as_selection", "choose_prepared", "choose_scenes", "select_prepared"]

Choices = dict[tuple[int, int], FrameSelection]


def choose_scenes(
    selector: FrameSelector,
    queries: Sequence[Query],
    count: Callable[[int, int], int],
    *,
    limits: Limits | None = None,
    cancel: Event | None = None,
) -> Choices:
    """(item, scene) → choice, for each scene that has a video; scenes without one are left out.

    Args:
        count: (item, scene) → number of timestamps; 0 leaves the scene out.

    Raises:
        ModalityError: no scene of a query has a video.
    """
    choices: Choices = {}
    for item, query in enumerate(queries):
        if not any(_has_video(scene) for scene in query.scenes):
            given = ", ".join(dict.fromkeys(name for scene in query.scenes for name in scene.clip))
            raise ModalityError(f"a frame selector needs a video, but there is only {given}; leave out the selector")
        for number, scene in enumerate(query.scenes):
            k = count(item, number) if _has_video(scene) else 0
            if k:
                choices[item, number] = selector.select(
                    scene.clip, query.text, num_frames=k, options=query.options, limits=limits, cancel=cancel
                )
    return choices


def choose_prepared(
    selector: FrameSelector, prepared: Prepared, *, limits: Limits | None = None, cancel: Event | None = None
) -> Choices:
    """As `choose_scenes`, with the number of frames that the streams of a model of our slots need, or fewer if there are fewer."""
    most = max((need.num_frames or 1 for need in prepared.needs.values()), default=1)

    def count(item: int, scene: int) -> int:
        opened = prepared.scenes[item, scene]
        first, stop, _ = frames_inside(*opened.source("video").timeline(), opened.span)
        return min(most, stop - first)

    return choose_scenes(selector, prepared.queries, count, limits=limits, cancel=cancel)


def select_prepared(selector: FrameSelector, prepared: Prepared) -> Selection | None:
    """What a model's own `select` does: timestamps of every scene with a video; None where there is none."""
    if not any(_has_video(scene) for query in prepared.queries for scene in query.scenes):
        return None
    return as_selection(choose_prepared(selector, prepared))


def as_selection(choices: Mapping[tuple[int, int], FrameSelection]) -> Selection | None:
    """The choices as tensors; scenes left to uniform sampling have no row, so that each stream samples by its own rule.

    None where no scene has a row.
    """
    rows = {pair: choice for pair, choice in choices.items() if not choice.is_uniform}
    if not rows:
        return None
    seconds = [torch.tensor(choice.seconds, dtype=torch.float64) for choice in rows.values()]
    lengths = torch.tensor([len(row) for row in seconds])
    padded = pad_sequence(seconds, batch_first=True)
    spans = [_best_span(choice) for choice in rows.values()]
    return Selection(
        seconds=padded,
        mask=torch.arange(padded.shape[1])[None] < lengths[:, None],
        spans=torch.tensor(spans, dtype=torch.float64)[:, None],
        item=torch.tensor([item for item, _ in rows]),
        scene=torch.tensor([scene for _, scene in rows]),
        reason=next(iter(rows.values())).reason,
    )


def add_choices(
    traces: Sequence[Trace], queries: Sequence[Query], choices: Mapping[tuple[int, int], FrameSelection]
) -> None:
    """Add the panel `selection` and the selector's notes to the traces of `queries`."""
    for item, trace in enumerate(traces):
        own = {queries[item].scenes[s].label: choice for (i, s), choice in choices.items() if i == item}
        if own:
            trace.panels["selection"] = selection_panel(own)
            trace.notes.extend(dict.fromkeys(note for choice in own.values() for note in choice.notes))


def _has_video(scene: Scene) -> bool:
    return "video" in scene.clip and not isinstance(scene.clip["video"], PrecomputedFeatures)


def _best_span(choice: FrameSelection) -> list[float]:
    if choice.spans:
        return [choice.spans[0].start, choice.spans[0].end]
    return [choice.seconds[0], choice.seconds[-1]]
