"""Caption metrics beyond the recorded sets: tokens of the Java program, ties, empty captions, missing Java."""

import sys
import types

import pytest

from vidweave.errors import AnnotationError, EngineError, MissingExtraError, MissingProgramError, UnknownNameError
from vidweave.evaluation.captions.bleu import bleu
from vidweave.evaluation.captions.cider import cider
from vidweave.evaluation.captions.corpus import CaptionScore
from vidweave.evaluation.captions.java_metrics import meteor, spice
from vidweave.evaluation.captions.rouge import rouge_l
from vidweave.evaluation.captions.score import score_captions, selection_value
from vidweave.evaluation.captions.tokenizer import tokenize


@pytest.mark.parametrize(
    ("caption", "tokens"),  # what Stanford's tokenizer 3.4.1 and the COCO evaluation make of it
    [
        ("", ""),
        (" \n\t ", ""),
        (". ! ? , ; : - -- ... ' \"", ""),
        ("what?!", "what ?!"),
        ("a...b", "a. b"),
        ("a…b", "a b"),
        ("I can't, cannot and won't", "i ca n't can not and wo n't"),
        ("he'd've gonna", "he 'd 've gon na"),
        ("'tis the dogs' bone", "'t is the dogs bone"),
        ("rock 'n' roll at 5 o'clock", "rock 'n' roll at 5 o'clock"),
        ("it’s “smart”", "it 's smart"),
        ("mr. smith and dr. who in the u.s.", "mr. smith and dr. who in the u.s."),
        ("5 p.m. today", "5 p.m. today"),
        ("an x-ray, x- and dr/", "an x-ray x and dr /"),
        ("1/2 cup or 3 1/2 cups", "1/2 cup or 3\xa01/2 cups"),
        ("24/7 10:30am 1,000 3.5%", "24/7 10:30 am 1,000 3.5 %"),
        ("$5 #1 #tag 1+1=2", "$ 5 # 1 #tag 1 +1 = 2"),
        ("AT&T r&b", "at&t r & b"),
        ("(x) [y] {z}", "-lrb- x -rrb- -lsb- y -rsb- -lcb- z -rcb-"),
        ("日本語 naïve 😀 x", "日本語 naïve x"),
        ("c++ and c#", "c++ and c#"),
        ("no. 5 says no.", "no. 5 says no"),
    ],
)
def test_tokens(caption, tokens):
    assert tokenize(caption) == tokens


def test_of_two_references_equally_close_the_shorter_counts():
    """Three words against references of two and four: two counts, so that nothing is taken off for brevity."""
    (first, *_) = bleu({"a": "x y z"}, {"a": ["x y z w", "x y"]})
    assert first.corpus == pytest.approx(1.0)
    (longer, *_) = bleu({"a": "x y z"}, {"a": ["x y z w"]})
    assert longer.corpus == pytest.approx(2.718281828459045 ** (1 - 4 / 3))


def test_a_repeated_word_counts_as_often_as_in_one_reference():
    (first, *_) = bleu({"a": "the the the the"}, {"a": ["the cat the", "the dog"]})
    assert first.corpus == pytest.approx(2 / 4)


def test_rouge_takes_precision_and_recall_from_two_references():
    """Precision 3/3 of the long reference, recall 1/1 of the short one, although no reference has both."""
    assert rouge_l({"a": "x y z"}, {"a": ["x y z w v", "x"]}).corpus == pytest.approx(1.0)


def test_cider_of_one_item_is_zero_and_depends_on_the_set():
    assert cider({"a": "x y z w"}, {"a": ["x y z w"]}).corpus == 0
    two = cider({"a": "x y z w", "b": "p q r s"}, {"a": ["x y z w"], "b": ["p q r s"]})
    assert two.each == pytest.approx({"a": 10.0, "b": 10.0})


