"""splice against a slow reference on random plans; and every count that does not fit."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_language import make_blocks

from vidweave.errors import ModalityError, ShapeError
from vidweave.language.splice import splice
from vidweave.types import Blocks, PromptPlan

WIDTH = 5
TABLE = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1))


def embed(ids):
    return TABLE[ids]


def make_plan(rows, targets=()):
    """Rows of ids (int), slots (tuple); (row, position) of targets."""
    names, size = [], max(map(len, rows))
    ids, slot = torch.full((len(rows), size), -1), torch.full((len(rows), size), -1)
    for b, row in enumerate(rows):
        for k, part in enumerate(row):
            if isinstance(part, tuple):
                names += [part] if part not in names else []
                slot[b, k] = names.index(part)
            else:
                ids[b, k] = part
    is_target = torch.zeros_like(ids, dtype=torch.bool)
    for b, k in targets:
        is_target[b, k] = True
    return PromptPlan(ids, slot, tuple(names), is_target)


def slow(plan, blocks, side):
    """The same in loops: per item a list of vectors and labels, then padded."""
    rows, labels = [], []
    for b in range(len(plan.ids)):
        row, marks = [], []
        for number, slot, learnt in zip(
            plan.ids[b].tolist(), plan.slot[b].tolist(), plan.is_target[b].tolist(), strict=True
        ):
            if number >= 0:
                row.append(TABLE[number])
                marks.append(number if learnt else -100)
            elif slot >= 0:
                name, scene, segment = plan.slots[slot]
                block = blocks[name]
                (r,) = [r for r in range(len(block.item)) if (int(block.item[r]), int(block.scene[r])) == (b, scene)]
                for t in range(block.mask.shape[1]) if segment is None else [segment]:
                    new = [block.values[r, t, q] for q in range(block.mask.shape[2]) if block.mask[r, t, q]]
                    row += new
                    marks += [-100] * len(new)
        rows.append(torch.stack(row))
        labels.append(torch.tensor(marks))
    size = max(map(len, rows))
    values, mask = torch.zeros(len(rows), size, WIDTH), torch.zeros(len(rows), size, dtype=torch.bool)
    marks, positions = torch.full((len(rows), size), -100), torch.zeros(len(rows), size, dtype=torch.int64)
    for b, row in enumerate(rows):
        where = slice(size - len(row), size) if side == "left" else slice(0, len(row))
        values[b, where], mask[b, where], marks[b, where] = row, True, labels[b]
        positions[b, where] = torch.arange(len(row))
    return values, mask, positions, marks


@st.composite
def cases(draw):
    """Items with several scenes; blocks with missing rows, masked tokens and unequal segments; whole or per segment."""
    num_items = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 10_000))
    generator = torch.Generator().manual_seed(seed)
    blocks, rows = {}, [[] for _ in range(num_items)]
    for name in draw(st.lists(st.sampled_from(["video", "audio", "depth"]), unique=True)):
        pairs = draw(st.lists(st.tuples(st.integers(0, num_items - 1), st.integers(0, 2)), unique=True))
        segments, tokens = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        mask = torch.zeros(len(pairs), segments, tokens, dtype=torch.bool)
        by_segment = draw(st.booleans())
        for r, (item, scene) in enumerate(pairs):
            real = draw(st.integers(1, segments))
            mask[r, :real] = torch.rand(real, tokens, generator=generator) < 0.6
            mask[r, :real, 0] |= ~mask[r, :real].any(1)
            rows[item] += [(name, scene, g) for g in range(real)] if by_segment else [(name, scene, None)]
            rows[item] += torch.randint(0, 40, (draw(st.integers(0, 2)),), generator=generator).tolist()
        item, scene = (torch.tensor([p[k] for p in pairs], dtype=torch.int64) for k in (0, 1))
        values = torch.randn(*mask.shape, WIDTH, generator=generator)
        blocks[name] = Blocks(values, mask, torch.zeros(len(pairs), segments, 2), item, scene)
    targets = []
    for b, row in enumerate(rows):
        answer = torch.randint(0, 40, (draw(st.integers(1, 3)),), generator=generator).tolist()
        targets += [(b, len(row) + k) for k in range(len(answer))] if draw(st.booleans()) else []
        row += answer
    return make_plan(rows, targets), blocks, draw(st.sampled_from(["left", "right"]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases())
def test_splice_is_the_slow_reference(case):
    plan, blocks, side = case
    got = splice(plan, blocks, embed, side)
    values, mask, positions, labels = slow(plan, blocks, side)
    assert torch.equal(got.values, values)
    assert torch.equal(got.mask, mask)
    assert torch.equal(got.position_ids, positions)
    assert (got.labels is None) == (not plan.is_target.any())
    if got.labels is not None:
        assert torch.equal(got.labels, labels)


def test_gradients_reach_placed_tokens_only():
    block = make_blocks([(0, 0, 2), (1, 0, 3)], tokens=2, width=WIDTH)
    block.values.requires_grad_()
    plan = make_plan([[3, ("video", 0, None), 4], [("video", 0, None), 5, 6, 7]])
    splice(plan, {"video": block}, embed, "left").values.pow(2).sum().backward()
    assert torch.equal(block.values.grad.abs().sum(-1) > 0, block.mask)


def test_blocks_take_the_dtype_of_the_text():
    block = make_blocks([(0, 0, 1)], width=WIDTH)
    plan = make_plan([[3, ("video", 0, None)]])
    assert splice(plan, {"video": block}, lambda ids: embed(ids).bfloat16(), "left").values.dtype == torch.bfloat16


def test_a_stream_without_rows_is_fine():
    plan = make_plan([[3, 4], [5]])
    got = splice(plan, {"video": make_blocks([], width=WIDTH)}, embed, "right")
    assert got.mask.tolist() == [[True, True], [True, False]]


VIDEO = ("video", 0, None)


def check(rows, blocks, error, message, side="left"):
    with pytest.raises(error, match=message):
        splice(make_plan(rows), blocks, embed, side)


def test_a_slot_without_its_block_or_row_is_refused():
    video = make_blocks([(0, 0, 2)], width=WIDTH)
    check(
        [[3, VIDEO, ("audio", 0, None)]],
        {"video": video},
        ShapeError,
        "1 slots for absent blocks .item 0: 'audio'.; given: video",
    )
    check(
        [[3, VIDEO], [VIDEO]],
        {"video": video},
        ShapeError,
        "item 1 has a slot for block 'video' of scene 0, but none of the block's 1 rows",
    )
    check([[3, ("video", 1, None)]], {"video": video}, ShapeError, "slot for block 'video' of scene 1")
    check([[3, VIDEO]], {}, ShapeError, "given: none")


def test_segments_that_do_not_match_are_refused():
    video = make_blocks([(0, 0, 2), (1, 0, 4)], width=WIDTH)
    by_segment = [[("video", 0, g) for g in range(n)] for n in (2, 4)]
    splice(make_plan(by_segment), {"video": video}, embed, "left")
    check(
        [by_segment[0], by_segment[1][:3]],
        {"video": video},
        ShapeError,
        "item 1, scene 0, has 4 segments, the prompt places 3",
    )
    check(
        [by_segment[1], by_segment[1]],
        {"video": video},
        ShapeError,
        "slot for segment 2 of 'video', which has 2 segments there",
    )
    more = [("video", 0, g) for g in range(5)]
    check([by_segment[0], more], {"video": video}, ShapeError, "slot for segment 4 of 'video', which has 4 segments")


def test_a_row_that_reaches_no_token_is_refused():
    video, audio = make_blocks([(0, 0, 2)], width=WIDTH), make_blocks([(0, 0, 1), (1, 0, 1)], width=WIDTH)
    both = {"video": video, "audio": audio}
    check(
        [[3, VIDEO], [4, ("audio", 0, None)]],
        both,
        ModalityError,
        "block 'audio' of item 0, scene 0, reaches no token: no slot",
    )
    check([[3, VIDEO], [4]], both, ModalityError, "block 'audio' of item 0")
    masked = replace(video, mask=torch.zeros_like(video.mask))
    check([[3, VIDEO]], {"video": masked}, ModalityError, "reaches no token: all its tokens are masked")


def test_rows_that_contradict_the_plan_are_refused():
    twice = make_blocks([(0, 0, 2), (0, 0, 1)], width=WIDTH)
    check([[VIDEO]], {"video": twice}, ShapeError, "has 2 rows for 1 different")
    check(
        [[VIDEO]],
        {"video": make_blocks([(0, 0, 1), (2, 0, 1)], width=WIDTH)},
        ShapeError,
        r"rows of items \[0, 2\], the prompt has 1 items",
    )
    check(
        [[VIDEO]],
        {"video": make_blocks([(0, 0, 1)], width=4)},
        ShapeError,
        "block 'video' is 4 wide, the language model 5",
    )
    check(
        [[VIDEO]],
        {"video": make_blocks([(0, 0, 1)], width=WIDTH)},
        ShapeError,
        "must be 'left' or 'right', got 'up'",
        side="up",
    )
    plan = make_plan([[3], [4]])
    plan.ids[1] = -1
    with pytest.raises(ShapeError, match="the prompt of item 1 is empty"):
        splice(plan, {}, embed, "left")
