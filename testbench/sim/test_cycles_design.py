"""What Python hands to the cycle model: all that its C++ reads, and nothing else."""

import re
from pathlib import Path

import pytest

from rootshift.config import AcceleratorConfig
from rootshift.sim.cycles import design

FOLDER = Path(design.__file__).parent
SOURCES = [*FOLDER.glob("*.h"), *FOLDER.glob("*.cpp")]
TEXT = "\n".join(path.read_text("utf-8") for path in SOURCES)


def test_sizes_are_those_that_the_model_reads() -> None:
    read = set(re.findall(r"\b(?:m_)?design\.(\w+)", re.sub(r"//.*|#include.*", "", TEXT)))
    assert set(design.design(AcceleratorConfig())) == read


def test_numbers_are_those_that_the_model_reads() -> None:
    flags = next(flag for flag in design.isa_flags() if "NUMBER(" in flag)
    handed = set(re.findall(r"NUMBER\((\w+),", flags))
    read = set(re.findall(r"\bisa::(\w+)", TEXT)) & handed
    named = {name for name in handed if name.startswith(("OP_", "UNIT_", "MODE_", "TO_"))}
    assert handed - named == read - named


@pytest.mark.parametrize("bus_width", [32, 64, 128])
def test_layout_carries_every_size(bus_width: int) -> None:
    config = AcceleratorConfig(rows=8, cols=4, lanes=4, bus_width=bus_width)
    layout, values = design.design_layout(config), design.design(config)
    assert {name: getattr(layout, name) for name in values} == values
    assert values["bus_bytes"] == bus_width // 8
