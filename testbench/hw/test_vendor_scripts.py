"""The scripts for Vivado name what there is, under tclsh, with recorders for Vivado's commands.

Vivado itself is not at hand: what it says to the commands is not tested.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootshift import csr
from rootshift.hw.vendor.boards import BOARDS
from rootshift.hw.vendor.ip_xact import VLNV
from rootshift.hw.vendor.scripts import CELL
from rootshift.targets import TARGETS

from .vendor_files import CLOCK_MHZ, CONFIG, Written, text, write


@pytest.fixture(scope="module", params=BOARDS)
def written(request: pytest.FixtureRequest) -> Written:
    """All files for a board."""
    return write(request.param)


STUBS = """
set recorded [open {log} w]
proc record {{args}} {{ puts $::recorded [join $args \\x1f]; flush $::recorded }}
foreach command {{create_project set_property update_ip_catalog create_bd_design create_bd_cell
    apply_bd_automation connect_bd_net connect_bd_intf_net assign_bd_address exclude_bd_addr_seg
    validate_bd_design save_bd_design add_files generate_target launch_runs wait_on_run open_run
    report_utilization report_timing_summary write_hw_platform read_verilog read_xdc synth_design
    opt_design place_design phys_opt_design route_design write_checkpoint create_clock}} {{
    proc $command {{args}} "record $command {{*}}\\$args; done $command {{*}}\\$args"
}}
foreach command {{get_bd_pins get_bd_intf_pins get_bd_cells get_bd_addr_spaces get_bd_addr_segs
    get_files get_runs get_ports current_project current_fileset get_timing_paths}} {{
    proc $command {{args}} "record $command {{*}}\\$args; return $command:\\[lindex \\$args end]"
}}
proc get_board_parts {{args}} {{ return {{{boards}}} }}
proc get_property {{name object}} {{
    return [dict get {{PROGRESS {progress} SLACK {slack}}} $name]
}}
proc make_wrapper {{args}} {{ record make_wrapper {{*}}$args; return system_wrapper.v }}
proc done {{command args}} {{
    if {{$command ne "launch_runs" || [lindex $args 0] ne "impl_1"}} {{ return }}
    foreach path {{rootshift.runs/impl_1/system_wrapper.bit
        rootshift.gen/sources_1/bd/system/hw_handoff/system.hwh}} {{
        set path [file join $::project $path]
        file mkdir [file dirname $path]
        close [open $path w]
    }}
}}
set argv [list {arguments}]
source {script}
"""


@dataclass(frozen=True)
class Ran:
    """A script that has run: exit code, messages, and the Vivado commands that it gave."""

    code: int
    said: str
    commands: list[list[str]]
    folder: Path

    def named(self, name: str) -> list[list[str]]:
        """Arguments of every call of a command."""
        return [command[1:] for command in self.commands if command[0] == name]


def play(written: Written, folder: Path, script: str, arguments: str = "", **state: str) -> Ran:
    """Run one of the scripts with recorders for Vivado's commands."""
    if shutil.which("tclsh") is None:
        pytest.skip("no tclsh on PATH")
    for name, content in written.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    log = folder / "commands.log"
    facts = {"boards": "the:board", "progress": "100%", "slack": "0.25"} | state
    stubs = STUBS.format(log=log, script=folder / script, arguments=arguments, **facts)
    (folder / "stubs.tcl").write_text(stubs)
    done = subprocess.run(
        ["tclsh", folder / "stubs.tcl"], capture_output=True, text=True, check=False, cwd=folder
    )
    commands = [line.split("\x1f") for line in log.read_text().splitlines()]
    return Ran(done.returncode, done.stdout + done.stderr, commands, folder)


def test_the_board_script_connects_all_there_is_and_nothing_else(
    written: Written, tmp_path: Path
) -> None:
    ran = play(written, tmp_path, "board.tcl")
    assert (ran.code, ran.said) == (0, f"rootshift: worst setup slack 0.25 ns at {75} MHz\n")
    assert ["-type", "ip", "-vlnv", VLNV, CELL] in ran.named("create_bd_cell")
    pins, buses = set(), set()
    for net in ran.named("connect_bd_net"):
        pins |= {pin.partition(":")[2] for pin in net}
        assert len(net) == 2
    for net in ran.named("connect_bd_intf_net"):
        buses |= {bus.partition(":")[2] for bus in net}
    ours = written.interfaces()
    prefix = f"{CELL}/"
    assert {b.removeprefix(prefix) for b in buses if b.startswith(prefix)} == {"s_axi", "m_axi"}
    assert (
        {p.removeprefix(prefix) for p in pins if p.startswith(prefix)}
        == {
            "aclk",
            "aresetn",
            "interrupt",
        }
        == {name for name, ports in ours.items() if len(ports) == 1}
    )
    cells = {arguments[-1] for arguments in ran.named("create_bd_cell")}
    assert {name.partition("/")[0] for name in pins | buses} == cells


