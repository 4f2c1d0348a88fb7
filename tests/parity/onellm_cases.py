"""The recorded runs of OneLLM as models, features and queries of ours; all sizes come from the files."""

import json
import re
from functools import cache
from zlib import crc32

import numpy as np
import torch
from goldens import golden_files, load_only

from vidweave.connectors.expert_mixture import ExpertMixtureConfig
from vidweave.encoders.universal import UniversalEncoderConfig
from vidweave.language.splice import splice
from vidweave.model.assembly import VideoLanguageModel
from vidweave.systems.onellm.keys import NAMES, to_ours
from vidweave.systems.onellm.preset import SPECS, Sizes, build
from vidweave.systems.onellm.prompts import PROMPTS
from vidweave.types import AudioSpec, Blocks, Clip, Features, PointSpec, Query, Scene, SeriesSpec, VisualSpec

SYSTEM = "onellm"


@cache
def recorded():
    (file,) = golden_files(SYSTEM, "cases.json")
    return json.loads(file.read_text())


@cache
def tensors(name):
    return load_only(SYSTEM, f"{name}.safetensors")


@cache
def weights():
    state = {**tensors("weights"), **tensors("weights_experts")}
    return {key: value.float() for key, value in state.items()}


@cache
def media(theirs):
    """The rule of the README: sin(arange(n) * a + b) in double precision."""
    shape, a, b = recorded()["inputs"][theirs]
    values = np.sin(np.arange(np.prod(shape)) * a + b)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def shape_of(key):
    return weights()[f"llma.{key}"].shape


@cache
def sizes():
    c = recorded()["config"]
    clip, specs = c["clip"], {}
    layers = {key.split(".")[3] for key in weights() if key.startswith("llma.resample_layers.0.")}
    experts = {key.split(".")[2] for key in weights() if key.startswith("llma.resample_layers.")}
    for name, spec in SPECS.items():
        if isinstance(spec, VisualSpec):
            specs[name] = VisualSpec(height=clip["image_size"], width=clip["image_size"])
        elif isinstance(spec, PointSpec):
            specs[name] = PointSpec(num_points=c["points"], feature_width=3)
        elif isinstance(spec, SeriesSpec) and spec.average:
            specs[name] = SeriesSpec(channels=c["fmri_in"], average=True)
        else:
            assert isinstance(spec, (AudioSpec, SeriesSpec))
            specs[name] = spec  # of the released size
    return Sizes(
        encoder=UniversalEncoderConfig(
            width=clip["width"], layers=clip["layers"], heads=clip["heads"], patch=clip["patch"],
            size=clip["image_size"], mlp_width=shape_of("clip.visual.transformer.resblocks.0.mlp.c_fc.weight")[0],
            num_groups=shape_of("positional_embedding.point")[0] - 1,
        ),
        specs=specs,
        experts=ExpertMixtureConfig(
            width=clip["width"], num_experts=len(experts), layers=len(layers),
            intermediate=shape_of("resample_layers.0.0.feed_forward.w1.weight")[0],
        ),
        language={
            "model_type": "llama", "vocab_size": c["vocab"], "hidden_size": c["dim"],
            "intermediate_size": shape_of("layers.0.feed_forward.w1.weight")[0], "num_hidden_layers": c["n_layers"],
            "num_attention_heads": c["n_heads"], "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False,
        },
        num_query_tokens=shape_of("resample_tokens.image")[1],
    )  # fmt: skip


_MODELS = {}


def whole_model(prompt=PROMPTS["contra4"], **options):
    """With all modalities, filled by the key table; nothing may be missing or left over. One of each kind is kept."""
    key = repr((prompt, sorted(options.items())))
    if key not in _MODELS:
        built = VideoLanguageModel(build(tuple(NAMES.values()), prompt=prompt, sizes=sizes(), **options)).eval()
        state, _ = to_ours(weights(), recorded()["config"]["n_heads"])
        built.load_state_dict(state)
        _MODELS[key] = built
    return _MODELS[key]


# ---- features


def encoder_input(theirs):
    """A recorded input as our encoder takes it: (R, T, *payload)."""
    values = media(theirs)
    if theirs in ("video", "rgbd", "rgbn"):
        return values[:, None]  # one group of frames
    if theirs == "image":
        return values[:, None, None]
    if theirs == "audio":
        return values.transpose(2, 3)  # (R, 1, mels, frames) there
    if theirs == "imu":
        return values.transpose(1, 2)[:, None]
    return values[:, None]  # points, and fMRI as one sample


