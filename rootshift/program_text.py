"""A program as a C header: where its parts lie in memory, and the design that it was made for."""

from zlib import adler32

from .csr import pack_config
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
