"""CREMA's networks against recorded outputs of the original code, at the tolerances of the folder's README."""

import json
from functools import cache

import pytest
import torch
from goldens import close, golden_files, golden_folder, load_only

from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.beats import BeatsConfig, beats_from_microsoft
from vidweave.encoders.point_cloud import voxel_positions
from vidweave.language.splice import splice
from vidweave.media.preprocess import apply
from vidweave.model.assembly import VideoLanguageModel
from vidweave.systems.crema.keys import NAMES, rename
from vidweave.systems.crema.preset import Sizes, build
from vidweave.types import AudioSpec, Features, PointCloud, PointSpec, Query, TextTokens, TrunkInput

SYSTEM = "crema"
LETTERS = (71, 272, 205, 309, 262)  # " A" to " E" in T5's vocabulary


@cache
def config():
    (file,) = golden_files(SYSTEM, "crema_config*.json")
    return json.loads(file.read_text())


@cache
def weights():
    return load_only(SYSTEM, "crema_weights*.safetensors")


@cache
def inputs():
    return load_only(SYSTEM, "crema_inputs*.safetensors")


@cache
def sizes():
    c, run = config()["config"], config()["run"]
    b = c["beats"]
    hearing = AudioSpec(
        sample_rate=16_000, window_seconds=run["aud_len"] / 100, max_windows=run["aud_seg"], min_windows=1,
        mel_bins=run["aud_mel"], windows_of="frames",
    )  # fmt: skip
    return Sizes(
        vision={
            "model_type": "blip_2_vision_model", "hidden_size": c["enc_width"], "num_hidden_layers": c["vit_depth"],
            "num_attention_heads": c["vit_heads"], "image_size": c["img"], "patch_size": c["patch"],
            "intermediate_size": len(weights()["visual_encoder.blocks.0.mlp.fc1.bias"]), "layer_norm_eps": 1e-6,
        },
        audio=BeatsConfig(
            width=b["encoder_embed_dim"], layers=b["encoder_layers"], heads=b["encoder_attention_heads"],
            intermediate=b["encoder_ffn_embed_dim"], patch=b["input_patch_size"], patch_width=b["embed_dim"],
            conv_width=b["conv_pos"], conv_groups=b["conv_pos_groups"], num_buckets=b["num_buckets"],
            max_distance=b["max_distance"], specs={"audio": hearing},
        ),
        qformer=QFormerConfig(
            hidden=c["q_hidden"], layers=c["q_layers"], heads=c["q_heads"], intermediate=c["q_ffn"],
            encoder_width=c["enc_width"],
        ),
        language={
            "model_type": "t5", "vocab_size": c["t5_vocab"], "d_model": c["t5_d"], "d_kv": c["t5_kv"],
            "d_ff": c["t5_ff"], "num_layers": c["t5_layers"], "num_decoder_layers": c["t5_layers"],
            "num_heads": c["t5_heads"], "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu",
            "tie_word_embeddings": False, "decoder_start_token_id": 0,
        },
        num_query_tokens=run["NQ"], num_points=run["Np"], rank=run["r"],
    )  # fmt: skip


def model(modalities, task="concate", fusion_weights=None, point_prefix="Audio: "):
    """The preset at the golden sizes, filled by the key table; `-skip` is a modality without an adapter."""
    words = modalities.split("_")
    names = [NAMES[word.removesuffix("-skip")] for word in words]
    fusion = "none" if "espresso" not in task else "gated_append" if "concat" in task else "gated_add"
    unadapted = [NAMES[word.removesuffix("-skip")] for word in words if word.endswith("-skip")]
    ordered = sorted(names, key=lambda name: name != "video") if fusion != "none" else names
    built = VideoLanguageModel(
        build(ordered, fusion=fusion, sizes=sizes(), unadapted=unadapted, point_prefix=point_prefix)
    ).eval()
    state = rename({**weights(), **(fusion_weights or {})}, words if fusion_weights else None).state
    requested = built.state_dict()
    tied = {k for k in requested if k.endswith("embed_tokens.weight") and k.startswith("language_model")}
    assert requested.keys() - tied <= state.keys()
    built.load_state_dict({k: v for k, v in state.items() if k in requested}, strict=False)
    return built


def frames_of(name):
    """(B, T, 3, H, W), whichever of the original's two layouts the file has."""
    values = inputs()[f"in.{name}"]
    return values if name == "rgb" else values.transpose(1, 2)


def features(built, names):
    """What the encoders see, as Features of each stream."""
    result = {}
    for name in names:
        values = {
            "video": lambda: frames_of("rgb")[:, :, None],
            "depth": lambda: frames_of("depth")[:, :, None],
            "flow": lambda: frames_of("flow")[:, :, None],
            "normals": lambda: frames_of("norm")[:, :, None],
            "audio": lambda: inputs()["in.audio"],
            "point_cloud": lambda: torch.cat([inputs()["in.pc"], inputs()["in.pc_feat"]], -1)[:, None],
        }[name]()
        tokens = built.encoders[built.spec.streams[name].encoder].encode(values, name)
        rows, segments = tokens.shape[:2]
        seconds = torch.arange(segments)[:, None] + torch.tensor([0.0, 1.0])
        mask = torch.ones(tokens.shape[:3], dtype=torch.bool)
        item = torch.arange(rows)
        result[name] = Features(tokens, mask, seconds.expand(rows, -1, -1), item, torch.zeros_like(item))
    return result


