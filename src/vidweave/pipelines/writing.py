"""An answer piece by piece, while the language model writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Event, Thread
from typing import Any

from transformers import PreTrainedTokenizerBase, TextIteratorStreamer

__all__ = ["write_pieces"]


def write_pieces(
    generate: Callable[[TextIteratorStreamer, Event], Any], tokenizer: PreTrainedTokenizerBase
) -> Iterator[str]:
    """Pieces of text that `generate` hands to the streamer in a thread of its own; joined, they are the answer's text.

    Args:
        generate: Gets the streamer, and an event that is set when the reader stops, which ends generation.
    """
    streamer, stop, failure = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True), Event(), []

    def run() -> None:
        try:
            generate(streamer, stop)
        except BaseException as error:  # noqa: BLE001 (raised again where the pieces are read)
            failure.append(error)
            streamer.text_queue.put(streamer.stop_signal)

    thread = Thread(target=run, name="vidweave generation", daemon=True)
    thread.start()
    try:
        yield from _trimmed(streamer)
    finally:
        stop.set()
        thread.join()
    if failure:
        raise failure[0]


def _trimmed(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces without white space around the whole text, which an answer's text does not have either."""
    held, has_begun = "", False
    for piece in pieces:
        text = held + piece if has_begun else piece.lstrip()
        kept = text.rstrip()
        held = text[len(kept) :]
        if kept:
            has_begun = True
            yield kept
