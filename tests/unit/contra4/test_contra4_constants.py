"""Numbers and words of the Contra4 pipeline against the specification (contra4 3.1 to 3.9, 5.6)."""

import hashlib
import json
from itertools import pairwise

import pytest

from vidweave.contra4.answers import ANSWER_SAMPLING
from vidweave.contra4.balance import balance_rows
from vidweave.contra4.captioners import CAPTION_SAMPLING
from vidweave.contra4.categories import CATEGORY_SAMPLING
from vidweave.contra4.embedding import MINILM
from vidweave.contra4.filters import FORBIDDEN
from vidweave.contra4.prompts import published
from vidweave.contra4.questions import QUESTION_SAMPLING
from vidweave.contra4.sampling import PUBLISHED_ORDER, Tuples
from vidweave.contra4.verification import VERIFIER_SAMPLING

# 36 in the order of the specification
WORDS = (
    "more than one person | more than one object | elements | more than one input | more than one animal | similar | "
    "rating | score | hear | detail | word | animate | movie | action | text | verb | noun | more objects | most objects "
    "| most people | more colors | most colors | most elements | more elements | quest | caption | sound | descr | "
    "sentenc | visual | image | video | audio | 3d | point cloud | more people"
)


@pytest.mark.parametrize(
    ("sampling", "temperature", "max_tokens"),
    [
        (QUESTION_SAMPLING, 1.05, 120),
        (ANSWER_SAMPLING, 0.3, 120),
        (VERIFIER_SAMPLING, 0.3, 30),
        (CATEGORY_SAMPLING, 0.3, 30),
        (CAPTION_SAMPLING, 0.9, 120),
    ],
    ids=["question", "answer", "verifier", "category", "caption"],
)
def test_decoding(sampling, temperature, max_tokens):
    assert (sampling.temperature, sampling.max_tokens) == (temperature, max_tokens)
    assert (sampling.top_p, sampling.min_tokens, sampling.seed, sampling.stop) == (0.9, 10, 42, ())


def test_forbidden_words():
    assert tuple(word.strip() for word in WORDS.split("|")) == FORBIDDEN


def test_sampling_of_tuples():
    stage = Tuples()
    assert (stage.seed, stage.nearest, stage.per_combination) == (123, 30, 30_000)
    assert stage.selections == ("random", "similarity")
    assert stage.modalities == PUBLISHED_ORDER == ("audio", "pc", "image", "video")
    assert (stage.one_row_per_medium, stage.any_anchor, stage.keep_rejected_scenes) == (False, False, False)
    assert MINILM.endswith("all-MiniLM-L6-v2")


def test_models_of_the_release():
    models = published()
    assert models["question"]["model"] == models["answer"]["model"] == "meta-llama/Meta-Llama-3-8B"
    verifiers = {name: (facts["model"], facts["chat"]) for name, facts in models["verification"]["verifiers"].items()}
    assert verifiers == {
        "llama": ("meta-llama/Llama-3.1-8B-Instruct", False),
        "mistral": ("mistralai/Mistral-7B-Instruct-v0.2", True),
        "phi": ("microsoft/Phi-3-medium-128k-instruct", True),
        "gemma": ("google/gemma-2-9b-it", True),
    }
    assert models["category"]["model"] == "meta-llama/Llama-3.1-8B-Instruct"


def test_texts_of_the_prompts_do_not_move():
    """The texts themselves are compared with recorded prompts in the parity tests; this holds those without a recording."""
    text = json.dumps(published(), sort_keys=True, ensure_ascii=True)
    assert hashlib.sha256(text.encode()).hexdigest() == PROMPTS_SHA256


PROMPTS_SHA256 = "b2408e9bf0eca2aae03e94a596b1f0b2fb111105b3a1df4707c96d4a350809f3"


@pytest.mark.parametrize(
    ("num_scenes", "selection", "borders"),
    [
        (2, "random", [50]),
        (2, "similarity", [50]),
        (3, "random", [33, 66]),
        (3, "similarity", [33, 66]),
        (4, "random", [25, 50, 75]),
        (4, "similarity", [25, 50, 75]),
    ],
)
def test_balance_borders(num_scenes, selection, borders):
    """Of 100 rows, all answered "Scene A", how many get each position."""
    modalities = list(PUBLISHED_ORDER[:num_scenes])
    rows = [
        {
            "id": f"{selection}_{i}", "selection_type": selection, "q_type": f"mc_{num_scenes}", "questions": ["Which?"],
            "answers": ["Scene A"], "modalities": modalities,
            "examples": [{"source": m, "id": i, "caption": ["c"]} for m in modalities],
        }
        for i in range(100)
    ]  # fmt: skip
    letters = [row["answers"][0][-1] for row in balance_rows(rows, leave_stale=True, lenient_length=True)]
    edges = [0, *borders, 100]
    assert [letters.count(x) for x in "ABCD"[:num_scenes]] == [b - a for a, b in pairwise(edges)]
    assert letters == sorted(letters)
