"""MA-LMM against recorded outputs of its original code, at the tolerances of the folder's README."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from goldens import WordsOfNumbers, cases, close, golden_files, golden_folder, load, load_only

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD, eva_from_lavis, eva_to_lavis
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.language.splice import splice
from vidweave.media.plan import segment_borders, spread, spread_between
from vidweave.media.preprocess import apply
from vidweave.nn.bank import BankRule, append_, compress, empty_bank, shorten_
from vidweave.systems.malmm.preset import prompt_layout
from vidweave.types import Blocks, Clip, Features, Frames, Query, TextSpec, TextTokens, TrunkInput, VisualSpec

SYSTEM = "malmm"
PATTERNS = (
    "compress*",
    "eva_vit*",
    "frame_indices*",
    "frames_concat_*",
    "grad_*",
    "llm_sequence*",
    "preprocess_eval*",
    "video_*",
    "weights*",
)


def files(pattern):
    return pytest.mark.parametrize("file", golden_files(SYSTEM, f"{pattern}.safetensors"), ids=lambda f: f.stem)


def test_every_file_is_covered():
    covered = {file for pattern in PATTERNS for file in golden_files(SYSTEM, f"{pattern}.safetensors")}
    assert covered == set(golden_folder(SYSTEM).glob("*.safetensors"))


# ---- compression


def test_compress():
    for name, case in cases(load_only(SYSTEM, "compress*.safetensors")).items():
        if name == "stream":
            continue
        bank, size, first = compress(case["bank"], case["size"])
        assert torch.equal(first, case["argmax"]), name
        assert torch.equal(size.to(case["out_size"].dtype), case["out_size"]), name
        is_half = case["bank"].dtype == torch.float16
        atol = {torch.float64: 1e-12, torch.float16: 5e-3}.get(case["bank"].dtype, 1e-5)
        close(bank, case["out_bank"], atol)
        likeness = torch.cosine_similarity(case["bank"][:, :-1], case["bank"][:, 1:], dim=-1)
        close(likeness, case["similarity"], 5e-3 if is_half else 1e-5)


def test_stream_of_compressions():
    case = cases(load_only(SYSTEM, "compress*.safetensors"))["stream"]
    frames, rule = case["frames"], BankRule(limit=int(case["bank_length"]))
    bank = empty_bank(frames.shape[0], rule.limit, frames.shape[2], frames.shape[3], frames)
    merges = 0
    for step in range(frames.shape[1]):
        bank, _ = append_(bank, frames[:, step], None, rule)
        likeness = bank.similarity
        bank, moves = shorten_(bank, rule)
        if moves:
            assert torch.equal(likeness.argmax(1), case["argmax_steps"][merges])
            assert torch.equal(bank.in_time()[1][:, :-1], case["size_steps"][merges])
            merges += 1
    assert merges == len(case["argmax_steps"])
    values, size = bank.in_time()
    assert torch.equal(size[:, :-1], case["out_size"])
    close(values[:, :-1], case["out_bank"], 1e-5)


# ---- the frame loop


@cache
def weights():
    return load_only(SYSTEM, "weights*.safetensors")


def connector_config(state, heads, length, reads_text, has_times=True):
    """Sizes from the weights; the number of heads does not stand in them."""
    layers = {int(key.split(".")[4]) for key in state if key.startswith("Qformer.bert.encoder.layer.")}
    crossed = sorted({int(key.split(".")[4]) for key in state if ".crossattention." in key})
    words = state["Qformer.bert.embeddings.word_embeddings.weight"]
    positions = len(state["Qformer.bert.embeddings.position_embeddings.weight"])
    _, queries, hidden = state["query_tokens"].shape
    qformer = QFormerConfig(
        hidden=hidden,
        layers=len(layers),
        heads=heads,
        intermediate=len(state["Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"]),
        cross_attention_frequency=crossed[1] if len(crossed) > 1 else len(layers),
        encoder_width=state["image_pe.weight"].shape[1],
        vocab_size=len(words),
        max_positions=positions,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        text_spec=TextSpec(tokenizer="qformer", max_tokens=positions) if reads_text else None,
        memory=MemoryConfig(length=length, chunk=4) if length else None,
    )
    port = PortConfig(
        trunk="qformer",
        input_width=qformer.encoder_width,
        num_query_tokens=queries,
        num_time_positions=len(state["image_pe.weight"]) if has_times else 0,
    )
    width = len(state["llm_proj.weight"])
    return ConnectorConfig(trunks={"qformer": qformer}, ports={"video": port}, output_width=width)


def connector_with(heads, length, reads_text):
    """Without a memory (length 0) there is no table of times either."""
    state = weights() if length else {k: v for k, v in weights().items() if k != "image_pe.weight"}
    connector = connector_config(weights(), heads, length, reads_text, has_times=bool(length)).build().eval()
    connector.load_state_dict(lavis_connector_keys().to_ours(state))
    return connector


@cache
def num_heads():
    """Divisors of the width, whichever gives the first frame of a clip."""
    case = load(golden_files(SYSTEM, "video_*.safetensors")[0])
    width = weights()["query_tokens"].shape[2]

    def error(heads):
        connector = connector_with(heads, 1, "input_ids" in case)
        hidden, _ = steps_of(connector, case, 1)
        return (hidden[0] - case["query_output_steps"][0]).abs().max()

    return min((n for n in range(1, width + 1) if width % n == 0), key=error)


def text_of(case):
    return TextTokens(case["input_ids"], case["text_mask"].bool()) if "input_ids" in case else None


def features_of(case):
    values = case["frame_embeds"]
    rows, segments = values.shape[:2]
    seconds = torch.arange(segments).float()[:, None].repeat(rows, 1, 2)
    item = torch.arange(rows)
    mask = torch.ones(values.shape[:3], dtype=torch.bool)
    return {"video": Features(values, mask, seconds, item, torch.zeros_like(item))}, item, torch.zeros_like(item)


def run(connector, case):
    """The whole connector over the clip at once: what the language model gets (B, T * Q, D)."""
    features, item, scene = features_of(case)
    blocks, _ = connector(features, item, scene, text_of(case))
    return blocks["video"].values.flatten(1, 2)


@torch.no_grad()
def steps_of(connector, case, count=None):
    """Frame by frame through the trunk: hidden states of every frame, and the memory when the last one came."""
    trunk, port = connector.trunks["qformer"], connector.ports["video"]
    keys = case["frame_embeds"] + port.time_embedding[: case["frame_embeds"].shape[1], None]
    text = text_of(case)
    words = (None, None) if text is None else (text.ids, text.mask)
    queries = port.queries(len(keys))
    inputs = TrunkInput(queries, keys, None, *words)
    memory, before, hidden = trunk.empty_memory(inputs), None, []
    for index in range(keys.shape[1])[:count]:
        before = memory
        states, memory = trunk.step(inputs.step(index), memory)
        hidden.append(states)
    query_steps = [states[:, : queries.shape[1]] for states in hidden]
    return query_steps, (hidden[-1], keys[:, -1], before)


@files("video_*")
def test_video(file):
    case = load(file)
    text = text_of(case)
    connector = connector_with(num_heads(), int(case["bank_length"]), text is not None)
    with torch.no_grad():
        close(run(connector, case), case["llm_inputs"], 1e-4)
    steps, (last, newest, memory) = steps_of(connector, case)
    close(torch.stack(steps), case["query_output_steps"], 3e-4)
    queries = case["query_output_steps"].shape[2]
    rows, length = case["last_hidden_state"].shape[:2]
    real = torch.ones(rows, length, dtype=torch.bool)
    if text is not None:
        real[:, queries:] = text.mask
    close(last[real], case["last_hidden_state"][real], 3e-4)
    visual = memory.visual.bank if memory.visual.bank.length.shape[1] else None
    seen = newest[:, None]
    if visual is not None:
        values, size = visual.in_time()
        kept = int(visual.length.max())
        seen = torch.cat([values[:, :kept], seen], 1)
        if "visual_size_before_last" in case:
            assert torch.equal(size[:, :kept], case["visual_size_before_last"])
    close(seen, case["visual_kv_last"], 1e-4)
    for key in [key for key in case if key.startswith("query_bank_before_last.")]:
        layer = int(key.rpartition(".")[2])
        if memory.layers[layer] is None:  # entries that are all equal need no bank: they are the layer's input
            assert layer == 0
            port, trunk = connector.ports["video"], connector.trunks["qformer"]
            words = None if text is None else text.ids
            states = trunk.embeddings(port.queries(rows), words)[:, None].expand_as(case[key])
            close(*(t.transpose(1, 2)[real] for t in (states, case[key])), 1e-4)
            continue
        values, size = memory.layers[layer].bank.in_time()
        kept = case[key].shape[1]
        by_token = [t.transpose(1, 2)[real] for t in (values[:, :kept], case[key])]
        close(*by_token, 1e-4)
        # equal entries (text of layer 1): which of them merge is a float tie, how many frames they hold is not
        tied = real & (torch.arange(length) >= queries) if layer == 1 else torch.zeros_like(real)
        sizes = case[f"query_size_before_last.{layer}"]
        by_token = [t.transpose(1, 2) for t in (size[:, :kept], sizes)]
        assert torch.equal(by_token[0][real & ~tied], by_token[1][real & ~tied])
        assert torch.equal(by_token[0][tied].sum(-1), by_token[1][tied].sum(-1))


@files("frames_concat_*")
def test_without_a_memory(file):
    case = load(file)
    assert int(case["bank_length"]) == 0
    connector = connector_with(num_heads(), 0, "input_ids" in case)
    with torch.no_grad():
        close(run(connector, case), case["llm_inputs"], 1e-4)


@files("grad_*")
@pytest.mark.parametrize("is_training", [True, False])
def test_gradients(file, is_training):
    case = load(file)
    connector = connector_with(num_heads(), int(case["bank_length"]), "input_ids" in case).train(is_training)
    loss = (run(connector, case) * case["R"]).sum()
    loss.backward()
    close(loss.detach().reshape(1), case["loss"], 1e-4, 1e-4)
    own = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in connector.named_parameters()}
    got = lavis_connector_keys().to_theirs(own)
    requested = {key.removeprefix("grad."): value for key, value in case.items() if key.startswith("grad.")}
    assert requested
    for name, expected in requested.items():
        torch.testing.assert_close(
            got[name], expected, atol=1e-4, rtol=1e-3, msg=lambda detail, name=name: f"{name}: {detail}"
        )
        # measured: 2e-5; biases of keys cancel in the softmax, what is left of them is rounding
        if not name.endswith("key.bias"):
            assert (got[name] - expected).norm() <= 1e-4 * expected.norm(), name
    last = case["frame_embeds"].shape[1] - 1
    table = got["image_pe.weight"]
    assert table[last].any()
    assert not torch.cat([table[:last], table[last + 1 :]]).any()


def test_key_tables_there_and_back():
    table = lavis_connector_keys()
    ours = table.to_ours(weights())
    back = table.to_theirs(ours)
    assert set(weights()) - set(back) == {"Qformer.bert.embeddings.position_ids"}
    assert all(torch.equal(back[key], weights()[key]) for key in back)


# ---- encoders


@files("eva_vit*")
def test_eva_vit(file):
    case = load(file)
    state = {k.removeprefix("visual_encoder."): v for k, v in case.items() if k.startswith("visual_encoder.")}
    heads, patch, image = case["meta.heads_patch_image"].tolist()
    width = case["ln_vision.weight"].shape[0]
    config = {
        "model_type": "blip_2_vision_model",
        "hidden_size": width,
        "intermediate_size": len(state["blocks.0.mlp.fc1.bias"]),
        "num_hidden_layers": len({key.split(".")[1] for key in state if key.startswith("blocks.")}),
        "num_attention_heads": heads,
        "image_size": image,
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
    }
    spec = VisualSpec(height=image, width=image)
    tower = VisionTowerConfig(config=config, specs={"video": spec}).build().eval()
    tower.load_state_dict(eva_from_lavis(state))
    assert eva_to_lavis(tower.state_dict()).keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in eva_to_lavis(tower.state_dict()).items())
    with torch.no_grad():
        tokens = tower.encode(case["pixel_values"][None, :, None], "video")[0]
    close(tokens, case["vit_output"], 1e-5)
    norm = torch.nn.LayerNorm(width, eps=PortConfig.norm_eps)
    norm.load_state_dict({"weight": case["ln_vision.weight"], "bias": case["ln_vision.bias"]})
    close(norm(tokens).detach(), case["ln_output"], 1e-5)


@files("preprocess_eval*")
def test_preprocessing(file):
    for name, case in cases(load(file)).items():
        output, wrapped = case["output"], case["wrapped"]
        frames = Frames.from_array(case["frames_cthw_uint8"].permute(1, 2, 3, 0).numpy(), fps=1)
        spec = VisualSpec(
            height=output.shape[2],
            width=output.shape[3],
            mean=CLIP_MEAN,
            std=CLIP_STD,
            antialias=False,
            rounding="wrap",
        )
        exact, _ = apply(spec, frames)
        clamped, _ = apply(replace(spec, rounding="truncate"), frames)
        off = (exact.transpose(0, 1) - output).abs() > 1e-5
        assert off.float().mean() < 1e-3, name
        off = ((clamped.transpose(0, 1) - output).abs() > 1e-5) & ~wrapped
        assert off.float().mean() < 1e-3, name
        whole = (exact * torch.tensor(CLIP_STD).view(3, 1, 1) + torch.tensor(CLIP_MEAN).view(3, 1, 1)) * 255
        resized = case["resized_uint8_thwc"].permute(0, 3, 1, 2).float()
        assert ((whole - resized).abs() > 0.01).float().mean() < 1e-3, name


# ---- which frames


@files("frame_indices*")
def test_frame_indices(file):
    tensors = {key: value.numpy() for key, value in load(file).items()}
    checked = 0
    for key, expected in tensors.items():
        kind, *where = key.split(".")
        if kind in ("eval", "train_bounds"):
            length, count = (int(part[1:]) for part in where)
            got = spread(count, length, "linspace") if kind == "eval" else segment_borders(0, length, count)
        elif kind == "lvu" and where[1] == "index":
            start, history, duration, length, count = tensors[f"lvu.{where[0]}.args_start_history_duration_length_n"]
            end = min(start + history - 1, duration)
            got = spread_between(start * 10, min(end * 10, length - 1), int(count))
        elif kind.startswith("youcook2") and (kind == "youcook2_train_bounds" or where[1] == "index"):
            start, end, duration, count = tensors[f"youcook2_eval.{where[0]}.args_start_end_duration_n"]
            first, last = 10 * max(0.0, start), 10 * min(duration, end)
            got = (
                segment_borders(first, last + 1, int(count))
                if kind == "youcook2_train_bounds"
                else spread_between(first, last, int(count), truncate=True)
            )
        else:
            assert "args_" in key, key
            continue
        assert got.tolist() == expected.tolist(), key
        checked += 1
    assert checked


# ---- targets of the language model


@files("llm_sequence*")
def test_language_model_sequence(file):
    case = load(file)
    bos = int(case["prompt_ids"][0, 0])
    tokenizer, num_query = WordsOfNumbers(bos), int(case["num_query"])

    def words(ids, mask, end):
        return [" ".join(map(str, row[keep.bool()][1:end].tolist())) for row, keep in zip(ids, mask, strict=True)]

    prompts = words(case["prompt_ids"], case["prompt_mask"], None)
    answers = words(case["answer_ids"], case["answer_mask"], -1)
    queries = [Query.about(Clip("clip.mp4"), prompt) for prompt in prompts]
    rows = len(queries)
    segments = {("video", item, 0): 1 for item in range(rows)}
    plan = prompt_layout().plan(queries, tokenizer, segments, answers)
    item = torch.arange(rows)
    tokens = torch.full((rows, 1, num_query, 1), -7.0)
    block = Blocks(tokens, tokens[..., 0] < 0, torch.zeros(rows, 1, 2), item, torch.zeros_like(item))
    embeds = splice(plan, {"video": block}, lambda ids: ids[..., None].float(), "right")
    missing = case["labels"].shape[1] - embeds.mask.shape[1]
    pad = torch.nn.functional.pad
    assert torch.equal(pad(embeds.mask.long(), (0, missing)), case["attention_mask"])
    assert torch.equal(pad(embeds.labels, (0, missing), value=-100), case["labels"])
    ids = pad(embeds.values[..., 0].long(), (0, missing))
    real = case["attention_mask"].bool()
    expected = torch.cat([torch.full((rows, num_query), -7), case["llm_ids"]], 1)
    assert torch.equal(ids[real], expected[real])
