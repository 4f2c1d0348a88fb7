"""VideoTGB's stages: they train exactly what they say, by the spec's numbers, and a loss that falls in tiny runs."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.errors import ConfigError
from vidweave.media.write import write_video
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import StreamConfig
from vidweave.model.processor import Processor
from vidweave.recipes.videotgb import train as recipe
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.training.loop import train
from vidweave.types import FrameNeed, Frames, MotionSpec, TextSpec, VisualSpec

sys.path.insert(0, "tests/unit/model")
from tiny_models import tiny_config, toy_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips, a frame, and question files of both forms."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    videos, conversations = {}, []
    for index in range(4):
        frames = rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
        write_video(folder / f"v{index}.mp4", Frames.from_array(frames, fps=5))
        videos[str(index)] = {"q": "what colour is the circle ?", "a": "red", "video_id": f"v{index}"}
        turns = [{"from": "human", "value": "what is the square ?\n<video>"}, {"from": "gpt", "value": "blue"}]
        conversations.append({"id": f"c{index}", "video": f"v{index}.mp4", "conversations": turns})
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / "p.png")
    turns = [{"from": "human", "value": "<image>\nwhat is the circle ?"}, {"from": "gpt", "value": "green"}]
    conversations.append({"id": "p", "image": "p.png", "conversations": turns})
    texts = [
        {
            "id": 1,
            "model": "x",
            "conversations": [{"from": "human", "value": "it moves ?"}, {"from": "gpt", "value": "up"}],
        }
    ]
    for name, data in {"videos": videos, "conversations": conversations, "texts": texts}.items():
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


def tiny(family):
    maps = MotionSpec(source="frame_differences", fps=5, height=8, width=12)
    plain = tiny_config(family).parse()
    pixels = VisualSpec(height=16, width=16)
    encoder = PatchEncoderConfig(
        size=16, patch=8, width=12, layers=1, heads=2, specs={"video": pixels, "image": pixels}
    )
    config = tiny_config(
        family,
        selector=GroundingSelectorConfig(
            hidden=12, layers=2, fusion_layer=1, heads=3, intermediate=14, vocab_size=40, motion_width=32, num_patches=6, dropout=0.0,
            num_candidates=5, rope="stored", max_positions=20, text_spec=TextSpec(tokenizer="selector", max_tokens=9),
        ),
        encoders={"rgb": encoder, "motion": MotionEncoderConfig(height=8, width=12, patch=4, specs={"video": maps, "image": maps})},
        streams={
            **plain.streams,
            "motion": StreamConfig(encoder="motion", modalities=("video", "image"), need=FrameNeed(), role="selector"),
        },
    )  # fmt: skip
    torch.manual_seed(0)
    model = VideoLanguageModel(config).eval()
    model.processor = Processor(config, {"language": toy_tokenizer(), "selector": toy_tokenizer()})
    return model


SPANS = {str(index): (0.4, 1.0) for index in range(4)}


def stage_of(model, folder, stage, **changes):
    single = stage in ("sf", "tg")
    file = folder / ("videos.json" if single else "conversations.json")
    text = str(folder / "texts.json") if stage == "ivt" else ""
    changes = {"workers": 0, **changes}
    s = recipe.Settings(stage=stage, model="x", data=str(file), media=str(folder), text=text, **changes)
    return recipe.make_stage(model, s, recipe.read_items(s), SPANS)


BRIDGE = {"selector.bridge.words", "selector.bridge.motion", "selector.bridge.layers", "selector.bridge.span_head"}
QFORMER = {"connector.trunks.qformer", "connector.ports.video"}


@pytest.mark.parametrize("family", ["causal", pytest.param("seq2seq", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("stage", "roots"),
    [("sf", BRIDGE | QFORMER), ("tg", BRIDGE), ("iv", QFORMER), ("ivt", QFORMER | {"language_model.model"})],
)
def test_a_stage_trains_exactly_what_it_says_and_its_loss_falls(folder, family, stage, roots, tmp_path):
    model = tiny(family)
    made = stage_of(model, folder, stage, steps=8, batch=4, learning_rate=0.01)
    (learnt,) = made.trainable(model).values()
    result = {".".join(name.split(".")[: 3 if name.startswith(("selector", "connector")) else 2]) for name in learnt}
    assert result == roots
    assert not any(name.endswith("_table") or ".input_norm." in name for name in learnt)
    assert all(".lora_" in name for name in learnt if name.startswith("language_model"))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    run = recipe.Run(name="t", model=model, stages=[made], seed=1, finish=recipe._finish)
    batch = made.collate([made.examples[i] for i in range(4)])
    first = loss_of(model, made, batch)
    train(run, tmp_path, has_progress=False, has_events=False)
    after = dict(model.named_parameters())
    moved = {name for name, value in before.items() if name in after and not torch.equal(value, after[name])}
    assert {name for name in moved if not name.startswith("language_model")} <= set(learnt)
    assert moved
    assert not any(".lora_" in name for name in after)
    assert loss_of(model, made, batch) < first
    assert (tmp_path / "model" / "model.safetensors").is_file()


def loss_of(model, made, batch):
    """As training computes it: the selector chooses where it is trained; no dropout is set."""
    model.eval().selector.train()
    return float(made.objective(model, batch)["loss"].detach())


def test_numbers_of_the_spec(folder):
    model = tiny("causal")
    made = stage_of(model, folder, "tg", family="flan-t5-xl")
    assert (made.steps, made.batch_size, made.precision) == (3, 32, "32-true")  # 3 epochs of 4 items
    assert made.optimizer.lr == 5e-5
    assert made.optimizer.weight_decay == 0.05
    many = recipe.Settings(stage="iv", family="vicuna-7b", model="x", data="x")
    stage = recipe.make_stage(model, many, [made.examples[0]] * 12_800, {})
    assert (stage.steps, stage.batch_size, stage.precision) == (300, 128, "bf16-mixed")
    assert stage.optimizer.betas == (0.9, 0.98)
    assert stage.schedule.warmup_steps == 15  # 5 %
    factors = [stage.schedule.factor(step, step / 300) for step in range(300)]
    assert factors[0] == pytest.approx(1 / 15)
    assert max(factors) > 0.98
    assert factors[14:] == sorted(factors[14:], reverse=True)
    assert factors[-1] < 1e-3
    assert all(later > 0 for later in factors)  # the original's was 1, 0, 1, 0 from epoch to epoch


def test_what_is_missing_is_reported(folder):
    with pytest.raises(ConfigError, match="give a model and data: model=FOLDER data=FILE"):
        recipe.recipe()
    with pytest.raises(
        ConfigError, match=r"workers=2: stage iv selects frames with the bridge's weights; set workers=0"
    ):
        stage_of(tiny("causal"), folder, "iv", workers=2)
    s = recipe.Settings(stage="tg", model="x", data=str(folder / "videos.json"), media=str(folder))
    with pytest.raises(ConfigError, match=r"4 items have no pseudo span, e\.g\. '0'; label them first"):
        recipe.make_stage(tiny("causal"), s, recipe.read_items(s), {})
