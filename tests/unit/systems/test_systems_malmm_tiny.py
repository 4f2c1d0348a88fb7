"""The tiny MA-LMM and its rows: the same but for the memory, small enough to ship, exact for any question at any time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_folder
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.malmm.tiny import ROWS, tiny_malmm, tiny_malmm_row
from vidweave.types import Clip, Frames

OPTIONS = ("red", "blue", "green")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(4)
    config = tiny_malmm()
    model = VideoLanguageModel(config)
    for name, parameter in model.named_parameters():
        if "norm" not in name.lower():
            torch.nn.init.normal_(parameter, std=0.3)
    model.processor = Processor(config, {"language": load_tokenizer(asset_folder("tiny-llama"))})
    return model.eval()


def frames(count=14):
    values = np.random.default_rng(6).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)
    return Frames.from_array(values, fps=2)


def test_rows_differ_in_their_memory_and_their_frames_alone():
    specs = {row: tiny_malmm_row(row).parse() for row in ROWS}
    sizes = {}
    for row, spec in specs.items():
        policy, length, num_frames = ROWS[row]
        trunk = spec.connector.trunks["qformer"]
        assert (trunk.memory.policy, trunk.memory.length) == (policy, length)
        assert spec.streams["video"].need.num_frames == num_frames
        memory = specs["memory"].connector.trunks["qformer"].memory
        port = replace(spec.connector.ports["video"], num_time_positions=100)
        assert replace(trunk, memory=memory) == specs["memory"].connector.trunks["qformer"]
        assert port == specs["memory"].connector.ports["video"]
        with torch.device("meta"):
            connector = spec.connector.build()
        sizes[row] = sum(p.numel() for p in connector.parameters())
    assert max(sizes.values()) * 2 < 1_000_000  # bytes in half precision
    assert sizes["concat"] == sizes["memory"] - 92 * 128  # rows of its table of times


def test_any_question_at_any_time_is_exact_though_the_connector_reads_it(model):
    assert model.connector.trunks["qformer"].text_spec is not None
    live, whole = SlotPipeline(model).stream("What colour is the first object?"), frames()
    assert live.questions == ()
    for index in range(14):
        live.push(Frames(*(part[index : index + 1] for part in (whole.values, whole.pts_seconds, whole.indices))))
    for question in ("What colour is the first object?", "How many times does a circle come?"):
        answer = live.ask(question, options=OPTIONS)
        expected = SlotPipeline(model).ask(Clip(whole), question, options=OPTIONS, num_frames=14)
        for got, want in zip(answer.options, expected.options, strict=True):
            assert got.text == want.text
            assert got.score == pytest.approx(want.score, abs=1e-3)
        assert answer.trace.panels["stream"]["exact"]
        assert answer.trace.notes == []


def test_the_trace_reports_what_the_memory_holds(model):
    answer = SlotPipeline(model).ask(Clip(frames()), "What colour is the last object?", options=OPTIONS, num_frames=14)
    (info,) = answer.trace.panels["memory"]
    assert (info["stream"], info["segments"], info["policy"], info["length"]) == ("video", 14, "merge", 10)
    bank = info["banks"]["visual"]
    assert len(bank["tokens"]) == 36
    assert all(sum(sizes) == 13 and len(sizes) == 10 for sizes in bank["sizes"])
    assert answer.trace.tokens["video"] == 16
