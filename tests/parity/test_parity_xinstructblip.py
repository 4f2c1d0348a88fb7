"""X-InstructBLIP's networks and prompts against recorded outputs of the original code, at the README's tolerances."""

from dataclasses import replace

import pytest
import torch
from goldens import close
from xinstructblip_cases import (
    NAMES,
    PROMPTS,
    Case,
    case_of,
    embedded,
    encoded,
    features,
    generated_cases,
    llm_words,
    qformer_words,
    questions_of,
    real_rows,
    recorded,
    tensors,
    weights,
    whole_model,
)

from vidweave.encoders.pointbert import ULIP
from vidweave.systems.xinstructblip.keys import qformer_keys
from vidweave.systems.xinstructblip.prompts import discrn_captions
from vidweave.types import Embeds, TextTokens, TrunkInput

# ---- words


def test_the_recorded_ids_are_those_of_the_toy_tokenizers():
    """Else the prompts below would be compared with words of this file."""
    count = 0
    for entry in recorded()["cases"].values():
        for call in entry.get("llm", []):
            for text, ids in zip(call["texts"], call["ids"], strict=True):
                end = text.endswith("</s>")
                words = [*llm_words()(text.removesuffix("</s>"))["input_ids"], *([2] if end else [])]
                assert ids == ([2, *words] if call["add_special_tokens"] else words)
                count += 1
        for call in entry.get("qformer", []):
            for text, ids in zip(call["texts"], call["ids"], strict=True):
                assert ids == [1, *qformer_words()(text)["input_ids"], 2]
    assert count
    text = recorded()["qformer_text"]
    assert text["ids"] == [[1, *qformer_words()(t)["input_ids"], 2] for t in text["texts"]]


# ---- encoders


@pytest.mark.parametrize("theirs", NAMES)
def test_encoder_and_norm(theirs):
    golden, ours = tensors("encoders"), NAMES[theirs]
    tokens = encoded(theirs)
    close(tokens.reshape(golden[f"enc.{theirs}"].shape), golden[f"enc.{theirs}"], 2e-5)
    port, seen = whole_model().connector.ports[ours], features(theirs, range(len(tokens)))
    with torch.no_grad():
        keys = port.keys(seen.values, seen.mask, torch.zeros(len(tokens), dtype=torch.long), torch.float32)
    close(keys.reshape(golden[f"ln.{theirs}"].shape), golden[f"ln.{theirs}"], 2e-5)


def test_pointbert_step_by_step():
    golden, encoder = tensors("encoders"), whole_model().encoders["points"]
    for row, (cloud, start) in enumerate(
        zip(tensors("inputs")["pc"], tensors("inputs")["fps_start"].tolist(), strict=True)
    ):
        at = replace(encoder.config, first_point=start).build().eval()
        at.load_state_dict(encoder.state_dict())
        with torch.no_grad():
            centers, groups = at.group(cloud[None])
            close(centers[0], golden["pc.centers"][row], 0.0)
            close(groups.norm(dim=-1).sort(-1).values[0], golden["pc.neighbourhood_sorted"][row], 2e-5)
            close(at.group_encoder(groups)[0], golden["pc.group_tokens"][row], 2e-5)
            close(at.summary(cloud[None])[0], golden["pc.concat"][row], 2e-5)


def test_the_unused_parts_of_ulip_are_known():
    roots = recorded()["unused_in_pc_encoder"]
    assert roots
    names = [name if name in ("logit_scale", "positional_embedding") else f"{name}.weight" for name in roots]
    plain = {"image_projection", "text_projection"}
    assert all(ULIP.drops(root if root in plain else name) for root, name in zip(roots, names, strict=True))


# ---- Q-Formers


@pytest.mark.parametrize("theirs", NAMES)
@pytest.mark.parametrize("legacy", [False, True])
def test_q_former_and_projection(theirs, legacy):
    """Each row reads its own item's instruction; the released call reads other items' (X4)."""
    golden, ours = tensors("qformer"), NAMES[theirs]
    suffix = "_legacy" if legacy else ""
    built = whole_model(legacy_text_rows=legacy)
    text = TextTokens(golden["text_ids"], golden["text_mask"].bool())
    seen = features(theirs, range(len(text.ids)))
    port, trunk = built.connector.ports[ours], built.connector.trunks[ours]
    with torch.no_grad():
        keys = port.keys(seen.values, seen.mask, torch.zeros_like(seen.item), torch.float32)
        rows = keys.flatten(0, 1)
        segments = keys.shape[1]
        item = seen.item.repeat(segments) if legacy else seen.item.repeat_interleave(segments)
        ids, mask = text.ids[item], text.mask[item]
        if legacy:
            assert torch.equal(ids, golden[f"{theirs}.text_ids_legacy"])
            assert torch.equal(mask.long(), golden[f"{theirs}.attention_mask_legacy"][:, -mask.shape[1] :])
        hidden = trunk(TrunkInput(port.queries(len(rows)), rows, None, ids, mask))
        real = torch.cat([torch.ones(len(rows), port.query_tokens.shape[1], dtype=torch.bool), mask], 1)
        close(hidden[real], golden[f"{theirs}.hidden{suffix}"][real], 2e-5)
        blocks, _ = built.connector({ours: seen}, seen.item, seen.scene, text)
    close(blocks[ours].values.flatten(1, 2), golden[f"{theirs}.llm_tokens{suffix}"], 2e-5)


