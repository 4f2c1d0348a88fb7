"""MERV's prompts, training texts, choices, frames, judge, chunks, batches and learning rates against its original code."""

import json
from dataclasses import replace

import pytest
import torch
from goldens import golden_files, golden_folder, load_only
from safetensors import safe_open
from transformers import PreTrainedTokenizerFast

from vidweave.evaluation.chunks import contiguous_chunks
from vidweave.evaluation.judge import batch_request, parse_verdict, summarize_verdicts
from vidweave.language.chat import LLAMA2_BASE, LLAMA2_CHAT, LLAMA3_CHAT, QWEN_CHAT, VICUNA_CHAT
from vidweave.language.conversation import plan_captions, plan_conversations, plan_turns
from vidweave.media.plan import spread
from vidweave.model.collate import collate_stream
from vidweave.model.gather import StreamRow
from vidweave.systems.merv.choices import gold_letter, is_right, naive_question
from vidweave.systems.merv.frames import clip_frames, strides
from vidweave.training.schedule import Schedule
from vidweave.training.split_modality import split_modality_batches

SYSTEM = "merv"
COVERED = (
    "chunks*", "collator*", "enc_*", "forward_*", "frames*", "fuse_*", "judge_batch*", "languagebind_*", "lr_schedule*",
    "mcq_naive*", "pool_*", "posembed_*", "proj_*", "prompts*", "split_modality_sampler*", "tiny_tokenizer*",
    "tokenised_examples*",
)  # fmt: skip
# The originals take only `<image>` out of questions, or nothing; and one has a typing error in its system tag.
TYPO = LLAMA2_CHAT.first.replace("<<SYS>>", "<<SYS>")
ORIGINALS = {
    "PurePromptBuilder": replace(LLAMA2_BASE, placeholders=("<image>",)),
    "LLaMa2ChatPromptBuilder": replace(LLAMA2_CHAT, placeholders=("<image>",), first=TYPO),
    "VicunaV15ChatPromptBuilder": replace(VICUNA_CHAT, placeholders=("<image>",)),
    "LLaMa31PromptBuilder": replace(LLAMA3_CHAT, placeholders=()),
    "Qwen2PromptBuilder": replace(QWEN_CHAT, placeholders=()),
}


def read(pattern):
    (file,) = golden_files(SYSTEM, pattern)
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_file_is_covered():
    covered = {file for pattern in COVERED for file in golden_files(SYSTEM, pattern)}
    files = {file for file in golden_folder(SYSTEM).iterdir() if file.suffix in (".json", ".safetensors")}
    assert files == covered


def test_prompts():
    for case in read("prompts*.json"):
        chat = ORIGINALS[case["builder"]]
        messages = [message for _, message in case["turns"]]
        assert chat.prompt(messages) == case["get_prompt"]
        pieces = chat.pieces(messages)
        # the originals leave the system's turn out of what they train on, and begin one format with a second begin token
        start = chat.start.replace("{system}", chat.system)
        pieces[0] = pieces[0].removeprefix(start)
        assert pieces == [*[case["returned_per_turn"][0].removeprefix("<s>")], *case["returned_per_turn"][1:]]


def tokenizer():
    (file,) = golden_files(SYSTEM, "tiny_tokenizer*.json")
    facts = read("tokenised_examples*.json")
    made = PreTrainedTokenizerFast(tokenizer_file=str(file))
    names = {name: made.convert_ids_to_tokens(facts[name]) for name in ("bos", "eos", "pad")}
    made.add_special_tokens({f"{name}_token": token for name, token in names.items()})
    return made


def test_training_texts():
    facts, words = read("tokenised_examples*.json"), tokenizer()
    for case in facts["examples"]:
        messages = [turn["value"] for turn in case["example"]["conversations"]]
        most = facts["model_max_length"]
        if case["dataset"] == "align":
            plan = plan_captions(messages[1:], words, ["video"], max_tokens=most)
        else:
            chat = ORIGINALS[case["builder"]]
            doubled = case["input_ids"][:2] == [facts["bos"]] * 2  # a begin token as text behind the tokenizer's own
            chat = replace(chat, first="<s>" + chat.first) if doubled else chat
            plan = plan_conversations([messages], words, chat, ["video"], max_tokens=most)
        ids, slot, target = plan.ids[0], plan.slot[0], plan.is_target[0]
        assert slot.tolist() == [-1, 0, *[-1] * (len(ids) - 2)]  # behind the begin token
        text = slot < 0
        assert ids[text].tolist() == case["input_ids"]
        assert torch.where(target, ids, -100)[text].tolist() == case["labels"]


