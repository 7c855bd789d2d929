"""A program's memory in the formats that tools load, and the map of what lies where in it.

`program.bin` is the memory itself; here are its other forms. `program.hex` is Intel HEX, with
addresses as the accelerator sees them; `program.mem` is what `$readmemh` reads into a memory of
words as wide as the memory bus; `memory_map.json` and `memory_map.md` list the regions.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .config import BUS_WIDTHS
from .errors import ProgramError
from .program import Program

HEX, WORDS, MAP, MAP_TEXT = "program.hex", "program.mem", "memory_map.json", "memory_map.md"
ALIGNMENT = 4096
"""Bytes; a program begins at a multiple of it."""
HEX_ADDRESS_WIDTH = 32
"""Bits of an address in Intel HEX."""
_RECORD, _BLOCK = 32, 1 << 16
_DATA, _END, _UPPER = 0, 1, 4
"""Types of records: data, end of file, extended linear address."""

_CONSTANTS = {
    "weight": "weights and requantizer parameters",
    "parameters": "parameters",
    "table": "table",
    "position": "position embedding",
}
"""Last word of a constant's name -> what it is."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the memory.

    Fields:
        name: of the program's segment, or "fill" for bytes that only a read ahead sees.
        address, bytes: first byte, as the accelerator addresses it, and size.
        kind: "program", "constant", "input", "output" or "fill".
        what: in words.
        layer: name of the artifact's operator that it belongs to, or "".
        loaded: whether it has to be loaded before the first run.
        written_by: "nobody", "host" before a run, or "accelerator" during it.
    """

    name: str
    address: int
    bytes: int
    kind: str
    what: str
    layer: str
    loaded: bool
    written_by: str


def regions(program: Program, address: int = 0) -> list[Region]:
    """The regions of the memory in the order of addresses; between them lie zeros.

    Parameters: `address` of the program.
    Raises: ProgramError where the program cannot lie there.
    """
    check_address(program, address)
    found, end = [], 0
    for name, (offset, size) in sorted(program.segments.items(), key=lambda item: item[1]):
        found.append(_region(program, name, address + offset, size))
        end = max(end, offset + size)
    if end < len(program.image):
        fill = {"kind": "fill", "what": "zeros behind the end", "layer": "", "loaded": True}
        size = len(program.image) - end
        found.append(
            Region(name="fill", address=address + end, bytes=size, written_by="nobody", **fill)
        )
    return found


def _region(program: Program, name: str, address: int, size: int) -> Region:
    # What these three are called is the compiler's choice; where they lie is the program's fact.
    known = {
        0: ("program", "commands", True, "nobody"),
        program.input.offset: ("input", _images("images", program.images), False, "host"),
        program.output.offset: ("output", _images("logits", program.images), False, "accelerator"),
    }
    place = {"name": name, "address": address, "bytes": size}
    offset = program.segments[name][0]
    if offset in known:
        kind, what, loaded, writer = known[offset]
        return Region(**place, kind=kind, what=what, layer="", loaded=loaded, written_by=writer)
    layer, _, last = name.rpartition(".")
    return Region(
        **place,
        kind="constant",
        what=_CONSTANTS.get(last, last),
        layer=layer,
        loaded=True,
        written_by="nobody",
    )


def _images(what: str, count: int) -> str:
    return f"{what} of a run of {count}"


def check_address(program: Program, address: int) -> int:
    """Return `address` if the program can lie there; raise ProgramError that says why not."""
    most = (1 << HEX_ADDRESS_WIDTH) - len(program.image)
    if isinstance(address, bool) or not isinstance(address, int):
        raise ProgramError(f"address must be an integer, not {address!r}")
    if address % ALIGNMENT or address < 0:
        raise ProgramError(f"address must be a multiple of {ALIGNMENT}, not {address:#x}")
    if address > most:
        raise ProgramError(
            f"address must be at most {most:#x}, so that {len(program.image)} bytes end below "
            f"2^{HEX_ADDRESS_WIDTH}, as Intel HEX has them, not {address:#x}"
        )
    return address


def memory_map(program: Program, address: int = 0) -> dict[str, Any]:
    """The object of `memory_map.json`.

    Keys: address, bytes (of the whole), word_bits (of `program.mem`), images, input and output
    (address of the first image's pixels and logits, stride from one to the next, bytes of each),
    regions (as `Region`).
    Raises: as `regions`.
    """
    found = [asdict(region) for region in regions(program, address)]
    areas = {
        name: {"address": address + area.offset, "stride": area.stride, "bytes": area.bytes}
        for name, area in (("input", program.input), ("output", program.output))
    }
    return {
        "address": address,
        "bytes": len(program.image),
        "word_bits": program.config.bus_width,
        "images": program.images,
        **areas,
        "regions": found,
    }


def markdown(program: Program, address: int = 0) -> str:
    """The text of `memory_map.md`. Raises: as `regions`."""
    found, width = regions(program, address), program.config.bus_width
    lines = [
        "# Memory of the program",
        "",
        f"{len(program.image)} bytes from {address:#x} on, as the accelerator addresses them. "
        f"`{WORDS}` has words of {width} bits and counts from the first of them; the word of a "
        f"byte address is (address - {address:#x}) / {width // 8}.",
        "",
        "Load the regions marked so once. The host writes images before a run; the accelerator "
        "writes logits, and nothing else. There is no scratch memory.",
        "",
        "| address | bytes | region | layer | load | written by |",
        "|---|---|---|---|---|---|",
    ]
    for region in found:
        load = "yes" if region.loaded else "no"
        layer = _cell(region.layer)
        lines.append(
            f"| {region.address:#010x} | {region.bytes} | {_cell(region.what)} | {layer} | {load} "
            f"| {region.written_by} |"
        )
    return "\n".join([*lines, ""])


def intel_hex(data: bytes, address: int = 0) -> bytes:
    """Intel HEX: data records of up to 32 bytes, extended linear addresses, an end record.

    Source: Intel, Hexadecimal Object File Format Specification, revision A, 1988.
    Raises: ValueError where `data` does not lie within 2^32 bytes.
    """
    if not 0 <= address <= address + len(data) <= 1 << HEX_ADDRESS_WIDTH:
        raise ValueError(
            f"data must end below 2^{HEX_ADDRESS_WIDTH}, not {len(data)} bytes from {address:#x}"
        )
    lines, at, upper = [], 0, -1
    while at < len(data):
        place = address + at
        if place // _BLOCK != upper:
            upper = place // _BLOCK
            lines.append(_record(_UPPER, 0, upper.to_bytes(2, "big")))
        # A record's own 16 bits must not wrap.
        size = min(_RECORD, len(data) - at, _BLOCK - place % _BLOCK)
        lines.append(_record(_DATA, place % _BLOCK, data[at : at + size]))
        at += size
    return "\n".join([*lines, _record(_END, 0, b""), ""]).encode()


def _record(kind: int, place: int, data: bytes) -> str:
    body = bytes([len(data), place >> 8, place & 0xFF, kind]) + data
    return f":{body.hex()}{-sum(body) & 0xFF:02x}".upper()


def memory_words(data: bytes, width: int) -> bytes:
    """Words for Verilog's `$readmemh`: one a line in hexadecimal, from `@0` on.

    The word's lowest 8 bits are the byte of the lowest address; the last word is filled up with
    zeros. There is one address, so that tools that count bytes read the file alike.

    Parameters: `width` of a word in bits, one of `BUS_WIDTHS`.
    Raises: ValueError for another width.
    Source: IEEE 1364-2005, 17.2.9.
    """
    if width not in BUS_WIDTHS:
        raise ValueError(f"width must be one of {', '.join(map(str, BUS_WIDTHS))}, not {width}")
    size = width // 8
    padded = data + bytes(-len(data) % size)
    words = np.frombuffer(padded, np.uint8).reshape(-1, size)[:, ::-1]
    text = words.tobytes().hex("\n", size) if len(words) else ""
    return f"@0\n{text}\n".encode()


def files(program: Program, address: int = 0) -> dict[str, bytes]:
    """Name -> content of the files that this module makes of a program.

    Parameters: `address` at which the program will lie.
    Raises: as `regions`.
    """
    table = json.dumps(memory_map(program, address), indent=1) + "\n"
    return {
        HEX: intel_hex(program.image, address),
        WORDS: memory_words(program.image, program.config.bus_width),
        MAP: table.encode(),
        MAP_TEXT: markdown(program, address).encode(),
    }


def _cell(text: str) -> str:
    """Text in a cell of a table, whatever names an artifact from elsewhere has."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return "".join(f"\\{c}" if c in "\\|`*_<[" else c for c in plain)
