"""Open-ended video question answering: MSVD-QA, MSRVTT-QA, ActivityNet-QA, TGIF-QA.

Each is read in MA-LMM's format (an object keyed by question id), in Video-ChatGPT's format for judges (``test_q.json``
and ``test_a.json``), and in its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vidweave.data.dataset import VIDEO_SUFFIXES, Dataset, Row
from vidweave.data.forms import KEY, joined_rows
from vidweave.data.jsonl import read_table
from vidweave.data.schema import Example, named
from vidweave.errors import AnnotationError

__all__ = ["MSRVTTQA", "MSVDQA", "TGIFQA", "ActivityNetQA", "video_layout"]

QUESTION_WORDS = ("what", "who", "how", "when", "where")
ACTIVITYNET_TYPES = (
    "motion",
    "spatial relation",
    "temporal relation",
    "yes/no",
    "color",
    "object",
    "location",
    "number",
    "other",
)
TGIF_TYPES = ("object", "number", "color", "location")


def video_layout(*folders: str, prefixes: tuple[str, ...] = ("",)) -> dict[str, tuple[str, ...]]:
    """Path patterns of a video below a root or one of `folders`, with any suffix; then folders of frames."""
    names = [f"{prefix}{{name}}" for prefix in prefixes]
    files = [f"{{root}}/{f}{n}{s}" for f in ("", *(f"{f}/" for f in folders)) for n in names for s in VIDEO_SUFFIXES]
    return {"video": (*files, *(f"{{root}}/frames/{n}" for n in names), *(f"{{root}}/{n}" for n in names))}


@dataclass(frozen=True, kw_only=True)
class _OpenAnswers(Dataset):
    """Rows with `question_id`, a video, `question` and `answer`.

    Attributes:
        answers: Answer file, if `data` contains only questions (default: the one beside ``test_q.json``). Without it,
            nothing is scored.
    """

    answers: Path | None = None
    folder_fps = 10.0  # of MA-LMM's frames

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a question of any of the formats, with its answer if it has one."""
        name = str(row.get("question_id", row.get(KEY, row.get("id"))))
        if name == "None":
            raise KeyError("question_id")
        video, question = cls.video(row), str(row["question"])
        kind = row.get("answer_type", row.get("type"))
        extra = {} if kind is None else {"type": str(kind)}
        common: dict[str, Any] = {
            "id": name,
            "query": named(video, question, **extra),
            "question_type": cls.kind(kind, question),
            "media": video,
        }
        if row.get("answer") is None:
            return Example(**common, answer="", is_labeled=False)
        return Example(**common, answer=str(row["answer"]))

    @classmethod
    def video(cls, row: Row) -> str:
        """Return the name of the video of a row."""
        return str(row["video"] if "video" in row else row["video_name"])

    @classmethod
    def kind(cls, given: Any, question: str) -> str:
        """Return the question type: the annotation's, or the question word."""
        if given is not None:
            return str(given)
        first = question.split(" ")[0].lower()
        return first if first in QUESTION_WORDS else "other"

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the questions, joined with their answers by id."""
        return joined_rows(Path(self.data), self.answers)

    @property
    def notes(self) -> list[str]:
        """Notes about excluded or changed rows, and about questions with conflicting answers."""
        answers: dict[tuple[str, str], set[str]] = {}
        for example in self._rows_read:
            if example.is_labeled:
                answers.setdefault((example.media, example.query.text), set()).add(example.answer)
        several = sum(len(texts) > 1 for texts in answers.values())
        text = f"{several} questions have different answers in different rows, so 100% accuracy is impossible"
        return [*super().notes, *([text] * (several > 0))]


@dataclass(frozen=True, kw_only=True)
class MSVDQA(_OpenAnswers):
    """MSVD-QA: one-word answers about short clips.

    Attributes:
        video_map: The file youtube_mapping.txt (``<youtube id>_<start>_<end> vid<n>``), for the original form, whose rows
            name videos by number.
    """

    name: ClassVar[str] = "msvd-qa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos", "YouTubeClips")
    video_map: Path | None = None

    @classmethod
    def video(cls, row: Row) -> str:
        """Return the name of the video of a row."""
        return f"vid{row['video_id']}" if "video_id" in row else super().video(row)

    def source(self, modality: str, name: str) -> Any:
        """Find a video, also by its name in YouTube's files."""
        source = super().source(modality, name)
        return source if source is not None or name not in self._names else super().source(modality, self._names[name])

    @cached_property
    def _names(self) -> dict[str, str]:
        beside = Path(self.data).with_name("youtube_mapping.txt")
        path = self.video_map or (beside if beside.is_file() else None)
        names: dict[str, str] = {}
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1) if path else ():
            words = line.split()
            if len(words) != 2:
                raise AnnotationError(f"{path}:{number}: expected a file name and a video name, got {line[:40]!r}")
            names[words[1]] = words[0]
        return names


@dataclass(frozen=True, kw_only=True)
class MSRVTTQA(_OpenAnswers):
    """MSRVTT-QA: one-word answers about clips from the web."""

    name: ClassVar[str] = "msrvtt-qa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos", "videos/all", "TrainValVideo", "TestVideo")

    @classmethod
    def video(cls, row: Row) -> str:
        """Return the name of the video of a row."""
        return f"video{row['video_id']}" if "video_id" in row else super().video(row)


@dataclass(frozen=True, kw_only=True)
class ActivityNetQA(_OpenAnswers):
    """ActivityNet-QA: open answers of nine types about long videos."""

    name: ClassVar[str] = "activitynet-qa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("all_test", "videos", prefixes=("v_", ""))

    @classmethod
    def kind(cls, given: Any, question: str) -> str:
        """Return the question type: the annotation's number as a word; the format for judges has none."""
        if given is None:
            return "all"
        if not 0 <= int(given) < len(ACTIVITYNET_TYPES):
            raise ValueError(f"type is {given}, expected 0 to {len(ACTIVITYNET_TYPES) - 1}")
        return ACTIVITYNET_TYPES[int(given)]


@dataclass(frozen=True, kw_only=True)
class TGIFQA(_OpenAnswers):
    """TGIF-QA: the official tables (frameqa, count: open; action, transition: five options), or the format for judges."""

    name: ClassVar[str] = "tgif-qa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": ("{root}/mp4/{name}.mp4", "{root}/{name}.gif", "{root}/gifs/{name}.gif", *video_layout()["video"])
    }
    folder_fps = None

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a row of a table, or a question in the format for judges."""
        if "gif_name" not in row:
            return super().parse(row)
        video, question, name = str(row["gif_name"]), str(row["question"]), str(row["vid_id"])
        options = tuple(row[f"a{i}"] for i in range(1, 6)) if "a1" in row else ()
        if options:
            position, kind = int(row["answer"]), "action" if name.startswith("ACTION") else "transition"
            if not 0 <= position < len(options):
                raise ValueError(f"answer is {position}, expected 0 to {len(options) - 1}")
            answer: dict[str, Any] = {"answer": options[position], "answer_index": position}
        else:
            kind = TGIF_TYPES[int(row["type"])] if "type" in row else "count"
            answer = {"answer": str(row["answer"])}
        return Example(id=name, query=named(video, question, options), question_type=kind, media=video, **answer)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of a tab-separated table (.csv or .tsv), or of the format for judges."""
        path = Path(self.data)
        return read_table(path, "\t") if path.suffix.lower() in (".csv", ".tsv") else super().rows()
