"""Layouts: the sequences of the five systems token by token, options and answers, cuts, and every refusal."""

import json

import pytest
import torch

from vidweave.errors import ConfigError, ModalityError, QueryError, ShapeError, UnknownNameError
from vidweave.language.layout import (
    AnswerFormat,
    EachScene,
    EachSegment,
    OptionsFormat,
    Slot,
    Special,
    TemplateLayout,
    Text,
    When,
)
from vidweave.registry import LAYOUTS
from vidweave.types import Clip, Query, Scene, component_from_dict

CLIP = Clip("a.mp4")
QUESTION = Query.about(CLIP, "what is it ?")
CHOICE = Query.about(CLIP, "what is it ?", ["red", "green"])
SCENES = Query("what is it ?", (Scene("Scene A", CLIP), Scene("Scene B", CLIP), Scene("Scene C", CLIP)))

MALMM = TemplateLayout(
    parts=(
        Slot(block="video"),
        Special(token="eos"),
        Text(text="Question: {question} Answer:", max_tokens=12, cut="left"),
    ),
    on_overflow="truncate",
)
VIDEOTGB = TemplateLayout(
    parts=(Slot(block="video"), Text(text="USER: {question} ASSISTANT:", max_tokens=128), Special(token="eos")),
)
MERV = TemplateLayout(
    parts=(Special(token="bos", if_any=True), Slot(block="fused", optional=True), Text(text="In: {question}\nOut:")),
)
FRAME = (Text(text="Frame {index}: "),)
CREMA = TemplateLayout(
    parts=(
        EachSegment(
            block="video",
            parts=(*FRAME, Slot(block="video"), Slot(block="depth", optional=True)),
            single=(Text(text="Frame: "), Slot(block="video"), Slot(block="depth", optional=True)),
            optional=True,
        ),
        When(
            present=("video",),
            parts=(
                Slot(block="audio", optional=True),
                When(present=("point_cloud",), parts=(Text(text="3D Model: "), Slot(block="point_cloud"))),
            ),
            otherwise=(
                Text(text="Audio: "),
                Slot(block="audio", optional=True),
                Slot(block="point_cloud", optional=True),
            ),
        ),
        Text(text="Question: {question} {options}Answer:", max_tokens=76),
        Special(token="eos"),
    ),
    options=OptionsFormat(item="Options {letter}: {option}.", separator=" ", suffix=" "),
    answer=AnswerFormat(option="Options {letter}", max_tokens=77),
)
ESPRESSO_CONCAT = TemplateLayout(
    parts=(
        EachSegment(block="video", parts=(*FRAME, Slot(block="video"))),
        EachSegment(block="video", parts=FRAME),
        Slot(block="fused"),
        Text(text="{question}"),
        Special(token="eos"),
    )
)
SCENE_BODY = (
    When(present=("image",), parts=(Text(text="image: "), Slot(block="image"))),
    When(present=("audio",), parts=(Special(token="eos"), Text(text="audio: "), Slot(block="audio"))),
    When(present=("video",), parts=(Text(text="video: "), Slot(block="video"))),
)
CONTRA4 = TemplateLayout(
    parts=(
        Special(token="bos"),
        Text(text="USER: "),
        EachScene(parts=(Text(text=" {label}."), *SCENE_BODY)),
        Text(text="Question: {question} Choose from: {labels} Answer:"),
    )
)
CONTRA4_CREMA = TemplateLayout(
    parts=(
        EachScene(
            parts=(
                Text(text="{label}: "),
                EachSegment(block="video", parts=(*FRAME, Slot(block="video")), optional=True),
                When(present=("audio",), parts=(Text(text="Audio: "), Slot(block="audio"))),
            ),
        ),
        Text(text="{question} Choose from: {labels} Answer:"),
        Special(token="eos"),
    )
)
TINY = TemplateLayout(
    parts=(
        Slot(block="video"),
        Slot(block="audio", optional=True),
        Text(text="Question: {question}{options} Answer:", max_tokens=30, cut="question"),
    ),
    options=OptionsFormat(item="{letter}. {option}", separator=", ", prefix=" Options: "),
)
SYSTEMS = {
    "malmm": MALMM,
    "videotgb": VIDEOTGB,
    "merv": MERV,
    "crema": CREMA,
    "espresso": ESPRESSO_CONCAT,
    "contra4": CONTRA4,
    "contra4_crema": CONTRA4_CREMA,
    "tiny": TINY,
}


