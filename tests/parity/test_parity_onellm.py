"""OneLLM's networks, prompts, decoding and training losses against recorded outputs of the original code."""

from dataclasses import replace

import pytest
import torch
from goldens import close
from onellm_cases import (
    NAMES,
    Toy,
    connected,
    embedded,
    encoded,
    encodes,
    media,
    query_of,
    recorded,
    tensors,
    weights,
    whole_model,
)

from vidweave.errors import ShapeError
from vidweave.systems.onellm.keys import to_ours, to_theirs
from vidweave.systems.onellm.prompts import PROMPTS, Prompt

PLAIN = Prompt(text="{question}")
SCENES = Prompt(text="{question}", scene=PROMPTS["contra4"].scene)


def cases():
    return recorded()["cases"]


def heads():
    return recorded()["config"]["n_heads"]


# ---- encoder and connector


@pytest.mark.parametrize("theirs", NAMES)
def test_encoder(theirs):
    golden, tokens = tensors("encode"), encoded(theirs)[0, 0]
    expected = golden[f"clip.{theirs}"][0]
    assert len(tokens) == int(golden[f"clip_len.{theirs}"])
    close(tokens[: len(expected)], expected, 1e-4)


@pytest.mark.parametrize("theirs", NAMES)
def test_experts_and_routers(theirs):
    golden, result = tensors("encode"), connected(theirs)
    projected, routed = golden[f"proj1.{theirs}"], golden[f"route.{theirs}"]
    close(result["keys"][:, : projected.shape[1]], projected, 1e-4)
    tokens = torch.cat([result["queries"], result["keys"]], 1)
    with torch.no_grad():
        weights = whole_model().connector.ports[NAMES[theirs]].router(tokens[:, : routed.shape[1]])
    close(weights, routed, 1e-4)
    close(torch.stack(result["results"], 1), golden[f"experts.{theirs}"], 1e-4)
    close(result["mixed"], golden[f"upm.{theirs}"], 1e-4)


@pytest.mark.parametrize("theirs", NAMES)
def test_tokens_between_their_tags(theirs):
    got = connected(theirs)["block"].values[0, 0]
    close(got[1:-1], tensors("encode")[f"tokens.{theirs}"][0], 1e-4)
    for tag, kind in ((got[0], "start"), (got[-1], "end")):
        close(tag, weights()[f"llma.{kind}_tag.{theirs}"].flatten(), 0.0)


def test_the_key_table_goes_both_ways():
    again = to_theirs(whole_model().state_dict(), heads())
    _, dropped = to_ours(weights(), heads())
    kept = {key: value for key, value in weights().items() if key not in dropped}
    assert again.keys() == kept.keys()
    for key, value in kept.items():
        close(again[key], value, 0.0)


# ---- prompts and logits


def logits_of(built, embeds):
    with torch.no_grad():
        return built.language_model.model(inputs_embeds=embeds.values).logits


def scene_cases():
    return [name for name in cases() if name.startswith("scenes")]


def scenes_setup(name):
    case = cases()[name]
    built = whole_model(SCENES)
    with torch.no_grad():
        return case, built, embedded(built, [query_of(case["prompt"], len(case["scenes"]))], case["scenes"])


def test_the_recorded_ids_are_those_of_the_toy_tokenizer():
    """Else the prompts below would be compared with words of this file."""
    for name in ("single", *scene_cases()):
        case = cases()[name]
        assert case["ids"] == [1, *Toy()(case["prompt"])["input_ids"]]
        for number, ids in enumerate(case.get("scene_ids", [])):
            assert ids == Toy()(SCENES.scene.format(label=f"Scene {'ABCD'[number]}"))["input_ids"]


@pytest.mark.parametrize("name", scene_cases())
def test_logits_of_scenes(name):
    case, built, embeds = scenes_setup(name)
    assert embeds.values.shape[1] == case["prefill"]
    close(logits_of(built, embeds), tensors("language")[f"{name}.logits"], 1e-4)


def single_cases():
    return sorted(
        key.split(".")[1] for key in tensors("language") if key.startswith("single.") and key.endswith(".logits")
    )


