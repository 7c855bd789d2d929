"""The house rules: who may import whom, what a file must have, and one name per operator."""

import ast
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootshift.operators import KINDS
from rootshift.sim.golden.model import FUNCTIONS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("rootshift", "quant", "hw", "sim", "testbench")
LINES_MAX = 450

PYTHON_FILES = sorted(
    path.relative_to(ROOT).as_posix() for top in SOURCES for path in (ROOT / top).rglob("*.py")
)
PRODUCT = [name for name in PYTHON_FILES if not name.startswith("testbench/")]

ALLOWED = {
    "contract": {"contract", "numpy", "safetensors"},
    "quant": {
        "contract",
        "quant",
        "numpy",
        "onnx",
        "torch",
        "timm",
        "sklearn",
        "PIL",
        "safetensors",
        "tqdm",
    },
    "hw": {"contract", "hw", "numpy", "amaranth"},
    "sim": {"contract", "sim", "numpy"},
    "explore": {"contract", "sim", "explore", "numpy"},
    "cli": {"contract", "cli", "sim", "explore", "numpy", "tqdm"},
}
"""Layer -> layers and libraries it may import beside the standard library."""

INSIDE_FUNCTIONS = {
    "contract": {"PIL"},
    "hw": {"amaranth_boards"},
    "sim": {"hw", "scipy"},
    "explore": {"quant", "hw", "optuna", "pyarrow", "ray"},
    "cli": {"quant", "hw", "torch"},
}
"""The same for imports inside a function, which cost nothing until it is called."""


def layer_of(module: str) -> str:
    """Layer of a dotted module name: `rootshift.quant.fake` is in quant, `rootshift.bits` not."""
    top, *parts = module.split(".")
    if top != "rootshift":
        return top
    if parts[:2] == ["sim", "explore"]:
        return "explore"
    return parts[0] if parts and parts[0] in (*ALLOWED, "testbench") else "contract"


def module_name(path: str) -> str:
    """Dotted name under which a file of the repository is installed."""
    parts = Path(path).with_suffix("").parts
    parts = parts if parts[0] == "rootshift" else ("rootshift", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: str) -> list[str]:
    """Package that relative imports of a file start from."""
    parts = module_name(path).split(".")
    return parts if path.endswith("__init__.py") else parts[:-1]


def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)


def imports(path: str) -> Iterator[tuple[str, bool]]:
    """Absolute name of everything that a file imports, and whether inside a function."""
    package = package_of(path)

    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level <= len(package), f"{path}:{child.lineno} leaves the package"
                base = package[: len(package) - child.level + 1] if child.level else []
                target = ".".join([*base, *([child.module] if child.module else [])])
                # `from . import x` may name a module.
                yield from ((f"{target}.{alias.name}", lazy) for alias in child.names)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
                yield from visit(child, lazy or function or typing_only)

    return visit(parsed(path), False)


def forbidden(path: str) -> list[str]:
    """Imports of a file that the rules do not allow."""
    layer = layer_of(module_name(path))
    found = []
    for name, lazy in imports(path):
        target = layer_of(name)
        allowed = ALLOWED[layer] | (INSIDE_FUNCTIONS.get(layer, set()) if lazy else set())
        if target not in allowed and target not in sys.stdlib_module_names:
            found.append(f"{name}{' (inside a function)' if lazy else ''}")
    return found


@pytest.mark.parametrize("path", PRODUCT)
def test_imports_go_one_way(path: str) -> None:
    assert not forbidden(path)


