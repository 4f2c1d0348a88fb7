from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vidweave.errors import ConfigError, QueryError
from vidweave.language.chat import (
    CHAT_FORMATS,
    LLAMA2_BASE,
    LLAMA2_CHAT,
    LLAMA3_CHAT,
    QWEN_CHAT,
    VICUNA_CHAT,
    ChatFormat,
    chat_format,
)
from vidweave.language.conversation import plan_captions, plan_conversations
from vidweave.language.layout import AnswerFormat, OptionsFormat, Slot, TemplateLayout, Text, TurnFormat
from vidweave.types import Clip, Query

WORDS = "In Out : USER ASSISTANT What is it red a cup Where ? </s> user assistant system b h".split()
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|begin|>", "<|start_header_id|>", "<|end_header_id|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "<|begin|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def tokenizer(template=None, bos=None, eos="<|im_end|>"):
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", bos_token=bos, eos_token=eos, additional_special_tokens=SPECIAL
    )
    made.chat_template = template
    return made


TALK = ["<image>\nWhat is it?", "a red cup", "Where?", "b"]


def test_a_prompt_is_the_beginning_of_its_training_text():
    for chat in CHAT_FORMATS.values():
        pieces = chat.pieces(TALK)
        for asked in (1, 3):
            assert "".join(pieces[:asked]).startswith(chat.prompt(TALK[:asked]))
        assert "<image>" not in "".join(pieces)
        assert chat.pieces(["<video> go"])[0].endswith(chat.pieces(["go"])[0])


@pytest.mark.parametrize(
    ("template", "bos", "ours"),
    [(CHATML, None, QWEN_CHAT), (HEADERS, "<|begin|>", LLAMA3_CHAT)],
    ids=["qwen", "llama3"],
)
def test_the_tokenizers_own_template_decides(template, bos, ours):
    words = tokenizer(template, bos)
    own = chat_format(words)
    messages = [{"role": "system", "content": own.system}]
    messages += [
        {"role": role, "content": text} for role, text in zip(["user", "assistant", "user"], "bhb", strict=True)
    ]
    expected = words.apply_chat_template(messages, tokenize=False, add_generation_prompt=True).removeprefix(bos or "")
    assert own.prompt(["b", "h", "b"]) == expected
    assert own.prompt(["b"]) == ours.prompt(["b"])
    assert own.end == ours.end


def test_templates_that_cannot_be_taken_apart():
    with pytest.raises(ConfigError, match="the tokenizer has no chat template; take one of llama2-base"):
        chat_format(tokenizer())
    with pytest.raises(ConfigError, match="leaves the system's words out"):
        chat_format(tokenizer(CHATML.replace("messages", "messages[1:]", 1)))


ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m.role == 'user' %}<|im_start|>{{ m.content }}<|im_start|>{% else %}{{ m.content }}<|im_end|>{% endif %}"
    "{% endfor %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)


@pytest.mark.parametrize("template", [ALTERNATING, NO_SYSTEM], ids=["alternating", "no-system"])
def test_a_template_without_a_turn_of_the_systems_gets_its_words_first(template):
    words = tokenizer(template)
    own = chat_format(words, "You see.")
    turns = [("user", "You see.\n\nb"), ("assistant", "h"), ("user", "b")]
    messages = [{"role": role, "content": text} for role, text in turns]
    assert own.prompt(["b", "h", "b"]) == words.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert own.system == "You see."
    assert own.end == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no talk\ntoday') }}", r"refuses a conversation \(no talk today\); take one of llama2"),
        ("{% for m in messages %}{{ m.content.nothing.here }}{% endfor %}", "refuses a conversation"),
        ("{% for m in %}", "refuses a conversation"),
    ],
)
def test_a_template_that_fails_says_why(template, reason):
    with pytest.raises(ConfigError, match=reason):
        chat_format(tokenizer(template))


def test_layout_puts_the_clip_behind_the_begin_token():
    for chat, bos in (
        (LLAMA2_BASE, "<|begin|>"),
        (QWEN_CHAT, None),
        (LLAMA2_CHAT, "<|begin|>"),
        (VICUNA_CHAT, "<|begin|>"),
    ):
        words = tokenizer(bos=bos)
        layout = chat.layout("clip")
        plan = layout.plan([Query.about(Clip("c"), "What is it?")], words, {("clip", 0, 0): 1}, ["red"])
        where = int((plan.slot[0] >= 0).nonzero()[0])
        assert where == (0 if bos is None else 1)
        text = plan.ids[0][(plan.ids[0] >= 0) & ~plan.is_target[0]][where:].tolist()
        assert text == words(chat.prompt(["What is it?"]), add_special_tokens=False)["input_ids"]
        assert plan.ids[0][plan.is_target[0]][-1] == words.eos_token_id


def test_training_equals_asking():
    """The ids of a one-turn conversation are those of the layout with the answer as target."""
    for chat, words in ((LLAMA2_BASE, tokenizer(bos="<|begin|>", eos="<|eot_id|>")), (QWEN_CHAT, tokenizer())):
        trained = plan_conversations([["What is it?", "red"]], words, chat, ["video"])
        asked = chat.layout().plan([Query.about(Clip("c"), "What is it?")], words, {("video", 0, 0): 1}, ["red"])
        assert torch.equal(trained.ids, asked.ids)
        assert torch.equal(trained.is_target, asked.is_target)
        assert trained.slots == asked.slots


