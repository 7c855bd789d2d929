"""`rootshift classify`: images through a board on a serial port."""

import argparse
import math
from typing import Any

from ..errors import ConfigError
from ..preprocessing import load_pixels
from .sources import place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--port", required=True, type=place, metavar="TTY")
    parser.add_argument("--image", required=True, type=place, metavar="FILE")
    parser.add_argument(
        "--baud", type=int, default=3_000_000, metavar="RATE", help="of the design, 3000000"
    )
    parser.add_argument(
        "--timeout", type=float, default=2.0, metavar="SECONDS", help="to wait for an answer, 2"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: model, array, label (class number), logits (integers), cycles, clock_mhz,
    milliseconds (of the run, without the serial line)."""
    from ..hw.driver.serial_board import SerialBoard

    if not 0 < options.timeout < math.inf:
        raise ConfigError(f"--timeout must be a positive number, not {options.timeout:g}")
    with SerialBoard(options.port, options.baud, options.timeout) as board:
        identity = board.identity
        found = board.classify(load_pixels(options.image, identity.preprocessing))
    return {
        "model": identity.model,
        "array": identity.array,
        "label": found.label,
        "logits": found.logits.tolist(),
        "cycles": found.cycles,
        "clock_mhz": identity.clock_hz / 1e6,
        "milliseconds": found.cycles / identity.clock_hz * 1e3,
    }


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    return (
        f"label {result['label']} by {result['model']} on a {result['array']} array: "
        f"{result['cycles']} cycles, {result['milliseconds']:.3f} ms at "
        f"{result['clock_mhz']:g} MHz"
    )
