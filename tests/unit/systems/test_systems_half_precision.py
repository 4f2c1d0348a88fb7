"""Half precision: every shipped model and every preset at tiny size answers, near float32; T5 as transformers runs it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_systems_blip2 import (
    CASES,
    IMAGE_TOKEN,
    NUM_QUERIES,
    QFORMER,
    VISION,
    _frames,
    _shake,
    _text_config,
    _their_inputs,
    _tokenizer,
)
from test_systems_crema import SIZES
from test_systems_merv import TINY_LLAMA
from test_systems_videotgb import tiny as tiny_videotgb
from transformers import Blip2ForConditionalGeneration, InstructBlipForConditionalGeneration

import vidweave
from vidweave.encoders.languagebind import LanguageBindConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_names
from vidweave.model.precision import float32_patterns
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.registry import MODELS
from vidweave.systems.blip2.preset import blip2, prompt_layout
from vidweave.systems.crema.preset import build as crema
from vidweave.systems.malmm.preset import with_memory
from vidweave.systems.merv import preset as merv_preset
from vidweave.types import Clip, Frames, VisualSpec

CLIP = Path(__file__).parents[3] / "examples" / "clips" / "toy.mp4"
HALF = [torch.bfloat16, torch.float16]
QUESTION = "what is the colour of a cat ?"
OPTIONS = ("red", "blue green")
SHIPPED = sorted(name for name in asset_names() if name in MODELS)


def clip(**more):
    rng = np.random.default_rng(3)

    def frames_of():
        return Frames.from_array(rng.integers(0, 255, (6, 32, 36, 3), dtype=np.uint8), fps=2)

    return Clip(frames_of(), **{name: frames_of() for name in more.get("maps", ())})


def released(form="blip2", kind="t5", memory=False):
    """BLIP-2, InstructBLIP or MA-LMM from transformers' folder."""

    def make(folder):
        config_class, model_class, kind_of_text = CASES[f"{form}-{kind}"]
        text = _text_config(kind_of_text).to_dict()
        config = config_class(
            vision_config=VISION,
            qformer_config=QFORMER,
            text_config=text,
            num_query_tokens=NUM_QUERIES,
            image_token_index=IMAGE_TOKEN,
        )
        torch.manual_seed(4)
        model = model_class(config).eval()
        _shake(model)
        model.save_pretrained(folder)
        _tokenizer(kind == "t5").save_pretrained(folder)
        if form == "instructblip":
            _tokenizer(False).save_pretrained(folder / "qformer_tokenizer")
        if not memory:
            return folder
        base = vidweave.load(folder).model
        state, tokenizers = base.state_dict(), base.processor.tokenizers
        config = with_memory(base.config, length=3, num_frames=6, beyond_times="error")
        return saved(VideoLanguageModel.from_state(config, state), tokenizers, folder / "memory")

    return make


def saved(model, tokenizers, folder):
    model.processor = Processor(model.config, tokenizers)
    model.save_pretrained(folder)
    return folder


def fresh(config, tokenizers):
    """A preset of ours with random weights."""

    def make(folder):
        torch.manual_seed(5)
        model = VideoLanguageModel(config())
        _shake(model)
        return saved(model.eval(), {name: _tokenizer(False) for name in tokenizers}, folder / "fresh")

    return make


def merv(fusion):
    pixels = VisualSpec(height=8, width=8)
    both = {"video": pixels, "image": pixels}
    siglip = {"model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    siglip |= {"num_attention_heads": 2, "image_size": 8, "patch_size": 2}
    made = {
        "languagebind": LanguageBindConfig(
            width=12, mlp_width=10, layers=2, heads=2, patch=2, size=8, window=2, layer=-2, drop_cls=True, specs=both
        ),
        "siglip": VisionTowerConfig(config=siglip, layer=-2, drop_cls=True, specs=both),
    }

    def config():
        kept = dict(merv_preset.ENCODERS)
        sizes = {"languagebind": {"width": 12, "window": 2, "steps": 2}, "siglip": {"width": 8}}
        try:
            for name, encoder in made.items():
                changes = {"build": lambda e=encoder: e, "num_frames": 4, **sizes[name]}
                merv_preset.ENCODERS[name] = replace(kept[name], **changes)
            language = TINY_LLAMA | {"vocab_size": 60}
            return merv_preset.merv(tuple(made), fusion=fusion, tokens_per_frame=4, language=language)
        finally:
            merv_preset.ENCODERS.update(kept)

    return config


PRESETS = {
    "blip2-t5": (released("blip2", "t5"), ()),
    "blip2-opt": (released("blip2", "opt"), ()),
    "instructblip-llama": (released("instructblip", "llama"), ()),
    "malmm": (released("instructblip", "llama", memory=True), ()),
    "videotgb-t5": (fresh(lambda: tiny_videotgb("blip2"), ("language", "selector")), ()),
    "videotgb-llama": (fresh(lambda: tiny_videotgb("instructblip"), ("language", "selector", "qformer")), ()),
    "crema": (
        fresh(lambda: crema(("video", "flow", "depth", "normals"), dataset="nextqa", sizes=SIZES), ("language",)),
        ("flow", "depth", "normals"),
    ),
    "merv": (fresh(merv("attention"), ("language",)), ()),
    "merv-channel": (fresh(merv("channel_norm"), ("language",)), ()),
}


QUICK = {"blip2-t5", "crema", "merv"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PRESETS]
)
def test_every_preset_answers_in_half_precision_near_float32(name, tmp_path):
    make, maps = PRESETS[name]
    folder = make(tmp_path)
    exact = scores(vidweave.load(folder).model, clip(maps=maps))
    for dtype in HALF:
        model = vidweave.load(folder, dtype=dtype).model
        assert model.language_model.model.get_input_embeddings().weight.dtype == dtype
        got = scores(model, clip(maps=maps))
        assert SlotPipeline(model).ask(clip(maps=maps), QUESTION, max_new_tokens=3).text is not None
        spread = 0.1 if dtype == torch.float16 else 1.0
        for option, score in exact.items():
            assert got[option] == pytest.approx(score, abs=spread, rel=0.02), (dtype, option)


