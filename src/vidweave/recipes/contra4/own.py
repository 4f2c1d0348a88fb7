"""Questions about your own media, from files to questions: captioners describe them, then everything is as published.

Put the files into folders `audio`, `image`, `video` and `pc` (two at least), start the servers of the captioners
(`captions.py`) and of the language models (`published.py`), or name other models, and run

    vidweave contra4 generate contra4/own media=/data/own texts.per_combination=500 --out runs/own
    vidweave contra4 evaluate --split runs/own/questions.json --media own_image=/data/own/image …

To see what the captioners say before anything is asked about it: `--until captions`, and look into `02-captions`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vidweave.contra4.captioning import Captioning, MediaFiles
from vidweave.contra4.pipeline import Pipeline
from vidweave.errors import MediaNotFoundError
from vidweave.recipes.contra4 import captions, published

__all__ = ["Settings", "recipe"]

described = captions.Settings()


@dataclass(frozen=True)
class Settings:
    """Of the recipe.

    Attributes:
        media: Folder with a folder per modality.
        image, video, audio, pc: Who describes them, see `captions.py`; modalities that nobody describes are left out.
        texts: The language models and how much is sampled, see `published.py`; its `pools` is not used.
        unreadable: Whether a file that is broken stops the run, or is left out.
    """

    media: str = "media"
    image: captions.By = described.image
    video: captions.By = described.video
    audio: captions.By = described.audio
    pc: captions.By = described.pc
    texts: published.Settings = field(default_factory=published.Settings)
    unreadable: Literal["stop", "drop"] = "stop"


def recipe(media: str, texts: published.Settings, unreadable: Literal["stop", "drop"], **by: captions.By) -> Pipeline:
    """All stages."""
    folders = {name: str(Path(media) / name) for name, who in by.items() if who.kind != "nobody"}
    folders = {name: folder for name, folder in folders.items() if Path(folder).is_dir()}
    if len(folders) < 2:
        raise MediaNotFoundError(
            f"{media} needs folders of two modalities that somebody describes, got {', '.join(folders) or 'none'}; "
            f"its folders are named {', '.join(by)}, and a captioner e.g. pc.kind=vidweave pc.model=NAME"
        )
    files = MediaFiles(folders=folders)
    captioners = captions.chosen(**{name: by[name] for name in folders})
    return Pipeline(
        name="contra4 of own media",
        stages=(
            files,
            Captioning(captioners=captioners, media=files.media(), unreadable=unreadable),
            *published.recipe(**vars(texts)).stages[1:],
        ),
    )
