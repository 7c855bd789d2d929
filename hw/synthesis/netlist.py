"""A component as RTLIL for Yosys, the units in it, and what no netlist may have."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Signal, Value
from amaranth.lib import wiring

from ...errors import ToolError
from .tools import yosys

TOP = "top"
"""Name of the whole, and of the part of it that is in no unit."""
SOURCE = "top.il"
_MODULE = re.compile(r"^module \\(\S+)", re.M)
_INPUT = re.compile(r"^ +wire .*\binput \d+ .*?(\S+)$", re.M)
_CELL = re.compile(r"^  cell (\\\S+) (\S+)$(.*?)^  end$", re.M | re.S)
_CONNECT = re.compile(r"^    connect (\S+) (.*)$", re.M)
_UNRELATED = re.compile(
    r"^  attribute \\no_rw_check .*\n(?:  attribute .*\n)*  memory .* (\\\S+)$", re.M
)
_READ = re.compile(r"^  cell \$memrd_v2 .*?^  end$", re.M | re.S)
_COLLISION = re.compile(r"(?<=parameter \\COLLISION_X_MASK )(\d+)'0+$", re.M)
_FOUND = "check.txt"
CHECK = f"tee -q -o {_FOUND} check -nolatches"
"""Command that leaves what is wrong for `refuse_found`."""
_SPLIT = "gemm"
"""A unit whose parts are counted apart: the array is what a size is chosen for."""


def rtlil_text(component: wiring.Component) -> str:
    """The RTLIL text of `component` as the module `top`: members are ports, besides those that
    are constants or have no bits."""
    values = [Value.cast(value) for _, _, value in component.signature.flatten(component)]
    ports = [value for value in values if isinstance(value, Signal) and len(value)]
    return free_collisions(rtlil.convert(component, name=TOP, ports=ports, emit_src=False))


def free_collisions(text: str) -> str:
    """RTLIL text in which a read of a memory with the attribute `no_rw_check` gives any value in
    the cycle of a write to the same word.

    Yosys looks at the attribute where it finds the register of a read port itself, and Amaranth
    writes ports that have theirs.
    """
    return "".join(map(_free_module, re.split(r"^(?=module )", text, flags=re.M)))


def _free_module(text: str) -> str:
    marked = {f'"\\{name}"' for name in _UNRELATED.findall(text)}

    def free(port: re.Match[str]) -> str:
        if not any(f"parameter \\MEMID {name}\n" in port[0] for name in marked):
            return port[0]
        return _COLLISION.sub(lambda mask: f"{mask[1]}'{'1' * int(mask[1])}", port[0])

    return _READ.sub(free, text)


def unit_paths(text: str, inside: str = "") -> dict[str, str]:
    """Units of an `Accelerator` in RTLIL text: name -> path of its instance below the top.

    Names are those of `hw/top.py`, such as "layernorm_unit" or "gemm.array".
    Parameters: `inside`, the path of the accelerator where the top is not itself one.
    """
    root = f"{TOP}.{inside}." if inside else f"{TOP}."
    paths = [name.removeprefix(root) for name in _MODULE.findall(text) if name.startswith(root)]
    found = {}
    for path in paths:
        name = path.removeprefix("core.")
        parts = name.split(".")
        whole = path != "core" and len(parts) == 1 and name != _SPLIT
        if whole or (len(parts) == 2 and parts[0] == _SPLIT):
            found[name] = f"{inside}.{path}" if inside else path
    return found


def check_ports(text: str) -> None:
    """Refuse RTLIL text where an input of an instance is connected to nothing.

    Raises: ToolError naming instance and port.
    """
    modules = re.split(r"^module ", text, flags=re.M)[1:]
    inputs = {module.split("\n", 1)[0].strip(): _INPUT.findall(module) for module in modules}
    for module in modules:
        for kind, name, body in _CELL.findall(module):
            given = {port for port, value in _CONNECT.findall(body) if value != "{ }"}
            if missing := [port for port in inputs.get(kind, ()) if port not in given]:
                raise ToolError(
                    f"netlist: port {missing[0].lstrip(chr(92))} of {name.lstrip(chr(92))} must be "
                    f"connected in {module.split(chr(10), 1)[0].strip().lstrip(chr(92))}"
                )


def check_source(text: str, folder: Path, log: str = "") -> None:
    """Refuse a design that has a loop of gates, two drivers of a wire, a wire that is used and not
    driven, a latch, or an input of an instance that is connected to nothing.

    All is looked at flat, so that what goes through several units is found.
    Parameters: `folder`, to work in, with `text` in the file `SOURCE`.
    Raises: ToolError with what was found.
    """
    check_ports(text)
    # Optimized, one of two drivers may be gone.
    yosys(f"{read(())}; proc -noopt; flatten; {CHECK}", folder, log=log)
    refuse_found(folder)


def refuse_found(folder: Path) -> None:
    """Raises: ToolError with the first of what `CHECK` has found, and how much it is."""
    said = (folder / _FOUND).read_text(encoding="utf-8")
    if warnings := re.findall(r"^Warning: (.*(?:\n    .*)*)", said, re.M):
        first = " ".join(warnings[0].split())
        more = f" ({len(warnings)} problems in all)" if len(warnings) > 1 else ""
        raise ToolError(f"netlist: {first}{more}")


def read(kept: Iterable[str], soft: Sequence[str] = ()) -> str:
    """Commands that read the source.

    Parameters: paths of instances that stay modules of their own (`kept`); patterns of modules
    whose multipliers become LUTs (`soft`).
    """
    commands = [f"read_rtlil {SOURCE}", f"hierarchy -check -top {TOP}"]
    modules = " ".join(f"{TOP}.{path}" for path in kept)
    if modules:
        commands.append(f"setattr -mod -set keep_hierarchy 1 {modules}")
    # As adders they are no longer what the mapping to DSP blocks looks for.
    passes = ("proc", "opt_expr", "opt_clean", "wreduce", "alumacc", "maccmap")
    commands += [f"{each} {pattern}" for pattern in soft for each in passes]
    return "; ".join(commands)
