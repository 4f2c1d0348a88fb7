"""Caption metrics against recorded outputs of the COCO evaluation: tokens exactly, values to 1e-9."""

import json
import shutil
from importlib.util import find_spec

import pytest
from goldens import golden_files

from vidweave.errors import MissingExtraError, MissingProgramError
from vidweave.evaluation.captions.bleu import bleu
from vidweave.evaluation.captions.cider import cider
from vidweave.evaluation.captions.java_metrics import meteor
from vidweave.evaluation.captions.rouge import rouge_l
from vidweave.evaluation.captions.score import score_captions
from vidweave.evaluation.captions.tokenizer import tokenize, tokenize_all


def sets():
    (file,) = golden_files("benchmarks", "captions_coco*.json")
    result = json.loads(file.read_text(encoding="utf-8"))["sets"]
    assert result
    return result


def test_tokens():
    for case in sets():
        assert tokenize_all(case["references"]) == case["tokenized_references"]
        assert {id: tokenize(text) for id, text in case["candidates"].items()} == case["tokenized_candidates"]


def test_values():
    for case in sets():
        texts = case["tokenized_candidates"], case["tokenized_references"]
        bleus = bleu(*texts)
        assert [score.corpus for score in bleus] == pytest.approx(case["Bleu"], abs=1e-9)
        for id, expected in case["Bleu_each"].items():
            assert [score.each[id] for score in bleus] == pytest.approx(expected, abs=1e-9)
        for score, name in ((rouge_l(*texts), "ROUGE_L"), (cider(*texts), "CIDEr")):
            assert score.corpus == pytest.approx(case[name], abs=1e-9)
            assert score.each == pytest.approx(case[f"{name}_each"], abs=1e-9)
        raw = {score.metric: score for score in score_captions(case["candidates"], case["references"])}
        assert raw["CIDEr"].corpus == pytest.approx(case["CIDEr"], abs=1e-9)
        assert raw["BLEU-4"].corpus == pytest.approx(case["Bleu"][3], abs=1e-9)


@pytest.mark.slow  # Java takes 20 seconds to start
def test_meteor():
    """The value where pycocoevalcap and Java are installed, else the error that says what to install."""
    for case in sets():
        texts = case["tokenized_candidates"], case["tokenized_references"]
        if find_spec("pycocoevalcap") is None:
            with pytest.raises(MissingExtraError, match=r"METEOR needs pycocoevalcap; install it with: pip install"):
                meteor(*texts)
        elif shutil.which("java") is None:
            with pytest.raises(MissingProgramError, match="METEOR runs a Java program"):
                meteor(*texts)
        else:
            score = meteor(*texts)
            assert score.corpus == pytest.approx(case["METEOR"], abs=1e-9)
            assert score.each == pytest.approx(case["METEOR_each"], abs=1e-9)
