"""Own files: answers as text, position or list, conversations, Parquet, subtitles, and rows without an answer."""

from __future__ import annotations

import json

import pytest

from vidweave.data.examples import ExamplesFile
from vidweave.data.own_rows import answers_of, fields_of
from vidweave.errors import AnnotationError

ROW = {"video": "a.mp4", "question": "Which?"}


def read(folder, *rows, name="own.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps({**ROW, **row}) + "\n" for row in rows), encoding="utf-8")
    return ExamplesFile(data=path).annotations


@pytest.mark.parametrize("answer", ["blue", 1, "1", ["blue"], [1], ["blue", "red"], [1, 0]])
def test_an_answer_is_a_text_a_position_or_a_list(tmp_path, answer):
    (example,) = read(tmp_path, {"options": ["red", "blue"], "answer": answer})
    assert (example.answer, example.position) == ("blue", 1)
    assert example.accepted == (("blue", "red") if isinstance(answer, list) and len(answer) == 2 else ("blue",))


def test_a_number_that_is_an_option_is_that_option(tmp_path):
    """Options of counts: "2" is the third text, not the third position."""
    (example,) = read(tmp_path, {"options": ["3", "4", "2"], "answer": "2"})
    assert (example.answer, example.position) == ("2", 2)
    (example,) = read(tmp_path, {"options": ["3", "4", "2"], "answer": 0})
    assert (example.answer, example.position) == ("3", 0)


def test_open_answers_and_none(tmp_path):
    texts = read(tmp_path, {"answer": ["a cup", "a mug"]}, {"answer": 7}, {})
    assert [(e.answer, e.accepted, e.is_labeled) for e in texts] == [
        ("a cup", ("a cup", "a mug"), True), ("7", ("7",), True), ("", ("",), False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"options": ["red", "blue"], "answer": 2}, "the answer 2 is neither an option nor an index from 0 to 1"),
        ({"options": ["red", "blue"], "answer": "green"}, "'green' is not among the options 'red', 'blue'"),
        ({"options": ["red", "red"], "answer": 0}, "options repeat: 'red'"),
        ({"options": ["red"], "answer": 0}, "leaves no choice"),
        ({"answer": []}, "the list of answers is empty"),
        ({"answer": {"a": 1}}, "an answer must be a string or an index"),
        ({"answer": " "}, "has no answer"),
        (
            {"answer": "x", "start": float("nan"), "end": 2.0},
            "a span must be finite, with 0 <= start < end, got nan and 2",
        ),
        ({"answer": "x", "start": 1}, "lacks 'end'"),
        ({"answer": "x", "video": "/a.mp4"}, "is outside the folder"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "turns must alternate"),
        ({"messages": ["a"]}, "a turn must be an object"),
        ({"messages": [{"role": "user", "content": 5}]}, "a turn must contain a string"),
        ({"answer": "x", "videos": ["a.mp4", "b.mp4"]}, "videos must contain one file"),
    ],
)
def test_bad_rows_are_reported_with_their_place(tmp_path, row, message):
    with pytest.raises(AnnotationError, match=rf"own.jsonl:2, .*{message}"):
        read(tmp_path, {"answer": "x"}, row)


def test_row_ten_thousand_of_twenty_thousand(tmp_path):
    lines = [json.dumps({**ROW, "answer": "x"})] * 20_000
    lines[9_999] = lines[9_999][:-3]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    with pytest.raises(AnnotationError, match=r"own\.jsonl:10000: not JSON"):
        len(ExamplesFile(data=tmp_path / "own.jsonl"))


def test_conversations_of_llava_and_swift():
    llava = {"id": "7", "video": "a.mp4", "conversations": [
        {"from": "human", "value": "<video>\nFirst?"}, {"from": "gpt", "value": "One."},
        {"from": "human", "value": "Then?"}, {"from": "gpt", "value": "Two."}]}  # fmt: skip
    assert fields_of(llava) == {"id": "7", "video": "a.mp4", "question": "Then?", "answer": "Two."}
    swift = {"videos": ["a.mp4"], "messages": [{"role": "system", "content": "Be brief."},
             {"role": "user", "content": "<video>Which?"}, {"role": "assistant", "content": "It."}]}  # fmt: skip
    assert fields_of(swift) == {"video": "a.mp4", "question": "Which?", "answer": "It."}
    unanswered = {"images": ["a.png"], "messages": [{"role": "user", "content": "<image>Which?"}]}
    assert fields_of(unanswered) == {"image": "a.png", "question": "Which?"}


def test_subtitles_stand_before_the_question(tmp_path):
    (example,) = read(tmp_path, {"answer": "x", "subtitles": "- Hello!"})
    assert example.query.text == "- Hello!\nWhich?"


def test_answers_of_nothing():
    with pytest.raises(ValueError, match="an answer must be a string or an index, got None"):
        answers_of(None, ())


def test_a_table_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    rows = [{**ROW, "options": ["red", "blue"], "answer": 1, "type": None}, {**ROW, "options": None, "answer": None}]
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "own.parquet")
    first, second = ExamplesFile(data=tmp_path / "own.parquet").annotations
    assert (first.answer, first.query.options, first.question_type) == ("blue", ("red", "blue"), "all")
    assert not second.is_labeled
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(AnnotationError, match=r"bad\.parquet is not a Parquet file"):
        len(ExamplesFile(data=tmp_path / "bad.parquet"))
