"""Small annotation files of every data set in its published form, with media where the reader looks for them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["FILES", "Files", "write_files"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Annotation of a data set.

    Attributes:
        data: Its file.
        media: Where media lie below the root, one path per recording.
        settings: Further settings of the reader.
        num_examples: How many examples it has.
    """

    data: str
    media: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    num_examples: int = 2


def write_files(name: str, folder: Path, media: Mapping[str, Path]) -> Files:
    """Write the files of a data set into `folder`, media into `folder`/media; `media` has a file per suffix."""
    files = FILES[name](folder)
    for place in files.media:
        path = folder / "media" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(media[path.suffix], path)
    return files


def _json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def _options(*texts: str) -> dict[str, str]:
    return {f"a{i}": text for i, text in enumerate(texts)}


def _nextqa(folder: Path) -> Files:
    row = {"frame_count": 369, "width": 64, "height": 48, "question": "why did the girl wave"}
    five = _options("to dance", "angry", "greet the boy", "tired", "point up")
    rows = [
        {"video": "41", **row, "answer": 2, "qid": qid, "type": kind, **five} for qid, kind in ((6, "CW"), (7, "TP"))
    ]
    _table(folder / "val.csv", rows)
    _json(folder / "map_vid_vidorID.json", {"41": "1164/41"})
    return Files(data="val.csv", media=("NExTVideo/41.mp4",))


def _star(folder: Path) -> Files:
    choices = [{"choice_id": i, "choice": text} for i, text in enumerate(("the bag", "the cup", "a book", "it"))]
    row = {"video_id": "AB1", "question": "What was taken?", "start": 0.0, "end": 1.5, "answer": "a book"}
    kinds = ("Interaction_T1_13", "Feasibility_T2_4")
    _json(folder / "STAR_val.json", [{"question_id": kind, **row, "choices": choices} for kind in kinds])
    return Files(data="STAR_val.json", media=("AB1.mp4",))


def _how2qa(folder: Path) -> Files:
    row = {"vid_name": "xy_60", "q": "Why?", **_options("a", "b", "c", "d"), "answer_idx": 1, "ts": "0.0-1.25"}
    _lines(folder / "how2qa_val_release.jsonl", [row, row])
    return Files(data="how2qa_val_release.jsonl", media=("xy_60.mp4",))


def _music(folder: Path) -> Files:
    row = {"video_id": "00000093", "question_deleted": 0}
    one = {"question_id": 5, "type": '["Audio", "Counting"]', "question_content": "How many <Object> sound?"}
    two = {"question_id": 6, "type": '["Visual", "Location"]', "question_content": "Where is the <Object>？ "}
    rows = [{**row, **one, "templ_values": '["flute"]', "anser": "two"}]
    rows.append({**row, **two, "templ_values": '["cello"]', "anser": "left"})
    _json(folder / "avqa-test.json", rows)
    return Files(data="avqa-test.json", media=("video/00000093.mp4",))


def _sqa3d(folder: Path) -> Files:
    question = {"scene_id": "scene0000_00", "situation": "I face the door.", "question": "What is behind me?"}
    answer = {"answers": [{"answer": "table", "answer_confidence": "yes", "answer_id": 1}], "scene_id": "scene0000_00"}
    _json(folder / "q.json", {"questions": [{**question, "question_id": i} for i in (1, 2)]})
    _json(folder / "a.json", {"annotations": [{**answer, "question_id": i} for i in (2, 1)]})
    return Files(data="q.json", media=("video/scene0000_00.mp4",), settings={"answers": str(folder / "a.json")})


def _three_d_llm(folder: Path) -> Files:
    _json(folder / "chat.json", [{"scene_id": "s1", "question": "What is it?", "answers": ["a chair"]}] * 2)
    return Files(data="chat.json", media=("video/s1.mp4",))


def _prepared(folder: Path) -> Files:
    row = {"num_option": 2, **_options("soft", "hard"), "answer": 1, "question": "How?", "start": 7, "end": 40}
    _json(folder / "val.json", [{**row, "question_id": f"T_{i}"} for i in (1, 2)])
    return Files(data="val.json", media=("clips/T_1.mp4", "clips/T_2.mp4"))


