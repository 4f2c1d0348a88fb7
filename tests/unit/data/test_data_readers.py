"""Readers of data sets: rows become examples, strictly; media are found by root; nothing is dropped in silence."""

import csv
import json
from typing import ClassVar

import numpy as np
import pytest
import torch

from vidweave.data.dataset import Dataset
from vidweave.data.examples import ExamplesFile
from vidweave.data.music_avqa import MusicAVQA
from vidweave.data.nextqa import NextQA
from vidweave.data.schema import Example, named
from vidweave.data.sqa3d import SQA3D, ThreeDLLM
from vidweave.errors import AnnotationError, ConfigError, MediaNotFoundError, QueryError, UnknownNameError
from vidweave.media.point_pairs import FEATURES, VOXELS
from vidweave.media.write import write_image
from vidweave.registry import DATASETS
from vidweave.systems.crema.wording import WORDINGS, CremaExamples, read_row
from vidweave.types import Clip, Query

NEXTQA = {"video": "7", "num_option": 2, "qid": "CW_7_0", "a0": "a.", "a1": "b.", "answer": 1, "question": "why?"}
MUSIC = {
    "video_id": "00000012", "question_id": 5, "type": '["Audio-Visual", "Comparative"]',
    "question_content": "Is the <Object> louder than the <Object>?", "templ_values": '["violin", "cello"]',
    "anser": "bass_drum",
}  # fmt: skip


def written(path, rows):
    path.write_text(json.dumps(rows))
    return path


def clips(dataset):
    return [example.query.scenes[0].clip for example in dataset]


@pytest.mark.parametrize("name", [n for n in DATASETS if n != "examples"])
def test_every_reader_names_itself_and_lays_out_the_modalities_of_its_facts(name):
    reader = DATASETS.get(name)
    facts = DATASETS.entry(name).facts
    assert reader.name == name
    assert set(reader.layout) == set(facts.modalities)
    assert facts.summary
    assert facts.access
    assert reader(data="x")._modalities == (next(iter(reader.layout)),)
    with pytest.raises(AnnotationError, match=rf"^here, lacks '\w+'; see the format of {name} in docs/datasets.md"):
        reader.read({}, "here")


def test_media_are_found_by_modality_when_an_example_is_taken(tmp_path):
    data = written(tmp_path / "val.json", [{**NEXTQA, "video": "1164/7"}])
    dataset = NextQA(data=data, media=(tmp_path / "none", tmp_path / "frames"), modalities=("video", "depth", "flow"))
    assert dataset.ids == ["CW_7_0"]
    with pytest.raises(AnnotationError, match=r"nextqa CW_7_0: no file of video, depth, flow for '1164/7' in .*frames"):
        dataset[0]
    (tmp_path / "frames_depth" / "1164" / "7").mkdir(parents=True)
    (tmp_path / "frames" / "1164").mkdir(parents=True)
    (tmp_path / "frames" / "1164" / "7.mp4").touch()
    (example,) = dataset
    assert dict(example.query.scenes[0].clip) == {
        "video": str(tmp_path / "frames" / "1164" / "7.mp4"),
        "depth": str(tmp_path / "frames_depth" / "1164" / "7"),
    }
    assert (example.answer, example.position, example.question_type, example.media) == ("b.", 1, "CW", "1164/7")