def blocks_of(built):
    seen = features(built, built.spec.connector_streams)
    count = len(next(iter(seen.values())).item)
    return built.connector(seen, torch.arange(count), torch.zeros(count, dtype=torch.long))[0]


class Words:
    """The recorded ids, by the text that the preset asks for."""

    eos_token_id = 1
    all_special_tokens = ()

    def __init__(self):
        text = inputs()
        frames = zip(text["text.frame_prefix_ids"], text["text.frame_prefix_mask"], strict=True)
        rows = [ids[mask.bool()].tolist() for ids, mask in frames]
        names = ["Frame: "] if len(rows) == 1 else [f"Frame {i + 1}: " for i in range(len(rows))]
        self.ids = dict(zip(names, rows, strict=True))
        self.ids["Audio: "] = text["text.audio_prefix_ids"][0].tolist()
        self.ids["3D Model: "] = text["text.pc_prefix_ids"][0].tolist()
        questions = zip(text["text.question_ids"], text["text.question_mask"], strict=True)
        self.questions = [ids[mask.bool()].tolist() for ids, mask in questions]

    def __call__(self, text, **_):
        if text in self.ids:
            return {"input_ids": self.ids[text]}
        number = int(text.split("#")[1].split("#")[0])
        assert self.questions[number][-1] == self.eos_token_id
        return {"input_ids": self.questions[number][:-1]}


def embeds(built):
    blocks = blocks_of(built)
    words = Words()
    queries = [Query.about("unused.mp4", f"#{i}#") for i in range(len(words.questions))]
    segments = {
        (name, int(item), 0): int(block.mask[row].any(-1).sum())
        for name, block in blocks.items()
        for row, item in enumerate(block.item)
    }
    plan = built.spec.layout.plan(queries, words, segments)
    return splice(plan, blocks, built.language_model.embed, built.language_model.side)


def target():
    text = inputs()
    return TextTokens(text["text.answer_ids"].long(), text["text.answer_mask"].bool())


def cases():
    return {name: case for name, case in config()["cases"].items() if "modalities" in case}


# ---- encoders


def test_positions_of_points():
    table = load_only(SYSTEM, "crema_encode*.safetensors")["pos_table"]
    close(voxel_positions(table.shape[1], len(table)), table, 2e-5)


@pytest.mark.parametrize("name", list(NAMES))
def test_encoders_and_q_former(name):
    """Frames, segments and points through encoder and norm, then the Q-Former with the modality's adapter."""
    golden = load_only(SYSTEM, "crema_encode*.safetensors")
    skips = [f"{name}-skip"] if f"qformer.{name}-skip" in golden else []
    for word in [name, *skips]:
        built = model(word)
        (stream,) = built.spec.connector_streams
        seen = features(built, [stream])[stream]
        port = built.connector.ports[stream]
        keys = port.keys(seen.values, seen.mask, torch.zeros(len(seen.item), dtype=torch.long), seen.values.dtype)
        if f"enc.{word}" in golden:
            close(keys.flatten(0, 1), golden[f"enc.{word}"], 2e-5)
        queries = port.queries(len(keys.flatten(0, 1)))
        index = torch.zeros(len(queries), dtype=torch.long) if port.adapter is not None else None
        hidden = built.connector.trunks["qformer"](TrunkInput(queries, keys.flatten(0, 1), adapter=index))
        close(hidden, golden[f"qformer.{word}"], 2e-5)
        tokens = golden[f"t5_tokens.{word}"]
        close(blocks_of(built)[stream].values.reshape(tokens.shape), tokens, 2e-5)


def test_masked_q_former():
    golden = load_only(SYSTEM, "qformer_masked*.safetensors")
    keys, mask = golden["in.encoder_hidden_states"], golden["in.encoder_attention_mask"].bool()
    outputs = [key.removeprefix("out.") for key in golden if key.startswith("out.")]
    assert outputs
    for word in outputs:
        built = model(word)
        (port,) = built.connector.ports.values()
        trunk, rows = built.connector.trunks["qformer"], len(keys)
        index = torch.zeros(rows, dtype=torch.long) if port.adapter is not None else None
        hidden = trunk(TrunkInput(port.queries(rows), keys, mask, adapter=index))
        close(hidden, golden[f"out.{word}"], 2e-5)
        for key in [key for key in golden if key.startswith(f"hidden.{word}.")]:
            states = trunk.embeddings(port.queries(rows), None)
            for layer in trunk.stack(index).layers[: int(key.rpartition(".")[2])]:
                states = layer(states, states.shape[1], None, keys, mask)
            close(states, golden[key], 2e-5)


