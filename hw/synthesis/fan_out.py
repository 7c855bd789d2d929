"""Copies of flip-flops and LUTs that would drive too much: nextpnr makes none."""

from collections import defaultdict
from copy import deepcopy
from itertools import count
from typing import Any

MOST = 128
"""Inputs that a cell drives by itself."""
_OUTPUTS = {"TRELLIS_FF": "Q", "LUT4": "Z"}
"""What is copied: type of cell -> its output."""
_LOGIC = ("LUT4", "CCU2C", "TRELLIS_FF")
"""What copies are made for: nextpnr ends in a fault where LUT RAMs side by side have addresses from
different copies, and a LUT that is joined with another has its place beside that."""


def split_fan_out(netlist: dict[str, Any], top: str, *, most: int = MOST) -> int:
    """Copy each cell of ECP5 that drives more than `most` inputs, each copy for a part of them, of
    neighbouring names; return how many copies there are.

    A net to thousands of inputs all over a device is as late as its longest way; each copy is
    placed among its own.

    Parameters: `netlist`, as Yosys' `write_json` has it, which is changed; `top`, its module.
    """
    module = netlist["modules"][top]
    cells: dict[str, dict[str, Any]] = module["cells"]
    loads: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"].get(port) == "input" and isinstance(bit, int):
                    loads[bit].append((name, port))
    bits = [bit for port in module["ports"].values() for bit in port["bits"]]
    bits += [bit for cell in cells.values() for one in cell["connections"].values() for bit in one]
    free = count(1 + max(bit for bit in bits if isinstance(bit, int)))
    copies = 0
    for name, cell in [*cells.items()]:
        if cell["type"] not in _OUTPUTS:
            continue
        output = _OUTPUTS[cell["type"]]
        driven = sorted(loads[cell["connections"][output][0]])
        if any(cells[reader]["type"] not in _LOGIC for reader, _ in driven):
            continue
        parts = -(-len(driven) // most)
        for part in range(1, parts):
            copy, bit = deepcopy(cell), next(free)
            copy["connections"][output] = [bit]
            copy["attributes"] = {}
            named = f"{name}_copy_{part}"
            cells[named] = copy
            module["netnames"][named] = {"hide_name": 1, "bits": [bit], "attributes": {}}
            begin, end = (at * len(driven) // parts for at in (part, part + 1))
            for reader, port in driven[begin:end]:
                cells[reader]["connections"][port] = [bit]
            copies += 1
    return copies
