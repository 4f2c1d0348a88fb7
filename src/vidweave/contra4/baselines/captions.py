"""Caption baseline: a language model that reads a caption of each scene and sees no media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidweave.contra4.prompts import Style, caption_prompt, verifier_prompt
from vidweave.contra4.schema import read_objects
from vidweave.data.jsonl import expect
from vidweave.engines import Completion, Engine, Request, Sampling
from vidweave.errors import AnnotationError, EngineError, QueryError
from vidweave.types import Answer, Query, Trace

__all__ = ["CaptionAnswerer", "completed", "read_captions"]


def read_captions(path: Path) -> dict[tuple[str, str], str]:
    """Read (source, id) → caption from JSON or JSON lines of objects with `source`, `id` and `caption` (one or several texts).

    Raises:
        AnnotationError: an object without these keys; MediaNotFoundError: the file does not exist.
    """
    captions = {}
    for where, data in read_objects(path):
        (source,) = expect(data, where, source=str)
        caption = data.get("caption")
        text = caption[0] if isinstance(caption, list) and caption else caption
        if "id" not in data or not isinstance(text, str):
            raise AnnotationError(f"{where}: a caption needs 'id' and 'caption', got {data!r:.80}")
        captions[source, str(data["id"])] = text
    return captions


@dataclass(frozen=True, kw_only=True)
class CaptionAnswerer:
    """Ask a language model with the captions of the scenes (`query.extra["captions"]`).

    Attributes:
        engine: The language model.
        style: `text`: the published prompt, continued verbatim (base models, `/completions`); `chat`: the
            published verifier prompt as one message.
        sampling: Decoding settings, as published.
    """

    engine: Engine
    style: Style = "chat"
    sampling: Sampling = field(
        default_factory=lambda: Sampling(temperature=0.3, top_p=0.9, max_tokens=30, min_tokens=10)
    )

    def describe(self) -> dict[str, Any]:
        facts = {"model": f"captions read by {self.engine.describe()['model']}", "engine": self.engine.describe()}
        return {**facts, "style": self.style, "temperature": self.sampling.temperature, "seed": self.sampling.seed}

    def answer(self, queries: Sequence[Query], *, trace: bool | str = True, **decoding: Any) -> list[Answer]:
        """Return one answer per query: the first line of the completion.

        Raises:
            QueryError: a query without a caption per scene, or decoding arguments (the engine has its own).
        """
        if decoding:
            raise QueryError(
                f"{', '.join(decoding)} would have no effect: the caption baseline has its own sampling settings"
            )
        requests = [Request(prompt=self._prompt(query), sampling=self.sampling) for query in queries]
        return completed(self.engine, requests)

    def _prompt(self, query: Query) -> str | tuple[Mapping[str, Any], ...]:
        captions = query.extra.get("captions", ())
        if len(captions) != len(query.scenes):
            raise QueryError(
                f"{len(captions)} captions for {len(query.scenes)} scenes; the caption baseline needs one per scene"
            )
        if self.style == "text":
            return caption_prompt(captions, query.text)
        return ({"role": "user", "content": verifier_prompt(captions, query.text, "chat")},)


def completed(engine: Engine, requests: Sequence[Request], *, first_line: bool = True) -> list[Answer]:
    """Convert completions to answers; empty where the engine failed, with the reason in the trace.

    Args:
        first_line: Keep only the first line, as published for captions; otherwise the whole text.

    Raises:
        EngineError: every request failed in a way that may be temporary, so that an unreachable server is not counted
            as a wrong model.
    """
    completions = engine.complete(requests)
    if completions and all(done.may_pass for done in completions):
        raise EngineError(
            f"all {len(requests)} requests failed, the first with: {completions[0].error}; "
            "run again to resume, completed answers are kept"
        )
    return [_answer(request, done, first_line) for request, done in zip(requests, completions, strict=True)]


def _answer(request: Request, done: Completion, first_line: bool) -> Answer:
    text = done.text.strip().split("</s>")[0]
    text = (text.split("\n")[0] if first_line else text).strip()
    prompt = request.prompt if isinstance(request.prompt, str) else _words(request.prompt)
    tokens = {"text": done.input_tokens, "answer": done.output_tokens}
    notes = [f"no answer: {done.error}"] if done.error else []
    return Answer(text, trace=Trace(tokens=tokens, notes=notes, panels={"prompt": prompt}))


def _words(messages: Sequence[Mapping[str, Any]]) -> str:
    """Format messages as text; a part that is not text appears as its type in angle brackets."""
    contents = (message["content"] for message in messages)
    parts = [part for content in contents for part in ([content] if isinstance(content, str) else content)]
    return "\n".join(part if isinstance(part, str) else part.get("text", f"<{part['type']}>") for part in parts)