def _audiocaps(folder: Path) -> Files:
    row = {"youtube_id": "7fmO", "start_time": 20}
    _table(folder / "val.csv", [{"audiocap_id": i, **row, "caption": f"a rattle {i}"} for i in (11, 12)])
    return Files(data="val.csv", media=("7fmO.wav",), num_examples=1)


def _malmm_answers(folder: Path, video: str, kind: Any, place: str) -> Files:
    row = {"question": "what is it?", "answer_type": kind, "video": video, "frame_length": 7}
    rows = {f"000{i}": {"question_id": f"000{i}", "answer": answer, **row} for i, answer in enumerate(("dog", "cat"))}
    _json(folder / "qa_test.json", rows)
    return Files(data="qa_test.json", media=(place,))


def _activitynet(folder: Path) -> Files:
    row = {"video_name": "1QI", "question": "is he outdoors"}
    _json(folder / "test_q.json", [{**row, "question_id": f"v_1QI_{i}"} for i in (1, 2)])
    answers = [{"answer": answer, "type": 3, "question_id": f"v_1QI_{i}"} for i, answer in ((2, "no"), (1, "yes"))]
    _json(folder / "test_a.json", answers)
    return Files(data="test_q.json", media=("all_test/v_1QI.mp4",))


def _tgif(folder: Path) -> Files:
    row = {"gif_name": "tumblr_1", "question": "what is it ?", "answer": "dog", "type": 0}
    rows = [{**row, "vid_id": f"FRAMEQA{i}", "key": i, "description": "a dog"} for i in (1, 2)]
    _table(folder / "Test_frameqa_question.csv", rows, "\t")
    return Files(data="Test_frameqa_question.csv", media=("mp4/tumblr_1.mp4",))


def _captions(folder: Path) -> Files:
    rows = [{"image_id": f"video{i}.mp4", "caption": f"a man {v}", "id": 0, "video": f"video{i}"}
            for i in (1, 2) for v in ("sings", "talks")]  # fmt: skip
    _json(folder / "cap_val.json", {str(i): row for i, row in enumerate(rows)})
    return Files(data="cap_val.json", media=("videos/video1.mp4", "videos/video2.mp4"))


def _youcook(folder: Path) -> Files:
    row = {"video": "xH", "duration": 1.5, "frame_length": 7, "recipe": "salad"}
    one = {**row, "segment": "xH_0000_0001", "id": 0, "start_time": 0, "end_time": 1, "caption": "chop the onion"}
    two = {**row, "segment": "xH_0001_0009", "id": 1, "start_time": 1, "end_time": 9, "caption": "add the oil"}
    _json(folder / "cap_val.json", {r["segment"]: r for r in (one, two)})
    return Files(data="cap_val.json", media=("videos/xH.mp4",))


def _lvu(folder: Path) -> Files:
    row = {"subset": "test", "duration": 132, "num_frames": 1623, "director": "ron", "director_answer": "(c)"}
    _json(folder / "test.json", {"5v_8": row, "none": {"subset": "test", "duration": 9, "num_frames": 90}})
    return Files(data="test.json", media=("videos/5v_8.mp4",), settings={"task": "director"})


def _breakfast(folder: Path) -> Files:
    row = {"duration": 2, "frame_length": 18, "class_name": "cereal", "class_label": 0}
    _json(
        folder / "val.json", {"P47-cam01-P47_cereals": row, "P48-cam01-P48_cereals": row, "P28-cam01-P28_cereals": row}
    )
    return Files(data="val.json", media=("P47/cam01/P47_cereals.avi", "videos/P48-cam01-P48_cereals.avi"))


def _coin(folder: Path) -> Files:
    row = {"duration": 2.0, "class": "ReplaceCDDriveWithSSD", "recipe_type": 100, "annotation": []}
    subsets = {"a1": "testing", "a2": "validation", "a3": "training"}
    _json(folder / "COIN.json", {"database": {video: {**row, "subset": subset} for video, subset in subsets.items()}})
    return Files(data="COIN.json", media=("videos/a1.mp4", "a2.mp4"))


