"""Report of one answer: question and answer, sampled frames, costs, and a panel per part of the model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from vidweave.errors import QueryError
from vidweave.report.charts import bars, paragraph
from vidweave.report.context import PanelContext
from vidweave.report.drawing import Drawing, Words, wrap
from vidweave.report.durations import format_seconds
from vidweave.report.panels import draw_panels
from vidweave.report.raster import to_image
from vidweave.report.svg import to_svg
from vidweave.report.timeline import clip_span, draw_timeline
from vidweave.types import Answer, Query, Scene, Trace

__all__ = ["Page", "explain"]

_STYLE = (
    "body{font-family:sans-serif;max-width:1000px;margin:24px auto;padding:0 12px;color:#222}"
    "h2{font-size:15px;margin:22px 0 6px;border-bottom:1px solid #ddd;padding-bottom:3px}"
    "svg{font-family:sans-serif}pre{white-space:pre-wrap;font-size:12px}"
)


@dataclass(frozen=True)
class Page:
    """Titled drawings, one below the other; `account` is the complete data as JSON."""

    title: str
    sections: tuple[tuple[str, Drawing], ...]
    account: str = ""
    account_name: str = "all of the trace"

    def html(self) -> str:
        """Render self-contained HTML: no script, no other file, no network access."""
        body = "".join(f"<h2>{escape(name)}</h2>{to_svg(drawing)}" for name, drawing in self.sections)
        more = f"<details><summary>{escape(self.account_name)}</summary><pre>{escape(self.account)}</pre></details>"
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f"<style>{_STYLE}</style></head><body>{body}{more if self.account else ''}</body></html>\n"
        )

    def image(self) -> Image.Image:
        """Render the page as an image."""
        sheet = Drawing(max(drawing.width for _, drawing in self.sections) + 20, 10)
        for name, drawing in self.sections:
            y = sheet.height + 22
            sheet.add(Words(10, y, name, 14, bold=True))
            sheet.place(drawing, y + 10)
        sheet.height += 14
        return to_image(sheet)

    def save(self, file: str | Path) -> tuple[Path, Path]:
        """Write the page, and the image beside it under the same name with `.png`; return both paths."""
        page = Path(file)
        image = page.with_suffix(".png")
        if image == page:
            raise QueryError(f"the page is HTML and cannot be named {page.name!r}; end its name in .html")
        page.write_text(self.html(), encoding="utf-8")
        self.image().save(image)
        return page, image


def explain(query: Query, answer: Answer) -> Page:
    """Build the page of an answer with a trace.

    Raises:
        QueryError: the answer has no trace.
        MediaError: the clip can no longer be read.
    """
    trace = answer.trace
    if trace is None:
        raise QueryError("the answer has no trace to explain; ask with trace=True or trace='full'")
    uses = {scene.label: [use for use in trace.frames if use.scene == scene.label] for scene in query.scenes}
    contexts = [PanelContext(trace, clip_span(scene.clip, uses[scene.label])) for scene in query.scenes]
    sections = [("Question", _question(contexts[0], query, answer))]
    for scene, context in zip(query.scenes, contexts, strict=True):
        sections.append((_name(scene), draw_timeline(context, scene.clip, uses[scene.label])))
    sections += [*_costs(contexts[0], trace), *draw_panels(contexts[0])]
    if trace.notes:
        sections.append(("Notes", paragraph(contexts[0], "\n".join(trace.notes))))
    account = json.dumps(answer.to_dict(), ensure_ascii=False, indent=1, default=str)
    return Page(query.text, tuple(sections), account)


def _name(scene: Scene) -> str:
    return f"Clip {scene.label}" if scene.label else "Clip"


def _question(context: PanelContext, query: Query, answer: Answer) -> Drawing:
    """Draw the question, the answer, and the probability of each option."""
    drawing, y = context.sheet(), 18.0
    for text, bold in ((query.text, False), (answer.text, True), *((text, False) for text in answer.alternatives)):
        for line in wrap(text, context.width - 20, 15)[:8]:
            drawing.add(Words(10, y, line, 15, bold=bold))
            y += 20
    if answer.options:
        best = max(option.score for option in answer.options)
        weights = [math.exp(option.score - best) for option in answer.options]
        shares = [weight / sum(weights) for weight in weights]
        rows = [
            (option.text, share, f"{share:.1%}  ({option.score:.3f})")
            for option, share in zip(answer.options, shares, strict=True)
        ]
        drawing.place(bars(context, rows, most=1.0), y)
    return drawing


def _costs(context: PanelContext, trace: Trace) -> list[tuple[str, Drawing]]:
    tokens = [(name, float(count), f"{count} tokens") for name, count in trace.tokens.items()]
    seconds = [(name, value, format_seconds(value)) for name, value in trace.seconds.items()]
    parts = [("Tokens read by the language model", tokens), ("Time per stage", seconds)]
    return [(title, bars(context, rows)) for title, rows in parts if rows]
