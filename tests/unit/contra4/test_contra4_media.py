"""Scenes → files, the doctor that looks at them, and metadata."""

import gzip
import hashlib
import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow
import pytest
from contra4_questions import question
from pyarrow import parquet

from vidweave.cli.main import run
from vidweave.contra4.croissant import croissant
from vidweave.contra4.doctor import examine
from vidweave.contra4.media import Media, MediaFolder
from vidweave.contra4.pools import PoolFile, Pools, clean_caption
from vidweave.contra4.schema import SceneRef, read_questions, write_questions
from vidweave.errors import AnnotationError, ConfigError, MediaNotFoundError, MissingExtraError, UnknownNameError
from vidweave.media import write_audio, write_image, write_video
from vidweave.types import Frames, Waveform

RELEASED = {
    "audiocaps": SceneRef(source="audiocaps", id=103549, modality="audio", caption="rain"),
    "clotho": SceneRef(source="clotho", id="a file (1).wav", modality="audio", caption="wind"),
    "coco": SceneRef(source="coco_val", id=521405, modality="image", caption="a toothbrush"),
    "msrvtt": SceneRef(source="msrvtt_test", id="video6613", modality="video", caption="fish"),
    "objaverse": SceneRef(source="pointllm", id="69865c89fc7344be", modality="pc", caption="a building"),
}
NAMES = {
    "audiocaps": "103549.wav",
    "clotho": "a file (1).wav",
    "coco": "000000521405.jpg",
    "msrvtt": "video6613.mp4",
    "objaverse": "69865c89fc7344be_8192.npz",
}
VARIABLES = {
    "audiocaps": "AUDIOCAPS_DIR",
    "clotho": "CLOTHO_DIR",
    "coco": "COCO_DIR",
    "msrvtt": "MSRVTT_DIR",
    "objaverse": "OBJAVERSE_FEAT_DIR",
}


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch):
    for variable in (*VARIABLES.values(), "OBJAVERSE_DIR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def folders(tmp_path):
    """One real file of each collection."""
    rng = np.random.default_rng(0)
    for name in RELEASED:
        (tmp_path / name).mkdir()
    audio = Waveform(rng.uniform(-0.5, 0.5, 8000).astype(np.float32), 16_000)
    for name in ("audiocaps", "clotho"):
        write_audio(tmp_path / name / NAMES[name], audio)
    frames = Frames.from_array(rng.integers(0, 255, (7, 48, 64, 3), np.uint8), fps=5)
    write_video(tmp_path / "msrvtt" / NAMES["msrvtt"], frames, fps=5)
    write_image(tmp_path / "coco" / "a.png", frames.values[0])
    (tmp_path / "coco" / "a.png").rename(tmp_path / "coco" / NAMES["coco"])  # what a file is, its content says
    np.savez(tmp_path / "objaverse" / NAMES["objaverse"], rng.standard_normal((59, 3)).astype(np.float32))
    return {name: str(tmp_path / name) for name in RELEASED}


def released_questions():
    scenes = list(RELEASED.values())
    return [
        replace(question(0, answer=0), scenes=tuple(scenes[:3])),
        replace(question(1, answer=0), scenes=tuple(scenes[1:5])),
        replace(question(2, answer=0), scenes=(scenes[0], scenes[3])),
    ]


@pytest.mark.parametrize("name", RELEASED)
def test_names_of_the_released_collections(name, folders, monkeypatch):
    scene = RELEASED[name]
    media = Media.from_settings(folders)
    assert str(media.path(scene)) == f"{folders[name]}/{NAMES[name]}"
    assert dict(media.clip(scene)) == {scene.clip_modality: f"{folders[name]}/{NAMES[name]}"}
    with pytest.raises(UnknownNameError, match=f"unknown media folder '{name}'.*set .*{VARIABLES[name]}"):
        Media().path(scene)
    monkeypatch.setenv(VARIABLES[name], folders[name])
    assert Media().path(scene) == media.path(scene)


def test_folders_of_ones_own(tmp_path):
    media = Media.from_settings({"mine": f"{tmp_path}|{{modality}}/{{id}}.wav"})
    assert media.path(SceneRef(source="mine", id="x", modality="audio", caption="c")) == tmp_path / "audio" / "x.wav"
    with pytest.raises(UnknownNameError, match="unknown media folder 'other'"):
        media.path(SceneRef(source="other", id="x", modality="audio", caption="c"))
    with pytest.raises(MediaNotFoundError, match=r"x\.wav of scene 'x' does not exist"):
        media.clip(SceneRef(source="mine", id="x", modality="audio", caption="c"))
    with pytest.raises(ConfigError, match=r"a pattern may contain {id} and {modality}, got 'a\.wav'"):
        MediaFolder(path="x", pattern="a.wav")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "x\0y"])
