"""Captions of the media of a question file, as read by a language model in the caption baseline.

Start one server per captioner (`vllm serve OpenGVLab/InternVL2-8B --port 8004`, …), or name models to run in this process, and run

    vidweave contra4 generate contra4/captions split=val.json.gz --out runs/captions
    vidweave contra4 evaluate --split val.json.gz --mode captions --captions runs/captions/captions.jsonl --model llama \
        --base-url http://127.0.0.1:8001/v1

Folders of the media are `media='{"coco": "/data/coco"}'`, or environment variables, see docs/contra4.md. Any captioner can
be used for any modality: `image.kind=transformers image.model=Salesforce/blip-image-captioning-base`.
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

__all__ = ["By", "Settings", "build_captioners", "recipe"]


@dataclass(frozen=True)
class By:
    """Captioner of one modality.

    Attributes:
        kind: `endpoint`: a multimodal model behind `url`; `transformers`: one in this process; `vidweave`: a model of
            this library; `none`: media of this modality are skipped.
        model: Its name, or its folder.
        url: Address of an endpoint, with `/v1`.
        prompt: Prompt of the captioner; default is the published one.
        device, dtype: Device and precision of the weights of a model in this process.
    """

    kind: Literal["endpoint", "transformers", "vidweave", "none"] = "none"
    model: str = ""
    url: str = ""
    prompt: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    def captioner(self) -> Captioner:
        """Build the captioner; models of this library are loaded immediately."""
        if self.kind == "endpoint":
            engine = OpenAIEngine(model=self.model, base_url=self.url, dialect="vllm", concurrency=32)
            return EngineCaptioner(engine=engine, prompt=self.prompt)
        if self.kind == "transformers":
            return TransformersCaptioner(self.model, prompt=self.prompt, device=self.device, dtype=self.dtype)
        model = vidweave.load(self.model, device=self.device, dtype=self.dtype)
        return AnswererCaptioner(model=model, prompt=self.prompt)


@dataclass(frozen=True)
class Settings:
    """Settings of the recipe.

    Attributes:
        split: Question file.
        media: Collection → its folder, as JSON; others are read from the environment.
        image, video, audio, pc: Captioners; by default the published ones, none for 3D.
        unreadable: Stop the run at a missing or broken file, or drop the file.
    """

    split: str = "val.json.gz"
    media: dict[str, str] = field(default_factory=dict)
    image: By = By("endpoint", "OpenGVLab/InternVL2-8B", "http://127.0.0.1:8004/v1")
    video: By = By("endpoint", "Qwen/Qwen2-VL-7B-Instruct", "http://127.0.0.1:8005/v1")
    audio: By = By("endpoint", "Qwen/Qwen2-Audio-7B-Instruct", "http://127.0.0.1:8006/v1")
    pc: By = By()
    unreadable: Literal["stop", "drop"] = "stop"


def recipe(split: str, media: dict[str, str], unreadable: Literal["stop", "drop"], **by: By) -> Pipeline:
    """Build the pipeline: find the media, caption them."""
    captioners = build_captioners(**by)
    return Pipeline(
        name="contra4 captions",
        stages=(
            QuestionMedia(file=split, modalities=tuple(captioners)),
            Captioning(captioners=captioners, media=Media.from_settings(media), unreadable=unreadable),
        ),
        result="captions",
    )


def build_captioners(**by: By) -> dict[str, Captioner]:
    """Build the captioner of each modality that has one."""
    return {modality: choice.captioner() for modality, choice in by.items() if choice.kind != "none"}
