"""transformers' whole contract, on a tiny model of every architecture."""

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec

import peft
import pytest
import torch
from tiny_architectures import ALL, SMALL, query
from transformers import AutoConfig, AutoModel, GenerationConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module
from transformers.utils.quantization_config import QuantizationConfigMixin

import vidweave
from vidweave.errors import CheckpointError, ConfigError, MissingExtraError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.pipelines.slot import SlotPipeline


@pytest.fixture(params=[name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in ALL])
def pipe(request) -> SlotPipeline:
    return ALL[request.param]()


def _batch(pipe, target="red"):
    """One question with its answer, as training sees it."""
    return pipe.inputs([query()], targets=[target])


def _equal(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


# ---- embeddings


def test_embeddings_are_those_of_the_language_model(pipe):
    model = pipe.model
    table = model.get_input_embeddings()
    assert table is model.language_model.model.get_input_embeddings()
    assert model.get_output_embeddings() is model.language_model.model.get_output_embeddings()
    other = torch.nn.Embedding(*table.weight.shape)
    model.set_input_embeddings(other)
    ids = torch.tensor([[3, 5]])
    assert torch.equal(model.language_model.embed(ids), other(ids))


@pytest.mark.parametrize("change", [7, -3])
def test_resized_embeddings_come_back(pipe, change, tmp_path):
    model = pipe.model
    size = model.get_input_embeddings().weight.shape[0]
    assert model.resize_token_embeddings() is model.get_input_embeddings()  # asks, and changes nothing
    model.resize_token_embeddings(size + change, mean_resizing=False)
    assert model.get_input_embeddings().weight.shape[0] == size + change
    for part in (model.language_model.config, model.spec.language_model, model.config.parse().language_model):
        assert part.config["vocab_size"] == size + change
    pipe.save_pretrained(tmp_path)
    again = SlotPipeline.load(tmp_path)
    _equal(model, again.model)
    assert again.model.get_input_embeddings().weight.shape[0] == size + change
    assert again.ask(query().scenes[0].clip, "what ?").text == pipe.ask(query().scenes[0].clip, "what ?").text


# ---- gradient checkpointing


def _checkpoint(model, word):
    """transformers 5.24 renamed these methods, and warns of the old names."""
    new = f"activation_checkpointing_{word}"
    getattr(model, new if hasattr(model, new) else f"gradient_checkpointing_{word}")()


def _is_checkpointing(model):
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def _gradients(model, batch):
    """Gradients of all parameters, and how many tensors autograd kept for them."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    model.zero_grad()
    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(batch).loss
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, sum(kept)


def test_gradient_checkpointing_changes_memory_and_no_gradient(pipe):
    model, batch = pipe.model, _batch(pipe)
    model.train().requires_grad_(True)
    plain, kept = _gradients(model, batch)
    _checkpoint(model, "enable")
    assert _is_checkpointing(model)
    layers = [name for name, module in model.named_modules() if isinstance(module, GradientCheckpointingLayer)]
    assert any(name.startswith("language_model.") for name in layers)
    towers = {name.split(".")[1] for name in layers if name.startswith("encoders.")}
    assert towers == {
        n for n, e in model.encoders.items() if any(isinstance(m, GradientCheckpointingLayer) for m in e.modules())
    }
    checked, kept_less = _gradients(model, batch)
    assert plain.keys() == checked.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checked[name], gradient, rtol=1e-3, atol=1e-6)  # sums in another order
    assert kept_less < kept
    _checkpoint(model, "disable")
    assert not _is_checkpointing(model)
    assert _gradients(model, batch)[1] == kept


# ---- Auto classes


def test_auto_classes_find_the_model(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is VideoLanguageConfig
    assert config.parse() == pipe.model.spec
    model = AutoModel.from_pretrained(tmp_path)
    assert type(model) is VideoLanguageModel
    _equal(pipe.model, model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["import vidweave", "from transformers import AutoModel, AutoConfig; AutoModel._model_mapping"]
)
def test_auto_classes_know_the_model_in_either_order_of_imports(first, tmp_path):
    ALL["slots-causal"]().save_pretrained(tmp_path)
    lines = [first, "import vidweave", "from transformers import AutoConfig, AutoModel",
             f"print(type(AutoConfig.from_pretrained({str(tmp_path)!r})).__name__)",
             f"print(type(AutoModel.from_pretrained({str(tmp_path)!r})).__name__)"]  # fmt: skip
    out = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["VideoLanguageConfig", "VideoLanguageModel"]


# ---- PEFT


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT asks by the old name
def test_peft_attaches_adapters_trains_and_loads_them_again(pipe, tmp_path):
    model, batch = pipe.model, _batch(pipe)
    before = model(batch).loss
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM"))
    trainable = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert trainable
    assert all(".language_model." in name and ".lora_" in name for name in trainable)
    torch.testing.assert_close(adapted(batch).loss, before)  # adapters start at zero
    torch.testing.assert_close(adapted(inputs=batch).loss, before)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        adapted(batch).loss.backward()
        optimizer.step()
    adapted.eval()
    trained = adapted(batch).loss.detach()
    assert trained < before
    written = adapted.generate(inputs=pipe.inputs([query()]), max_new_tokens=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT looks for the base model's config by its name on the hub
        adapted.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(adapted.unload(), tmp_path).eval()
    torch.testing.assert_close(again(batch).loss, trained, rtol=0, atol=0)
    assert torch.equal(again.generate(inputs=pipe.inputs([query()]), max_new_tokens=3), written)


# ---- quantization at load


@dataclass
class HalvedConfig(QuantizationConfigMixin):
    """A method that needs no library: linear layers hold their weights in bfloat16."""

    quant_method: str = "halved"
    modules_to_not_convert: list[str] | None = None


class HalvedLinear(torch.nn.Linear):
    def forward(self, values):
        return torch.nn.functional.linear(values, self.weight.to(values.dtype), self.bias)


class HalvedQuantizer(HfQuantizer):
    """transformers' machinery around `HalvedConfig`: it replaces modules before the weights are loaded."""

    requires_calibration = False

    def _process_model_before_weight_loading(self, model, **kwargs):
        skipped = self.get_modules_to_not_convert(model, self.quantization_config.modules_to_not_convert)
        for name, module in list(model.named_modules()):
            if type(module) is torch.nn.Linear and should_convert_module(name, skipped):
                module.__class__ = HalvedLinear

    def _process_model_after_weight_loading(self, model, **kwargs):
        for module in model.modules():
            if isinstance(module, HalvedLinear):
                module.weight.data = module.weight.data.to(torch.bfloat16)

    def is_serializable(self):
        return True

    is_trainable = False


@pytest.fixture
def halved(monkeypatch):
    monkeypatch.setitem(AUTO_QUANTIZER_MAPPING, "halved", HalvedQuantizer)
    monkeypatch.setitem(AUTO_QUANTIZATION_CONFIG_MAPPING, "halved", HalvedConfig)


@pytest.mark.parametrize("form", ["object", "dict"])
def test_quantization_reaches_the_language_model_alone(pipe, halved, form, tmp_path):
    pipe.save_pretrained(tmp_path)
    config = HalvedConfig() if form == "object" else {"quant_method": "halved"}
    quantized = vidweave.load(tmp_path, quantization_config=config)
    changed = {name for name, tensor in quantized.model.state_dict().items() if tensor.dtype == torch.bfloat16}
    linear = {
        f"{name}.weight" for name, module in pipe.model.language_model.named_modules(prefix="language_model")
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head")
    }  # fmt: skip
    assert changed == linear
    assert quantized.ask(query().scenes[0].clip, query().text).trace is not None
    assert quantized.describe()["weights"] != pipe.describe()["weights"]
    with pytest.raises(ConfigError, match="a quantized model is not saved; save the model it was loaded from"):
        quantized.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_quantization_by_torchao(pipe, tmp_path):
    pytest.importorskip("torchao", reason="quantizes by torchao (extra `quantization`)")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    pipe.save_pretrained(tmp_path)
    quantized = vidweave.load(tmp_path, quantization_config=TorchAoConfig(Int8WeightOnlyConfig()))
    changed = {name for name, tensor in quantized.model.named_parameters() if type(tensor.data) is not torch.Tensor}
    assert changed
    assert all(name.startswith("language_model.") for name in changed)
    assert quantized.ask(query().scenes[0].clip, query().text).trace is not None
    assert quantized.describe()["weights"] != pipe.describe()["weights"]


@pytest.mark.parametrize("library", ["torchao", "bitsandbytes"])
def test_quantization_without_its_library_is_one_line(library, tmp_path):
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    SMALL["slots-causal"]().save_pretrained(tmp_path)
    config = {"quant_method": library, "quant_type": "Int8WeightOnlyConfig", "load_in_8bit": True}
    with pytest.raises(
        MissingExtraError, match=rf"needs {library}; install it with: pip install 'vidweave\[quantization\]'"
    ):
        vidweave.load(tmp_path, quantization_config=config)


def test_quantization_that_cannot_be_limited_is_refused(tmp_path):
    SMALL["slots-causal"]().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="quantization by GPTQConfig cannot leave the encoders"):
        vidweave.load(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ConfigError, match="is not known to transformers"):
        vidweave.load(tmp_path, quantization_config={"quant_method": "squeezed"})


