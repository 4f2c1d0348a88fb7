"""Models from pretrained parts: they answer, train, save and load, and compute what their parts compute by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as tf
from hub_folders import LANGUAGE_MODELS, TOWERS, write_language_model, write_tower
from PIL import Image

import vidweave
from vidweave.types import Clip, Frames, Query

QUESTION, OPTIONS, NUM_FRAMES = "What {is} it?", ["a cup", "a dog"], 4
_few = {"clip", "siglip", "llama", "t5"}


def slow_but(names):
    return [pytest.param(n, marks=() if n in _few else pytest.mark.slow) for n in names]


@pytest.fixture
def clip():
    values = np.random.default_rng(5).integers(0, 255, (NUM_FRAMES, 38, 52, 3), dtype=np.uint8)
    return Clip(Frames(values, np.arange(NUM_FRAMES) / 4.0, np.arange(NUM_FRAMES)))


def composed(tmp_path, tower="clip", language="llama", connector="mlp", **settings):
    """A model whose connector is no longer silent, so that a wrong frame or feature changes its logits."""
    encoder, language_model = write_tower(tmp_path / tower, tower), write_language_model(tmp_path / language, language)
    pipe = vidweave.compose([encoder], language_model, connector, num_frames=NUM_FRAMES, **settings)
    with torch.no_grad():
        for parameter in pipe.model.connector.parameters():
            parameter.normal_(std=0.2)
    return pipe


@torch.no_grad()
def features_by_hand(folder, family, frames, dropped):
    """(T, N, C) of transformers' own processor and class."""
    processor, tower = tf.AutoImageProcessor.from_pretrained(folder), tf.AutoModel.from_pretrained(folder).eval()
    tower = getattr(tower, "vision_model", tower)
    images = [Image.fromarray(frame) for frame in frames.values]
    if family in ("videomae", "timesformer"):
        window = tower.config.num_frames
        inputs = [processor(images[i : i + window], return_tensors="pt") for i in range(0, len(images), window)]
        pixels = torch.cat([i.pixel_values.reshape(1, window, *i.pixel_values.shape[-3:]) for i in inputs])
    else:
        pixels = processor(images, return_tensors="pt").pixel_values
    out = tower(pixels, output_hidden_states=True)
    is_inner = family.startswith(("clip", "siglip", "dinov2")) or family in ("vit", "timesformer")
    hidden = out.hidden_states[-1] if is_inner else out.last_hidden_state  # towers with a norm of their own: without it
    return hidden[:, dropped:]