def single_setup(theirs):
    case, built = cases()["single"], whole_model(PLAIN)
    with torch.no_grad():
        return case, built, embedded(built, [query_of(case["prompt"], 0)], [theirs] if theirs else [])


@pytest.mark.parametrize("theirs", [None, *single_cases()])
def test_logits_of_one_input(theirs):
    """Upstream keeps those from the end tag on."""
    _, built, embeds = single_setup(theirs)
    expected = tensors("language")[f"single.{theirs}.logits" if theirs else "text_only.logits"]
    close(logits_of(built, embeds)[:, -expected.shape[1] :], expected, 1e-4)


# ---- decoding


def greedy(built, embeds, steps, **options):
    """New ids, and the logits of each step."""
    seen = []
    head = built.language_model.model.lm_head
    hook = head.register_forward_hook(lambda *call: seen.append(call[-1][0, -1]))
    try:
        ids = built.language_model.generate(embeds, max_new_tokens=steps, **options)
    finally:
        hook.remove()
    return ids[0].tolist(), torch.stack(seen)


def legacy():
    return {"legacy_inserted": whole_model(legacy_decoding=True).spec.decoding["legacy_inserted"]}


def decoded_cases():
    return [*scene_cases(), "single.image"]


def decoding_setup(name):
    if name.startswith("scenes"):
        return scenes_setup(name)
    return single_setup(name.partition(".")[2])


@pytest.mark.parametrize("name", decoded_cases())
def test_correct_decoding(name):
    case, built, embeds = decoding_setup(name)
    expected = tensors("language")[f"{name}.correct_step_logits"]
    ids, logits = greedy(built, embeds, len(expected))
    assert ids == case["correct_ids"]
    close(logits, expected, 1e-4)
    assert embeds.values.shape[1] == case["correct_first_decode_position"]


@pytest.mark.parametrize("name", decoded_cases())
def test_decoding_by_the_released_cache(name):
    """O2 and O3: generated tokens overwrite the end of the prompt, at positions that were given before."""
    case, built, embeds = decoding_setup(name)
    expected = tensors("language")[f"{name}.legacy_step_logits"][0]
    ids, logits = greedy(built, embeds, len(expected), **legacy())
    assert ids == case["legacy_argmax"]
    close(logits, expected, 1e-4)
    assert ids != case["correct_ids"] or (logits - tensors("language")[f"{name}.correct_step_logits"]).abs().max() > 0.1


def test_answers_depend_on_their_neighbors_with_the_released_cache_alone():
    """O6: the longer prompt of a batch is read token by token. The second frame of the record is the first, mirrored."""
    case, built = cases()["batch_of_unequal_prompts"], whole_model(PLAIN)
    queries = [query_of(text, 0) for text in case["prompts"]]
    image = media("image")
    tokens = encodes("image", torch.cat([image, image.flip(-1)])[:, None, None])
    lengths = [len(Toy()(text)["input_ids"]) + 1 for text in case["prompts"]]
    steps = len(case["alone"][0]) - lengths[0]

    def answers(rows, **options):
        with torch.no_grad():
            embeds = embedded(built, [queries[r] for r in rows], ["image"], tokens={"image": tokens[rows]})
            return built.language_model.generate(embeds, max_new_tokens=steps, **options).tolist()

    expected = {name: [row[n:] for row, n in zip(case[name], lengths, strict=True)] for name in ("batched", "alone")}
    assert answers([0, 1], **legacy()) == expected["batched"]
    assert [answers([r], **legacy())[0] for r in (0, 1)] == expected["alone"]
    together, alone = answers([0, 1]), [answers([r])[0] for r in (0, 1)]
    assert [row[: len(a)] for row, a in zip(together, alone, strict=True)] == alone


