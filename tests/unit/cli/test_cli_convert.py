"""`vidweave convert`: the list of layouts, and bad input in one line. Converters have tests of their own."""

import pytest


def test_it_lists_the_layouts(vid):
    done = vid("convert", "--json")
    assert done.code == 0
    assert done.data["malmm"]["options"] == ["length", "num_frames", "beyond_times"]
    assert "malmm" in vid("convert").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["malmm"], "a file and --out are needed"),
        (["malmn", "file.pth", "--out", "x"], "did you mean 'malmm'"),
        (["malmm", "file.pth", "--out", "x", "--set", "length"], "--set takes KEY=VALUE, got 'length'"),
        (["malmm", "file.pth", "--out", "x", "--part", "=a"], "--part takes KEY=VALUE, got '=a'"),
        (["malmm", "file.pth", "--out", "x", "--dtype", "int8"], "unknown dtype of weights 'int8'"),
    ],
)
def test_bad_input_is_one_line(vid, words, message):
    done = vid("convert", *words)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