def test_vision_tower():
    golden = load_only(SYSTEM, "eva_vit*.safetensors")
    tower = model("rgb").encoders["vision"]
    close(tower.encode(golden["in.pixels"][:, None, None], "video")[:, 0], golden["out.tokens"], 2e-5)


def test_beats():
    golden = load_only(SYSTEM, "beats*.safetensors")
    state = {k.removeprefix("audio_encoder.model."): v for k, v in weights().items() if k.startswith("audio_encoder.")}
    beats = sizes().audio.build().eval()
    beats.load_state_dict(beats_from_microsoft(state))
    close(beats.encode(golden["in.fbank"][:, None], "audio")[:, 0], golden["out.features"], 2e-5)


def test_zeros_stand_for_missing_points():
    points = PointCloud(torch.tensor([[1.0, 2.0, 3.0]]).numpy(), torch.ones(1, 5).numpy())
    spec = PointSpec(num_points=3, feature_width=5, normalize=False, fill="zero")
    assert apply(spec, points)[0][0, 1:].abs().max() == 0


# ---- end to end


@pytest.mark.parametrize("name", list(cases()))
def test_end_to_end(name):
    golden = {
        k.removeprefix(f"{name}."): v
        for k, v in load_only(SYSTEM, "crema_e2e*.safetensors").items()
        if k.startswith(f"{name}.")
    }
    fusion = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    built = model(cases()[name]["modalities"], cases()[name]["task"], fusion)
    with torch.no_grad():
        prompt = embeds(built)
        assert torch.equal(prompt.mask, golden["attention_mask"].bool())
        close(prompt.values[prompt.mask], golden["inputs_embeds"][prompt.mask], 2e-5)
        if "loss" in golden:
            close(built.language_model.loss(prompt, target()), golden["loss"], 1e-4)
        if "logits" in golden:
            states = built.language_model._encode(prompt)
            logits = built.language_model._decode(states, prompt.mask, target().ids)
            close(logits[target().mask], golden["logits"][target().mask], 1e-4)
        _check_beams(built, prompt, golden)
        _check_choice(built, prompt, golden)


def _check_beams(built, prompt, golden):
    ids = built.language_model.generate(prompt, num_beams=3, max_new_tokens=6, length_penalty=-1.0)
    expected = golden["oeqa_beam3_ids"][:, 1:]
    width = max(ids.shape[1], expected.shape[1])
    pad = [torch.nn.functional.pad(rows, (0, width - rows.shape[1])) for rows in (ids, expected)]
    assert torch.equal(*pad)


def _check_choice(built, prompt, golden):
    """The original reads the letters' logits at the second generated step (the first if only one token came)."""
    first = golden["mcqa_first_token_ids"]
    new = first[:, 1:]  # behind the start token
    language = built.language_model
    states = language._encode(prompt)
    steps = torch.cat([new, torch.zeros_like(new[:, :1])], 1)
    logits = language._decode(states, prompt.mask, steps)
    letters = [i for i in LETTERS if i < logits.shape[-1]]
    at = min(1, golden["mcqa_first_token_ids"].shape[1] - 1)
    greedy = language.next_logits(prompt).argmax(-1)
    assert torch.equal(greedy, new[:, 0])
    close(logits[:, at, letters], golden["mcqa_option_logits"], 1e-4)
    assert torch.equal(golden["mcqa_option_logits"].argmax(-1), golden["mcqa_pred"])


def test_gradients():
    golden = load_only(SYSTEM, "crema_grads*.safetensors")
    everything = load_only(SYSTEM, "crema_e2e*.safetensors")
    name = "cat_vpdn"
    fusion = {k.removeprefix(f"{name}.weights."): v for k, v in everything.items() if k.startswith(f"{name}.weights.")}
    case = cases()[name]
    built = model(case["modalities"], case["task"], fusion)
    loss = built.language_model.loss(embeds(built), target())
    loss.backward()
    close(loss.detach(), golden.pop("loss"), 1e-4)
    theirs = {key.removeprefix("grad."): value for key, value in golden.items()}
    expected = rename(theirs, case["modalities"].split("_")).state
    assert len(expected) >= len(theirs)
    for key, value in expected.items():
        got = built.get_parameter(key).grad
        close(got, value, 1e-5, 1e-3)
    dead = config()["cases"]["grads"]["trainable_without_grad"]
    assert all(key in rename({key: torch.zeros(1)}).dropped for key in dead)


def test_every_file_is_covered():
    patterns = ["crema_*", "qformer_masked*", "eva_vit*", "beats*", "audio_fbank*", "image_loading*", "frame_indices*"]
    patterns += ["prompts*", "metrics*", "lr_schedule*", "sequential_training*", "early_exit_decisions*"]
    files = {file for file in golden_folder(SYSTEM).iterdir() if file.suffix in (".json", ".safetensors")}
    assert files == {file for pattern in patterns for file in golden_files(SYSTEM, pattern)}
