"""The page of licences: python -m rootshift.testbench.supply.licences > docs/licences.md"""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
PAGE = ROOT / "docs" / "licences.md"
NAMED = {
    "amaranth-boards": "BSD-2-Clause",
    "cocotb": "BSD-3-Clause",
    "cocotb-bus": "BSD-3-Clause",
}
"""Of packages that give the text in place of a name, or nothing."""
INTRO = """# Licences

Rootshift is under Apache-2.0 and holds no code of others. What it is installed with, as each package says of itself; `make licences` makes this page of the installed packages of `constraints.txt`.

| package | version | licence |
|---|---|---|
"""  # noqa: E501


def pinned() -> dict[str, str]:
    """Name -> version, of `constraints.txt`."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").split()
    return dict(line.split("==") for line in lines)


def licence(package: Distribution) -> str:
    """The first that there is: of `NAMED`, an expression of SPDX, classifiers, free text."""
    metadata = package.metadata
    if (name := metadata["Name"]) in NAMED:
        return NAMED[name]
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier") or []
    named = [each.split(" :: ")[-1] for each in classifiers if each.startswith("License :: ")]
    if named := [each for each in named if each != "OSI Approved"]:
        return " and ".join(named)
    return re.sub(r"\s+", " ", metadata.get("License") or "unknown")


def markdown() -> str:
    """The page."""
    rows = []
    for name, version in pinned().items():
        try:
            found = licence(distribution(name))
        except PackageNotFoundError:
            found = "not installed here"
        rows.append(f"| {name} | {version} | {found.replace('|', '/')} |\n")
    return INTRO + "".join(rows)


if __name__ == "__main__":
    print(markdown(), end="")
