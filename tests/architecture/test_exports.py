"""`__all__` is true and importing does no work, in every module of the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from export_rules import borrowed, complaints

import vidweave

SOURCE = Path(__file__).parents[2] / "src" / "vidweave"


def test_modules_export_what_they_define():
    result = {str(p.relative_to(SOURCE)): reply for p in sorted(SOURCE.rglob("*.py")) if (reply := complaints(p))}
    assert result == {}


def test_packages_import_only_what_others_export():
    assert borrowed(SOURCE) == []


def test_taking_a_private_part_is_found(tmp_path):
    (tmp_path / "vidweave" / "nn").mkdir(parents=True)
    (tmp_path / "vidweave" / "nn" / "a.py").write_text("__all__ = ['f']\ndef f(): ...\ndef g(): ...")
    (tmp_path / "vidweave" / "cli.py").write_text("from vidweave.nn.a import f, g")
    assert borrowed(tmp_path / "vidweave") == ["vidweave.cli:1 takes g from vidweave.nn.a, which does not export it"]


def test_the_package_exports_what_it_names():
    assert set(vidweave.__all__) <= {*dir(vidweave), "__version__"}
    assert vidweave.Clip("a.mp4")["video"] == "a.mp4"
    with pytest.raises(AttributeError, match="'vidweave' has no attribute 'video'"):
        vidweave.video  # noqa: B018


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("__all__ = ['a']", "names a, which the module does not have"),
        ("__all__ = ['a', 'a']\ndef a(): ...", "lists a twice"),
        ("def f(): ...", "no __all__"),
        ("import torch\ntorch.manual_seed(0)", "does work at import"),
        ("import os\nos.environ['X'] = '1'", "does work at import"),
        ("TEXT = open('a').read()", "does work at import"),
        ("try:\n    import x\nexcept ImportError:\n    x = None", "does work at import"),
        ("for i in range(3):\n    print(i)", "does work at import"),
    ],
)
def test_the_check_can_fail(tmp_path, text, complaint):
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert [line for line in complaints(path) if complaint in line]
