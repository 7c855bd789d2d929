"""Registers beside the hard blocks of ECP5 that move into them.

Yosys leaves the registers of its MULT18X18D and DP16KD unused, and nextpnr moves none either: a
product then is late by the way to its block, through it and back to flip-flops, in one cycle.

Source: Lattice FPGA-TN-02205 (sysDSP) and FPGA-TN-02204 (memory): INPUT, PIPELINE and OUTPUT
registers of a multiplier, the output register of a block RAM.
"""

from collections import defaultdict
from typing import Any

_MULTIPLIER, _MEMORY, _FLIP_FLOP = "MULT18X18D", "DP16KD", "TRELLIS_FF"
_OPERAND_BITS, _PRODUCT_BITS, _WORD_BITS = 18, 36, 18
_WHOLE_WORD = 36
"""Width at which both ports of a block RAM are halves of one."""

Net = int | str
"""A bit of a netlist: its number, or "0", "1", "x" for a constant."""


def absorb_registers(netlist: dict[str, Any], top: str) -> int:
    """Move flip-flops into the blocks that they stand beside; return how many are gone.

    Those that have neither enable nor reset: the operands of a multiplier, if all are registers or
    zero; its product, once or twice; the word of a block RAM. What the netlist computes stays the
    same, cycle for cycle. An operand's flip-flop stays where it feeds others too.

    Parameters: `netlist`, as Yosys' `write_json` has it, which is changed; `top`, its module.
    """
    return _Absorption(netlist["modules"][top]).run()


class _Absorption:
    def __init__(self, module: dict[str, Any]) -> None:
        self.cells: dict[str, dict[str, Any]] = module["cells"]
        self.loads: dict[Net, list[tuple[str, str]]] = defaultdict(list)
        self.sources: dict[Net, str] = {}
        self.removed = 0
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    self.loads[bit].append((name, port))
            if _is_plain(cell):
                self.sources[cell["connections"]["Q"][0]] = name
        for port, about in module["ports"].items():
            for bit in about["bits"]:
                self.loads[bit].append(("", port))

    def run(self) -> int:
        for name, cell in list(self.cells.items()):
            if cell["type"] == _MULTIPLIER:
                self._multiplier(name, cell)
            elif cell["type"] == _MEMORY:
                self._memory(name, cell)
        return self.removed

    def _multiplier(self, name: str, cell: dict[str, Any]) -> None:
        operands = [f"{operand}{bit}" for operand in "AB" for bit in range(_OPERAND_BITS)]
        product = [f"P{bit}" for bit in range(_PRODUCT_BITS)]
        clocks = {cell["connections"].get("CLK0", ["x"])[0]} - {"x", "0"}
        stages = []
        if clock := self._before(cell, operands, clocks):
            self._take_before(name, cell, operands)
            clocks, stages = {clock}, ["INPUTA", "INPUTB"]
        for stage in ("OUTPUT", "PIPELINE"):
            if clock := self._behind(name, cell, product):
                if clocks - {clock}:
                    break
                self._take_behind(name, cell, product)
                clocks = {clock}
                stages.append(stage)
        for stage in stages:
            cell["parameters"][f"REG_{stage}_CLK"] = "CLK0"
        if stages:
            pins: dict[str, list[Net]] = {"CLK0": list(clocks), "CE0": ["1"], "RST0": ["0"]}
            cell["connections"] |= pins
            cell["port_directions"] |= dict.fromkeys(pins, "input")

    def _memory(self, name: str, cell: dict[str, Any]) -> None:
        whole = int(cell["parameters"]["DATA_WIDTH_B"], 2) == _WHOLE_WORD
        for sides in ("AB",) if whole else ("A", "B"):
            words = [f"DO{side}{bit}" for side in sides for bit in range(_WORD_BITS)]
            clocks = {cell["connections"][f"CLK{side}"][0] for side in sides}
            if clocks == {self._behind(name, cell, words)}:
                self._take_behind(name, cell, words)
                for side in sides:
                    cell["parameters"][f"REGMODE_{side}"] = "OUTREG"
                    cell["connections"][f"OCE{side}"] = ["1"]

    def _before(self, cell: dict[str, Any], ports: list[str], clocks: set[Net]) -> Net | None:
        """The clock of the flip-flops that drive the ports, if there are no others beside zeros."""
        bits = {cell["connections"][port][0] for port in ports} - {"0", "x"}
        if not all(bit in self.sources for bit in bits):
            return None
        clocks = clocks | {self._flip_flop(bit, "CLK") for bit in bits}
        return clocks.pop() if len(clocks) == 1 else None

    def _behind(self, name: str, cell: dict[str, Any], ports: list[str]) -> Net | None:
        """The clock of the flip-flops that the ports drive, if these drive one each and no more."""
        found: set[Net] = set()
        for port in ports:
            bits = cell["connections"].get(port, [])
            others = [load for bit in bits for load in self.loads[bit] if load[0] != name]
            if not others:
                continue
            reader, pin = others[0]
            if len(others) > 1 or pin != "DI" or not _is_plain(self.cells[reader]):
                return None
            found.add(self.cells[reader]["connections"]["CLK"][0])
        return found.pop() if len(found) == 1 else None

    def _take_before(self, name: str, cell: dict[str, Any], ports: list[str]) -> None:
        for port in ports:
            bit = cell["connections"][port][0]
            if bit in self.sources:
                source = self._flip_flop(bit, "DI")
                self.loads[bit].remove((name, port))
                self.loads[source].append((name, port))
                cell["connections"][port] = [source]
                if len(self.loads[bit]) == 1:
                    self._remove(self.sources[bit])

    def _take_behind(self, name: str, cell: dict[str, Any], ports: list[str]) -> None:
        for port in ports:
            for bit in cell["connections"].get(port, []):
                for reader, _ in [load for load in self.loads[bit] if load[0] != name]:
                    late = self.cells[reader]["connections"]["Q"][0]
                    self._remove(reader)
                    cell["connections"][port] = [late]
                    self.loads[late].append((name, port))

    def _flip_flop(self, bit: Net, port: str) -> Net:
        """What the flip-flop that drives the bit has at a port."""
        return self.cells[self.sources[bit]]["connections"][port][0]

    def _remove(self, name: str) -> None:
        for port, bits in self.cells.pop(name)["connections"].items():
            for bit in bits:
                self.loads[bit].remove((name, port))
                if port == "Q":
                    del self.sources[bit]
        self.removed += 1


def _is_plain(cell: dict[str, Any]) -> bool:
    """A flip-flop without enable and reset that begins with 0."""
    if cell["type"] != _FLIP_FLOP:
        return False
    parameters, resets = cell["parameters"], cell["connections"].get("LSR", ["0"])
    return (
        parameters["CEMUX"].strip() == "1"
        and parameters["CLKMUX"] == "CLK"
        and parameters["REGSET"] == "RESET"
        and resets == ["0"]
    )
