"""The reader of question files: every spelling of every release, and every way in which a file can be wrong."""

import gzip
import json

import pytest
from contra4_questions import question, released
from hypothesis import given
from hypothesis import strategies as st

from vidweave.contra4.schema import question_from_dict, read_questions, write_questions
from vidweave.errors import AnnotationError, MediaNotFoundError


def without(data, *keys):
    return {key: value for key, value in data.items() if key not in keys}


@pytest.mark.parametrize(
    "spelling",
    [
        {"answer": "Scene B"},
        {"answer": "B"},
        {"gt_answer": "Scene B"},
        {"gt_answer": "B"},
        {"answer": "B", "gt_answer": "Scene B"},
        {"answers": ["Scene B. It is quiet, unlike the others"]},
        {"answers": ["Scene B"], "answers_formatted": ["Scene A"]},  # balancing leaves the second one stale
        {"answers": [], "answers_formatted": ["Scene B"]},
    ],
)
def test_every_spelling_of_the_answer(spelling):
    assert question_from_dict(without(released(), "answer") | spelling, "here").answer == 1


def test_the_older_key_of_the_id():
    assert question_from_dict(without(released(), "id") | {"question_id": "n7"}, "here").id == "n7"
    assert question_from_dict(released() | {"question_id": "n7"}, "here").id == "random_0"


def test_older_keys_of_question_caption_meta_and_selection():
    data = without(released(), "question") | {"questions": ["Which scene is calmer?"], "selection_type": "high_sim"}
    data["examples"] = [without(e, "meta", "url") | {"caption": [e["caption"], "another"]} for e in data["examples"]]
    data |= {"answer_llama": ["Scene A"], "meta-llama/Llama-2-13b-chat-hf_permutations": {}, "step_2_prompt": "…"}
    read = question_from_dict(data, "here")
    assert (read.question, read.selection) == ("Which scene is calmer?", "similarity")
    assert read.scenes[2].caption == "a thing 2"
    assert read.scenes[2].meta == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "Scene D"}, r"random_0\): the answer 'Scene D' is not among the labels Scene A, Scene B, Scene C"),
        ({"answer": "the second"}, "the answer 'the second' is not among the labels"),
        ({"answer": None}, "the answer None is not among"),
        ({"gt_answer": "Scene A"}, "'answer' is 'Scene B' but 'gt_answer' is 'Scene A'"),
        (released(scenes=5) | {"modalities": ["audio"] * 5}, r"a question has 2 to 4 scenes \(ABCD\), got 5"),
        (released(scenes=1), "2 to 4 scenes"),
        ({"q_type": "mc_2"}, "q_type says 'mc_2', but there are 3 scenes"),
        ({"modalities": ["audio", "pc"]}, "3 scenes but 2 modalities"),
        ({"modalities": ["audio", "pc", "smell"]}, "Scene C: unknown modality 'smell'"),
        ({"question": "  "}, "the question is missing or empty"),
        ({"selection_type": "nearest"}, "selection_type must be one of random, similarity, high_sim, got 'nearest'"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"id": 7}, "'id' must be str, got 7"),
        ({"category": 3}, "'category' must be a string, got 3"),
    ],
)
def test_what_is_wrong_is_reported(changes, message):
    with pytest.raises(AnnotationError, match=message):
        question_from_dict(released() | changes, "here")


@pytest.mark.parametrize("caption", ["", "  ", [], [""], None, 3])
def test_an_empty_caption_is_an_error(caption):
    data = released()
    data["examples"][1]["caption"] = caption
    with pytest.raises(AnnotationError, match=r"here \(random_0\) Scene B: the caption must be a non-empty string"):
        question_from_dict(data, "here")


@pytest.mark.parametrize(("key", "value"), [("id", True), ("id", None), ("url", 5), ("meta", [1])])
def test_scene_values_of_another_type(key, value):
    data = released()
    data["examples"][0][key] = value
    with pytest.raises(AnnotationError, match=f"Scene A: '{key}' must be"):
        question_from_dict(data, "here")


def test_a_scene_that_is_no_object():
    with pytest.raises(AnnotationError, match="Scene A: expected an object, got 'x'"):
        question_from_dict(released() | {"examples": ["x", "y", "z"]}, "here")


# ---- files


def lines(count):
    return [json.dumps(released(i)) for i in range(count)]


def test_malformed_json_at_line_10000(tmp_path):
    rows = lines(10_010)
    rows[9_999] = rows[9_999][:-20]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    with pytest.raises(AnnotationError, match=r"rows\.jsonl:10000: not JSON"):
        read_questions(tmp_path / "rows.jsonl")
    (tmp_path / "list.json").write_text("[" + ",\n".join(rows) + "]")
    with pytest.raises(AnnotationError, match=r"list\.json:10000: not JSON"):
        read_questions(tmp_path / "list.json")


def test_json_list_and_lines_plain_and_zipped_are_the_same(tmp_path):
    rows = lines(5)
    (tmp_path / "a.json").write_text(json.dumps([json.loads(row) for row in rows]))
    (tmp_path / "b.jsonl").write_text("\n".join([*rows, ""]))
    (tmp_path / "c.json.gz").write_bytes(gzip.compress((tmp_path / "a.json").read_bytes()))
    read = [read_questions(tmp_path / name) for name in ("a.json", "b.jsonl", "c.json.gz")]
    assert read[0] == read[1] == read[2]
    assert len(read[0]) == 5


def test_line_separators_inside_texts_end_no_line(tmp_path):
    row = json.dumps(released(question="Which\u2028scene\x85?"), ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(row, encoding="utf-8")
    assert read_questions(tmp_path / "a.jsonl")[0].question == "Which\u2028scene\x85?"


def test_ids_that_repeat(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join([*lines(3), lines(2)[1]]))
    with pytest.raises(AnnotationError, match=r"a\.jsonl:4: id 'random_1' is used by an earlier question"):
        read_questions(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "contains no questions"),
        (b"[]", "contains no questions"),
        (b"[1]", "entry 1: expected a JSON object, got '1'"),
        (b"3", "x:1: expected a JSON object"),
        (b"\xff\xfe[]", "is not UTF-8 text"),
        (gzip.compress(b"[]" * 500, mtime=0)[:-9], "is damaged"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_files_that_are_none(tmp_path, data, message):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(AnnotationError, match=message):
        read_questions(tmp_path / "x")


def test_no_file(tmp_path):
    with pytest.raises(MediaNotFoundError, match="there is no file"):
        read_questions(tmp_path / "x")


def test_written_is_read_back(tmp_path):
    questions = [question(i, 2 + i % 3, i % 2, category="Other" if i else None) for i in range(7)]
    write_questions(tmp_path / "q.json", questions)
    assert read_questions(tmp_path / "q.json") == questions


# ---- values


@given(st.permutations(range(4)), st.integers(0, 3))
def test_reordering_keeps_the_right_scene_right(order, answer):
    before = question(scenes=4, answer=answer)
    after = before.reordered(order)
    assert after.scenes[after.answer] == before.scenes[answer]
    assert sorted(after.modalities) == sorted(before.modalities)


def test_names_that_clips_use():
    assert [scene.clip_modality for scene in question(scenes=4).scenes] == ["audio", "point_cloud", "image", "video"]