def test_the_official_table_gives_the_examples_of_sevilas_form(tmp_path):
    header = [
        "video",
        "frame_count",
        "width",
        "height",
        "question",
        "answer",
        "qid",
        "type",
        *(f"a{i}" for i in range(5)),
    ]
    cells = ["49", 369, 640, 480, "why did the girl wave", 2, 6, "TP", "None", "angry", "to greet", "NA", "point up"]
    with (tmp_path / "val.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, cells])
    written(tmp_path / "map_vid_vidorID.json", {"49": "1164/49"})
    options = {f"a{i}": f"{cells[8 + i]}." for i in range(5)}
    theirs = {"video": "1164/49", "num_option": 5, "qid": "TP_49_6", "answer": 2, "question": "why did the girl wave?"}
    data = written(tmp_path / "val.json", [{**theirs, **options}])
    official, sevila = NextQA(data=tmp_path / "val.csv"), NextQA(data=data)
    assert official.annotations == sevila.annotations
    assert official.annotations[0].query.options == ("None.", "angry.", "to greet.", "NA.", "point up.")


def test_equal_options_are_distinguished_by_position(tmp_path):
    (example,) = NextQA(data=written(tmp_path / "v.json", [{**NEXTQA, "a0": "b."}])).annotations
    assert (example.query.options, example.answer, example.position) == (("b.", "b."), "b.", 1)
    with pytest.raises(QueryError, match="options repeat"):
        Query.about("a.mp4", "why?", ["b.", "b."])


def spanned(folder, **changes):
    data = written(folder / "val.json", [{**NEXTQA, **changes}])
    (clip,) = clips(NextQA(data=data, media=(folder / "frames",), modalities=("video",)))
    return clip.start_seconds, clip.end_seconds


def test_a_span_is_in_seconds_of_a_file_and_in_fractions_of_a_folder(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "7.mp4").touch()
    assert spanned(tmp_path) == (None, None)
    assert spanned(tmp_path, start="1.5", end=4) == (1.5, 4.0)
    folder, times = tmp_path / "frames" / "7", np.arange(9) / 4
    folder.mkdir()
    for number, frame in enumerate(np.random.default_rng(0).integers(0, 255, (9, 30, 34, 3), dtype=np.uint8)):
        write_image(folder / f"{number:05d}.jpg", frame)
    (folder / "frames.json").write_text('{"fps": 4}')
    assert spanned(tmp_path, start=0.3, end="0.8") == (times[int(0.3 * 8)], times[int(0.8 * 8)])
    assert spanned(tmp_path, start=0.9, end=0.95) == (times[7], times[8])  # at least one frame
    with pytest.raises(AnnotationError, match=r"must be fractions up to 1, got 0.5 and 4; give the video file"):
        spanned(tmp_path, start=0.5, end=4)


@pytest.mark.parametrize("changes", [{"start": "NaN", "end": 3}, {"start": 1, "end": "inf"}, {"start": 2, "end": 2},
                                     {"start": -1, "end": 2}, {"start": 1}, {"end": 1}, {"start": "soon", "end": 2}])  # fmt: skip
def test_a_span_that_is_none_is_refused(tmp_path, changes):
    with pytest.raises(AnnotationError, match=r"val.json, object 0, (cannot be read|lacks)"):
        spanned(tmp_path, **changes)


@pytest.mark.parametrize("name", ["touch-qa", "thermal-qa"])
def test_media_that_were_cut_before_are_not_cut_again(name):
    row = {**NEXTQA, "start": 120, "end": 300}  # frame numbers of the tools that cut
    made = DATASETS.get(name).read(row)
    assert (made.span, made.media) == (None, "CW_7_0")
    del row["qid"]
    assert DATASETS.get(name).read({**row, "question_id": "CW_8_0"}).media == "CW_8_0"
    assert NextQA.read({**NEXTQA, "start": 120, "end": 300}).span == (120.0, 300.0)


SCENE = {"scene_id": "scene0", "question": "What is it?", "situation": "Here.", "answers": ["a", "b"], "question_id": 3}


def test_points_of_a_scene_are_opened_once(tmp_path):
    for folder in (FEATURES, VOXELS):
        (tmp_path / folder).mkdir()
    torch.save(torch.ones(2, 5), tmp_path / FEATURES / "scene0.pt")
    np.save(tmp_path / VOXELS / "scene0.npy", np.array([[0, 1, 2], [3, 4, 5]]))
    data = written(tmp_path / "val.json", [SCENE, {**SCENE, "question_id": 4}])
    first, second = clips(SQA3D(data=data, media=(tmp_path,), modalities=("point_cloud",)))
    assert first["point_cloud"] is second["point_cloud"]
    assert first["point_cloud"].features.shape == (2, 5)


def test_questions_and_answers_in_two_files_are_joined_by_id(tmp_path):
    row = {key: value for key, value in SCENE.items() if key != "answers"}
    asked = written(tmp_path / "q.json", {"questions": [row, {**row, "question_id": 4}]})
    given = [{"question_id": i, "answers": [{"answer": f"answer {i}"}]} for i in (4, 3)]
    dataset = SQA3D(data=asked, answers=written(tmp_path / "a.json", {"annotations": given}))
    assert [(e.id, e.answer) for e in dataset.annotations] == [("3", "answer 3"), ("4", "answer 4")]
    with pytest.raises(AnnotationError, match="contains only questions; give their annotations with answers=FILE"):
        len(SQA3D(data=asked))
    with pytest.raises(AnnotationError, match=r"q.json, question 1: .*a.json has no answer to 4"):
        len(SQA3D(data=asked, answers=written(tmp_path / "a.json", {"annotations": given[1:]})))


def test_all_accepted_answers_are_kept_and_repeated_ids_are_reported(tmp_path):
    dataset = ThreeDLLM(data=written(tmp_path / "d.json", [SCENE, SCENE, {**SCENE, "scene_id": "s1"}]))
    assert dataset.ids == ["scene0", "scene0#2", "s1"]
    assert dataset.notes == ["1 repeated ids in d.json got a suffix"]
    assert dataset.annotations[0].answers == ("a", "b")


def test_templates_of_music_are_filled_in_order():
    example = MusicAVQA.read(MUSIC)
    assert example.query.text == "Is the violin louder than the cello?"
    assert (example.answer, example.answers) == ("bass drum", ("bass drum", "bass_drum"))
    assert (example.id, example.question_type) == ("5", "Audio-Visual Comparative")


def test_missing_media_are_counted_or_refused(tmp_path):
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "00000012.mp4").touch()
    data = written(tmp_path / "q.json", [{**MUSIC, "question_id": 4, "video_id": "no"}, MUSIC])
    (example,) = dataset = MusicAVQA(data=data, media=(tmp_path,), missing="leave_out")
    assert (example.id, dataset.ids) == ("5", ["5"])
    assert dataset.notes == ["1 of 2 examples are skipped: their media are missing"]
    with pytest.raises(AnnotationError, match=r"no file of .* for 'no'"):
        MusicAVQA(data=data, media=(tmp_path,))[0]
    with pytest.raises(ConfigError, match="music-avqa has no touch; it has video, audio"):
        MusicAVQA(data=data, media=(tmp_path,), modalities=("touch",))[0]


