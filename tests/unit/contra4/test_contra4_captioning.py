"""Captions for media of one's own."""

from dataclasses import dataclass

import pytest

from vidweave.contra4.captioning import AnswererCaptioner, Captioning, MediaFiles
from vidweave.errors import ConfigError, MediaNotFoundError, PipelineError
from vidweave.types import Answer


@dataclass
class Namer:
    """Says the names of files."""

    prefix: str = "this is"

    def caption(self, clips):
        return [f"{self.prefix}\n{next(iter(clip.values())).rpartition('/')[2]}" for clip in clips]

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
    rows = list(MediaFiles(folders=folders).run_all(()))
    assert [(row["modality"], row["id"]) for row in rows] == [("audio", "a.wav"), ("audio", "b.wav"), ("pc", "c.npy")]
    stage = Captioning(captioners={"audio": Namer("hear"), "pc": Namer("see")}, folders=folders)
    assert [row["caption"] for row in stage.run(rows)] == [["hear a.wav"], ["hear b.wav"], ["see c.npy"]]
    assert stage.describe()["captioners"]["pc"] == {"captioner": "namer"}


def test_media_that_have_captions_keep_them(folders):
    rows = [row | {"caption": ["said before"]} for row in MediaFiles(folders=folders).run_all(())]
    done = Captioning(captioners={"pc": Namer()}, folders=folders).run(rows)
    assert [row["caption"][0] for row in done] == ["said before", "said before", "this is c.npy"]


def test_what_stops_a_captioning(folders):
    rows = list(MediaFiles(folders=folders).run_all(()))
    with pytest.raises(ConfigError, match=r"no captioner for audio, and 'a\.wav' has no caption"):
        Captioning(captioners={"pc": Namer()}, folders=folders).run(rows)
    with pytest.raises(ConfigError, match="no folder for pc"):
        Captioning(captioners={"pc": Namer()}, folders={}).run(rows)

    class Silent(Namer):
        def caption(self, clips):
            return [" "] * len(clips)

    class Short(Namer):
        def caption(self, clips):
            return []

    both = {"audio": Namer(), "pc": Silent()}
    with pytest.raises(PipelineError, match=r"the captioner of pc said nothing of 'c\.npy'"):
        Captioning(captioners=both, folders=folders).run(rows)
    with pytest.raises(PipelineError, match="the captioner of audio gave 0 captions for 2 media"):
        Captioning(captioners={"audio": Short()}, folders=folders).run(rows)


def test_folders_that_hold_nothing(tmp_path, folders):
    with pytest.raises(MediaNotFoundError, match=r"there is no folder .* for audio"):
        list(MediaFiles(folders={"audio": str(tmp_path / "none")}).run_all(()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaNotFoundError, match="holds no file for audio"):
        list(MediaFiles(folders={"audio": str(tmp_path / "empty")}).run_all(()))


def test_any_model_is_a_captioner(folders):
    class Model:
        def describe(self):
            return {"model": "stub"}

        def answer(self, queries, **decoding):
            return [Answer(text=f"{query.text} {len(queries)}") for query in queries]

    captioner = AnswererCaptioner(model=Model(), prompt="Describe the audio.", batch_size=2)
    rows = list(MediaFiles(folders=folders).run_all(()))
    done = Captioning(captioners={"audio": captioner, "pc": captioner}, folders=folders).run(rows)
    assert [row["caption"][0] for row in done] == ["Describe the audio. 2"] * 2 + ["Describe the audio. 1"]