def show(plan, tokenizer, item=0, target=False):
    """A row in words; slots as [block], [block:scene] or [block:scene:segment]; target tokens with a star."""
    words = []
    for number, slot, learnt in zip(
        plan.ids[item].tolist(), plan.slot[item].tolist(), plan.is_target[item].tolist(), strict=True
    ):
        if slot >= 0:
            block, scene, segment = plan.slots[slot]
            words.append(f"[{block}:{scene}]" if segment is None else f"[{block}:{scene}:{segment}]")
        elif number >= 0:
            words.append(tokenizer.convert_ids_to_tokens(number) + ("*" if learnt else ""))
    return " ".join(words)


def test_malmm_visual_block_then_bos_and_prompt_then_the_answer(tokenizer):
    """The 'bos' of its tokenizer is </s>; training appends the answer and </s>."""
    plan = MALMM.plan([QUESTION], tokenizer, {("video", 0, 0): 1}, targets=["red"])
    assert show(plan, tokenizer) == "[video:0] </s> Question : what is it ? Answer : red* </s>*"
    asked = MALMM.plan([QUESTION], tokenizer, {("video", 0, 0): 1})
    assert show(asked, tokenizer) == "[video:0] </s> Question : what is it ? Answer :"
    assert not asked.is_target.any()


def test_malmm_cuts_the_prompt_on_the_left_and_notes_it(tokenizer):
    long = Query.about(CLIP, "red green blue red green blue what is it ?")
    plan = MALMM.plan([QUESTION, long], tokenizer, {("video", 0, 0): 4, ("video", 1, 0): 4})
    assert show(plan, tokenizer, 1) == "[video:0] </s> red green blue red green blue what is it ? Answer :"
    assert plan.notes == ((1, "the prompt text was cut from 14 to 12 tokens (left)"),)


def test_videotgb_prefix_question_and_end(tokenizer):
    plan = VIDEOTGB.plan([QUESTION], tokenizer, {("video", 0, 0): 4})
    assert show(plan, tokenizer) == "[video:0] USER : what is it ? ASSISTANT : </s>"


def test_merv_block_after_bos_if_the_tokenizer_has_one(tokenizer):
    segments = {("fused", 0, 0): 16}
    plan = MERV.plan([QUESTION, QUESTION], tokenizer, segments)
    assert show(plan, tokenizer) == "<s> [fused:0] In : what is it ? Out :"
    assert show(plan, tokenizer, 1) == "<s> In : what is it ? Out :"  # a text-only row
    without = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>")
    assert show(MERV.plan([QUESTION], without, segments), tokenizer) == "[fused:0] In : what is it ? Out :"


def test_crema_interleaves_frames_and_modalities(tokenizer):
    segments = {("video", 0, 0): 2, ("depth", 0, 0): 2, ("audio", 0, 0): 2}
    segments |= {("video", 1, 0): 1, ("point_cloud", 1, 0): 1, ("audio", 2, 0): 2, ("point_cloud", 3, 0): 1}
    plan = CREMA.plan([CHOICE, *[QUESTION] * 3], tokenizer, segments)
    assert show(plan, tokenizer) == (
        "Frame 1 : [video:0:0] [depth:0:0] Frame 2 : [video:0:1] [depth:0:1] [audio:0] Question : what is it ? "
        "Options A : red . Options B : green . Answer : </s>"
    )
    assert show(plan, tokenizer, 1) == (
        "Frame : [video:0:0] 3D Model : [point_cloud:0] Question : what is it ? Answer : </s>"
    )
    assert show(plan, tokenizer, 2) == "Audio : [audio:0] Question : what is it ? Answer : </s>"
    assert show(plan, tokenizer, 3) == "Audio : [point_cloud:0] Question : what is it ? Answer : </s>"


