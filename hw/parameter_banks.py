"""Two sets of requantizer parameters, loaded in turn while outputs of the other one are made."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..formats import ACCUMULATOR_WIDTH, CHANNEL_BYTES, CODE_WIDTHS, SHIFT_MAX, ZERO_WIDTH
from .checks import check_integer
from .requantizer import CHANNEL, channel_layout

SETTINGS = data.FlexibleLayout(
    8 * CHANNEL_BYTES,
    {
        "shift": data.Field(SHIFT_MAX.bit_length(), 0),
        "width": data.Field(6, 8),
        "zero": data.Field(signed(ZERO_WIDTH), 16),
    },
)
"""The first record of a set."""


class ParameterBanks(wiring.Component):
    """Takes sets of parameters: records of settings go to registers, those of channels through.

    Sets go to the banks in turn, bank 0 first after a reset. The first record of a set waits until
    fewer than two sets are loaded and not retired.

    Parameters
    ----------
    cols, lanes : int
        Channels of a set, and how many of them the requantizer takes per cycle.
    records : int
        Records of a set, `cols + 1` and those that only fill a bus beat up.

    Members
    -------
    i : In(stream)
        Array of 8 bytes: a record.
    parameters : Out(stream, always_ready)
        As `Gemm.parameters` with two groups, which are the banks.
    loaded_stb : Out(1)
        The last record of a set is taken in this cycle.
    group : In(1)
        The bank whose settings are wanted.
    shift : Out(6)
        Of that bank, in the next cycle, like the next three.
    zero : Out(16)
        Signed zero point of the output.
    low : Out(32)
        Signed smallest output.
    high : Out(32)
        Signed largest output.
    retired_stb : In(1)
        The older of the sets loaded is needed no more.

    Latency: 0 cycles from a channel's record to `parameters`, 1 from the first one to the settings.
    Throughput: one record per cycle.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range, or `lanes` that do not divide `cols`.

    Source: `docs/accelerator.md`, the weight stream.
    """

    def __init__(self, *, cols: int, lanes: int, records: int) -> None:
        self.cols = check_integer("cols", cols, 1, 256)
        self.lanes = check_integer("lanes", lanes, 1, cols)
        if cols % lanes:
            raise ValueError(f"lanes must divide the {cols} cols, not {lanes!r}")
        self.records = check_integer("records", records, cols + 1, 512)
        self.parts = cols // lanes
        channel = channel_layout(lanes=lanes, groups=2 * self.parts)
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(8, CHANNEL_BYTES))),
                "parameters": Out(stream.Signature(channel, always_ready=True)),
                "loaded_stb": Out(1),
                "group": In(1),
                "shift": Out(SHIFT_MAX.bit_length()),
                "zero": Out(signed(ZERO_WIDTH)),
                "low": Out(signed(ACCUMULATOR_WIDTH)),
                "high": Out(signed(ACCUMULATOR_WIDTH)),
                "retired_stb": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        number = Signal(range(self.records))
        part = Signal(range(self.parts))
        lane = Signal(range(self.lanes))
        bank = Signal()
        sets = Signal(range(3))
        taken = self.i.valid & self.i.ready
        channel = data.View(CHANNEL, self.i.payload.as_value())
        m.d.comb += [
            self.i.ready.eq(sets != 2),
            self.loaded_stb.eq(taken & (number == self.records - 1)),
            # Records behind the channels only fill up.
            self.parameters.valid.eq(taken & (number != 0) & (number <= self.cols)),
            *(self.parameters.p[name].eq(channel[name]) for name in CHANNEL.members),
            self.parameters.p.group.eq(bank * self.parts + part),
            self.parameters.p.lane.eq(lane),
        ]
        m.d.sync += sets.eq(sets + self.loaded_stb - self.retired_stb)
        with m.If(taken):
            m.d.sync += number.eq(number + 1)
        with m.If(self.parameters.valid):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == self.lanes - 1):
                m.d.sync += [lane.eq(0), part.eq(part + 1)]
        with m.If(self.loaded_stb):
            m.d.sync += [number.eq(0), lane.eq(0), part.eq(0), bank.eq(~bank)]
        self._settings(m, taken & (number == 0), bank)
        return m

    def _settings(self, m: Module, write: Any, bank: Signal) -> None:
        """The registers of both banks; of a range, its top and whether it is a signed one."""
        found = data.View(SETTINGS, self.i.payload.as_value())
        kept = data.StructLayout(
            {
                "shift": SHIFT_MAX.bit_length(),
                "zero": signed(ZERO_WIDTH),
                "high": ACCUMULATOR_WIDTH - 1,
                "signed": 1,
            }
        )
        banks = [Signal(kept, name=f"settings_{number}", reset_less=True) for number in range(2)]
        ones = Cat(found.width > bit for bit in range(ACCUMULATOR_WIDTH))
        negative = found.width > CODE_WIDTHS[-1]
        for number, settings in enumerate(banks):
            with m.If(write & (bank == number)):
                m.d.sync += [
                    settings.shift.eq(found.shift),
                    settings.zero.eq(found.zero),
                    settings.high.eq(Mux(negative, ones >> 1, ones)),
                    settings.signed.eq(negative),
                ]
        chosen = Signal(kept, reset_less=True)
        m.d.sync += chosen.eq(Mux(self.group, banks[1].as_value(), banks[0].as_value()))
        m.d.comb += [
            self.shift.eq(chosen.shift),
            self.zero.eq(chosen.zero),
            self.high.eq(chosen.high),
            # -2^n is the complement of 2^n - 1.
            self.low.eq(Mux(chosen.signed, ~Cat(chosen.high, 0).as_signed(), 0)),
        ]
