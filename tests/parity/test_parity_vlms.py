"""Frames and prompts of vision-language families equal what transformers' own processors make, which need torchvision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_vlms import FAMILIES, files_of
from vlm_cases import CASES, PROMPT, frames_of, kept, quantized

from vidweave.pipelines.vlm.family import Footage, MediaBlock
from vidweave.registry import VLM_FAMILIES


@pytest.fixture(scope="module")
def recorded(golden_dir: Path):
    folder = golden_dir / "vlms"
    return json.loads((folder / "texts.json").read_text(encoding="utf-8")), load_file(folder / "pixels.safetensors")


def _block(name: str, case_name: str) -> MediaBlock:
    case = CASES[case_name]
    seconds = torch.tensor(case.seconds, dtype=torch.float64).numpy()
    family = VLM_FAMILIES.get(name)(files_of(name))
    return family.video(Footage(frames_of(case), seconds, case.duration, case.is_dense))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FAMILIES)
def test_text_and_pixels_are_those_of_the_familys_processor(name, case, recorded):
    texts, pixels = recorded
    key, block = f"{name}/{case}", _block(name, case)
    family = VLM_FAMILIES.get(name)(files_of(name))
    asked = PROMPT.format(mark=FAMILIES[name].marks["video"]).replace(family.video_mark, block.text)
    tokenizer = family.files.tokenizer
    written = tokenizer.decode(tokenizer(family.opened(asked))["input_ids"])
    assert written == texts["texts"][key], "record again with tests/golden/vlms/record.py if transformers changed"
    for tensor, shape in texts["shapes"][key].items():
        if tensor == "second_per_grid_ts":  # our positions come from the frames' own times
            continue
        values = block.tensors[tensor]
        assert list(values.shape) == shape
        flat = values.reshape(-1)
        if values.is_floating_point():
            apart = (quantized(kept(flat)).int() - pixels[f"{key}/{tensor}"].int()).abs()
            assert apart.max() <= 1
            assert (apart > 0).float().mean() < 1e-3  # processors without AVX2 round single pixels another way
            torch.testing.assert_close(flat[:8], pixels[f"{key}/{tensor}/first"], rtol=0, atol=0.03)
        elif f"{key}/{tensor}" in pixels:
            assert torch.equal(flat, pixels[f"{key}/{tensor}"])
