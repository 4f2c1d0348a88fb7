"""Questions of the benchmark: validated values, and a reader for the released files and all older key spellings."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard, get_args

from vidweave.contra4.parsing import LETTERS, parse_scene, scene_name
from vidweave.data.jsonl import expect
from vidweave.errors import AnnotationError, MediaNotFoundError
from vidweave.registry import MODALITIES

__all__ = [
    "LABELS",
    "MAX_SCENES",
    "ContrastQuestion",
    "SceneRef",
    "Selection",
    "check_modality",
    "index_of",
    "question_from_dict",
    "questions_json",
    "read_objects",
    "read_questions",
    "write_questions",
]

Selection = Literal["random", "similarity"]
"""How the other scenes were drawn: at random, or near the first one."""

LABELS = tuple(scene_name(index) for index in range(len(LETTERS)))
MAX_SCENES = len(LABELS)
MAX_BYTES = 4 << 30  # uncompressed; the largest released file is below 1 GiB
_POINT_CLOUD = "pc"  # name in the files for what vidweave calls point_cloud
_SELECTIONS = {"random": "random", "similarity": "similarity", "high_sim": "similarity"}
_KEYS = {
    *("id", "question_id", "selection_type", "q_type", "examples", "modalities", "category"),
    *("question", "questions", "answer", "answers", "answers_formatted", "gt_answer"),
    *("step_2_prompt", "permutations"),
}


@dataclass(frozen=True, kw_only=True)
class SceneRef:
    """Candidate scene: a medium and its caption.

    Attributes:
        source: Collection of the medium, e.g. ``audiocaps``.
        id: Name of the medium in the collection.
        modality: ``audio``, ``pc`` (a point cloud), ``image``, ``video``, or another registered modality.
        caption: Text that describes it.
        url, meta: As in the source; `meta` may hold ``start_time`` and ``end_time`` in seconds.
    """

    source: str
    id: str | int
    modality: str
    caption: str
    url: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Identify the medium: equal for two scenes that show the same one."""
        return self.source, str(self.id)

    @property
    def clip_modality(self) -> str:
        """Name of the modality in `Clip`."""
        return "point_cloud" if self.modality == _POINT_CLOUD else self.modality

    def to_dict(self) -> dict[str, Any]:
        """Convert to an entry of ``examples`` in the released files."""
        return {"source": self.source, "id": self.id, "caption": self.caption, "url": self.url, "meta": dict(self.meta)}


@dataclass(frozen=True, kw_only=True)
class ContrastQuestion:
    """A question with two to four scenes, one of which answers it.

    Attributes:
        id: Unique within a file.
        selection: How the other scenes were drawn.
        scenes: Scenes in label order; the first is Scene A.
        question: Text of the question.
        answer: Index into `scenes`.
        category: Category of the question, if the file has one.
    """

    id: str
    selection: Selection
    scenes: tuple[SceneRef, ...]
    question: str
    answer: int
    category: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """``Scene A``, ``Scene B``, …"""
        return LABELS[: len(self.scenes)]

    @property
    def answer_label(self) -> str:
        return LABELS[self.answer]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(scene.modality for scene in self.scenes)

    @property
    def modality_set(self) -> tuple[str, ...]:
        """Modalities in alphabetical order, one entry per scene."""
        return tuple(sorted(self.modalities))

    @property
    def q_type(self) -> str:
        return f"mc_{len(self.scenes)}"

    def reordered(self, order: Sequence[int]) -> Self:
        """Return the same question with scene ``order[i]`` at position i and the answer moved accordingly."""
        return replace(self, scenes=tuple(self.scenes[i] for i in order), answer=list(order).index(self.answer))

    def to_dict(self) -> dict[str, Any]:
        """Convert to an object of the released files; `read_questions` reads it back."""
        data = {
            "id": self.id,
            "selection_type": self.selection,
            "q_type": self.q_type,
            "examples": [scene.to_dict() for scene in self.scenes],
            "answer": self.answer_label,
            "question": self.question,
            "modalities": list(self.modalities),
        }
        return data if self.category is None else {**data, "category": self.category}


