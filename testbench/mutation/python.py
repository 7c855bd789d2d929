"""Mutants of Python: the golden model, and the compiler.

python -m rootshift.testbench.mutation.python [--tenths 1] [--seed 1] [PART ...]

They are made by mutmut in a copy of the packages, laid out as they are installed, so that nothing
in the repository changes.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .records import BUILD, ROOT, Record, write
from .table import report


@dataclass(frozen=True, kw_only=True)
class Part:
    """Sources, and the tests that must notice a change of them; patterns in the repository."""

    sources: str
    tests: tuple[str, ...]


PARTS = {
    "golden": Part(sources="sim/golden/*.py", tests=("testbench/sim/test_golden_*.py",)),
    "compiler": Part(
        sources="hw/compiler/*.py",
        tests=("testbench/hw/test_compiler*.py", "testbench/sim/test_machine.py"),
    ),
}
KILLED = ("killed", "timeout", "suspicious", "segfault")
CONFIG = """\
[tool.mutmut]
source_paths = ["rootshift"]
only_mutate = ["rootshift/{sources}"]
pytest_add_cli_args_test_selection = [{tests}]
pytest_add_cli_args = ["-p", "no:cacheprovider", "-m", "not slow"]
use_git_change_detection = false

[tool.pytest.ini_options]
addopts = "{options}"
markers = ["slow"]
"""


def lay_out(folder: Path, part: Part) -> None:
    """Copy the packages into `folder/rootshift`, and say there what mutmut is to do."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    ignore = shutil.ignore_patterns("__pycache__")
    inside = folder / "rootshift"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "rootshift", inside, ignore=ignore)
    tops = {Path(place).parts[0] for place in setup["setuptools"]["package-dir"].values()}
    for name in sorted((tops | {"docs"}) - {"rootshift"}):
        shutil.copytree(ROOT / name, inside / name, ignore=ignore)
    tests = [path.relative_to(ROOT) for each in part.tests for path in sorted(ROOT.glob(each))]
    (folder / "pyproject.toml").write_text(
        CONFIG.format(
            sources=part.sources,
            tests=", ".join(f'"rootshift/{test}"' for test in tests),
            options=setup["pytest"]["ini_options"]["addopts"],
        )
    )


def run(name: str, *, tenths: int, seed: int) -> list[Record]:
    """Run the tests of a part on a sample of its mutants, and keep what came of it.

    Parameters
    ----------
    name : str
        A key of `PARTS`.
    tenths : int
        How many tenths of all mutants.
    seed : int
        Of the choice: mutants of a function are numbered, and last digits are drawn.
    """
    folder = BUILD / "tree" / name
    lay_out(folder, PARTS[name])
    digits = random.Random(seed).sample(range(10), tenths)
    subprocess.run(
        [*_mutmut("run", "--max-children", "1"), f"*__mutmut_*[{''.join(map(str, digits))}]"],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    records = [
        Record(
            test="",
            mutant=mutant if status in KILLED else f"{mutant}\n{_difference(folder, mutant)}",
            killed=status in KILLED,
        )
        for mutant, status in re.findall(
            r"^\s*(\S+): (.+)$", _said(folder, "results", "--all", "true"), re.M
        )
        if status not in ("not checked", "skipped")
    ]
    write("python", name, records)
    return records


def _difference(folder: Path, mutant: str) -> str:
    return "\n".join(
        line
        for line in _said(folder, "show", mutant).splitlines()
        if re.match(r"[-+](?![-+])", line)
    )


def _said(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        _mutmut(*arguments), cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def _mutmut(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mutmut", *arguments]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rootshift.testbench.mutation.python")
    parser.add_argument("part", nargs="*", help="golden or compiler; both where none is given")
    parser.add_argument("--tenths", type=int, default=1, help="of all mutants, 1 to 10")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in arguments.part or PARTS:
        run(name, tenths=arguments.tenths, seed=arguments.seed)
    report("python", sys.stdout)


if __name__ == "__main__":
    main()
