"""CREMA's data sets, from their own annotation files to questions about clips (spec 5).

Every reader takes the list of objects of one file and the folder that holds the media, and gives samples whose clips
name only files that are there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from vidweave.errors import AnnotationError, UnknownNameError
from vidweave.media.open import open_source
from vidweave.media.point_pairs import read_point_pair
from vidweave.types import Clip, PointCloud, Query

__all__ = ["READERS", "Sample", "clean", "read", "sample_of"]

_MAX_WORDS = 50
_SQA_TYPES = ("What", "How", "Can", "Is", "Which")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question: what is asked (without the prompt around it), its options, the answer to learn, its id and kind.

    `media` is the name by which the clip's files are found. `span` is a part of it, as the original counts: in seconds of
    a video file, in fractions of a folder of frames.
    """

    id: str
    dataset: str
    question: str
    answer: str
    media: str
    options: tuple[str, ...] = ()
    kind: str = ""
    span: tuple[float, float] | None = None


def clean(text: str) -> str:
    """LAVIS' clean-up of questions: lower case, without some marks, at most 50 words."""
    text = re.sub(r"[.!\"()*#:;~]", "", text.lower()).rstrip(" ")
    words = text.split(" ")
    return " ".join(words[:_MAX_WORDS]) if len(words) > _MAX_WORDS else text


def sqa3d(row: Mapping[str, Any], *, trains: bool = False) -> Sample:
    """SQA3D in 3D-LLM's form; without `question_id` it is 3D-LLM's own pre-training data."""
    question = row["question"]
    if "question_id" not in row:
        return Sample(
            id=str(row["scene_id"]),
            dataset="3d-llm" if trains else "3d-llm-test",
            question=clean(question),
            answer=clean(row["answers"][0]),
            media=str(row["scene_id"]),
        )
    kind = next((kind for kind in _SQA_TYPES if kind in question), "Other")
    return Sample(
        id=f"{kind}_{row['question_id']}",
        dataset="sqa3d",
        question=f"{clean(row['situation'])}. Question: {clean(question)}",
        answer=row["answers"][0],
        media=str(row["scene_id"]),
        kind=kind,
    )


def music_avqa(row: Mapping[str, Any], *, trains: bool = False) -> Sample:
    """MUSIC-AVQA: `<…>` in the question are filled in order."""
    question = row["question_content"]
    for value in json.loads(row["templ_values"]):
        question = re.sub(r"<[^<>]*>", lambda _, v=value: str(v), question, count=1)
    return Sample(
        id=str(row["question_id"]),
        dataset="music-avqa",
        question=clean(question),
        answer=row["anser"].replace("_", " "),
        media=str(row["video_id"]),
        kind=" ".join(json.loads(row["type"])),
    )


def nextqa(row: Mapping[str, Any], *, trains: bool = False, dataset: str = "nextqa") -> Sample:
    """NExT-QA in SeViLA's form, and what is kept in it: Touch-QA and Thermal-QA."""
    options = tuple(row[f"a{i}"] for i in range(int(row["num_option"])))
    return Sample(
        id=str(row["qid"]),
        dataset=dataset,
        question=row["question"],
        answer=options[int(row["answer"])],
        media=str(row.get("video", row["qid"])),
        options=options,
        kind=str(row["qid"]).split("_")[0],
        span=_span(row),
    )


def _span(row: Mapping[str, Any]) -> tuple[float, float] | None:
    if "start" not in row and "end" not in row:
        return None
    start, end = float(row["start"]), float(row["end"])
    if not 0 <= start < end < math.inf:
        raise ValueError(
            f"start and end must be finite, with 0 <= start < end, got {row['start']!r} and {row['end']!r}"
        )
    return start, end


def touch_qa(row: Mapping[str, Any], *, trains: bool = False) -> Sample:
    """Touch-QA: clips and maps are named by the question."""
    return nextqa(_prepared(row), dataset="touch-qa")


def thermal_qa(row: Mapping[str, Any], *, trains: bool = False) -> Sample:
    """Thermal-QA, as Touch-QA."""
    return nextqa(_prepared(row), dataset="thermal-qa")


