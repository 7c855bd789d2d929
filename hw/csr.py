"""The control and status registers: an AXI4-Lite slave made from the table in the contract."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import AcceleratorConfig
from ..csr import (
    ADDRESS_WIDTH,
    REGISTERS,
    WORD,
    Access,
    Field,
    Register,
    find_register,
    pack_config,
    unpack,
)
from .axi import Axi4Lite, Resp


class CsrBank(wiring.Component):
    """Control and status registers behind AXI4-Lite, and the interrupt.

    Every register of `rootshift/csr.py` but the constants has a member that is named as it, in
    lower case, with `_stb` where it carries strobes. It is a struct of the register's fields, or
    plain bits where there is one field. Kinds of access, errors and the order of low and high words
    are as `docs/csr.md` says.

    Parameters
    ----------
    config : AcceleratorConfig
        What CONFIG reads as.

    Members
    -------
    s_axil : In(Axi4Lite)
        The bus: 32 bits of data, 12 bits of address. No output depends on an input of the same
        cycle. One write and one read are under way at a time, independent of each other.
    control_stb : Out(struct)
        `start`, `clear_counters`: high for one cycle, the one in which the answer to the write is
        first offered. The second also goes to the units that count their saturated values.
    status : In(struct)
        `busy`, `done`, `error`: levels.
    entry : Out(64)
        Byte address of the program.
    watchdog : Out(32)
        Cycles without progress that are allowed, 0 for any.
    interrupt_enable : Out(struct)
        `done`, `error`: what was written; `irq` takes it into account.
    interrupt_stb : In(struct)
        `done`, `error`: high in the cycle of the event. An event in the cycle in which an
        acknowledgement of it takes effect stays pending.
    error : In(struct)
        `cause` (8 bits, an `ErrorCause`) and `address` (64 bits): levels.
    cycles : In(1)
        Counts in CYCLES when high.
    gemm_stall : In(struct)
        `weights`, `activations`, `output`: count when high.
    busy : In(struct)
        One bit per unit, by its name: counts when high.
    stall : In(struct)
        One bit per unit, by its name: counts when high.
    saturated : In(struct)
        32 bits per unit that saturates, by its name.
    irq : Out(1)
        High from the cycle after an enabled event until it is acknowledged or disabled; comes from
        a register, so that it may cross into another clock domain.

    Latency: 2 cycles from the later of address and data to the answer.
    Throughput: one write and one read per 2 cycles.

    Counters take no event of the cycle in which `control_stb.clear_counters` is high.

    Raises
    ------
    TypeError
        `config` is not an `AcceleratorConfig`.

    Source: `docs/csr.md`; AMBA AXI and ACE Protocol Specification, ARM IHI 0022, part B.
    """

    LATENCY = 2

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        bus = Axi4Lite(addr_width=ADDRESS_WIDTH, data_width=WORD)
        members = {"s_axil": In(bus)}
        for register in REGISTERS:
            if register.access is not Access.CONSTANT:
                members[member_name(register)] = _member(register)
        super().__init__(members | {"irq": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._write_channels(m)
        # By register and field: what it is, what it is about to become, and the high word kept.
        self._values: dict[tuple[str, str], Value] = {}
        self._following: dict[tuple[str, str], Value] = {}
        self._kept: dict[tuple[str, str], Signal] = {}
        for register in REGISTERS:
            for field in register.fields:
                self._field(m, register, field)
        self._read_channels(m)
        events = [event.name for event in find_register("INTERRUPT").fields]
        # From what the registers become, so that it falls no later than the answer to the write.
        m.d.sync += self.irq.eq(
            Cat(
                self._following["INTERRUPT", event] & self._following["INTERRUPT_ENABLE", event]
                for event in events
            ).any()
        )
        return m

    def _write_channels(self, m: Module) -> None:
        """Hold address and data until both are there and the last answer is gone, then act."""
        bus = self.s_axil
        address = Signal(ADDRESS_WIDTH - 2)
        have_address = Signal()
        lanes = Signal(WORD // 8)
        have_data = Signal()
        write = Signal()
        self._wdata = Signal(WORD)
        self._wmask = Cat(lane.replicate(8) for lane in lanes)
        self._hits = {
            offset: Signal(name=f"write_{offset:03x}")
            for register in REGISTERS
            if register.access.writable
            for offset in register.offsets
        }
        m.d.comb += [
            bus.awready.eq(~have_address),
            bus.wready.eq(~have_data),
            write.eq(have_address & have_data & (~bus.bvalid | bus.bready)),
            *(hit.eq(write & (address == offset >> 2)) for offset, hit in self._hits.items()),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [have_address.eq(1), address.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [have_data.eq(1), self._wdata.eq(bus.wdata), lanes.eq(bus.wstrb)]
        with m.If(write):
            m.d.sync += [
                have_address.eq(0),
                have_data.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(Mux(Cat(self._hits.values()).any(), Resp.OKAY, Resp.SLVERR)),
            ]
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

    def _read_channels(self, m: Module) -> None:
        """Hold the address until the last answer is gone, then answer."""
        bus = self.s_axil
        address = Signal(ADDRESS_WIDTH - 2)
        have_address = Signal()
        read = Signal()
        m.d.comb += [
            bus.arready.eq(~have_address),
            read.eq(have_address & (~bus.rvalid | bus.rready)),
        ]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [have_address.eq(1), address.eq(bus.araddr[2:])]
        with m.If(read):
            m.d.sync += [have_address.eq(0), bus.rvalid.eq(1)]
            with m.Switch(address):
                for register in REGISTERS:
                    for number, offset in enumerate(register.offsets):
                        with m.Case(offset >> 2):
                            word = self._read_word(m, register, number)
                            m.d.sync += [bus.rdata.eq(word), bus.rresp.eq(Resp.OKAY)]
                with m.Default():
                    m.d.sync += [bus.rdata.eq(0), bus.rresp.eq(Resp.SLVERR)]
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)

    def _read_word(self, m: Module, register: Register, number: int) -> Value:
        """What a word reads as; the statements added here, in its case, keep a high word."""
        image: list[Value] = []
        for field in register.fields:
            value = self._values[register.name, field.name]
            for word, bit, low, width in field.slices:
                if word != number:
                    continue
                part = value[low : low + width]
                if field.width > WORD and not register.access.writable:
                    if low:
                        part = self._kept[register.name, field.name]
                    else:
                        m.d.sync += self._kept[register.name, field.name].eq(value[WORD:])
                image += [Const(0, bit - len(Cat(image))), part]
        return Cat(image)

    def _field(self, m: Module, register: Register, field: Field) -> None:
        """Make one field: its storage, and its way to or from the port."""
        key, width = (register.name, field.name), field.width
        name = f"{register.name}_{field.name}".lower()
        match register.access:
            case Access.CONSTANT:
                value = Const(self._constant(register, field), width)
            case Access.STATUS:
                value = self._port(register, field)
            case Access.READ_WRITE:
                value = self._port(register, field)
                chosen, bits = self._write_bits(register, field)
                self._following[key] = (value & ~chosen) | (bits & chosen)
                m.d.sync += value.eq(self._following[key])
            case Access.CLEAR:
                value = Signal(width, name=name, init=field.reset)
                chosen, bits = self._write_bits(register, field)
                self._following[key] = (value & ~(chosen & bits)) | self._port(register, field)
                m.d.sync += value.eq(self._following[key])
            case Access.STROBE:
                value = Const(0, width)
                chosen, bits = self._write_bits(register, field)
                m.d.sync += self._port(register, field).eq(chosen & bits)
            case Access.COUNTER:
                value = Signal(width, name=name, init=field.reset)
                with m.If(self.control_stb.clear_counters):
                    m.d.sync += value.eq(0)
                with m.Elif(self._port(register, field) & ~value.all()):
                    m.d.sync += value.eq(value + 1)
        self._values[key] = value
        if width > WORD and not register.access.writable:
            self._kept[key] = Signal(width - WORD, name=f"{name}_high")

    def _port(self, register: Register, field: Field) -> Value:
        member = getattr(self, member_name(register))
        return member[field.name] if len(register.fields) > 1 else member

    def _constant(self, register: Register, field: Field) -> int:
        if field.reset is not None:
            return field.reset
        return unpack("CONFIG", pack_config(self.config))[field.name]

    def _write_bits(self, register: Register, field: Field) -> tuple[Value, Value]:
        """Which bits of a field are written in this cycle, and with what."""
        chosen, bits = [], []
        for word, bit, _, width in field.slices:
            hit = self._hits[register.offsets[word]]
            chosen.append(hit.replicate(width) & self._wmask[bit : bit + width])
            bits.append(self._wdata[bit : bit + width])
        return Cat(chosen), Cat(bits)


def member_name(register: Register) -> str:
    """Name of the member of `CsrBank` that carries a register's fields."""
    strobes = register.access in (Access.CLEAR, Access.STROBE)
    return register.name.lower() + ("_stb" if strobes else "")


def _member(register: Register) -> wiring.Member:
    counter = register.access is Access.COUNTER
    shapes = {field.name: 1 if counter else field.width for field in register.fields}
    resets = {field.name: field.reset for field in register.fields}
    if len(shapes) > 1:
        shape, reset = data.StructLayout(shapes), resets
    else:
        (shape,), (reset,) = shapes.values(), resets.values()
    driven = register.access in (Access.READ_WRITE, Access.STROBE)
    return Out(shape, init=reset) if driven else In(shape)
