"""The caption baseline: a language model that reads what each scene is said to show, and sees none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vidweave.contra4.parsing import LETTERS
from vidweave.engines import Completion, Engine, Request, Sampling
from vidweave.errors import QueryError
from vidweave.types import Answer, Query, Trace

__all__ = ["CaptionAnswerer", "completed"]

CHAT = (
    "Select which of the scenes best answers the question. Respond with brevity, and only include your choice in the "
    "response.\n\nQuestion: {question} Choices:{choices} Answer:"
)
TEXT = "<s>Answer the question {question} by selecting one of the following options: {options}. Answer: Option"


@dataclass(frozen=True, kw_only=True)
class CaptionAnswerer:
    """Puts a question and the captions of its scenes (`query.extra["captions"]`) to a language model.

    Attributes:
        engine: Reads and answers.
        style: `text`: the published prompt, continued as it stands (base models, `/completions`); `chat`: the
            published verifier prompt as one message.
        sampling: As published.
    """

    engine: Engine
    style: Literal["text", "chat"] = "chat"
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.3, top_p=0.9, max_tokens=30, min_tokens=10))

    def describe(self) -> dict[str, Any]:
        facts = {"model": f"captions read by {self.engine.describe()['model']}", "engine": self.engine.describe()}
        return {**facts, "style": self.style, "temperature": self.sampling.temperature, "seed": self.sampling.seed}

    def answer(self, queries: Sequence[Query], **decoding: Any) -> list[Answer]:
        """One answer per query: the first line of what the model says.

        Raises:
            QueryError: a query without a caption per scene, or decoding arguments (the engine has its own).
        """
        if decoding:
            raise QueryError(f"{', '.join(decoding)} would do nothing: the sampling of the caption baseline is its own")
        requests = [Request(prompt=self._prompt(query), sampling=self.sampling) for query in queries]
        return completed(self.engine, requests)

    def _prompt(self, query: Query) -> str | tuple[Mapping[str, Any], ...]:
        captions = query.extra.get("captions", ())
        if len(captions) != len(query.scenes):
            raise QueryError(f"{len(captions)} captions for {len(query.scenes)} scenes; the caption baseline reads one each")
        scenes = list(zip(LETTERS, captions, strict=False))
        if self.style == "text":
            options = ", ".join(f"Option {letter}: {caption}" for letter, caption in scenes)
            return TEXT.format(question=query.text, options=options)
        choices = "\n".join(f'Scene {letter}. "{caption}"' for letter, caption in scenes)
        return ({"role": "user", "content": CHAT.format(question=query.text, choices=choices)},)


def completed(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """Answers from what an engine says: the first line; nothing where it failed, with the reason in the trace."""
    return [_answer(request, done) for request, done in zip(requests, engine.complete(requests), strict=True)]


def _answer(request: Request, done: Completion) -> Answer:
    line = done.text.strip().split("\n")[0].split("</s>")[0].strip()
    prompt = request.prompt if isinstance(request.prompt, str) else _words(request.prompt)
    tokens = {"text": done.input_tokens, "answer": done.output_tokens}
    notes = [f"no answer: {done.error}"] if done.error else []
    return Answer(line, trace=Trace(tokens=tokens, notes=notes, panels={"prompt": prompt}))


def _words(messages: Sequence[Mapping[str, Any]]) -> str:
    """Messages as text, a part that is no text standing as its type in angle brackets."""
    contents = (message["content"] for message in messages)
    parts = [part for content in contents for part in ([content] if isinstance(content, str) else content)]
    return "\n".join(part if isinstance(part, str) else part.get("text", f"<{part['type']}>") for part in parts)