def encodes(theirs, values=None, *, grad=False, built=None):
    """(R, T, N, C) of a recorded input, or of `values`."""
    encoder = (built or whole_model()).encoders["universal"]
    with torch.set_grad_enabled(grad):
        return encoder.encode(encoder_input(theirs) if values is None else values, NAMES[theirs])


@cache
def encoded(theirs):
    return encodes(theirs)


def features(theirs, scene=0, rows=1, tokens=None):
    tokens = (encoded(theirs) if tokens is None else tokens).expand(rows, -1, -1, -1)
    mask = torch.ones(tokens.shape[:3], dtype=torch.bool)
    return Features(tokens, mask, torch.zeros(rows, 1, 2), torch.arange(rows), torch.full((rows,), scene))


@cache
def connected(theirs):
    """What the connector makes of a recorded input, computed once (audio take seconds), and what it computed meanwhile."""
    built, seen, ours = whole_model(), features(theirs), NAMES[theirs]
    trunk, result = built.connector.trunks["universal"], {"results": []}

    def keep(module, arguments, output):
        (given,) = arguments
        result.update(queries=given.queries, keys=given.keys, mixed=output)

    hooks = [trunk.register_forward_hook(keep)]
    hooks += [e.register_forward_hook(lambda *call: result["results"].append(call[-1])) for e in trunk.experts]
    try:
        with torch.no_grad():
            blocks, _ = built.connector({ours: seen}, seen.item, seen.scene)
    finally:
        for hook in hooks:
            hook.remove()
    return {**result, "block": blocks[ours]}


# ---- words


class Toy:
    """The recorded tokenizer: pieces by a pattern, ids by a checksum (README)."""

    bos_token_id, eos_token_id = 1, 2
    all_special_tokens = ()

    def __init__(self, known=None):
        self.known = known or {}

    def __call__(self, text, **_):
        if text in self.known:
            return {"input_ids": self.known[text]}
        pieces = re.findall(r"\s+|[A-Za-z0-9]+|[^\sA-Za-z0-9]", text)
        return {"input_ids": [3 + crc32(piece.encode()) % (recorded()["config"]["vocab"] - 3) for piece in pieces]}


# ---- prompts


def query_of(text, num_scenes):
    clip = Clip("unused.mp4")
    labels = [""] if not num_scenes else [f"Scene {letter}" for letter in "ABCDEFGH"[:num_scenes]]
    return Query(text, tuple(Scene(label, clip) for label in labels))


def embedded(built, queries, inputs, *, targets=None, tokens=None, words=None):
    """Prompts as our model hands them to its language model.

    Args:
        inputs: The original's modality of each scene; the same for all queries.
        tokens: Encoder tokens by modality, where they are not those of the recorded input.
        words: The tokenizer.
    """
    live = tokens is not None or torch.is_grad_enabled()
    blocks = (_connected if live else _known)(built, inputs, len(queries), tokens or {})
    groups = {
        (name, int(block.item[row]), int(block.scene[row])): int(block.mask[row].any(-1).sum())
        for name, block in blocks.items()
        for row in range(len(block.item))
    }
    plan = built.spec.layout.plan(queries, words or Toy(), groups, targets)
    return splice(plan, blocks, built.language_model.embed, built.language_model.side)


def _known(built, inputs, rows, tokens):
    """Blocks of recorded inputs, as the connector made them before."""
    by_stream = {}
    for scene, theirs in enumerate(inputs):
        block = connected(theirs)["block"]
        item, scenes = torch.arange(rows), torch.full((rows,), scene)
        values, mask, seconds = (t.expand(rows, *t.shape[1:]) for t in (block.values, block.mask, block.seconds))
        by_stream.setdefault(NAMES[theirs], []).append(Blocks(values, mask, seconds, item, scenes))
    return {name: _stacked(Blocks, parts) for name, parts in by_stream.items()}


def _connected(built, inputs, rows, tokens):
    by_stream = {}
    for scene, theirs in enumerate(inputs):
        by_stream.setdefault(NAMES[theirs], []).append(features(theirs, scene, rows, tokens.get(theirs)))
    pairs = [(item, scene) for item in range(rows) for scene in range(max(1, len(inputs)))]
    item, scene = (torch.tensor(column) for column in zip(*pairs, strict=True))
    return built.connector({n: _stacked(Features, parts) for n, parts in by_stream.items()}, item, scene)[0]


def _stacked(cls, parts):
    return cls(
        *(torch.cat([getattr(part, n) for part in parts]) for n in ("values", "mask", "seconds", "item", "scene"))
    )