# ---- float32 parts


def test_parts_that_stay_in_float32_do(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    half = VideoLanguageModel.from_pretrained(tmp_path, dtype=torch.float16)
    dtypes = {name: tensor.dtype for name, tensor in half.state_dict().items() if tensor.is_floating_point()}
    kept = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    expected = {
        f"{name}.{key}" for name, module in half.named_modules() for key, _ in module.named_parameters()
        if torch.float16 in getattr(module, "float32_instead_of", ())
    } | {name for name in dtypes if name.endswith("DenseReluDense.wo.weight")}  # fmt: skip
    assert expected <= kept
    assert torch.float16 in set(dtypes.values())
    assert isinstance(half._keep_in_fp32_modules, set)


# ---- generation_config


def test_generation_config_is_used_saved_and_loaded(pipe, tmp_path):
    model = pipe.model
    assert isinstance(model.generation_config, GenerationConfig)
    assert model.can_generate()
    inputs = pipe.inputs([query()])
    model.generation_config.max_new_tokens = 2
    model.generation_config.min_new_tokens = 2
    model.generation_config.num_beams = 1
    assert model.generate(inputs).shape[1] == 2
    assert model.generate(inputs, max_new_tokens=3, min_new_tokens=3).shape[1] == 3
    ids = model.generate(inputs)[0].tolist()
    answer = pipe.ask(query().scenes[0].clip, query().text)
    assert answer.text == pipe.processor.decode(torch.tensor([ids]))[0]
    pipe.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text())["min_new_tokens"] == 2
    again = SlotPipeline.load(tmp_path)
    assert again.model.decoding()["min_new_tokens"] == 2
    assert again.model.spec.decoding["max_new_tokens"] == 2
    assert again.model.generate(inputs)[0].tolist() == ids