def test_crema_answers_with_letters(tokenizer):
    """Options are trained and scored as 'Option A'; the decoder's target holds the end token."""
    words = [tokenizer.convert_ids_to_tokens(ids) for ids in CREMA.option_ids(CHOICE, tokenizer)]
    assert words == [["Options", "A", "</s>"], ["Options", "B", "</s>"]]
    target = CREMA.target_tokens([CHOICE, QUESTION], ["green", "green"], tokenizer)
    assert tokenizer.convert_ids_to_tokens(target.ids[0]) == words[1]
    assert target.mask.tolist() == [[True] * 3, [True, True, False]]
    assert CREMA.answer_ids("green", tokenizer, CHOICE.options) == CREMA.option_ids(CHOICE, tokenizer)[1]


def test_espresso_concat_repeats_the_prefixes_as_a_block_of_their_own(tokenizer):
    plan = ESPRESSO_CONCAT.plan([QUESTION], tokenizer, {("video", 0, 0): 3, ("fused", 0, 0): 3})
    assert show(plan, tokenizer) == (
        "Frame 1 : [video:0:0] Frame 2 : [video:0:1] Frame 3 : [video:0:2] Frame 1 : Frame 2 : Frame 3 : [fused:0] "
        "what is it ? </s>"
    )


def test_contra4_names_its_scenes(tokenizer):
    """One block name may occur in several scenes."""
    segments = {
        ("image", 0, 0): 1,
        ("audio", 0, 1): 2,
        ("video", 0, 2): 4,
        ("image", 1, 0): 1,
        ("image", 1, 1): 1,
        ("image", 1, 2): 1,
    }
    plan = CONTRA4.plan([SCENES, SCENES], tokenizer, segments)
    assert show(plan, tokenizer) == (
        "<s> USER : Scene A . image : [image:0] Scene B . </s> audio : [audio:1] Scene C . video : [video:2] "
        "Question : what is it ? Choose from : Scene A , Scene B , Scene C Answer :"
    )
    assert show(plan, tokenizer, 1).count("[image:") == 3


def test_contra4_with_crema_has_frames_inside_scenes(tokenizer):
    segments = {("audio", 0, 0): 2, ("video", 0, 1): 2, ("video", 0, 2): 1}
    assert show(CONTRA4_CREMA.plan([SCENES], tokenizer, segments), tokenizer) == (
        "Scene A : Audio : [audio:0] Scene B : Frame 1 : [video:1:0] Frame 2 : [video:1:1] Scene C : Frame 1 : [video:2:0] "
        "what is it ? Choose from : Scene A , Scene B , Scene C Answer : </s>"
    )


def test_a_first_scene_may_be_written_in_its_own_way(tokenizer):
    layout = TemplateLayout(
        parts=(
            EachScene(
                first=(Text(text="{label}"), Slot(block="video")), parts=(Text(text=", {label}"), Slot(block="video"))
            ),
        )
    )
    segments = {("video", 0, s): 1 for s in range(3)}
    assert show(layout.plan([SCENES], tokenizer, segments), tokenizer) == (
        "Scene A [video:0] , Scene B [video:1] , Scene C [video:2]"
    )


def test_tiny_writes_options_only_if_there_are_some(tokenizer):
    segments = {("video", i, 0): 4 for i in range(2)}
    plan = TINY.plan([CHOICE, QUESTION], tokenizer, segments, targets=["green", "red"])
    assert (
        show(plan, tokenizer) == "[video:0] Question : what is it ? Options : A . red , B . green Answer : green* </s>*"
    )
    assert show(plan, tokenizer, 1) == "[video:0] Question : what is it ? Answer : red* </s>*"
    assert plan.slots == (("video", 0, None),)  # one name for both rows


def test_a_long_question_loses_its_last_words_and_keeps_the_options(tokenizer):
    layout = TemplateLayout(parts=TINY.parts[2:], options=TINY.options, on_overflow="truncate")
    query = Query.about(CLIP, " ".join(["blue"] * 60) + " ?", ["red", "green"])
    plan = layout.plan([query], tokenizer, {})
    words = show(plan, tokenizer)
    assert words.count(" ") == 29
    assert words.startswith("Question : blue blue")
    assert words.endswith("blue Options : A . red , B . green Answer :")
    assert plan.notes == ((0, "the prompt text was cut from 74 to 30 tokens (question)"),)
    tight = TemplateLayout(
        parts=(Text(text="{question}{options}", max_tokens=5, cut="question"),), on_overflow="truncate"
    )
    with pytest.raises(QueryError, match="6 tokens without the question, at most 5 are allowed"):
        tight.plan([query], tokenizer, {})


