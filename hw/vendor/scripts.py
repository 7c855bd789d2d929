"""Tcl scripts for Vivado: a whole bitstream for a board, and the core alone out of context.

None of them has been run in Vivado by those who wrote them: the tests run them under `tclsh` with
Vivado's commands replaced by recorders, which holds names and files against each other, no more.
"""

from collections.abc import Sequence

from ...config import AcceleratorConfig
from ...csr import ADDRESS_WIDTH
from ...targets import TARGETS
from .boards import Board
from .ip_xact import BLOCK, VLNV
from .wrapper import CLOCK, CONTROL, INTERRUPT, MEMORY, MODULE, RESET

CELL = "rootshift_0"
"""Name of the accelerator in the block design, and of the attribute of a PYNQ overlay."""

_NOT_RUN = """\
# Written for Vivado 2020.2 and later. It was NOT run in Vivado: at hand was only tclsh, with
# Vivado's commands replaced by recorders. Please report what has to be changed.
"""

_BOARD = """\
# A bitstream with one Rootshift accelerator for {title}. Generated.
#
#     vivado -mode batch -source board.tcl [-tclargs CLOCK_MHZ [JOBS]]
#
# makes, in the folder build beside this file, rootshift.bit and rootshift.hwh for PYNQ,
# rootshift.xsa for Vitis, utilization.rpt and timing.rpt.
{not_run}
set here [file dirname [file normalize [info script]]]
set clock_mhz {clock_mhz:g}
set jobs 4
if {{[info exists argv] && [llength $argv] > 0}} {{ set clock_mhz [lindex $argv 0] }}
if {{[info exists argv] && [llength $argv] > 1}} {{ set jobs [lindex $argv 1] }}
if {{![string is double -strict $clock_mhz] || $clock_mhz < {least:g} || $clock_mhz > {most:g}}} {{
    error "clock must be {least:g} to {most:g} MHz, not $clock_mhz"
}}
set build [file join $here build]
set project [file join $build project]

create_project rootshift $project -part {part} -force
# The preset of the board sets its memory and clocks.
set board [lindex [get_board_parts -quiet -latest_file_version {files}:*] 0]
if {{$board eq ""}} {{
    error "board files {files} must be installed: Vivado's store has them (Tools, Vivado Store)"
}}
set_property board_part $board [current_project]
set_property ip_repo_paths [file join $here ip] [current_project]
update_ip_catalog

create_bd_design system
create_bd_cell -type ip -vlnv {ip} ps
apply_bd_automation -rule {rule} -config {{{rule_config}}} [get_bd_cells ps]
set_property -dict [list \\
{properties}
] [get_bd_cells ps]
create_bd_cell -type ip -vlnv {vlnv} {cell}
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
foreach name {{control memory}} {{
    create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] [get_bd_cells $name]
}}

foreach pin {{{clocks}}} {{
    connect_bd_net [get_bd_pins ps/{clock}] [get_bd_pins $pin]
}}
connect_bd_net [get_bd_pins ps/{reset}] [get_bd_pins reset/ext_reset_in]
foreach pin {{{resets}}} {{
    connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
}}
connect_bd_intf_net [get_bd_intf_pins ps/{control}] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins {cell}/{s_axi}]
connect_bd_intf_net [get_bd_intf_pins {cell}/{m_axi}] [get_bd_intf_pins memory/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins ps/{memory}]
connect_bd_net [get_bd_pins {cell}/{interrupt}] [get_bd_pins ps/{ps_interrupt}]

assign_bd_address -offset {registers:#010x} -range {size} \\
    -target_address_space [get_bd_addr_spaces ps/Data] \\
    [get_bd_addr_segs {cell}/{s_axi}/{block}]
foreach segment {{{segments}}} {{
    assign_bd_address -target_address_space [get_bd_addr_spaces {cell}/{m_axi}] \\
        [get_bd_addr_segs $segment]
}}
foreach segment {{{excluded}}} {{
    exclude_bd_addr_seg -target_address_space [get_bd_addr_spaces {cell}/{m_axi}] \\
        [get_bd_addr_segs $segment]
}}
validate_bd_design
save_bd_design

set design [get_files system.bd]
add_files -norecurse [make_wrapper -files $design -top]
set_property top system_wrapper [current_fileset]
generate_target all $design
launch_runs synth_1 -jobs $jobs
wait_on_run synth_1
launch_runs impl_1 -to_step write_bitstream -jobs $jobs
wait_on_run impl_1
if {{[get_property PROGRESS [get_runs impl_1]] ne "100%"}} {{
    error "implementation has failed: see [file join $project rootshift.runs impl_1 runme.log]"
}}

open_run impl_1
report_utilization -hierarchical -file [file join $build utilization.rpt]
report_timing_summary -file [file join $build timing.rpt]
set slack [get_property SLACK [get_timing_paths -delay_type max]]
write_hw_platform -fixed -include_bit -force -file [file join $build rootshift.xsa]
file copy -force [file join $project rootshift.runs impl_1 system_wrapper.bit] \\
    [file join $build rootshift.bit]
# Beside the sources up to 2020.1, beside what is generated from them since.
set handoff [glob -directory $project rootshift.*/sources_1/bd/system/hw_handoff/system.hwh]
file copy -force [lindex $handoff 0] [file join $build rootshift.hwh]
puts "rootshift: worst setup slack $slack ns at $clock_mhz MHz"
if {{$slack < 0}} {{ error "timing is not met: choose a slower clock" }}
"""

