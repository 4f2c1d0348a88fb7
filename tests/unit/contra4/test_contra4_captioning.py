"""Captions for media without any: who says them, of which media, and what stops it."""

import base64
import io
import json
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from contra4_questions import question
from PIL import Image

from vidweave.contra4.captioners import CAPTION_SAMPLING, AnswererCaptioner, EngineCaptioner
from vidweave.contra4.captioning import Captioning, MediaFiles, QuestionMedia
from vidweave.contra4.media import Media
from vidweave.contra4.pipeline import Pipeline, run
from vidweave.contra4.schema import write_questions
from vidweave.engines import Completion, ScriptedEngine
from vidweave.errors import ConfigError, EngineError, MediaNotFoundError, ModalityError, PipelineError, UnknownNameError
from vidweave.media import write_audio, write_image, write_video
from vidweave.types import Answer, Clip, Frames, Waveform


@dataclass
class Namer:
    """Says the names of files."""

    prefix: str = "this is"

    def caption(self, clips):
        return [f"{self.prefix}\n{next(iter(clip.values())).rpartition('/')[2]}" for clip in clips]

    def with_engines(self, wrap):
        return self

    def describe(self):
        return {"captioner": "namer"}


@pytest.fixture
def folders(tmp_path):
    for modality, names in {"audio": ("b.wav", "a.wav"), "pc": ("c.npy",)}.items():
        (tmp_path / modality).mkdir()
        for name in (*names, ".hidden"):
            (tmp_path / modality / name).write_bytes(b"x")
    return {"audio": str(tmp_path / "audio"), "pc": str(tmp_path / "pc")}


def test_files_are_found_and_captioned(folders):
    files = MediaFiles(folders=folders)
    rows = list(files.run_all(()))
    assert [(row["source"], row["id"]) for row in rows] == [
        ("own_audio", "a.wav"),
        ("own_audio", "b.wav"),
        ("own_pc", "c.npy"),
    ]
    stage = Captioning(captioners={"audio": Namer("hear"), "pc": Namer("see")}, media=files.media())
    assert [row["caption"] for row in stage.run(rows)] == [["hear a.wav"], ["hear b.wav"], ["see c.npy"]]
    assert stage.describe()["captioners"]["pc"] == {"captioner": "namer"}


def test_media_that_have_captions_keep_them(folders):
    files = MediaFiles(folders=folders)
    rows = [row | {"caption": ["said before"]} for row in files.run_all(())]
    done = Captioning(captioners={"pc": Namer()}, media=files.media()).run(rows)
    assert [row["caption"][0] for row in done] == ["said before", "said before", "this is c.npy"]


def test_what_stops_a_captioning(folders):
    files = MediaFiles(folders=folders)
    rows, media = list(files.run_all(())), files.media()
    with pytest.raises(ConfigError, match=r"'a\.wav' has no caption and there is no captioner for audio"):
        Captioning(captioners={"pc": Namer()}, media=media).run(rows)
    with pytest.raises(UnknownNameError, match="media folder 'own_pc'"):
        Captioning(captioners={"pc": Namer()}, media=Media()).run(rows)

    class Silent(Namer):
        def caption(self, clips):
            return [" "] * len(clips)

    class Short(Namer):
        def caption(self, clips):
            return []

    both = {"audio": Namer(), "pc": Silent()}
    with pytest.raises(PipelineError, match=r"the pc captioner returned an empty text for 'c\.npy'"):
        Captioning(captioners=both, media=media).run(rows)
    with pytest.raises(PipelineError, match="the audio captioner returned 0 captions for 2 media"):
        Captioning(captioners={"audio": Short()}, media=media).run(rows)