def test_ids_do_not_lead_out_of_their_folder(tmp_path, name):
    media = Media(folders={"mine": MediaFolder(path=str(tmp_path))})
    with pytest.raises(AnnotationError, match="points outside its folder"):
        media.path(SceneRef(source="mine", id=name, modality="audio", caption="c"))


def test_a_query_has_labelled_scenes(folders):
    query = Media.from_settings(folders).query(released_questions()[1])
    assert query.options == ("Scene A", "Scene B", "Scene C", "Scene D")
    assert [list(scene.clip) for scene in query.scenes] == [["audio"], ["image"], ["video"], ["point_cloud"]]


# ---- the doctor


def test_all_is_well(folders):
    result = list(examine(released_questions(), Media.from_settings(folders)))
    assert [(e.status, e.why) for e in result] == [("ok", "")] * 5
    assert result[0].questions == ("q0", "q2")


def test_missing_and_damaged_media(folders, tmp_path):
    (tmp_path / "coco" / NAMES["coco"]).unlink()
    (tmp_path / "objaverse" / NAMES["objaverse"]).write_bytes(b"PK\x03\x04 no archive")
    video = tmp_path / "msrvtt" / NAMES["msrvtt"]
    video.write_bytes(video.read_bytes()[:300])
    result = {e.scene.source: e for e in examine(released_questions(), Media.from_settings(folders))}
    assert {source: e.status for source, e in result.items()} == {
        "audiocaps": "ok",
        "clotho": "ok",
        "coco_val": "missing",
        "msrvtt_test": "undecodable",
        "pointllm": "undecodable",
    }
    assert result["coco_val"].questions == ("q0", "q1")
    looked = {
        e.scene.source: e.status for e in examine(released_questions(), Media.from_settings(folders), decode=False)
    }
    assert looked["pointllm"] == "ok"


