"""Answer parsing and the scorers of Contra4 against recorded behaviour of the original code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.parity.goldens import golden_files
from vidweave.contra4.parsing import parse_scene

SAME_RULE = {"finetune": "balance"}  # the fine-tuning loader reads as the balance script does


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _cases(pattern: str) -> list[dict[str, Any]]:
    return [case for path in golden_files("contra4", pattern) for case in _json(path)["cases"]]


def test_every_parser_reads_every_recorded_text_as_the_original_does() -> None:
    readings = 0
    for case in _cases("answer_parsing*.json"):
        for rule, expected in case.items():
            if rule != "text":
                assert parse_scene(case["text"], SAME_RULE.get(rule, rule)) == expected, (rule, case["text"])
                readings += 1
    assert readings
