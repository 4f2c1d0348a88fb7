"""Tokenize captions like Stanford's PTB tokenizer in the COCO evaluation, without Java.

A regular expression replaces the Java program. It differs for a few in ten thousand captions of the published sets;
text unlike captions (formulas, source code) may differ more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["PUNCTUATION", "tokenize", "tokenize_all"]

# Tokens that are dropped. Brackets are lowercased before the comparison, so "-lrb-" is kept, as in the original.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";", '"']
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("’‘", "'"),
        **dict.fromkeys("“”«»", '"'),
        **dict.fromkeys("–—", "--"),
        "…": " ... ",
        "€": "$",
        "£": "# ",
        "½": " 1/2",
        "¼": " 1/4",
        "¾": " 3/4",
    }
)
# Abbreviations that keep their period
_SHORT = (
    "mr|mrs|ms|dr|st|jr|sr|vs|etc|inc|co|corp|ltd|prof|gen|sen|rep|rev|gov|lt|col|sgt|capt|mt|ave|blvd|rd|ft|ph\\.d|"
    "jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|thurs|fri|dept|est"
)
# Words that become two tokens
_PAIRS = re.compile(
    r"(?<!\w)(?:(can)(not)|(gon|wan)(na)|(got)(ta)|(lem|gim)(me)|(y')(all)|('t)(is|was)|(more)('n))\b", re.IGNORECASE
)
_NEGATION = re.compile(r"(?<=\w)(n't)\b", re.IGNORECASE)
_CLITIC = re.compile(r"(?<=\w)('(?:s|m|d|ll|re|ve))(?![^\W_])", re.IGNORECASE)
_FRACTION = re.compile(r"(?<![\d/.])(\d+) (\d/\d+)\b")  # "1 1/2" is one token, with a non-breaking space
_TOKEN = re.compile(
    rf"""
    https?://\S+ | www\.\S+ | [^\s@]+@[^\s@]+\.\w+        # addresses
  | </?[a-z][^<>\s]*>                                     # tags
  | [:;=]-?[()dp](?!\w)                                   # faces
  | \d+\xa0\d+/\d+
  | -[lr][rcs]b-                                          # brackets that were tokenized before
  | \b(?:{_SHORT})\.                                      # short forms
  | \bno\.(?=\ *\d)
  | \b(?:[^\W\d_]\.)+(?![^\W_])                           # initials: "u.s.", "p.m.", "a."
  | (?-i:[A-Z]+(?:&[A-Z]+)+)                              # "AT&T"
  | '(?:n'|em|cause|\d\ds|(?:s|m|d|ll|re|ve|t|n)\b)       # words that begin with an apostrophe
  | n't\b
  | y'(?!\w)
  | (?:[od]|l|ma)'[^\W\d_]+                               # "o'clock", "ma'am"
  | \d+:\d+                                               # times
  | [-+]\d+(?:[.,]\d+)* | (?<!\w)\.\d+ | \d+(?:,\d+)+(?:\.\d+)?
  | (?<!\w)c(?:\+\+|\#)
  | (?:[@\#](?=[^\W\d]))?\w+(?:[-./!]\w+)*                              # words, with marks inside
  | \.\.\.+ | -- + | --+ | [!?]+ | \*+ | \^_\^
  | \S
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OUTSIDE_PLANE = re.compile(r"[\U00010000-\U0010ffff]")  # emoji, which the Java program drops


def tokenize(caption: str) -> str:
    """Return the tokens of one caption, lower case, without punctuation, joined by single spaces."""
    text = _FRACTION.sub("\\1\xa0\\2", " ".join(caption.replace("&amp;", "&").split()))
    text = _OUTSIDE_PLANE.sub(" ", text.translate(_PLAIN))
    text = _PAIRS.sub(lambda match: " ".join(filter(None, match.groups())), text)
    text = _CLITIC.sub(r" \1 ", _CLITIC.sub(r" \1 ", _NEGATION.sub(r" \1", text)))
    tokens = (_lowered(match[0]) for match in _TOKEN.finditer(text))
    return " ".join(token for token in tokens if token not in PUNCTUATION and not re.fullmatch(r"--+|\.\.+", token))


def tokenize_all(captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Tokenize the captions of every id."""
    return {id: [tokenize(caption) for caption in texts] for id, texts in captions.items()}


def _lowered(token: str) -> str:
    for bracket, name in _BRACKETS.items():
        token = token.replace(bracket, name)
    return token.lower()
