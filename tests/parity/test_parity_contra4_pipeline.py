"""Contra4's generation pipeline against recorded behaviour of its original code, at the tolerances of the folder's README."""

import json
import re

import numpy as np
import pytest
from goldens import golden_files

from vidweave.contra4.answers import answer_rows
from vidweave.contra4.balance import balance_rows
from vidweave.contra4.filters import filter_rows
from vidweave.contra4.prompts import answer_prompt, category_prompt, question_prompt, verifier_prompt
from vidweave.contra4.questions import question_from, question_rows
from vidweave.contra4.sampling import sample_tuples
from vidweave.contra4.verification import Verifier, verifier_line
from vidweave.engines import ScriptedEngine

SYSTEM = "contra4"


def recorded(pattern):
    """(file, content) of every file that fits."""
    return [(file, json.loads(file.read_text(encoding="utf-8"))) for file in golden_files(SYSTEM, pattern)]


def items(pattern, key):
    result = [(f"{file.stem}-{i}", item) for file, data in recorded(pattern) for i, item in enumerate(data[key])]
    assert result
    return pytest.mark.parametrize("item", [item for _, item in result], ids=[name for name, _ in result])


# ---- texts


@items("llm_postprocess*.json", "cases")
def test_post_processing(item):
    text = item["generated_text"]
    assert question_from(text) == item["question"]
    assert verifier_line(text) == item["verifier"]
    row = {"examples": [{"caption": "a"}, {"caption": "b"}], "questions": ["q"]}
    engine = ScriptedEngine(lambda request: text, "said")
    assert answer_rows([row], engine)[0]["answers"] == [item["answer"]]
    assert question_rows([row], engine)[0]["questions"] == [item["question"]]


@items("prompts*.json", "items")
def test_prompts(item):
    captions, question = item["captions"], item["question"]
    assert question_prompt(captions) == item["question_prompt"]
    assert answer_prompt(captions, question) == item["answer_prompt"]
    assert category_prompt(question) == item["category_prompt"]
    for case in item["verifier_llama"]:
        assert verifier_prompt([captions[i] for i in case["permutation"]], question) == case["prompt"]
    chat = Verifier(name="chat", engine=ScriptedEngine(lambda request: "", "none"), style="chat")
    for case in item["verifier_chat_models"]:
        request = chat.request([captions[i] for i in case["permutation"]], question)
        assert list(request.prompt) == case["messages"]


# ---- sampling


def number(name):
    """The number in a medium's name: media of a recording are numbered in the order of their pool, from wherever."""
    return int(re.search(r"\d+$", str(name)).group())


@items("sampling*.json", "runs")
def test_sampling(item):
    pools = {
        modality: [{"source": modality, "id": i, "caption": ["c"]} for i in range(size)]
        for modality, size in item["pool_sizes"].items()
    }
    rows = list(
        sample_tuples(
            pools,
            item["strategy"],
            item["n_samples"],
            seed=item["seed"],
            embeddings={name: np.array(values) for name, values in item["encodings"].items()},
            keep_rejected_scenes=any(len(row["example_ids"]) > int(row["q_type"][-1]) for row in item["expected"]),
        )
    )
    for row, expected in zip(rows, item["expected"], strict=True):
        assert {key: row[key] for key in expected if key != "example_ids"} == {
            key: value for key, value in expected.items() if key != "example_ids"
        }
    starts = {}
    for row, expected in zip(rows, item["expected"], strict=True):
        for modality, example, name in zip(row["modalities"], row["examples"], expected["example_ids"], strict=True):
            starts.setdefault(modality, set()).add(number(name) - example["id"])
    assert {modality: len(result) for modality, result in starts.items()} == dict.fromkeys(item["pool_sizes"], 1)


def test_without_the_flag_no_row_has_a_modality_twice():
    runs = [run for _, data in recorded("sampling*.json") for run in data["runs"]]
    for run in runs:
        pools = {
            m: [{"source": m, "id": i, "caption": ["c"]} for i in range(max(size, 9))]
            for m, size in run["pool_sizes"].items()
        }
        for row in sample_tuples(pools, "random", run["n_samples"], seed=run["seed"]):
            assert len(row["examples"]) == len(set(row["modalities"])) == int(row["q_type"][-1])


# ---- filters


def verifiers_of(rows):
    return [key.removeprefix("answer_") for key in rows[0] if key.startswith("answer_")]


def file_name(kind, strategy, suffix):
    """The names of the original's files; one of them lacks its "filter"."""
    if kind == "word":
        return f"word_filtering_{strategy}_{suffix}"
    if kind == "unanimous_permute":
        return f"unanimous_permute_{strategy}_{suffix}"
    return f"{kind}_filter_{strategy}_{suffix}"


@pytest.mark.parametrize(("file", "data"), recorded("filters*.json"), ids=lambda value: getattr(value, "stem", ""))
def test_filters(file, data):
    printed, files = [], {}
    split = next(iter(data["kept_ids_per_file"])).rpartition("_")[2]
    for strategy, rows in data["input"].items():
        names = verifiers_of(rows)
        kept = filter_rows(rows, names)
        ordered = ["raw", "word", *names, "majority", "unanimous"]
        ordered += [*(f"{name}_permute" for name in names), "majority_permute", "unanimous_permute"]
        assert set(ordered) == set(kept)
        printed += [counts(kept[name]) for name in ordered]
        files |= {
            file_name(name, strategy, split): [row["id"] for row in kept[name]] for name in ordered if name != "raw"
        }
    assert files == data["kept_ids_per_file"]
    assert printed == data["stdout_rows"]


@pytest.mark.parametrize(("file", "data"), recorded("filters*.json"), ids=lambda value: getattr(value, "stem", ""))
def test_derived_fields(file, data):
    derived = {key: rows for key, rows in data.items() if key.startswith("derived_fields_")}
    assert derived
    for key, expected in derived.items():
        rows = data["input"][key.removeprefix("derived_fields_")]
        result = {row["id"]: row for row in filter_rows(rows, verifiers_of(rows))["raw"]}
        for row in expected:
            assert {name: result[row["id"]][name] for name in row} == row


def counts(rows):
    sizes = [sum(row["q_type"] == f"mc_{n}" for row in rows) for n in (2, 3, 4)]
    is_random = [row["selection_type"] == "random" for row in rows]
    return " & ".join(map(str, [*sizes, is_random.count(False), is_random.count(True), len(rows)])) + " \\\\"


# ---- balance


@items("balance*.json", "cases")
def test_balance(item):
    rows = balance_rows(item["input"], leave_stale=True, lenient_length=True)
    result = [
        {"id": row["id"], "answer": row["answers"][0], "answers": row["answers"], "modalities": row["modalities"]}
        | {"example_ids": [example["id"] for example in row["examples"]]}
        for row in rows
    ]
    assert result == item["expected"]
