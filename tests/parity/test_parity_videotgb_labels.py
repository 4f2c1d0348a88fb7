"""Pseudo labels and the grounding metric of VideoTGB against recorded outputs of its original code."""

import json

import pytest
import torch
from goldens import close, golden_files, load_only
from videotgb_cases import SYSTEM, below

from vidweave.evaluation.overlap import unigram_recall
from vidweave.evaluation.span_metrics import span_scores, step_iou
from vidweave.nn.score_span import frame_to_step, largest_rectangle


def test_spans_of_scores():
    case = load_only(SYSTEM, "pseudo_span*.safetensors")
    groups = sorted({key.partition(".")[0] for key in case})
    assert groups
    for group in groups:
        result = below(case, f"{group}.")
        count = result["scores"].shape[1]
        for row, scores in enumerate(result["scores"].tolist()):
            steps = int(result["flow_lengths"][row])
            for form, subtract in (("raw", False), ("minsub", True)):
                # in single precision, as the original subtracts
                given = (result["scores"][row] - result["scores"][row].min()).tolist() if subtract else scores
                span = largest_rectangle(given)
                assert span == tuple(int(result[f"{form}.{side}"][row]) for side in ("start", "end"))
                moved = tuple(frame_to_step(place, count, steps) for place in span)
                assert moved == tuple(int(result[f"{form}.{side}_flow"][row]) for side in ("start", "end"))


def test_scores_of_answers():
    (file,) = golden_files(SYSTEM, "rouge_n*.json")
    case = json.loads(file.read_text())
    scores = [unigram_recall(gold, given) for gold, given in case["pairs"]]
    assert scores == pytest.approx(case["single_mode"], abs=1e-6)
    assert [score / len(scores) for score in scores] == pytest.approx(case["list_mode"], abs=1e-6)


def test_grounding_metric():
    case = load_only(SYSTEM, "span_iou*.safetensors")
    groups = sorted({key.partition(".")[0] for key in case})
    assert groups
    for group in groups:
        result = below(case, f"{group}.")
        spans = torch.stack([result["start_logits"].argmax(1), result["end_logits"].argmax(1)], -1).tolist()
        targets = torch.stack([result["start_target"], result["end_target"]], -1).tolist()
        got = span_scores(spans, targets, step_iou)
        close(torch.tensor(list(got.values())), result["iou_r3_r5"], 1e-5)