def _perception(folder: Path) -> Files:
    asked = {"question": "Is it moving?", "options": ["no", "unknown", "yes"], "answer_id": 2, "tag": []}
    questions = [{"id": i, **asked, "area": "physics", "reasoning": "descriptive"} for i in (0, 1)]
    video = {"metadata": {"split": "valid", "video_id": "video_8", "frame_rate": 4.0, "num_frames": 7}}
    _json(folder / "mc_question_valid.json", {"video_8": {**video, "mc_question": questions}})
    _json(folder / "cut_frame_mapping_valid.json", {"video_8": 4})
    return Files(data="mc_question_valid.json", media=("videos/video_8.mp4",))


def _vlep(folder: Path) -> Files:
    row = {"ts": [0.25, 1.25], "events": ["He runs.", "He sits."], "answer": 1, "split": "dev"}
    names = ("friends_s03_ep", "4E_subs_1_00:00:00_00:01:00_ep")
    _lines(
        folder / "vlep_dev_release.jsonl", [{"example_id": i, "vid_name": name, **row} for i, name in enumerate(names)]
    )
    return Files(data="vlep_dev_release.jsonl", media=("friends_s03.mp4", "4E_subs_1_00_00_00_00_01_00_ep.mp4"))


def _tvqa(folder: Path) -> Files:
    row = {"q": "Who?", **_options("a", "b", "c", "d", "e"), "show_name": "Castle", "vid_name": "castle_s1"}
    rows = [{**row, "qid": 7, "ts": "0.25-1.25", "answer_idx": 3}, {**row, "qid": 9, "ts": "0-1", "answer_idx": 0}]
    _lines(folder / "tvqa_val.jsonl", rows)
    return Files(data="tvqa_val.jsonl", media=("videos_3fps_with_audio/castle_s1.mp4",))


def _ssv2(folder: Path) -> Files:
    verbs = ("Holding", "Moving", "Pushing", "Lifting", "Closing", "Opening")
    rows = [{"id": str(i), "label": "x", "template": f"{verb} [something]"} for i, verb in enumerate(verbs)]
    _json(folder / "something-something-v2-validation.json", rows)
    return Files(
        data="something-something-v2-validation.json", media=tuple(f"{i}.webm" for i in range(6)), num_examples=6
    )


def _video_chatgpt(folder: Path) -> Files:
    _json(folder / "VideoInstruct_Dataset.json", [{"q": "What?", "a": "A dog.", "video_id": "v_1"}] * 2)
    return Files(data="VideoInstruct_Dataset.json", media=("v_1.mp4",))


def _instruct(folder: Path) -> Files:
    turns = [{"from": "human", "value": "What?\n<video>"}, {"from": "gpt", "value": "A dog."}]
    _json(folder / "instruct.json", [{"id": "v_1", "video": "valley/v_1.mp4", "conversations": turns}] * 2)
    return Files(data="instruct.json", media=("valley/v_1.mp4",))


FILES: Mapping[str, Callable[[Path], Files]] = {
    "nextqa": _nextqa,
    "star": _star,
    "how2qa": _how2qa,
    "music-avqa": _music,
    "sqa3d": _sqa3d,
    "3d-llm": _three_d_llm,
    "touch-qa": _prepared,
    "thermal-qa": _prepared,
    "audiocaps": _audiocaps,
    "msvd-qa": lambda folder: _malmm_answers(folder, "jf_5_9", "what", "videos/jf_5_9.avi"),
    "msrvtt-qa": lambda folder: _malmm_answers(folder, "video8", "what", "videos/all/video8.mp4"),
    "activitynet-qa": _activitynet,
    "tgif-qa": _tgif,
    "msvd-caption": _captions,
    "msrvtt-caption": _captions,
    "youcook2-caption": _youcook,
    "lvu": _lvu,
    "breakfast": _breakfast,
    "coin": _coin,
    "perception-test": _perception,
    "vlep": _vlep,
    "tvqa": _tvqa,
    "ssv2-mcq": _ssv2,
    "video-chatgpt": _video_chatgpt,
    "instruct": _instruct,
}
