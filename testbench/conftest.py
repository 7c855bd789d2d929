"""Fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from amaranth.hdl import Elaboratable

from rootshift.sim.native.toolchain import CACHE_VARIABLE

# Tests make units that are never elaborated, such as those whose constructor raises. Amaranth warns
# when they are collected, too late for pytest's filters, and its own switch is one line per file.
Elaboratable._MustUse__silence = True

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _builds_in_the_checkout() -> Iterator[None]:
    """Designs that tests build lie in `build/rtl`, where `make clean` finds them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(ROOT / "build" / "rtl"))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real weights, real images and reference results; skips where it is absent."""
    if not (SHARED / "data" / "deit_tiny").is_dir():
        pytest.skip(f"real data not found in {SHARED.name}/data beside the checkout")
    return SHARED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What this session's inferences on RTL were held against, whichever process ran them."""
    counts = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == "accelerator"
    ]
    if counts:
        values, runs, commands = (
            sum(each[key] for each in counts) for key in ("compared", "modelled", "commands")
        )
        worst = max(each["worst"] for each in counts)
        terminalreporter.write_line(
            f"RTL of the accelerator: {values:,} values equal golden; cycle model: {runs:,} runs, "
            f"{commands:,} commands, worst difference {worst:,}"
        )
