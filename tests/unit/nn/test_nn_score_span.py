from hypothesis import given
from hypothesis import strategies as st

from vidweave.nn.score_span import frame_to_step, largest_rectangle


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.booleans())
def test_no_rectangle_is_larger(scores, subtract):
    low = min(scores) if subtract else 0
    first, last = largest_rectangle([score - low for score in scores])
    area = {
        (a, b): (b - a + 1) * (min(scores[a : b + 1]) - low) for a in range(len(scores)) for b in range(a, len(scores))
    }
    assert area[first, last] == max(area.values())
    if max(area.values()) == 0:
        assert (first, last) == (0, len(scores) - 1)


def test_steps_of_frames():
    assert [frame_to_step(p, 5, 9) for p in range(5)] == [0, 2, 4, 6, 8]
    assert frame_to_step(0, 1, 9) == 0