def test_the_order_of_texts_matters_as_recorded():
    golden = tensors("qformer")
    for theirs, difference in recorded()["text_order_defect_max_abs_diff"].items():
        seen = (golden[f"{theirs}.llm_tokens"] - golden[f"{theirs}.llm_tokens_legacy"]).abs().max()
        assert float(seen) == pytest.approx(difference, abs=1e-4)


# ---- prompts


def known_words(name, case):
    """The prefix that the Contra4 script meant to set is recorded as embeddings alone: its ids stand before the label."""
    if "intended" not in name:
        return case, None
    table = weights()["llm_model.model.embed_tokens.weight"]
    rows = tensors("generate")[f"{name}.inputs_embeds"][0]
    ids = torch.cdist(rows, table, compute_mode="donot_use_mm_for_euclid_dist").argmin(1).tolist()
    label = llm_words()("Scene A.")["input_ids"]
    end = next(i for i in range(len(ids)) if ids[i : i + len(label)] == label)
    prefix = "You are given a multiple choice question."
    return replace(case, prompt=replace(case.prompt, prefix=prefix)), llm_words({prefix: ids[1:end]})


def captioned(name):
    """The caption baseline shows no tokens: its text is recorded whole."""
    (call,) = recorded()["cases"][name]["llm"]
    return call


def prompt_embeds(name):
    case, words = known_words(name, case_of(name))
    built = whole_model(case.prompt)
    with torch.no_grad():
        return built, embedded(built, case, words=words)


@pytest.mark.parametrize("name", [name for name in generated_cases() if "captions" not in name])
def test_prompt(name):
    """The original pads between tokens and text, we in front of all: what is real is the same, in the same places."""
    golden = tensors("generate")
    _, got = prompt_embeds(name)
    expected = real_rows(golden[f"{name}.inputs_embeds"], golden[f"{name}.attention_mask"])
    for ours, theirs in zip(real_rows(got.values, got.mask), expected, strict=True):
        close(ours, theirs, 2e-5)


def test_caption_baseline_of_discrn():
    (name,) = [name for name in generated_cases() if "captions" in name]
    call = captioned(name)
    table = weights()["llm_model.model.embed_tokens.weight"]
    close(table[call["ids"][0]], tensors("generate")[f"{name}.inputs_embeds"][0], 0.0)
    (text,) = call["texts"]
    head, _, question = text.partition(" question: ")
    question = question.removesuffix(" answer:")
    inputs = []
    for theirs, ours in NAMES.items():
        cue = f" {theirs}: "
        if cue in head:
            inputs.append((head.index(cue), ours, cue))
    inputs.sort()
    ends = [start for start, _, _ in inputs[1:]] + [len(head)]
    captions = [(ours, head[start + len(cue) : end]) for (start, ours, cue), end in zip(inputs, ends, strict=True)]
    assert discrn_captions(question, captions) == text


# ---- answers


def released_settings(name):
    """The recorded words for our settings: a `max_length`, and a `min_length`, count the start token."""
    recorded_settings = recorded()["cases"][name]["settings"]
    ids = tensors("generate")[f"{name}.beam5_ids"]
    settings = {k: recorded_settings[k] for k in ("num_beams", "repetition_penalty", "length_penalty")}
    if "max_length" in recorded_settings:
        settings["max_new_tokens"] = recorded_settings["max_length"] - 1
        settings["min_new_tokens"] = max(0, recorded_settings["min_length"] - 1)
    else:
        settings["max_new_tokens"] = recorded_settings["max_new_tokens"]
        settings["min_new_tokens"] = recorded_settings["min_new_tokens"]
    assert recorded_settings.get("num_return_sequences", 1) == 1
    return {**settings, "legacy_start": int(ids[0, 0])}


def until_end(rows):
    """Ids up to the end token."""
    return [row[: row.index(2) + 1] if 2 in row else row for row in rows.tolist()]


@pytest.mark.parametrize("name", generated_cases())
def test_answers(name):
    """Beam search by the rule of the original's transformers, and greedy answers by today's."""
    golden = {k.removeprefix(f"{name}."): v for k, v in tensors("generate").items() if k.startswith(f"{name}.")}
    language = whole_model().language_model
    if "captions" in name:
        embeds = text_embeds(language, captioned(name)["ids"][0])
    else:
        _, embeds = prompt_embeds(name)
    settings = released_settings(name)
    with torch.no_grad():
        beams = language.generate(embeds, **settings)
        greedy = language.generate(embeds, max_new_tokens=golden["greedy_ids"].shape[1] - 1)
    assert until_end(beams) == until_end(golden["beam5_ids"][:, 1:])
    assert until_end(greedy) == until_end(golden["greedy_ids"][:, 1:])
    texts = recorded()["cases"][name]["text_out"]
    assert [[id_ for id_ in row if id_ > 2] for row in until_end(beams)] == [list(map(int, t.split())) for t in texts]


