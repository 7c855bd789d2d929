"""The report of an exploration: one page of HTML that opens from disk, and fronts as pictures."""

from .picture import front_svg
from .report import write_exploration_report

__all__ = ["front_svg", "write_exploration_report"]
