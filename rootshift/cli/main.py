"""`rootshift`: one sub-command a module, one way to report results and errors."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import __version__
from ..errors import RootshiftError

COMMANDS = {
    "demo": "the whole flow on the embedded model",
    "quantize": "calibrate a pretrained ViT and export it as integers",
    "evaluate": "accuracy of an artifact at float, fake or integer level",
    "generate": "Verilog, memory images, C header and test vectors",
    "simulate": "run one image through an engine",
}
"""Command -> what it does; the module of the same name has `add_arguments`, `run` and `render`."""

EXIT_BAD_INPUT = 2


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; only the arguments of `command` are filled in, so that help starts fast."""
    parser = argparse.ArgumentParser(
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
    """Run one command; returns the exit code: 0, 1 for a failed comparison, 2 for bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if word in COMMANDS), None)
    options = build_parser(chosen).parse_args(words)
    command = import_module(f".{options.command}", __package__)
    try:
        result = command.run(options)
    except RootshiftError as error:
        print(f"rootshift {options.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"rootshift {options.command}: interrupted", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(result))
    else:
        print(command.render(result))
    return 1 if result.get("mismatches") else 0


if __name__ == "__main__":
    sys.exit(main())
