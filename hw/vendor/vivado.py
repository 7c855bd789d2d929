"""What a Vivado project of the accelerator needs: the IP, and scripts that build it for a board."""

from typing import Any

from ...config import AcceleratorConfig
from ...errors import ConfigError
from ..top import Accelerator
from ..verilog import convert
from . import ip_xact, wrapper
from .boards import Board, find_board
from .scripts import board_script, constraints, out_of_context_script

SOURCES = (f"hdl/{wrapper.CORE}.v", f"hdl/{wrapper.MODULE}.v")
"""Verilog files below the IP's folder."""


def write_vivado(
    config: AcceleratorConfig, target: str, clock_mhz: float, *, verilog: str | None = None
) -> dict[str, bytes]:
    """Files by path: the IP below `ip/`, `board.tcl`, `out_of_context.tcl` and its constraints.

    Parameters: `target`, a name of `boards.BOARDS`; `clock_mhz` of the fabric; `verilog`, the
    accelerator's text as module `rootshift` where it is made already.
    Raises: ConfigError for another target or a clock that the board does not have.
    """
    board = find_board(target)
    clock = check_clock(board, clock_mhz)
    width = board.system.address_width
    if verilog is None:
        verilog = convert(Accelerator(config=config), wrapper.CORE)
    texts = {
        "ip/component.xml": ip_xact.component(config, width, SOURCES),
        f"ip/{ip_xact.XGUI}": ip_xact.xgui(),
        f"ip/{SOURCES[0]}": verilog,
        f"ip/{SOURCES[1]}": wrapper.verilog(config, width),
        "board.tcl": board_script(board, config, clock),
        "out_of_context.tcl": out_of_context_script(board, SOURCES),
        "out_of_context.xdc": constraints(clock),
    }
    return {name: text.encode() for name, text in texts.items()}


def check_clock(board: Board, clock_mhz: Any) -> float:
    """Return `clock_mhz` if the board's fabric can have it; raise ConfigError if not."""
    least, most = board.system.clock_mhz
    if isinstance(clock_mhz, bool) or not isinstance(clock_mhz, int | float):
        raise ConfigError(f"clock must be a number of MHz, not {clock_mhz!r}")
    if not least <= clock_mhz <= most:
        raise ConfigError(
            f"clock of {board.name} must be {least:g} to {most:g} MHz, not {clock_mhz:g}"
        )
    return float(clock_mhz)
