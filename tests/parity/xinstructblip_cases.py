"""The recorded runs of X-InstructBLIP as models, features and queries of ours; all sizes come from the files."""

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from zlib import crc32

import torch
from goldens import golden_files, load_only

from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.beats import BeatsConfig
from vidweave.encoders.pointbert import PointBertConfig
from vidweave.language.splice import splice
from vidweave.model.assembly import VideoLanguageModel
from vidweave.systems.xinstructblip.keys import NAMES, rename
from vidweave.systems.xinstructblip.preset import Sizes, build
from vidweave.systems.xinstructblip.prompts import PROMPTS, Prompt
from vidweave.types import AudioSpec, Clip, Features, PointSpec, Query, Scene, TextSpec, TextTokens

SYSTEM = "xinstructblip"
LETTERS = "ABCDEFGHIJ"


@cache
def recorded():
    (file,) = golden_files(SYSTEM, "cases.json")
    return json.loads(file.read_text())


@cache
def tensors(name):
    return load_only(SYSTEM, f"{name}.safetensors")


def weights():
    return {**tensors("weights"), **tensors("weights_pc_encoder")}


@cache
def sizes():
    c = recorded()["config"]
    vit, pc, b, q, llm = c["vit"], c["pc"], c["beats"], c["qformer"], c["llm"]
    heard = AudioSpec(
        sample_rate=16_000, window_seconds=c["seg_len"] / 100, mel_bins=c["mel"], windows_of="frames",
    )  # fmt: skip
    return Sizes(
        vision={
            "model_type": "blip_2_vision_model", "hidden_size": vit["width"], "num_hidden_layers": vit["depth"],
            "num_attention_heads": vit["heads"], "image_size": vit["image_size"], "patch_size": vit["patch_size"],
            "intermediate_size": len(weights()["image_encoder.blocks.0.mlp.fc1.bias"]), "layer_norm_eps": 1e-6,
        },
        audio=BeatsConfig(
            width=b["encoder_embed_dim"], layers=b["encoder_layers"], heads=b["encoder_attention_heads"],
            intermediate=b["encoder_ffn_embed_dim"], patch=b["input_patch_size"], patch_width=b["embed_dim"],
            conv_width=b["conv_pos"], conv_groups=b["conv_pos_groups"], num_buckets=b["num_buckets"],
            max_distance=b["max_distance"], specs={"audio": heard},
        ),
        points=PointBertConfig(
            width=pc["embed_dim"], hidden=pc["width"], layers=pc["depth"], heads=pc["heads"],
            num_groups=pc["num_group"], group_size=pc["group_size"], group_width=pc["encoder_dims"],
            specs={"point_cloud": PointSpec(num_points=c["points"], sampling="farthest")},
        ),
        qformer=QFormerConfig(
            hidden=q["width"], layers=q["layers"], heads=q["heads"], intermediate=q["ffn"], vocab_size=q["vocab"] + 1,
            max_positions=q["positions"],
            text_spec=TextSpec(tokenizer="qformer", max_tokens=q["positions"], truncation_side="left"),
        ),
        language={
            "model_type": "llama", "vocab_size": llm["vocab"] + 1, "hidden_size": llm["width"],
            "intermediate_size": llm["ffn"], "num_hidden_layers": llm["layers"], "num_attention_heads": llm["heads"],
            "rms_norm_eps": 1e-6, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": llm["vocab"],
            "tie_word_embeddings": False,
        },
        num_query_tokens=q["queries"],
    )  # fmt: skip


def model(modalities, prompt=PROMPTS["released"], **options):
    """The preset at the recorded sizes, filled by the key table; nothing may be missing."""
    config = build(modalities, prompt=prompt, sizes=sizes(), shared_vision=False, **options)
    built = VideoLanguageModel(config).eval()
    state, requested = rename(weights(), shared_vision=False).state, built.state_dict()
    counters = {key: value for key, value in requested.items() if key.endswith("num_batches_tracked")}
    assert requested.keys() - counters.keys() <= state.keys()
    built.load_state_dict({key: state.get(key, value) for key, value in requested.items()})
    return built


_MODELS = {}


def whole_model(prompt=PROMPTS["released"], **options):
    """With all modalities; one of each kind is kept."""
    key = repr((prompt, sorted(options.items())))
    if key not in _MODELS:
        _MODELS[key] = model(tuple(NAMES.values()), prompt, **options)
    return _MODELS[key]


# ---- features


@cache
def encoded(theirs):
    """(B, T, N, C) of the recorded inputs; each cloud begins at its recorded point."""
    built, values = whole_model(), tensors("inputs")[theirs]
    stream = built.spec.streams[NAMES[theirs]]
    encoder = built.encoders[stream.encoder]
    with torch.no_grad():
        if theirs == "image":
            return encoder.encode(values[:, None, None], "image")
        if theirs == "video":
            return encoder.encode(values.transpose(1, 2)[:, :, None], "video")
        if theirs == "audio":
            return encoder.encode(values, "audio")
        rows = []
        for cloud, start in zip(values, tensors("inputs")["fps_start"].tolist(), strict=True):
            at = replace(encoder.config, first_point=start).build().eval()
            at.load_state_dict(encoder.state_dict())
            rows.append(at.encode(cloud[None, None], "point_cloud"))
        return torch.cat(rows)