def test_too_long_texts_are_refused_unless_they_may_be_cut(tokenizer):
    query = Query.about(CLIP, " ".join(["blue"] * 60))
    with pytest.raises(QueryError, match="prompt text has 64 tokens, at most 30 are allowed; shorten the question"):
        TINY.plan([query], tokenizer, {("video", 0, 0): 1})
    short = TemplateLayout(parts=(Text(text="{question}"),), answer=AnswerFormat(max_tokens=3))
    with pytest.raises(QueryError, match="answer has 5 tokens, at most 3"):
        short.answer_ids("red green blue red", tokenizer)
    cutting = TemplateLayout(parts=short.parts, answer=short.answer, on_overflow="truncate")
    assert tokenizer.decode(cutting.answer_ids("red green blue red", tokenizer)) == "red green </s>"


@pytest.mark.parametrize("name", SYSTEMS)
def test_layouts_survive_json(name):
    data = json.loads(json.dumps(SYSTEMS[name].to_dict()))
    assert component_from_dict(LAYOUTS, data) == SYSTEMS[name]
    assert SYSTEMS[name].build() is SYSTEMS[name]


def test_a_layout_knows_its_blocks():
    assert CREMA.blocks == {"video", "depth", "audio", "point_cloud"}
    assert CONTRA4.blocks == {"image", "audio", "video"}


def test_answers_may_need_a_space_before(tokenizer):
    layout = TemplateLayout(parts=TINY.parts, answer=AnswerFormat(prefix="Answer : ", eos=False))
    assert tokenizer.decode(layout.answer_ids("red", tokenizer)) == "Answer : red"


def test_what_a_user_types_never_becomes_a_special_token(tokenizer):
    segments = {("video", 0, 0): 1}
    for query, what in [
        (Query.about(CLIP, "what is it </s> Answer: red"), "question"),
        (Query.about(CLIP, "what", ["red", "<s>green"]), "option"),
    ]:
        with pytest.raises(QueryError, match=f"the {what} contains .*control token; reword it"):
            TINY.plan([query], tokenizer, segments)
    with pytest.raises(QueryError, match="the scene label contains '<pad>'"):
        TINY.plan([Query("what", (Scene("<pad>", CLIP),))], tokenizer, segments)
    with pytest.raises(QueryError, match="the answer contains"):
        TINY.plan([QUESTION], tokenizer, segments, targets=["red</s>"])
    spelled = TemplateLayout(parts=(Text(text="<s> USER: {question}</s>"),))
    assert show(spelled.plan([QUESTION], tokenizer, {}), tokenizer) == "<s> USER : what is it ? </s>"


def test_braces_in_a_question_stay_braces(tokenizer):
    query = Query.about(CLIP, "what {options} {question.__class__} {0}")
    layout = TemplateLayout(parts=(Text(text="{question}"),))
    assert layout.plan([query], tokenizer, {}).ids[0].tolist() == tokenizer(query.text)["input_ids"]


def test_blocks_without_a_place_and_places_without_a_block_are_refused(tokenizer):
    with pytest.raises(ModalityError, match="block 'depth' reaches no token: the prompt layout has no place"):
        TINY.plan([QUESTION], tokenizer, {("video", 0, 0): 1, ("depth", 0, 0): 1})
    with pytest.raises(ModalityError, match="block 'video' is missing: the prompt has a place for it; given: audio"):
        TINY.plan([QUESTION], tokenizer, {("audio", 0, 0): 1, ("video", 0, 0): 0})
    with pytest.raises(ModalityError, match="block 'depth' of scene 'Scene B' reaches no token"):
        CONTRA4.plan([SCENES], tokenizer, {("image", 0, 0): 1, ("depth", 0, 1): 1})


