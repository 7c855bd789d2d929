"""The report of a simulated inference: one page of HTML that opens from disk."""

from .report import write_report

__all__ = ["write_report"]
