"""Objectives of the tiny models: dense labels for encoders, reading comprehension for language models."""

import pytest
import torch
from parts_of_losses import assert_parts_make_the_whole
from torch import nn

from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.errors import ConfigError
from vidweave.language.causal import CausalConfig
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.tiny.fact_reading import ReadFacts, collate_facts
from vidweave.tiny.patch_labels import DenseLabels, collate_frames, dense_heads
from vidweave.tiny.scenes import FactQuestions, LabeledFrames
from vidweave.tiny.tokenizer import train_tokenizer
from vidweave.types import VisualSpec

PIXELS = VisualSpec(height=48, width=48)


class _Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Module()
        encoder = PatchEncoderConfig(width=16, layers=1, heads=2, specs={"video": PIXELS}).build()
        self.model.encoders = nn.ModuleDict({"rgb": encoder})
        self.heads = dense_heads(16)


def test_a_few_steps_on_dense_labels_lower_every_part():
    torch.manual_seed(0)
    root, source = _Root(), LabeledFrames()
    objective = DenseLabels("rgb", ("shape", "colour"))
    batch = collate_frames(PIXELS, [source[i] for i in range(12)])
    first = objective(root.eval(), batch)
    optimizer = torch.optim.AdamW(root.parameters(), lr=3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        objective(root.train(), batch)["loss"].backward()
        optimizer.step()
    last = objective(root.eval(), batch)
    assert set(first) == {"loss", "presence", "offset", "place", "shape", "colour"}
    assert all(last[name] < first[name] for name in ("loss", "presence", "place", "colour"))


def test_noise_is_for_training_only():
    root, objective = _Root(), DenseLabels("rgb")
    batch = collate_frames(PIXELS, [LabeledFrames()[0]])
    still = [objective(root.eval(), batch)["loss"].item() for _ in range(2)]
    shaken = [objective(root.train(), batch)["loss"].item() for _ in range(2)]
    assert still[0] == still[1]
    assert shaken[0] != shaken[1]


@pytest.fixture(scope="module")
def tokenizer():
    source = FactQuestions()
    return train_tokenizer([f" {e.facts} {e.question} {e.answer}" for e in (source[i] for i in range(200))], 300)


def test_any_text_can_be_written(tokenizer):
    for text in ("What colour is the circle?", "Größe: 3 µm\n\tπ≈3.14 🙂", " "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_too_little_text_for_a_tokenizer_is_refused():
    with pytest.raises(ConfigError, match=r"give .* tokens, expected 900"):
        train_tokenizer(["a b"], 900)


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_reading_loss_is_that_of_each_example_alone(tokenizer, family):
    torch.manual_seed(0)
    root = nn.Module()
    if family == "causal":
        sizes = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = CausalConfig(config={"model_type": "llama", "vocab_size": 300, **sizes})
    else:
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 20, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
        config = Seq2SeqConfig(config={"model_type": "t5", "vocab_size": 300, "dropout_rate": 0.0, **sizes})
    root.reader = config.build().eval()
    examples = [FactQuestions()[i] for i in (1, 2, 5)]
    objective = ReadFacts("reader")
    together = objective(root, collate_facts(tokenizer, examples))["loss"]
    alone = [objective(root, collate_facts(tokenizer, [e]))["loss"] for e in examples]
    weights = torch.tensor([len(tokenizer(f" {e.answer}")["input_ids"]) + 1.0 for e in examples])
    torch.testing.assert_close(together, (torch.stack(alone) * weights).sum() / weights.sum(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_dense_labels_declare_what_they_average_over():
    root, source = _Root().eval(), LabeledFrames()
    one, many = [source[0]], [source[i] for i in range(1, 7)]
    parts = [(collate_frames(PIXELS, part), len(part)) for part in (one, many)]
    assert_parts_make_the_whole(DenseLabels("rgb"), root, collate_frames(PIXELS, one + many), parts)


@torch.no_grad()
def test_reading_declares_its_answers_tokens(tokenizer):
    vocab = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    root, source = nn.Module(), FactQuestions()
    root.reader = CausalConfig(config={"model_type": "llama", **sizes, **vocab}).build().eval()
    examples = sorted((source[i] for i in range(7)), key=lambda e: len(e.answer))
    assert len(examples[0].answer) < len(examples[-1].answer)
    parts = [(collate_facts(tokenizer, part), len(part)) for part in (examples[:4], examples[4:])]
    assert_parts_make_the_whole(ReadFacts("reader"), root, collate_facts(tokenizer, examples), parts)