def features(theirs, items, scene=0):
    tokens = encoded(theirs)[: len(items)]
    rows, segments = tokens.shape[:2]
    seconds = torch.stack([torch.arange(segments), torch.arange(segments) + 1], -1).float().expand(rows, -1, -1)
    mask = torch.ones(tokens.shape[:3], dtype=torch.bool)
    return Features(tokens, mask, seconds, torch.tensor(items), torch.full((rows,), scene))


# ---- words


class Toy:
    """The recorded tokenizers: pieces by a pattern, ids by a checksum (README)."""

    bos_token_id = eos_token_id = 2
    all_special_tokens = ("</s>",)

    def __init__(self, vocabulary, known=None):
        self.vocabulary, self.known = vocabulary, known or {}

    def __call__(self, text, **_):
        if text in self.known:
            return {"input_ids": self.known[text]}
        pieces = re.findall(r"\s+|[A-Za-z0-9]+|[^\sA-Za-z0-9]", text)
        return {"input_ids": [3 + crc32(piece.encode()) % (self.vocabulary - 3) for piece in pieces]}


def llm_words(known=None):
    return Toy(recorded()["config"]["llm"]["vocab"], known)


def qformer_words():
    return Toy(recorded()["config"]["qformer"]["vocab"])


def qformer_tokens(texts):
    rows = [[1, *qformer_words()(text)["input_ids"], 2] for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return TextTokens(ids, torch.tensor([[k < len(row) for k in range(longest)] for row in rows]))


# ---- cases

FAMILIES = {
    "v2_video_caption": "caption",
    "v2": "released",
    "v1_demo": "demo",
    "v1": "first",
    "discrn": "discrn",
    "contra4": "contra4",
}


@dataclass(frozen=True)
class Case:
    """What a recorded run asked: the modalities of each scene, and the questions of the batch."""

    name: str
    prompt: Prompt
    scenes: tuple[tuple[str, ...], ...]
    questions: tuple[str, ...]

    @property
    def queries(self):
        several = self.prompt.scene is not None
        labels = [f"Scene {LETTERS[i]}" if several else "" for i in range(len(self.scenes))]
        clip = Clip("unused.mp4")
        return [Query(text, tuple(Scene(label, clip) for label in labels)) for text in self.questions]


def generated_cases():
    return [name for name in recorded()["cases"] if f"{name}.inputs_embeds" in tensors("generate")]


def case_of(name):
    entry = recorded()["cases"][name]
    family = next(known for known in FAMILIES if name.startswith(known))
    prompt = PROMPTS[FAMILIES[family]]
    result = entry.get("scenes") or [word for word in name.split("_") if word in NAMES]
    scenes = [(m,) for m in result] if prompt.scene is not None else [tuple(result)]
    return Case(name, prompt, tuple(scenes), questions_of(entry, prompt))


def questions_of(entry, prompt):
    """The questions in the recorded texts: what the prompt puts around them is cut off."""
    pattern = "".join(
        {"{question}": "(.*)", "{labels}": ".*", "{options}": ""}.get(part, re.escape(part))
        for part in re.split(r"(\{\w+\})", prompt.text)
    )
    asked = [entry["llm"][i]["texts"] for i in range(len(entry["llm"])) if _asks(entry["llm"][i]["texts"], pattern)]
    return tuple(re.fullmatch(pattern, text, re.DOTALL)[1] for text in asked[0])


def _asks(texts, pattern):
    around = texts[0].strip() and not re.fullmatch(r"\s*Scene \w\.", texts[0])
    return bool(around) and all(re.fullmatch(pattern, text, re.DOTALL) for text in texts)


def embedded(built, case, *, targets=None, words=None):
    """The prompts of a case as our model hands them to its language model."""
    items = list(range(len(case.questions)))
    by_stream = {}
    for number, scene in enumerate(case.scenes):
        for theirs in scene:
            by_stream.setdefault(NAMES[theirs], []).append(features(theirs, items, number))
    seen = {name: _stacked(parts) for name, parts in by_stream.items()}
    pairs = [(i, s) for i in items for s in range(len(case.scenes))]
    item, scene = (torch.tensor(column, dtype=torch.long) for column in zip(*pairs, strict=True))
    text = qformer_tokens([case.prompt.qformer_text.format(question=q) for q in case.questions])
    blocks, _ = built.connector(seen, item, scene, text)
    segments = {
        (name, int(block.item[row]), int(block.scene[row])): int(block.mask[row].any(-1).sum())
        for name, block in blocks.items()
        for row in range(len(block.item))
    }
    plan = built.spec.layout.plan(case.queries, words or llm_words(), segments, targets)
    return splice(plan, blocks, built.language_model.embed, built.language_model.side)


def _stacked(parts):
    return Features(
        *(torch.cat([getattr(p, n) for p in parts]) for n in ("values", "mask", "seconds", "item", "scene"))
    )


def real_rows(values, mask):
    return [row[real.bool()] for row, real in zip(values, mask, strict=True)]
