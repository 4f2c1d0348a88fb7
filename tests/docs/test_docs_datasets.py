"""The data set of docs/datasets.md reads rows as the page says."""

import json
import shutil
from pathlib import Path
from typing import Any

from readme import blocks

from vidweave.registry import DATASETS

ROOT = Path(__file__).parents[2]


def test_the_own_data_set_of_the_page_reads_its_rows(tmp_path):
    (block,) = [b for b in blocks((ROOT / "docs" / "datasets.md").read_text()) if b.language == "python"]
    names: dict[str, Any] = {"__name__": "kitchen"}
    exec(compile(block.text, "datasets.md", "exec"), names)  # noqa: S102
    try:
        assert DATASETS.get("kitchen") is names["Kitchen"]
    finally:
        DATASETS.unregister("kitchen")
    (tmp_path / "clips").mkdir()
    shutil.copy(ROOT / "examples" / "clips" / "toy.mp4", tmp_path / "clips" / "pan.mp4")
    row = {"id": "1", "clip": "pan", "question": "What is fried?", "answer": "an egg"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    (example,) = names["Kitchen"](data=str(tmp_path / "q.jsonl"), media=str(tmp_path / "clips"), modalities="video")
    assert (example.answer, example.media) == ("an egg", "pan")
    assert set(example.query.scenes[0].clip) == {"video"}
