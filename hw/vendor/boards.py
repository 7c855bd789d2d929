"""Boards with a processing system that Vivado scripts are written for."""

from dataclasses import dataclass

from ...errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ProcessingSystem:
    """How a block design reaches a family's processing system.

    Fields:
        ip: the IP, vendor:library:name.
        automation: rule and configuration that apply the board's preset.
        clock, reset, interrupt: pins of the fabric clock, its reset and an interrupt.
        control, memory: interfaces through which it reaches registers, and is reached for memory.
        clocks: pins that want the clock of these two.
        properties: settings, with {clock_mhz} and {data_width} to be filled in.
        data_widths: those that the memory port can have, in bits.
        segments: of memory to map, those to leave out, and where registers lie.
        address_width: bits of an address of the memory port.
        clock_mhz: least and most of the fabric clock.
    """

    ip: str
    automation: tuple[str, str]
    clock: str
    reset: str
    interrupt: str
    control: str
    memory: str
    clocks: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]
    data_widths: tuple[int, ...]
    segments: tuple[str, ...]
    excluded: tuple[str, ...]
    registers: int
    address_width: int
    clock_mhz: tuple[float, float]


# AMD UG585, Zynq-7000 SoC Technical Reference Manual: AXI_HP ports of 32 or 64 bits, AXI_GP0 from
# 0x40000000 on, fabric clocks of 0.1 to 250 MHz; PG082, Processing System 7.
ZYNQ = ProcessingSystem(
    ip="xilinx.com:ip:processing_system7",
    automation=(
        "xilinx.com:bd_rule:processing_system7",
        'make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"',
    ),
    clock="FCLK_CLK0",
    reset="FCLK_RESET0_N",
    interrupt="IRQ_F2P",
    control="M_AXI_GP0",
    memory="S_AXI_HP0",
    clocks=("M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK"),
    properties=(
        ("PCW_USE_M_AXI_GP0", "1"),
        ("PCW_USE_S_AXI_HP0", "1"),
        ("PCW_S_AXI_HP0_DATA_WIDTH", "{data_width}"),
        ("PCW_USE_FABRIC_INTERRUPT", "1"),
        ("PCW_IRQ_F2P_INTR", "1"),
        ("PCW_EN_CLK0_PORT", "1"),
        ("PCW_FPGA0_PERIPHERAL_FREQMHZ", "{clock_mhz}"),
    ),
    data_widths=(32, 64),
    segments=("S_AXI_HP0/HP0_DDR_LOWOCM",),
    excluded=(),
    registers=0x43C0_0000,
    address_width=32,
    clock_mhz=(1, 250),
)

# AMD UG1085, Zynq UltraScale+ Device Technical Reference Manual: S_AXI_HP0_FPD is SAXIGP2, of 32,
# 64 or 128 bits, M_AXI_HPM0_FPD reaches 0xA0000000 on; PG201, Zynq UltraScale+ MPSoC PS.
ZYNQ_ULTRASCALE = ProcessingSystem(
    ip="xilinx.com:ip:zynq_ultra_ps_e",
    automation=("xilinx.com:bd_rule:zynq_ultra_ps_e", 'apply_board_preset "1"'),
    clock="pl_clk0",
    reset="pl_resetn0",
    interrupt="pl_ps_irq0",
    control="M_AXI_HPM0_FPD",
    memory="S_AXI_HP0_FPD",
    clocks=("maxihpm0_fpd_aclk", "saxihp0_fpd_aclk"),
    properties=(
        ("PSU__USE__M_AXI_GP0", "1"),
        ("PSU__USE__M_AXI_GP1", "0"),
        ("PSU__USE__M_AXI_GP2", "0"),
        ("PSU__USE__S_AXI_GP2", "1"),
        ("PSU__SAXIGP2__DATA_WIDTH", "{data_width}"),
        ("PSU__USE__IRQ0", "1"),
        ("PSU__FPGA_PL0_ENABLE", "1"),
        ("PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ", "{clock_mhz}"),
    ),
    data_widths=(32, 64, 128),
    segments=("SAXIGP2/HP0_DDR_LOW", "SAXIGP2/HP0_DDR_HIGH"),
    excluded=("SAXIGP2/HP0_LPS_OCM", "SAXIGP2/HP0_QSPI"),
    registers=0xA000_0000,
    address_width=40,
    clock_mhz=(1, 400),
)


@dataclass(frozen=True)
class Board:
    """A board.

    Fields: `name`, that of its target; `part` with package and speed grade; `files`, its board
    files, without their version; `system`.
    """

    name: str
    part: str
    files: str
    system: ProcessingSystem


_BOARDS = (
    Board("pynq-z2", "xc7z020clg400-1", "tul.com.tw:pynq-z2:part0", ZYNQ),
    Board("kv260", "xck26-sfvc784-2LV-c", "xilinx.com:kv260_som:part0", ZYNQ_ULTRASCALE),
    Board("zcu102", "xczu9eg-ffvb1156-2-e", "xilinx.com:zcu102:part0", ZYNQ_ULTRASCALE),
)
BOARDS = {board.name: board for board in _BOARDS}
"""Boards by name."""


def find_board(name: str) -> Board:
    """The board of that name; raises ConfigError for any other."""
    if name not in BOARDS:
        raise ConfigError(f"target must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]
