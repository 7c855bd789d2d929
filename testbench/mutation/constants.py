"""Which bits of a netlist's cells are constants."""

import re

_WIRE = re.compile(r"^  wire (?:width (\d+) )?.*?(\S+)$", re.MULTILINE)
_SIGNAL = re.compile(r"(?P<size>\d+)'(?P<bits>[01xz-]+)|(?P<wire>[\\$]\S+)(?: \[(?P<at>[\d:]+)\])?")
_MUTANT = re.compile(r"-mode const([01]) .*?-cell (\S+) -port (\S+) -portbit (\d+)")


def sets_what_is(netlist: str, mutant: str) -> bool:
    """Whether a mutant sets a bit of a cell to the constant that it is already, or may be: where
    the netlist has `x`, or where a mux would choose an `x`.

    Parameters: `netlist` as `Mutants.netlist`, `mutant` as `Mutant.command`.
    """
    found = _MUTANT.search(mutant)
    if not found:
        return False
    value, cell, port, bit = found.groups()
    if port == "S" and set(_bits(netlist, cell, "AB"[value == "0"])) == {"x"}:
        return True
    bits = _bits(netlist, cell, port)
    return bits[int(bit)] in (value, "x") if int(bit) < len(bits) else False


def _bits(netlist: str, cell: str, port: str) -> list[str]:
    """What a port of a cell is connected to, lowest bit first: 0, 1 and x, or a sign for others."""
    names = "|".join(re.escape(prefix + cell) for prefix in ("\\", ""))
    block = re.search(rf"^  cell \S+ (?:{names})\n(.*?)^  end$", netlist, re.MULTILINE | re.DOTALL)
    line = block and re.search(rf"^    connect \\{port} (.*)$", block[1], re.MULTILINE)
    if not line:
        return []
    widths = {name: int(width or 1) for width, name in _WIRE.findall(netlist)}
    bits: list[str] = []
    for part in _SIGNAL.finditer(line[1]):
        if part["bits"]:
            # Those that are not written are as the highest that is, or 0 where that is 0 or 1.
            bits += part["bits"].rjust(int(part["size"]), part["bits"][0].replace("1", "0"))
        elif part["at"]:
            high, _, low = part["at"].partition(":")
            bits += "?" * (int(high) - int(low or high) + 1)
        else:
            bits += "?" * widths[part["wire"]]
    return bits[::-1]
