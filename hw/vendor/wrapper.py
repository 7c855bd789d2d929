"""A Verilog module around the accelerator, with the port names that AMD's tools know.

The core's ports are `clk`, `rst` and `m_axi__awaddr`; the wrapper's are `aclk`, `aresetn` and
`m_axi_awaddr`, with attributes by which Vivado recognizes clock, reset, interrupt and both buses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from amaranth.lib.wiring import Member, Out

from ...config import AcceleratorConfig
from ...csr import ADDRESS_WIDTH as CSR_ADDRESS_WIDTH
from ...csr import WORD
from ...isa import ADDRESS_WIDTH
from ...latency import BUS_READ_BURSTS, WRITER_BURSTS
from ..axi import MAX_BURST, Axi4, Axi4Lite

CORE, MODULE = "rootshift", "rootshift_axi"
"""Modules inside and outside."""
CONTROL, MEMORY = "s_axi", "m_axi"
"""Names of the buses."""
CLOCK, RESET, INTERRUPT = "aclk", "aresetn", "interrupt"
ID_WIDTH = 1
_INNER = {CONTROL: "s_axil", MEMORY: "m_axi"}
_UNUSED = {"lock": 1, "qos": 4}
"""Signals of AXI4 that the core does not have: normal accesses, of no quality of service."""


@dataclass(frozen=True)
class Port:
    """A port of the wrapper.

    Fields: `name`; `output`; `width` in bits; `logical`, the signal's name in its interface;
    `inner`, what it is of the core: a port, or a value where there is none.
    """

    name: str
    output: bool
    width: int
    logical: str
    inner: str


@dataclass(frozen=True)
class Interface:
    """Ports that belong together.

    Fields: `name`; `kind`, "clock", "reset", "interrupt" or "aximm"; `ports`; `parameters` as
    Vivado names them.
    """

    name: str
    kind: str
    ports: tuple[Port, ...]
    parameters: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def library(self) -> str:
        """Library of the bus definition."""
        return "interface" if self.kind == "aximm" else "signal"


def interfaces(config: AcceleratorConfig, address_width: int) -> tuple[Interface, ...]:
    """All ports of the wrapper, by interface.

    Parameters: `address_width` of the memory bus, at most the core's 40 bits; the core's higher
    bits go nowhere, and programs have to lie where they are 0.
    """
    control = Axi4Lite(addr_width=CSR_ADDRESS_WIDTH, data_width=WORD)
    memory = Axi4(addr_width=address_width, data_width=config.bus_width, id_width=ID_WIDTH)
    buses = f"{CONTROL}:{MEMORY}"
    return (
        Interface(
            CLOCK,
            "clock",
            (Port(CLOCK, False, 1, "CLK", "clk"),),
            {"ASSOCIATED_BUSIF": buses, "ASSOCIATED_RESET": RESET},
        ),
        Interface(
            RESET,
            "reset",
            (Port(RESET, False, 1, "RST", "rst"),),
            {"POLARITY": "ACTIVE_LOW"},
        ),
        Interface(
            INTERRUPT,
            "interrupt",
            (Port(INTERRUPT, True, 1, "INTERRUPT", "irq"),),
            {"SENSITIVITY": "LEVEL_HIGH"},
        ),
        Interface(
            CONTROL,
            "aximm",
            tuple(_bus(CONTROL, control.members, manager=False)),
            {
                "PROTOCOL": "AXI4LITE",
                "DATA_WIDTH": WORD,
                "ADDR_WIDTH": CSR_ADDRESS_WIDTH,
                "READ_WRITE_MODE": "READ_WRITE",
            },
        ),
        Interface(
            MEMORY,
            "aximm",
            tuple(_bus(MEMORY, memory.members, manager=True)),
            {
                "PROTOCOL": "AXI4",
                "DATA_WIDTH": config.bus_width,
                "ADDR_WIDTH": address_width,
                "ID_WIDTH": ID_WIDTH,
                "MAX_BURST_LENGTH": MAX_BURST,
                "SUPPORTS_NARROW_BURST": 0,
                "HAS_BURST": 1,
                "NUM_READ_OUTSTANDING": BUS_READ_BURSTS,
                "NUM_WRITE_OUTSTANDING": WRITER_BURSTS,
                "READ_WRITE_MODE": "READ_WRITE",
            },
        ),
    )


def _bus(bus: str, members: Mapping[str, Member], *, manager: bool) -> Iterator[Port]:
    for name, member in members.items():
        output = (member.flow == Out) == manager
        width = member.shape
        yield Port(f"{bus}_{name}", output, width, name.upper(), f"{_INNER[bus]}__{name}")
        if manager and name in ("awcache", "arcache"):
            for unused, bits in _UNUSED.items():
                signal = f"{name[:2]}{unused}"
                yield Port(f"{bus}_{signal}", True, bits, signal.upper(), f"{bits}'d0")


def verilog(config: AcceleratorConfig, address_width: int) -> str:
    """The text of the wrapper; parameters as of `interfaces`.

    The reset is synchronous: `aresetn` has to come from `aclk`, as a Processor System Reset makes
    it. Nothing else is between the core and the ports.
    """
    declared, wires, wired, tied = [], [], [], []
    for interface in interfaces(config, address_width):
        for number, port in enumerate(interface.ports):
            declared.append(_declaration(interface, port, first=number == 0))
            if "'" in port.inner:
                tied.append(f"    assign {port.name} = {port.inner};")
            elif port.logical in ("AWADDR", "ARADDR") and port.output:
                wires.append(f"    wire [{ADDRESS_WIDTH - 1}:0] {port.inner};")
                bits = f"{port.inner}[{port.width - 1}:0]"
                tied.append(f"    assign {port.name} = {bits};")
                wired.append(f"        .{port.inner}({port.inner})")
            else:
                outer = f"~{port.name}" if port.name == RESET else port.name
                wired.append(f"        .{port.inner}({outer})")
    return _TEXT.format(
        module=MODULE,
        core=CORE,
        address_width=address_width,
        declared=",\n".join(declared),
        wires="\n".join(wires),
        tied="\n".join(tied),
        wired=",\n".join(wired),
    )


def _declaration(interface: Interface, port: Port, *, first: bool) -> str:
    lines = []
    if first:
        pairs = {"XIL_INTERFACENAME": interface.name, **interface.parameters}
        text = ", ".join(f"{name} {value}" for name, value in pairs.items())
        lines.append(f'    (* X_INTERFACE_PARAMETER = "{text}" *)')
    kind = f"xilinx.com:{interface.library}:{interface.kind}:1.0"
    lines.append(f'    (* X_INTERFACE_INFO = "{kind} {interface.name} {port.logical}" *)')
    bits = f" [{port.width - 1}:0]" if vector(port) else ""
    lines.append(f"    {'output' if port.output else 'input'} wire{bits} {port.name}")
    return "\n".join(lines)


def vector(port: Port) -> bool:
    """Whether the port is declared with a range: identifiers are, even of one bit."""
    return port.width > 1 or (port.logical.endswith("ID") and port.logical[:-2] in "AWARB")


_TEXT = """\
// {module}: generated by Rootshift; edit the generator, not this file.
// The accelerator {core} with the port names of AMD's tools, and {address_width} bits of address.
/* verilator lint_off DECLFILENAME */
/* verilator lint_off UNUSEDSIGNAL */
// "interrupt" is a word of C++, too:
/* verilator lint_off SYMRSVDWORD */
`default_nettype none
module {module} (
{declared}
);
{wires}
{tied}

    {core} core (
{wired}
    );
endmodule
`default_nettype wire
"""
