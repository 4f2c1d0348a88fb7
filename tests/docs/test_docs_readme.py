"""README and docs say what is true: commands parse, links lead somewhere, the first screen holds what it promises."""

from __future__ import annotations

import contextlib
import re
import shlex

import pytest
import typer
from documented import calls
from readme import ROOT, blocks, commands, printed_answer, readme

from vidweave.cli.app import app
from vidweave.errors import InputError

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_first_screen_holds_both_commands():
    first, second = [block for block in blocks(readme()) if block.language == "bash"][:2]
    assert second.words_to_end <= 200
    assert "vidweave ask examples/clips/" in first.text
    assert "pytest" in second.text


def test_the_second_command_is_what_ci_runs():
    assert commands()[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_first_command_asks_about_a_clip_of_the_repository():
    words = shlex.split(commands()[0])
    clip = ROOT / words[words.index("ask") + 1]
    assert clip.is_file()
    assert printed_answer().split()[0] in words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_parse(page):
    for words in calls(page.read_text(encoding="utf-8")):
        parse(words)


def parse(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"vidweave has no command {name!r}"
        command = command.commands[name]
    with contextlib.suppress(InputError):  # it parses, but names a model or a recipe that is not here
        assert command.make_context(command.name, list(words)).params is not None


def test_the_check_of_commands_can_fail():
    with pytest.raises(AssertionError, match="has no command 'fly'"):
        parse(["fly"])
    with pytest.raises(Exception, match="No such option: --wings"):
        parse(["ask", "a", "b", "--wings", "2"])
    assert calls("```bash\n.venv/bin/vidweave ask a 'b c' && vidweave doctor\n```") == [
        ["ask", "a", "b c"],
        ["doctor"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_named_files_exist(page):
    """Paths in backticks that begin with a folder of the repository."""
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|docs|benchmarks|examples|\.ci)/[\w./-]+)`", text):
        if "NAME" not in path:  # a pattern: the reader chooses the name
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_python_blocks_compile():
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language == "python":
                compile(block.text, page.name, "exec")
