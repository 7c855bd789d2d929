"""A program as a C header and as JSON: where its parts lie, and the design it was made for."""

import json
from dataclasses import asdict
from zlib import adler32

from . import csr_text
from .csr import MAGIC, MAJOR, MINOR, pack_config
from .isa import ADDRESS_WIDTH
from .program import Program

_COMMENT = """\
/* A program for a Rootshift accelerator. Generated.
 *
 * program.bin goes to memory as it is; offsets are bytes from its beginning. Image n is uint8
 * [height][width][channels] at ROOTSHIFT_INPUT_OFFSET + n * ROOTSHIFT_INPUT_STRIDE. Its logits are
 * int32 [classes], little endian, at ROOTSHIFT_OUTPUT_OFFSET + n * ROOTSHIFT_OUTPUT_STRIDE, each
 * worth ROOTSHIFT_LOGIT_STEP. */"""


def c_constants(program: Program, logit_step: float) -> dict[str, str]:
    """Name -> text of every constant of the C header, in its order.

    Parameters: `logit_step`, what one unit of a logit is worth.
    """
    height, width, channels = program.shapes["pixels"]
    numbers = {
        "PROGRAM_BYTES": len(program.image),
        "ADDRESS_WIDTH": ADDRESS_WIDTH,
        "IMAGES": program.images,
        "IMAGE_HEIGHT": height,
        "IMAGE_WIDTH": width,
        "IMAGE_CHANNELS": channels,
        "CLASSES": program.classes,
    }
    for name, area in (("INPUT", program.input), ("OUTPUT", program.output)):
        numbers[f"{name}_OFFSET"] = area.offset
        numbers[f"{name}_STRIDE"] = area.stride
        numbers[f"{name}_BYTES"] = area.bytes
    words = ", ".join(f"0x{word:x}u" for word in pack_config(program.config))
    return {
        "ROOTSHIFT_PROGRAM_CONFIG": f"{{{words}}}",
        "ROOTSHIFT_PROGRAM_ADLER32": f"0x{adler32(program.image):x}u",
        **{f"ROOTSHIFT_{name}": f"{number}u" for name, number in numbers.items()},
        "ROOTSHIFT_LOGIT_STEP": float(logit_step).hex(),
    }


def c_header_text(program: Program, logit_step: float) -> str:
    """The C header; `logit_step` as `c_constants` takes it.

    ROOTSHIFT_PROGRAM_CONFIG initializes an array with the words of the register CONFIG,
    ROOTSHIFT_PROGRAM_ADLER32 is the checksum of program.bin (RFC 1950), ROOTSHIFT_LOGIT_STEP a
    hexadecimal float of C99 (or C++17).
    """
    lines = [_COMMENT, "#ifndef ROOTSHIFT_PROGRAM_H", "#define ROOTSHIFT_PROGRAM_H", ""]
    lines += [f"#define {name} {text}" for name, text in c_constants(program, logit_step).items()]
    return "\n".join([*lines, "", "#endif", ""])


def json_text(program: Program, logit_step: float) -> str:
    """What the Python driver reads; `logit_step` as `c_constants` takes it.

    Keys: identity, version (major, minor) and registers (as `csr_text.table`) of the device;
    config (words of the register CONFIG), adler32 and bytes of program.bin, address_width, images,
    shape (height, width, channels of an image), classes, input and output (offset, stride, bytes)
    and logit_step of the program.
    """
    table = {
        "identity": MAGIC,
        "version": [MAJOR, MINOR],
        "registers": csr_text.table(),
        "config": list(pack_config(program.config)),
        "adler32": adler32(program.image),
        "bytes": len(program.image),
        "address_width": ADDRESS_WIDTH,
        "images": program.images,
        "shape": list(program.shapes["pixels"]),
        "classes": program.classes,
        "input": asdict(program.input),
        "output": asdict(program.output),
        "logit_step": float(logit_step),
    }
    return json.dumps(table, indent=1) + "\n"
