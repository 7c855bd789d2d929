"""TOML of configurations, energies, bits and explorations: read, or refused by file and key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rootshift.bit_table import BitTable
from rootshift.config import AcceleratorConfig
from rootshift.sim.energy import DEFAULT, EnergyTable
from rootshift.sim.explore.space import Space

from ..seeds import explored
from .damage import DEPTHS, damaged
from .tally import attempt

LITERALS = [
    "-1", "0", "1", "1.0", "2147483648", "18446744073709551616", "1" * 400, "9" * 5000,
    "0x" + "f" * 5000, "-0x" + "f" * 5000, "0b1", "nan", "-nan", "inf", "-inf", "1e400", "-0.0",
    "true", "false", "''", "'\u202e'", '"\\u0000"', '"a\\nb"', '"\\u001b[31m"', "'İ'", "'٤'",
    "'W4A4'", "'W٤A4'", "'W9A9'", "'8x8'", "'8x8\u00b2'", "'../../etc/passwd'", "'/dev/null'",
    "'least'", "'fmax'", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[]", "[[]]", "[1, 1]",
    "[1, 2]", "[1, 'a']", "{}", "{ a = 1 }", "{ at_most = 1 }", "{ from = 1, to = 9, step = 1 }",
    "{ from = 1, to = 0x" + "f" * 5000 + ", step = 1 }", "{ from = 1, to = 2, step = 1e-300 }",
    "{ from = 1e-300, to = 1e300, factor = 2 }", "'" + "x" * 5000 + "'", "?", "",
    *("[" * depth + "]" * depth for depth in DEPTHS),
]  # fmt: skip
"""What may stand behind an equals sign; most of it should not."""
LINES = [
    "[x]", "[model]", "[[model]]", "[hardware]", "[layers]", "[quantization.layers.'*']", "a.b = 1",
    "'' = 1", "'\u202e' = 1", "__class__ = 1", "self = 1", "rows.cols = 1", "\x00", "\ufeff",
    "a = 1\na = 1", "x" * 5000 + " = 1", "a" + ".a" * 400 + " = 1", "# " + "é" * 100, "'''", "]",
]  # fmt: skip

SPACE = """\
[model]
name = "digits"
image_size = 16
[images]
first = 16
few = 8
[quantization]
bits = ["W4A4", "W6A6"]
method = ["repq", "repq+gptq"]
[quantization.layers."blocks.*"]
weights = [4, 8]
[hardware]
array = ["4x4", "8x4"]
code_depth = "least"
lanes = { from = 1, to = 2, step = 1 }
[memory]
bandwidth = [0.5, 1]
[fpga]
target = ["ecp5-85k"]
clock_mhz = [50.0, "fmax"]
[constraints]
fits = true
top1 = { at_least = 50 }
[objectives]
maximize = ["top1"]
minimize = ["latency_ms", "lut"]
[search]
sampler = "nsga2"
trials = 10
population = 4
seed = 3
"""
BITS = """\
default = "W4A4"
[layers]
"blocks.0.*" = "W6A6"
"*.attn.softmax" = "L5"
"""
ENERGIES = "".join(f"{name} = {value}\n" for name, value in vars(DEFAULT).items())


def use_config(found: AcceleratorConfig, path: Path) -> None:
    path.write_text(found.to_toml())
    assert AcceleratorConfig.load(path) == found


def use_energies(found: EnergyTable, path: Path) -> None:
    assert found.adder(12) >= 0
    assert found.sram(1 << 15, 64) >= 0


def use_bits(found: BitTable, path: Path) -> None:
    assert BitTable.parse(found.to_toml()) == found
    attempt("bits of layers", lambda: found.check(["blocks.0.attn.qkv", "blocks.0.attn.softmax"]))


def use_space(found: Space, path: Path) -> None:
    assert Space.parse(found.to_toml(), check_files=False) == found
    assert next(found.points()) is not None
    assert found.size > 0


Use = Callable[[Any, Path], None]
KINDS: dict[str, tuple[str, Callable[[Path], Any], Use]] = {
    "configuration": (AcceleratorConfig().to_toml(), AcceleratorConfig.load, use_config),
    "energies": (ENERGIES, EnergyTable.load, use_energies),
    "bits": (BITS, BitTable.load, use_bits),
    "space": (SPACE, Space.load, use_space),
}
"""Kind of file -> a valid one, what reads it, and what is done with what was read."""


def reads_or_refuses(kind: str, content: bytes, path: Path) -> None:
    _, load, use = KINDS[kind]
    path.write_bytes(content)
    found = attempt(f"TOML, {kind}", lambda: load(path))
    if found is not None:
        use(found, path.with_name("again.toml"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_original_is_read(kind: str, work: Path) -> None:
    """The tests below must fail for what they change."""
    text, load, use = KINDS[kind]
    path = work / f"{kind}.toml"
    path.write_text(text)
    use(load(path), work / "again.toml")


@pytest.mark.parametrize("kind", KINDS)
@explored(100)
@given(data=st.data())
def test_damaged_bytes(data: st.DataObject, kind: str, work: Path) -> None:
    reads_or_refuses(kind, data.draw(damaged(KINDS[kind][0].encode())), work / f"{kind}.toml")


@pytest.mark.parametrize("kind", KINDS)
@explored(200)
@given(data=st.data())
def test_values_and_lines_replaced(data: st.DataObject, kind: str, work: Path) -> None:
    lines = KINDS[kind][0].splitlines()
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, sign, _ = lines[at].partition(" = ")
        if sign and data.draw(st.integers(0, 3)):
            lines[at] = f"{key} = {data.draw(st.sampled_from(LITERALS))}"
        else:
            lines.insert(at, data.draw(st.sampled_from([*LINES, *lines])))
    reads_or_refuses(kind, "\n".join(lines).encode(), work / f"{kind}.toml")


@pytest.mark.parametrize("kind", KINDS)
def test_every_literal_for_every_key(kind: str, work: Path) -> None:
    """All pairs of one fault, where the tests above draw some of two."""
    lines = KINDS[kind][0].splitlines()
    for at, line in enumerate(lines):
        key, sign, _ = line.partition(" = ")
        for literal in LITERALS if sign else ():
            changed = [*lines[:at], f"{key} = {literal}", *lines[at + 1 :]]
            reads_or_refuses(kind, "\n".join(changed).encode(), work / f"{kind}.toml")