def test_a_colon_in_a_name_may_be_an_underscore_in_a_file(tmp_path):
    (tmp_path / "a_b.mp4").touch()
    dataset = MusicAVQA(data=written(tmp_path / "q.json", [{**MUSIC, "video_id": "a:b"}]), media=(tmp_path,))
    assert clips(dataset)[0]["video"] == str(tmp_path / "a_b.mp4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "contains a dict, expected a list of objects"),
        ("[]", "contains no rows"),
        ("[3]", "object 0: expected an object, got '3'"),
        ('[{"question": "a"}]', "val.json, object 0, lacks 'num_option'"),
        (
            '[{"qid": "a", "num_option": 2, "a0": "x", "a1": "y", "answer": 4, "question": "q"}]',
            "object 0, cannot be read",
        ),
        ('[{"qid": "a", "num_option": 2, "a0": "x", "a1": "y", "answer": -1, "question": "q"}]', "answer is -1"),
        ('[{"qid": "../a", "num_option": 2, "a0": "x", "a1": "y", "answer": 0, "question": "q"}]', "is outside"),
    ],
)
def test_annotation_faults(tmp_path, text, message):
    (tmp_path / "val.json").write_text(text)
    with pytest.raises(AnnotationError, match=message):
        list(NextQA(data=tmp_path / "val.json", media=(tmp_path,)))


def test_tables_are_read_strictly(tmp_path):
    table = tmp_path / "t.csv"
    for content, message in [(b"question,answer\na,b,c\n", "t.csv, row 1: the number of cells differs"),
                             (b"question,answer\na\n", "row 1: the number of cells differs"),
                             (b"question\n\xff\n", "is not a table in UTF-8")]:  # fmt: skip
        table.write_bytes(content)
        with pytest.raises(AnnotationError, match=message):
            len(ExamplesFile(data=table))
    with pytest.raises(MediaNotFoundError, match="does not exist"):
        len(ExamplesFile(data=tmp_path / "none.csv"))


