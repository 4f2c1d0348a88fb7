"""A composed model around a real language model answers as the language model alone does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from real_questions import QUESTIONS, prompt_of

import vidweave
from vidweave.model.compose.prompt import CHOICE_FORMATS
from vidweave.types import Query

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
FRANCE = "What is the capital of France?"
NEW_TOKENS = 8


@dataclass(frozen=True)
class Alone:
    """The language model by itself, through transformers."""

    model: Any
    tokenizer: Any

    @torch.no_grad()
    def free(self, texts: list[str]) -> list[str]:
        rows = self.tokenizer([prompt_of(self.tokenizer, t) for t in texts], **_PADDED)
        out = self.model.generate(**rows, max_new_tokens=NEW_TOKENS, do_sample=False)
        return [self.tokenizer.decode(r, skip_special_tokens=True).strip() for r in out[:, rows.input_ids.shape[1] :]]

    @torch.no_grad()
    def letters(self, texts: list[str], num_options: int) -> list[int]:
        """Position of the likeliest letter after each prompt."""
        rows = self.tokenizer([prompt_of(self.tokenizer, t) for t in texts], **_PADDED)
        logits = self.model(**rows, logits_to_keep=1).logits[:, -1]
        ids = [self.tokenizer(c, add_special_tokens=False).input_ids[0] for c in "ABCDEFG"[:num_options]]
        return logits[:, ids].argmax(1).tolist()


_PADDED: dict[str, Any] = {"return_tensors": "pt", "padding": True, "add_special_tokens": False}


@pytest.fixture(scope="module")
def alone(smollm2):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2, padding_side="left")
    return Alone(AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval(), tokenizer)


@pytest.fixture(scope="module")
def pipe(smollm2, tower):
    return vidweave.compose(tower, smollm2, "mlp", num_frames=2, tokens_per_frame=4)


def test_the_capital_of_france_freely_and_among_options(pipe, clip):
    answer = pipe.ask(clip, FRANCE, max_new_tokens=NEW_TOKENS)
    assert "Paris" in answer.text
    assert answer.trace.tokens["clip"] == 8
    options = ["Rome", "Paris", "London", "Madrid"]
    assert pipe.ask(clip, FRANCE, options=options).text == "Paris"


def test_forty_questions_are_answered_as_by_the_language_model_alone(pipe, clip, alone, capsys):
    shown, _ = CHOICE_FORMATS["letters"]
    plain = [q["question"] for q in QUESTIONS]
    with_options = [q["question"] + shown.render(q["options"]) for q in QUESTIONS]
    free = [a.text.strip() for a in pipe.answer([Query.about(clip, t) for t in plain], max_new_tokens=NEW_TOKENS)]
    chosen = [a.text for a in pipe.answer([Query.about(clip, q["question"], q["options"]) for q in QUESTIONS])]
    picked = [q["options"][i] for q, i in zip(QUESTIONS, alone.letters(with_options, 4), strict=True)]
    equal_free = sum(ours == theirs for ours, theirs in zip(free, alone.free(plain), strict=True))
    equal_chosen = sum(ours == theirs for ours, theirs in zip(chosen, picked, strict=True))
    with capsys.disabled():
        print(
            f"\ncomposed and language model alone: {equal_chosen} equal choices, {equal_free} equal free answers of 40"
        )
    assert equal_chosen >= 32  # measured: 34
    assert equal_free >= 20  # measured: 22 word for word


def test_what_is_scored_is_what_the_model_says(pipe, clip, capsys):
    rows = []
    for name, (shown, answer) in CHOICE_FORMATS.items():
        queries = [Query.about(clip, q["question"], q["options"]) for q in QUESTIONS]
        layout = {"options": shown, "answer": answer}
        model = with_layout(pipe, **layout)
        chosen = [a.text for a in model.answer(queries)]
        asked = [Query.about(clip, q["question"] + shown.render(q["options"])) for q in QUESTIONS]
        reply = [a.text.strip() for a in model.answer(asked, max_new_tokens=NEW_TOKENS)]
        written = [answer.write(option, query.options) for option, query in zip(chosen, queries, strict=True)]
        agree = sum(s.lower().startswith(w.lower()) for s, w in zip(reply, written, strict=True))
        right = sum(c == q["answer"] for c, q in zip(chosen, QUESTIONS, strict=True))
        rows.append((name, agree, right))
    with capsys.disabled():
        for name, agree, right in rows:
            print(f"\n{name}: said as scored {agree} of 40, right {right} of 40")
    agreement = {name: agree for name, agree, _ in rows}
    assert agreement["letters"] >= 36


def with_layout(pipe, **changes):
    """The same weights under another wording of options."""
    from dataclasses import replace

    from vidweave.model.config import VideoLanguageConfig
    from vidweave.model.processor import Processor
    from vidweave.pipelines.slot import SlotPipeline

    spec = pipe.model.spec
    layout = replace(
        spec.layout, options=changes["options"], answer=replace(changes["answer"], end=spec.layout.answer.end)
    )
    config = VideoLanguageConfig(replace(spec, layout=layout), name="changed")
    return SlotPipeline(pipe.model, Processor(config, pipe.processor.tokenizers))


def test_lora_saving_loading_and_bfloat16(smollm2, tower, clip, tmp_path):
    from vidweave.language.adapters import add_lora

    pipe = vidweave.compose(tower, smollm2, "qformer", num_frames=2, tokens_per_frame=3, dtype="bfloat16")
    # Processors round bfloat16 products differently, and greedy text follows: what is scored says more than what is written.
    assert pipe.ask(clip, FRANCE, options=["Rome", "Paris", "London", "Madrid"]).text == "Paris"
    assert pipe.ask(clip, FRANCE, max_new_tokens=NEW_TOKENS).text
    add_lora(pipe.model.language_model, rank=2)
    loss = pipe.model(pipe.inputs(Query.about(clip, FRANCE), targets=["Paris"])).loss
    loss.backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in pipe.model.parameters())
    pipe.save_pretrained(tmp_path / "thin", bases=pipe.bases)
    assert sum(f.stat().st_size for f in (tmp_path / "thin").glob("*.safetensors")) < 30e6
    again = vidweave.load(tmp_path / "thin", dtype="bfloat16")
    query = Query.about(clip, FRANCE, ["Rome", "Paris"])
    scores = [[option.score for option in each.answer(query)[0].options] for each in (again, pipe)]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)  # bfloat16 has two to three digits
