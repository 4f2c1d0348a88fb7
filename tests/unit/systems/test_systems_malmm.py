"""MA-LMM: presets at paper size, the memory plugged into InstructBLIP, released layouts as tiny replicas."""

import json
from importlib import resources

import numpy as np
import pytest
import torch
from test_systems_blip2 import NUM_QUERIES, QFORMER, VISION, _shake, _text_config, _tokenizer
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, LlamaForCausalLM

import vidweave
from vidweave.cli.main import run
from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.encoders.eva_vit import eva_to_lavis
from vidweave.errors import CheckpointError, ConfigError, ShapeError, UnknownNameError
from vidweave.language.decoding import Decoding
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.describe import describe_model
from vidweave.model.released import read_checkpoint
from vidweave.pipelines.slot import SlotPipeline
from vidweave.registry import MODELS
from vidweave.systems.malmm.checkpoint import (
    assemble,
    from_eva,
    from_lavis,
    from_vicuna,
    load_finetuned,
    load_plugged,
    plug_in,
)
from vidweave.systems.malmm.preset import DATASETS, malmm, with_memory
from vidweave.types import Clip, Frames

QUESTION = "what is the colour of a cat ?"


@pytest.fixture
def folder(tmp_path):
    """A Hugging Face InstructBLIP folder."""
    config = InstructBlipConfig(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config=_text_config("llama").to_dict(),
        num_query_tokens=NUM_QUERIES,
        image_token_index=59,
    )
    torch.manual_seed(2)
    model = InstructBlipForConditionalGeneration(config).eval()
    _shake(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("qkv.bias"):  # LAVIS' tower has no key bias
                parameter[24:48] = 0
    model.save_pretrained(tmp_path / "hf")
    _tokenizer(False).save_pretrained(tmp_path / "hf")
    _tokenizer(False).save_pretrained(tmp_path / "hf" / "qformer_tokenizer")
    return tmp_path / "hf"


def clip(count):
    rng = np.random.default_rng(6)
    return Clip(video=Frames.from_array(rng.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8), fps=1))


def logits(model, frames, num_frames=None):
    with torch.no_grad():
        return model(model.processor(clip(frames), QUESTION, num_frames=num_frames)).logits


# ---- the plug-in


def test_one_frame_is_plain_instructblip(folder):
    base = vidweave.load(folder).model
    model = plug_in(base, length=3, num_frames=7)
    torch.testing.assert_close(logits(model, 1, 1), logits(base, 1, 1), rtol=1e-4, atol=1e-5)
    assert model.state_dict().keys() == base.state_dict().keys()
    answer = SlotPipeline(model).answer([vidweave.Query.about(clip(9), QUESTION)], max_new_tokens=2, num_beams=1)[0]
    assert answer.trace.tokens["video"] == NUM_QUERIES  # whatever the length of the clip
    assert len(answer.trace.frames) == 7
    assert [f.index for f in answer.trace.frames] == [0, 1, 3, 4, 5, 7, 8]


def test_the_memory_matters_and_mixed_lengths_do_not(folder):
    model = plug_in(vidweave.load(folder).model, length=3, num_frames=9)
    assert (logits(model, 9) - logits(model, 9, 1)).abs().max() > 1e-4
    queries = [vidweave.Query.about(clip(count), QUESTION) for count in (9, 2, 6)]
    with torch.no_grad():
        together = model(model.processor(queries)).logits
    for row, count in enumerate((9, 2, 6)):
        torch.testing.assert_close(together[row : row + 1], logits(model, count), rtol=1e-3, atol=1e-4)


