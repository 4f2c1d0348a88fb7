"""The command lines of the systems' cards: they parse, name what exists, and follow one another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented import calls
from readme import ROOT, blocks
from test_docs_readme import parse

from vidweave.registry import CONVERTERS, MODELS

CARDS = sorted((ROOT / "src" / "vidweave" / "systems").glob("*/README.md"))
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_0-9]+")  # FOLDER, BERT_FOLDER: what the reader has
_HUB = re.compile(r"[\w-]+/[\w.-]+")
_TAKES_MODEL = ("--model", "--base")


def values(words: list[str], option: str) -> list[str]:
    """What `option` is given, each time."""
    return [words[i + 1] for i, word in enumerate(words[:-1]) if word == option]


def check_model(name: str, made: set[str]) -> None:
    """A model that a command takes: made by a command before it, or one that loads by its name."""
    if name.startswith("./"):
        assert name.removeprefix("./") in made, f"{name} is made by no command before; those make {sorted(made)}"
    elif name in MODELS:
        assert MODELS.entry(name).facts.weights, f"{name} is a configuration without weights; a folder is ./{name}"
    else:
        assert _PLACEHOLDER.fullmatch(name) or _HUB.fullmatch(name), f"{name} is no model; a folder is ./{name}"


def check_conversion(words: list[str]) -> None:
    """Layout, parts, settings and base of `vidweave convert`, against what the layout takes."""
    facts = CONVERTERS.entry(words[0]).facts
    for option, known in (("--part", facts.parts), ("--set", facts.options)):
        for pair in values(words, option):
            assert pair.partition("=")[0] in known, f"layout {words[0]} has no {option} {pair}"
    assert values(words, "--out"), f"{words} writes nowhere"
    assert not values(words, "--base") or facts.base, f"layout {words[0]} takes no base"


def check_page(text: str) -> int:
    """All command lines of a page; their number."""
    made: set[str] = set()
    commands = calls(text)
    for command, *words in commands:
        for option in _TAKES_MODEL:
            for name in values(words, option):
                check_model(name, made)
        if command == "convert" and words:
            check_conversion(words)
        made |= set(values(words, "--out"))
        for path in (word for word in words if re.match(r"(examples|benchmarks)/", word)):
            assert (ROOT / path).exists(), f"there is no {path}"
        parse([command, *words])
    return len(commands)


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parent.name)
def test_command_lines_follow_one_another(card):
    text = card.read_text(encoding="utf-8")
    result = check_page(text)
    assert result == len(re.findall(r"^vidweave ", text, re.MULTILINE)), "a command stands outside of a bash block"


def test_every_layout_has_a_command_line():
    text = "\n".join(card.read_text(encoding="utf-8") for card in CARDS)
    assert {words[1] for words in calls(text) if words[0] == "convert"} == set(CONVERTERS)


def test_python_of_cards_compiles():
    for card in CARDS:
        for block in blocks(card.read_text(encoding="utf-8")):
            if block.language == "python":
                compile(block.text, str(Path(card).parent.name), "exec")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("vidweave ask a.mp4 b --model ./nowhere", "is made by no command before"),
        ("vidweave ask a.mp4 b --model merv-frozen", "is a configuration without weights"),
        ("vidweave convert merv a.pt --base x/y --out z", "layout merv takes no base"),
        ("vidweave convert merv a.pt --set length=3 --out z", "layout merv has no --set length=3"),
        ("vidweave convert malmm a.pt --part vision=a --out z", "layout malmm has no --part vision=a"),
        ("vidweave convert crema a.pt", "writes nowhere"),
        ("vidweave ask examples/none.mp4 b", "there is no examples/none.mp4"),
    ],
)
def test_the_check_can_fail(line, message):
    with pytest.raises(AssertionError, match=message):
        check_page(f"```bash\n{line}\n```")
    assert check_page("```bash\nvidweave convert merv a.pt --out z\nvidweave ask a b --model ./z\n```") == 2
