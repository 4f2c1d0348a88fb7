"""Prompts of X-InstructBLIP: the words around the tokens, as in the released configurations and scripts.

`[prefix] ( [scene label] cue tokens [space] ) for each input, then the text`. The begin token is Vicuna's `</s>`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vidweave.language.layout import (
    AnswerFormat,
    EachScene,
    OptionsFormat,
    Slot,
    Special,
    TemplateLayout,
    Text,
    When,
)

__all__ = ["CUES", "DISCRN_PREFIX", "PROMPTS", "Prompt", "discrn_captions", "discrn_question", "prompt_layout"]

CUES = {"image": " image: ", "point_cloud": " 3d: ", "audio": " audio: ", "video": " video: "}
DISCRN_PREFIX = (
    "You are given two inputs. Select exactly one of the two by referece to its relative position (first or second, left "
    "or right) that best answers the question. "  # (sic)
)
_DESCRIBE = "a short description"
_BEAMS = {"num_beams": 5, "repetition_penalty": 1.5}


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt of the model.

    Attributes:
        prefix: Text before everything.
        text: Text for the language model after the inputs; {question}, {options}, {labels}.
        qformer_text: Text for the Q-Formers; may contain {question}.
        scene: Text before the inputs of each scene ({label}); after the first scene a space comes before it. None
            accepts one scene only.
        bos_before_cues, bos_before_text: Insert a begin token there too, not only at the very beginning.
        strip_cues: Remove the space before cues.
        space: Insert a token for " " after the tokens of each input.
        image_resize: Resizing of images.
        answer: Format of answers.
        decoding: Decoding of free-form answers. A released `max_length` of 10 counts a begin token: 9 new ones.
        legacy_double: Repeat cue and tokens, as in the recipes `*_improved` (X5); only for comparison with files
            that were trained this way.
    """

    prefix: str = ""
    text: str = "{question}{options}"
    qformer_text: str = "{question}"
    scene: str | None = None
    bos_before_cues: bool = False
    bos_before_text: bool = False
    strip_cues: bool = False
    space: bool = True
    image_resize: Literal["crop", "squash"] = "crop"
    answer: AnswerFormat = field(default_factory=AnswerFormat)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    legacy_double: bool = False


_FIRST = Prompt(bos_before_cues=True, bos_before_text=True, decoding={**_BEAMS, "max_new_tokens": 9})
_SECOND = Prompt(
    prefix="USER: ",
    text="{question}{options}\nASSISTANT:",
    strip_cues=True,
    decoding={**_BEAMS, "max_new_tokens": 9},
)
PROMPTS: dict[str, Prompt] = {
    # The released configuration (blip2_xinstruct_vicuna7b.yaml) and the second demo.
    "released": _SECOND,
    # Captions: at least 10 and at most 80 tokens, including the begin token.
    "caption": Prompt(
        prefix=_SECOND.prefix,
        text=_SECOND.text,
        strip_cues=True,
        decoding={**_BEAMS, "max_new_tokens": 79, "min_new_tokens": 9},
    ),
    # The first release, used by nearly all training and evaluation files of the 7B model.
    "first": _FIRST,
    "demo": Prompt(bos_before_text=True, space=False, qformer_text=_DESCRIBE, decoding=_FIRST.decoding),
    # Candidates of ModelNet40; the original ranks by plain sums, so that long names lose.
    "modelnet40": Prompt(
        bos_before_cues=True,
        bos_before_text=True,
        text="{question}",
        answer=AnswerFormat(option=" a 3d model of a {option}", eos=False),
        decoding=_FIRST.decoding,
    ),
    # Two inputs, each in its own scene, in the order of the scenes.
    "discrn": Prompt(
        prefix=DISCRN_PREFIX,
        text="question: {question} answer:",
        qformer_text=_DESCRIBE,
        scene="",
        bos_before_cues=True,
        bos_before_text=True,
        decoding={**_BEAMS, "max_new_tokens": 9, "length_penalty": -1.0},
    ),
    # The effective prompt of the published script (contra4.md, X1 and X2).
    "contra4": Prompt(
        prefix="USER: ",
        text="Question: {question}Choose from:{labels} Answer:",
        qformer_text=_DESCRIBE,
        scene="{label}.",
        bos_before_cues=True,
        bos_before_text=True,
        strip_cues=True,
        image_resize="squash",
        decoding={**_BEAMS, "max_new_tokens": 10, "min_new_tokens": 1, "length_penalty": -1.0},
    ),
}


def prompt_layout(modalities: Sequence[str], prompt: Prompt) -> TemplateLayout:
    """Build the layout of the prompt; the inputs of one scene are in the order of `modalities`."""
    starts_with_cue = not prompt.prefix and prompt.bos_before_cues and not prompt.scene
    return TemplateLayout(
        parts=(
            *(() if starts_with_cue else (Special(token="bos"),)),
            *((Text(text=_literal(prompt.prefix)),) if prompt.prefix else ()),
            *_scenes(modalities, prompt),
            *((Special(token="bos"),) if prompt.bos_before_text else ()),
            Text(text=prompt.text),
        ),
        options=OptionsFormat(prefix=" Options: ", item="({letter}) {option}", separator=" "),
        answer=prompt.answer,
    )


def _scenes(modalities: Sequence[str], prompt: Prompt) -> tuple[Any, ...]:
    inputs = tuple(When(present=(name,), parts=_input(name, prompt)) for name in modalities)
    if prompt.scene is None:
        return inputs
    if not prompt.scene:
        return (EachScene(parts=inputs),)
    later = (Text(text=" " + prompt.scene), *inputs)
    return (EachScene(first=(Text(text=prompt.scene), *inputs), parts=later),)


def _input(name: str, prompt: Prompt) -> tuple[Any, ...]:
    cue = Text(text=CUES[name].lstrip() if prompt.strip_cues else CUES[name])
    begin = (Special(token="bos"),)
    space = (Text(text=" "),) if prompt.space else ()
    once = (*(begin if prompt.bos_before_cues else ()), cue, Slot(block=name), *space)
    return (*once, *begin, cue, Slot(block=name), *space) if prompt.legacy_double else once


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def discrn_question(text: str) -> str:
    """Rewrite a question of DisCRn as its script does: about "the two options", and objects instead of their modality."""
    text = re.sub(r"which (entity|object|image|audio)", "which of the two options", text, flags=re.IGNORECASE)
    return re.sub(r"audio|image", "object", text)


def discrn_captions(question: str, captions: Sequence[tuple[str, str]]) -> str:
    """Build the prompt of DisCRn's caption baseline: (modality, caption) of both inputs, then the question."""
    inputs = "".join(f"{CUES[modality]}{caption}" for modality, caption in captions)
    return f"{DISCRN_PREFIX}{inputs} {PROMPTS['discrn'].text.format(question=question)}"