def test_collator():
    """Padding, cutting and labels; clips only for those that have some, instead of blank clips for the others."""
    case = load_only(SYSTEM, "collator*.safetensors")
    (file,) = golden_files(SYSTEM, "collator*.safetensors")
    with safe_open(file, "pt") as opened:
        config = json.loads(opened.metadata()["config"])
    numbers = sorted({int(key.split(".")[1]) for key in case if key.startswith("in.")})
    rows = [[([i], bool(label != -100)) for i, label in _pairs(case, n)] for n in numbers]
    plan = plan_turns(rows, [], [None] * len(rows), max_tokens=config["model_max_length"])
    mask = plan.ids >= 0
    assert torch.equal(mask, case["out.attention_mask"].bool())
    assert torch.equal(plan.ids.masked_fill(~mask, config["pad_token_id"]), case["out.input_ids"])
    assert torch.equal(torch.where(plan.is_target, plan.ids, -100), case["out.labels"])
    seen = case["out.multimodal_indices"].tolist()
    for stream in (key.removeprefix("out.") for key in case if key.startswith("out.video")):
        have = [n for n in numbers if f"in.{n}.{stream}" in case]
        assert have == seen
        made = collate_stream(
            stream,
            [(n, 0, StreamRow("video", torch.zeros(1, 2), values=case[f"in.{n}.{stream}"][None])) for n in have],
        )
        assert made.item.tolist() == seen
        assert torch.equal(made.values[:, 0], case[f"out.{stream}"][seen])
        others = [n for n in numbers if n not in seen]
        assert not case[f"out.{stream}"][others].any()


def _pairs(case, number):
    return zip(case[f"in.{number}.input_ids"].tolist(), case[f"in.{number}.labels"].tolist(), strict=True)


def test_choices():
    data = read("mcq_naive*.json")
    right = []
    for case in data["cases"]:
        sample, answer = case["sample"], case["answer"]["answer_id"]
        assert naive_question(sample["question"], sample["options"][: sample["num_option"]]) == case["prompt"]
        assert gold_letter(answer) == case["answer_char"]
        right.append(is_right(case["pred"], case["answer_char"]))
        assert right[-1] == case["correct"]
    assert sum(right) / len(right) == pytest.approx(data["accuracy"])


def test_frames():
    data = read("frames*.json")
    for case in data["load_video"]:
        nan = float("nan")
        times = (nan, nan) if case["nan_times"] else (case.get("clip_start_sec"), case.get("clip_end_sec"))
        got = clip_frames(
            case["num_video_frames"], case["fps"], case["num_frames"],
            start_seconds=times[0], end_seconds=times[1], end_frame=case.get("end_frame", -1),
        )  # fmt: skip
        assert got.tolist() == case["indices"]
        if not {"clip_start_sec", "end_frame"} & case.keys():
            assert spread(case["num_frames"], case["num_video_frames"], "truncate").tolist() == case["indices"]
    every = data["per_encoder_stride"]
    most = max(every["num_frames"])
    got = strides({str(i): n for i, n in enumerate(every["num_frames"])})
    assert list(got.values()) == every["strides"]
    assert [list(range(0, most, stride)) for stride in got.values()] == every["positions"]


def test_judge():
    """Requests byte for byte; replies by the original's strict rule, missing ones included."""
    data = read("judge_batch*.json")
    rows = data["qa"]
    assert [batch_request(id, row["q"], row["a"], row["pred"]) for id, row in rows.items()] == data["requests"]
    verdicts = {id: parse_verdict(data["replies"].get(id)) for id in rows}
    assert {id: {"pred": v.pred, "score": v.score} for id, v in verdicts.items()} == data["parsed"]
    summary = summarize_verdicts(verdicts.values())
    assert summary == pytest.approx({"accuracy": data["accuracy"], "score": data["average_score"]})


def test_chunks():
    for case in read("chunks*.json"):
        assert contiguous_chunks(range(case["n_items"]), case["num_chunks"]) == case["chunks"]


def test_batches_of_one_modality():
    for case in read("split_modality_sampler*.json"):
        is_multimodal, lengths = zip(*case["modality_lengths"], strict=True)
        for epoch, expected in case["per_epoch_per_rank_indices"].items():
            batches = split_modality_batches(
                lengths, is_multimodal, batch_size=case["global_batch_size"], world_size=case["num_replicas"],
                seed=case["seed"], epoch=int(epoch),
            )  # fmt: skip
            ranks = [[i for batch in batches for i in batch[rank]] for rank in range(case["num_replicas"])]
            assert ranks == expected


def test_learning_rates():
    for case in read("lr_schedule*.json"):
        steps = -(-case["n_examples"] // case["global_batch"]) * case["epochs"]
        assert steps == case["total_steps"]
        schedule = Schedule("warmup_cosine", warmup_steps=int(case["warmup_ratio"] * steps))
        assert schedule.warmup_steps == case["warmup_steps"]
        got = [case["peak_lr"] * schedule.factor(step, step / steps) for step in range(steps)]
        assert got == pytest.approx(case["lr_applied_at_each_step"], rel=1e-6, abs=1e-12)
