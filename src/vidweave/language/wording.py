"""Tokenize text safely: user input never becomes a special token."""

from __future__ import annotations

from typing import Any, Literal

from vidweave.errors import ConfigError, QueryError
from vidweave.language.parts import Text

__all__ = ["Wording"]


class Wording:
    """Tokenize the texts of one plan with one tokenizer; equal texts are tokenized once.

    Args:
        tokenizer: A transformers tokenizer.
        on_overflow: A text longer than its `max_tokens` is an `error`, or is cut (`truncate`) and noted.
    """

    def __init__(self, tokenizer: Any, on_overflow: Literal["error", "truncate"]) -> None:
        self.tokenizer = tokenizer
        self.on_overflow = on_overflow
        self._known: dict[str, list[int]] = {}
        self._special = [token for token in tokenizer.all_special_tokens if token]

    def ids(self, text: str) -> list[int]:
        """Return the token ids of `text`, without special tokens around it."""
        if text not in self._known:
            self._known[text] = (
                list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else []
            )
        return self._known[text]

    def special(self, name: str, if_any: bool = False) -> list[int]:
        """Return the id of special token `name` (`bos`, `eos`, …) as a list; empty if there is none and `if_any`."""
        number = getattr(self.tokenizer, f"{name}_token_id", None)
        if number is None and not if_any:
            raise ConfigError(
                f"the prompt needs a {name} token, but the tokenizer has none; set if_any=True to do without"
            )
        return [] if number is None else [int(number)]

    def typed(self, text: str, what: str) -> str:
        """Return `text` unchanged; raise QueryError if it contains a special token of the tokenizer."""
        for token in self._special:
            if token in text:
                raise QueryError(
                    f"the {what} contains {token!r}, which the language model reads as a control token; reword it"
                )
        return text

    def fit(self, part: Text, fields: dict[str, Any]) -> tuple[list[int], str]:
        """Return the ids of `part` with `fields` filled in, at most `part.max_tokens`, and a note if it was cut."""
        ids, most = self.ids(part.text.format(**fields)), part.max_tokens
        if most is None or len(ids) <= most:
            return ids, ""
        self.refuse(len(ids), most, "prompt text")
        cut = {"right": ids[:most], "left": ids[-most:]}.get(part.cut)
        if cut is None:
            cut = self._shorten_question(part, fields, most)
        return cut, f"the prompt text was cut from {len(ids)} to {len(cut)} tokens ({part.cut})"

    def refuse(self, got: int, most: int, what: str) -> None:
        """Raise QueryError unless texts that are too long are cut."""
        if self.on_overflow == "error":
            raise QueryError(
                f"the {what} has {got} tokens, at most {most} are allowed; shorten the question or the options"
            )

    def _shorten_question(self, part: Text, fields: dict[str, Any], most: int) -> list[int]:
        """Shorten the question to its longest prefix of whole words with which the whole text fits."""
        words = fields["question"].split()

        def with_words(count: int) -> list[int]:
            return self.ids(part.text.format(**{**fields, "question": " ".join(words[:count])}))

        low, high = 0, len(words)
        if len(with_words(0)) > most:
            raise QueryError(
                f"the prompt has {len(with_words(0))} tokens without the question, at most {most} are allowed"
            )
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(with_words(middle)) <= most else (low, middle - 1)
        return with_words(low)