def text_embeds(language, ids):
    values = language.embed(torch.tensor(ids))[None]
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Embeds(values, mask, torch.arange(len(ids))[None])


@pytest.mark.parametrize("name", [n for n in generated_cases() if "captions" not in n])
def test_presets_decode_as_recorded(name):
    """What a preset decodes with is what the recorded run was asked for, up to the settings of single runs."""
    settings, prompt = released_settings(name), case_of(name).prompt
    kept = ["num_beams", "repetition_penalty"]
    if "caption" not in name:
        kept.append("max_new_tokens")
        assert dict(prompt.decoding).get("min_new_tokens", 0) == settings["min_new_tokens"]
        assert dict(prompt.decoding).get("length_penalty", 1.0) == settings["length_penalty"]
    assert {key: prompt.decoding[key] for key in kept} == {key: settings[key] for key in kept}


# ---- training


def train_cases():
    return sorted({key.split(".")[0] for key in tensors("train")})


def train_setup(name):
    """v1 and improved recipes have no space behind the tokens; `improved_*_legacy` has cue and tokens twice (X5)."""
    improved = name.startswith("improved")
    prompt = replace(PROMPTS["released" if improved else "first"], space=False)
    if improved:
        prompt = replace(prompt, legacy_double=name.endswith("legacy"))
    asked = f"train_{name.replace('_corrected', '_legacy')}"
    entry = recorded()["cases"][asked]
    (theirs,) = [word for word in name.split("_") if word in NAMES]
    targets = [text.removesuffix("</s>") for text in entry["llm"][-1]["texts"]]
    case = Case(name, prompt, ((theirs,),), questions_of(entry, prompt))
    return case, targets, "batch2_legacy" in name


@pytest.mark.parametrize("name", train_cases())
def test_training(name):
    golden = {k.removeprefix(f"{name}."): v for k, v in tensors("train").items() if k.startswith(f"{name}.")}
    case, targets, legacy_rows = train_setup(name)
    built = whole_model(case.prompt, legacy_text_rows=legacy_rows)
    built.zero_grad()
    got = embedded(built, case, targets=targets)
    expected = real_rows(golden["inputs_embeds"], golden["attention_mask"])
    for ours, theirs in zip(real_rows(got.values.detach(), got.mask), expected, strict=True):
        close(ours, theirs, 2e-5)
    labels = real_rows(golden["labels"], golden["attention_mask"])
    for ours, theirs in zip(real_rows(got.labels, got.mask), labels, strict=True):
        assert torch.equal(ours, theirs)
    loss = built.language_model.loss(got)
    close(loss.detach(), golden["loss"], 1e-4)
    grads = {k.removeprefix("grad."): v for k, v in golden.items() if k.startswith("grad.")}
    assert grads or name.endswith("corrected")
    if grads:
        loss.backward()
        (theirs,) = case.scenes[0]
        parameters = dict(built.named_parameters())
        for ours, value in qformer_keys(theirs).to_ours(grads).items():
            close(parameters[ours].grad, value, 1e-5, 1e-3)


# ---- candidates


def test_candidates_are_scored():
    """Sums over a candidate's tokens; the original divides them all by one number, the length of the row."""
    golden, entry = tensors("classify"), recorded()["cases"]["classify_pc"]
    prompt, candidates = PROMPTS["modelnet40"], entry["candidates"]
    asked = next(call for call in entry["llm"] if call["texts"][0].strip() and call["add_special_tokens"])
    case = Case("classify_pc", prompt, (("pc",),), tuple(asked["texts"]))
    built = whole_model(prompt)
    with torch.no_grad():
        prefix = built.language_model.prefill(embedded(built, case))
        queries = [replace(query, options=tuple(candidates)) for query in case.queries]
        options = [built.spec.layout.option_ids(query, llm_words()) for query in queries]
        sums = torch.tensor(built.language_model.score(prefix, options))
    assert torch.equal(torch.tensor([[len(ids) for ids in row] for row in options]), golden["num_tokens"])
    close(sums, golden["sum_logprob"], 1e-4)
    length = golden["labels"].shape[1]
    close(sums / (length - 1), golden["predictions"], 1e-4)
    close(-sums.flatten() / (length - 1), golden["per_row_loss"], 1e-4)
    shown = real_rows(golden["inputs_embeds"], (golden["labels"] == -100) & golden["attention_mask"].bool())
    for row, theirs in enumerate(shown):
        item = row // len(candidates)
        ours = prefix.embeds.values[item][prefix.embeds.mask[item]]
        close(ours, theirs, 2e-5)
