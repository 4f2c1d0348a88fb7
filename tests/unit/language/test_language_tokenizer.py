"""Tokenizers come from folders, whole, and bring no code."""

import json

import pytest

from vidweave.errors import CheckpointError
from vidweave.language.tokenizer import load_tokenizer


def test_a_tokenizer_comes_back_from_its_folder(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    text = "Frame 1: what is it? red"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (again.bos_token_id, again.eos_token_id, again.pad_token_id) == (2, 1, 0)


def test_a_folder_that_wants_to_run_code_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    data = json.loads(path.read_text())
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    data |= {"auto_map": {"AutoTokenizer": [None, "evil.Evil"]}, "tokenizer_class": "Evil"}
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="cannot load a tokenizer from"):
        load_tokenizer(tmp_path)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=f"cannot load a tokenizer from '{tmp_path}'"):
        load_tokenizer(tmp_path)


def test_a_damaged_tokenizer_is_named(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(CheckpointError, match="cannot load a tokenizer from"):
        load_tokenizer(tmp_path)