@torch.no_grad()
def logits_by_hand(pipe, folder, tokens):
    """(V,) after the chat template with the visual tokens (N, D) where the message begins."""
    tokenizer, auto = tf.AutoTokenizer.from_pretrained(folder), tf.AutoModelForCausalLM
    seq2seq = folder.name in ("t5", "bart")
    model = (tf.AutoModelForSeq2SeqLM if seq2seq else auto).from_pretrained(folder).eval()
    if tokenizer.chat_template:
        message = [{"role": "user", "content": f"@{QUESTION}"}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        before, after = text.split("@")
    else:
        before, after = "", QUESTION if seq2seq else f"Question: {QUESTION}\nAnswer:"
    ids = [tokenizer(part, add_special_tokens=False, return_tensors="pt").input_ids.long() for part in (before, after)]
    embed = model.get_input_embeddings()
    values = torch.cat([embed(ids[0])[0], tokens, embed(ids[1])[0]])[None]
    start = {"decoder_input_ids": torch.tensor([[model.config.decoder_start_token_id]])} if seq2seq else {}
    return model(inputs_embeds=values, attention_mask=torch.ones(values.shape[:2]), **start).logits[0, -1]


def mlp_by_hand(pipe, features):
    (trunk,) = pipe.model.connector.trunks.values()
    one, two = trunk.layers
    return torch.nn.functional.linear(torch.nn.functional.gelu(one(features)), two.weight, two.bias)


def assert_equal_scores(answer, expected):
    """Equal options and scores; weights that were loaded may lie elsewhere in memory, which rounds the last digit."""
    assert [o.text for o in answer.options] == [o.text for o in expected.options]
    assert [o.score for o in answer.options] == pytest.approx([o.score for o in expected.options], abs=1e-5)


def check(pipe, clip, tmp_path, tower, language):
    """Logits by hand, an answer, a step of training, and the same from the saved folder."""
    ((name, encoder),) = pipe.model.encoders.items()
    features = features_by_hand(tmp_path / tower, tower, clip["video"], encoder.num_dropped)
    pool = pipe.model.spec.streams[name].pool
    assert pool is None or pool.grid is None  # all patches, so that no pooling hides their order
    tokens = mlp_by_hand(pipe, features).flatten(0, 1)
    logits = pipe.model(pipe.inputs(Query.about(clip, QUESTION))).logits[0]
    torch.testing.assert_close(logits, logits_by_hand(pipe, tmp_path / language, tokens), atol=2e-5, rtol=1e-4)

    answer = pipe.ask(clip, QUESTION, options=OPTIONS)
    assert answer.text in OPTIONS
    assert isinstance(pipe.ask(clip, QUESTION, max_new_tokens=3).text, str)
    pipe.save_pretrained(tmp_path / "saved")
    again = vidweave.load(tmp_path / "saved")
    assert_equal_scores(again.ask(clip, QUESTION, options=OPTIONS), answer)

    trained = [n for n, p in pipe.model.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.startswith("connector.") for n in trained)
    loss = pipe.model(pipe.inputs(Query.about(clip, QUESTION), targets=["a cup"])).loss
    loss.backward()
    learning = [p for p in pipe.model.parameters() if p.grad is not None]
    norm = torch.stack([p.grad.norm() for p in learning if p.grad is not None]).norm()
    assert norm > 0
    with torch.no_grad():
        for parameter in learning:
            parameter.sub_(0.2 * parameter.grad / norm)  # of length 0.2: gradients differ by orders between families
    assert pipe.model(pipe.inputs(Query.about(clip, QUESTION), targets=["a cup"])).loss < loss


@pytest.mark.parametrize("language", slow_but(LANGUAGE_MODELS))
def test_every_family_of_language_models_composes(tmp_path, clip, language):
    pipe = composed(tmp_path, language=language, tokens_per_frame=None)
    check(pipe, clip, tmp_path, "clip", language)


@pytest.mark.parametrize("tower", slow_but([name for name in TOWERS if name != "clip"]))
def test_every_family_of_towers_composes(tmp_path, clip, tower):
    pipe = composed(tmp_path, tower=tower, tokens_per_frame=None)
    check(pipe, clip, tmp_path, tower, "llama")


def parts(tmp_path):
    return write_tower(tmp_path / "clip", "clip"), write_language_model(tmp_path / "llama", "llama")


@pytest.mark.parametrize(
    ("connector", "settings", "tokens"),
    [
        ("mlp", {"tokens_per_frame": 4}, 16),
        ("qformer", {"tokens_per_frame": 3, "memory": 2}, 3),
        pytest.param("qformer", {"tokens_per_frame": 3}, 12, marks=pytest.mark.slow),
        pytest.param("qformer", {"tokens_per_frame": 3, "adapter_rank": 2}, 12, marks=pytest.mark.slow),
        pytest.param("resampler", {"tokens_per_frame": 5}, 20, marks=pytest.mark.slow),
    ],
)
def test_a_new_connector_is_silent_and_trainable(tmp_path, clip, connector, settings, tokens):
    encoder, language_model = parts(tmp_path)
    pipe = vidweave.compose([encoder], language_model, connector, num_frames=NUM_FRAMES, **settings)
    model, query = pipe.model, Query.about(clip, QUESTION)
    inputs = pipe.inputs(query)
    embeds, info = model.embed(inputs)
    assert info["tokens_by_item"] == [{"clip": tokens}]
    newline = model.language_model.embed(torch.tensor(pipe.processor.tokenizers["language"]("\n")["input_ids"]))
    start = int((embeds.values[0] == newline).all(-1).nonzero()[1])  # the first line break is the template's own
    assert torch.equal(embeds.values[0, start : start + tokens], newline.expand(tokens, -1))

    model.train()
    model(pipe.inputs(query, targets=["a cup"])).loss.backward()
    gradients = {n: p.grad.abs().max() for n, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient) for gradient in gradients.values())
    assert any(gradient > 0 for gradient in gradients.values())


@pytest.mark.slow
def test_several_encoders_are_mixed_or_stand_side_by_side(tmp_path, clip):
    _, language_model = parts(tmp_path)
    encoders = [tmp_path / "clip", write_tower(tmp_path / "siglip", "siglip")]
    mixed = vidweave.compose(encoders, language_model, "mixer", num_frames=2, tokens_per_frame=4)
    assert mixed.model.embed(mixed.inputs(Query.about(clip, "b")))[1]["tokens_by_item"] == [{"video": 8}]
    both = vidweave.compose(encoders, language_model, "qformer", num_frames=2, tokens_per_frame=3)
    answer = both.ask(clip, "b", max_new_tokens=2)
    assert answer.trace.tokens.items() >= {"clip": 6, "siglip": 6}.items()


@pytest.mark.slow
def test_bases_are_named_with_their_hashes(tmp_path, clip):
    encoder, language_model = parts(tmp_path)
    pipe = vidweave.compose(encoder, language_model, "mlp", num_frames=2)
    pipe.save_pretrained(tmp_path / "whole")
    pipe.save_pretrained(tmp_path / "thin", bases=pipe.bases)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "thin")]
    assert sizes[1] < sizes[0] / 3
    thin = vidweave.load(tmp_path / "thin")
    assert_equal_scores(thin.ask(clip, "b", options=OPTIONS), pipe.ask(clip, "b", options=OPTIONS))


@pytest.mark.slow
def test_a_selector_that_watches_motion_gets_its_stream(tmp_path):
    encoder, language_model = parts(tmp_path)
    for selector in ("motion_peaks", "grounding"):
        pipe = vidweave.compose(encoder, language_model, selector=selector, num_frames=2)
        assert list(pipe.model.spec.selector_streams) == ["motion"]
        assert pipe.model.spec.selector.kind == selector


def test_a_conversation_is_written_as_the_chat_template_writes_it(tmp_path, clip):
    encoder, language_model = parts(tmp_path)
    pipe = vidweave.compose(encoder, language_model, num_frames=2)
    tokenizer = pipe.processor.tokenizers["language"]
    turns = [("user", "What?"), ("assistant", "a cup"), ("user", "Where?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    query = replace(Query.about(clip, "Where?"), history=(("What?", "a cup"),))
    plan = pipe.inputs(query).plan
    written = tokenizer.decode([i for i in plan.ids[0].tolist() if i >= 0])
    assert written == tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