def test_folders_that_hold_nothing(tmp_path, folders):
    with pytest.raises(MediaNotFoundError, match=r"the audio folder .* does not exist"):
        list(MediaFiles(folders={"audio": str(tmp_path / "none")}).run_all(()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaNotFoundError, match=r"the audio folder .* contains no files"):
        list(MediaFiles(folders={"audio": str(tmp_path / "empty")}).run_all(()))


def test_any_model_is_a_captioner(folders):
    class Model:
        def describe(self):
            return {"model": "stub"}

        def answer(self, queries, **decoding):
            return [Answer(text=f"{query.text} {len(queries)}") for query in queries]

    files = MediaFiles(folders=folders)
    rows = list(files.run_all(()))
    captioners = {"audio": AnswererCaptioner(model=Model(), batch_size=2), "pc": AnswererCaptioner(model=Model())}
    done = Captioning(captioners=captioners, media=files.media()).run(rows)
    assert [row["caption"][0] for row in done] == ["Describe the audio. 2"] * 2 + ["Describe the 3D model 1"]
    reply = AnswererCaptioner(model=Model(), prompt="Who is it?").caption([Clip(audio="a.wav")])
    assert reply == ["Who is it? 1"]


# -- an endpoint


def seen(request):
    """What a captioner that only measures says of a request."""
    (message,) = request.prompt
    *shown, asked = message["content"]
    sizes = []
    for part in shown:
        if part["type"] == "image_url":
            data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
            sizes.append(str(Image.open(io.BytesIO(data)).size))
        else:
            with wave.open(io.BytesIO(base64.b64decode(part["input_audio"]["data"]))) as wav:
                sizes.append(f"{wav.getnframes()} samples")
    return f"{asked['text']} {', '.join(sizes)}\n"


@pytest.fixture
def media(tmp_path):
    """A frame, a video of five frames and half a second of audio."""
    files = {"image": "a.png", "video": "b.mp4", "audio": "c.wav"}
    folders = {name: tmp_path / name for name in files}
    for folder in folders.values():
        folder.mkdir()
    write_image(folders["image"] / "a.png", np.full((20, 30, 3), 90, np.uint8))
    write_video(folders["video"] / "b.mp4", Frames.from_array(np.full((5, 32, 48, 3), 90, np.uint8), fps=5))
    write_audio(folders["audio"] / "c.wav", Waveform(np.zeros(8_000, np.float32), 16_000))
    return MediaFiles(folders={name: str(folder) for name, folder in folders.items()})


def test_an_endpoint_is_shown_media_and_the_published_prompt(media):
    captioner = EngineCaptioner(engine=ScriptedEngine(seen, "m"), num_frames=3)
    stage = Captioning(captioners=dict.fromkeys(media.folders, captioner), media=media.media())
    assert [row["caption"] for row in stage.run(list(media.run_all(())))] == [
        ["Describe the image. (30, 20)"],
        [
            "Describe this set of frames. Consider the frames to be a part of the same video. (48, 32), (48, 32), (48, 32)"
        ],
        ["Describe the audio. 8000 samples"],
    ]
    assert (CAPTION_SAMPLING.temperature, CAPTION_SAMPLING.top_p) == (0.9, 0.9)
    assert json.loads(json.dumps(stage.describe()))["captioners"]["image"]["engine"]["model"] == "m"


def test_what_an_endpoint_reported_is_kept_and_counted(media, tmp_path):
    engine = Counted()
    captioner = EngineCaptioner(engine=engine, batch_size=1)
    stages = (media, Captioning(captioners=dict.fromkeys(media.folders, captioner), media=media.media()))
    pipeline = Pipeline(name="captions", stages=stages, result="captions")
    engine.fails_from = 2
    with pytest.raises(EngineError, match="1 of 1 requests failed, the first with: 500"):
        run(pipeline, tmp_path / "out", progress=False)
    engine.fails_from = None
    result = run(pipeline, tmp_path / "out", progress=False)
    assert engine.count == 3 + 1
    assert result.stages[1]["usage"]["requests"] == 3
    assert result.questions is None
    rows = [json.loads(line) for line in result.captions.read_text().splitlines()]
    assert [(row["source"], row["caption"]) for row in rows] == [(f"own_{m}", ["said"]) for m in media.folders]


class Counted(ScriptedEngine):
    def __init__(self):
        super().__init__(lambda request: "said", "counted")
        self.count, self.fails_from = 0, None

    def complete(self, requests):
        self.count += len(requests)
        if self.fails_from is not None and self.count > self.fails_from:
            return [Completion(text="", error="500", may_pass=True) for _ in requests]
        return super().complete(requests)


def test_a_medium_that_an_endpoint_refuses_is_named_or_left_out(media, caplog):
    class Prude(ScriptedEngine):
        def complete(self, requests):
            return [
                Completion(text="", error="400: not allowed")
                if "image." in str(r.prompt)[-40:]
                else Completion(text="ok")
                for r in requests
            ]

    frame, *others = media.run_all(())
    rows = [frame, {**frame, "id": "copy.png"}, *others]
    Path(media.folders["image"], "copy.png").write_bytes(Path(media.folders["image"], "a.png").read_bytes())
    who = dict.fromkeys(media.folders, EngineCaptioner(engine=Prude(seen, "prude")))
    with pytest.raises(EngineError, match="2 of 2 requests failed"):
        Captioning(captioners=who, media=media.media()).run(rows)

    class Choosy(EngineCaptioner):
        def caption(self, clips):
            return ["" if str(clip.get("image", "")).endswith("copy.png") else "ok" for clip in clips]

    who = dict.fromkeys(media.folders, Choosy(engine=Prude(seen, "prude")))
    with pytest.raises(PipelineError, match=r"the image captioner returned an empty text for 'copy\.png'"):
        Captioning(captioners=who, media=media.media()).run(rows)
    kept = Captioning(captioners=who, media=media.media(), unreadable="drop").run(rows)
    assert [row["id"] for row in kept] == ["a.png", "b.mp4", "c.wav"]
    assert "own_image 'copy.png' is skipped: the captioner returned an empty text" in caplog.text


def test_an_endpoint_takes_no_point_cloud():
    with pytest.raises(ModalityError, match="endpoints accept image, video and audio, not point_cloud"):
        EngineCaptioner(engine=ScriptedEngine(seen, "m")).caption([Clip(point_cloud="a.npy")])


# -- which media


def test_broken_media_stop_a_run_or_are_left_out(media, caplog):
    rows = list(media.run_all(()))
    rows.insert(1, {**rows[0], "id": "gone.png"})
    Path(media.folders["image"], "x.png").write_bytes(b"no picture")
    rows.insert(2, {**rows[0], "id": "x.png"})
    who = dict.fromkeys(media.folders, EngineCaptioner(engine=ScriptedEngine(seen, "m")))
    with pytest.raises(MediaNotFoundError, match=r"gone\.png of scene 'gone\.png' does not exist"):
        Captioning(captioners=who, media=media.media()).run(rows)
    kept = Captioning(captioners=who, media=media.media(), unreadable="drop").run(rows)
    assert [row["id"] for row in kept] == ["a.png", "b.mp4", "c.wav"]
    assert "own_image 'gone.png' is skipped" in caplog.text
    assert "own_image 'x.png' is skipped" in caplog.text


def test_media_of_a_file_of_questions_are_captioned_once(tmp_path):
    same = question(0, scenes=2, id="again")
    write_questions(tmp_path / "split.json", [*(question(n, scenes=2) for n in range(3)), same, question(9, scenes=3)])
    stage = QuestionMedia(file=str(tmp_path / "split.json"), modalities=("pc", "image"))
    rows = list(stage.run_all(()))
    assert [(row["source"], row["id"], row["modality"]) for row in rows] == [
        *(("s", f"{n}-1", "pc") for n in (0, 1, 2, 9)),
        ("s", "9-2", "image"),
    ]
    assert all("caption" not in row for row in rows)
    assert stage.describe() != QuestionMedia(file=str(tmp_path / "split.json")).describe()
    with pytest.raises(MediaNotFoundError, match="there is no file"):
        QuestionMedia(file=str(tmp_path / "none.json")).describe()
