"""Rows, scripted models and whole small pipelines for the tests of this folder."""

import base64
import io
import re
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from vidweave.contra4.answers import Answers
from vidweave.contra4.balance import Balance
from vidweave.contra4.captioners import EngineCaptioner
from vidweave.contra4.captioning import Captioning, MediaFiles
from vidweave.contra4.categories import Categories
from vidweave.contra4.filters import Filters, WordFilter
from vidweave.contra4.pipeline import Pipeline
from vidweave.contra4.questions import Questions
from vidweave.contra4.rows import orders
from vidweave.contra4.sampling import Tuples
from vidweave.contra4.verification import Verification, Verifier
from vidweave.engines import ScriptedEngine
from vidweave.media import write_audio, write_image
from vidweave.types import Waveform

MODALITIES = ("audio", "pc", "image", "video")
_SCENE = re.compile(r'Scene ([A-D])\. "?([^"\n]*?)"?(?=\n|$| Answer)')


@dataclass(frozen=True, kw_only=True)
class LoudPools:
    """Media whose captions say how loud they are: ``audio 7 at loudness 31``; no two are equally loud."""

    name: ClassVar[str] = "pools"
    scope: ClassVar[str] = "file"
    sizes: tuple[int, ...] = (9, 7, 8, 6)

    def run_all(self, rows: Iterable[Any] = ()) -> Iterator[dict[str, Any]]:
        for m, (modality, size) in enumerate(zip(MODALITIES, self.sizes, strict=True)):
            for i in range(size):
                caption = f"{modality} {i} at loudness {(4 * i + m) * 7 % 151}"
                yield {"source": "loud", "id": f"{modality}{i}", "modality": modality, "caption": [caption], "meta": {}}

    def describe(self) -> dict[str, Any]:
        return {"stage": self.name, "sizes": list(self.sizes)}


def shown(prompt: Any) -> list[tuple[str, str]]:
    """(letter, caption) of the scenes that a prompt asks about: those after the last example."""
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    result = _SCENE.findall(text)
    return result[max(i for i, (letter, _) in enumerate(result) if letter == "A") :]


def loudest(prompt: Any) -> str:
    return max(shown(prompt), key=lambda scene: int(scene[1].rpartition(" ")[2]))[0]


def generator(request: Any) -> str:
    """Asks which scene is louder, answers rightly, and names a kind."""
    prompt = request.prompt
    if prompt.endswith("Which scene"):
        return " is the loudest?\n\n    Scene A."
    if prompt.endswith("Category:"):
        return " Loudness\nReasoning: none"
    return f" Scene {loudest(prompt)}. It is the loudest."


def checker(request: Any) -> str:
    return f" Scene {loudest(request.prompt)}\nDone"


def always_a(request: Any) -> str:
    return "Scene A"


@dataclass(frozen=True)
class Models:
    """Engines of a pipeline."""

    generator: Any = field(default_factory=lambda: ScriptedEngine(generator, "generator", price=1.0))
    first: Any = field(default_factory=lambda: ScriptedEngine(checker, "first"))
    second: Any = field(default_factory=lambda: ScriptedEngine(checker, "second"))


def pipeline(
    models: Models | None = None, *, pools: Any = None, keep: str = "unanimous_permute", **changes: Any
) -> Pipeline:
    """All stages over loud media: 2 x 11 x `per_combination` tuples."""
    models = models or Models()
    verifiers = (
        Verifier(name="first", engine=models.first),
        Verifier(name="second", engine=models.second, style="chat"),
    )
    stages = (
        pools or LoudPools(),
        Tuples(per_combination=changes.pop("per_combination", 2)),
        Questions(engine=models.generator),
        Answers(engine=models.generator),
        Verification(verifiers=verifiers, stop_when_lost=changes.pop("stop_when_lost", False)),
        Filters(verifiers=("first", "second"), keep=keep),
        Balance(),
        Categories(engine=models.generator),
    )
    return Pipeline(**{"name": "loud", "stages": stages, "rows_per_shard": 9} | changes)


def measured(request: Any) -> str:
    """A captioner that says how loud a audio is, or how wide a frame."""
    part = request.prompt[0]["content"][0]
    if part["type"] == "input_audio":
        with wave.open(io.BytesIO(base64.b64decode(part["input_audio"]["data"]))) as wav:
            return f"a sound at loudness {wav.getnframes()}"
    with Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))) as frame:
        return f"a picture at loudness {frame.width}"


def asker(request: Any) -> str:
    """Asks in forbidden words about some scenes."""
    level = int(shown(request.prompt)[0][1].rpartition(" ")[2])
    return " has more sound?" if level % 3 == 0 else " is the loudest?"


def media_pipeline(folder: Path) -> Pipeline:
    """The stages that `pipeline` lacks: files of one's own, captions, words. Makes the files in `folder`."""
    folders = {name: folder / name for name in ("audio", "image")}
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    for n in range(7):
        write_audio(folders["audio"] / f"{n}.wav", Waveform(np.zeros(1_000 + n, np.float32), 16_000))
        write_image(folders["image"] / f"{n}.png", np.zeros((8, 20 + n, 3), np.uint8))
    files = MediaFiles(folders={name: str(path) for name, path in folders.items()})
    captioner = EngineCaptioner(engine=ScriptedEngine(measured, "captioner", price=1.0), batch_size=2)
    stages = (
        files,
        Captioning(captioners=dict.fromkeys(files.folders, captioner), media=files.media()),
        Tuples(per_combination=9),
        Questions(engine=ScriptedEngine(asker, "asker")),
        WordFilter(),
        Answers(engine=ScriptedEngine(generator, "generator")),
    )
    return Pipeline(name="own", stages=stages, rows_per_shard=4)


def tuple_row(number: int, scenes: int, answer: int, **changes: Any) -> dict[str, Any]:
    """A row with an answer, and two verifiers that agree in every order."""
    verdicts = [f"Scene {'ABCD'[order.index(answer)]}" for order in orders(scenes)]
    examples = [{"source": "s", "id": f"{number}-{i}", "caption": f"thing {i}"} for i in range(scenes)]
    row = {
        "id": f"random_{number}",
        "selection_type": "random",
        "q_type": f"mc_{scenes}",
        "examples": examples,
        "modalities": list(MODALITIES[:scenes]),
        "questions": ["Which scene is calmer?"],
        "answers": [f"Scene {'ABCD'[answer]}. Because it is."],
        "answer_first": verdicts,
        "answer_second": list(verdicts),
    }
    return row | changes
