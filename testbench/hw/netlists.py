"""Netlists of ECP5 as Yosys writes them, made cell by cell."""

import re
from itertools import count
from typing import Any

from rootshift.hw.synthesis.netlist import TOP

CLOCK, OTHER_CLOCK, ENABLE, RESET = 2, 3, 4, 5


class Netlist:
    """A netlist under construction, of four bits per operand and word."""

    def __init__(self) -> None:
        self.cells: dict[str, Any] = {}
        self.outputs: list[int] = []
        self.names: dict[str, Any] = {}
        self._bits = count(6)

    def bits(self, width: int) -> list[int]:
        return [next(self._bits) for _ in range(width)]

    def register(self, bits: list[Any], **pins: int) -> list[int]:
        """A flip-flop for each bit; `pins`, of CLK, CE and LSR."""
        late = self.bits(len(bits))
        for bit, after in zip(bits, late, strict=True):
            parameters = {
                "CEMUX": "CE" if "CE" in pins else "1 ",
                "CLKMUX": "CLK",
                "LSRMUX": "LSR",
                "REGSET": "RESET",
            }
            nets = {"CLK": CLOCK, "LSR": "0", "DI": bit, "Q": after} | pins
            self.cell("TRELLIS_FF", parameters, nets)
        return late

    def multiply(self, a: list[Any], b: list[Any]) -> list[int]:
        nets: dict[str, Any] = {}
        for name, operand in (("A", a), ("B", b)):
            nets |= {
                f"{name}{bit}": operand[bit] if bit < len(operand) else "0" for bit in range(18)
            }
        product = self.bits(36)
        nets |= {f"P{bit}": net for bit, net in enumerate(product)}
        self.cell("MULT18X18D", {}, nets)
        return product[: len(a) + len(b)]

    def read(self, *, width: int) -> list[int]:
        """Bits of a word that a block RAM of that width reads at port B."""
        halves = {side: self.bits(18) for side in "AB"}
        nets: dict[str, Any] = {"CLKA": CLOCK, "CLKB": CLOCK, "OCEA": "0", "OCEB": "1"}
        nets |= {f"DO{side}{bit}": net for side in "AB" for bit, net in enumerate(halves[side])}
        shape = format(width, "032b")
        self.cell("DP16KD", {"DATA_WIDTH_A": shape, "DATA_WIDTH_B": shape}, nets)
        return [*halves["B"][:4], *(halves["A"][:4] if width == 36 else [])]

    def written(self) -> dict[str, Any]:
        """The same as Yosys' `write_json` has it."""
        ports = {"y": {"bits": self.outputs}}
        module = {"cells": self.cells, "ports": ports, "netnames": self.names}
        return {"modules": {TOP: module}}

    def cell(self, kind: str, parameters: dict[str, str], nets: dict[str, Any]) -> None:
        """A cell of any kind with nets, or constants, at its pins."""
        self.cells[f"cell_{len(self.cells)}"] = {
            "type": kind,
            "parameters": parameters,
            "port_directions": {
                port: "output" if re.match("Q|P|DO", port) else "input" for port in nets
            },
            "connections": {port: [net] for port, net in nets.items()},
        }
