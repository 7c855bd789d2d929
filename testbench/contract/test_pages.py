"""Pages and their figures: numbers as written, marks as long as their values, nothing escapes."""

import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest

from rootshift.pages import (
    Column,
    Header,
    Page,
    Part,
    Point,
    Roof,
    Series,
    area_chart,
    column_chart,
    decimals,
    embedded_data,
    grouped,
    percent,
    prefixed,
    scatter,
    table,
    total_bar,
)
from rootshift.pages.numbers import decades, ticks

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
