"""Tests of the benches' own tools: a bench that cannot fail proves nothing."""

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given
from hypothesis import strategies as st

from rootshift.errors import ToolError
from rootshift.hw import verilog
from rootshift.sim.native.toolchain import CACHE_VARIABLE
from rootshift.testbench.hw import layout, verilate
from rootshift.testbench.hw.bench import BenchError, simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import pattern
from rootshift.testbench.hw.streams import Checker, ProtocolError


class Register(wiring.Component):
    """A stream register with one fault at choice."""

    def __init__(self, *, fault: str) -> None:
        self.fault = fault
        payload = stream.Signature(8)
        super().__init__({"i": In(payload), "o": Out(payload)})

    def elaborate(self, platform) -> Module:
        m = Module()
        ticks = Signal(5)
        m.d.sync += ticks.eq(ticks + 1)
        unlucky = ticks.all()
        fault = {name: unlucky if name == self.fault else 0 for name in FAULTS}
        stuck = self.fault == "waits for ready"
        full = Signal()
        m.d.comb += [
            self.i.ready.eq(~full | (self.o.ready & self.o.valid)),
            self.o.valid.eq(full & ~fault["drops valid"] & (self.o.ready if stuck else 1)),
        ]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [full.eq(1), self.o.payload.eq(self.i.payload ^ fault["wrong value"])]
        with m.Elif(self.o.ready & self.o.valid):
            m.d.sync += full.eq(fault["repeats a beat"])
        with m.Elif(fault["changes payload"]):
            m.d.sync += self.o.payload.eq(self.o.payload + 1)
        return m


FAULTS = {
    "drops valid": "o: valid was dropped in cycle",
    "changes payload": "o: the payload changed in cycle",
    "repeats a beat": "a surplus beat at cycle",
    "waits for ready": "nothing moved for 5000 cycles",
    "wrong value": "of 200 values differ, the first at",
}


@cocotb.test()
async def beats_pass_unchanged(dut):
    bench = await Bench.start(dut)
    beats = np.arange(200)
    got = await bench.run({"i": beats}, {"o": 200}, idle="random:0.7", pressure="lazy:1")
    bench.compare("beats", got["o"], beats)
    bench.results["seen"] = int(got["o"][-1])


def test_a_sound_unit_passes():
    result = simulate(Register(fault="none"), __name__)
    assert result["compared"] == 200
    assert result["results"] == {"seen": 199}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_unit_fails(fault):
    with pytest.raises(BenchError, match=FAULTS[fault]):
        simulate(Register(fault=fault), __name__)


def test_a_module_without_benches_fails():
    with pytest.raises(BenchError, match=r"no cocotb test|no results"):
        simulate(Register(fault="none"), "rootshift.testbench.hw.patterns")


def test_checker_holds_the_source_to_its_beat():
    checker = Checker("s", always_ready=False)
    checker.observe(0, True, False, "01")
    checker.observe(1, True, True, "01")
    checker.observe(2, True, False, "11")
    with pytest.raises(ProtocolError, match="s: the payload changed in cycle 3"):
        checker.observe(3, True, True, "10")
    checker.reset()
    checker.observe(4, True, False, "11")
    with pytest.raises(ProtocolError, match="s: valid was dropped in cycle 5"):
        checker.observe(5, False, False, None)


def test_checker_holds_the_sink_to_always_ready():
    with pytest.raises(ProtocolError, match="s: ready fell in cycle 7 though always_ready"):
        Checker("s", always_ready=True).observe(7, False, False, None)


SHAPE = data.StructLayout(
    {
        "codes": data.ArrayLayout(3, 5),
        "wide": data.ArrayLayout(data.ArrayLayout(signed(40), 2), 2),
        "nothing": 0,
        "inner": data.StructLayout({"flag": 1, "small": signed(4)}),
    }
)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_payloads_pack_as_amaranth_lays_them_out(seed, beats):
    rng = np.random.default_rng(seed)
    values = {
        "codes": rng.integers(0, 8, (beats, 5)),
        "wide": rng.integers(-(1 << 39), 1 << 39, (beats, 4)),
        "nothing": np.zeros(beats, int),
        "inner.flag": rng.integers(0, 2, beats),
        "inner.small": rng.integers(-8, 8, beats),
    }
    fields = layout.describe(SHAPE)
    packed = layout.pack(fields, values)
    for beat in range(beats):
        wide = values["wide"][beat].reshape(2, 2).tolist()
        inner = {"flag": values["inner.flag"][beat], "small": values["inner.small"][beat]}
        fixed = {"codes": values["codes"][beat].tolist(), "wide": wide, "nothing": 0}
        inner = {name: int(value) for name, value in inner.items()}
        assert packed[beat] == SHAPE.const({**fixed, "inner": inner}).as_value().value
    for name, array in layout.unpack(fields, packed).items():
        np.testing.assert_array_equal(array, values[name])


def test_long_streams_pack_as_short_ones():
    fields = layout.describe(data.ArrayLayout(signed(5), 3))
    values = np.random.default_rng(0).integers(-16, 16, (2 * layout.CHUNK + 7, 3))
    packed = layout.pack(fields, values)
    assert packed[layout.CHUNK] == layout.pack(fields, values[layout.CHUNK :][:1])[0]
    np.testing.assert_array_equal(layout.unpack(fields, packed)[""], values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": [8]}, "x must be 0 to 7, not 8 to 8"),
        ({"x": [0], "z": [0]}, r"fields must be among \['x', 'y'\], not \['z'\]"),
        ({"y": [-3]}, "y must be -2 to 1, not -3 to -3"),
    ],
)
def test_values_that_do_not_fit(values, message):
    fields = layout.describe(data.StructLayout({"x": 3, "y": signed(2)}))
    with pytest.raises(ValueError, match=message):
        layout.pack(fields, values)


def test_patterns():
    def first(spec: str) -> list[bool]:
        acts = pattern(spec, 1)
        return [next(acts) for _ in range(1000)]

    assert all(first("always"))
    assert first("bursts:2,3")[:7] == [True, True, False, False, False, True, True]
    assert first("random:0.5") == first("random:0.5")
    assert 400 < sum(first("random:0.5")) < 600
    with pytest.raises(ValueError, match=r"pattern must be .* not 'sometimes'"):
        pattern("sometimes", 0)


def test_a_failed_build_leaves_nothing_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(ToolError, match=r"verilator_bin failed(?s:.*)syntax error"):
        verilate.build("module broken(; endmodule", "broken", [])
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("component", "name", "error", "message"),
    [
        (3, "x", TypeError, "component must be a wiring.Component, not 3"),
        (Register(fault="none"), "4x4", ValueError, "name must be a Verilog identifier, not '4x4'"),
    ],
)
def test_conversions_refused(component, name, error, message):
    with pytest.raises(error, match=message):
        verilog.convert(component, name)


def test_hierarchy_can_be_kept():
    unit = Register(fault="none")
    inner = verilog.convert(unit, "Inner", flatten=False)
    assert inner.startswith("// Inner: generated by Rootshift ")
    assert verilate.lint(inner, "Inner") == ""
