"""Describe a question file in Croissant 1.0, the metadata format for ML datasets (docs.mlcommons.org/croissant)."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path
from typing import Any

from vidweave.contra4.schema import ContrastQuestion
from vidweave.errors import AnnotationError

__all__ = ["croissant"]

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FILE = "questions-file"
_RECORDS = "questions"


def croissant(
    path: Path,
    questions: list[ContrastQuestion],
    *,
    name: str,
    description: str = "",
    license_url: str = "",
    url: str = "",
) -> dict[str, Any]:
    """Return JSON-LD metadata with the checksum of the file and the fields of its questions.

    Args:
        path: The file as `read_questions` read it, a JSON list; compressed files are described by their content.
        questions: The questions in the file.
        name, description, license_url, url: For people and catalogs; empty values are omitted.

    Raises:
        AnnotationError: the file holds JSON lines, which the field paths cannot address.
    """
    data = path.read_bytes()
    is_zipped = data.startswith(b"\x1f\x8b")
    content = gzip.decompress(data) if is_zipped else data
    if content.lstrip()[:1] != b"[":
        raise AnnotationError(
            f"{path} holds JSON lines; metadata is only supported for a JSON list such as questions.json of a run"
        )
    about = {"description": description, "license": license_url, "url": url}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        **{key: value for key, value in about.items() if value},
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": _FILE,
                "name": _FILE,
                "contentUrl": path.name.removesuffix(".gz"),
                "contentSize": f"{len(content)} B",
                "encodingFormat": "application/json",
                "sha256": sha256(content).hexdigest(),
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": _RECORDS,
                "name": _RECORDS,
                "description": f"{len(questions)} questions that compare scenes of different modalities.",
                "key": {"@id": f"{_RECORDS}/id"},
                "field": _fields(questions),
            }
        ],
    }


def _fields(questions: list[ContrastQuestion]) -> list[dict[str, Any]]:
    texts = {
        "id": "Unique name of the question",
        "selection_type": "How the other scenes were drawn: random or similarity",
        "q_type": "mc_ and the number of scenes",
        "question": "What is asked",
        "answer": "The label of the scene that answers",
    }
    if any(question.category is not None for question in questions):
        texts["category"] = "Kind of question"
    scenes = {
        "source": "Collection of the medium",
        "id": "Name of the medium in its collection",
        "caption": "What it shows",
        "url": "Where it comes from",
    }
    modalities = _field("modalities", "Modality of each scene, in label order", "$[*].modalities[*]") | {
        "repeated": True
    }
    examples = {
        "@type": "cr:Field",
        "@id": f"{_RECORDS}/examples",
        "name": "examples",
        "description": "The scenes, in label order: the first is Scene A",
        "repeated": True,
        "subField": [_field(f"examples/{key}", what, f"$[*].examples[*].{key}") for key, what in scenes.items()],
    }
    return [*(_field(key, what, f"$[*].{key}") for key, what in texts.items()), modalities, examples]


def _field(name: str, description: str, json_path: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{_RECORDS}/{name}",
        "name": name.rpartition("/")[2],
        "description": description,
        "dataType": "sc:Text",
        "source": {"fileObject": {"@id": _FILE}, "extract": {"jsonPath": json_path}},
    }
