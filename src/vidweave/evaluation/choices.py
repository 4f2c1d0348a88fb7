"""Parse the option that a free text chooses, with one rule for all models; ambiguous texts choose none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["chosen_option"]

_CONTEXT = 200  # characters of context around a letter
_WORD = "0-9A-Za-zÀ-ɏ_"  # Latin only: Chinese and Japanese have no space between a word and a letter
_NAME = r"\b(?:scenes?|options?|choices?|letter)(?:\s*[:#]\s*|\s+|\s*(?=\())"
_LETTER = re.compile(rf"(?P<name>{_NAME})?\(?(?<![{_WORD}'-])(?<!\w\.)(?P<letter>[a-z])(?![{_WORD}])", re.IGNORECASE)
_ABBREVIATED = re.compile(r"-\w|\.\w")  # "T-shirt", "A.M."
# "A" before a word is an article ("A man walks"), unless the word follows a label ("A is louder")
_ABOUT_LABELS = (
    "and|as|because|but|can|cannot|can't|does|has|is|isn't|nor|or|over|rather|seems|shows|since|than|was|with|would"
)
_ARTICLE = re.compile(rf"[ \t]+(?!(?:{_ABOUT_LABELS})\b)[^\W\d_][\w'-]", re.IGNORECASE)

_START = re.compile(rf"(?:^|\n|[.;!?]\s)[^{_WORD}]*$")
_MARKED = re.compile(r"[ \t]*(?:$|\n|[)\]}>:]|\.(?!\w\.))")  # "B.", "(b)", "B:", a line of its own
_CLOSED = re.compile(
    rf"{_MARKED.pattern}|\s*[,;!。、]|\s*[–—]|\s+-\s"
    r"|\s+(?:because|since|due\s+to|(?:(?:and|but)\s+)?not|rather\s+than|instead\s+of|over)\b",
    re.IGNORECASE,
)
_DECLARED = re.compile(
    r"\b(?:(?:answer|scene|option|choice|pick)\s*(?:(?:is|was|(?:would|must|should)\s+be)\b\s*:?|[:=])"
    r"|choose|pick|select|go(?:ing)?\s+with|opt\s+for|(?:so|thus|hence|therefore)\b,?)"
    r"\s*(?:(?:most|very|clearly|definitely|likely|probably|certainly|the)\s+)*[^\w\n.;!?]*$",
    re.IGNORECASE,
)
_DECLARED_AFTER = re.compile(
    r"\)?\s+(?:is|would\s+be|must\s+be)\s+the\s+(?:[\w-]+\s+){0,3}(?:answer|choice|option)\b", re.IGNORECASE
)
_JOINED = r"[)\]]?\s*(?:[,/&+]\s*(?:(?:or|and|nor)\b\s*)?|(?:or|and|nor)\b\s*)(?:(?:maybe|perhaps|possibly|also)\s+)?"
_ENDED = re.compile(r"\s*(?:$|[^\w\s(]|(?:or|and|nor)\b)", re.IGNORECASE)
_NEGATED = re.compile(r"(?:\b(?:not|never|neither|nor|cannot|unlike|except)\b|n't\b)[^.,;:!?\n]*$", re.IGNORECASE)
_REJECTED = re.compile(
    r"[)\]]*\s+(?:cannot|can't|(?:is|was|seems|does|can|could|would)(?:n't|\s+(?:not|wrong|incorrect|false)))\b",
    re.IGNORECASE,
)
_RETRACTED = re.compile(r"\b(?:wait|on second thoughts?|correction|scratch that|i mean)\b", re.IGNORECASE)
_EMPHASIZED = re.compile(r"([*_`]{1,3})(?:(?:scene|option|choice)\s+)?([a-z])[.:)]?\1(?!\w)", re.IGNORECASE)


def chosen_option(text: str, options: Sequence[str]) -> int | None:
    """Return the index of the option that `text` chooses; None for no, several or nonexistent options.

    Rules, in this order:

    1. The text equals an option, ignoring case, markup, surrounding whitespace and a final period.
    2. It commits: it begins with an option ("B.", "(b)", "**C**", "Scene B, since …"), has one on a line of its own, or
       declares one ("Answer: B", "the answer is scene B", "I would choose B", "so B").
    3. It mentions exactly one letter, as "scene b" or as a standalone capital, and does not negate it.

    Two different candidates in the deciding step choose none ("A or B", "C is wrong, B is right"); so do a list of
    all options, and a letter followed by the text of another option. Letters count from A; if the options are labels
    themselves ("Scene B", "B"), a letter means the option with that label. "A" before a word is an article.
    """
    text = _without_markup(text)
    plain = [_plain(option) for option in options]
    if _plain(text) in plain:
        return plain.index(_plain(text))
    letters, mentions = _letters(plain), list(_mentions(text))
    chosen = {letters.get(letter, len(options)) for letter in _commitments(text, mentions)}
    chosen |= set(_texts(text, plain, mentions))
    named = {mention.letter for mention in mentions}
    if not chosen and not any(mention.is_denied for mention in mentions):
        chosen = {letters.get(letter, len(options)) for letter in named}
    is_retracted = len(named) > 1 and _RETRACTED.search(text)
    position = chosen.pop() if len(chosen) == 1 and not is_retracted else len(options)
    return position if position < len(options) else None


@dataclass(frozen=True, kw_only=True)
class _Mention:
    """A letter that refers to an option.

    Attributes:
        letter: Upper case.
        end: Index after it in the text.
        is_first: Whether it begins the text.
        is_marked: Whether it begins a line or sentence and is followed by an option mark or the end of the line.
        is_closed: Whether its clause may end here: a mark, comma, reason or comparison follows.
        is_declared: Whether it follows words such as "the answer is", or precedes "is the answer".
        is_denied: Whether it is negated: "not B", "B is wrong".
    """

    letter: str
    end: int
    is_first: bool
    is_marked: bool
    is_closed: bool
    is_declared: bool
    is_denied: bool


def _mentions(text: str) -> Iterator[_Mention]:
    beginning = _beginning(text)
    for match in _LETTER.finditer(text):
        before, after = _around(match, text)
        letter, is_named = match["letter"], match["name"] is not None
        start, closed = bool(_START.search(before)), bool(_CLOSED.match(after))
        declared = bool(_DECLARED.search(before))
        is_article = letter in "Aa" and _ARTICLE.match(after)
        stands_apart = closed and (start or declared or match[0].startswith("("))
        is_label = stands_apart or is_named or letter.isupper()
        if is_article or _ABBREVIATED.match(after) or not is_label or (letter in "Ii" and not stands_apart):
            continue
        yield _Mention(
            letter=letter.upper(),
            end=match.end(),
            is_first=match.start() <= beginning,
            is_marked=start and bool(_MARKED.match(after)),
            is_closed=closed,
            is_declared=declared or bool(_DECLARED_AFTER.match(after)),
            is_denied=bool(_NEGATED.search(before) or _REJECTED.match(after)),
        )


def _commitments(text: str, mentions: Sequence[_Mention]) -> set[str]:
    """Return the letters that the text commits to, with letters joined to them ("B, or maybe C")."""
    marked = [m for m in mentions if m.is_marked]
    is_list = len({m.letter for m in marked}) > 1
    begins = [m for m in mentions if m.is_first and m.is_closed and not is_list]
    declared = [m for m in mentions if m.is_declared]
    firm = [m for m in (*begins, *declared, *([] if is_list else marked)) if not m.is_denied]
    return {letter for m in firm for letter in (m.letter, *_joined_letters(text[m.end : m.end + _CONTEXT]))}


def _joined_letters(text: str) -> Iterator[str]:
    """Yield the letter of an "or B" at the start of `text`."""
    joined = re.match(rf"{_JOINED}(?P<rest>{_LETTER.pattern})", text, re.IGNORECASE)
    if joined is not None:
        after = text[joined.end() :]
        is_word = joined["letter"] in "Aa" and _ARTICLE.match(after)
        if not is_word and (_ENDED.match(after) or re.search(r"\b(?:or|nor)\b", joined[0], re.IGNORECASE)):
            yield joined["letter"].upper()


def _texts(text: str, plain: Sequence[str], mentions: Sequence[_Mention]) -> Iterator[int]:
    """Yield options whose own text begins the reply, is declared, or follows a leading letter."""
    words = sorted((option for option in plain if not _label_of(option) and len(option) > 1), key=len, reverse=True)
    if not words:
        return
    option = re.compile(rf"(?<![{_WORD}])({'|'.join(map(re.escape, words))})(?![{_WORD}])", re.IGNORECASE)
    marks = [m.end for m in mentions if m.is_first and m.is_marked]
    beginnings = {_beginning(text), *(end + _beginning(text[end:]) for end in marks)}
    for match in option.finditer(text):
        before, after = _around(match, text)
        if (match.start() in beginnings or _DECLARED.search(before)) and _CLOSED.match(after):
            yield plain.index(_plain(match[1]))
            if joined := re.match(rf"{_JOINED}{option.pattern}", after, re.IGNORECASE):
                yield plain.index(_plain(joined[1]))


def _beginning(text: str) -> int:
    """Return the index of the first letter or digit."""
    match = re.search(rf"[{_WORD}]", text)
    return match.start() if match else len(text)


def _around(match: re.Match[str], text: str) -> tuple[str, str]:
    """Return the context before and after a match."""
    return text[max(0, match.start() - _CONTEXT) : match.start()], text[match.end() : match.end() + _CONTEXT]


def _letters(plain: Sequence[str]) -> Mapping[str, int]:
    """Map each letter to the index of its option."""
    labels = [_label_of(option) for option in plain]
    if all(labels) and len(set(labels)) == len(labels):
        return {label: position for position, label in enumerate(labels)}
    return {chr(ord("A") + position): position for position in range(min(len(plain), 26))}


def _label_of(option: str) -> str:
    """Return `B` for the option "scene b"; empty if the option is not a label."""
    match = re.fullmatch(r"(?:(?:scene|option|choice) )?([a-z])", option)
    return match[1].upper() if match else ""


def _without_markup(text: str) -> str:
    """Normalize full-width letters; remove Markdown, quotes, tags and finished thoughts."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    text = text.rpartition("</think>")[2].partition("<think>")[0]  # an unfinished thought has no answer
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\boxed\{([^{}]*)\}|<answer>(.*?)</answer>", r"\nanswer: \1\2\n", text, flags=re.DOTALL)
    text = re.sub(r"</?[A-Za-z]{2,}>", "\n", text)
    emphasized = {match[2].upper() for match in _EMPHASIZED.finditer(text)}
    text = _EMPHASIZED.sub(r"(\2)", text) if len(emphasized) == 1 else text
    return re.sub(r"[*`\"“”„«»$]|__|(?m:^[#>\s]+)", "", text)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".")
