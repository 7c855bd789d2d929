"""The ULX3S with an LFE5U-85F: `Standalone` behind its oscillator, USB serial line and LEDs.

Pins are those of the package amaranth-boards. Source of the PLL's limits: Lattice FPGA-DS-02012,
ECP5 and ECP5-5G Family, section 3.20.
"""

from typing import Any

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from ...errors import ConfigError

OSCILLATOR = 25_000_000
BAUD = 3_000_000
"""The most that the board's FT231X does."""
DIVIDER_MAX = 128
VCO = (400_000_000, 800_000_000)
DETECTOR_MIN = 3_125_000


def pll_dividers(clock: int) -> tuple[int, int, int]:
    """Dividers of the oscillator, of the feedback, and of the PLL's output for a clock in Hz.

    Raises: ConfigError where no PLL gives exactly this clock.
    """
    for reference in range(1, OSCILLATOR // DETECTOR_MIN + 1):
        feedback, rest = divmod(clock * reference, OSCILLATOR)
        if rest or not 1 <= feedback <= DIVIDER_MAX:
            continue
        # The middle of the oscillator's range jitters least.
        output = round(sum(VCO) / 2 / clock)
        if 1 <= output <= DIVIDER_MAX and VCO[0] <= clock * output <= VCO[1]:
            return reference, feedback, output
    raise ConfigError(f"clock must be one that a PLL makes of 25 MHz, not {clock} Hz")


class Ulx3s(Elaboratable):
    """The whole board. The button PWR resets it; so does a PLL that has lost its lock.

    Parameters: `design`, a component with the pins of `Standalone` and its `clock`, which is made
    of the oscillator's 25 MHz.
    Raises: ConfigError where the PLL cannot make it.
    """

    def __init__(self, design: Any) -> None:
        self.design = design
        self._dividers = pll_dividers(design.clock)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.design = design = self.design
        self._clock(m, platform)
        lines = {
            "rx": io.Buffer("i", (uart := platform.request("uart", 0, dir="-")).rx),
            "tx": io.Buffer("o", uart.tx),
        }
        leds = [io.Buffer("o", platform.request("led", n, dir="-")) for n in range(8)]
        m.submodules += [*lines.values(), *leds]
        m.d.comb += [
            design.rx.eq(lines["rx"].i),
            lines["tx"].o.eq(design.tx),
            Cat(led.o for led in leds).eq(design.leds),
        ]
        return m

    def _clock(self, m: Module, platform: Any) -> None:
        """The domain `sync`, in reset until the PLL has locked."""
        reference, feedback, output = self._dividers
        m.domains.sync = ClockDomain()
        m.submodules.oscillator = oscillator = io.Buffer("i", platform.request("clk25", dir="-"))
        m.submodules.button = button = io.Buffer("i", platform.request("button_pwr", dir="-"))
        made = Signal(name="pll_clock")
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=reference,
            p_CLKFB_DIV=feedback,
            p_CLKOP_DIV=output,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=output - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            a_FREQUENCY_PIN_CLKI=f"{OSCILLATOR / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.design.clock / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=oscillator.i,
            i_CLKFB=made,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=made,
            o_LOCK=locked,
        )
        m.d.comb += ClockSignal().eq(made)
        m.submodules.reset = ResetSynchronizer(~locked | button.i)
        platform.add_clock_constraint(made, self.design.clock)
