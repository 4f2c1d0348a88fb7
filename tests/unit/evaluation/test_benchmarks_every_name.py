"""`vidweave evaluate NAME data=FILE media=FOLDER` for every data set: read, asked once, scored by its own scorer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vidweave
from tests.unit.data.benchmark_files import FILES, write_files
from vidweave.cli.main import run
from vidweave.evaluation.benchmarks.measure import scorer_of
from vidweave.media.write import write_audio, write_video
from vidweave.registry import DATASETS
from vidweave.types import Answer, Frames, OptionScore, Waveform


class Oracle:
    """Knows every answer by the question's id in the prompt: here, takes option 2 or says "dog"."""

    def __init__(self) -> None:
        self.asked = []

    def answer(self, queries, **decoding):
        self.asked += queries
        return [self._answer(query.options) for query in queries]

    @staticmethod
    def _answer(options):
        scores = tuple(OptionScore(text, -abs(i - 1.0)) for i, text in enumerate(options))
        return Answer(options[1] if options else "dog", tuple(sorted(scores, key=lambda s: -s.score)))

    def describe(self):
        return {"model": "oracle"}


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    frames = Frames.from_array(np.random.default_rng(5).integers(0, 255, (7, 34, 46, 3), dtype=np.uint8), fps=4)
    video = write_video(folder / "clip.mp4", frames)
    audio = write_audio(folder / "clip.wav", Waveform(np.zeros(9_000, np.float32), 8_000))
    return {".mp4": video, ".avi": video, ".webm": video, ".wav": audio}


@pytest.fixture
def oracle(monkeypatch):
    model = Oracle()
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: model)
    return model


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def evaluated(capsys, *words):
    code = run(["evaluate", *map(str, words), "--json"])
    reply = capsys.readouterr()
    assert code == 0, reply.err
    return json.loads(reply.out)


def test_there_are_files_for_every_data_set():
    assert {*FILES} == {*DATASETS} - {"examples"}


@pytest.mark.parametrize("name", FILES)
def test_every_data_set_is_evaluated(name, media, oracle, tmp_path, capsys):
    files = write_files(name, tmp_path, media)
    settings = [f"{key}={value}" for key, value in files.settings.items()]
    words = (name, f"data={tmp_path / files.data}", f"media={tmp_path / 'media'}", *settings)
    result = evaluated(capsys, *words, "--predictions", tmp_path / "r.jsonl")
    assert result["counts"] == {"total": files.num_examples, "answered": files.num_examples, "missing_media": 0,
                               "unlabeled": 0, "videos": result["counts"]["videos"]}  # fmt: skip
    assert len(oracle.asked) == files.num_examples
    assert result["overall"]["num_items"] == files.num_examples
    assert result["scores"], "the data set has a scorer"
    assert "most frequent answer" in {row["name"] for row in result["baselines"]}
    low, high = result["clustered_interval"]
    assert 0 <= low <= result["overall"]["accuracy"] <= high <= 1
    again = evaluated(capsys, *words, "--predictions", tmp_path / "r.jsonl")
    assert len(oracle.asked) == files.num_examples, "what is recorded is not asked again"
    assert again["scores"] == result["scores"]


def test_scores_of_a_known_model(media, oracle, tmp_path, capsys):
    """By hand: the oracle takes the second option, or says "dog"."""
    expected = {
        "star": {"sevila-official": {}, "multiple-choice-strict": 0.0, "star-strict": {"mean of types": 0.0}},
        "how2qa": {
            "sevila-official": {"agg_metrics": 1.0, "total": 2.0, "HOW2QA": 100.0},
            "multiple-choice-strict": 100.0,
        },
        "msvd-qa": {"malmm-official": 50.0, "malmm-strict": 50.0},
        "tgif-qa": {"exact-match-raw": 100.0, "exact-match-casefold": 100.0},
        "vlep": {"sevila-official": {"agg_metrics": 1.0, "total": 2.0, "VLEP": 100.0}, "multiple-choice-strict": 100.0},
    }
    for name, scores in expected.items():
        folder = tmp_path / name
        folder.mkdir()
        files = write_files(name, folder, media)
        result = evaluated(capsys, name, f"data={folder / files.data}", f"media={folder / 'media'}")["scores"]
        assert [score["scorer"] for score in result] == list(scores)
        for score, value in zip(result, scores.values(), strict=True):
            if isinstance(value, dict):
                assert score["values"].items() >= value.items()
            else:
                assert score["overall"]["percent"] == value


