"""Questions about your own media, from files to questions: captioners describe them, then the published stages follow.

Put the files into folders `audio`, `image`, `video` and `pc` (two at least), start the servers of the captioners
(`captions.py`) and of the language models (`published.py`), or name other models, and run

    vidweave contra4 generate contra4/own media=/data/own texts.per_combination=500 --out runs/own
    vidweave contra4 evaluate --split runs/own/questions.json --media own_image=/data/own/image …

To check the captions before any question is generated: `--until captions`, and read `02-captions`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vidweave.contra4.captioning import Captioning, MediaFiles
from vidweave.contra4.pipeline import Pipeline
from vidweave.errors import MediaNotFoundError
from vidweave.recipes.contra4 import captions, published

__all__ = ["Settings", "recipe"]

defaults = captions.Settings()


@dataclass(frozen=True)
class Settings:
    """Settings of the recipe.

    Attributes:
        media: Folder with a folder per modality.
        image, video, audio, pc: Captioners, see `captions.py`; modalities without a captioner are skipped.
        texts: Language models and sample sizes, see `published.py`; its `pools` is not used.
        unreadable: Stop the run at a broken file, or drop the file.
    """

    media: str = "media"
    image: captions.By = defaults.image
    video: captions.By = defaults.video
    audio: captions.By = defaults.audio
    pc: captions.By = defaults.pc
    texts: published.Settings = field(default_factory=published.Settings)
    unreadable: Literal["stop", "drop"] = "stop"


def recipe(media: str, texts: published.Settings, unreadable: Literal["stop", "drop"], **by: captions.By) -> Pipeline:
    """Build all stages."""
    folders = {name: str(Path(media) / name) for name, choice in by.items() if choice.kind != "none"}
    folders = {name: folder for name, folder in folders.items() if Path(folder).is_dir()}
    if len(folders) < 2:
        raise MediaNotFoundError(
            f"{media} needs folders of two modalities with captioners, got {', '.join(folders) or 'none'}; "
            f"name its folders {', '.join(by)}, and set captioners, e.g. pc.kind=vidweave pc.model=NAME"
        )
    files = MediaFiles(folders=folders)
    captioners = captions.build_captioners(**{name: by[name] for name in folders})
    return Pipeline(
        name="contra4 of own media",
        stages=(
            files,
            Captioning(captioners=captioners, media=files.media(), unreadable=unreadable),
            *published.recipe(**vars(texts)).stages[1:],
        ),
    )
