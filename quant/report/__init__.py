"""Reports of the front end, each one page that opens from disk: quantization, sensitivity."""

from .page import write_quantization_report
from .sensitivity import write_sensitivity_report

__all__ = ["write_quantization_report", "write_sensitivity_report"]
