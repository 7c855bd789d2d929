"""Pages and their figures: numbers as written, marks as long as their values, nothing escapes."""

import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest

from rootshift.pages import (
    Band,
    Bins,
    Column,
    Header,
    Line,
    Markup,
    Page,
    Part,
    Point,
    Roof,
    Series,
    Stop,
    area_chart,
    band_chart,
    choices,
    column_chart,
    decimals,
    embedded_data,
    grouped,
    histogram,
    line_chart,
    percent,
    prefixed,
    scatter,
    strip,
    table,
    total_bar,
)
from rootshift.pages.numbers import decades, power, ticks, ticks_between

from ..seeds import generator

RECT = re.compile(
    r'<rect class="(\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"'
)


def plain(text: str) -> str:
    return text.replace("\u202f", " ")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "B", "0 B"), (999, "B", "999 B"), (1000, "B", "1 kB"), (999_700, "B", "1 MB"),
        (4_259_768, "B", "4.26 MB"), (0.00234, "J", "2.34 mJ"), (1e-16, "J", "0.1 fJ"),
        (12.5, "", "12.5"), (1e16, "", "10 000 T"), (-1500, "", "-1.5 k"),
    ],
)  # fmt: skip
def test_prefixes(value: float, unit: str, expected: str) -> None:
    assert plain(prefixed(value, unit)) == expected


def test_numbers_as_people_write_them() -> None:
    assert plain(grouped(4_985_184)) == "4 985 184"
    assert [plain(decimals(v)) for v in (0, 0.00123, 1.5, 12345.6, 999.9)] == [
        "0", "0.00123", "1.5", "12 346", "1 000",
    ]  # fmt: skip
    shares = (0, 1e-7, 0.0005, 0.0023, 0.0158, 0.982, 1.894)
    assert [plain(percent(v)) for v in shares] == [
        "0.0 %", "< 0.001 %", "0.050 %", "0.23 %", "1.6 %", "98.2 %", "189.4 %",
    ]  # fmt: skip


def test_axes_reach_over_their_values() -> None:
    rng = generator(3)
    for value in [*10 ** rng.uniform(-15, 15, 300), 1.0, 2.0, 5.0, 1000.0]:
        marks = ticks(value)
        assert 2 <= len(marks) <= 12
        assert marks[0] == 0
        assert marks[-1] >= value * (1 - 1e-9)
        assert marks[-2] < value
        low, high = sorted((value, value * 10 ** rng.uniform(0, 4)))
        found = decades(low, high)
        assert found[0] <= low * (1 + 1e-6)
        assert found[-1] >= high * (1 - 1e-6)
        assert len(found) >= 2
    assert ticks(0) == [0.0, 1.0]


def test_an_axis_between_two_values() -> None:
    rng = generator(6)
    for low, high in rng.normal(0, 1, (200, 2)) * 10 ** rng.uniform(-6, 6, (200, 1)):
        low, high = min(low, high), max(low, high)
        marks = ticks_between(low, high)
        slack = 1e-6 * (high - low)
        assert marks[0] <= low + slack
        assert marks[1] > low - slack
        assert marks[-1] >= high - slack
        assert marks[-2] < high + slack
        assert 2 <= len(marks) <= 13
    assert ticks_between(2, 2)[0] < 2 < ticks_between(2, 2)[-1]
    assert [power(10.0**n) for n in (0, -3, 12)] == ["1", "10⁻³", "10¹²"]


