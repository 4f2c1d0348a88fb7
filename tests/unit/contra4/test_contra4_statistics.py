"""Statistics: the released split against its published figures, and blind rules by hand."""

import json
from pathlib import Path

import pytest
from contra4_questions import question

from vidweave.cli.main import run
from vidweave.contra4.blind import always, by_modality, longest_caption, score, uniform_score
from vidweave.contra4.schema import read_questions
from vidweave.contra4.statistics import overlap, statistics

VALIDATION = Path(__file__).parents[2] / "data" / "contra4" / "val.json.gz"


@pytest.fixture(scope="module")
def result():
    return statistics(read_questions(VALIDATION))


def test_counts_of_the_released_split(result):
    assert result["questions"] == 3000
    assert result["distinct_questions"] == 2907
    assert result["q_type"] == {"mc_2": 1000, "mc_3": 1000, "mc_4": 1000}
    assert set(result["selection_and_q_type"].values()) == {500}
    assert result["labels"] == {"A": 1504, "B": 846, "C": 459, "D": 191}
    assert result["labels_by_q_type"] == {
        "mc_2": {"A": 596, "B": 404},
        "mc_3": {"A": 440, "B": 255, "C": 305},
        "mc_4": {"A": 468, "B": 187, "C": 154, "D": 191},
    }
    assert result["without_question_mark"] == 465
    assert (result["question_words"]["min"], result["question_words"]["max"]) == (4, 32)
    assert result["question_words"]["mean"] == pytest.approx(8.5, abs=0.05)
    assert result["media"] == 5448


def test_modalities_of_the_released_split(result):
    rows = {
        name: (r["scenes"], r["answers"], round(r["answers_when_present"], 3))
        for name, r in result["modalities"].items()
    }
    assert rows == {
        "audio": (2147, 1029, 0.479),
        "image": (2171, 688, 0.317),
        "video": (2551, 835, 0.327),
        "pc": (2131, 448, 0.210),
    }
    assert {name: round(row["caption_words"], 1) for name, row in result["modalities"].items()} == {
        "audio": 10.7,
        "image": 10.4,
        "video": 9.4,
        "pc": 9.3,
    }
    assert {name: row["media"] for name, row in result["sources"].items()} == {
        "audiocaps": 1173,
        "clotho": 622,
        "coco_val": 1706,
        "msrvtt_test": 489,
        "pointllm": 1458,
    }
    assert result["modality_sets"]["audio+image+pc+video"] == 1000
    assert result["modality_sets"]["audio+pc"] == 96
    assert result["repeated_modality"] == 0


def test_blind_scores_of_the_released_split(result):
    assert round(result["blind"]["always A"], 3) == 0.501
    assert round(result["blind"]["modality prior (audio > image > video > pc)"], 3) == 0.488


def test_command(capsys, result):
    assert run(["contra4", "stats", str(VALIDATION)]) == 0
    text = capsys.readouterr().out
    assert "always A                                        0.501" in text
    assert "modality prior (audio > image > video > pc)     0.488" in text
    assert run(["contra4", "stats", str(VALIDATION), "--against", str(VALIDATION), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["shared"] == {"ids": 3000, "questions": 2907, "media": 5448}
    assert data["labels"] == result["labels"]


def test_command_on_a_bad_file(tmp_path, capsys):
    (tmp_path / "bad.jsonl").write_text('{"id": "a"\n')
    assert run(["contra4", "stats", str(tmp_path / "bad.jsonl")]) == 2
    assert "bad.jsonl:1: not JSON" in capsys.readouterr().err


def test_rules_by_hand():
    three, two = question(0, 3, answer=2), question(1, 2, answer=1)  # audio, pc(, image); captions grow
    assert [always(2)(q) for q in (three, two)] == [2, None]
    assert [by_modality()(q) for q in (three, two)] == [0, 0]
    assert [by_modality(["pc", "image"])(q) for q in (three, two)] == [1, 1]
    assert [longest_caption(q) for q in (three, two)] == [2, 1]
    assert score(longest_caption, [three, two]) == 1.0
    assert uniform_score([three, two]) == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_overlap():
    ours, theirs = [question(i) for i in range(4)], [question(i) for i in range(2, 5)]
    assert overlap(ours, theirs) == {"ids": 2, "questions": 1, "media": 6}