def read_questions(path: Path | str) -> list[ContrastQuestion]:
    """Read all questions of a file: a JSON list or JSON lines, plain or gzip.

    Raises:
        MediaNotFoundError: the file does not exist.
        AnnotationError: malformed JSON, a question with missing or invalid fields (the message names the place and
            the problem), or repeated ids.
    """
    path, by_id = Path(path), {}
    for where, data in read_objects(path):
        question = question_from_dict(data, where)
        if question.id in by_id:
            raise AnnotationError(f"{where}: id {question.id!r} is used by an earlier question; ids must be unique")
        by_id[question.id] = question
    if not by_id:
        raise AnnotationError(f"{path} contains no questions")
    return list(by_id.values())


def write_questions(path: Path | str, questions: Iterable[ContrastQuestion]) -> None:
    """Write a JSON list in the released format."""
    Path(path).write_bytes(questions_json(questions))


def questions_json(questions: Iterable[ContrastQuestion]) -> bytes:
    """Serialize as a JSON list in the released format, one question per line."""
    lines = ",\n".join(json.dumps(question.to_dict(), ensure_ascii=False) for question in questions)
    return f"[\n{lines}\n]\n".encode()


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) for each entry of a JSON list or JSON-lines file, plain or gzip; `where` is for messages."""
    text = _text(path)
    if text.lstrip()[:1] == "[":
        values = enumerate(_parse(text, str(path)), start=1)
        entries = ((f"{path}: entry {number}", value) for number, value in values)
    else:
        lines = ((f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
        entries = ((where, _parse(line, where, is_line=True)) for where, line in lines)
    for where, value in entries:
        if not isinstance(value, dict):
            raise AnnotationError(f"{where}: expected a JSON object, got {str(value)[:40]!r}")
        yield where, value


def question_from_dict(data: Mapping[str, Any], where: str) -> ContrastQuestion:
    """Build one question from an object with the keys of any release; AnnotationError names `where`."""
    unknown = [key for key in data if key not in _KEYS and not _is_verdict(key)]
    if unknown:
        raise AnnotationError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(_KEYS))}")
    if "question_id" in data:  # key used by files of the 2024 scorer
        data = {"id": data["question_id"], **data}
    name, selection, examples, modalities = expect(
        data, where, id=str, selection_type=str, examples=list, modalities=list
    )
    where = f"{where} ({name})"
    if selection not in _SELECTIONS:
        raise AnnotationError(f"{where}: selection_type must be one of {', '.join(_SELECTIONS)}, got {selection!r}")
    scenes = _scenes(examples, modalities, where)
    _check_type(data.get("q_type"), len(scenes), where)
    return ContrastQuestion(
        id=name,
        selection=_SELECTIONS[selection],  # type: ignore[arg-type]
        scenes=scenes,
        question=_question(data, where),
        answer=_answer(data, len(scenes), where),
        category=_optional_text(data, "category", where),
    )


def index_of(label: str, count: int) -> int | None:
    """Return the index of ``Scene X``, or None for other text or a scene beyond `count`."""
    return LABELS.index(label) if label in LABELS[:count] else None


def check_modality(name: Any, where: str) -> str:
    """Return the modality if it is known from the files or registered; raise AnnotationError otherwise."""
    if name != _POINT_CLOUD and name not in MODALITIES:
        raise AnnotationError(f"{where}: unknown modality {name!r}; known: pc, {', '.join(MODALITIES)}")
    return name


def _text(path: Path) -> str:
    if not path.is_file():
        raise MediaNotFoundError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            is_zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_zipped else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise AnnotationError(f"{path} is larger than {MAX_BYTES} bytes; split it")
        return data.decode("utf-8")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise AnnotationError(f"{path} is damaged ({error}); download it again") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _parse(text: str, where: str, *, is_line: bool = False) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where if is_line else f"{where}:{error.lineno}"
        raise AnnotationError(f"{place}: not JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{where}: not JSON that can be parsed ({error})") from error


def _is_verdict(key: str) -> bool:
    """Return whether verifiers added this key, in the pipeline of 2025 or 2024."""
    return key.startswith("answer_") or key.endswith("_permutations")


def _scenes(examples: list[Any], modalities: list[Any], where: str) -> tuple[SceneRef, ...]:
    if not 2 <= len(examples) <= MAX_SCENES:
        raise AnnotationError(f"{where}: a question has 2 to {MAX_SCENES} scenes ({LETTERS}), got {len(examples)}")
    if len(modalities) != len(examples):
        raise AnnotationError(f"{where}: {len(examples)} scenes but {len(modalities)} modalities")
    return tuple(
        _scene(example, modality, f"{where} {label}")
        for example, modality, label in zip(examples, modalities, LABELS, strict=False)
    )


def _scene(data: Any, modality: Any, where: str) -> SceneRef:
    if not isinstance(data, dict):
        raise AnnotationError(f"{where}: expected an object, got {data!r}")
    (source,) = expect(data, where, source=str)
    name = data.get("id")
    if not isinstance(name, (str, int)) or isinstance(name, bool):
        raise AnnotationError(f"{where}: 'id' must be a string or an integer, got {name!r}")
    meta = data.get("meta") or {}
    if not isinstance(meta, dict):
        raise AnnotationError(f"{where}: 'meta' must be an object, got {meta!r}")
    return SceneRef(
        source=source,
        id=name,
        modality=check_modality(modality, where),
        caption=_caption(data.get("caption"), where),
        url=_optional_text(data, "url", where),
        meta=meta,
    )


def _caption(value: Any, where: str) -> str:
    first = value[0] if isinstance(value, list) and value else value
    if not _says_something(first):
        raise AnnotationError(f"{where}: the caption must be a non-empty string, got {value!r}")
    return first


def _says_something(text: Any) -> TypeGuard[str]:
    """Return whether a value is a non-blank string that can be encoded as UTF-8."""
    return isinstance(text, str) and bool(text.strip()) and not any("\ud800" <= c <= "\udfff" for c in text)


def _check_type(value: Any, count: int, where: str) -> None:
    if value is not None and value != f"mc_{count}":
        raise AnnotationError(f"{where}: q_type says {value!r}, but there are {count} scenes")


def _question(data: Mapping[str, Any], where: str) -> str:
    text = data.get("question", _first(data.get("questions")))
    if not _says_something(text):
        raise AnnotationError(f"{where}: the question is missing or empty, got {text!r}")
    return text


def _answer(data: Mapping[str, Any], count: int, where: str) -> int:
    """Read, in this order: ``answer``, ``answers[0]``, ``answers_formatted[0]``, ``gt_answer``."""
    single = [data[key] for key in ("answer", "gt_answer") if data.get(key) is not None]
    if len({_label(value) for value in single}) > 1:
        raise AnnotationError(f"{where}: 'answer' is {single[0]!r} but 'gt_answer' is {single[1]!r}")
    lists = [_first(data.get(key)) for key in ("answers", "answers_formatted")]
    value = next((v for v in (data.get("answer"), *lists, data.get("gt_answer")) if v is not None), None)
    label = (
        _label(value)
        if single and value == single[0]
        else parse_scene(value, "balance")
        if isinstance(value, str)
        else ""
    )
    index = index_of(label, count)
    if index is None:
        raise AnnotationError(f"{where}: the answer {value!r} is not among the labels {', '.join(LABELS[:count])}")
    return index


def _label(value: Any) -> str:
    return f"Scene {value}" if isinstance(value, str) and len(value) == 1 else str(value)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _optional_text(data: Mapping[str, Any], key: str, where: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise AnnotationError(f"{where}: {key!r} must be a string, got {value!r}")
    return value


assert set(_SELECTIONS.values()) == set(get_args(Selection))