def test_missing_media_are_refused_before_a_model_is_loaded_or_counted(media, oracle, tmp_path, capsys):
    files = write_files("ssv2-mcq", tmp_path, media)
    (tmp_path / "media" / "3.webm").unlink()
    words = ["evaluate", "ssv2-mcq", f"data={tmp_path / files.data}", f"media={tmp_path / 'media'}"]
    assert run(words) == 2
    error = capsys.readouterr().err
    assert "ssv2-mcq: 1 of 6 examples have no media, the first is 3: no file of video for '3'" in error
    assert "missing=leave_out" in error
    assert not oracle.asked
    result = evaluated(capsys, *words[1:], "missing=leave_out")
    assert result["counts"]["missing_media"] == 1
    assert (result["overall"]["num_items"], result["all_questions"]["num_items"]) == (5, 6)
    (strict,) = result["scores"]
    assert (strict["overall"]["num_items"], strict["answered"]["num_items"], strict["num_missing"]) == (6, 5, 1)
    assert strict["overall"]["num_correct"] == strict["answered"]["num_correct"]
    (tmp_path / "elsewhere").mkdir()
    assert run([*words[:3], f"media={tmp_path / 'elsewhere'}", "missing=leave_out"]) == 2
    assert "none of 6 examples has media in" in capsys.readouterr().err


def test_a_split_without_answers_writes_predictions_and_a_submission(media, oracle, tmp_path, capsys):
    files = write_files("vlep", tmp_path, media)
    path = tmp_path / files.data
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "answer"}) + "\n" for row in rows))
    result = evaluated(
        capsys, "vlep", f"data={path}", f"media={tmp_path / 'media'}", "--predictions", tmp_path / "r.jsonl"
    )
    assert "overall" not in result
    assert not result["scores"]
    assert result["counts"]["unlabeled"] == 2
    predictions = lines(result["written"]["replies"])
    assert [(row["id"], row["choice"]) for row in predictions] == [("VLEP_0", 1), ("VLEP_1", 1)]
    submitted = lines(result["written"]["submission"])
    assert submitted == [{"example_id": 0, "pred_ans": 1}, {"example_id": 1, "pred_ans": 1}]


def test_choices_that_are_written_are_read_by_a_named_parser(media, oracle, tmp_path, capsys):
    """ "because" is B for MERV, and nothing for vidweave; the prompt holds the options as letters."""
    files = write_files("how2qa", tmp_path, media)
    words = ("how2qa", f"data={tmp_path / files.data}", f"media={tmp_path / 'media'}")
    oracle._answer = lambda options: Answer("because" if not options else "scored")
    right = {}
    for parser in ("merv", "vidweave"):
        result = evaluated(capsys, *words, "--parser", parser, "--prompt", "{question} {letters}:\n{options}")
        right[parser] = result["overall"]["num_correct"]
        assert result["manifest"]["wording"]["parser"] == parser
        assert result["scores"][1]["overall"]["num_correct"] == right[parser]
    assert right == {"merv": 2, "vidweave": 0}
    assert oracle.asked[-1].text == "Why? A, B, C, D:\nA. a\nB. b\nC. c\nD. d"
    assert run(["evaluate", *words, "--parser", "mrev"]) == 2
    assert "did you mean 'merv'" in capsys.readouterr().err
    assert run(["evaluate", *words, "--prompt", "{qestion}"]) == 2
    assert "must hold {question}" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_scorer_takes_silence_and_nonsense(name, media, tmp_path):
    """No reply at all, empty replies, replies in another script: a score, or a reason why there is none."""
    from vidweave.evaluation.benchmarks.outcome import Outcome

    files = write_files(name, tmp_path, media)
    made = DATASETS.get(name)(data=tmp_path / files.data, **files.settings)
    for reply in (None, "", "  ", "äöü 漢字 " * 50, "yes or no", "\x00"):
        outcomes = [Outcome(example=example, reply=reply) for example in made.annotations]
        for score in scorer_of(name, made.annotations)(outcomes):
            text = json.dumps(score.to_dict(), allow_nan=False)
            assert score.scorer in text