def _prepared(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose media the authors' tools wrote: under the question's id, cut to `start` and `end` (frame numbers)."""
    kept = {key: value for key, value in row.items() if key not in ("start", "end")}
    return {**kept, "video": row["qid"]}


def audiocaps(row: Mapping[str, Any], *, trains: bool = False) -> Sample:
    """Questions about AudioCaps, for the adapter of sound."""
    return Sample(
        id=str(row["id"]),
        dataset="audiocaps",
        question=clean(row["question"]),
        answer=row["answer"],
        media=str(row["id"]),
    )


def _sqa3d_media(root: Path, sample: Sample, modality: str) -> list[Path]:
    folder = {"video": ["frame", "video"], "depth": ["depth"], "normals": ["norm"], "flow": ["flow"]}.get(modality, [])
    paths = [root / name / sample.media for name in folder]
    if modality == "video":
        paths.append(root / "video" / f"{sample.media}.mp4")
    if modality == "point_cloud":
        paths.append(root / "points" / f"{sample.media}.npy")
    return paths


def _music_media(root: Path, sample: Sample, modality: str) -> list[Path]:
    folder = {"video": "frame", "depth": "depth", "normals": "norm", "flow": "flow"}
    if modality == "audio":
        return [root / "audio" / f"{sample.media}{ending}" for ending in (".wav", ".mp4")]
    paths = [root / folder[modality] / sample.media] if modality in folder else []
    return [*paths, root / "video" / f"{sample.media}.mp4"] if modality == "video" else paths


def _nextqa_media(root: Path, sample: Sample, modality: str) -> list[Path]:
    """Siblings of the folder of frames: `<root>_depth` and so on."""
    ending = {"video": "", "depth": "_depth", "flow": "_flow", "normals": "_norm"}
    if modality not in ending:
        return []
    folder = root.with_name(root.name + ending[modality]) / sample.media
    return [folder, folder.with_suffix(".mp4")] if modality == "video" else [folder]


def _sensed_media(sense: str) -> Callable[[Path, Sample, str], list[Path]]:
    """Touch and Go, Thermal-IM: what the authors' tools write."""

    def find(root: Path, sample: Sample, modality: str) -> list[Path]:
        names = {"video": ("video_frames", "clips"), sense: (f"{sense}_frames", f"{sense}_clips")}
        names |= {"depth": ("depth_frames", ""), "normals": ("norm_frames", ""), "flow": ("flow_frames", "")}
        if modality not in names:
            return []
        folder, clips = names[modality]
        paths = [root / folder / sample.media]
        ending = ".mp4" if modality == "video" else "_touch.mp4"
        return [*paths, root / clips / f"{sample.media}{ending}"] if clips else paths

    return find


def _audiocaps_media(root: Path, sample: Sample, modality: str) -> list[Path]:
    return [root / f"{sample.media}.wav"] if modality == "audio" else []


# Data set → its reader of one object, and where its media lie
READERS: dict[str, tuple[Callable[..., Sample], Callable[[Path, Sample, str], list[Path]]]] = {
    "sqa3d": (sqa3d, _sqa3d_media),
    "3d-llm": (sqa3d, _sqa3d_media),
    "music-avqa": (music_avqa, _music_media),
    "nextqa": (nextqa, _nextqa_media),
    "touch-qa": (touch_qa, _sensed_media("touch")),
    "thermal-qa": (thermal_qa, _sensed_media("thermal")),
    "audiocaps": (audiocaps, _audiocaps_media),
}


def sample_of(dataset: str, row: Mapping[str, Any], *, trains: bool = False, where: str = "the annotation") -> Sample:
    """One object of an annotation file as a sample.

    Raises:
        UnknownNameError: no such data set.
        AnnotationError: a field is missing or holds what it must not; names `where`.
    """
    if dataset not in READERS:
        raise UnknownNameError("data set of CREMA", dataset, READERS)
    try:
        return READERS[dataset][0](row, trains=trains)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
        raise AnnotationError(f"{where} {what}; see the format of {dataset} in systems/crema/README.md") from error


def read(
    dataset: str, file: Path, media: Path, modalities: Sequence[str], *, trains: bool = False
) -> Iterator[tuple[Query, Sample]]:
    """Questions of an annotation file about clips with the given modalities.

    A clip has each modality whose files are there; the model's ports decide whether a missing one is an error. Points are
    `points/<scene>.npy`, or a pair of 3D-LLM's files (`media.point_pairs`), whose features stay on the disk until used.

    Raises:
        AnnotationError: no list of objects, an object that does not fit, or no file at all for a clip.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{file} cannot be read as JSON ({error})") from error
    if not isinstance(rows, list):
        raise AnnotationError(f"{file} holds a {type(rows).__name__}, a list of objects was expected")
    points = lru_cache(maxsize=None)(partial(read_point_pair, media))  # opened once for all questions about a scene
    for number, row in enumerate(rows):
        sample = sample_of(dataset, row, trains=trains, where=f"{file.name}, object {number},")
        yield (
            Query.about(_clip(dataset, sample, media, modalities, points), sample.question, list(sample.options)),
            sample,
        )


def _clip(
    dataset: str, sample: Sample, media: Path, modalities: Sequence[str], points: Callable[[str], PointCloud | None]
) -> Clip:
    """`points` opens a scene's pair of 3D-LLM's files."""
    found: dict[str, Any] = {}
    for modality in modalities:
        paths = READERS[dataset][1](media, sample, modality)
        if path := next((path for path in paths if path.exists()), None):
            found[modality] = str(path)
        elif modality == "point_cloud" and (cloud := points(sample.media)) is not None:
            found[modality] = cloud
    if not found:
        raise AnnotationError(
            f"{dataset} {sample.id}: no file of {', '.join(modalities)} for {sample.media!r} in {media}"
        )
    if sample.span is None:
        return Clip(**found)
    start, end = _in_seconds(sample, found.get("video"))
    return Clip(**found, start_seconds=start, end_seconds=end)


def _in_seconds(sample: Sample, video: str | None) -> tuple[float, float]:
    """The sample's span. Of a folder of N frames, the original takes fractions of N - 1 and cuts them off."""
    assert sample.span is not None
    if video is None or not Path(video).is_dir():
        return sample.span
    if sample.span[1] > 1:
        raise AnnotationError(
            f"{sample.dataset} {sample.id}: start and end of the folder of frames {video} must be fractions up to 1, got "
            f"{sample.span[0]:g} and {sample.span[1]:g}; give the video file for a span in seconds"
        )
    with open_source(video, "video") as source:
        times, _ = source.timeline()
    first, last = (int(share * (len(times) - 1)) for share in sample.span)
    return float(times[first]), float(times[max(last, first + 1)])