def test_generation_config_of_others_is_refused_in_one_line(tmp_path):
    pipe = SMALL["slots-causal"]()
    pipe.save_pretrained(tmp_path)
    file = tmp_path / "generation_config.json"
    file.write_text(json.dumps({"max_new_tokens": 3, "penalty_alpha": 0.5}))
    with pytest.raises(CheckpointError, match=r"generation_config\.json of .* cannot be used: .*penalty_alpha"):
        VideoLanguageModel.from_pretrained(tmp_path)
    pipe.model.generation_config.typical_p = 0.4
    with pytest.raises(ConfigError, match="generation_config sets typical_p, which vidweave does not support"):
        pipe.model.generate(pipe.inputs([query()]))


def test_the_end_token_of_generation_config_ends_answers():
    pipe = SMALL["slots-causal"]()
    inputs = pipe.inputs([query()])
    ids = pipe.model.generate(inputs, max_new_tokens=6)[0].tolist()
    pipe.model.generation_config.eos_token_id = ids[1]
    ended = pipe.model.generate(inputs, max_new_tokens=6)[0].tolist()
    assert ended == ids[: ids.index(ids[1]) + 1]


def test_an_unchanged_model_keeps_the_settings_as_they_were_written(pipe):
    assert pipe.model.built_config().spec["decoding"] == dict(pipe.model.spec.decoding)
    assert replace(pipe.model.spec) == pipe.model.built_config().parse()