def test_columns_are_as_high_as_their_values() -> None:
    rng = generator(4)
    values = rng.integers(50, 1000, (2, 30))
    columns = [Column(f"layer {n}", str(n // 5), f"c{n % 3}") for n in range(30)]
    figure = column_chart(columns, [Series("a", values[0]), Series("b", values[1], "c7")], "cycles")
    found = [(kind, float(height)) for kind, *_, height in RECT.findall(figure) if kind != "hit"]
    heights = np.array([height for _, height in found]).reshape(30, 2)
    assert heights / heights.max() == pytest.approx(values.T / values.max(), abs=1e-3)
    assert [kind for kind, _ in found] == [
        f"c{n // 2 % 3}" if n % 2 == 0 else "c7" for n in range(60)
    ]
    assert len(re.findall(r"<title>layer \d+\na: ", figure)) == 30
    with pytest.raises(ValueError, match="b: must have 30 values, not 29"):
        column_chart(columns, [Series("b", values[1][:-1])], "cycles")


def test_a_small_value_stays_visible_and_none_is_not_drawn() -> None:
    columns = [Column("big"), Column("small"), Column("none")]
    found = RECT.findall(column_chart(columns, [Series("a", [1e9, 1, 0])], "x"))
    heights = [float(height) for kind, *_, height in found if kind != "hit"]
    assert len(heights) == 2
    assert heights[1] >= 0.4


def test_parts_fill_the_whole() -> None:
    parts = [Part("a", 3, "c0"), Part("b", 0, "c1"), Part("c", 1, "c2")]
    found = {kind: (float(x), float(w)) for kind, x, _, w, _ in RECT.findall(total_bar(parts, str))}
    assert found == {"c0": (0, 720), "c2": (720, 240)}
    assert "75.0" in total_bar(parts, str)
    assert not RECT.findall(total_bar([Part("a", 0, "c0")], str))


def test_many_values_become_means() -> None:
    rng = generator(5)
    values = rng.integers(0, 100, 4871)
    figure = area_chart(1000, [Series("reads", values, "c0")], "cycle", "bytes")
    (line,) = re.findall(r'class="area c0" d="M([^"]+)"', figure)
    points = [tuple(map(float, point.split())) for point in line.split("L")]
    assert len(points) < 1000
    bottom = points[0][1]
    area = sum((b[0] - a[0]) * (bottom - a[1]) for a, b in pairwise(points))
    width = points[-1][0] - points[0][0]
    labels = re.findall(r'y="([\d.]+)" text-anchor="end">(\d+)<', figure)
    (zero, _), (top, high) = labels[0], labels[-1]
    per = int(high) / (float(zero) - float(top))
    assert area / width * per == pytest.approx(values.mean(), rel=1e-2)


def test_points_lie_under_their_roofs() -> None:
    roofs = [Roof("array", 8, 256)]
    points = [
        Point("bound", 2, 16, "c0"),
        Point("full", 1000, 256, "c1"),
        Point("low", 32, 2, "c2"),
    ]
    figure = scatter(points, roofs, "x", "y")
    circles = re.findall(r'class="(c\d)" cx="([\d.]+)" cy="([\d.]+)"', figure)
    place = {kind: (float(x), float(y)) for kind, x, y in circles}
    (line,) = re.findall(r'class="roof" d="M([^"]+)"', figure)
    start, corner, end = (tuple(map(float, point.split())) for point in line.split("L"))
    assert corner[0] == pytest.approx(place["c2"][0], abs=0.02)
    assert place["c1"][1] == pytest.approx(corner[1], abs=0.02) == end[1]
    share = (place["c0"][0] - start[0]) / (corner[0] - start[0])
    assert place["c0"][1] == pytest.approx(start[1] + share * (corner[1] - start[1]), abs=0.05)
    with pytest.raises(ValueError, match="points must not be empty"):
        scatter([], roofs, "x", "y")


def steps(data: str) -> list[tuple[float, float, float]]:
    """Left end, right end and height of each step of an outline, in the order it is drawn."""
    start, *rest = re.findall(r"M([\d.]+) [\d.]+|V([\d.-]+)h([\d.-]+)", data)
    x, found = float(start[0]), []
    for _, y, wide in rest:
        found.append((x, x + float(wide), float(y)))
        x += float(wide)
    return found


def marks_of(figure: str, kind: str) -> list[list[tuple[float, float]]]:
    """Points of each path of a class."""
    paths = re.findall(rf'<path class="{kind}" d="M([^"]+)"', figure)
    return [[tuple(map(float, p.split())) for p in path.split("L")] for path in paths]


def test_a_histogram_has_its_counts_and_levels() -> None:
    rng = generator(7)
    bins = Bins(-2.0, 0.25, rng.integers(1, 100, 16).tolist())
    figure = histogram(bins, "value", [-1.0, 0.0, 2.0], logarithmic=False)
    (data,) = re.findall(r'class="area values c0" d="([^"]+)"', figure)
    drawn = steps(data)
    tops, feet = drawn[:16], drawn[16:]
    bottom = feet[0][2]
    heights = np.array([bottom - y for *_, y in tops])
    assert heights / heights.sum() == pytest.approx(
        np.array(bins.counts) / sum(bins.counts), abs=3e-3
    )
    levels = [points[0][0] for points in marks_of(figure, "level")]
    left, right = drawn[0][0], tops[-1][1]
    share = [(x - left) / (right - left) for x in levels]
    assert share == pytest.approx([0.25, 0.5, 1.0], abs=2e-3)
    assert "3 levels, -1 to 2" in figure
    with pytest.raises(ValueError, match="counts must not all be 0"):
        histogram(Bins(0, 1, [0, 0]), "value")


def test_a_logarithmic_histogram_shows_single_values() -> None:
    figure = histogram(Bins(0, 1, [1, 0, 1000, 10**6]), "value")
    (data,) = re.findall(r'class="area values c0" d="([^"]+)"', figure)
    drawn = steps(data)
    bottom = drawn[4][2]
    single, none, thousand, million = (bottom - y for *_, y in drawn[:4])
    assert single > 3
    assert none == 0
    assert thousand - single == pytest.approx(million - thousand, abs=0.3)


def test_levels_too_close_become_their_range() -> None:
    figure = histogram(Bins(0, 1, [5] * 10), "value", np.linspace(1, 9, 256).tolist())
    (range_,) = re.findall(r'<rect class="levels" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', figure)
    ends = [points[0][0] for points in marks_of(figure, "level")]
    assert ends == pytest.approx([float(range_[0]), float(range_[0]) + float(range_[1])], abs=0.02)


@pytest.mark.parametrize("channels", [1, 5, 192, 1000])
def test_a_band_covers_its_channels(channels: int) -> None:
    rng = generator(8, channels)
    low, high = -rng.uniform(1, 5, channels), rng.uniform(1, 5, channels)
    band = Band(low.tolist(), high.tolist(), (low / 2).tolist(), (high / 2).tolist())
    figure = band_chart(band, "channels", "value", (-6.0, 6.0))
    outer, inner = (
        np.array([y for *_, y in steps(data)])
        for data in re.findall(r'class="area \w+" d="([^"]+)"', figure)
    )
    columns = len(outer) // 2
    assert columns == min(channels, 192)
    (bottom, _), (top, _) = (points for points in marks_of(figure, "limit"))
    zero, per = (bottom[1] + top[1]) / 2, (bottom[1] - top[1]) / 12
    assert (zero - outer[:columns]).max() / per == pytest.approx(high.max(), abs=0.06)
    assert (zero - outer[columns:]).min() / per == pytest.approx(low.min(), abs=0.06)
    if channels == columns:
        assert (zero - outer[:columns]) / per == pytest.approx(high, abs=0.06)
        assert (zero - inner[columns:][::-1]) / per == pytest.approx(low / 2, abs=0.06)


def test_lines_go_through_their_values() -> None:
    stops = [Stop(f"layer {n}", str(n // 2)) for n in range(6)]
    values = [3.0, None, -1.0, 0.5, None, 4.0]
    figure = line_chart(stops, [Line("a", values, "c0"), Line("b", [1.0] * 6, "c1", False)], "dB")
    (points,) = marks_of(figure, "line c0")
    assert not marks_of(figure, "line c1")
    circles = re.findall(r'<circle class="c0" cx="([\d.]+)" cy="([\d.]+)"', figure)
    assert [tuple(map(float, circle)) for circle in circles] == points
    assert len(re.findall('<circle class="c1"', figure)) == 6
    y = np.array([point[1] for point in points])
    given = np.array([3.0, -1.0, 0.5, 4.0])
    assert (y - y[1]) / (y[3] - y[1]) == pytest.approx((given + 1) / 5, abs=1e-3)
    x = np.array([point[0] for point in points])
    assert (x - x[0]) / (x[3] - x[0]) == pytest.approx(np.array([0, 2, 3, 5]) / 5, abs=1e-3)
    assert "layer 5\na: 4" in figure
    with pytest.raises(ValueError, match="b: must have 6 values, not 1"):
        line_chart(stops, [Line("b", [1.0], "c0")], "dB")
    with pytest.raises(ValueError, match="lines must have a value"):
        line_chart(stops, [Line("b", [None] * 6, "c0")], "dB")


def test_a_strip_shows_what_occurs() -> None:
    (data,) = re.findall(r'd="([^"]+)"', strip([0, 1, 1000, 500]))
    assert [16 - y for *_, y in steps(data)[:4]] == [0, 1, 16, 8]
    (data,) = re.findall(r'd="([^"]+)"', strip([1] * 256))
    assert len(steps(data)) == 128


def test_choices_hold_all_contents() -> None:
    bad = '<img src="x">'
    text = choices(bad, [(bad, "<b>1</b>"), ("two", "<b>2</b>")])
    assert "<img" not in text
    assert text.count("&lt;img src=&quot;x&quot;&gt;") == 2
    assert re.findall(r'<div class="choice"><b>(\d)</b></div>', text) == ["1", "2"]


def test_markup_stands_in_a_cell_as_it_is() -> None:
    text = table([Header("a"), Header("b")], [["<b>", Markup("<i>1</i>")]])
    assert "<i>1</i></td>" in text
    assert "&lt;b&gt;" in text


def test_a_table_keeps_numbers_for_sorting() -> None:
    headers = [Header("layer"), Header("share", percent), Header("bytes")]
    text = table(headers, [["a", 0.123456, 1234], ["b", 1.0, None]], ["all", 0.5, 1234])
    assert re.findall(r'data-key="([^"]+)"', text) == ["0.123456", "1234", "1.0", "0.5", "1234"]
    assert "1\u202f234" in text
    assert "–" in text
    assert text.count('class="text"') == 4
    with pytest.raises(ValueError, match="a row must have 3 values, not 2"):
        table(headers, [["a", 1]])


@pytest.mark.parametrize("text", ["</script>", "<!--", "a & b < c > d", "\u2028'\""])
def test_embedded_data_reads_back_and_ends_nothing(text: str) -> None:
    element = embedded_data("x", {text: [text, 1.5]})
    body = element.removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert not re.search("[<>&]", body)
    assert json.loads(body) == {text: [text, 1.5]}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_data("x", [value])


def test_a_page_escapes_what_is_plain_text() -> None:
    bad = '<img src="x">'
    page = Page(bad, bad)
    page.facts([(bad, "1", bad)])
    page.section(bad, bad)
    page.figure("<svg></svg>", bad)
    page.details(bad, "text")
    text = page.render()
    assert "<img" not in text
    assert text.count("&lt;img src=&quot;x&quot;&gt;") == 11
    assert text == page.render()


@pytest.mark.parametrize(("add", "text"), [("script", "</SCRIPT>"), ("style", "</style>")])
def test_scripts_and_styles_end_where_they_end(add: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{add} must not hold </{add}"):
        getattr(Page("x"), add)(text)
