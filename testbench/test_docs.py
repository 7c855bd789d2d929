"""What the documents tell a reader to type works."""

import re
import shlex
from pathlib import Path

import pytest

from rootshift.cli.main import COMMANDS, build_parser
from rootshift.hw import reference
from rootshift.sim.explore import Space

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^ {4}rootshift (.+)$", re.MULTILINE)
SPACE = re.compile(r"^```toml\n(.*?^\[objectives\]\n.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def text(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if PYTHON.search(text(page))])
def test_python_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, example in enumerate(PYTHON.findall(text(page))):
        exec(compile(example, f"{page}, example {number}", "exec"), {})


@pytest.mark.parametrize(
    "line", sorted({line for page in PAGES for line in COMMAND.findall(text(page))})
)
def test_commands_have_these_arguments(line: str) -> None:
    words = shlex.split(line.split("  #")[0])
    assert words[0] in COMMANDS
    build_parser(words[0]).parse_args(words)


@pytest.mark.parametrize("page", [page for page in PAGES if SPACE.search(text(page))])
def test_spaces_can_be_explored(page: str) -> None:
    """Their files apart, which a reader has."""
    for example in SPACE.findall(text(page)):
        assert Space.parse(example, check_files=False).size > 1


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in LINK.findall(text(page)):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_the_page_of_units_is_made_from_their_documentation() -> None:
    assert text("docs/units.md") == reference.markdown()
