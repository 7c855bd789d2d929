"""Synthesis of an accelerator: cells of the whole and of each unit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from amaranth.lib import wiring

from ...config import AcceleratorConfig
from ...targets import ROUTED
from ..top import Accelerator
from .families import Cells, Family, family
from .netlist import CHECK, SOURCE, TOP, check_source, read, refuse_found, rtlil_text, unit_paths
from .port_chain import INNER, PORTS, PortChain
from .tools import yosys

NETLIST = "net.json"
"""Flat netlist that place and route reads, where the family is routed."""
LOG = "yosys.log"
_SOURCE_LOG, _UNIT_LOG = "source.log", "unit.log"
_STATISTICS = "stat.json"
_COUNT = f"tee -q -o {_STATISTICS} stat -json"
ARRAY = "gemm.array"
"""The unit whose multipliers are LUTs, unless the configuration says otherwise."""


@dataclass(frozen=True)
class Synthesis:
    """What a design takes.

    Fields:
        family: of FPGAs.
        units: name of each unit -> its cells; "top" has what lies between them.
        paths: name of each unit -> path of its instance, with which names of its cells begin.
        total: their sum.
    """

    family: str
    units: Mapping[str, Cells]
    paths: Mapping[str, str]
    total: Cells


def synthesize_accelerator(config: AcceleratorConfig, family_name: str, folder: Path) -> Synthesis:
    """Synthesize the accelerator of `config` in `folder`, which has the log and the netlist then.

    Where the family is routed, its ports are registers between two pins (`PortChain`), which no
    unit counts.
    Raises: ConfigError for an unknown family; ToolError where a tool is missing or fails, or the
    netlist has what none may have.
    """
    accelerator, inside = Accelerator(config=config), ""
    if family(family_name).name in ROUTED:
        accelerator, inside = PortChain(accelerator), INNER
    return synthesize(
        accelerator,
        family_name,
        folder,
        inside=inside,
        soft=() if config.array_multiplier == "dsp" else (ARRAY,),
    )


def synthesize(
    component: wiring.Component,
    family_name: str,
    folder: Path,
    *,
    inside: str = "",
    soft: tuple[str, ...] = (),
) -> Synthesis:
    """The same for any component with an `Accelerator`.

    Each unit is mapped by itself, which takes a fraction of the memory that the whole would, and
    loses what is optimized from unit to unit. Multiplications become DSP blocks.
    Parameters: `inside`, the path of the accelerator where `component` is not itself one; `soft`,
    units whose multiplications become LUTs.
    """
    goal = family(family_name)
    text = rtlil_text(component)
    (folder / SOURCE).write_text(text, encoding="utf-8")
    check_source(text, folder, _SOURCE_LOG)
    paths = unit_paths(text, inside)
    patterns = [f"{TOP}.{paths[unit]} {TOP}.{paths[unit]}.*" for unit in soft]
    kept = [*paths.values(), *([PORTS] if isinstance(component, PortChain) else [])]
    source = read(kept, patterns)
    if goal.name in ROUTED:
        counts = _map_whole(goal, source, folder)
    else:
        counts = _map_apart(goal, source, [*(f"{TOP}.{path}" for path in kept), TOP], folder)
    units = {module: goal.cells(found) for module, found in counts.items()}
    named = {name: units[f"{TOP}.{path}"] for name, path in paths.items()} | {TOP: units[TOP]}
    total = sum(named.values(), Cells())
    return Synthesis(goal.name, MappingProxyType(named), MappingProxyType(paths), total)


def _map_whole(goal: Family, source: str, folder: Path) -> dict[str, dict[str, int]]:
    """Map all modules in one run, which leaves the flat netlist; return their cells."""
    commands = [
        source,
        goal.command.format(dsp="", top=TOP),
        _COUNT,
        "setattr -mod -unset keep_hierarchy *",
        "flatten",
        CHECK,
        f"write_json {NETLIST}",
    ]
    yosys("; ".join(commands), folder, log=LOG)
    refuse_found(folder)
    return _counted(folder)


def _map_apart(
    goal: Family, source: str, modules: list[str], folder: Path
) -> dict[str, dict[str, int]]:
    """Map each module in a run of its own, for larger ones to have room; return their cells."""
    counts, logs = {}, []
    for module in modules:
        # What is no box is mapped, and the command without a name takes all.
        boxes = " ".join(each for each in modules if each not in (module, TOP))
        commands = [
            source,
            *([f"blackbox {boxes}"] if boxes else []),
            f"hierarchy -top {module}",
            goal.command.format(dsp="", top=module),
            _COUNT,
            CHECK,
        ]
        yosys("; ".join(commands), folder, log=_UNIT_LOG)
        refuse_found(folder)
        counts[module] = _counted(folder)[module]
        logs.append((folder / _UNIT_LOG).read_text(encoding="utf-8"))
    (folder / LOG).write_text("".join(logs), encoding="utf-8")
    return counts


def _counted(folder: Path) -> dict[str, dict[str, int]]:
    """Module -> type of cell -> how many, as `_COUNT` leaves them, without the units in it."""
    found = json.loads((folder / _STATISTICS).read_text(encoding="utf-8"))["modules"]
    return {
        module.lstrip("\\"): {
            kind: count
            for kind, count in counts["num_cells_by_type"].items()
            if not kind.lstrip("\\").startswith(f"{TOP}.")
        }
        for module, counts in found.items()
    }