def test_the_released_cache_holds_one_number_of_inputs():
    built = whole_model(SCENES)
    one, two = (scenes_setup(f"scenes{n}")[2] for n in (1, 2))
    with torch.no_grad():
        width = two.values.shape[1]
        pad = width - one.values.shape[1]
        values = torch.cat([torch.nn.functional.pad(one.values, (0, 0, pad, 0)), two.values])
        mask = torch.cat([torch.nn.functional.pad(one.mask, (pad, 0)), two.mask])
        both = replace(
            one,
            values=values,
            mask=mask,
            position_ids=(mask.long().cumsum(1) - 1).clamp(min=0),
            blocks_end=torch.cat([one.blocks_end, two.blocks_end]),
        )
        with pytest.raises(
            ShapeError, match=r"equal numbers of inserted positions, got \[\d+, \d+\]; ask one question"
        ):
            built.language_model.generate(both, **legacy())


# ---- losses


def loss_setup(scenes, mention, **options):
    """The released text has a token for the space in front of the answer, which is no target, and no end as a target."""
    case, bare = cases()["finetune"], PROMPTS["contra4_bare"]
    answer = replace(bare.answer, legacy_first_mention=mention == "first_mention")
    built = whole_model(replace(bare, text="{question} ", answer=answer))
    query, inputs = query_of(case["question"], len(case["scenes"])), case["scenes"]
    if scenes == "legacy_last_scene_only":  # F2
        query, inputs = replace(query, scenes=query.scenes[-1:]), inputs[-1:]
    return case, built, embedded(built, [query], inputs, targets=[case["answer"]], **options)


def loss_cases():
    names = [key for key in tensors("language") if key.startswith("finetune.") and key.endswith(".loss")]
    return [tuple(name.split(".")[1:3]) for name in sorted(names)]


@pytest.mark.parametrize(("scenes", "mention"), loss_cases())
def test_losses_of_finetuning(scenes, mention):
    with torch.no_grad():
        case, built, embeds = loss_setup(scenes, mention)
        loss = built.language_model.loss(embeds)
    assert embeds.labels[embeds.labels >= 0].tolist() == case["answer_ids"]
    at = int((embeds.labels[0] >= 0).nonzero()[0]) - int(embeds.blocks_end)
    assert at == case[f"{mention}_at"] - 1  # the begin token stands in front of the blocks
    close(loss, tensors("language")[f"finetune.{scenes}.{mention}.loss"][0], 1e-5)


def test_logits_of_finetuning():
    with torch.no_grad():
        _, built, embeds = loss_setup("all_scenes", "final_answer")
    expected = tensors("language")["finetune.all_scenes.logits"]
    close(logits_of(built, embeds)[0], expected[0, : embeds.values.shape[1]], 1e-4)


@pytest.mark.slow  # audio of full length go through all experts, and back
def test_gradients_of_finetuning():
    """CLIP is not trained, what reads audio in front of it is."""
    golden, mark = tensors("language"), "finetune.all_scenes.grad."
    grads = {f"llma.{k.removeprefix(mark)}": v for k, v in golden.items() if k.startswith(mark)}
    assert grads
    assert not recorded()["clip_has_grad"]
    ours, _ = to_ours(grads, heads())
    assert not any(key.startswith("encoders.universal.layers.") for key in ours)
    heard = {key.split(".")[2] for key in grads if key.startswith("llma.conv1.")}
    with torch.no_grad():
        _, built, _ = loss_setup("all_scenes", "final_answer")
    built.zero_grad()
    tokens = {theirs: encodes(theirs, grad=True, built=built) for theirs in heard}
    _, _, embeds = loss_setup("all_scenes", "final_answer", tokens=tokens)
    built.language_model.loss(embeds).backward()
    parameters = dict(built.named_parameters())
    for key, value in ours.items():
        close(parameters[key].grad, value, 1e-5, 1e-3)


def test_loss_of_pretraining():
    """Stages I to III: a caption and its end follow the tokens."""
    case, built = cases()["pretrain"], whole_model(PROMPTS["pretrain"])
    known = {"a caption": case["ids"][1:-1]}
    with torch.no_grad():
        embeds = embedded(built, [query_of("unused", 0)], ["audio"], targets=["a caption"], words=Toy(known))
        loss = built.language_model.loss(embeds)
    close(loss, tensors("language")["pretrain.audio.loss"][0], 1e-5)
