"""Answer parsing and the scorers of Contra4 against recorded behaviour of the original code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parity.goldens import golden_files
from vidweave.contra4.legacy_scores import score_2024, score_2025, signal_to_noise_2024
from vidweave.contra4.parsing import parse_scene
from vidweave.errors import AnnotationError

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


def test_the_2025_scorer_counts_as_the_original_or_refuses_what_made_it_stop() -> None:
    for case in _cases("evaluate*.json"):
        expected, name = case["expected"], case["name"]
        if not expected["subset_counts"]:
            assert expected["returncode"], name
            with pytest.raises(AnnotationError):
                score_2025(case["gt"], case["pred"])
            continue
        scores = score_2025(case["gt"], case["pred"])
        counts = {title: [list(scores.subsets[title])] for title in scores.subsets}
        counts["all"].insert(0, list(scores.predictions))
        assert counts == expected["subset_counts"], name
        assert scores.csv_line() == expected["csv_line"], name
        assert {k: list(v) for k, v in scores.modalities.items()} == expected["modality_counts"], name


def test_the_2024_scorer_and_its_signal_to_noise_ratio() -> None:
    for path in golden_files("contra4", "legacy_eval*.json"):
        golden = _json(path)
        scores = {run: score_2024(golden["gt"], rows) for run, rows in golden["results"].items()}
        for run, key in (("mm", "expected_eval"), ("no_input", "expected_no_input"), ("random", "expected_random")):
            expected = golden[key]
            assert scores[run]["individual"] == expected.get("individual", scores[run]["individual"])
            numbers = {name: value for name, value in scores[run].items() if name != "individual"}
            assert numbers == pytest.approx({n: v for n, v in expected.items() if n != "individual"}, abs=1e-9)
        result = signal_to_noise_2024(scores["mm"], scores["no_input"], scores["random"])
        assert result == pytest.approx(golden["expected_msnr"], abs=1e-9)
