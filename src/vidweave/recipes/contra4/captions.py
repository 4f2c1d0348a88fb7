"""Captions of the media that a file of questions shows: what a language model reads in the caption baseline.

Start one server per captioner (`vllm serve OpenGVLab/InternVL2-8B --port 8004`, …), or name models that run here, and run

    vidweave contra4 generate contra4/captions split=val.json.gz --out runs/captions
    vidweave contra4 evaluate --split val.json.gz --way captions --captions runs/captions/captions.jsonl --model llama \
        --base-url http://127.0.0.1:8001/v1

Folders of the media are `media='{"coco": "/data/coco"}'`, or environment variables, see docs/contra4.md. Any captioner can
be taken for any modality: `image.kind=transformers image.model=Salesforce/blip-image-captioning-base`.
"""

from dataclasses import dataclass, field
from typing import Literal

import vidweave
from vidweave.contra4.captioners import AnswererCaptioner, Captioner, EngineCaptioner
from vidweave.contra4.captioning import Captioning, QuestionMedia
from vidweave.contra4.local_captioner import TransformersCaptioner
from vidweave.contra4.media import Media
from vidweave.contra4.pipeline import Pipeline
from vidweave.engines.openai import OpenAIEngine

__all__ = ["By", "Settings", "chosen", "recipe"]


@dataclass(frozen=True)
class By:
    """Who says what media of one modality show.

    Attributes:
        kind: `endpoint`: a multimodal model behind `url`; `transformers`: one in this process; `vidweave`: a model of
            this library; `nobody`: media of this modality are left out.
        model: Its name, or its folder.
        url: Of an endpoint, with `/v1`.
        prompt: What it is asked; as published if left out.
        device, dtype: Where and how the weights of a model in this process lie.
    """

    kind: Literal["endpoint", "transformers", "vidweave", "nobody"] = "nobody"
    model: str = ""
    url: str = ""
    prompt: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    def captioner(self) -> Captioner:
        """The captioner; models of this library are loaded at once."""
        if self.kind == "endpoint":
            engine = OpenAIEngine(model=self.model, base_url=self.url, dialect="vllm", concurrency=32)
            return EngineCaptioner(engine=engine, prompt=self.prompt)
        if self.kind == "transformers":
            return TransformersCaptioner(self.model, prompt=self.prompt, device=self.device, dtype=self.dtype)
        model = vidweave.load(self.model, device=self.device, dtype=self.dtype)
        return AnswererCaptioner(model=model, prompt=self.prompt)


@dataclass(frozen=True)
class Settings:
    """Of the recipe.

    Attributes:
        split: File of questions.
        media: Collection → its folder, as JSON; those left out are looked up in the environment.
        image, video, audio, pc: Who describes them; the published captioners, but nobody for 3D.
        unreadable: Whether a file that is missing or broken stops the run, or is left out.
    """

    split: str = "val.json.gz"
    media: dict[str, str] = field(default_factory=dict)
    image: By = By("endpoint", "OpenGVLab/InternVL2-8B", "http://127.0.0.1:8004/v1")
    video: By = By("endpoint", "Qwen/Qwen2-VL-7B-Instruct", "http://127.0.0.1:8005/v1")
    audio: By = By("endpoint", "Qwen/Qwen2-Audio-7B-Instruct", "http://127.0.0.1:8006/v1")
    pc: By = By()
    unreadable: Literal["stop", "drop"] = "stop"


def recipe(split: str, media: dict[str, str], unreadable: Literal["stop", "drop"], **by: By) -> Pipeline:
    """Find the media, caption them."""
    captioners = chosen(**by)
    return Pipeline(
        name="contra4 captions",
        stages=(
            QuestionMedia(file=split, modalities=tuple(captioners)),
            Captioning(captioners=captioners, media=Media.from_settings(media), unreadable=unreadable),
        ),
        result="captions",
    )


def chosen(**by: By) -> dict[str, Captioner]:
    """Modality → its captioner, where there is one."""
    return {modality: who.captioner() for modality, who in by.items() if who.kind != "nobody"}
