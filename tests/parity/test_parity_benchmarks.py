"""Scorers of benchmarks against recorded outputs of the published scripts: 0 differences."""

import json

import pytest
from goldens import golden_files, golden_folder

from vidweave.data.lvu_clips import clip_frames, lvu_clips
from vidweave.data.music_avqa_text import fill_as_crema, fill_in_order, question_tokens
from vidweave.evaluation.judge_replies import (
    lmms_eval_reply,
    lmms_eval_score,
    summarize_video_llava,
    video_llava_reply,
)
from vidweave.evaluation.scorers.activitynetqa import activitynetqa_official, print_activitynetqa
from vidweave.evaluation.scorers.mcq_parsing import (
    lmms_eval_mmmu,
    lmms_eval_perception,
    merv_first_character,
    vlmevalkit_choice,
)
from vidweave.evaluation.scorers.music_avqa import music_avqa_official
from vidweave.evaluation.scorers.nextqa import nextqa_official
from vidweave.evaluation.scorers.sevila import sevila_metrics
from vidweave.evaluation.scorers.sqa3d import (
    Sqa3dResponse,
    clean_sqa3d,
    clean_three_d_llm,
    is_right_official,
    question_class,
    three_d_llm_top1,
)
from vidweave.evaluation.scorers.table import Response
from vidweave.evaluation.scorers.vqa_text import strip_digits_and_articles, strip_punctuation, vqa_processed
from vidweave.evaluation.scorers.vqa_top1 import ONE_WORD_DATASETS, beam_accuracy_malmm
from vidweave.systems.crema.preset import DATASETS
from vidweave.systems.crema.scoring import by_kind, legacy_music_avqa, legacy_sqa3d, repaired_music_avqa
from vidweave.systems.crema.sevila_prompts import SevilaQuestion
from vidweave.systems.crema.wording import read_row

SYSTEM = "benchmarks"
COVERED = (
    "activitynetqa_official*", "captions_coco*", "crema_sevila_legacy*", "lvu_clips*", "malmm_vqa_top1*", "mcq_parsing*",
    "music_avqa_per_type*", "music_avqa_question_text*", "nextqa_official*", "open_ended_judge_replies*",
    "sevila_mcq_prompts*", "sqa3d_3dllm*", "sqa3d_official_llm*",
)  # fmt: skip


def read(name):
    (file,) = golden_files(SYSTEM, f"{name}*.json")
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_file_is_covered():
    covered = {file for pattern in COVERED for file in golden_files(SYSTEM, f"{pattern}.json")}
    assert covered == {file for file in golden_folder(SYSTEM).iterdir() if file.suffix == ".json"}


def test_nextqa():
    for case in read("nextqa_official")["cases"]:
        rows = []
        for row in case["rows"]:
            id = f"{row['video']}_{row['qid']}"
            result = case["predictions"].get(id, {}).get("prediction")
            rows.append(Response(id=id, question_type=row["type"], answer=row["answer"], prediction=result))
        table = nextqa_official(rows)
        assert {name: table.groups[name].show() for name in case["per_group"]} == case["per_group"]
        assert table.overall.show() == case["overall"]


def test_music_avqa():
    for case in read("music_avqa_per_type")["cases"]:
        rows = [
            Response(id=str(r["question_id"]), question_type=r["type"], answer=r["anser"], prediction=r["prediction"])
            for r in case["rows"]
        ]
        table = music_avqa_official(rows)
        assert {name: tally.show() for name, tally in table.groups.items()} == case["printed"]
        assert list(table.groups) == list(case["printed"])
        assert table.overall.percent == pytest.approx(case["overall"], abs=1e-9)


def test_music_avqa_question_text():
    for case in read("music_avqa_question_text")["cases"]:
        row = case["row"]
        template, values = row["question_content"], json.loads(row["templ_values"])
        assert fill_in_order(template, values) == case["filled_in_order"].strip()
        assert question_tokens(template, values) == case["dataset_tokens"]
        as_crema = {**row, "video_id": "v", "question_content": fill_as_crema(template, values), "templ_values": "[]"}
        sample = read_row("music-avqa", as_crema)
        assert DATASETS["music-avqa"].prompt.format(question=sample.query.text) == case["crema_qa_input"]
        assert sample.answer == case["crema_answer"]
        lost = fill_as_crema(template, values).strip() != fill_in_order(template, values)
        assert lost == case.get("crema_lost_a_value", lost)


def test_sqa3d_official():
    golden = read("sqa3d_official_llm")
    assert [clean_sqa3d(case["in"]) for case in golden["clean_answer"]] == [c["out"] for c in golden["clean_answer"]]
    for case in golden["match"]:
        assert case["error"] is None
        assert clean_sqa3d(case["prediction"]) == case["cleaned"]
        assert is_right_official(case["prediction"], case["answer"]) is case["right"], case


