"""Devices, dtypes and quiet: what everything that loads weights shares."""

import importlib.util
from logging import INFO

import pytest
import torch

import vidweave
from vidweave.engines.local import TransformersEngine
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.loading import DEVICES, DTYPES, check_device, check_dtype, quiet_loading, usable_device


@pytest.mark.parametrize("name", [*DEVICES, "cuda:0", "cuda:12", "cpu:1"])
def test_devices_are_reported_by_their_names(name):
    assert check_device(name) == name


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("gpu", "unknown device 'gpu'; torch calls it 'cuda'"),
        ("GPU:1", "unknown device 'GPU:1'; torch calls it 'cuda'"),
        ("tpu", "unknown device 'tpu'; torch calls it 'xla'"),
        ("cuda0", "unknown device 'cuda0'; did you mean 'cuda'"),
        ("CPU", r"unknown device 'CPU'; known: cpu, cuda, .* \(a number picks one of several, e\.g\. cuda:1\)"),
        ("", "unknown device ''; known: cpu, cuda"),
        ("cuda:", "'cuda:' is not a device; use a number after the colon, e.g. cuda:1"),
        ("cuda:-1", "'cuda:-1' is not a device"),
        ("cuda:١", "is not a device"),
    ],
)
def test_what_is_no_device_is_refused(name, complaint):
    with pytest.raises((ConfigError, UnknownNameError), match=complaint):
        check_device(name)


@pytest.mark.parametrize("device", [d for d in DEVICES if d != "cpu"] + ["cuda:97"])
def test_a_device_that_is_not_there_is_one_short_line(device):
    """The 97th is nowhere; of the others, whatever this machine has is used."""
    try:
        assert usable_device(device).type == device
        return
    except ConfigError as error:
        reply = str(error)
    assert reply.startswith(f"device {device!r} cannot be used: ")
    assert reply.endswith("use cpu, or install a torch that is built for it")
    assert torch.__version__ in reply
    assert len(reply) < 330
    assert "\n" not in reply


def test_the_processor_is_always_there():
    assert usable_device("cpu") == torch.device("cpu") == usable_device(torch.device("cpu"))


def test_a_dtype_of_weights_floats():
    assert all(getattr(torch, name).is_floating_point for name in DTYPES)
    assert check_dtype("auto", also=("auto",)) == "auto"
    for name in ("int8", "auto", "half", "Tensor", "float61", ""):
        with pytest.raises(UnknownNameError, match="unknown dtype"):
            check_dtype(name)


@pytest.mark.parametrize("make", [vidweave.load, TransformersEngine], ids=["load", "engine"])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"device": "gpu"}, "torch calls it 'cuda'"), ({"device": "hpu"}, "cannot"), ({"dtype": "int8"}, "unknown dtype")],
)
def test_nothing_is_read_before_device_and_dtype_are_known(make, arguments, complaint, tmp_path):
    if arguments.get("device") == "hpu" and importlib.util.find_spec("habana_frameworks"):
        pytest.skip("there is one")
    (tmp_path / "config.json").write_text("[]")  # whoever read it would complain of that
    with pytest.raises((ConfigError, UnknownNameError), match=complaint):
        make(str(tmp_path), **arguments)


def test_a_model_loads_without_a_bar_and_gives_the_bars_back(capfd, monkeypatch):
    from transformers.utils import logging

    logging.enable_progress_bar()
    capfd.readouterr()
    vidweave.load("tiny-base")
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()
    with pytest.raises(KeyError), quiet_loading():
        raise KeyError(logging.is_progress_bar_enabled())
    assert logging.is_progress_bar_enabled()
    monkeypatch.setattr(logging, "get_verbosity", lambda: INFO)  # somebody wants to know
    with quiet_loading():
        assert logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with quiet_loading():
        assert not logging.is_progress_bar_enabled()
    assert not logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