def test_command(folders, tmp_path, capsys):
    write_questions(tmp_path / "q.json", released_questions())
    options = [word for name, folder in folders.items() for word in ("--media", f"{name}={folder}")]
    assert run(["contra4", "doctor", str(tmp_path / "q.json"), *options]) == 0
    assert "3 of 3 questions have all their media" in capsys.readouterr().out
    (tmp_path / "clotho" / NAMES["clotho"]).unlink()
    assert run(["contra4", "doctor", str(tmp_path / "q.json"), *options]) == 1
    out = capsys.readouterr().out
    assert "1 of 3 questions have all their media" in out
    assert "missing: the file" in out
    assert "(2 questions)" in out
    assert run(["contra4", "doctor", str(tmp_path / "q.json"), *options[2:], "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["covered_questions"] == 0
    assert [row["status"] for row in data["bad"]] == ["no folder", "missing"]
    assert run(["contra4", "doctor", str(tmp_path / "q.json"), "--media", "coco"]) == 2
    assert "'coco' is not a media folder; write NAME=FOLDER" in capsys.readouterr().err


def test_one_trouble_is_one_line_however_many_media_have_it(tmp_path, capsys):
    scenes = [replace(RELEASED[name], id=f"{name}{n}") for name in ("msrvtt", "coco") for n in range(30)]
    pairs = zip(scenes[:30], scenes[30:], strict=True)
    write_questions(tmp_path / "q.json", [replace(question(n, scenes=2), scenes=pair) for n, pair in enumerate(pairs)])
    assert run(["contra4", "doctor", str(tmp_path / "q.json"), "--media", f"coco={tmp_path / 'gone'}"]) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "no folder: unknown media folder 'msrvtt'; known: coco (give one, or set MSRVTT_DIR) (30 media, 30 questions)",
        f"missing: the folder {tmp_path / 'gone'} for media of coco_val does not exist (30 media, 30 questions)",
        "0 of 30 questions have all their media",
    ]
    assert run(["contra4", "doctor", str(tmp_path / "q.json"), "--media", f"coco={tmp_path}"]) == 1
    assert "and 11 more; --json lists them all" in capsys.readouterr().out


# ---- metadata


@pytest.mark.parametrize("is_zipped", [False, True])
def test_croissant(tmp_path, is_zipped):
    questions = [question(i, category="Other") for i in range(3)]
    write_questions(tmp_path / "q.json", questions)
    content = (tmp_path / "q.json").read_bytes()
    path = tmp_path / ("q.json.gz" if is_zipped else "q.json")
    path.write_bytes(gzip.compress(content) if is_zipped else content)
    data = croissant(path, questions, name="mine", license_url="https://example.org/licence")
    (file,), (records,) = data["distribution"], data["recordSet"]
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (file["contentUrl"], file["contentSize"]) == ("q.json", f"{len(content)} B")
    assert data["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert "description" not in data
    first = json.loads(content)[0]
    named = {field["name"] for field in records["field"]}
    assert named == set(first)
    (examples,) = (field for field in records["field"] if field["name"] == "examples")
    assert {field["name"] for field in examples["subField"]} == set(first["examples"][0]) - {"meta"}
    for field in [f for f in records["field"] if "source" in f] + examples["subField"]:
        assert field["source"]["fileObject"]["@id"] == file["@id"]
        assert field["source"]["extract"]["jsonPath"].startswith("$[*].")


def test_croissant_command(tmp_path, capsys):
    write_questions(tmp_path / "q.json", [question()])
    assert run(["contra4", "croissant", str(tmp_path / "q.json"), "--name", "mine"]) == 0
    assert json.loads((tmp_path / "croissant.json").read_text())["name"] == "mine"
    assert read_questions(tmp_path / "q.json") == [question()]


def test_croissant_of_json_lines_is_refused(tmp_path, capsys):
    (tmp_path / "q.jsonl").write_text(json.dumps(question().to_dict()))
    assert run(["contra4", "croissant", str(tmp_path / "q.jsonl")]) == 2
    assert "q.jsonl holds JSON lines; metadata is only supported for a JSON list" in capsys.readouterr().err


# ---- pools


def pool(tmp_path, text, **settings):
    (tmp_path / "pool").write_text(text)
    return list(Pools(files=(PoolFile(path=str(tmp_path / "pool"), **settings),)).run_all(()))


def test_pools_in_our_own_form(tmp_path):
    lines = [
        {"source": "mine", "id": "a", "caption": 'one\n    Scene B. "two"', "modality": "audio"},
        {"id": 7, "caption": ["first", "second"], "url": "u", "meta": {"x": 1}, "modality": "pc"},
    ]
    rows = pool(tmp_path, "\n".join(map(json.dumps, lines)), source="own")
    assert rows[0] == {"source": "mine", "id": "a", "modality": "audio", "caption": ['one Scene B. "two"']}
    assert rows[1]["caption"] == ["first", "second"]
    assert (rows[1]["source"], rows[1]["meta"]) == ("own", {"x": 1})
    raw = pool(tmp_path, json.dumps(lines[0]), raw=True)
    assert raw[0]["caption"] == [lines[0]["caption"]]


def test_pools_of_the_published_sources(tmp_path):
    text = 'audiocap_id,youtube_id,start_time,caption\n97151,vfY,30,"Rain, and wind"\n'
    (row,) = pool(tmp_path, text, format="audiocaps", modality="audio")
    assert row["caption"] == ["Rain, and wind"]
    assert (row["id"], row["meta"]) == (97151, {"start_time": 30, "end_time": 40})
    text = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\na b.wav,1,2,3,4,5\n"
    (row,) = pool(tmp_path, text, format="clotho", modality="audio")
    assert (row["id"], row["caption"]) == ("a b.wav", list("12345"))
    coco = {
        "images": [{"id": 5, "coco_url": "http://x/5.jpg"}],
        "annotations": [{"image_id": 5, "caption": "a cat\n"}, {"image_id": 5, "caption": "the cat"}],
    }
    rows = pool(tmp_path, json.dumps(coco), format="coco", modality="image", source="coco_val")
    assert [(r["source"], r["id"], r["caption"], r["url"]) for r in rows] == [
        ("coco_val", 5, ["a cat"], "http://x/5.jpg"),
        ("coco_val", 5, ["the cat"], "http://x/5.jpg"),
    ]
    turns = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A chair."}]
    (row,) = pool(
        tmp_path, json.dumps([{"object_id": "ab12", "conversations": turns}]), format="pointllm", modality="pc"
    )
    assert (row["id"], row["caption"]) == ("ab12", ["A chair."])


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ('{"id": "a", "caption": ""}', {"modality": "audio"}, "pool:1: the caption is empty"),
        ('{"id": "a", "caption": "\\n"}', {"modality": "audio"}, "pool:1: the caption is empty"),
        ('{"id": "a", "caption": []}', {"modality": "audio"}, "pool:1: the caption is empty"),
        ('{"id": "a", "caption": 3}', {"modality": "audio"}, "'caption' must be a string or a list of strings"),
        ('{"caption": "x"}', {"modality": "audio"}, "'id' must be a string or an integer, got None"),
        ('{"id": "a", "caption": "x"}', {}, "unknown modality None"),
        ("a,b\n", {"format": "audiocaps", "modality": "audio"}, "has no column 'audiocap_id'; it has a, b"),
        ("file_name,caption_1\nx\n", {"format": "clotho", "modality": "audio"}, "has no column 'caption_2'"),
        ("{", {"format": "coco", "modality": "image"}, "not JSON"),
        ('[{"object_id": "a", "conversations": []}]', {"format": "pointllm", "modality": "pc"}, "has no turn"),
        ('{"object_id": "a"}', {"format": "pointllm", "modality": "pc"}, "expected a JSON list of descriptions"),
        ("[3]", {"format": "pointllm", "modality": "pc"}, "entry 1: expected a JSON object, got '3'"),
        ('{"images": [{}], "annotations": []}', {"format": "coco", "modality": "image"}, "image 1: 'id' is missing"),
        (
            '{"images": [], "annotations": [3]}',
            {"format": "coco", "modality": "image"},
            "annotation 1: expected a JSON",
        ),
        (
            "audiocap_id,youtube_id,start_time,caption\n1,a,soon,b\n",
            {"format": "audiocaps", "modality": "audio"},
            "pool:2: 'start_time' must be an integer, got 'soon'",
        ),
        ("PAR1", {"format": "msrvtt", "modality": "video"}, "not a readable parquet file"),
    ],
)
def test_pools_that_are_wrong(tmp_path, text, settings, message):
    with pytest.raises(AnnotationError, match=message):
        pool(tmp_path, text, **settings)


