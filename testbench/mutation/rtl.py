"""Mutants of the RTL, bench by bench.

python -m rootshift.testbench.mutation.rtl [--count 40] [--seed 1] [--proofs] [BENCH ...]

Each test of a bench simulates its unit in another size. Mutants are made of the largest, in which
there is most to get wrong, and each is held against the test of its size, as it is. What has been
run before is kept and counts in the table; `--count 0` runs nothing more.
"""

import argparse
import sys
from dataclasses import replace

import pytest

from .equivalence import prove
from .plugin import MutationPlugin, Survey
from .records import ROOT, Record, keep_netlist, netlist, read, write
from .table import report

TESTS = ROOT / "testbench" / "hw"
OTHERS = {
    "accelerator": "proved by whole inferences in testbench/accelerator",
    "axi_stock_models": "a second bench of units that have their own",
    "csr_stock_master": "a second bench of a unit that has its own",
    "bench": "a test of the benches, not of a unit",
    "block_registers": "a test of what synthesis changes",
}
"""Benches that are left out, and why."""
SHARE = 16
"""Mutants of one test: fewer would not be worth the build."""


def benches() -> list[str]:
    """Benches that simulate a unit, by the unit's name."""
    files = sorted(TESTS.glob("test_*.py"))
    names = [file.stem.removeprefix("test_") for file in files if "simulate(" in file.read_text()]
    return [name for name in names if name not in OTHERS]


def run(bench: str, *, count: int, seed: int) -> list[Record]:
    """Run the largest tests of a bench on mutants of their unit, and keep what came of them.

    Raises: RuntimeError where a test fails on the unit as it is.
    """
    survey = Survey()
    run_bench(bench, survey)
    largest = sorted(survey.bits, key=survey.bits.__getitem__, reverse=True)
    tests = largest[: max(1, count // SHARE)]
    plugin = MutationPlugin(tests, count=-(-count // len(tests)), seed=seed)
    run_bench(bench, plugin)
    records = [
        Record(
            test=tested.test,
            mutant=tested.mutant.command,
            killed=tested.killed,
            netlist="" if tested.killed else keep_netlist(tested.netlist),
        )
        for tested in plugin.tested
    ]
    write("rtl", bench, records)
    return records


def run_bench(bench: str, plugin: Survey | MutationPlugin) -> None:
    """Run every test of a bench, the slow ones too, as the plugin has it."""
    file = TESTS / f"test_{bench}.py"
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    if pytest.main([str(file), *options], plugins=[plugin]):
        raise RuntimeError(f"{file.name} must pass on the unit as it is")


def prove_survivors(bench: str, records: list[Record]) -> None:
    """Look for a proof that a survivor is no change, and keep each at once: they take a while."""
    for place, record in enumerate(records):
        if record.netlist and not record.proof:
            proof = prove(netlist(record.netlist), record.mutant)
            records[place] = replace(record, proof=proof)
            write("rtl", bench, records)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rootshift.testbench.mutation.rtl")
    parser.add_argument("bench", nargs="*", help="units' names; all where none is given")
    parser.add_argument("--count", type=int, default=40, help="mutants per bench")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--proofs", action="store_true", help="look for proofs of survivors")
    arguments = parser.parse_args()
    names = arguments.bench or benches()
    for bench in names if arguments.count else ():
        run(bench, count=arguments.count, seed=arguments.seed)
    kept = read("rtl")
    for bench in names if arguments.proofs else ():
        prove_survivors(bench, kept.get(bench, []))
    report("rtl", sys.stdout)


if __name__ == "__main__":
    main()
