"""Vision-language models without an entry of their own, and the page that lists those with one."""

from __future__ import annotations

import json
import re

import pytest
import tiny_vlms
import torch
import transformers as tf

import vidweave
from vidweave.errors import CheckpointError
from vidweave.pipelines.vlm.families.general import GeneralFamily
from vidweave.registry import VLM_FAMILIES
from vidweave.testing import check_pipeline
from vidweave.types import Clip

QUESTION, OPTIONS = "Which colour is it?", ("red", "a dark blue")


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """A tiny LLaVA 1.5, which reads stills and has no entry."""
    folder, tok = tmp_path_factory.mktemp("llava"), tiny_vlms.tokenizer()
    tok.chat_template = tiny_vlms.chat_template(tiny_vlms.PLAIN_MARKS)
    ids = {"eos_token_id": tok.eos_token_id, "pad_token_id": tok.pad_token_id, "bos_token_id": None}
    config = tf.LlavaConfig(
        text_config={"model_type": "llama", **tiny_vlms.LM, **ids},
        vision_config=tiny_vlms.CLIP_VIS,
        image_token_index=tok.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    tf.LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    whole = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    parts = {"image_processor": tf.CLIPImageProcessorPil(**size), "tokenizer": tok}
    tf.LlavaProcessor(**parts, **whole, chat_template=tok.chat_template).save_pretrained(folder)
    return folder


def test_a_model_without_an_entry_gets_stills_with_times(llava, uneven):
    pipe = vidweave.load(llava)
    check_pipeline(pipe, uneven, QUESTION, OPTIONS, max_new_tokens=3)
    answer = pipe.ask(uneven, QUESTION, num_frames=2, options=OPTIONS)
    assert "1.7 s: <image>×16\n62.0 s: <image>×16" in answer.trace.panels["prompt"]
    assert answer.trace.tokens["video"] == 32
    assert any("has no entry for models of type 'llava'" in note for note in answer.trace.notes)
    still = pipe.ask(Clip(image=tiny_vlms.clip_at([0.0])["video"]), QUESTION, max_new_tokens=1)
    assert still.trace.tokens["image"] == 16


def test_pixels_and_logits_of_the_general_path_are_the_processors(llava, uneven):
    pipe = vidweave.load(llava)
    seen = []
    frames = uneven["video"].values
    processor = tf.AutoProcessor.from_pretrained(llava)
    for index in (2, 6):
        seen.append(processor(images=[frames[index]], text="<image>", return_tensors="pt")["pixel_values"])
    block = pipe.engine.family.video(_footage(uneven, (2, 6)))
    assert torch.equal(block.tensors["pixel_values"], torch.cat(seen))


def _footage(clip, indices):
    from vidweave.pipelines.vlm.family import Footage

    video = clip["video"]
    return Footage(video.values[list(indices)], video.pts_seconds[list(indices)], 10.0)


def test_a_processor_that_cannot_be_loaded_is_told(llava, tmp_path):
    import shutil

    folder = shutil.copytree(llava, tmp_path / "other")
    data = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({**data, "processor_class": "NoSuchProcessor"}))
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": {"image_processor_type": "Nothing"}}))
    with pytest.raises(CheckpointError, match="which has no entry in vidweave, and") as told:
        vidweave.load(folder)
    assert "\n" not in str(told.value)


def test_the_page_of_models_lists_every_family(repository):
    page = (repository / "docs/models.md").read_text(encoding="utf-8")
    listed = {found: row for row in page.splitlines() for found in re.findall(r"^\| [A-Z][^|]* \| `(\w+)` \|", row)}
    assert set(listed) == set(VLM_FAMILIES) - {"general"}
    for name, row in listed.items():
        family = VLM_FAMILIES.get(name)
        assert ("equal" in row) == (name in tiny_vlms.FAMILIES), name
        assert ("not at all" in row) == (family.times == "none") or "the same" in row
        assert f"| {family.num_frames} |" in row, name
    assert GeneralFamily.num_frames == 8


def test_the_example_of_a_family_of_ones_own_works(repository, vlm, uneven):
    page = (repository / "docs/models.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from vidweave\.pipelines.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102
    try:
        files = tiny_vlms.files_of("llava_onevision")
        own = VLM_FAMILIES.get("my_family")(files)
        block = own.video(_footage(uneven, (0, 1)))
    finally:
        VLM_FAMILIES.unregister("my_family")
    assert block.tensors["pixel_values_videos"].shape == (1, 2, 3, 56, 56)
    assert block.text == "<video>" * 393