def test_captions_in_parquet(tmp_path, monkeypatch):
    row = {
        "video_id": "video6513",
        "caption": "a film",
        "url": "u",
        "start time": 116.03,
        "end time": 126.21,
        "id": 6513,
    }
    file = PoolFile(path=str(tmp_path / "pool"), format="msrvtt", modality="video")
    parquet.write_table(pyarrow.Table.from_pylist([row]), file.path)
    (result,) = file.rows()
    assert (result["id"], result["caption"], result["url"]) == ("video6513", ["a film"], "u")
    assert result["meta"] == {"start_time": 116.03, "end_time": 126.21}
    parquet.write_table(pyarrow.Table.from_pylist([{**row, "caption": None}]), file.path)
    with pytest.raises(AnnotationError, match="row 1: 'caption' must be str, got None"):
        list(file.rows())
    parquet.write_table(pyarrow.Table.from_pylist([{"caption": "x"}]), file.path)
    with pytest.raises(AnnotationError, match="has no column 'video_id'; it has caption"):
        list(file.rows())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"reading the captions of MSR-VTT needs pyarrow; .*vidweave\[scale\]"):
        list(file.rows())


def test_pools_that_are_not_there(tmp_path):
    with pytest.raises(MediaNotFoundError, match="there is no file"):
        Pools(files=(PoolFile(path=str(tmp_path / "none")),)).describe()
    with pytest.raises(ConfigError, match="at least one file"):
        Pools(files=())


def test_captions_stay_on_one_line():
    assert clean_caption(" a\n\nScene B.\u2028b\x1b[31m\tc ") == "a Scene B. b [31m c"
