"""MERV's recipes run from end to end on tiny data, and train exactly what they say."""

import copy

import pytest
import torch

import vidweave
from vidweave.errors import ConfigError, QueryError
from vidweave.language.chat import LLAMA2_BASE
from vidweave.media.store import FeatureStore
from vidweave.model.conversations import ConversationLoss, collate_captions, collate_conversations
from vidweave.systems.merv.training import ALIGN, FINETUNE, FULL_ALIGN, StageSettings
from vidweave.training import recipe_run, train

FROZEN, FULL = "merv/frozen", "merv/full"
SMALL = ("steps=2", "batch_size=4", "lr=0.01")


def settings(stage):
    return ["workers=0", *(f"{stage}.{setting}" for setting in SMALL)]


def changed(before, after):
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def trained(run, out):
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    result = train(run, out, has_progress=False, has_events=False)
    return before, run.model.state_dict(), result


def test_frozen_trains_all_but_the_encoders(tmp_path):
    run = recipe_run(FROZEN, [*settings("finetune"), f"cache={tmp_path / 'features'}"])
    assert [stage.name for stage in run.stages] == ["finetune"]
    before, after, result = trained(run, tmp_path / "run")
    moved = changed(before, after)
    assert {name.split(".")[0] for name in moved} == {"connector", "language_model"}
    learning = {name for name in before if not name.startswith("encoders.")}
    assert {n for n in learning - moved if "lm_head" not in n and before[n].abs().sum() > 0} <= {
        n for n in learning if ".fusion." in n or "bias" in n
    }  # what has no gradient yet: a mixer whose query starts small, biases that cancel
    again = vidweave.load(result.finish["model"]).model
    assert again.config.name == "tiny-merv"
    assert FeatureStore(tmp_path / "features").stats().num_entries > 0


@pytest.mark.slow
def test_full_goes_on_from_all_that_the_first_stage_trained(tmp_path):
    run = recipe_run(FULL, [*settings("full_align"), *settings("finetune")])
    assert [stage.name for stage in run.stages] == ["full-align", "finetune"]
    first = copy.copy(run)
    object.__setattr__(first, "stages", run.stages[:1])
    before, after, _ = trained(first, tmp_path / "first")
    assert {name.split(".")[0] for name in changed(before, after)} == {"connector", "language_model"}
    snapshot = {name: value.clone() for name, value in after.items()}
    second = copy.copy(run)
    object.__setattr__(second, "stages", run.stages[1:])
    start, _, _ = trained(second, tmp_path / "second")
    assert not changed(snapshot, start)


@pytest.mark.slow
def test_align_trains_the_connector_alone(tmp_path):
    run = recipe_run(FULL, ["align_only=true", *settings("align"), *settings("finetune")])
    object.__setattr__(run, "stages", run.stages[:1])
    before, after, _ = trained(run, tmp_path)
    assert {name.split(".")[0] for name in changed(before, after)} == {"connector"}


def test_the_papers_numbers():
    assert (ALIGN.lr, FULL_ALIGN.lr, FINETUNE.lr) == (1e-3, 1e-4, 2e-5)
    assert (ALIGN.batch_size, FINETUNE.batch_size, FINETUNE.weight_decay) == (256, 128, 0.1)
    assert ALIGN.num_steps(1_260_000) == 4922
    assert FINETUNE.num_steps(765_000) == 5977
    assert StageSettings(lr=1.0, batch_size=3, epochs=2).num_steps(7) == 6
    with pytest.raises(ConfigError, match="warmup_ratio within"):
        StageSettings(lr=1.0, batch_size=1, warmup_ratio=1.0)


@torch.no_grad()
def test_a_mixed_batch_equals_its_parts():
    """Conversations about clips and about nothing together: the loss is the mean over all target tokens."""
    run = recipe_run(FROZEN, settings("finetune"))
    model, data = run.model.eval(), run.stages[0].examples
    processor = model.processor
    talks = [data[0], data[7], data[1]]
    assert talks[1].clip is None
    whole = collate_conversations(processor, LLAMA2_BASE, talks)
    parts = [collate_conversations(processor, LLAMA2_BASE, [talk]) for talk in talks]
    counts = torch.tensor([int(part.plan.is_target.sum()) for part in parts], dtype=torch.float)
    losses = torch.stack([ConversationLoss()(model, part)["loss"] for part in parts])
    got = ConversationLoss()(model, whole)["loss"]
    torch.testing.assert_close(got, (losses * counts).sum() / counts.sum(), rtol=1e-4, atol=1e-5)
    assert whole.pairs == ((0, 0), (2, 0))
    with pytest.raises(QueryError, match="a caption is one answer about one clip, got 2 answers"):
        collate_captions(processor, talks)
