"""The original parsers: their known traps stay, and nothing else is a parser."""

from __future__ import annotations

import pytest

from vidweave.contra4.parsing import PARSERS, parse_scene, scene_name
from vidweave.errors import UnknownNameError


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("index", range(4))
def test_a_bare_label_is_read_by_every_parser(parser, index) -> None:
    assert parse_scene(scene_name(index), parser) == scene_name(index)


def test_the_traps_are_kept() -> None:
    assert parse_scene("Answer", "rtc") == "Scene A"
    assert parse_scene("Answer: B", "rtc") == "Answer: B"
    assert parse_scene("Answer: B", "filters") == "Scene B"
    assert parse_scene("Because it is loud", "rtc") == "Scene B"
    assert parse_scene("scene c", "balance") == ""
    assert parse_scene("Scene A, Scene B", "filters") == "Scene A"
    assert parse_scene("Scene A, Scene B", "rtc") == "Scene A, Scene B"


def test_an_unknown_parser_lists_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="unknown answer parser 'rct'; did you mean 'rtc'"):
        parse_scene("A", "rct")  # type: ignore[arg-type]
