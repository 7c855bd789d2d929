"""The memory behind the bus, from the command line."""

import argparse

from ..errors import ConfigError
from ..sim.native.memory import MemoryTiming

OPTIONS = {
    "read_latency": (int, "N", "cycles from a read's address to its first beat, 1 or more"),
    "write_latency": (int, "N", "cycles from a write's last beat to its answer, 1 or more"),
    "extra_latency": (int, "N", "each burst waits a random number of cycles more, up to N"),
    "bandwidth": (float, "BEATS", "beats per cycle and direction, over 0 up to 1"),
    "hold": (float, "P", "probability that a channel stands still for a cycle, up to 0.99"),
    "seed": (int, "N", "of what is random"),
}
"""Field of `MemoryTiming` -> type, metavar and meaning of its option."""


def add_memory_arguments(parser: argparse.ArgumentParser) -> None:
    """One option for each of `OPTIONS`; those left out are None."""
    group = parser.add_argument_group("memory", "for engines that count cycles")
    for name, (kind, metavar, meaning) in OPTIONS.items():
        group.add_argument(option(name), type=kind, metavar=metavar, help=meaning)


def option(name: str) -> str:
    """The option of a name: `--read-latency` of `read_latency`."""
    return f"--{name.replace('_', '-')}"


def memory_timing(options: argparse.Namespace) -> MemoryTiming:
    """The memory that the options describe; what is left out is ideal.

    Raises: ConfigError naming the option whose value is not legal.
    """
    given = {name: getattr(options, name) for name in OPTIONS}
    try:
        return MemoryTiming(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        name, rest = str(error).split(" ", 1)
        raise ConfigError(f"{option(name)} {rest}") from None
