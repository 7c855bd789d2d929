"""Real devices and what they hold, so that a design can be asked whether it fits.

Counts are those of the vendors' data sheets, in the units of the area model: `docs/area.md`.
"""

from dataclasses import dataclass

from .errors import ConfigError


@dataclass(frozen=True)
class Target:
    """A device.

    Fields:
        name: by which it is asked for, such as "ecp5-85k".
        family: "ecp5" or "xc7", of the area model.
        part: the vendor's name, without package and speed grade.
        lut: LUT4 (ECP5) or LUT6 (7-series).
        ff: flip-flops.
        dsp: 18 x 18 multipliers MULT18X18D (ECP5) or DSP48E1 (7-series).
        block_ram: blocks of 18 kbit: DP16KD (ECP5), RAMB18E1 or halves of RAMB36E1 (7-series).
    """

    name: str
    family: str
    part: str
    lut: int
    ff: int
    dsp: int
    block_ram: int


# Lattice FPGA-DS-02012, ECP5 and ECP5-5G Family: blocks and multipliers of table 1.1; LUTs, which
# it rounds to thousands, as place and route has them; a flip-flop each.
# AMD DS180, 7 Series FPGAs, Overview: four LUT6 and eight flip-flops a slice; blocks of 36 kbit
# count twice. AMD DS190, Zynq-7000 SoC, Overview.
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
)
TARGETS = {device.name: device for device in _DEVICES}
"""Devices by name."""


def target(name: str) -> Target:
    """The device of that name; raises ConfigError for any other."""
    if name not in TARGETS:
        raise ConfigError(f"target must be one of {', '.join(TARGETS)}, not {name}")
    return TARGETS[name]