def test_registered_names_load_through_the_plug_in(folder):
    preset = MODELS.get("malmm-vicuna-7b-m20")()
    model = load_plugged(folder, preset)
    assert model.spec.connector.trunks["qformer"].memory.length == 20
    assert model.spec.streams["video"].need.num_frames == 100
    assert model.config.name == "malmm-vicuna-7b-coin"
    assert model.spec.decoding["max_new_tokens"] == 20
    MODELS.register(
        "tiny-plugged",
        "vidweave.systems.malmm.preset:malmm_7b_m10",
        weights=str(folder),
        loader="vidweave.systems.malmm.checkpoint:load_plugged",
    )
    try:
        assert vidweave.load("tiny-plugged").model.spec.connector.trunks["qformer"].memory.length == 10
    finally:
        MODELS.unregister("tiny-plugged")


def test_plugged_models_save_and_load(folder, tmp_path):
    model = plug_in(vidweave.load(folder).model, length=3, num_frames=5, num_time_positions=8)
    model.save_pretrained(tmp_path / "saved")
    again = vidweave.load(tmp_path / "saved").model
    torch.testing.assert_close(logits(again, 6), logits(model, 6))


# ---- released layouts


def finetuned_file(base, tmp_path, rows=11, **changes):
    """MA-LMM's layout: all that is trained, all buffers, and the state of the training."""
    torch.manual_seed(4)
    connector = {k: v + 0.1 * torch.randn_like(v) for k, v in base.connector.state_dict().items()}
    connector["ports.video.time_embedding"] = torch.randn(rows, 24)
    state = lavis_connector_keys().to_theirs(connector)
    state["Qformer.bert.embeddings.position_ids"] = torch.arange(20)[None]
    state["llm_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3)
    state = {key: value for key, value in {**state, **changes}.items() if value is not None}
    config = {"run": {"init_lr": 1e-4}}
    torch.save({"model": state, "optimizer": {"state": {}}, "config": config, "epoch": 3}, tmp_path / "best.pth")
    return tmp_path / "best.pth", connector


def test_finetuned_file(folder, tmp_path):
    base = vidweave.load(folder).model
    file, connector = finetuned_file(base, tmp_path)
    model, report = load_finetuned(file, base, length=4, num_frames=6)
    own = model.connector.state_dict()
    assert all(torch.equal(own[key], value) for key, value in connector.items())
    assert list(report.dropped["best.pth"]) == [
        "Qformer.bert.embeddings.position_ids",
        "llm_model.model.layers.0.self_attn.rotary_emb.inv_freq",
    ]
    assert set(report.replaced) == {f"connector.{key}" for key in base.connector.state_dict()}
    assert not report.fresh
    assert any("left out Qformer" in line for line in report.lines())
    logits(model, 8)


def test_the_command_converts_a_finetuned_file(folder, tmp_path, capsys):
    base = vidweave.load(folder).model
    file, _ = finetuned_file(base, tmp_path)
    expected, _ = load_finetuned(file, base, length=4, num_frames=6)
    out = tmp_path / "converted"
    words = ["convert", "malmm", file, "--base", folder, "--set", "length=4", "--set", "num_frames=6", "--out", out]
    assert run([str(word) for word in words]) == 0
    assert f"{file.name}:" in capsys.readouterr().out
    torch.testing.assert_close(logits(vidweave.load(out).model, 6), logits(expected, 6))
    report = json.loads((out / "conversion.json").read_text())
    loaded = {key for keys in report["loaded"].values() for key in keys}
    assert loaded == set(expected.state_dict())


def test_a_finetuned_model_as_a_stream_of_any_length(folder, tmp_path):
    """Only the frame that is asked about has a time: the one row that training has touched."""
    base = vidweave.load(folder).model
    file, connector = finetuned_file(base, tmp_path, rows=11)
    strict, _ = load_finetuned(file, base, length=4, num_frames=6)
    endless, _ = load_finetuned(file, base, length=4, num_frames=6, beyond_times="last")
    port = endless.connector.ports["video"]
    assert port.last_time_position == 5
    keys = torch.zeros(1, 5, 24)
    assert torch.equal(port.mark_last(keys)[0, 0], connector["ports.video.time_embedding"][5])
    frames = clip(14)["video"]
    with pytest.raises(ShapeError, match="14 segments, its time table 11 rows"):
        SlotPipeline(strict).stream(QUESTION).push(frames)
    stream = SlotPipeline(endless).stream(QUESTION)
    stream.push(frames)
    assert stream.segments == {"video": 14}
    assert stream.ask(QUESTION, max_new_tokens=2, num_beams=1).trace.panels["stream"]["exact"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ln_vision.bias": None}, r"1 missing: connector\.ports\.video\.input_norm\.bias"),
        ({"query_tokens": torch.zeros(1, 5, 32)}, r"query_tokens: \(1, 5, 32\) instead of \(1, 6, 32\)"),
        ({"gate.weight": torch.zeros(1)}, r"1 keys of the other layout are not in the key table: gate\.weight"),
        ({"llm_proj.scale": torch.zeros(1)}, r"1 unexpected: connector\.ports\.video\.output_proj\.scale"),
        ({"image_pe.weight": None}, "has no image_pe.weight; use plug_in for a file of InstructBLIP"),
    ],
)
def test_finetuned_files_that_do_not_fit(folder, tmp_path, changes, message):
    base = vidweave.load(folder).model
    file, _ = finetuned_file(base, tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_finetuned(file, base, length=4, num_frames=6)


def test_lavis_files_and_a_vicuna_folder_give_the_same_model(folder, tmp_path):
    plugged = plug_in(vidweave.load(folder).model, length=3, num_frames=6, num_time_positions=8)
    spec = plugged.config
    state = {k: v for k, v in plugged.connector.state_dict().items() if "time_embedding" not in k}
    trimmed = {**lavis_connector_keys().to_theirs(state), "Qformer.cls.predictions.bias": torch.zeros(50)}
    torch.save({"model": trimmed}, tmp_path / "trimmed.pth")
    eva = eva_to_lavis(plugged.encoders["vision"].state_dict())
    torch.save({**eva, "blocks.39.norm1.bias": torch.zeros(24), "head.weight": torch.zeros(2)}, tmp_path / "eva.pth")
    vicuna = LlamaForCausalLM(_text_config("llama"))
    vicuna.load_state_dict(plugged.language_model.model.state_dict())
    vicuna.resize_token_embeddings(58)  # the added tokens are not in the folder
    vicuna.save_pretrained(tmp_path / "vicuna")
    model, report = assemble(
        spec,
        from_vicuna(tmp_path / "vicuna"),
        from_eva(read_checkpoint(tmp_path / "eva.pth").state),
        from_lavis(read_checkpoint(tmp_path / "trimmed.pth").state),
    )
    assert report.fresh == (
        "connector.ports.video.time_embedding",
        "language_model.model.model.embed_tokens.weight[58:]",
        "language_model.model.lm_head.weight[58:]",
    )
    assert set(report.dropped["eva_vit_g"]) == {"blocks.39.norm1.bias", "head.weight"}
    assert not report.replaced
    model.processor = plugged.processor
    torch.testing.assert_close(logits(model, 8)[:, :58], logits(plugged, 8)[:, :58])
    with pytest.raises(CheckpointError, match=r"vicuna and eva_vit_g does not fit the model: \d+ missing: connector\."):
        assemble(spec, from_vicuna(tmp_path / "vicuna"), from_eva(read_checkpoint(tmp_path / "eva.pth").state))


class Hostile:
    def __reduce__(self):
        return print, ("run",)


def test_hostile_and_broken_files(tmp_path):
    torch.save({"model": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(CheckpointError, match=r"hostile\.pth cannot be read as a file of tensors alone"):
        read_checkpoint(tmp_path / "hostile.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(CheckpointError, match=r"cut\.pth cannot be read"):
        read_checkpoint(tmp_path / "cut.pth")
    torch.save({"model": {"epoch": 3}}, tmp_path / "numbers.pth")
    with pytest.raises(CheckpointError, match="holds no dict of tensors"):
        read_checkpoint(tmp_path / "numbers.pth")
    with pytest.raises(CheckpointError, match=r"none\.pth cannot be read"):
        read_checkpoint(tmp_path / "none.pth")


# ---- paper size


@pytest.mark.parametrize(("language", "width"), [("vicuna-7b", 4096), ("vicuna-13b", 5120)])
def test_trainable_parameters_at_paper_size(language, width):
    with torch.device("meta"):
        connector = VideoLanguageModel(malmm("lvu", language=language)).connector
    count = sum(p.numel() for p in connector.parameters())
    assert count == 185_660_160 + 768 * width + width + 120 * 1408 + 32 * 768 + 2 * 1408
    assert language != "vicuna-7b" or count == 189_006_336


@pytest.mark.slow
def test_costs_do_not_grow_in_the_language_model():
    rows = {row.slot: row for row in describe_model(MODELS.get("malmm-vicuna-7b-m10")())}
    assert rows["connector"].note == "32 tokens to the language model"
    steady = 17e9 + 2 * 768 * 4096 * 32
    assert 10 * steady < rows["connector"].flops < 25 * steady  # 20 frames, the first ones with less to see


def test_data_sets():
    for name, settings in DATASETS.items():
        spec = malmm(name).parse()
        assert spec.connector.trunks["qformer"].memory.length == settings.length
        assert spec.streams["video"].need.num_frames == settings.num_frames
        assert spec.connector.trunks["qformer"].text_spec.truncation_side == "left"
        Decoding.of(spec.decoding)
    assert {(s.length, s.num_frames) for s in DATASETS.values()} == {(10, 20), (20, 100), (40, 80)}
    assert DATASETS["msvd-qa"].decoding["length_penalty"] == 0.0
    assert DATASETS["youcook2-caption"].decoding["min_new_tokens"] == 2


def test_more_frames_than_times():
    port = malmm("demo", num_frames=300, beyond_times="last").parse().connector.ports["video"]
    assert (port.num_time_positions, port.last_time_position) == (120, 119)
    assert malmm("coin", beyond_times="last").parse().connector.ports["video"].last_time_position == 99


def test_without_a_memory():
    spec = malmm("demo", length=0).parse()
    assert spec.connector.trunks["qformer"].memory is None
    assert spec.connector.ports["video"].num_time_positions == 0


def test_preset_faults(folder):
    with pytest.raises(UnknownNameError, match="unknown data set of MA-LMM 'lvi'; did you mean 'lvu'"):
        malmm("lvi")
    with pytest.raises(ConfigError, match=r"200 frames are more than the table of time steps has rows \(120\)"):
        malmm("demo", num_frames=200)
    config = with_memory(vidweave.load(folder).model.config, length=2)
    with pytest.raises(ConfigError, match="trunk 'qformer' has a memory of 2 already"):
        with_memory(config)
    data = json.loads(json.dumps(malmm("demo").parse().to_dict()))
    assert type(malmm("demo").parse()).from_dict(data) == malmm("demo").parse()


def test_published_numbers_agree_with_the_presets():
    file = resources.files("vidweave.systems.malmm") / "published.json"
    published = json.loads(file.read_text(encoding="utf-8"))
    assert published["trainable_parameters"] == 189_006_336
    assert set(published["results"]) == set(DATASETS) - {"demo"} == set(published["training"]["datasets"])
    for name, training in published["training"]["datasets"].items():
        settings = DATASETS[name]
        result = (training["bank_length"], training["num_frames"], training["max_text_tokens"])
        assert result == (settings.length, settings.num_frames, settings.max_text_tokens)
        assert training["max_new_tokens"] == settings.decoding["max_new_tokens"]
    lvu = published["results"]["lvu"]
    for task, clips in lvu["clips"].items():  # each value is a share of whole clips
        value = lvu["values"][task]
        assert any(round(100 * right / clips, 1) == value for right in range(clips + 1)), task
