"""What was trained is what is loaded: whole, in shards, beside bases, with adapters, over older files, after a kill."""

import json
import os
import shutil
import stat

import pytest
import torch
import transformers
from disk_faults import Disk, Killed, watched
from kept_weights import assert_kept, assert_same, change_everything, working_directory
from safetensors.torch import load_file, save_file
from slot_models import CAUSAL, TOWERS, tower_model
from tiny_models import LLAMA, tiny_config, toy_tokenizer, with_processor

import vidweave
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.errors import CheckpointError, ConfigError, MissingExtraError
from vidweave.language.adapters import add_lora, merge_lora
from vidweave.language.causal import CausalConfig
from vidweave.model import swap
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.growth import add_modality
from vidweave.model.processor import Processor
from vidweave.model.swap import current
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip

QUESTION = "what colour is the circle ?"
SMALL = AdapterConfig(rank=2)


def plain(family="causal"):
    return with_processor(tiny_config(family))


def with_lora(model, merged=False):
    add_lora(model.language_model, rank=2, dropout=0.0)
    if merged:
        change_everything(model, seed=8)
        merge_lora(model.language_model)
    return model


PATHS = {
    "plain": plain,
    "t5": lambda: plain("seq2seq"),
    "tied": lambda: with_processor(
        tiny_config("causal", language_model=CausalConfig(config=LLAMA | {"tie_word_embeddings": True}))
    ),
    "grown": lambda: add_modality(plain(), "depth", adapter=SMALL),
    "lora": lambda: with_lora(plain()),
    "lora-t5": lambda: with_lora(plain("seq2seq")),
    "merged": lambda: with_lora(plain(), merged=True),
    "grown with lora": lambda: add_modality(with_lora(plain()), "depth", adapter=SMALL),
}


QUICK = ("t5", "grown with lora")


@pytest.mark.parametrize("path", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PATHS])
def test_every_weight_is_kept(path, tmp_path):
    assert_kept(PATHS[path](), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(TOWERS), *sorted(CAUSAL)])
def test_every_weight_of_every_family_is_kept(name, tmp_path):
    config = tiny_config("causal", language_model=CausalConfig(config=CAUSAL[name])) if name in CAUSAL else None
    assert_kept(tower_model(name) if config is None else VideoLanguageModel(config), tmp_path)


def test_a_loaded_model_that_was_trained_does_not_get_its_base_back(tmp_path, frames):
    """The fault as it was found: load, train, save, load."""
    plain().save_pretrained(tmp_path / "base")
    model = vidweave.load(tmp_path / "base").model
    model.save_pretrained(tmp_path / "part", bases={"language_model": str(tmp_path / "base")})
    model = vidweave.load(tmp_path / "part").model
    assert model.config.bases
    change_everything(model)
    model.save_pretrained(tmp_path / "part")
    again = vidweave.load(tmp_path / "part").model
    assert_same(model, again)
    asked = {"options": ("red", "blue", "green")}
    answers = [SlotPipeline(m).ask(Clip(video=frames), QUESTION, **asked) for m in (model, again)]
    assert answers[0].options == answers[1].options
    for name in ("grown", "copied"):
        add_modality(again, "depth", adapter=SMALL).save_pretrained(tmp_path / name)
        assert json.loads((tmp_path / name / "config.json").read_text())["bases"] == {}


# -- bases


@pytest.fixture
def part(tmp_path):
    """A trained part beside its base."""
    model = plain()
    model.save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "part", bases={"language_model": tmp_path / "base"})
    return tmp_path / "part"


def add_to_part(part, change):
    own, base = (load_file(part.parent / name / "model.safetensors") for name in ("part", "base"))
    key = "language_model.model.lm_head.weight"
    save_file({**own, key: change(base[key])}, part / "model.safetensors", metadata={"format": "pt"})


def test_a_tensor_in_folder_and_base_must_be_the_same(part):
    add_to_part(part, lambda tensor: tensor.clone())
    VideoLanguageModel.from_pretrained(part)
    add_to_part(part, lambda tensor: tensor + 1)
    message = r"part and the base '\.\./base' of 'language_model' hold 1 different: language_model.model.lm_head.weight"
    with pytest.raises(CheckpointError, match=message + r".*remove 'language_model' from 'bases' in its config.json"):
        VideoLanguageModel.from_pretrained(part)


def test_a_base_fills_only_what_is_named_and_writes_what_it_lacks(tmp_path):
    model = plain()
    model.save_pretrained(tmp_path / "base")
    lora = with_lora(VideoLanguageModel.from_pretrained(tmp_path / "base"))
    for name, parameter in lora.named_parameters():
        if ".lora_" in name:
            parameter.data.normal_()
    lora.save_pretrained(tmp_path / "part", bases={"language_model": tmp_path / "base"})
    stored = [n for n in load_file(tmp_path / "part" / "model.safetensors") if n.startswith("language_model.")]
    assert stored
    assert all(".lora_" in name for name in stored)
    assert_same(lora, VideoLanguageModel.from_pretrained(tmp_path / "part"))


