"""Every number of the shipped recipes against the specifications, read off the settings and the stages that they build."""

import math
from dataclasses import asdict

import pytest

from vidweave.recipes.crema import train as crema
from vidweave.recipes.merv import full, start
from vidweave.recipes.videotgb import train as videotgb
from vidweave.systems.merv.training import ALIGN, FINETUNE, FULL_ALIGN

# ---- VideoTGB (spec videotgb 3.2): epochs, global batch, precision

VIDEOTGB = {
    ("sf", "flan-t5-xl"): (2, 8, "bf16-mixed"),
    ("sf", "vicuna-7b"): (1, 4, "32-true"),
    ("tg", "flan-t5-xl"): (3, 32, "32-true"),
    ("tg", "vicuna-7b"): (3, 32, "32-true"),
    ("iv", "flan-t5-xl"): (3, 16, "32-true"),
    ("iv", "vicuna-7b"): (3, 128, "bf16-mixed"),
    ("ivt", "flan-t5-xl"): (3, 16, "bf16-mixed"),
    ("ivt", "vicuna-7b"): (2, 16, "bf16-mixed"),
}


def test_videotgb_numbers():
    assert {key: (n.epochs, n.batch, n.precision) for key, n in videotgb.NUMBERS.items()} == VIDEOTGB
    assert (videotgb.LEARNING_RATE, videotgb.WARMUP) == (5e-5, 0.05)
    adam = {"lr": 5e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05, "clip_norm": None}
    adamw = {**adam, "betas": (0.9, 0.98), "weight_decay": 0.01}
    for stage, expected in (("sf", adam), ("tg", adam), ("iv", adamw), ("ivt", adamw)):
        made = asdict(videotgb.OPTIMIZERS[stage])
        assert {key: made[key] for key in expected} == expected, stage
    defaults = videotgb.Settings()
    assert (defaults.seed, defaults.train_through, defaults.train_language_model) == (43, "straight_through", False)


def test_videotgb_trainable_parts():
    """Bridge, Q-Former side and LoRA; never the tower, its norm, the language model or stored rotary tables (spec 3.1)."""
    bridge = {f"selector.bridge.{part}.*" for part in ("words", "motion", "layers", "span_head")}
    qformer = {
        "connector.trunks.*", "connector.ports.video.query_tokens", "connector.ports.video.output_proj.*",
    }  # fmt: skip
    assert {stage: set(patterns) for stage, patterns in videotgb.TRAINABLE.items()} == {
        "sf": bridge | qformer, "tg": bridge, "iv": qformer, "ivt": qformer | {"language_model.*.lora_*"},
    }  # fmt: skip


# ---- MERV (spec merv 3.1, 3.2)


@pytest.mark.parametrize(
    ("name", "settings", "lr", "decay"),
    [("align", ALIGN, 1e-3, 0.0), ("full-align", FULL_ALIGN, 1e-4, 0.0), ("finetune", FINETUNE, 2e-5, 0.1)],
)
def test_merv_stages(name, settings, lr, decay):
    examples = start.ToyConversations()
    pipe = start.open_pipeline("", "", 7)
    stage = start.stage(name, settings, pipe, [examples[0]] * (3 * settings.batch_size - 1))
    assert (stage.steps, stage.batch_size, stage.accumulate) == (3, settings.batch_size, 1)
    optimizer = stage.optimizer
    assert (optimizer.lr, optimizer.weight_decay, optimizer.clip_norm) == (lr, decay, 1.0)
    assert (optimizer.betas, optimizer.eps, optimizer.decay_min_ndim) == ((0.9, 0.999), 1e-8, 2)
    assert (stage.schedule.kind, stage.schedule.warmup_steps) == ("warmup_cosine", 0)  # floor(0.03 * 3)
    long = start.stage(name, settings, pipe, [examples[0]] * (100 * settings.batch_size))
    assert long.schedule.warmup_steps == 3
    assert [round(long.schedule.factor(step, step / 100), 4) for step in (0, 3)] == [0.0, 1.0]


def test_merv_seed():
    assert full.Settings().seed == 7
    assert full.Settings().align_only is False


# ---- CREMA (spec crema 3.3, 4)


def test_crema_defaults():
    s = crema.Settings()
    assert (s.seed, s.sequential, s.exit_temperature, s.exit_statistic, s.held_out) == (
        42, True, 0.0, "epoch_mean", 0.02,
    )  # fmt: skip
    assert (s.batch_size, s.epochs, s.lr) == (0, 0, 0.0)  # the released ones


@pytest.mark.parametrize(
    ("dataset", "lr", "min_lr", "warmup", "epochs"),
    [("sqa3d", 2e-4, 1e-5, 1000, 20), ("music-avqa", 2e-4, 0.0, 1000, 20), ("nextqa", 5e-5, 0.0, 500, 5)],
)
def test_crema_schedule(dataset, lr, min_lr, warmup, epochs):
    """Epoch 0 rises by step from 1e-8 and is cut off; later epochs have one rate each, on the cosine."""
    made = crema.schedule_of(dataset, steps=10, epochs=epochs, lr=lr)
    rates = [lr * made.factor(step, 0.0) for step in range(10 * epochs)]
    assert rates[0] == pytest.approx(1e-8)
    assert rates[9] == pytest.approx(1e-8 + (lr - 1e-8) * 9 / warmup)
    assert rates[10] == rates[19] > rates[20]
    expected = min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi / epochs))
    assert rates[10] == pytest.approx(expected)
