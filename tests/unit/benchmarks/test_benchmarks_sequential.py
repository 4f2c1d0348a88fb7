"""The comparison of sequential and joint training: what is counted, and runs that train what they say."""

import pytest

from benchmarks import sequential
from vidweave.model.growth import parameters_of
from vidweave.training.loop import train


@pytest.fixture(scope="module")
def root():
    return sequential.new_root(1)


@pytest.fixture(scope="module")
def clips():
    return sequential.Clips(3, sequential.load_modalities)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "temperature"), [("joint", None), ("sequential", 1.8)])
def test_a_form_updates_the_modalities_and_nothing_else(root, clips, form, temperature, tmp_path):
    run = sequential.new_run(root, clips, 1, 1, temperature=temperature, clips_per_step=2)
    before = {name: tensor.clone() for name, tensor in root.state_dict().items()}
    train(run, tmp_path, has_progress=False, has_events=False)
    passes = {"all"} if form == "joint" else set(sequential.MODALITIES)
    assert sequential.updates(tmp_path / "logs" / "answers.csv") == dict.fromkeys(passes, 1)
    own = {f"model.{name}" for modality in sequential.MODALITIES for name in parameters_of(root.model, modality)}
    moved = {name for name, tensor in root.state_dict().items() if not tensor.equal(before[name])}
    assert moved
    assert moved <= own


def test_a_pass_that_left_made_fewer_updates(tmp_path):
    log = tmp_path / "answers.csv"
    log.write_text("step,lr,loss,depth/loss,flow/loss\n1,0.1,2,1,1\n2,0.1,2,1,1\n3,0.1,1,1,\n")
    assert sequential.updates(log) == {"depth": 3, "flow": 2}


def test_only_sequential_training_exits():
    assert sequential.forms([1.8, 1.0]) == {"joint": None, "sequential, exit at 1.8": 1.8, "sequential, exit at 1": 1.0}


def test_means_are_reported_for_each_form():
    rows = [
        {"form": "joint", "accuracy": 0.8, "updates": {"all": 60}, "seconds": 10.0},
        {"form": "joint", "accuracy": 1.0, "updates": {"all": 60}, "seconds": 12.0},
        {"form": "sequential", "accuracy": 0.9, "updates": {"depth": 60, "flow": 30}, "seconds": 30.0},
    ]
    info = sequential.summary(rows)
    assert info["joint"] == pytest.approx(
        {"accuracy": 0.9, "accuracy_deviation": 0.1414, "updates_per_modality": 60, "seconds": 11}, abs=1e-4
    )
    assert info["sequential"]["updates_per_modality"] == 45