def test_a_part_that_holds_nothing_of_its_own_loads(tmp_path):
    model = plain()
    model.save_pretrained(tmp_path / "base")
    roots = ("encoders", "connector", "language_model")
    model.save_pretrained(tmp_path / "part", bases=dict.fromkeys(roots, str(tmp_path / "base")))
    assert load_file(tmp_path / "part" / "model.safetensors") == {}
    assert_same(model, VideoLanguageModel.from_pretrained(tmp_path / "part"))


@pytest.mark.parametrize("typed", ["base", "./base", "deep/base", "deep/../base", "{}/deep/base"])
def test_a_path_of_a_base_is_found_from_anywhere_and_never_on_the_hub(tmp_path, monkeypatch, typed):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "deep").mkdir(parents=True)
    elsewhere.mkdir()
    model = plain()
    with working_directory(home):
        model.save_pretrained("base")
        model.save_pretrained("deep/base")
        model.save_pretrained("part", bases={"language_model": typed.format(home)})
    with working_directory(elsewhere):
        assert_same(model, VideoLanguageModel.from_pretrained(home / "part"))
        if "deep/base" not in typed:  # neighbors may move together
            shutil.move(home, tmp_path / "moved")
            assert_same(model, VideoLanguageModel.from_pretrained(tmp_path / "moved" / "part"))


def test_a_base_does_not_depend_on_what_lies_in_the_working_directory(part, tmp_path):
    other = tmp_path / "elsewhere"
    (other / "tiny-rgb").mkdir(parents=True)
    with working_directory(other):
        vidweave.load("tiny-base")
    shutil.rmtree(part.parent / "base")
    (other / "base").mkdir()
    with (
        working_directory(other),
        pytest.raises(CheckpointError, match=r"the base '\.\./base' of .* is not there; put it"),
    ):
        VideoLanguageModel.from_pretrained(part)


# -- what would not load


def test_what_would_not_load_is_not_written(tmp_path):
    model = plain()
    model.save_pretrained(tmp_path / "m")
    before = _files(tmp_path / "m")
    model.language_model.extra = torch.nn.Linear(2, 3)
    with pytest.raises(
        CheckpointError, match=r"nothing was saved.* 2 unexpected: language_model.extra.bias.*undo what was"
    ):
        model.save_pretrained(tmp_path / "m")
    del model.language_model.extra
    model.language_model.model.resize_token_embeddings(43)
    with pytest.raises(CheckpointError, match=r"nothing was saved.* 2 of another shape: .*43"):
        model.save_pretrained(tmp_path / "m")
    assert _files(tmp_path / "m") == before


def test_tied_weights_that_have_parted_are_not_written(tmp_path):
    model = PATHS["tied"]()
    inner = model.language_model.model
    inner.lm_head.weight = torch.nn.Parameter(inner.lm_head.weight.detach() + 1)
    with pytest.raises(
        CheckpointError, match=r"nothing was saved.* 1 tied weights .*lm_head.weight; set tie_word_embeddings"
    ):
        model.save_pretrained(tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("option", ["variant", "distributed_checkpoint", "push_to_hub"])
def test_settings_that_write_what_does_not_load_are_refused(option, tmp_path):
    with pytest.raises(ConfigError, match=f"save_pretrained does not take {option}='x'; "):
        plain().save_pretrained(tmp_path / "m", **{option: "x"})
    assert not (tmp_path / "m").exists()


def test_other_processes_write_nothing(tmp_path):
    plain().save_pretrained(tmp_path / "m", is_main_process=False)
    assert not (tmp_path / "m").exists()


def test_a_folder_with_adapters_needs_peft(tmp_path, monkeypatch):
    with_lora(plain()).save_pretrained(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingExtraError, match="LoRA on a language model needs peft"):
        vidweave.load(tmp_path)


def test_adapters_answer_the_same_after_loading_and_start_at_zero_in_a_fresh_model(tmp_path, frames):
    model = with_lora(plain())
    change_everything(model)
    model.save_pretrained(tmp_path)
    again = vidweave.load(tmp_path).model
    asked = {"options": ("red", "blue", "green")}
    assert (
        SlotPipeline(again).ask(Clip(video=frames), QUESTION, **asked).options
        == SlotPipeline(model).ask(Clip(video=frames), QUESTION, **asked).options
    )
    with pytest.raises(ConfigError, match="has LoRA adapters already; train those, or merge_lora them first"):
        add_lora(again.language_model)
    fresh = VideoLanguageModel(again.config)
    ups = [parameter for name, parameter in fresh.named_parameters() if ".lora_B." in name]
    assert len(ups) == 4
    assert not any(up.any() for up in ups)


# -- over older files


def test_no_older_file_shadows_the_new_ones(tmp_path):
    """Whole over shards, shards over whole, fewer over more: only the files of the last save are there."""
    model, size = plain(), "40KB"
    for number, most in enumerate(["5GB", size, "5GB", "15KB", size]):
        change_everything(model, seed=number)
        model.save_pretrained(tmp_path, max_shard_size=most)
        assert_same(model, VideoLanguageModel.from_pretrained(tmp_path))
        index = tmp_path / "model.safetensors.index.json"
        named = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
        assert {file.name for file in tmp_path.glob("*.safetensors")} == named


def test_a_folder_with_two_sets_of_weights_is_refused(tmp_path):
    """As older versions left it."""
    plain().save_pretrained(tmp_path, max_shard_size="40KB")
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"holds both model.safetensors and the shards of .*index.json.*remove one"
    ):
        VideoLanguageModel.from_pretrained(tmp_path)


