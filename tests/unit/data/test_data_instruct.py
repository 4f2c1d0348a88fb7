"""Instruction data in VideoTGB's layouts: read strictly, put into its words exactly."""

import json

import pytest

from vidweave.data.instruct import last_question, read_instruct, read_pseudo_spans, read_video_instruct
from vidweave.errors import AnnotationError, MediaNotFoundError
from vidweave.systems.videotgb.words import prompt, target


def written(path, data):
    path.write_text(json.dumps(data))
    return path


def human(text):
    return {"from": "human", "value": text}


def gpt(text):
    return {"from": "gpt", "value": text}


def test_video_instruct_by_index(tmp_path):
    (tmp_path / "v_abc.mkv").write_bytes(b"x")
    entries = {"0": {"q": "What does the man paint?", "a": "A fence.", "video_id": "v_abc"}}
    (item,) = read_video_instruct(written(tmp_path / "train.json", entries), tmp_path)
    assert item.clip["video"] == tmp_path / "v_abc.mkv"
    assert prompt(item, "single") == "USER: What does the man paint?ASSISTANT: "
    assert target(item, "single") == "A fence. </s>"
    assert prompt(item, "evaluation") == "USER: <video>\nWhat does the man paint? ASSISTANT: "
    example = last_question(item)
    assert (example.query.text, example.answer) == ("What does the man paint?", "A fence.")


def test_conversations_of_videos_images_and_text(tmp_path):
    media = [
        {
            "id": "7",
            "video": "a/v.mp4",
            "conversations": [human("Describe it.\n<video>"), gpt("A man."), human("Why?"), gpt("Fun.")],
        },
        {"id": 8, "image": "i.jpg", "conversations": [gpt("Hello."), human("<image>\nWhat is it?"), gpt("A cat.")]},
    ]
    text = [{"id": 8, "model": "x", "conversations": [human("Add 1 and 2."), gpt("3")]}]
    items = read_instruct(written(tmp_path / "m.json", media), tmp_path, text=written(tmp_path / "t.json", text))
    video, image, words = items
    assert [item.modality for item in items] == ["video", "image", None]
    assert [item.id for item in items] == ["7", "8", "text/8"]
    assert prompt(video) == "USER: <video>\nDescribe it.  ASSISTANT: A man. </s>USER: Why?  ASSISTANT: "
    assert (target(video), target(video, has_end=True)) == ("Fun.", "Fun.</s>")
    assert prompt(image) == "USER: <image>\nWhat is it?  ASSISTANT: "
    assert image.clip["image"] == tmp_path / "i.jpg"
    assert prompt(words) == "USER: Add 1 and 2.  ASSISTANT: "
    assert words.clip is None
    with pytest.raises(AnnotationError, match="has no image or video, only text"):
        last_question(words)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": "1", "video": "v.mp4", "conversations": [human("a"), human("b")]}, r"entry 0: turns must alternate"),
        ({"id": "1", "video": "v.mp4", "conversations": []}, r"got none"),
        ({"id": "1", "video": "v.mp4", "conversations": [human("a")]}, r"end with gpt, got human"),
        (
            {"id": "1", "video": "v.mp4", "conversations": [human(" <video>"), gpt("b")]},
            r"question or an answer is empty",
        ),
        ({"id": "1", "video": "/v.mp4", "conversations": [human("a"), gpt("b")]}, r"outside the folder"),
        ({"id": "1", "video": "../v.mp4", "conversations": [human("a"), gpt("b")]}, r"outside the folder"),
        (
            {"id": "1", "video": "v", "image": "i", "conversations": [human("a"), gpt("b")]},
            r"expected either 'video' or 'image', got both",
        ),
        (
            {"id": "1", "conversations": [human("a"), gpt("b")]},
            r"expected 'video', 'image', or the 'model' of a text entry",
        ),
        ({"video": "v", "conversations": [human("a"), gpt("b")]}, r"'id' must be a string or a number, got None"),
        ({"id": "1", "video": "v"}, r"'conversations' is missing"),
        ({"id": "1", "video": "v", "conversations": ["a"]}, r"turn 0: expected an object, got 'a'"),
        ("x", r"entry 0: expected an object, got 'x'"),
    ],
)
def test_broken_conversations_are_reported_with_their_place(entry, message, tmp_path):
    with pytest.raises(AnnotationError, match=message):
        read_instruct(written(tmp_path / "m.json", [entry]), tmp_path)


def test_broken_files(tmp_path):
    with pytest.raises(MediaNotFoundError, match="does not exist"):
        read_instruct(tmp_path / "none.json", tmp_path)
    (tmp_path / "half.json").write_text('{"0": {')
    with pytest.raises(AnnotationError, match="is not JSON"):
        read_video_instruct(tmp_path / "half.json", tmp_path)
    with pytest.raises(AnnotationError, match="expected a list or an object of entries by index, got str"):
        read_video_instruct(written(tmp_path / "text.json", "x"), tmp_path)
    with pytest.raises(AnnotationError, match="expected a list of conversations, got dict"):
        read_instruct(written(tmp_path / "dict.json", {}), tmp_path)
    with pytest.raises(AnnotationError, match="entry '0': 'a' is missing"):
        read_video_instruct(written(tmp_path / "short.json", {"0": {"q": "x", "video_id": "v"}}), tmp_path)


def test_repeated_ids_get_a_running_suffix(tmp_path):
    """As in files made of Video-ChatGPT's data, whose ids are those of the videos."""
    entry = {"id": "v_1", "video": "v.mp4", "conversations": [human("a"), gpt("b")]}
    items = read_instruct(written(tmp_path / "twice.json", [entry, entry, {**entry, "id": "v_2"}]), tmp_path)
    assert [item.id for item in items] == ["v_1", "v_1#2", "v_2"]
    released = [{"q": "a", "a": "b", "video_id": "v_1"}] * 2
    items = read_video_instruct(written(tmp_path / "released.json", released), tmp_path)
    assert [(item.id, str(item.clip["video"])) for item in items] == [
        (name, str(tmp_path / "v_1.mp4")) for name in ("0", "1")
    ]


def test_spans_of_the_original(tmp_path):
    spans = read_pseudo_spans(written(tmp_path / "p.json", {"0": [3, 9], "1": [0.25, 0.5]}))
    assert spans == {"0": (3.0, 9.0), "1": (0.25, 0.5)}
    for wrong in ([5, 3], [1], "x", [-1, 2]):
        with pytest.raises(AnnotationError, match=r"entry '0' must be \[start, end\]"):
            read_pseudo_spans(written(tmp_path / "q.json", {"0": wrong}))