_ALONE = """\
# The accelerator alone, synthesized and implemented out of context for {title}. Generated.
#
#     vivado -mode batch -source out_of_context.tcl
#
# makes, in the folder out_of_context beside this file, utilization.rpt, timing.rpt and
# rootshift.dcp. The clock is that of out_of_context.xdc.
{not_run}
set here [file dirname [file normalize [info script]]]
set build [file join $here out_of_context]
file mkdir $build
foreach source {{{sources}}} {{
    read_verilog [file join $here ip $source]
}}
read_xdc -mode out_of_context [file join $here out_of_context.xdc]
synth_design -mode out_of_context -top {module} -part {part}
opt_design
place_design
phys_opt_design
route_design
report_utilization -hierarchical -file [file join $build utilization.rpt]
report_timing_summary -file [file join $build timing.rpt]
write_checkpoint -force [file join $build rootshift.dcp]
puts "rootshift: worst setup slack [get_property SLACK [get_timing_paths -delay_type max]] ns"
"""


def board_script(board: Board, config: AcceleratorConfig, clock_mhz: float) -> str:
    """The text of `board.tcl`: project, block design, bitstream, reports, hand-over files."""
    system = board.system
    # A bus that is wider than the port goes through a converter of the SmartConnect.
    width = max(width for width in system.data_widths if width <= config.bus_width)
    properties = [
        f"    CONFIG.{name} {value.format(clock_mhz='$clock_mhz', data_width=width)} \\"
        for name, value in system.properties
    ]
    cells = (f"{CELL}/{CLOCK}", "reset/slowest_sync_clk", "control/aclk", "memory/aclk")
    return _BOARD.format(
        title=TARGETS[board.name].board,
        not_run=_NOT_RUN,
        clock_mhz=clock_mhz,
        least=system.clock_mhz[0],
        most=system.clock_mhz[1],
        part=board.part,
        files=board.files,
        ip=system.ip,
        rule=system.automation[0],
        rule_config=system.automation[1],
        properties="\n".join(properties),
        vlnv=VLNV,
        cell=CELL,
        clocks=" ".join([*(f"ps/{pin}" for pin in system.clocks), *cells]),
        clock=system.clock,
        reset=system.reset,
        resets=" ".join((f"{CELL}/{RESET}", "control/aresetn", "memory/aresetn")),
        control=system.control,
        memory=system.memory,
        s_axi=CONTROL,
        m_axi=MEMORY,
        interrupt=INTERRUPT,
        ps_interrupt=system.interrupt,
        registers=system.registers,
        size=1 << ADDRESS_WIDTH,
        block=BLOCK,
        segments=" ".join(f"ps/{segment}" for segment in system.segments),
        excluded=" ".join(f"ps/{segment}" for segment in system.excluded),
    )


def out_of_context_script(board: Board, sources: Sequence[str]) -> str:
    """The text of `out_of_context.tcl`; `sources` are paths below the IP's folder."""
    return _ALONE.format(
        title=TARGETS[board.name].board,
        not_run=_NOT_RUN,
        sources=" ".join(sources),
        module=MODULE,
        part=board.part,
    )


def constraints(clock_mhz: float) -> str:
    """The text of `out_of_context.xdc`: one clock."""
    return (
        f"# {clock_mhz:g} MHz. Generated.\n"
        f"create_clock -name {CLOCK} -period {1000 / clock_mhz:.3f} [get_ports {CLOCK}]\n"
    )