def test_sqa3d_of_three_d_llm():
    golden = read("sqa3d_3dllm")
    rows = golden["rows"]
    assert [clean_three_d_llm(row["raw_prediction"]) for row in rows] == [row["cleaned"] for row in rows]
    assert [question_class(row["question"]) for row in rows] == [row["class"] for row in rows]
    responses = [
        Sqa3dResponse(
            id=str(row["question_id"]),
            question=row["question"],
            answers=tuple(row["answers"]),
            prediction=row["raw_prediction"],
        )
        for row in rows
    ]
    table = three_d_llm_top1(responses)
    result = {"All": table.overall, **{name: tally for name, tally in table.groups.items() if tally.num_items}}
    assert {name: tally.percent for name, tally in result.items()} == pytest.approx(golden["top1"], abs=1e-9)
    for case in golden["vqa_processing"]:
        assert strip_punctuation(case["in"]) == case["punctuation"]
        assert strip_digits_and_articles(case["in"]) == case["digit_article"]
        assert vqa_processed(case["in"]) == case["both"]


def test_crema_and_sevila():
    golden = read("crema_sevila_legacy")
    for case in golden["music_avqa"]:
        assert repaired_music_avqa(case["prediction"], case["answer"]) == case["becomes"]
        assert legacy_music_avqa(case["prediction"], case["answer"]) is case["right"]
    rows = golden["sqa3d"]["rows"]
    marks = [(row["question_id"].split("_")[0], legacy_sqa3d(row["pred_ans"], row["gt_ans"])) for row in rows]
    result = dict(by_kind(marks))
    assert {"agg_metrics": result.pop("all"), **result} == pytest.approx(golden["sqa3d"]["metrics"], abs=1e-9)
    for case in golden["videoqa_sevila"]:
        responses = [
            Response(id=row["qid"], question_type="", answer=row["target"], prediction=row["prediction"])
            for row in case["rows"]
        ]
        assert sevila_metrics(responses) == pytest.approx(case["metrics"], abs=1e-9)


def test_activitynetqa():
    for case in read("activitynetqa_official")["cases"]:
        predictions = {row["question_id"]: row["answer"] for row in case["predictions"]}
        rows = [
            Response(
                id=row["question_id"],
                question_type=str(row["type"]),
                answer=row["answer"],
                prediction=predictions.get(row["question_id"]),
            )
            for row in case["truth"]
        ]
        table = activitynetqa_official(rows)
        assert print_activitynetqa(table) == case["printed"]
        assert table.groups["Free (intended)"].fraction == pytest.approx(case["free_right"], abs=5e-7)
        by_type = [tally.num_correct for name, tally in table.groups.items() if not name.startswith("Free")]
        assert by_type == [case["correct_per_type"][str(kind)] for kind in range(9)]


def test_malmm_top1():
    for case in read("malmm_vqa_top1")["cases"]:
        answers = {id: row["answer"] for id, row in case["annotation"].items()}
        beams = {row["question_id"]: row["answer"] for row in case["predictions"]}
        table = beam_accuracy_malmm(answers, beams, cuts_at_space=case["dataset"] in ONE_WORD_DATASETS)
        assert table.groups["top1"].percent == pytest.approx(case["top1"], abs=1e-9)
        assert table.groups["top5"].percent == pytest.approx(case["top5"], abs=1e-9)


def test_judge_replies():
    golden = read("open_ended_judge_replies")
    for case in golden["rows"]:
        reply = video_llava_reply(case["reply"])
        assert (reply.word != "unparsed") is case["literal_ok"]
        lmms = lmms_eval_reply(case["reply"])
        pred = lmms.word if lmms.word in ("yes", "no") else lmms.pred
        assert (None if lmms.word == "unparsed" else [pred, lmms.score]) == case["lmms_eval_activitynetqa"]
        assert lmms_eval_score(case["reply"]) == case["lmms_eval_videochatgpt"]
        if isinstance(expected := case.get("video_llava"), dict):
            result = summarize_video_llava([reply])
            assert {name: result[name] for name in expected} == expected
        elif expected is not None:
            assert expected.startswith("ZeroDivisionError")
            assert summarize_video_llava([reply])["accuracy"] is None
    everything = summarize_video_llava([video_llava_reply(case["reply"]) for case in golden["rows"]])
    assert everything == pytest.approx(golden["video_llava_all"], abs=1e-9)


def test_mcq_parsing():
    golden = read("mcq_parsing")
    options = golden["options"]
    for case in golden["rows"]:
        text = case["text"]
        assert (lmms_eval_mmmu(text, options) or "random") == case["lmms_eval_mmmu_parser"], text
        position = lmms_eval_perception(text)
        assert (-1 if position is None else position) == case["lmms_eval_perception_index"], text
        assert (vlmevalkit_choice(text, options) or False) == case["vlmevalkit_can_infer"], text
        assert merv_first_character(text) == case["merv_first_character"], text


def test_sevila_prompts():
    for case in read("sevila_mcq_prompts")["rows"]:
        question = SevilaQuestion.of(case["annotation"])
        assert question.answer_prompt() == case["qa_input"]
        assert question.target() == case["qa_output"]
        assert question.localizer_prompt() == case["loc_input"]
        assert (list(question.clip) if question.clip else None) == case["clip"]
        assert question.file() == case["file"]


def test_lvu_clips():
    golden = read("lvu_clips")
    clips = lvu_clips({video: row["duration"] for video, row in golden["videos"].items()})
    result = []
    for clip in clips:
        frames = clip_frames(clip, golden["videos"][clip.video]["num_frames"])
        ends = {"first": frames[0], "last": frames[-1], "sum": sum(frames), "tenth": frames[10]}
        result.append({"key": clip.key, "start": clip.start, "end": clip.end, **ends})
    assert result == golden["clips"]
