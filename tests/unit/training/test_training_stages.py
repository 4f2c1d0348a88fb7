import pytest
import torch
from training_toys import TinyNet, tiny_run, tiny_stage

from vidweave.errors import ConfigError, TrainingError
from vidweave.training import AdamWSettings, AnswerLoss, Pass, WeightedSum
from vidweave.training.identity import check_same_run, describe_run, run_hash
from vidweave.training.stages import match_parameters


def test_passes_name_exactly_the_trainable_parameters():
    stage = tiny_stage(passes=(Pass("tower", ("tower.0.*",)), Pass("head", ("head.*", "tower.1.bias"))))
    assert stage.trainable(TinyNet()) == {
        "tower": ["tower.0.weight", "tower.0.bias"],
        "head": ["tower.1.bias", "head.weight", "head.bias"],
    }
    run = tiny_run(stage, tiny_stage(name="norm", passes=(Pass("norm", ("tower.1.weight",)),)))
    names = ["tower.0.weight", "tower.0.bias", "tower.1.weight", "tower.1.bias", "head.weight", "head.bias"]
    assert run.trainable() == names


def test_a_pattern_that_matches_nothing_lists_near_names():
    with pytest.raises(
        TrainingError, match=r"pattern 'haed.weight' in pass 'x' matches no parameter; near: head.weight"
    ):
        match_parameters(["tower.weight", "head.weight"], ["haed.weight"], "pass 'x'")


def test_a_text_for_patterns_is_refused():
    with pytest.raises(ConfigError, match="must be a tuple of patterns, got the text 'head"):
        Pass("x", "head.*")  # type: ignore[arg-type]


def test_decay_spares_small_and_named_parameters():
    settings = AdamWSettings(no_decay=("*bias", "*norm*"))
    assert settings.decays("head.weight", 2)
    assert not settings.decays("head.weight", 1)
    assert not settings.decays("a.norm1.weight", 2)
    assert not settings.decays("head.bias", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "needs steps, batch_size and accumulate of at least 1"),
        ({"share": 0.0}, "positive share"),
        ({"precision": "16"}, "is '32-true' or 'bf16-mixed', got '16'"),
        ({"passes": ()}, "needs at least one pass"),
        ({"passes": (Pass("a"), Pass("a"))}, "each with its own name"),
    ],
)
def test_a_stage_checks_itself(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_stage(**changes)


@pytest.mark.parametrize("changes", [{"lr": 0.0}, {"weight_decay": -1.0}, {"clip_norm": 0.0}])
def test_optimizer_settings_check_themselves(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        AdamWSettings(**changes)


def test_the_defaults_of_the_optimizer():
    s = AdamWSettings()
    assert (s.lr, s.betas, s.eps, s.weight_decay, s.clip_norm) == (1e-3, (0.9, 0.999), 1e-8, 0.05, 1.0)
    assert not s.decays("head.scale", 1)


def test_stages_need_their_own_names():
    with pytest.raises(ConfigError, match="run 'tiny' needs at least one stage, each with its own name"):
        tiny_run(tiny_stage(), tiny_stage())


def test_equal_recipes_have_equal_hashes_and_differences_are_named():
    first, again = describe_run(tiny_run()), describe_run(tiny_run())
    assert run_hash(first) == run_hash(again)
    check_same_run(first, again)
    changed = describe_run(tiny_run(tiny_stage(optimizer=AdamWSettings(lr=2e-2))))
    with pytest.raises(TrainingError, match=r"another recipe: stages.only.optimizer.lr was 0.01, is 0.02. Resume with"):
        check_same_run(first, changed)


def test_other_frozen_weights_are_noticed_and_other_trained_ones_are_not():
    stage = tiny_stage(passes=(Pass("head", ("head.*",)),))
    run, learnt, frozen = tiny_run(stage), tiny_run(stage), tiny_run(stage)
    with torch.no_grad():
        learnt.model.head.weight.add_(1)
        frozen.model.tower[0].weight.add_(1)
    check_same_run(describe_run(run), describe_run(learnt))
    with pytest.raises(TrainingError, match="frozen was"):
        check_same_run(describe_run(run), describe_run(frozen))


class _Model:
    def __call__(self, batch):
        return type("Output", (), {"loss": torch.tensor(batch)})()


def test_objectives_combine():
    def other(model, batch):
        return {"loss": torch.tensor(10.0), "detail": torch.tensor(4.0)}

    losses = WeightedSum({"answer": (1.0, AnswerLoss()), "other": (0.5, other)})(_Model(), 3.0)
    assert {name: float(v) for name, v in losses.items()} == {
        "loss": 8.0,
        "answer": 3.0,
        "other": 10.0,
        "other/detail": 4.0,
    }
    assert float(AnswerLoss()(lambda batch: {"loss": torch.tensor(2.0)}, None)["loss"]) == 2.0


def test_objectives_that_return_no_loss_are_reported():
    with pytest.raises(TrainingError, match="the model returned no loss; give the batch its targets"):
        AnswerLoss()(lambda batch: {"logits": 1}, None)
    with pytest.raises(TrainingError, match=r"of x must return a mapping with 'loss', got \['los'\]"):
        WeightedSum({"x": (1.0, lambda m, b: {"los": 1})})(None, None)
    with pytest.raises(TrainingError, match=r"'loss' of x must be one number, got shape \(3,\); average it"):
        WeightedSum({"x": (1.0, lambda m, b: {"loss": torch.zeros(3)})})(None, None)
    with pytest.raises(ConfigError, match="at least one objective"):
        WeightedSum({})
