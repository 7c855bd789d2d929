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
from .document import Page, asset, definitions, embedded_data, escape
from .numbers import decimals, grouped, percent, prefixed
from .tables import Header, table

__all__ = [
    "COLOURS",
    "Column",
    "Header",
    "Page",
    "Part",
    "Point",
    "Roof",
    "Series",
    "area_chart",
    "asset",
    "column_chart",
    "decimals",
    "definitions",
    "embedded_data",
    "escape",
    "grouped",
    "legend",
    "percent",
    "prefixed",
    "scatter",
    "table",
    "total_bar",
]
