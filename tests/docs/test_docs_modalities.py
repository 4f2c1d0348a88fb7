"""The ten lines that add a modality run as they stand in the docs."""

import pytest
from readme import ROOT, blocks

from vidweave.registry import MODALITIES


@pytest.fixture
def no_radar():
    yield
    if "radar" in MODALITIES:
        MODALITIES.unregister("radar")


def test_the_example_adds_a_modality(no_radar, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (example,) = [b for b in blocks((ROOT / "docs" / "modalities.md").read_text()) if b.language == "python"]
    assert len(list(filter(None, example.text.splitlines()))) <= 10
    names: dict = {}
    exec(compile(example.text, "docs/modalities.md", "exec"), names)  # noqa: S102
    printed = capsys.readouterr().out
    assert printed.startswith("red")
    assert "'radar'" in printed
    assert names["new_port"].trainable == tuple(names["parameters_of"](names["model"], "radar"))
    assert all(".radar" in name for name in names["new_port"].trainable)