def test_the_rule_sees_a_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a mistake in the rule would pass for a clean house."""
    cases = {
        "rootshift/a.py": ("import torch", "from .quant import x", "from PIL import Image"),
        "quant/a.py": ("import amaranth.hdl", "from ..hw.units import units", "from .. import hw"),
        "hw/a.py": ("from torch import nn", "from ..sim import vectors", "import rootshift.quant"),
        "sim/explore/a.py": ("import optuna", "from ...quant.quantize import quantize"),
        "sim/golden/a.py": ("from ...hw import x", "import torch", "from ...cli.main import main"),
        "rootshift/cli/a.py": ("import torch", "from ..quant.fake import FakeModel"),
    }
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for path, lines in cases.items():
        for line in lines:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(f"import json\nimport numpy as np\n{line}\n")
            assert len(forbidden(path)) == 1, (path, line, forbidden(path))
    (tmp_path / "sim/a.py").write_text("def rtl():\n    from ..hw.units import units\n")
    assert not forbidden("sim/a.py")


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("torch", ("quant/", "testbench/", "rootshift/cli/evaluate.py")),
        ("timm", ("quant/", "testbench/")),
        ("onnx", ("quant/onnx/", "testbench/")),
        ("amaranth", ("hw/", "testbench/")),
        ("optuna", ("sim/explore/", "testbench/explore/")),
        ("pyarrow", ("sim/explore/", "testbench/explore/")),
        ("scipy", ("sim/area/", "testbench/")),
        ("ray", ("sim/explore/ray_engine.py", "testbench/explore/")),
        ("cocotb", ("testbench/hw/",)),
    ],
)
def test_a_library_has_its_homes(library: str, homes: tuple[str, ...]) -> None:
    users = {p for p in PYTHON_FILES if any(layer_of(name) == library for name, _ in imports(p))}
    assert users
    assert not {path for path in users if not path.startswith(homes)}


def test_nobody_imports_the_command_line() -> None:
    """But the tests of it."""
    users = {path for path in PRODUCT if any(layer_of(name) == "cli" for name, _ in imports(path))}
    assert not {path for path in users if not path.startswith("rootshift/cli/")}


def test_every_package_is_installed() -> None:
    """What is left out of pyproject works here and is missing from the wheel."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tools = setup["tool"]["setuptools"]
    listed = {name: tools["package-dir"].get(name) for name in tools["packages"]}
    folders = {str(Path(path).parent) for path in PRODUCT}
    assert {module_name(f"{folder}/__init__.py") for folder in folders} <= listed.keys()
    for name, folder in listed.items():
        if folder is None:  # below the folder of its parent
            parent, _, last = name.rpartition(".")
            folder = f"{tools['package-dir'][parent]}/{last}"
        assert (ROOT / folder).is_dir(), name
        assert module_name(f"{folder}/__init__.py") == name


def test_the_product_imports_nothing_of_the_benches() -> None:
    used = {layer_of(name) for path in PRODUCT for name, _ in imports(path)}
    assert "testbench" not in used


def test_every_library_is_a_dependency() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = {
        "PIL": "pillow",
        "amaranth_boards": "amaranth-boards",
        "sklearn": "scikit-learn",
    }
    extras = setup["optional-dependencies"]
    optional = [*extras["onnx"], *extras["cluster"], *extras["synthesis"]]
    listed = {re.match(r"[\w-]+", item)[0] for item in [*setup["dependencies"], *optional]}
    used = {layer_of(name) for path in PRODUCT for name, _ in imports(path)}
    libraries = used - sys.stdlib_module_names - {*ALLOWED, "testbench"}
    assert {distributions.get(name, name) for name in libraries} <= listed


@pytest.mark.parametrize("path", PYTHON_FILES)
def test_a_file_is_short(path: str) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX


@pytest.mark.parametrize("path", PYTHON_FILES)
def test_no_path_of_this_machine_is_written_down(path: str) -> None:
    home = str(ROOT)
    assert home not in (ROOT / path).read_text(encoding="utf-8")


def undocumented(path: str) -> Iterator[str]:
    """Public modules, classes, functions and methods of a file that say nothing about themselves.

    A method that overrides a documented one inherits what it says.
    """
    tree = parsed(path)
    if tree.body and not ast.get_docstring(tree):
        yield "module"
    module = importlib.import_module(module_name(path))
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            public = isinstance(part, ast.FunctionDef) and not part.name.startswith("_")
            if public and not ast.get_docstring(part) and part.name != "elaborate":
                owner = getattr(module, node.name)
                if not inspect.getdoc(inspect.getattr_static(owner, part.name)) and not any(
                    inspect.getdoc(vars(base).get(part.name))
                    for base in owner.__mro__[1:-1]
                    if part.name in vars(base)
                ):
                    yield f"{node.name}.{part.name}"


@pytest.mark.parametrize("path", PRODUCT)
def test_what_is_public_is_documented(path: str) -> None:
    assert not list(undocumented(path))


@pytest.mark.parametrize("path", [p for p in PYTHON_FILES if p.startswith("testbench/")])
def test_a_bench_says_what_it_proves(path: str) -> None:
    tree = parsed(path)
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("kind", KINDS)
class TestAnOperatorHasOneName:
    """The same word in the contract, golden, the fake level, the hardware and the docs."""

    def test_golden_function(self, kind: str) -> None:
        assert FUNCTIONS[kind].__name__ == kind
        assert set(FUNCTIONS) == set(KINDS)

    def test_numerics_page(self, kind: str) -> None:
        page = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")
        assert re.search(rf"^## {kind}$|\*{kind}\*|`{kind}`", page, re.M)

    def test_fake_level(self, kind: str) -> None:
        tree = parsed("quant/fake.py")
        handled = {
            case.pattern.cls.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Match)
            for case in node.cases
            if isinstance(case.pattern, ast.MatchClass)
        }
        assert KINDS[kind].__name__ in handled

    def test_bench_of_golden(self, kind: str) -> None:
        benches = (ROOT / "testbench" / "sim").glob("test_golden_*.py")
        assert any(re.search(rf"\b{kind}\b", path.read_text(encoding="utf-8")) for path in benches)