def test_a_tokenizer_without_the_end_token_uses_its_own():
    words = tokenizer(bos="<|begin|>", eos="<|eot_id|>")
    plan = plan_conversations([["What is it?", "red"]], words, LLAMA2_BASE, [None])
    assert plan.ids[0][-1] == words.eos_token_id
    assert "<|begin|>" in LLAMA2_CHAT.spelled_for(words).pieces(TALK)[2]


def test_captions_are_targets_as_a_whole():
    words = tokenizer()
    plan = plan_captions([" a red cup "], words, ["video"])
    assert plan.slot[0].tolist() == [0, -1, -1, -1, -1]
    assert plan.is_target[0].tolist() == [False, True, True, True, True]


def test_messages_are_text_whatever_they_hold():
    assert "{system} {x}" in VICUNA_CHAT.prompt(["{system} {x}"])
    own = ChatFormat(human="Q {message} {not a field} A ")
    assert own.layout().parts[2].text == "Q {question}{options} {{not a field}} A"


def test_faults():
    words = tokenizer()
    with pytest.raises(QueryError, match="at least one message"):
        LLAMA2_BASE.prompt([])
    with pytest.raises(QueryError, match="must end with an answer, got 1 messages"):
        plan_conversations([["What?"]], words, QWEN_CHAT, [None])
    with pytest.raises(QueryError, match="2 blocks are given for 1 texts"):
        plan_captions(["red"], words, [None, None])


HISTORY = (("What is it?", "a red cup"), ("Where?", "b"))


def _asked(layout, words, history=HISTORY, question="Where is it?"):
    query = Query.about(Clip("c"), question)
    plan = layout.plan([replace(query, history=history)], words, {("video", 0, 0): 1})
    return plan.ids[0][plan.slot[0] < 0].tolist()


@pytest.mark.parametrize("template", [CHATML, HEADERS], ids=["qwen", "llama3"])
def test_a_chat_of_several_turns_is_what_the_tokenizers_template_writes(template):
    words = tokenizer(template, bos="<|begin|>" if template is HEADERS else None)
    turns = [{"role": "system", "content": "You see."}]
    for question, answer in HISTORY:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    turns.append({"role": "user", "content": "Where is it?"})
    whole = words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert _asked(chat_format(words, "You see.").layout(), words) == words(whole, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", sorted(CHAT_FORMATS))
@pytest.mark.parametrize("bos", ["<|begin|>", None])
def test_a_chat_of_several_turns_is_asked_as_it_is_trained(name, bos):
    chat, words = CHAT_FORMATS[name], tokenizer(bos=bos)
    texts = [text for turn in HISTORY for text in turn] + ["Where is it?", "red"]
    trained = plan_conversations([texts], words, chat, ["video"])
    ids, is_target = trained.ids[0], trained.is_target[0]
    last = max(i for i in range(1, len(ids)) if is_target[i] and not is_target[i - 1])
    assert _asked(chat.layout(), words) == [i for i in ids[:last].tolist() if i >= 0]
    assert _asked(chat.layout(), words, history=()) != _asked(chat.layout(), words)


def test_a_turn_without_its_question_is_refused():
    with pytest.raises(ConfigError, match=r"a turn needs the field \{question\}, but its text is 'USER:'"):
        TurnFormat(text="USER:", end="</s>")
    with pytest.raises(ConfigError, match=r"turn '\{question\} \{label\}' has the field \{label\}"):
        TurnFormat(text="{question} {label}", end="</s>")


def test_braces_in_a_later_question_stay_as_they_are():
    words = tokenizer(CHATML)
    chat = ChatFormat(human="<|im_start|>{a} {message}", answer="{message}<|im_end|>", end="<|im_end|>")
    assert chat.layout().turn.text == "<|im_start|>{{a}} {question}{options}"
    assert _asked(chat.layout(), words, question="{b} it")[-4:] == words("{b} it")["input_ids"][-4:]


def test_a_begin_token_that_opens_every_turn_is_written_once():
    words = tokenizer(CHATML, bos="<|im_start|>")
    query = Query.about(Clip("a.mp4"), "What is it?")
    for own in (chat_format(words, "b"), replace(QWEN_CHAT, system="b")):
        plan = own.layout().plan([query], words, {("video", 0, 0): 1})
        written = words.convert_ids_to_tokens([i for i in plan.ids[0].tolist() if i >= 0])
        assert written.count("<|im_start|>") == 3  # system, user, assistant
        assert plan.slot[0].tolist()[0] == 0  # the block stands before all words


def test_blocks_may_stand_inside_the_first_turn():
    words = tokenizer(CHATML, bos="<|im_start|>")
    query = Query.about(Clip("a.mp4"), "What is it?", ["a cup", "red"])
    own = chat_format(words, None)
    layout = own.turn_layout([Slot(block="video")], words, OptionsFormat(prefix=" "), AnswerFormat(option="{letter}"))
    plan = layout.plan([query], words, {("video", 0, 0): 1})
    position = plan.slot[0].tolist().index(0)
    before, after = plan.ids[0][:position].tolist(), plan.ids[0][position + 1 :].tolist()
    message = "What is it? A. a cup B. red"
    whole = words.apply_chat_template([{"role": "user", "content": message}], add_generation_prompt=True)["input_ids"]
    assert before + after == whole
    assert layout.option_ids(query, words)[0][-1] == words.convert_tokens_to_ids("<|im_end|>")


def test_an_end_token_that_is_no_single_token_is_reported():
    layout = TemplateLayout(parts=(Text(text="{question}"),), answer=AnswerFormat(end="b h"))
    with pytest.raises(ConfigError, match="reads as 2 tokens"):
        layout.answer_ids("a", tokenizer())
