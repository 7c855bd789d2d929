"""`rootshift`: one sub-command a module, one way to report results and errors."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .. import __version__
from ..errors import RootshiftError

COMMANDS = {
    "demo": "the whole flow on the embedded model",
    "quantize": "calibrate a pretrained ViT and export it as integers",
    "compare": "accuracy of every method of quantization on the same images",
    "sensitivity": "the error of each quantizer, and bits for a budget",
    "evaluate": "accuracy of an artifact at float, fake or integer level",
    "generate": "Verilog, program, C driver and test vectors",
    "simulate": "run one image through an engine",
    "classify": "one image through a board on a serial port",
    "synthesize": "the accelerator on an FPGA, by open tools",
    "targets": "FPGAs and boards, and what fits there",
    "explore": "accuracy, cycles and area of a space of designs",
    "export": "an artifact as an ONNX model",
}
"""Command -> what it does; the module of the same name has `add_arguments`, `run` and `render`."""

DIFFERENCES = ("mismatches", "cycles_apart")
"""Figures of a result that are 0, or null, where a comparison has found no difference."""
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 128 + 2
EXIT_BROKEN_PIPE = 128 + 13


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as any other bad input: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print `message` on standard error and leave."""
        line = one_line(f"{self.prog}: {message} (see {self.prog} --help)")
        self.exit(EXIT_BAD_INPUT, f"{line}\n")


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; only the arguments of `command` are filled in, so that help starts fast."""
    parser = Parser(
        prog="rootshift",
        description="Vision transformers quantized with RepQ-ViT, integer for integer, on RTL.",
    )
    parser.add_argument("--version", action="version", version=f"rootshift {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        child = commands.add_parser(name, help=purpose, description=purpose)
        child.add_argument(
            "--json", action="store_true", help="print one JSON object on standard output"
        )
        if name == command:
            import_module(f".{name}", __package__).add_arguments(child)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a failed comparison, 2 for bad input.

    Raises: SystemExit with code 2 where the command line itself is wrong, 0 after help.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if word in COMMANDS), None)
    options = build_parser(chosen).parse_args(words)
    command = import_module(f".{options.command}", __package__)
    try:
        result = command.run(options)
        text = json.dumps(result) if options.json else command.render(result)
        broken = print_out(text)
    except RootshiftError as error:
        return _failed(options.command, str(error), EXIT_BAD_INPUT)
    except OSError as error:
        # The place is gone, full or forbidden: the user's to mend, wherever it was noticed.
        reason = error.strerror or str(error)
        place = f"{error.filename}: " if error.filename else ""
        return _failed(options.command, place + reason, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return _failed(options.command, "interrupted", EXIT_INTERRUPTED)
    if broken:
        return EXIT_BROKEN_PIPE
    return 1 if any(map(result.get, DIFFERENCES)) else 0


def one_line(text: str) -> str:
    """The text with line breaks and whatever else cannot be printed written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_out(text: str) -> bool:
    """Print a result, escaping what the terminal cannot show; True where the reader has left.

    Raises: OSError where standard output cannot be written.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        # What is left in the buffer would fail again, loudly, when Python closes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return True
        raise OSError(error.errno, error.strerror, "standard output") from None
    return False


def _failed(command: str, message: str, code: int) -> int:
    print(one_line(f"rootshift {command}: {message}"), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
