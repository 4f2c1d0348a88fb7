"""Every preset against what the specifications say, value by value; and against a frozen snapshot, so that nothing moves.

After a wanted change: `VIDWEAVE_WRITE_SNAPSHOTS=1 pytest tests/unit/systems/test_preset_constants.py -k snapshot`, and read
the difference.
"""

import json
import os
from pathlib import Path

import pytest
from preset_values import (
    BEATS,
    CREMA,
    CREMA_DECODING,
    CREMA_IMAGES,
    CREMA_MODALITIES,
    CREMA_PORT,
    EVA_VIT_G,
    MALMM_DATASETS,
    MALMM_PROMPTS,
    MERV_ENCODERS,
    MERV_ORDER,
    MERV_SHARED,
    MERV_WIDTHS,
    VIDEOTGB_MODELS,
    VISUAL_RANGES,
    flat,
    under,
)

from vidweave.encoders.languagebind import LanguageBindConfig
from vidweave.registry import MODELS
from vidweave.systems.crema.preset import DATASETS as CREMA_DATASETS
from vidweave.systems.crema.preset import crema
from vidweave.systems.malmm.preset import DATASETS, malmm
from vidweave.systems.merv.preset import ENCODERS, merv, merv_frozen, merv_full

SNAPSHOT = Path(__file__).with_name("preset_snapshot.json")


def values(config):
    return dict(flat(config.to_dict()["spec"]))


def preset(name):
    return MODELS.get(name)()


def check(config, expected):
    have = values(config)
    # a mapping that is not there at all reads as None
    wrong = {path: (have.get(path), value) for path, value in expected.items() if have.get(path) != value}
    assert not wrong, wrong


@pytest.mark.parametrize("dataset", DATASETS)
def test_malmm(dataset):
    check(malmm(dataset), MALMM_DATASETS[dataset])
    assert DATASETS[dataset].prompt == MALMM_PROMPTS[dataset]


def test_malmm_plug_in_sizes():
    names = {
        "malmm-vicuna-7b-m10": 10,
        "malmm-vicuna-7b-m20": 20,
        "malmm-vicuna-7b-m40": 40,
        "malmm-vicuna-13b-m10": 10,
    }
    result = [name for name in MODELS if name.startswith("malmm-")]
    lengths = {values(preset(n)).get("connector.trunks.qformer.memory.length") for n in result}
    assert lengths == set(names.values())


@pytest.mark.parametrize("name", VIDEOTGB_MODELS)
def test_videotgb(name):
    check(preset(name), VIDEOTGB_MODELS[name])


@pytest.mark.parametrize("build", [merv_frozen, merv_full])
def test_merv(build):
    config = build()
    for name in MERV_ORDER:
        check(config, MERV_ENCODERS[name])
        check(
            config, {f"connector.trunks.{name}.key_width": MERV_WIDTHS[name], f"connector.trunks.{name}.widths": [4096]}
        )
    check(config, MERV_SHARED)
    fusion = {"kind": "mixer", "streams": MERV_ORDER, "weighting": "attention", "query_width": 3072}
    check(config, under("connector.fusion", fusion))
    assert list(config.to_dict()["spec"]["encoders"]) == MERV_ORDER
    assert values(config)["layout.parts.2.text"] == "In: {question}{options}\nOut:"


@pytest.mark.parametrize("name", MERV_ORDER)
def test_merv_with_one_encoder(name):
    config = merv((name,), fusion="equal")
    alone = {**MERV_ENCODERS[name], f"streams.{name}.need.stride": 1}
    check(config, alone)


def test_merv_sources():
    sources = {name: encoder.source for name, encoder in ENCODERS.items() if name in MERV_ORDER}
    assert sources == {
        "languagebind": "LanguageBind/LanguageBind_Video_merge",
        "dinov2": "facebook/dinov2-with-registers-large",
        "vivit": "google/vivit-b-16x2-kinetics400",
        "siglip": "google/siglip-base-patch16-224",
    }
    tower = LanguageBindConfig()
    assert (tower.window, tower.width, tower.layers, tower.heads) == (8, 1024, 24, 16)


@pytest.mark.parametrize("dataset", CREMA_MODALITIES)
def test_crema(dataset):
    config = crema(dataset)
    names = CREMA_MODALITIES[dataset]
    assert list(CREMA_DATASETS[dataset].modalities) == names
    check(config, CREMA)
    for name in names:
        port = {**CREMA_PORT, "absent": "error" if name == "video" else "skip", "input_norm": name != "point_cloud"}
        check(config, under(f"connector.ports.{name}", {**port, "input_proj": 1408 if name == "audio" else None}))
        if name in VISUAL_RANGES:
            check(config, under(f"encoders.vision.specs.{name}", {**CREMA_IMAGES, "value_range": VISUAL_RANGES[name]}))
            check(config, under(f"streams.{name}.need", {"num_frames": 4, "rule": "borders"}))
            check(config, under("encoders.vision", EVA_VIT_G))
    if "audio" in names:
        check(config, BEATS)
    if "point_cloud" in names:
        check(config, under("encoders.points.specs.point_cloud", {"num_points": 5000, "feature_width": 1408}))
    if len(names) > 1:
        fusion = {"kind": "gated_append", "streams": names}
        fusion |= {f"align_stream.{name}": "mean_repeat" for name in names if name in ("audio", "point_cloud")}
        check(config, under("connector.fusion", fusion))
    check(config, under("decoding", CREMA_DECODING.get(dataset, {})))


def test_crema_as_the_original_hears():
    """Without the switch the whole clip is heard; with it the first 10.24 s in two segments (spec 2.3)."""
    heard = values(crema("music-avqa", original_audio=True))
    spec = "encoders.audio.specs.audio"
    assert {key: heard[f"{spec}.{key}"] for key in ("max_windows", "min_windows", "coverage")} == {
        "max_windows": 2, "min_windows": 2, "coverage": "head",
    }  # fmt: skip
    filled = values(crema("sqa3d", original_points=True))
    assert filled["encoders.points.specs.point_cloud.fill"] == "zero"
    assert values(crema("sqa3d"))["encoders.points.specs.point_cloud.fill"] == "repeat"


def differing(have, common):
    """Entries that `common` lacks or has otherwise, and None for those that only `common` has."""
    common = dict(common)
    yield from ((k, v) for k, v in have.items() if k not in common or common[k] != v)
    yield from ((k, None) for k in common.keys() - have.keys())


def test_frozen_snapshot():
    """Every value of every registered preset, those that no specification names included."""
    presets = [name for name in MODELS if not name.startswith("tiny-")]
    made = {name: dict(sorted(values(preset(name)).items())) for name in presets}
    # of the data sets, only what differs from the first preset of their system
    for system, base, build, datasets in (
        ("malmm", "malmm-vicuna-7b-m10", malmm, DATASETS),
        ("crema", "crema-sqa3d", crema, CREMA_DATASETS),
    ):
        common = made[base].items()
        made |= {f"{system}/{dataset}": dict(differing(values(build(dataset)), common)) for dataset in datasets}
    if os.environ.get("VIDWEAVE_WRITE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(made, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    frozen = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert sorted(made) == sorted(frozen)
    for name, expected in frozen.items():
        have = json.loads(json.dumps(made[name]))
        moved = {k: (have.get(k), expected.get(k)) for k in {*have, *expected} if have.get(k) != expected.get(k)}
        assert not moved, (name, moved)