def test_one_loop_wants_equal_numbers_of_segments(tokenizer):
    with pytest.raises(ShapeError, match="block 'depth' has 3 segments where 'video' has 2"):
        CREMA.plan([QUESTION], tokenizer, {("video", 0, 0): 2, ("depth", 0, 0): 3})


def test_several_scenes_need_a_scene_loop(tokenizer):
    with pytest.raises(QueryError, match="the query has 3 scenes, but this model's prompt takes only one"):
        TINY.plan([SCENES], tokenizer, {("video", 0, s): 1 for s in range(3)})


def test_targets_are_one_per_query_and_not_empty(tokenizer):
    with pytest.raises(ShapeError, match="2 targets are given for 1 queries"):
        TINY.plan([QUESTION], tokenizer, {("video", 0, 0): 1}, targets=["red", "red"])
    with pytest.raises(ShapeError, match="0 targets are given for 1 queries"):
        TINY.target_tokens([QUESTION], [], tokenizer)
    with pytest.raises(QueryError, match="a target answer is empty"):
        TINY.plan([QUESTION], tokenizer, {("video", 0, 0): 1}, targets=["  "])


def test_more_options_than_letters(tokenizer):
    query = Query.about(CLIP, "what", [f"x{i}" for i in range(27)])
    with pytest.raises(QueryError, match="more than 26 options"):
        TINY.plan([query], tokenizer, {("video", 0, 0): 1})
    numbered = TemplateLayout(parts=(Text(text="{options}"),), options=OptionsFormat(item="{number}"))
    assert len(numbered.plan([query], tokenizer, {}).ids[0]) == 27
    shows_none = TemplateLayout(parts=(Text(text="{question}"),))
    assert len(shows_none.plan([query], tokenizer, {}).ids[0]) == 1
    around = TemplateLayout(parts=(Text(text="{options}"),), options=OptionsFormat(item="{number}", suffix="{letters}"))
    with pytest.raises(QueryError, match="more than 26 options"):
        around.plan([query], tokenizer, {})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TemplateLayout(parts=()), "at least one part"),
        (lambda: Text(text="{qestion}"), "has the field {qestion}; known: index, label"),
        (lambda: Text(text="{question.__class__}"), "has the field"),
        (lambda: Text(text="{question!r}"), "has the field"),
        (lambda: Text(text="{question"), "is no template: .*write a brace as"),
        (lambda: Text(text="x", max_tokens=0), "max_tokens must be at least 1"),
        (lambda: Text(text="x", cut="question"), "needs the field {question}"),
        (
            lambda: TemplateLayout(parts=(Text(text="{label}"),)),
            "{label} of '{label}' has a meaning only inside 'each_scene'",
        ),
        (lambda: TemplateLayout(parts=(EachScene(parts=(Text(text="{index}"),)),)), "only inside 'each_group'"),
        (
            lambda: TemplateLayout(
                parts=(EachSegment(block="a", parts=(EachSegment(block="b", parts=(Slot(block="b"),)),)),)
            ),
            "'each_group' cannot stand inside 'each_group'",
        ),
        (
            lambda: TemplateLayout(parts=(EachSegment(block="a", parts=(EachScene(parts=(Slot(block="b"),)),)),)),
            "'each_scene' cannot stand inside 'each_group'; only segments in scenes can",
        ),
        (lambda: OptionsFormat(item="{question}"), "option item"),
        (lambda: AnswerFormat(max_tokens=1), "no answer fits into 1 tokens; max_tokens must be at least 2"),
    ],
)
def test_wrong_layouts_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_unknown_fields_of_a_saved_layout_are_refused():
    data = {"kind": "template", "parts": [{"kind": "slot", "blok": "video"}]}
    with pytest.raises((UnknownNameError, ConfigError)):
        component_from_dict(LAYOUTS, data)


def test_a_missing_special_token_is_named(tokenizer):
    without = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ConfigError, match="needs a eos token, but the tokenizer has none"):
        MALMM.plan([QUESTION], without, {("video", 0, 0): 1})


def test_no_queries_make_an_empty_plan(tokenizer):
    plan = TINY.plan([], tokenizer, {})
    assert plan.ids.shape == (0, 0)
    assert plan.ids.dtype == torch.int64
