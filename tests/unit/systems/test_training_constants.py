"""How each system is trained, number by number, against the specifications."""

import json
from importlib import resources

import pytest

from vidweave.systems.merv.training import ALIGN, FINETUNE, FULL_ALIGN, TRAINABLE
from vidweave.training import AdamWSettings, EarlyExit


def training_of(system):
    return json.loads((resources.files(f"vidweave.systems.{system}") / "published.json").read_text())["training"]


# ---- MERV (spec merv 3.1, 3.2)


@pytest.mark.parametrize(
    ("stage", "lr", "batch", "decay"),
    [(ALIGN, 1e-3, 256, 0.0), (FULL_ALIGN, 1e-4, 256, 0.0), (FINETUNE, 2e-5, 128, 0.1)],
    ids=["align", "full-align", "finetune"],
)
def test_merv(stage, lr, batch, decay):
    assert (stage.lr, stage.batch_size, stage.weight_decay) == (lr, batch, decay)
    assert (stage.epochs, stage.warmup_ratio, stage.clip_norm, stage.max_tokens) == (1, 0.03, 1.0, 2048)
    assert (stage.accumulate, stage.steps) == (1, 0)
    assert [stage.num_steps(n) for n in (1, batch, batch + 1)] == [1, 1, 2]


def test_merv_trains_the_language_model_where_the_code_does():
    assert TRAINABLE == {
        "align": ("connector.*",),
        "full-align": ("connector.*", "language_model.*"),
        "finetune": ("connector.*", "language_model.*"),
    }


def test_merv_published():
    rows = {name: (row["lr"], row["batch"], row["examples"]) for name, row in training_of("merv").items()}
    assert rows == {
        "align": (1e-3, 256, 1_260_000), "full-align": (1e-4, 256, 1_260_000), "finetune": (2e-5, 128, 765_000),
    }  # fmt: skip


# ---- CREMA (spec crema 3.3, 4): lr, min_lr, warm-up steps, epochs, batch per GPU, temperature

CREMA = {
    "sqa3d": (2e-4, 1e-5, 1000, 20, 8, 1.8),
    "music-avqa": (2e-4, 0.0, 1000, 20, 24, 1.4),
    "nextqa": (5e-5, 0.0, 500, 5, 16, 1.8),
    "touch-qa": (5e-5, 0.0, 500, 5, 16, 1.8),
    "thermal-qa": (5e-5, 0.0, 500, 5, 16, 1.8),
    "audiocaps": (2e-4, 1e-5, 1000, 5, 16, 1.8),
    "3d-llm": (2e-4, 1e-5, 1000, 5, 16, 1.8),
}


def test_crema_published():
    table = training_of("crema")
    optimizer = table.pop("optimizer")
    assert optimizer == {
        "kind": "AdamW", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05, "clip_norm": None, "seed": 42,
    }  # fmt: skip
    keys = ("lr", "min_lr", "warmup_steps", "epochs", "batch_per_gpu", "temperature")
    assert {name: tuple(row[key] for key in keys) for name, row in table.items()} == CREMA
    assert {row["warmup_lr"] for row in table.values()} == {1e-8}
    assert {name for name, row in table.items() if "note" in row} == {"touch-qa", "thermal-qa", "audiocaps", "3d-llm"}


def test_early_exit():
    """Temperature 1.8, from epoch 5 on, the mean over an epoch unless the released behavior is asked for."""
    rule = EarlyExit(steps_per_epoch=7)
    assert (rule.temperature, rule.min_epoch, rule.statistic) == (1.8, 5, "epoch_mean")


# ---- MA-LMM (spec malmm 3.1, 3.2, 3.3): M, frames, lr, epochs, per GPU, GPUs, accumulated, new tokens, text tokens

CLASSES, QUESTIONS = (20, 100, 1e-4, 20, 16, 4, 1), (10, 20, 1e-4, 5, 32, 4, 1, 10, 128)
MALMM = {
    "lvu": (*CLASSES, 5, 30),
    "breakfast": (*CLASSES, 20, 30),
    "coin": (*CLASSES, 20, 30),
    "msrvtt-qa": QUESTIONS,
    "msvd-qa": QUESTIONS,
    "activitynet-qa": QUESTIONS,
    "msrvtt-caption": (40, 80, 1e-5, 10, 16, 4, 2, 50, 128),
    "msvd-caption": (40, 80, 1e-5, 10, 16, 4, 2, 50, 128),
    "youcook2-caption": (40, 80, 1e-4, 10, 16, 4, 2, 30, 128),
}


def test_malmm_published():
    table = training_of("malmm")
    rows = {
        name: (
            row["bank_length"], row["num_frames"], row["learning_rate"], row["epochs"], *row["batch"].values(),
            row["max_new_tokens"], row["max_text_tokens"],
        )
        for name, row in table["datasets"].items()
    }  # fmt: skip
    assert rows == MALMM
    optimizer = table["optimizer"]
    assert (optimizer["betas"], optimizer["weight_decay"], optimizer["clipping"]) == ([0.9, 0.999], 0.05, None)
    assert table["augmentation"] == {"crop": {"scale": [0.5, 1.0], "ratio": [0.75, 1.3333]}, "flip": 0.5}


def test_optimizer_defaults():
    made = AdamWSettings()
    assert (made.betas, made.eps, made.weight_decay, made.clip_norm) == ((0.9, 0.999), 1e-8, 0.05, 1.0)
    assert (made.no_decay, made.decay_min_ndim) == (("*bias", "*norm[!a]*"), 2)
