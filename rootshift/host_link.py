"""The link between a host and a board: frames of bytes over a serial line, for both ends.

A *frame* is the byte START, its kind, the length of its payload (two bytes, the low one first), the
payload, and two bytes of CRC over kind, length and payload (the high one first). The host sends a
request and waits for its answer; what it sends meanwhile is lost. The answer to a request has its
kind with the highest bit set:

| request | payload | payload of the answer |
|---|---|---|
| IDENTIFY | none | a JSON object, filled up with spaces: see `Identity` |
| STATUS | none | the registers STATUS, ERROR and CYCLES of the last run |
| CLASSIFY | an image, uint8 [H][W][C] | the register CYCLES, the logits, the label |

or it is of the kind ERROR: a `LinkFault` and, where that is STOPPED, the register ERROR. Answers
are made of words of 32 bits, the low byte first. The label is the number of the largest logit, the
lowest of equal ones.

Whatever is no frame (another byte where START should be, a kind or length that no request has, a
wrong CRC, a byte without its stop bit, a line that is silent in the midst of a frame) is answered
once the line has been silent for the link's timeout. So a host that has read an error can send its
next request at once, and one that has lost its place waits for the timeout and sends again.

CRC: CRC-16/IBM-3740 (polynomial 0x1021, initially 0xffff, not reflected).
"""

import json
import struct
from binascii import crc_hqx
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import IntEnum

import numpy as np

from .csr import find_register, unpack
from .errors import LinkError
from .preprocessing import Preprocessing

START = 0xA5
PROTOCOL = 1
"""Version of what this module says."""
ANSWER = 0x80
HEADER = struct.Struct("<BBH")
CRC_BYTES = 2
LENGTH_MAX = 0xFFFF
WORD_BYTES = 4
STATUS_REGISTERS = ("STATUS", "ERROR", "CYCLES")
"""Registers whose words answer a STATUS request, in this order."""


class Kind(IntEnum):
    """Kinds of requests, and of the answer to what could not be done."""

    IDENTIFY = 0x01
    STATUS = 0x02
    CLASSIFY = 0x03
    ERROR = 0xFF


class LinkFault(IntEnum):
    """Why a request was not carried out."""

    NO_START = 1
    SILENCE = 2
    BAD_KIND = 3
    BAD_LENGTH = 4
    BAD_CRC = 5
    BAD_BYTE = 6
    STOPPED = 7


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board says of itself.

    Fields:
        protocol: version of the link.
        model: name of the model.
        preprocessing: from image file to the image that CLASSIFY takes.
        classes: number of logits.
        array: rows and columns, such as "4x4".
        clock_hz: of the accelerator, in which cycles are counted.
        program: the first 16 hexadecimal digits of the SHA-256 of the program's image.
    """

    protocol: int
    model: str
    preprocessing: Preprocessing
    classes: int
    array: str
    clock_hz: int
    program: str

    def encode(self) -> bytes:
        """The payload of the answer to IDENTIFY."""
        table = asdict(self) | {"preprocessing": self.preprocessing.to_json()}
        text = json.dumps(table, separators=(",", ":")).encode()
        return text + b" " * (-len(text) % WORD_BYTES)

    @classmethod
    def decode(cls, payload: bytes) -> "Identity":
        """The inverse. Raises: LinkError where it is none, or of another version."""
        try:
            table = json.loads(payload)
        except ValueError:
            table = None
        if not isinstance(table, dict) or table.get("protocol") != PROTOCOL:
            raise LinkError(f"board must speak version {PROTOCOL} of the link, not {payload!r}")
        kinds = {field.name: field.type for field in fields(cls) if field.type in (int, str)}
        if table.keys() != {field.name for field in fields(cls)} or any(
            type(table[name]) is not kind for name, kind in kinds.items()
        ):
            raise LinkError(f"identity of the board cannot be read: {payload!r}")
        try:
            table["preprocessing"] = Preprocessing.from_json(table["preprocessing"])
        except (TypeError, ValueError) as error:
            raise LinkError(f"identity of the board: {error}") from None
        return cls(**table)


@dataclass(frozen=True)
class Classified:
    """What a board found in an image: `label`, `logits` int32 [classes], `cycles` of the run."""

    label: int
    logits: np.ndarray
    cycles: int

    @classmethod
    def decode(cls, payload: bytes, classes: int) -> "Classified":
        """Out of the answer to CLASSIFY. Raises: LinkError where its length is another."""
        counter = WORD_BYTES * len(find_register("CYCLES").offsets)
        expected = counter + WORD_BYTES * (classes + 1)
        if len(payload) != expected:
            raise LinkError(f"answer to CLASSIFY must be {expected} bytes, not {len(payload)}")
        logits = np.frombuffer(payload, "<i4", classes, counter).astype(np.int32)
        label = int.from_bytes(payload[-WORD_BYTES:], "little")
        return cls(label, logits, int.from_bytes(payload[:counter], "little"))


def crc(content: bytes) -> int:
    """The CRC of kind, length and payload."""
    return crc_hqx(content, 0xFFFF)


def frame(kind: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame. Raises: ValueError where the payload is too long for one."""
    if len(payload) > LENGTH_MAX:
        raise ValueError(f"payload must be at most {LENGTH_MAX} bytes, not {len(payload)}")
    content = HEADER.pack(START, kind, len(payload))[1:] + payload
    return bytes([START]) + content + crc(content).to_bytes(CRC_BYTES, "big")


def words_of(payload: bytes) -> tuple[int, ...]:
    """The whole words of a payload, unsigned."""
    count = len(payload) // WORD_BYTES
    return struct.unpack_from(f"<{count}I", payload)


def split_registers(payload: bytes) -> Mapping[str, Mapping[str, int]]:
    """Register -> its fields, out of the answer to STATUS.

    Raises: LinkError where the length is another.
    """
    sizes = {name: WORD_BYTES * len(find_register(name).offsets) for name in STATUS_REGISTERS}
    if len(payload) != sum(sizes.values()):
        raise LinkError(f"answer to STATUS must be {sum(sizes.values())} bytes, not {len(payload)}")
    found, words = {}, words_of(payload)
    for name, size in sizes.items():
        count = size // WORD_BYTES
        found[name], words = unpack(name, words[:count]), words[count:]
    return found


def describe(payload: bytes) -> str:
    """One line for a person about an answer of the kind ERROR."""
    code, *words = words_of(payload) or [0]
    if code in _MEANINGS:
        return f"the board has not understood the request: {_MEANINGS[LinkFault(code)]}"
    if code != LinkFault.STOPPED or len(words) != len(find_register("ERROR").offsets):
        return f"the board answers with an error that is not known: {payload!r}"
    stop = unpack("ERROR", words)
    causes = {value: name for name, value in find_register("ERROR")["cause"].values}
    cause = causes.get(stop["cause"], stop["cause"])
    return f"the run was stopped: {cause} at {stop['address']:#x}"


_MEANINGS = {
    LinkFault.NO_START: "a byte before it is not the start of a frame",
    LinkFault.SILENCE: "it ends too early",
    LinkFault.BAD_KIND: "no request has this kind",
    LinkFault.BAD_LENGTH: "the payload has not the length that this request has",
    LinkFault.BAD_CRC: "its CRC is wrong",
    LinkFault.BAD_BYTE: "a byte has no stop bit: is the baud rate right?",
}
