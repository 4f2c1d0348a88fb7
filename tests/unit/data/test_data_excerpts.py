"""Rows of the real annotation files, where they lie beside the repository: every excerpt reads, with these counts.

The files belong to third parties and are no part of the repository; VIDWEAVE_ANNOTATIONS names their folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidweave.data.jsonl import read_json
from vidweave.registry import DATASETS

ROOT = Path(__file__).parents[3]
FOLDER = Path(os.environ.get("VIDWEAVE_ANNOTATIONS", ROOT.parent / "shared" / "data" / "annotations"))
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the excerpts of annotation files are not here")

# Data set, file, settings, examples, recordings, examples with an answer
CASES = [
    ("nextqa", "nextqa/val.csv", {}, 55, 52, 55),
    ("nextqa", "nextqa/test.csv", {}, 55, 53, 55),
    ("nextqa", "nextqa/test-equal-options.csv", {}, 8, 8, 8),
    ("music-avqa", "music-avqa/json_update-avqa-test.json", {}, 33, 33, 33),
    ("music-avqa", "music-avqa/json_update-avqa-val.json", {}, 33, 33, 33),
    ("music-avqa", "music-avqa/json-avqa-test-duplicate-ids.json", {}, 40, 20, 40),
    ("music-avqa", "music-avqa/json_update-avqa-test.json", {"legacy": "crema"}, 33, 33, 33),
    (
        "sqa3d",
        "sqa3d/v1_balanced_questions_test_scannetv2.json",
        {"answers": "sqa3d/v1_balanced_sqa_annotations_test_scannetv2.json"},
        50,
        34,
        50,
    ),
    ("activitynet-qa", "activitynet-qa/test_q.json", {}, 60, 52, 60),
    ("activitynet-qa", "activitynet-qa/val_q.json", {}, 60, 47, 60),
    ("activitynet-qa", "activitynet-qa/test-same-question-two-answers.json", {}, 22, 11, 22),
    ("activitynet-qa", "activitynet-qa/malmm-qa_test.json", {}, 60, 52, 60),
    ("activitynet-qa", "activitynet/qa_test.json", {}, 60, 52, 60),
    ("msvd-qa", "msvd-qa/malmm-qa_val.json", {}, 60, 2, 60),
    ("msvd-qa", "msvd-qa/malmm-qa_test.json", {}, 60, 2, 60),
    ("msvd-qa", "msvd/qa_test.json", {}, 60, 2, 60),
    ("msrvtt-qa", "msrvtt-qa/malmm-qa_val.json", {}, 60, 3, 60),
    ("msrvtt-qa", "msrvtt/qa_val.json", {}, 60, 3, 60),
    ("msrvtt-caption", "msrvtt-caption/malmm-cap_val.json", {}, 3, 3, 3),
    ("msrvtt-caption", "msrvtt-caption/malmm-coco_gt-cap_val.json", {}, 3, 3, 3),
    ("msrvtt-caption", "msrvtt/cap_val.json", {}, 3, 3, 3),
    ("msvd-caption", "msvd-caption/malmm-cap_val.json", {}, 2, 2, 2),
    ("msvd-caption", "msvd-caption/malmm-coco_gt-cap_val.json", {}, 2, 2, 2),
    ("msvd-caption", "msvd/cap_val.json", {}, 2, 2, 2),
    ("msvd-caption", "msvd/cap_val.json", {"per_caption": True}, 60, 2, 60),
    ("youcook2-caption", "youcook2/malmm-cap_val.json", {}, 60, 8, 60),
    ("youcook2-caption", "youcook2/malmm-cap_test.json", {}, 60, 10, 0),
    ("youcook2-caption", "youcook2/malmm-coco_gt-cap_val.json", {}, 60, 8, 60),
    ("youcook2-caption", "youcook2/cap_val.json", {}, 60, 8, 60),
    ("youcook2-caption", "youcook2/coco_gt/cap_val.json", {}, 60, 8, 60),
    ("lvu", "lvu/malmm-val.json", {"task": "director"}, 24, 9, 24),
    ("lvu", "lvu/malmm-val.json", {"task": "relationship"}, 18, 8, 18),
    ("lvu", "lvu/malmm-val.json", {"task": "genre"}, 62, 17, 62),
    ("lvu", "lvu/malmm-val.json", {"task": "way_speaking"}, 32, 11, 32),
    ("lvu", "lvu/malmm-val.json", {"task": "scene"}, 32, 13, 32),
    ("lvu", "lvu/malmm-val.json", {"task": "writer"}, 27, 10, 27),
    ("lvu", "lvu/malmm-val.json", {"task": "year"}, 37, 8, 37),
    ("lvu", "lvu/malmm-test.json", {"task": "director"}, 29, 11, 29),
    ("lvu", "lvu/malmm-test.json", {"task": "relationship"}, 17, 8, 17),
    ("lvu", "lvu/malmm-test.json", {"task": "genre"}, 36, 20, 36),
    ("lvu", "lvu/malmm-test.json", {"task": "way_speaking"}, 16, 9, 16),
    ("lvu", "lvu/malmm-test.json", {"task": "scene"}, 22, 9, 22),
    ("lvu", "lvu/malmm-test.json", {"task": "writer"}, 31, 8, 31),
    ("lvu", "lvu/malmm-test.json", {"task": "year"}, 20, 8, 20),
    ("lvu", "lvu/test.json", {"task": "director"}, 161, 60, 161),
    ("lvu", "lvu/test.json", {"task": "way_speaking"}, 4, 3, 4),
    ("lvu", "lvu/test.json", {"task": "year"}, 9, 2, 9),
    ("lvu", "lvu/train.json", {"task": "director"}, 124, 60, 124),
    ("lvu", "lvu/train.json", {"task": "genre"}, 14, 8, 14),
    ("lvu", "lvu/train.json", {"task": "way_speaking"}, 8, 3, 8),
    ("lvu", "lvu/train.json", {"task": "scene"}, 3, 2, 3),
    ("lvu", "lvu/train.json", {"task": "writer"}, 21, 8, 21),
    ("lvu", "lvu/train.json", {"task": "year"}, 1, 1, 1),
    ("breakfast", "breakfast/malmm-train.json", {}, 60, 60, 60),
    ("breakfast", "breakfast/malmm-val.json", {}, 60, 60, 60),
    ("breakfast", "breakfast/val.json", {}, 60, 60, 60),
    ("tgif-qa", "tgif-qa/Test_frameqa_question.csv", {}, 59, 59, 59),
    ("tgif-qa", "tgif-qa/Test_action_question.csv", {}, 59, 59, 59),
    ("tgif-qa", "tgif-qa/Test_count_question.csv", {}, 59, 59, 59),
    ("tgif-qa", "tgif-qa/Test_transition_question.csv", {}, 59, 30, 59),
    ("vlep", "vlep/vlep_dev_release.jsonl", {}, 60, 42, 60),
    ("tvqa", "tvqa/tvqa_test_public.jsonl", {"bad_spans": "whole"}, 55, 54, 0),
    ("audiocaps", "audiocaps/test.csv", {}, 58, 58, 58),
    ("audiocaps", "audiocaps/val.csv", {}, 57, 57, 57),
    (
        "perception-test",
        "merv-eval_data/dummy_mcq-test_q.json",
        {"answers": "merv-eval_data/dummy_mcq-test_a.json"},
        9,
        1,
        9,
    ),
    ("perception-test", "merv_dummy_mcq/test_q.json", {}, 9, 1, 9),
    (
        "msrvtt-qa",
        "merv-eval_data/dummy_openended-test_q.json",
        {"answers": "merv-eval_data/dummy_openended-test_a.json"},
        9,
        1,
        9,
    ),
    ("msrvtt-qa", "merv_dummy_openended/test_q.json", {}, 9, 1, 9),
]
NOT_READ_ALONE = {  # answers of questions, maps, vocabularies
    "activitynet-qa/test_a.json",
    "activitynet-qa/val_a.json",
    "merv-eval_data/dummy_mcq-test_a.json",
    "merv-eval_data/dummy_openended-test_a.json",
    "merv_dummy_mcq/test_a.json",
    "merv_dummy_openended/test_a.json",
    "msrvtt-qa/malmm-qa_ans2label.json",
    "msrvtt/qa_ans2label.json",
    "msvd-qa/malmm-qa_ans2label.json",
    "msvd/qa_ans2label.json",
    "nextqa/map_vid_vidorID.json",
    "sqa3d/v1_balanced_sqa_annotations_test_scannetv2.json",
}


@pytest.mark.parametrize(("name", "file", "settings", "examples", "recordings", "labeled"), CASES)
def test_every_excerpt_reads(name, file, settings, examples, recordings, labeled):
    settings = {key: FOLDER / value if key == "answers" else value for key, value in settings.items()}
    result = DATASETS.get(name)(data=FOLDER / file, **settings).annotations
    assert len({example.id for example in result}) == len(result) == examples
    assert len({example.media for example in result}) == recordings
    assert sum(example.is_labeled for example in result) == labeled


def test_no_excerpt_is_left_out():
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.*") if path.name != "README.md"}
    assert files == {file for _, file, *_ in CASES} | NOT_READ_ALONE


def test_a_vocabulary_holds_nearly_all_answers():
    """The rest can never be right for a classifier over it."""
    known = read_json(FOLDER / "msvd-qa/malmm-qa_ans2label.json")
    assert len(known) == 60
    assert all(isinstance(index, int) for index in known.values())