def test_the_board_script_maps_registers_and_memory(written: Written, tmp_path: Path) -> None:
    ran = play(written, tmp_path, "board.tcl")
    registers, *memory = ran.named("assign_bd_address")
    block = text(written.xml, "memoryMaps/memoryMap/addressBlock/name")
    assert registers[-1] == f"get_bd_addr_segs:{CELL}/s_axi/{block}"
    options = dict(zip(registers[:-1:2], registers[1:-1:2], strict=True))
    assert int(options["-range"]) == 1 << csr.ADDRESS_WIDTH
    assert int(options["-offset"], 16) % (1 << csr.ADDRESS_WIDTH) == 0
    assert memory
    assert all(f"get_bd_addr_spaces:{CELL}/m_axi" in assigned for assigned in memory)


def test_the_board_script_hands_over_what_pynq_needs(written: Written, tmp_path: Path) -> None:
    ran = play(written, tmp_path, "board.tcl", "66.5 2")
    made = {path.name for path in (ran.folder / "build").iterdir() if path.is_file()}
    assert made == {"rootshift.bit", "rootshift.hwh"}
    asked = [arguments[-1] for arguments in ran.named("write_hw_platform")]
    assert [Path(path).name for path in asked] == ["rootshift.xsa"]
    part = BOARDS[written.target].part
    assert ran.named("create_project")[0][-3:] == ["-part", part, "-force"]
    assert ["impl_1", "-to_step", "write_bitstream", "-jobs", "2"] in ran.named("launch_runs")
    (settings,) = [s[1] for s in ran.named("set_property") if "FREQMHZ" in s[1]]
    assert re.search(r"FREQMHZ 66\.5\b", settings)
    assert re.search(rf"DATA_WIDTH {CONFIG.bus_width}\b", settings)
    (repository,) = [s[1] for s in ran.named("set_property") if s[0] == "ip_repo_paths"]
    assert (Path(repository) / "component.xml").is_file()


@pytest.mark.parametrize(
    ("arguments", "state", "message"),
    [
        ("fast", {}, "clock must be 1 to "),
        ("0", {}, "clock must be 1 to "),
        ("999", {}, "MHz, not 999"),
        ("", {"boards": ""}, "must be installed"),
        ("", {"progress": "60%"}, "implementation has failed"),
        ("", {"slack": "-0.1"}, "timing is not met"),
    ],
)
def test_the_board_script_says_what_is_wrong(
    written: Written, tmp_path: Path, arguments: str, state: dict[str, str], message: str
) -> None:
    ran = play(written, tmp_path, "board.tcl", arguments, **state)
    assert ran.code == 1
    assert message in ran.said


def test_the_core_alone_is_built_from_the_ip_s_files(written: Written, tmp_path: Path) -> None:
    ran = play(written, tmp_path, "out_of_context.tcl")
    assert (ran.code, ran.said) == (0, "rootshift: worst setup slack 0.25 ns\n")
    read = [Path(path) for (path,) in ran.named("read_verilog")]
    assert all(path.is_file() for path in read)
    modules = "".join(path.read_text() for path in read)
    (synthesis,) = ran.named("synth_design")
    assert f"module {synthesis[synthesis.index('-top') + 1]} " in modules
    assert BOARDS[written.target].part in synthesis
    (constraints,) = ran.named("read_xdc")
    clock = play(written, tmp_path, Path(constraints[-1]).name)
    (created,) = clock.named("create_clock")
    assert created[-1].partition(":")[2] in written.interfaces()["aclk"].values()
    assert float(created[created.index("-period") + 1]) == pytest.approx(1000 / CLOCK_MHZ, abs=1e-3)


def test_parts_and_titles_are_the_targets(written: Written) -> None:
    goal = TARGETS[written.target]
    assert BOARDS[written.target].part.startswith(goal.part.lower())
    for name in ("board.tcl", "out_of_context.tcl"):
        assert f" for {goal.board}. Generated." in written.files[name].decode()


def test_scripts_say_that_nobody_has_run_them(written: Written) -> None:
    for name in ("board.tcl", "out_of_context.tcl"):
        assert b"NOT run in Vivado" in written.files[name]