# ---- a file of one's own


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_own_files_in_three_forms(tmp_path, form):
    (tmp_path / "a.mp4").touch()
    row = {"video": "a.mp4", "audio": "none.wav", "question": "Which?", "options": ["red", "blue"], "answer": "blue",
           "type": "color", "start": 0.5, "end": 2}  # fmt: skip
    path = tmp_path / f"own.{form}"
    if form == "csv":
        path.write_text(
            "video,audio,question,options,answer,type,start,end\na.mp4,none.wav,Which?,red|blue,blue,color,0.5,2\n"
        )
    else:
        path.write_text(json.dumps([row]) if form == "json" else json.dumps(row) + "\n")
    (example,) = ExamplesFile(data=path)
    clip = example.query.scenes[0].clip
    assert (dict(clip), clip.start_seconds, clip.end_seconds) == ({"video": str(tmp_path / "a.mp4")}, 0.5, 2.0)
    assert (example.id, example.question_type, example.answer) == ("0", "color", "blue")
    assert example.query.options == ("red", "blue")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "green"}, "'green' is not among the options 'red', 'blue'"),
        ({"vidoe": "a"}, "unknown field vidoe; fields are"),
        ({"video": None}, "a row needs a file of at least one modality"),
        ({"video": "../a.mp4"}, "is outside the folder"),
        ({"end": 1, "start": 2}, "0 <= start < end"),
        ({"question": " "}, "the question is empty"),
    ],
)
def test_faults_of_own_files(tmp_path, changes, message):
    row = {"video": "a.mp4", "question": "Which?", "options": ["red", "blue"], "answer": "blue", **changes}
    with pytest.raises(AnnotationError, match=rf"own.json, object 0, cannot be read \(.*{message}"):
        len(ExamplesFile(data=written(tmp_path / "own.json", [row])))


# ---- examples


def test_an_example_checks_its_answer():
    query = named("a", "Which?", ("x", "y", "x"))
    assert Example(id="1", query=query, answer="x").position == 0
    assert Example(id="1", query=query, answer="x", answer_index=2).position == 2
    with pytest.raises(AnnotationError, match="'x' is not among the options 'x', 'y', 'x' at index 1"):
        Example(id="1", query=query, answer="x", answer_index=1)
    with pytest.raises(AnnotationError, match=r"'a cup' is not among its answers \('a mug',\)"):
        Example(id="1", query=Query.about("a", "What?"), answer="a cup", answers=("a mug",))
    with pytest.raises(AnnotationError, match="0 <= start < end, got 3 and nan"):
        Example(id="1", query=query, answer="x", span=(3, float("nan")))


# ---- CREMA's words


def test_cremas_words_are_over_the_same_examples(tmp_path):
    assert set(WORDINGS) <= set(DATASETS)
    assert read_row("sqa3d", SCENE).query.text == "here. Question: what is it?"
    assert (read_row("sqa3d", SCENE).id, SQA3D.read(SCENE).id) == ("What_3", "3")
    assert read_row("music-avqa", MUSIC).query.text == "is the violin louder than the cello?"
    (tmp_path / "scene0.wav").touch()
    row = {"id": "scene0", "question": "What sounds?", "answer": "A bell."}
    (example,) = CremaExamples("audiocaps", written(tmp_path / "a.json", [row]), tmp_path, ["audio"])
    assert (example.query.text, example.answer, list(example.query.scenes[0].clip)) == (
        "what sounds?",
        "A bell.",
        ["audio"],
    )
    for unknown in (lambda: read_row("nextq", {}), lambda: CremaExamples("nextq", "a", "b", [])):
        with pytest.raises(UnknownNameError, match="unknown data set of CREMA 'nextq'; did you mean 'nextqa'"):
            unknown()


def test_a_reader_of_ones_own_is_a_class_with_a_row_and_a_layout(tmp_path):
    class Mine(Dataset):
        name = "mine"
        layout: ClassVar = {"video": ("{root}/{name}.mp4",)}

        @classmethod
        def parse(cls, row):
            return Example(id=row["k"], query=named(row["k"], row["q"]), answer=row["a"], media=row["k"])

    (tmp_path / "v.mp4").touch()
    (example,) = Mine(data=written(tmp_path / "m.json", [{"k": "v", "q": "What?", "a": "b"}]), media=(tmp_path,))
    assert example.query.scenes[0].clip["video"] == str(tmp_path / "v.mp4")
    assert example.about(Clip("w.mp4")).query.scenes[0].clip["video"] == "w.mp4"
