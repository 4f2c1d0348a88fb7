"""Judge open answers with a language model by the Video-ChatGPT protocol: yes or no, and a score from 0 to 5.

The wording is the protocol's, including its missing spaces, since published numbers were produced with it.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "JUDGE_MODEL",
    "REFUSED",
    "Verdict",
    "batch_request",
    "judge_messages",
    "parse_verdict",
    "read_literal",
    "summarize_verdicts",
]

# The model in MERV's released code. The paper's numbers come from gpt-3.5-turbo-0613, which is no longer available.
JUDGE_MODEL = "gpt-4o-mini-2024-07-18"
MAX_TOKENS = 500
_SYSTEM = (
    "You are an intelligent chatbot designed for evaluating the correctness of generative outputs for question-answer "
    "pairs. Your task is to compare the predicted answer with the correct answer and determine if they match "
    "meaningfully. Here's how you can accomplish the task:------##INSTRUCTIONS: - Focus on the meaningful match between "
    "the predicted answer and the correct answer.\n- Consider synonyms or paraphrases as valid matches.\n"
    "- Evaluate the correctness of the prediction compared to the answer."
)
_USER = (
    "Please evaluate the following video-based question-answer pair:\n\nQuestion: {question}\nCorrect Answer: {answer}\n"
    "Predicted Answer: {prediction}\n\nProvide your evaluation only as a yes/no and score where the score is an integer "
    "value between 0 and 5, with 5 indicating the highest meaningful match. Please generate the response in the form of "
    "a Python dictionary string with keys 'pred' and 'score', where value of 'pred' is  a string of 'yes' or 'no' and "
    "value of 'score' is in INTEGER, not STRING.DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide the "
    "Python dictionary string. For example, your response should look like this: {{'pred': 'yes', 'score': 4}}."
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Judgement of one answer.

    Attributes:
        pred: The judge's word, as written.
        score: 0 to 5.
    """

    pred: str
    score: float

    @property
    def is_right(self) -> bool:
        """Whether the judge's word contains "yes", in any case."""
        return "yes" in self.pred.lower()


REFUSED = Verdict(pred="no", score=0)


def judge_messages(question: str, answer: str, prediction: str) -> list[dict[str, str]]:
    """Return the system and user messages that ask for one verdict."""
    user = _USER.format(question=question, answer=answer, prediction=prediction)
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}]


def batch_request(
    id: str, question: str, answer: str, prediction: str, *, model: str = JUDGE_MODEL, max_tokens: int = MAX_TOKENS
) -> dict[str, Any]:
    """Return one line of a batch file in OpenAI's format; no temperature is set, as in the original."""
    body = {"model": model, "messages": judge_messages(question, answer, prediction), "max_tokens": max_tokens}
    return {"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def parse_verdict(reply: str | None) -> Verdict:
    """Parse a reply by the original's rule: the whole reply is a dictionary with both keys, else "no" with score 0.

    A missing reply (None) counts the same. No code in the reply is executed.
    """
    try:
        fields = read_literal(reply)
        return Verdict(pred=str(fields["pred"]), score=float(fields["score"]))
    except (ValueError, SyntaxError, TypeError, KeyError, OverflowError, MemoryError, RecursionError):
        return REFUSED


def read_literal(reply: str | None) -> Any:
    """Read a reply as one Python literal, without warnings about its escapes; errors are those of `ast.literal_eval`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(reply or "")


def summarize_verdicts(verdicts: Iterable[Verdict]) -> Mapping[str, float]:
    """Return the fraction of answers judged correct and the mean score, over all questions."""
    made = list(verdicts)
    count = max(len(made), 1)
    return {"accuracy": sum(v.is_right for v in made) / count, "score": sum(v.score for v in made) / count}
