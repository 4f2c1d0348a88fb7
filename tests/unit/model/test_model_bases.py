"""Bases: frozen weights in folders that transformers or we wrote, named by a trained part."""

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from slot_models import CAUSAL, TOWERS, randomise, tower_model
from tiny_models import LLAMA, T5, tiny_config

from vidweave.encoders.families import FAMILIES
from vidweave.errors import CheckpointError
from vidweave.language.causal import CausalConfig
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import base_state


def whole(model_type):
    cls = getattr(transformers, FAMILIES[model_type].model)
    fields = {key: value for key, value in TOWERS[model_type].items() if key != "model_type"}
    return randomise(cls(cls.config_class(**fields)))


def read_back(model, root, folder, tmp_path):
    """`model` with the weights of the base, after its trained part was saved and loaded."""
    model.load_state_dict(base_state(root, {"source": str(folder)}, model, tmp_path / "part"), strict=False)
    model.save_pretrained(tmp_path / "part", bases={root: str(folder)})
    stored = load_file(tmp_path / "part" / "model.safetensors")
    assert stored
    assert not any(name.startswith(root) for name in stored)
    return VideoLanguageModel.from_pretrained(tmp_path / "part").eval()


@pytest.mark.parametrize(
    ("model_type", "layer"),
    [(n, i) for n in sorted(FAMILIES) for i in (-1, -2) if FAMILIES[n].has_plain_layers or i == -1],
)
def test_a_folder_of_transformers_is_a_base_of_an_encoder(model_type, layer, tmp_path):
    """Layers behind the published one, the last norm and poolers are in the folder and not in the slot."""
    source = whole(model_type)
    source.save_pretrained(tmp_path / "base")
    model = randomise(tower_model(model_type, layer=layer))
    again = read_back(model, "encoders.rgb", tmp_path / "base", tmp_path)
    expected = source.state_dict()
    for name, tensor in again.encoders["rgb"].tower.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_a_folder_with_encoders_and_words_is_a_base_of_the_encoders(kind, tmp_path):
    vision = {key: value for key, value in TOWERS["clip_vision_model"].items() if key != "model_type"}
    text = {"vocab_size": 20, "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision)
    source = randomise(getattr(transformers, f"{kind}Model")(config))
    source.save_pretrained(tmp_path / "base")
    model = tower_model(f"{kind.lower()}_vision_model")
    again = read_back(model, "encoders.rgb", tmp_path / "base", tmp_path)
    expected = source.vision_model.state_dict()
    for name, tensor in again.encoders["rgb"].tower.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("name", ["llama", "tied", "t5", "flan_t5", "moe", "half"])
def test_a_folder_of_transformers_is_a_base_of_the_language_model(name, tmp_path):
    data = {
        "t5": T5,
        "flan_t5": T5 | {"tie_word_embeddings": False},
        "tied": LLAMA | {"tie_word_embeddings": True},
        "moe": CAUSAL["qwen2_moe"],
    }.get(name, LLAMA)
    family, cls = ("seq2seq", Seq2SeqConfig) if data["model_type"] == "t5" else ("causal", CausalConfig)
    model = randomise(VideoLanguageModel(tiny_config(family, language_model=cls(config=data))))
    if name == "half":
        model.language_model.bfloat16()
    source = model.language_model.model
    source.save_pretrained(tmp_path / "base")
    again = read_back(model, "language_model", tmp_path / "base", tmp_path)
    result = again.language_model.model.state_dict()
    for key, tensor in source.state_dict().items():
        assert torch.equal(result[key].to(tensor.dtype), tensor), key


def test_a_base_that_does_not_fit_lists_its_keys(tmp_path):
    source = whole("vit")
    source.save_pretrained(tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    good = load_file(file)
    model = tower_model("vit")

    def refuse(state, message):
        save_file(state, file, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=message):
            base_state("encoders.rgb", {"source": str(tmp_path / "base")}, model, tmp_path / "part")

    key = "embeddings.cls_token"
    refuse({k: v for k, v in good.items() if k != key}, rf"base .* of 'encoders.rgb' .*1 missing: {key}")
    refuse({**good, key: torch.zeros(1, 1, 5)}, rf"1 of another shape: .*{key}")
    refuse({**good, "strange.weight": torch.zeros(1)}, "1 unexpected: strange.weight")
    patch = VideoLanguageModel(tiny_config("causal"))
    with pytest.raises(CheckpointError, match="holds none of the names of a PatchEncoder"):
        base_state("encoders.rgb", {"source": str(tmp_path / "base")}, patch, tmp_path / "part")


def test_a_base_may_be_a_hub_id_or_stand_next_to_the_trained_part(tmp_path, monkeypatch):
    model = randomise(tower_model("vit"))
    whole("vit").save_pretrained(tmp_path / "vit")
    asked = []

    def fetch(repo_id, **_):
        asked.append(repo_id)
        return str(tmp_path / "vit")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    by_id = read_back(model, "encoders.rgb", "owner/vit", tmp_path)
    assert set(asked) == {"owner/vit"}
    by_name = read_back(model, "encoders.rgb", "vit", tmp_path)
    for name, tensor in by_id.state_dict().items():
        assert torch.equal(by_name.state_dict()[name], tensor), name
