"""Text processing of the VQA challenge's official evaluation: punctuation, digits, articles, contractions."""

from __future__ import annotations

import re

__all__ = ["strip_digits_and_articles", "strip_punctuation", "vqa_processed"]

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")  # the official pattern is meant to keep a period after a digit as well, but does not
_MOST_PERIODS = 32  # the official call passes a flag as the number of replacements
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
_ARTICLES = {"a", "an", "the"}

# Words whose apostrophe is restored; those with two apostrophes also if only one of them is missing
_ONE_APOSTROPHE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's I'm "
    "I've isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've "
    "shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're "
    "there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd "
    "where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're "
    "you've"
).split()
_TWO_APOSTROPHES = (
    "couldn't've hadn't've he'd've I'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've "
    "something'd've there'd've they'd've we'd've who'd've wouldn't've you'd've y'all'll"
).split()
_IRREGULAR = {
    "somebody'd": "somebodyd",
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def _without_one_apostrophe(word: str) -> list[str]:
    places = [index for index, character in enumerate(word) if character == "'"]
    return [word[:place] + word[place + 1 :] for place in places]


_CONTRACTIONS = {
    **{short: word for word in (*_ONE_APOSTROPHE, *_TWO_APOSTROPHES) for short in _without_one_apostrophe(word)},
    **_IRREGULAR,
}


def strip_punctuation(text: str) -> str:
    """Remove punctuation like the VQA evaluation, including its quirks.

    A mark becomes a space, or is removed if it is next to a space anywhere in the text, or if the text has a comma
    inside a number. At most 32 periods are removed, and only those not followed by a digit.
    """
    result = text
    joins_numbers = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        vanishes = joins_numbers or f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if vanishes else " ")
    return _PERIOD.sub("", result, count=_MOST_PERIODS)


def strip_digits_and_articles(text: str) -> str:
    """Convert to lower case, zero to ten to digits ("none" to 0), drop articles, restore contractions."""
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_processed(text: str) -> str:
    """Apply both steps, after replacing line breaks by spaces and stripping surrounding whitespace."""
    return strip_digits_and_articles(strip_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))
