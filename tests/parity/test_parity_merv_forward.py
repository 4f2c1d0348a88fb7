"""MERV's whole forward pass from features, against recorded outputs of its original code."""

import json
from math import isqrt

import pytest
import torch
from goldens import close, golden_files, load
from safetensors import safe_open

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.mixer import ChannelConcatConfig, MixerConfig
from vidweave.connectors.mlp import MLPConfig, head_widths
from vidweave.connectors.ports import PortConfig
from vidweave.language.causal import CausalConfig
from vidweave.language.splice import splice
from vidweave.model.pool import pool_tokens
from vidweave.systems.merv.arch import FUSIONS, parse_arch
from vidweave.systems.merv.keys import mixer_from_merv, projector_from_merv
from vidweave.types import Features, PoolSpec, PromptPlan

SYSTEM = "merv"


def files(pattern):
    return pytest.mark.parametrize("file", golden_files(SYSTEM, f"{pattern}.safetensors"), ids=lambda f: f.stem)


def config_of(file):
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["config"])


def part(case, prefix):
    return {key.removeprefix(prefix): value for key, value in case.items() if key.startswith(prefix)}


def language_of(config, weights):
    info = dict(config["llm"])
    gone = {"pretraining_tp", "use_cache", "transformers_version", "max_window_layers"}
    model = CausalConfig(config={key: value for key, value in info.items() if key not in gone}).build().eval()
    model.model.load_state_dict({key.removeprefix("llm."): value for key, value in weights.items()})
    return model


def connector_of(config, weights, width):
    arch = parse_arch(config["arch_specifier"])
    sizes = [c for c, _, _ in config["encoders_C_F_N"]]
    names = [f"e{i}" for i in range(len(sizes))]
    kind = FUSIONS[config["feature_fusion"]]
    fusions = {
        "sequence": ConcatFusionConfig(name="video", along="stream"),
        "channel": ChannelConcatConfig(name="video"),
        "channel_norm": ChannelConcatConfig(name="video", norm=True),
    }
    mixer = (
        MixerConfig(name="video", weighting=kind, query_width=config["xattn_embed_dim"])
        if kind not in fusions
        else None
    )
    made = ConnectorConfig(
        trunks={n: MLPConfig(key_width=c, widths=head_widths(arch.head, c, width)) for n, c in zip(names, sizes, strict=True)},
        ports={n: PortConfig(trunk=n, input_width=c, output_proj=False) for n, c in zip(names, sizes, strict=True)},
        fusion=fusions.get(kind, mixer),
        output_width=width,
    ).build().eval()  # fmt: skip
    state = {}
    for number, name in enumerate(names):
        ours = projector_from_merv(part(weights, f"projectors.{number}."), "mlp")
        state |= {f"trunks.{name}.{key}": value for key, value in ours.items()}
    if fusion := part(weights, "feature_fusion."):
        state |= {f"fusion.{key}": value for key, value in mixer_from_merv(fusion).items()}
    made.load_state_dict(state)
    return made


def features_of(config, case, rows):
    """Rows with vision, in the order of the batch; each encoder's tokens as times and pooled grids."""
    pool = PoolSpec(grid=isqrt(config["projector_token_length"]))
    result = {}
    for number, (_, frames, _) in enumerate(config["encoders_C_F_N"]):
        tokens = pool_tokens(case[f"in.features{number}"][rows].unflatten(1, (frames, -1)), pool)
        seconds = torch.arange(frames + 1.0).unfold(0, 2, 1).expand(len(rows), -1, -1)
        mask = torch.ones(tokens.shape[:3], dtype=torch.bool)
        result[f"e{number}"] = Features(tokens, mask, seconds, rows, torch.zeros_like(rows))
    return result


def plan_of(config, case, rows, items, labels=True):
    """The batch's rows as prompts: begin token if there is one, the clip, the rest."""
    lines, b0 = [], int(config["bos"])
    slots = (("video", 0, None),)
    for item in items:
        real = case["in.attention_mask"][item].bool()
        ids, target = case["in.input_ids"][item][real].tolist(), (case["in.labels"][item][real] != -100).tolist()
        slot = [-1] * len(ids)
        if item in rows.tolist():
            ids.insert(b0, -1)
            slot.insert(b0, 0)
            target.insert(b0, False)
        lines.append((ids, slot, target if labels else [False] * len(ids)))
    longest = max(len(line[0]) for line in lines)
    fill = lambda k, v: torch.tensor([line[k] + [v] * (longest - len(line[k])) for line in lines])  # noqa: E731
    return PromptPlan(fill(0, -1), fill(1, -1), slots, fill(2, False))


@files("forward_*")
@torch.no_grad()
def test_forward(file):
    config, case = config_of(file), load(file)
    weights = part(case, "w.")
    language = language_of(config, part(weights, "llm_backbone."))
    rows = case["in.multimodal_indices"]
    connector = connector_of(config, weights, config["llm"]["hidden_size"])
    features = features_of(config, case, rows)
    blocks, _ = connector(features, rows, torch.zeros_like(rows))
    batch = range(len(case["in.input_ids"]))
    embeds = splice(plan_of(config, case, rows, batch), blocks, language.embed, "right")
    # the original puts rows with vision first, and pads text with blank embeddings behind its own padding
    order = [*rows.tolist(), *(n for n in batch if n not in rows.tolist())]
    for theirs, ours in enumerate(order):
        real = case["out.attention_mask"][theirs].bool()
        have = embeds.mask[ours]
        close(embeds.values[ours][have], case["out.inputs_embeds"][theirs][real], 5e-5)
        assert embeds.labels[ours][have].tolist() == case["out.labels"][theirs][real].tolist()
        logits = language.model(inputs_embeds=embeds.values[ours][have][None]).logits[0]
        close(logits, case["out.logits"][theirs][real], 5e-5)
    left = splice(plan_of(config, case, rows, batch), blocks, language.embed, language.side)
    close(language.loss(left).reshape(1), case["out.loss"], 5e-5)


@files("forward_*")
@torch.no_grad()
def test_greedy(file):
    config, case = config_of(file), load(file)
    weights = part(case, "w.")
    language = language_of(config, part(weights, "llm_backbone."))
    rows = case["in.multimodal_indices"]
    connector = connector_of(config, weights, config["llm"]["hidden_size"])
    # row 0 may be one without vision: then the prompt is its text alone
    first = rows[rows == 0]
    blocks, _ = connector(features_of(config, case, first), first, first) if len(first) else ({}, None)
    embeds = splice(plan_of(config, case, first, [0], labels=False), blocks, language.embed, language.side)
    prompt = case["in.input_ids"][0][case["in.attention_mask"][0].bool()]
    requested = case["out.greedy_ids_row0"][0]
    new = (
        requested[len(prompt) :]
        if requested[: len(prompt)].tolist() == prompt.tolist()
        else requested[case["in.input_ids"].shape[1] :]
    )
    got = language.generate(embeds, max_new_tokens=len(new))
    assert got[0].tolist() == new.tolist()
