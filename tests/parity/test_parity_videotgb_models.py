"""VideoTGB's whole models against recorded outputs: joint training, the fixed-sampler stage, evaluation."""

import json
from functools import cache

import pytest
import torch
from goldens import WordsOfNumbers, close, golden_files, load, load_only
from videotgb_cases import SYSTEM, below, motion_of, steps_mask

from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.evaluation.overlap import unigram_recall
from vidweave.language.causal import CausalConfig
from vidweave.language.layout import AnswerFormat, Slot, TemplateLayout, Text
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.nn.score_span import frame_to_step, largest_rectangle
from vidweave.nn.span_rounding import round_spans
from vidweave.nn.span_selection import span_loss
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.systems.videotgb.preset import videotgb
from vidweave.systems.videotgb.released import form_of, to_ours
from vidweave.types import Clip, ModelInputs, MotionSpec, Query, StreamInputs, TextSpec, TextTokens

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
HEADS = 2  # of tower, Q-Former and language model: weights do not tell it, the README does
FAMILIES = sorted(file.stem.removeprefix("sf_train_") for file in golden_files(SYSTEM, "sf_train_*.safetensors"))
# Of the code path behind the recorded training: rounding of spans, and whether the smallest score is taken off first
TRAINING = {"blip2": ("ends_inclusive", True), "instructblip": ("ends", False)}
EVALUATION = {"blip2": ("ends", "fusion"), "instructblip": ("share", "multi_modal")}


def layers_in(state, prefix):
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def vision_config(state):
    hidden = state["model.vision_model.embeddings.class_embedding"].shape[-1]
    patch = state["model.vision_model.embeddings.patch_embedding.weight"].shape[-1]
    positions = state["model.vision_model.embeddings.position_embedding"].shape[1]
    return {
        "model_type": "blip_2_vision_model",
        "hidden_size": hidden,
        "intermediate_size": len(state["model.vision_model.encoder.layers.0.mlp.fc1.bias"]),
        "num_hidden_layers": layers_in(state, "model.vision_model.encoder.layers."),
        "num_attention_heads": HEADS,
        "image_size": patch * int((positions - 1) ** 0.5),
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
    }


def qformer_config(state, form):
    crossed = sorted({int(key.split(".")[4]) for key in state if ".qformer." in key and "crossattention" in key})
    layers = layers_in(state, "model.qformer.encoder.layer.")
    text = {}
    if form == "instructblip":
        words, places = (state[f"model.qformer.embeddings.{n}_embeddings.weight"] for n in ("word", "position"))
        spec = TextSpec(tokenizer="qformer", max_tokens=len(places))
        text = {"vocab_size": len(words), "max_positions": len(places), "text_spec": spec}
    return QFormerConfig(
        hidden=state["model.query_tokens"].shape[2],
        layers=layers,
        heads=HEADS,
        intermediate=len(state["model.qformer.encoder.layer.0.intermediate_query.dense.bias"]),
        cross_attention_frequency=crossed[1] if len(crossed) > 1 else layers,
        encoder_width=state["model.qformer.encoder.layer.0.crossattention.attention.key.weight"].shape[1],
        **text,
    )


