"""The control and status registers as a C header, as JSON and as the page `docs/csr.md`."""

from collections.abc import Iterator
from typing import Any

from .csr import ADDRESS_WIDTH, MAJOR, MINOR, REGISTERS, Access, Field, Register

_RULES = """\
All registers are 32-bit words, little endian, behind AXI4-Lite: ports `s_axil__awaddr` and so on,
32 bits of data, {bits} bits of address.

- The two lowest bits of an address do not count: an access is to the word that holds the byte.
- Bytes whose bit of WSTRB is 0 stay as they are; to *write 1* kinds they are zeros.
- Bits that no field has read as 0, and what is written to them is ignored.
- An access to an address that no register has is answered SLVERR, as is a write to a register that
  cannot be written. Such a write does nothing, such a read gives 0.
- A write may send address and data in either order. It takes effect one cycle before its answer is
  offered, and a read samples its register one cycle before its answer is offered.
- Reading the low word of a read-only field of 64 bits keeps the high word of that moment, and the
  high word reads as what was kept: read low, then high.

| kind | read | write |
|---|---|---|
| constant | fixed when the design is generated | SLVERR |
| status | what the accelerator says now | SLVERR |
| read-write | what was written last | sets |
| write 1 to clear | what has happened since the last clear | clears where 1, but no new event |
| write 1 to act | 0 | acts once where 1 |
| counter | cycles counted; stays at its maximum once there | SLVERR; see CONTROL |

The interrupt (`irq`) is high while any bit is 1 in both INTERRUPT and INTERRUPT_ENABLE.
"""

_RESETS = {Access.CONSTANT: "VALUE", Access.READ_WRITE: "RESET"}


def c_constants() -> dict[str, int]:
    """Name -> value of every constant of the C header, in its order."""
    return {name: value for group in _groups() for name, value, _ in group[1]}


def c_header_text() -> str:
    """The C header: offsets in bytes, shifts and masks in the word, resets and enumerations."""
    lines = [
        f"/* Registers of a Rootshift accelerator, version {MAJOR}.{MINOR}. Generated. */",
        "#ifndef ROOTSHIFT_CSR_H",
        "#define ROOTSHIFT_CSR_H",
    ]
    for comment, constants in _groups():
        lines += ["", f"/* {comment} */"]
        lines += [
            f"#define {name} {_number(name, value)}u" + (f" /* {meaning} */" if meaning else "")
            for name, value, meaning in constants
        ]
    return "\n".join([*lines, "", "#endif", ""])


def table() -> dict[str, dict[str, Any]]:
    """The registers for a driver that reads JSON.

    Name -> offset, words, and fields: name -> bit, counted over all words, width, and values (name
    -> value) where it is an enumeration.
    """
    return {
        register.name: {
            "offset": register.offset,
            "words": len(register.offsets),
            "fields": {
                field.name: {"bit": field.bit, "width": field.width}
                | ({"values": dict(field.values)} if field.values else {})
                for field in register.fields
            },
        }
        for register in REGISTERS
    }


def markdown() -> str:
    """The text of `docs/csr.md`."""
    parts = [
        "# Control and status registers",
        "",
        "Generated from the table in `rootshift/csr.py`; a test holds this page to it.",
        "",
        _RULES.format(bits=ADDRESS_WIDTH),
        "| offset | register | kind | |",
        "|---|---|---|---|",
    ]
    for register in REGISTERS:
        first, last = register.offsets[0], register.offsets[-1]
        where = f"0x{first:03x}" + (f" to 0x{last:03x}" if last != first else "")
        link = f"[{register.name}](#{register.name.lower()})"
        parts.append(f"| {where} | {link} | {register.access.value} | {register.meaning} |")
    for register in REGISTERS:
        parts += ["", f"## {register.name}", "", f"{register.access.value.capitalize()}. "]
        parts[-1] += register.meaning
        parts += ["", "| offset | bits | field | reset | |", "|---|---|---|---|---|"]
        parts += [_row(register, field) for field in register.fields]
    return "\n".join([*parts, ""])


def _number(name: str, value: int) -> str:
    return f"0x{value:x}" if name.endswith(("_OFFSET", "_MASK", "_VALUE", "_RESET")) else f"{value}"


def _row(register: Register, field: Field) -> str:
    word, low, *_ = field.slices[0]
    offset = f"0x{register.offset + 4 * word:03x}"
    if len(field.slices) > 1:
        offset += f", 0x{register.offset + 4 * field.slices[-1][0]:03x}"
    bits = str(low) if field.width == 1 else f"{low + field.width - 1}:{low}"
    reset = "as generated" if field.reset is None else f"0x{field.reset:x}" if field.reset else "0"
    if register.access is Access.STATUS:
        reset = "as it is"
    meaning = field.meaning
    if field.values:
        meaning += " " + ", ".join(f"{value}: {name}" for name, value in field.values) + "."
    return f"| {offset} | {bits} | {field.name} | {reset} | {meaning} |"


def _groups() -> Iterator[tuple[str, list[tuple[str, int, str]]]]:
    """Comment, and name, value and meaning of the constants, for the whole and each register."""
    yield "All registers", [("ROOTSHIFT_CSR_BYTES", 1 << ADDRESS_WIDTH, "")]
    for register in REGISTERS:
        prefix = f"ROOTSHIFT_{register.name}"
        constants = [
            (f"{prefix}_OFFSET", register.offset, ""),
            (f"{prefix}_WORDS", len(register.offsets), ""),
        ]
        for field in register.fields:
            constants += _field_constants(register, field, f"{prefix}_{field.name.upper()}")
        yield f"{register.name} ({register.access.value}): {register.meaning}", constants


def _field_constants(register: Register, field: Field, name: str) -> Iterator[tuple[str, int, str]]:
    halves = [""] if len(field.slices) == 1 else ["_LOW", "_HIGH"]
    for half, (word, low, part, width) in zip(halves, field.slices, strict=True):
        meaning = "" if half == "_HIGH" else field.meaning
        yield f"{name}{half}_OFFSET", register.offset + 4 * word, meaning
        if not half:
            yield f"{name}_SHIFT", low, ""
            yield f"{name}_MASK", (1 << width) - 1 << low, ""
        if field.reset is not None and register.access in _RESETS:
            value = field.reset >> part & (1 << width) - 1
            yield f"{name}{half}_{_RESETS[register.access]}", value, ""
    for value_name, value in field.values:
        yield f"{name}_{value_name.upper()}", value, ""
