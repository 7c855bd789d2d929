"""FPGA families: their flow in Yosys, and what each type of cell takes.

Counting rules:

- ECP5 `lut`: LUT4, plus 2 per carry cell (CCU2C, which takes two LUTs), plus 6 per 16 x 4 bits of
  distributed RAM (TRELLIS_DPR16X4: four LUTs of storage, two of write logic). The multiplexers
  that join LUTs (PFUMX, L6MUX21) are free in the slice.
- 7-series and UltraScale+ `lut`: LUT1 to LUT6, each a whole one, plus LUTs that are memory or shift
  registers (as many as `ram` below says). Carry chains stand in a column of their own: they take
  no LUT that is not counted. INV is absorbed.
- `ff`: all flip-flops, on ECP5 with those that place and route moves into blocks.
- `block_ram`: DP16KD, or RAMB18 with RAMB36 counted twice.
- `dsp`: MULT18X18D, DSP48E1 or DSP48E2. `uram`: URAM288, of UltraScale+ alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...errors import ConfigError, ToolError

# Both with abc for abc9, the default, which ends without a word on some designs in WebAssembly.
_ECP5 = "synth_ecp5 {dsp} -top {top}"
_XILINX = "synth_xilinx -family {family} -flatten {dsp} -noiopad -noclkbuf -top {top}"


@dataclass(frozen=True)
class Cells:
    """What a netlist takes; `lut` includes `ram_lut`, LUTs that are memory."""

    lut: int = 0
    ram_lut: int = 0
    carry: int = 0
    ff: int = 0
    block_ram: int = 0
    dsp: int = 0
    uram: int = 0

    def __add__(self, other: "Cells") -> "Cells":
        return Cells(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Family:
    """A family of FPGAs.

    Fields:
        name: as in `rootshift.targets`.
        command: Yosys commands from RTLIL to cells, with `{dsp}` for "" or "-nodsp" and `{top}` for
            the module.
        luts, ram: type of cell -> LUTs that it takes, as logic and as memory.
        ffs: types of flip-flops.
        carry: type of carry cell -> how many of the smallest it is.
        dsp: type of the DSP block.
        block_ram: type of cell -> blocks of 18 kbit.
        uram: types of the blocks of 288 kbit.
    """

    name: str
    command: str
    luts: Mapping[str, int]
    ffs: tuple[str, ...]
    carry: Mapping[str, int]
    ram: Mapping[str, int]
    dsp: str
    block_ram: Mapping[str, int]
    uram: tuple[str, ...] = ()

    def cells(self, counts: Mapping[str, int]) -> Cells:
        """What a netlist with so many cells of each type takes.

        Raises: ToolError for a type that is not counted, so that none goes unseen.
        """
        known = {*self.luts, *self.ram, *self.ffs, *self.carry, self.dsp, *self.block_ram}
        if unknown := set(counts) - known - set(self.uram) - _FREE:
            raise ToolError(f"cells must be of a type that is counted, not {sorted(unknown)}")

        def weigh(weights: Mapping[str, int]) -> int:
            return sum(weight * counts.get(name, 0) for name, weight in weights.items())

        return Cells(
            lut=weigh(self.luts) + weigh(self.ram),
            ram_lut=weigh(self.ram),
            carry=weigh(self.carry),
            ff=weigh(dict.fromkeys(self.ffs, 1)),
            block_ram=weigh(self.block_ram),
            dsp=counts.get(self.dsp, 0),
            uram=weigh(dict.fromkeys(self.uram, 1)),
        )


# Cells that take nothing of what is counted: joins of LUTs, inverters, names of the hierarchy.
_FREE = {"$scopeinfo", "PFUMX", "L6MUX21", "MUXF7", "MUXF8", "MUXF9", "INV", "GND", "VCC"}

_SHARED_RAM = {
    **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4},
    **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4},
    **{"SRL16E": 1, "SRLC32E": 1},
}
_LARGE_RAM = {
    **{"RAM512X1S": 8, "RAM256X1D": 8, "RAM32M16": 8, "RAM64M8": 8},
    **{"RAM32X16DR8": 8, "RAM64X8SW": 8},
}


def _xilinx(family: str) -> str:
    synthesis = _XILINX.replace("{family}", family)
    return (
        f"{synthesis} -run begin:map_luts; opt_expr -mux_undef -noclkinv; "
        "abc -luts 2:2,3,6:5,10,20; clean; xilinx_srl -fixed -minlen 3; "
        "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6; "
        f"xilinx_dffopt; opt_lut_ins -tech xilinx; {synthesis} -run finalize:check"
    )


_ecp5 = Family(
    name="ecp5",
    command=f"{_ECP5} -run begin:map_luts; abc -lut 4; clean; {_ECP5} -run map_cells:",
    luts={"LUT4": 1, "CCU2C": 2},
    ffs=("TRELLIS_FF",),
    carry={"CCU2C": 1},
    ram={"TRELLIS_DPR16X4": 6},
    dsp="MULT18X18D",
    block_ram={"DP16KD": 1},
)
_xc7 = Family(
    name="xc7",
    command=_xilinx("xc7"),
    luts={f"LUT{inputs}": 1 for inputs in range(1, 7)},
    ffs=("FDRE", "FDSE", "FDCE", "FDPE"),
    carry={"CARRY4": 1},
    ram=_SHARED_RAM,
    dsp="DSP48E1",
    block_ram={"RAMB18E1": 1, "RAMB36E1": 2},
)
_xcup = replace(
    _xc7,
    name="xcup",
    command=_xilinx("xcup"),
    # Yosys maps to CARRY4, of which two make a CARRY8.
    carry={"CARRY4": 1, "CARRY8": 2},
    ram=_SHARED_RAM | _LARGE_RAM,
    dsp="DSP48E2",
    block_ram={"RAMB18E2": 1, "RAMB36E2": 2},
    uram=("URAM288",),
)
FAMILIES = {each.name: each for each in (_ecp5, _xc7, _xcup)}
"""Families by name."""


def family(name: str) -> Family:
    """The family of that name; raises ConfigError for any other."""
    if name not in FAMILIES:
        raise ConfigError(f"family must be one of {', '.join(FAMILIES)}, not {name}")
    return FAMILIES[name]