def test_the_processor_goes_with_its_model(tmp_path):
    model = plain()
    model.save_pretrained(tmp_path)
    bare = VideoLanguageModel(model.config)
    bare.save_pretrained(tmp_path)  # the same model without one, after an epoch say
    assert VideoLanguageModel.from_pretrained(tmp_path).processor.tokenizers
    VideoLanguageModel(tiny_config("seq2seq")).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="has no processor"):
        _ = VideoLanguageModel.from_pretrained(tmp_path).processor
    Processor(bare.config, {"language": toy_tokenizer(), "more": toy_tokenizer()}).save_pretrained(tmp_path)
    assert sorted(VideoLanguageModel.from_pretrained(tmp_path).processor.tokenizers) == ["language", "more"]
    Processor(bare.config, {"language": toy_tokenizer()}).save_pretrained(tmp_path)
    assert os.listdir(tmp_path / "tokenizers") == ["language"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_files_have_the_usual_permissions(tmp_path, umask, mode):
    model, before = plain(), os.umask(umask)
    try:
        model.save_pretrained(tmp_path / "m", max_shard_size="40KB")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "m").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}
    assert len(files) > 6


# -- kills and full disks


def _files(folder):
    """The files that count, without remains of saves."""
    folder = current(folder)
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: data for name, data in files.items() if not name.startswith(".")}


@pytest.fixture
def old_and_new(tmp_path, monkeypatch):
    """A saved model, another one to save in shards over it, and the files of both; weight files are seen half written."""
    true = transformers.modeling_utils.safe_save_file

    def halfway(tensors, file, **settings):
        with open(file, "wb") as stream:
            stream.write(b"half")
        true(tensors, file, **settings)

    monkeypatch.setattr(transformers.modeling_utils, "safe_save_file", halfway)
    monkeypatch.setattr(swap, "sync", lambda *paths: None)  # a killed process loses nothing that it has written
    plain("seq2seq").save_pretrained(tmp_path / "old")
    new = plain()
    save = lambda folder: new.save_pretrained(folder, max_shard_size="60KB")  # noqa: E731
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    with watched(Disk()) as disk:
        save(tmp_path / "new")
    return tmp_path / "old", tmp_path / "new", save, disk.count


def _kill_at(at, old_and_new, tmp_path):
    old, new, save, _ = old_and_new
    folder = tmp_path / f"at-{at}"
    shutil.copytree(old, folder)
    with pytest.raises(Killed), watched(Disk(at)):
        save(folder)
    return folder, _files(folder) == _files(new), _files(folder) == _files(old)


def test_a_kill_at_some_changes_leaves_the_old_or_the_new_model(old_and_new, tmp_path):
    total = old_and_new[-1]
    seen = [_kill_at(at, old_and_new, tmp_path)[1:] for at in range(0, total, 9)]
    assert total > 40
    assert all(is_new or is_old for is_new, is_old in seen)
    assert {is_new for is_new, _ in seen} == {True, False}


@pytest.mark.slow
def test_a_kill_at_any_change_leaves_a_model_that_loads(old_and_new, tmp_path):
    old, new = (VideoLanguageModel.from_pretrained(folder) for folder in old_and_new[:2])
    for at in range(0, old_and_new[-1], 5):  # every change of the disk, without a load, is the swap's test
        folder, is_new, is_old = _kill_at(at, old_and_new, tmp_path)
        assert is_new or is_old, at
        result = vidweave.load(folder).model
        assert_same(new if is_new else old, result)
        assert result.processor.tokenizers
        shutil.rmtree(folder)


def test_a_full_disk_is_reported_and_leaves_the_old_model(old_and_new, tmp_path, monkeypatch):
    old, _, save, _ = old_and_new
    before = _files(old)
    message = r"could not save to .*No space left.*existing files are unchanged"
    with watched(Disk(4, is_full=True)), pytest.raises(CheckpointError, match=message):
        save(old)
    assert _files(old) == before

    def refuse(*_, **__):
        raise Exception("No space left on device (os error 28)")  # as the tokenizers library does

    monkeypatch.setattr(Processor, "write_into", refuse)
    with pytest.raises(CheckpointError, match=r"could not save to .*os error 28"):
        save(old)
    assert _files(old) == before
