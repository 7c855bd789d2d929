"""Pages that open from disk: HTML in one file, with figures, tables and data, and no network."""

from .charts import (
    COLOURS,
    Column,
    Part,
    Point,
    Roof,
    Series,
    area_chart,
    column_chart,
    legend,
    scatter,
    total_bar,
)
from .distributions import Band, Bins, band_chart, histogram, strip
from .document import Page, asset, choices, definitions, embedded_data, escape
from .lines import Line, Stop, line_chart
from .numbers import decimals, grouped, percent, prefixed
from .svg import WIDTH
from .tables import Header, Markup, table

__all__ = [
    "COLOURS",
    "WIDTH",
    "Band",
    "Bins",
    "Column",
    "Header",
    "Line",
    "Markup",
    "Page",
    "Part",
    "Point",
    "Roof",
    "Series",
    "Stop",
    "area_chart",
    "asset",
    "band_chart",
    "choices",
    "column_chart",
    "decimals",
    "definitions",
    "embedded_data",
    "escape",
    "grouped",
    "histogram",
    "legend",
    "line_chart",
    "percent",
    "prefixed",
    "scatter",
    "strip",
    "table",
    "total_bar",
]