@pytest.mark.parametrize("candidate", ["", "zzz"])
def test_empty_and_foreign_captions_score_nothing(candidate):
    sides = {"a": candidate, "b": "x y"}, {"a": ["a man", ""], "b": ["x y"]}
    for score in (*bleu(*sides), cider(*sides)):
        assert score.each["a"] == pytest.approx(0.0, abs=1e-7)
    assert rouge_l({"a": "zzz"}, {"a": ["a man"]}).corpus == 0


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider, meteor, spice])
def test_ids_that_do_not_fit(metric):
    with pytest.raises(AnnotationError, match="at least one id with references, got none"):
        metric({}, {})
    with pytest.raises(AnnotationError, match="1 differ: 'b' has no caption; score missing captions as empty texts"):
        metric({"a": "x"}, {"a": ["x"], "b": ["y"]})
    with pytest.raises(AnnotationError, match="'c' has no references"):
        metric({"a": "x", "c": "x"}, {"a": ["x"]})
    with pytest.raises(AnnotationError, match="caption 'a' has no references, expected at least one"):
        metric({"a": "x"}, {"a": []})


def test_unknown_metrics_and_values_that_were_not_computed():
    with pytest.raises(UnknownNameError, match="unknown caption metric 'rouge'; did you mean 'rouge-l'"):
        score_captions({"a": "x"}, {"a": ["x"]}, ["rouge"])
    with pytest.raises(UnknownNameError, match="unknown computed caption metric 'METEOR'"):
        selection_value(score_captions({"a": "x"}, {"a": ["x"]}))
    values = {"CIDEr": 1.0, "BLEU-4": 2.0, "METEOR": 4.0, "ROUGE-L": 8.0}
    made = [CaptionScore(metric=metric, corpus=value, each={}) for metric, value in values.items()]
    assert selection_value(made) == 15


@pytest.fixture
def package(monkeypatch):
    """A stand-in for pycocoevalcap, whose scorers record their arguments."""

    def install(compute):
        for name, scorer in (("meteor", "Meteor"), ("spice", "Spice")):
            made = types.ModuleType(f"pycocoevalcap.{name}.{name}")
            setattr(made, scorer, lambda: types.SimpleNamespace(compute_score=compute))
            monkeypatch.setitem(sys.modules, "pycocoevalcap", types.ModuleType("pycocoevalcap"))
            monkeypatch.setitem(sys.modules, f"pycocoevalcap.{name}", types.ModuleType(f"pycocoevalcap.{name}"))
            monkeypatch.setitem(sys.modules, f"pycocoevalcap.{name}.{name}", made)
        monkeypatch.setattr("shutil.which", lambda program: f"/bin/{program}")

    return install


def test_values_of_the_java_programs_stay_with_their_ids(package):
    package(lambda references, candidates: (0.5, [len(candidates[id][0]) / 10 for id in references]))
    assert meteor({"b": "xyz", "a": "x"}, {"b": ["x"], "a": ["x"]}).each == {"b": 0.3, "a": 0.1}
    package(
        lambda references, candidates: (0.5, [{"All": {"f": len(candidates[i][0]) / 10}} for i in sorted(references)])
    )
    score = spice({"b": "xyz", "a": "x"}, {"b": ["x"], "a": ["x"]})
    assert (score.metric, score.corpus, score.each) == ("SPICE", 0.5, {"a": 0.1, "b": 0.3})


@pytest.mark.parametrize("metric", [meteor, spice])
def test_missing_package_and_missing_java(metric, package, monkeypatch):
    sides = {"a": "x"}, {"a": ["x"]}
    package(lambda *_: pytest.fail("Java is missing"))
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(MissingProgramError, match="java is not on the PATH; install Java 8 or later, or leave"):
        metric(*sides)
    for name in ("meteor", "spice"):
        monkeypatch.setitem(sys.modules, f"pycocoevalcap.{name}.{name}", None)
    with pytest.raises(MissingExtraError, match=r"needs pycocoevalcap; install it with: .*vidweave\[caption-metrics\]"):
        metric(*sides)


def test_a_java_program_that_dies_is_one_line(package):
    def die(*_):
        raise BrokenPipeError("gone")

    package(die)
    with pytest.raises(EngineError, match=r"the Java program of METEOR failed \(BrokenPipeError: gone\)"):
        meteor({"a": "x"}, {"a": ["x"]})
