"""The machinery: the unit as it is passes, a mutant fails, and proofs tell one from the other."""

import re
from pathlib import Path

import pytest

from rootshift.hw.residual_add import ResidualAdd
from rootshift.testbench.hw import bench, compared, test_residual_add
from rootshift.testbench.mutation.constants import sets_what_is
from rootshift.testbench.mutation.equivalence import PROOF, prove
from rootshift.testbench.mutation.mutants import Mutant, Mutants
from rootshift.testbench.mutation.plugin import Simulators, Survey, fails
from rootshift.testbench.mutation.records import Reasons, Record
from rootshift.testbench.mutation.rtl import run_bench
from rootshift.testbench.mutation.table import survivors, table

SILENT = "-mode const0 -port Q -wire stage_valid"
"""A mutant that loses beats."""


def test_the_unit_passes_and_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    simulators = Simulators(1, 1, SILENT)
    monkeypatch.setattr(bench, "command", simulators.command)
    monkeypatch.setattr(compared, "record", lambda *_: None)
    test = test_residual_add.test_sums_equal_golden
    arguments = {"lanes": 1, "monkeypatch": monkeypatch}
    test(**arguments)
    simulators.choose(1)
    assert fails(test, arguments)
    simulators.choose(0)
    assert not fails(test, arguments)
    ((mutant,),) = (built.mutants for built in simulators.built)
    assert "hw/pipeline.py" in mutant.command


def test_a_survey_measures_the_unit_of_each_test_that_simulates() -> None:
    survey = Survey()
    run_bench("residual_add", survey)
    bits = {re.search(r"\[(\d+)\]", test)[1]: size for test, size in survey.bits.items()}
    assert sorted(bits, key=bits.__getitem__) == sorted(bits, key=int)
    assert len(bits) > 1


def test_a_proof_is_found_for_what_changes_nothing_alone() -> None:
    mutants = Mutants.of(ResidualAdd(lanes=1), count=1, seed=1, only=SILENT)
    assert prove(mutants.netlist, mutants.mutants[0].command) == ""
    assert prove(mutants.netlist, "mutate -mode none") == PROOF


@pytest.mark.parametrize(
    ("mode", "cell", "port", "bit", "alike"),
    [
        ("const1", "$1", "B", 0, True),
        ("const0", "$1", "B", 0, False),
        ("const0", "$1", "B", 2, True),
        ("const0", "$1", "A", 0, False),
        ("const0", "$1", "A", 1, True),
        ("const1", "$1", "A", 2, False),
        ("const1", "$1", "A", 5, True),
        ("inv", "$1", "B", 0, False),
        ("const1", "$1", "B", 3, True),
        ("const1", "$1", "B", 5, True),
        ("const0", "$1", "B", 3, True),
        ("inv", "$1", "B", 3, False),
        ("const1", "sum", "Y", 0, False),
        ("const1", "$2", "S", 0, True),
        ("const0", "$2", "S", 0, False),
    ],
)
def test_a_bit_that_is_set_to_what_it_is(
    mode: str, cell: str, port: str, bit: int, alike: bool
) -> None:
    netlist = (
        'module \\top\n  wire width 4 $x\n  attribute \\src "y"\n  wire \\y\n'
        "  cell $add $1\n    parameter \\A_SIGNED 0\n    connect \\A { 1'1 $x [3:1] 1'0 \\y }\n"
        "    connect \\B 6'x001\n    connect \\Y $x\n  end\n"
        "  cell $mux $2\n    connect \\A 4'x\n    connect \\B $x\n    connect \\S \\y\n  end\n"
        "  cell $not \\sum\n    connect \\A \\y\n    connect \\Y $x [0]\n  end\nend\n"
    )
    mutant = f"mutate -mode {mode} -module top -cell {cell} -port {port} -portbit {bit} -src a"
    assert sets_what_is(netlist, mutant) == alike


def test_a_mutant_is_chosen_by_its_number() -> None:
    mutant = Mutant(number=7, command="mutate -mode inv -module X -cell $1 -port Y -portbit 0")
    assert mutant.chosen.startswith("mutate -ctrl mutant 16 7 -mode inv -module X")


def test_explained_mutants_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "reasons").write_text(
        '[[equivalent]]\nbench = "a"\nmutant = "portbit 3"\nreason = "the bit is never read"\n'
    )
    reasons = Reasons(tmp_path / "reasons")
    records = {
        "a": [
            Record(test="t", mutant="-portbit 1", killed=True),
            Record(test="t", mutant="-portbit 2", killed=False),
            Record(test="t", mutant="-portbit 3", killed=False),
            Record(test="t", mutant="-portbit 4", killed=False, proof=PROOF),
        ]
    }
    assert table(records, reasons)[2:] == [
        "| a | 4 | 1 | 2 | 1 | 50.0 % |",
        "| all | 4 | 1 | 2 | 1 | 50.0 % |",
    ]
    assert survivors(records, reasons) == ["a t: -portbit 2"]