def scores(model, about):
    return {option.text: option.score for option in SlotPipeline(model).ask(about, QUESTION, options=OPTIONS).options}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("dtype", HALF)
def test_every_shipped_model_answers_in_half_precision_near_float32(name, dtype):
    question, options = "What colour is the object?", ("red", "blue", "green")
    exact, half = (vidweave.load(name, dtype=kind).model for kind in (torch.float32, dtype))
    expected, got = (SlotPipeline(model).ask(CLIP, question, options=options) for model in (exact, half))
    assert got.text == expected.text
    for one, other in zip(expected.options, got.options, strict=True):
        assert other.score == pytest.approx(one.score, abs=0.4)
    assert SlotPipeline(half).ask(CLIP, question).text == SlotPipeline(exact).ask(CLIP, question).text


def test_shipped_models_are_there():
    assert {"tiny-base", "tiny-crema", "tiny-malmm", "tiny-merv", "tiny-videotgb"} <= set(SHIPPED)


# ---- T5, as transformers runs it


def their_logits(model, inputs):
    ids = inputs.plan.ids[inputs.plan.ids >= 0][None]
    given = {**_their_inputs(model, inputs, ids, 1), "decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)}
    given["pixel_values"] = given["pixel_values"].to(model.dtype)
    with torch.no_grad():
        return model(**given).logits[0, -1].float()


@pytest.mark.parametrize("form", ["blip2", "instructblip"])
@pytest.mark.parametrize("dtype", HALF)
def test_t5_in_half_precision_is_as_good_as_transformers_own(form, dtype, tmp_path):
    folder = released(form, "t5")(tmp_path)
    theirs = {"blip2": Blip2ForConditionalGeneration, "instructblip": InstructBlipForConditionalGeneration}[form]
    large = theirs.from_pretrained(folder)
    with torch.no_grad():  # T5's residual beyond what float16 can hold, as in Flan-T5-XL and -XXL
        for name, weight in large.language_model.named_parameters():
            if name.endswith(".wo.weight") and "encoder" in name:
                weight.mul_(3e4)
    large.save_pretrained(folder)
    exact, ours = vidweave.load(folder).model, vidweave.load(folder, dtype=dtype).model
    half = theirs.from_pretrained(folder, dtype=dtype)
    inputs = exact.processor(Clip(video=_frames(1)), QUESTION, num_frames=1)
    with torch.no_grad():
        expected = exact(inputs).logits[0].float()
        got = ours(inputs).logits[0].float()
    reference = their_logits(half, inputs)
    error, allowed = (got - expected).abs().max(), (reference - expected).abs().max()
    assert torch.isfinite(got).all()
    assert error <= 1.5 * allowed + 0.01 * expected.std()
    assert got.argmax() == expected.argmax()
    kept = {name for name, p in half.language_model.named_parameters() if p.dtype == torch.float32}
    assert kept == {n for n, p in ours.language_model.model.named_parameters() if p.dtype == torch.float32}
    assert bool(kept) == (dtype == torch.float16)
    qformer = {p.dtype for p in ours.connector.parameters()}
    assert qformer == {torch.float32 if dtype == torch.float16 else dtype}


def test_what_stays_in_float32_is_named_by_slot():
    config = blip2(
        "blip2",
        name="t5",
        vision={**VISION, "model_type": "blip_2_vision_model"},
        qformer=tiny_videotgb("blip2").parse().connector.trunks["qformer"],
        num_query_tokens=3,
        language_model=tiny_videotgb("blip2").parse().language_model,
        layout=prompt_layout(True),
    )
    with torch.device("meta"):
        model, watching = VideoLanguageModel(config), VideoLanguageModel(tiny_videotgb("blip2"))
    assert r"^connector\." in float32_patterns(model, torch.float16)
    assert float32_patterns(model, torch.bfloat16) == set()
    assert float32_patterns(watching, torch.bfloat16) == {r"^encoders\.motion\."}
