"""Real devices and boards and what they hold, so that a design can be asked whether it fits.

Counts are those of the vendors' data sheets, in the units of the area model: `docs/area.md`.
"""

from dataclasses import dataclass, replace

from .errors import ConfigError


@dataclass(frozen=True)
class Target:
    """A device, or a board with one.

    Fields:
        name: by which it is asked for, such as "ecp5-85k".
        family: "ecp5", "xc7" or "xcup" (UltraScale+), of the area model.
        part: the vendor's name, without package and speed grade.
        lut: LUT4 (ECP5) or LUT6 (the others).
        ff: flip-flops.
        dsp: 18 x 18 multipliers MULT18X18D (ECP5), DSP48E1 (7-series) or DSP48E2 (UltraScale+).
        block_ram: blocks of 18 kbit: DP16KD (ECP5), RAMB18 or halves of RAMB36 (the others). The
            blocks of 288 kbit that some UltraScale+ have are not counted.
        board: what the board is called, or "" for a device alone.
    """

    name: str
    family: str
    part: str
    lut: int
    ff: int
    dsp: int
    block_ram: int
    board: str = ""


# Lattice FPGA-DS-02012, ECP5 and ECP5-5G Family: blocks and multipliers of table 1.1; LUTs, which
# it rounds to thousands, as place and route has them; a flip-flop each.
# AMD DS180, 7 Series FPGAs, Overview: four LUT6 and eight flip-flops a slice; blocks of 36 kbit
# count twice. AMD DS190, Zynq-7000 SoC, Overview. AMD DS891, Zynq UltraScale+ MPSoC Data Sheet:
# Overview; AMD DS987, Kria K26 SOM Data Sheet.
_DEVICES = (
    Target("ecp5-25k", "ecp5", "LFE5U-25F", 24_288, 24_288, 28, 56),
    Target("ecp5-45k", "ecp5", "LFE5U-45F", 43_848, 43_848, 72, 108),
    Target("ecp5-85k", "ecp5", "LFE5U-85F", 83_640, 83_640, 156, 208),
    Target("xc7z010", "xc7", "XC7Z010", 17_600, 35_200, 80, 120),
    Target("xc7z020", "xc7", "XC7Z020", 53_200, 106_400, 220, 280),
    Target("xc7z045", "xc7", "XC7Z045", 218_600, 437_200, 900, 1_090),
    Target("xc7a35t", "xc7", "XC7A35T", 20_800, 41_600, 90, 100),
    Target("xc7a100t", "xc7", "XC7A100T", 63_400, 126_800, 240, 270),
    Target("xc7a200t", "xc7", "XC7A200T", 134_600, 269_200, 740, 730),
    Target("xc7k325t", "xc7", "XC7K325T", 203_800, 407_600, 840, 890),
    Target("xck26", "xcup", "XCK26", 117_120, 234_240, 1_248, 288),
    Target("xczu9eg", "xcup", "XCZU9EG", 274_080, 548_160, 2_520, 1_824),
)
_BOARDS = {
    "ulx3s-85f": ("ecp5-85k", "ULX3S with LFE5U-85F"),
    "pynq-z2": ("xc7z020", "PYNQ-Z2"),
    "kv260": ("xck26", "Kria KV260"),
    "zcu102": ("xczu9eg", "ZCU102"),
}
_BY_NAME = {device.name: device for device in _DEVICES}
ROUTED = ("ecp5",)
"""Families that open tools place and route; the others' are for Vivado."""
TARGETS = _BY_NAME | {
    name: replace(_BY_NAME[device], name=name, board=board)
    for name, (device, board) in _BOARDS.items()
}
"""Devices, then boards, by name."""


def target(name: str) -> Target:
    """The device or board of that name; raises ConfigError for any other."""
    if name not in TARGETS:
        raise ConfigError(f"target must be one of {', '.join(TARGETS)}, not {name}")
    return TARGETS[name]
