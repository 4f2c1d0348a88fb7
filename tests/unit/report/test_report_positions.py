"""Where things stand on a page: bars, whiskers, ticks, axes and thumbnails, read back from the SVG for lopsided data."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import pytest

from vidweave.report.charts import bars, cells, curves
from vidweave.report.context import PanelContext, time_axis
from vidweave.report.drawing import FAINT, INK, PALETTE, Bitmap, Box, Drawing, Line, Words, shade
from vidweave.report.intervals import NOTES, ROW, TOP, WIDTH, Figure, intervals, name_width
from vidweave.report.raster import to_image
from vidweave.report.svg import to_svg
from vidweave.report.timeline import clip_span, draw_timeline
from vidweave.types import Clip, Frames, FrameUse, Trace

GRID = "#e4e4e4"


@dataclass(frozen=True)
class Shapes:
    """What an SVG shows, as numbers: boxes (x, y, width, height, fill, title), lines (points, color, width), texts."""

    boxes: list[tuple[float, float, float, float, str, str]]
    lines: list[tuple[list[tuple[float, float]], str, float]]
    texts: dict[str, tuple[float, float, str, str]]
    images: list[tuple[float, float, float, float]]


def read(drawing: Drawing) -> Shapes:
    result = Shapes([], [], {}, [])
    for element in ElementTree.fromstring(to_svg(drawing)):
        kind, a = element.tag.rpartition("}")[2], element.attrib
        place = tuple(float(a.get(name, "nan")) for name in ("x", "y", "width", "height"))
        if kind == "rect":
            result.boxes.append((*place, a["fill"], element[0].text if len(element) else ""))
        elif kind == "polyline":
            points = [tuple(float(v) for v in pair.split(",")) for pair in a["points"].split()]
            result.lines.append((points, a["stroke"], float(a["stroke-width"])))
        elif kind == "text":
            result.texts[element.text or ""] = (*place[:2], a["text-anchor"], a["fill"])
        else:
            result.images.append(place)
    return result


def near(value: float) -> object:
    return pytest.approx(value, abs=0.011)  # two decimals in the SVG


# -- figures with intervals

FIGURES = (
    Figure(name="first", value=0.31, note="31 of 100", low=0.12, high=0.57, marks={"rule": 0.83, "prior": 0.05}),
    Figure(name="second", value=0.9, low=0.88, high=0.91, marks={"prior": 0.4}),
    Figure(name="none", value=None, note="no value"),
)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.4, 1.2), (0.0, 0.6)])
def test_bars_whiskers_ticks_and_grid_stand_at_their_values(low, high):
    shapes = read(intervals(FIGURES, low=low, high=high, left=200))
    room = WIDTH - 200 - NOTES

    def x(value: float) -> float:
        return 200 + room * min(1.0, max(0.0, (value - low) / (high - low)))

    assert len(shapes.boxes) == 2
    for number, (figure, box) in enumerate(zip(FIGURES, shapes.boxes, strict=False)):
        y = TOP + ROW * number
        assert box[0] == near(x(0.0))
        assert box[0] + box[2] == near(x(figure.value))
        assert (box[1], box[3]) == (near(y + 4), near(ROW - 8))
        whisker = [points for points, color, _ in shapes.lines if color == INK and y < points[0][1] < y + ROW]
        assert whisker == [[(near(x(figure.low)), near(y + ROW / 2)), (near(x(figure.high)), near(y + ROW / 2))]]
    colors = dict(zip(("rule", "prior"), PALETTE[1:], strict=False))
    legend = TOP + ROW * len(FIGURES)
    for name, color in colors.items():
        ticks = [points for points, stroke, width in shapes.lines if stroke == color and points[0][1] < legend]
        rows = [number for number, figure in enumerate(FIGURES) if name in figure.marks]
        assert ticks == [
            [(near(x(FIGURES[n].marks[name])), near(TOP + ROW * n + dy)) for dy in (2, ROW - 2)] for n in rows
        ]
        assert shapes.texts[name][3] == color
    grid = [points for points, color, _ in shapes.lines if color in (GRID, FAINT)]
    values = [low + (high - low) * step / 4 for step in range(5)]
    assert grid == [[(near(x(value)), near(TOP - 4)), (near(x(value)), near(legend))] for value in values]
    for value in values:
        assert shapes.texts[f"{value:.0%}"][:3] == (near(x(value)), 12.0, "middle")
    zero = [points for points, color, _ in shapes.lines if color == FAINT]
    assert len(zero) == sum(value == 0 for value in values)


def test_a_negative_value_runs_left_of_zero_and_is_signed():
    shapes = read(intervals([Figure(name="loss", value=-0.2, low=-0.3, high=0.1)], low=-0.5, high=0.5, left=160))
    room, ((x, _, width, _, _, title),) = WIDTH - 160 - NOTES, shapes.boxes
    assert (x, x + width) == (near(160 + 0.3 * room), near(160 + 0.5 * room))
    assert (title, "-20.0%" in shapes.texts) == ("-0.200", True)
    assert "+20.0%" in read(intervals([Figure(name="gain", value=0.2)], low=-0.5, high=0.5)).texts
    assert "20.0%" in read(intervals([Figure(name="share", value=0.2)])).texts


def test_values_beyond_the_axis_end_at_its_border():
    shapes = read(intervals([Figure(name="f", value=0.9, low=-0.2, high=1.3, marks={"m": 2.0})], high=0.5, left=160))
    right = WIDTH - NOTES
    assert shapes.boxes[0][0] + shapes.boxes[0][2] == near(right)
    (whisker,) = [points for points, color, _ in shapes.lines if color == INK]
    assert [point[0] for point in whisker] == [near(160), near(right)]


def test_names_end_before_the_axis_and_notes_begin_behind_it():
    shapes = read(intervals(FIGURES, left=200))
    assert shapes.texts["first"][:3] == (190.0, TOP + 14, "end")
    assert shapes.texts["31.0%"][:3] == (WIDTH - NOTES + 6, TOP + 14, "start")
    assert shapes.texts["31 of 100"][:3] == (WIDTH - NOTES + 54, TOP + 14, "start")
    assert (name_width([]), name_width([Figure(name="x" * 400, value=1)])) == (160.0, 340.0)
    assert name_width([Figure(name="x" * 40, value=1)]) == pytest.approx(40 * 0.54 * 11 + 24)


def test_marks_keep_the_colors_of_the_page_and_the_legend_breaks_into_lines():
    names = [f"a rule with a long name {n}" for n in range(7)]
    one = read(intervals([Figure(name="f", value=0.5, marks={names[2]: 0.4})], marked=names))
    assert one.texts[names[2]][3] == PALETTE[3]
    assert names[1] not in one.texts
    every = read(intervals([Figure(name="f", value=0.5, marks=dict.fromkeys(names, 0.4))], marked=names))
    lines = sorted({every.texts[name][1] for name in names})
    assert np.diff(lines).tolist() == [16.0] * (len(lines) - 1)
    assert len(lines) > 1
    width = {name: 6.2 * len(name) + 34 for name in names}
    assert all(every.texts[name][0] - 8 + width[name] <= WIDTH for name in names)


# -- parts of panels


def context(span: tuple[float, float] = (2.0, 12.0)) -> PanelContext:
    return PanelContext(Trace(), span, width=500, left=100, right=40)


def test_the_time_axis_has_five_ticks_between_the_margins():
    sheet = Drawing(500)
    assert time_axis(context(), sheet, 30) == 52
    shapes = read(sheet)
    (axis, *ticks) = [points for points, _, _ in shapes.lines]
    assert axis == [(100, 30), (460, 30)]
    assert ticks == [[(x, 30), (x, 34)] for x in (100, 190, 280, 370, 460)]
    assert {text: place[:3] for text, place in shapes.texts.items()} == {
        f"{seconds:.4g} s": (x, 46, "middle")
        for seconds, x in zip((2, 4.5, 7, 9.5, 12), (100, 190, 280, 370, 460), strict=True)
    }


@pytest.mark.parametrize(("seconds", "x"), [(2, 100), (12, 460), (4, 172), (0, 100), (99, 460)])
def test_times_stand_on_the_axis_and_not_beyond_it(seconds, x):
    assert context().x(seconds) == pytest.approx(x)
    assert context((3.0, 3.0)).x(seconds) == 280


def test_bars_have_the_length_of_their_share():
    shapes = read(bars(context(), [("a", 3.0, "three"), ("b", 12.0, "twelve"), ("c", float("nan"), "none")]))
    room = 360 - 110
    for number, (share, box) in enumerate(zip((0.25, 1.0, 0.0), shapes.boxes, strict=True)):
        assert box[:4] == (100, near(20 * number + 3), near(max(1.0, room * share)), 14)
    assert shapes.texts["three"][:2] == (near(100 + room / 4 + 6), 14)
    assert shapes.texts["b"][:3] == (92, 34, "end")
    (box,) = read(bars(context(), [("a", 3.0, "")], most=4.0)).boxes
    assert box[2] == near(room * 0.75)
    assert read(bars(context(), [("a", 9.0, "")], most=4.0)).boxes[0][2] == near(room)


def test_cells_stand_in_rows_and_columns_and_darken_with_their_value():
    values = {"a": [0.0, 5.0, 10.0], "b": [2.5, 7.5]}
    shapes = read(cells(context(), values, columns=("x", "y", "z")))
    flat = [(row, column, v) for row, vs in enumerate(values.values()) for column, v in enumerate(vs)]
    for (row, column, value), box in zip(flat, shapes.boxes, strict=True):
        assert box[:4] == (near(100 + 120 * column), near(16 + 20 * row + 1), near(120), 18)
        assert box[4] == shade(value / 10)
    assert shapes.texts["y"][:3] == (near(280), 11, "middle")
    (only,) = read(cells(context(), {"a": [5.0]}, low=0.0, high=20.0)).boxes
    assert (only[1], only[4]) == (1, shade(0.25))


def test_curves_stand_at_their_times_and_heights():
    lines = {"up": [(2.0, 0.0), (4.5, 1.0), (12.0, 4.0)], "down": [(7.0, 3.0), (9.5, 2.0)]}
    shapes = read(curves(context(), lines, height=92))
    drawn = {color: points for points, color, width in shapes.lines if width == 1.5}
    for (name, line), color in zip(lines.items(), PALETTE, strict=False):
        expected = [(near(100 + 36 * (t - 2)), near(92 - 20 * v)) for t, v in line]
        assert drawn[color] == expected
        dots = [(x + w / 2, y + h / 2) for x, y, w, h, fill, _ in shapes.boxes if fill == color]
        assert dots == expected
        assert shapes.texts[name][3] == color
    assert shapes.texts["4"][:3] == (92, 16, "end")
    assert shapes.texts["0"][:3] == (92, 96, "end")
    levels = [points for points, color, _ in shapes.lines if color == GRID]
    assert levels == [[(100, 12), (460, 12)], [(100, 92), (460, 92)]]
    bounded = read(curves(context(), {"up": [(2.0, 1.0), (12.0, 9.0)]}, low=0.0, high=4.0, height=92))
    assert [y for (points, _, width) in bounded.lines if width == 1.5 for _, y in points] == [near(72), near(12)]


# -- the timeline


def clip(height: int = 20, width: int = 30) -> Clip:
    values = np.stack([np.full((height, width, 3), 20 * i, np.uint8) for i in range(9)])
    return Clip(Frames.from_array(values, fps=2.0))


def test_thumbnails_are_spread_evenly_and_tied_to_their_times():
    uses = [FrameUse(index, index / 2, "video", "", "uniform") for index in (0, 1, 7)]
    here = PanelContext(Trace(uses), clip_span(clip(), uses), width=500, left=100, right=40)
    drawing = draw_timeline(here, clip(), uses)
    shapes = read(drawing)
    width = (360 - 2 * 6) / 3
    assert [image[:3] for image in shapes.images] == [
        (near(100 + number * (360 - width) / 2), near(0), near(width)) for number in range(3)
    ]
    assert all(image[3] == near(width * 20 / 30) for image in shapes.images)
    height = width * 20 / 30
    ties = [points for points, color, _ in shapes.lines if color == "#bbbbbb"]
    assert ties == [
        [(near(image[0] + width / 2), near(height)), (near(here.x(use.pts_seconds)), near(height + 26))]
        for image, use in zip(shapes.images, uses, strict=True)
    ]
    pixels = [shape.pixels[0, 0, 0] for shape in drawing.shapes if isinstance(shape, Bitmap)]
    assert pixels == [0, 20, 140]


def test_each_stream_and_reason_has_a_row_of_marks_at_its_times():
    uses = [FrameUse(i, i / 2, "video", "", "uniform") for i in (1, 6)] + [
        FrameUse(3, 1.5, "motion", "", "every frame")
    ]
    here = PanelContext(Trace(uses), (0.0, 4.0), width=500, left=100, right=40)
    shapes = read(draw_timeline(here, clip(), uses))
    marks = {color: [points for points, stroke, _ in shapes.lines if stroke == color] for color in PALETTE[:2]}
    for color, times in zip(PALETTE[:2], ([0.5, 3.0], [1.5]), strict=True):
        assert [points[0][0] for points in marks[color]] == [near(here.x(t)) for t in times]
        assert all(points[0][0] == points[1][0] and points[1][1] - points[0][1] == near(10) for points in marks[color])
    assert marks[PALETTE[1]][0][0][1] - marks[PALETTE[0]][0][0][1] == near(30)
    assert shapes.texts["motion"][1] - shapes.texts["video"][1] == near(30)


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [(None, None, (0.0, 4.5)), (1.0, None, (1.0, 4.5)), (0.5, 2.0, (0.5, 2.0)), (1.0, 9.0, (1.0, 4.5))],
)
def test_a_clip_is_shown_over_its_span(start, end, span):
    frames = clip()["video"]
    assert clip_span(Clip(frames, start_seconds=start, end_seconds=end), []) == pytest.approx(span)


# -- the frame


def test_the_frame_shows_every_shape_at_its_scaled_place_to_the_pixel():
    drawing = Drawing(60, 40)
    drawing.add(Box(7, 11, 13, 5, "#ff0000"), Line(((30, 6), (50, 6)), "#0000ff", 2.0))
    drawing.add(Bitmap(33, 21, 10, 6, np.full((6, 10, 3), 77, np.uint8)))
    for scale in (1, 2, 3):
        image = np.asarray(to_image(drawing, scale=scale)).astype(int)
        assert image.shape == (40 * scale, 60 * scale, 3)
        for color, (left, top, right, bottom) in {(255, 0, 0): (7, 11, 20, 16), (77, 77, 77): (33, 21, 43, 27)}.items():
            rows, columns = np.nonzero((image == color).all(-1))
            result = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
            assert result == (top * scale, bottom * scale, left * scale, right * scale)
        rows, columns = np.nonzero((image == (0, 0, 255)).all(-1))
        assert len(set(rows)) == 2 * scale
        assert rows.mean() + 0.5 == pytest.approx(6 * scale, abs=1.01)
        assert (columns.min(), columns.max()) == (pytest.approx(30 * scale, abs=1), pytest.approx(50 * scale, abs=1))


@pytest.mark.parametrize(("anchor", "share"), [("start", 0.0), ("middle", 0.5), ("end", 1.0)])
def test_words_stand_at_their_anchor_above_their_baseline(anchor, share):
    drawing = Drawing(200, 60)
    drawing.add(Words(100, 40, "HHHH", 16, "#000000", anchor))
    image = np.asarray(to_image(drawing, scale=2)).astype(int)
    rows, columns = np.nonzero(image[..., 0] < 128)
    width = columns.max() - columns.min()
    assert columns.min() == pytest.approx(200 - share * width, abs=5)
    assert rows.max() == pytest.approx(80, abs=2)
    assert 15 < rows.max() - rows.min() < 32