def language_config(state, form):
    if form == "instructblip":
        vocabulary, hidden = state["model.language_model.model.embed_tokens.weight"].shape
        sizes = {
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "intermediate_size": len(state["model.language_model.model.layers.0.mlp.up_proj.weight"]),
            "num_hidden_layers": layers_in(state, "model.language_model.model.layers."),
            "num_attention_heads": HEADS,
            "rms_norm_eps": 1e-6,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        return CausalConfig(config=sizes)
    first = "model.language_model.encoder.block.0.layer."
    vocabulary, width = state["model.language_model.shared.weight"].shape
    buckets, heads = state[f"{first}0.SelfAttention.relative_attention_bias.weight"].shape
    sizes = {
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": len(state[f"{first}0.SelfAttention.q.weight"]) // heads,
        "d_ff": len(state[f"{first}1.DenseReluDense.wi_0.weight"]),
        "num_layers": layers_in(state, "model.language_model.encoder.block."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
    return Seq2SeqConfig(config=sizes)


def selector_config(state, mode):
    positions, width = state["temporal_encoder.encoder.embed_positions.weight"].shape
    vocabulary, hidden = state["temporal_encoder.embeddings.word_embeddings.weight"].shape
    projection = state["temporal_encoder.temporal_embeddings.projection.weight"]
    fused = {int(k.split(".")[3]) for k in state if k.startswith("temporal_encoder.encoder.") and "crossatt" in k}
    return GroundingSelectorConfig(
        hidden=hidden,
        layers=layers_in(state, "temporal_encoder.encoder.layer."),
        fusion_layer=min(fused),
        heads=hidden // width,
        intermediate=len(state["temporal_encoder.encoder.layer.0.intermediate.dense.bias"]),
        vocab_size=vocabulary,
        max_positions=positions,
        motion_width=projection[0].numel(),
        num_patches=state["temporal_encoder.temporal_embeddings.fc.weight"].numel(),
        mode=mode,
        rope="stored",
        position="absolute+rope",
        cross_position="both",
        text_spec=TextSpec(tokenizer="selector", max_tokens=positions),
    )


@cache
def build(family, pooling, mode="fusion"):
    """The model of a recorded case, through the same code as the released files, and the case."""
    case = load_only(SYSTEM, f"sf_train_{family}*.safetensors")
    state = below(case, "w.")
    form = form_of(state)
    patch = state["temporal_encoder.temporal_embeddings.projection.weight"].shape[-1]
    side = len(case["in.flow_row"])
    maps = MotionSpec(source="motion_vectors", fps=2, height=side, width=side, normalize="clip_max")
    config = videotgb(
        name=family,
        vision=vision_config(state),
        qformer=qformer_config(state, form),
        num_query_tokens=state["model.query_tokens"].shape[1],
        language_model=language_config(state, form),
        selector=selector_config(state, mode),
        motion=MotionEncoderConfig(height=side, width=side, patch=patch, specs={"video": maps}),
        pooling=pooling,
        num_frames=int(case["in.nframe"]),
    )
    released = to_ours(state, has_raft=False, pooled=False)
    with torch.device("meta"):
        tied = VideoLanguageModel(config).all_tied_weights_keys
    ours = {key: lazy.make() for key, lazy in released.tensors.items() if key not in tied}
    return VideoLanguageModel.from_state(config, ours).eval(), case, form


LAYOUT = TemplateLayout(parts=(Slot(block="video"), Text(text="{question}")), answer=AnswerFormat(eos=False))


def words(ids, mask, start=0):
    return [" ".join(map(str, row[keep.bool()][start:].tolist())) for row, keep in zip(ids, mask, strict=True)]


def inputs_of(model, case, frames, rows=None, with_answers=True):
    """`frames`: one tensor (T, 3, H, W) per row."""
    rows = list(range(len(frames))) if rows is None else rows
    lengths = torch.tensor([len(clip) for clip in frames])
    values = torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=True)[:, :, None]
    mask = torch.arange(values.shape[1]) < lengths[:, None]
    item = torch.arange(len(rows))
    starts = torch.arange(values.shape[1]).expand(len(rows), -1).float()
    seconds = torch.stack([starts, starts + 1], -1)
    stream = StreamInputs(values, mask, seconds, item, torch.zeros_like(item), "video")

    def text(name):
        return case[f"in.{name}"][rows], case[f"in.{name}_attention_mask"][rows]

    queries = [Query.about(Clip("clip.mp4"), prompt) for prompt in words(*text("question"))]
    pooled = model.spec.connector.fusion.kind == "mean"
    segments = {("video", index, 0): 1 if pooled else int(n) for index, n in enumerate(lengths)}
    answer, answer_mask = text("answer")
    causal = model.spec.language_model.kind == "causal"
    targets = words(answer, answer_mask, 1) if causal and with_answers else None
    plan = LAYOUT.plan(queries, WordsOfNumbers(-7), segments, targets)
    target = TextTokens(answer, answer_mask.bool()) if with_answers and not causal else None
    trunk = TextTokens(*(part for part in (text("qformer_text")[0], text("qformer_text")[1].bool())))
    pairs = tuple((int(index), 0) for index in item)
    return ModelInputs(
        {"video": stream}, {"trunk": trunk} if "trunk" in model.spec.text else {}, plan, len(rows), pairs, target
    )


def check_answers(model, case, inputs):
    """Loss, and the logits of everything that is no padding."""
    with torch.no_grad():
        close(model(inputs).loss, case["out.loss"], **CLOSE)
        embeds, _ = model.embed(inputs)
        language = model.language_model
        if inputs.target is not None:
            logits = language._decode(language._encode(embeds), embeds.mask, inputs.target.ids)
            real = inputs.target.mask
            close(logits[real], case["out.logits"][real], **CLOSE)
            return
        logits = language._read(embeds, use_cache=False).logits
    for row, mask in enumerate(embeds.mask):
        close(logits[row][mask], case["out.logits"][row][: int(mask.sum())], **CLOSE)


def drawn(logits, noise, rows):
    """Spans (R, m, 2) that the recorded noise draws, start and end each alone, padding included."""
    start = (logits[None, ..., 0] + noise[:, :rows]).argmax(-1)
    end = (logits[None, ..., 1] + noise[:, rows:]).argmax(-1)
    return torch.stack([start, end], -1).transpose(0, 1).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_joint_training(family):
    model, case, form = build(family, "concat")
    motion, mask = motion_of(case), steps_mask(case["in.of_mask"])
    ids, ids_mask = case["in.sampler_question"], case["in.sampler_question_attention_mask"]
    with torch.no_grad():
        logits = model.selector.bridge(motion, mask, ids, ids_mask)
    close(logits, case["out.span_logits"], **CLOSE)

    rounding, subtract = TRAINING[form]
    rows, k = len(mask), int(case["in.nframe"])
    count = len(case["in.frames"]) // rows
    lengths = case["in.of_lengths"].tolist()
    spans = drawn(logits, case["in.gumbel"], rows)
    chosen = [
        round_spans(spans[row], num_steps=lengths[row], num_frames=count, k=k, rounding=rounding) for row in range(rows)
    ]
    assert chosen == case["out.selected_frames"].tolist()

    targets = []
    for row, scores in enumerate(case["out.frame_scores"]):
        given = (scores - scores.min() if subtract else scores).tolist()
        targets.append([frame_to_step(place, count, lengths[row]) for place in largest_rectangle(given)])
    starts, ends = torch.tensor(targets).unbind(1)
    close(span_loss(logits, starts, ends), case["out.mrc_loss"], **CLOSE)

    frames = case["in.frames"].unflatten(0, (rows, count))
    check_answers(
        model, case, inputs_of(model, case, [clip[index] for clip, index in zip(frames, chosen, strict=True)])
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_scores_of_single_frames(family):
    model, case, _ = build(family, "concat")
    (file,) = golden_files(SYSTEM, "sf_train_strings*.json")
    info = json.loads(file.read_text())[f"sf_train_{family}"]
    rows = len(case["in.of_lengths"])
    count = len(case["in.frames"]) // rows
    each = [row for row in range(rows) for _ in range(count)]
    inputs = inputs_of(model, case, list(case["in.frames"][:, None]), each, with_answers=False)
    with torch.no_grad():
        ids = model.generate(inputs, max_new_tokens=127)
    texts = [" ".join(f"w{token}" for token in row if token >= 3) for row in ids.tolist()]
    assert texts == info["frame_predictions"]
    # the original's list form divides by the number of pairs
    scores = [unigram_recall(info["text_answer"][r], text) / len(texts) for r, text in zip(each, texts, strict=True)]
    close(torch.tensor(scores).view(rows, count), case["out.frame_scores"], **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_sampler_stage(family):
    model, _, form = build(family, "mean")
    case = load_only(SYSTEM, f"iv_train_{family}*.safetensors")
    frames = case["in.frames"].split(case["in.widths"].tolist())
    check_answers(model, case, inputs_of(model, case, frames))
    length = case["out.generated"].shape[1]
    with torch.no_grad():
        ids = model.generate(inputs_of(model, case, frames, with_answers=False), max_new_tokens=length - 1)
    assert_generated(ids, case["out.generated"], form)


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation(family):
    form = build(family, "mean")[2]
    rounding, mode = EVALUATION[form]
    model, weights, _ = build(family, "mean", mode)
    case = load_only(SYSTEM, f"infer_{family}*.safetensors")
    motion = motion_of(weights)[:1]
    motion = torch.cat([motion, motion[:, -1:]], 1)  # the evaluation code repeats the last map
    mask = torch.ones(motion.shape[:2], dtype=torch.bool)
    ids, ids_mask = (weights[f"in.sampler_question{end}"][:1] for end in ("", "_attention_mask"))
    with torch.no_grad():
        logits = model.selector.bridge(motion, mask, ids, ids_mask)
    frames = weights["in.frames"].unflatten(0, (len(weights["in.of_lengths"]), -1))[0]
    (spans,) = drawn(logits, case["in.gumbel"], 1)
    k = len(case["out.selected_frames"])
    chosen = round_spans(spans, num_steps=mask.shape[1], num_frames=len(frames), k=k, rounding=rounding)
    assert chosen == case["out.selected_frames"].tolist()
    length = case["out.generated"].shape[1]
    with torch.no_grad():
        ids = model.generate(
            inputs_of(model, weights, [frames[chosen]], [0], with_answers=False), max_new_tokens=length - 1
        )
    assert_generated(ids, case["out.generated"], form)


def assert_generated(ids, recorded, form):
    """Recorded rows begin with the start token, and go on after an end token with padding.

    The original's InstructBLIP writes every 0 as 2 (its Vicuna has no token 0), those in mid-answer too.
    """
    if form == "instructblip":
        ids, recorded = (torch.where(rows == 0, 2, rows) for rows in (ids, recorded))
    for row, expected in zip(ids.tolist(), recorded[:, 1:].tolist(), strict=True):
        assert row[: len(expected)] == expected[: len(row)]
        assert len(row) >= len(expected) or set(expected[len(row) :]) <= {0, 1, 2}


def test_question_and_answer_become_one_sequence():
    case = load_only(SYSTEM, "concat_text*.safetensors")
    for row, (merged, mask, labels) in enumerate(
        zip(case["merged_ids"], case["merged_mask"], case["labels"], strict=True)
    ):
        question, answer = (
            case[f"{name}_ids"][row][case[f"{name}_mask"][row].bool()] for name in ("question", "answer")
        )
        text = " ".join(map(str, question.tolist()))
        query = Query.about(Clip("clip.mp4"), text)
        layout = TemplateLayout(parts=(Text(text="{question}"),), answer=AnswerFormat(eos=False))
        plan = layout.plan([query], WordsOfNumbers(-7), {}, [" ".join(map(str, answer[1:].tolist()))])
        assert plan.ids[0].tolist() == merged[mask.bool()].tolist()
        assert len(question) == int(case["prefix_len"][row])
        assert plan.ids[0][plan.is_target[0]].tolist() == labels[labels != -100].tolist()
        learnt = (labels != -100).nonzero().flatten().tolist()
        assert plan.is_target[0].nonzero().flatten().tolist() == learnt


def test_every_file_is_covered():
    patterns = "concat_text* flow_utils* frame_selection* infer_* iv_train_* pseudo_span* raft* rope* sample_frames* sf_train_* span_iou* tgb_encoder*"
    covered = {file for pattern in patterns.split() for file in golden_files(SYSTEM, f"{pattern}.safetensors")}
    assert covered == set(golden_files(SYSTEM, "*.safetensors"))
    assert load(sorted(covered)[0])
