"""The control and status registers: one table, from which RTL, drivers and documents are made.

A register is one or more 32-bit words of one access kind, and its fields are counted in bits over
all its words, so that a field of 64 bits is a low word and, 4 bytes on, a high word.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum, IntEnum

from .config import ARRAY_MULTIPLIERS, AcceleratorConfig
from .formats import BASES

WORD = 32
ADDRESS_WIDTH = 12
"""Bits of a byte address: the registers have 4 KiB."""
MAGIC = int.from_bytes(b"RSFT", "little")
MAJOR, MINOR = 1, 3
"""Version of this table: a driver for 1.x works with any 1.y where y is at least x."""


class Access(Enum):
    """What reading and writing do; the value is the word for it in documents."""

    CONSTANT = "constant"
    STATUS = "status"
    READ_WRITE = "read-write"
    CLEAR = "write 1 to clear"
    STROBE = "write 1 to act"
    COUNTER = "counter"

    @property
    def writable(self) -> bool:
        """Whether a write is legal; one to any other kind is answered SLVERR and does nothing."""
        return self in (Access.READ_WRITE, Access.CLEAR, Access.STROBE)


class ErrorCause(IntEnum):
    """Why a run was stopped."""

    NONE = 0
    READ_SLVERR = 1
    READ_DECERR = 2
    WRITE_SLVERR = 3
    WRITE_DECERR = 4
    BAD_OPCODE = 5
    BAD_OPERAND = 6
    BAD_ADDRESS = 7
    WATCHDOG = 8
    BAD_CRC = 9
    BAD_PARITY = 10


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Parameters:
        name: lower case, with underscores.
        bit: position of the lowest bit, counted from bit 0 of the register's first word.
        width: 1..32 bits inside one word, or 64 bits in two words.
        meaning: one line.
        reset: value after reset; None where the configuration of the build gives it.
        values: name -> value, of an enumeration.
    """

    name: str
    bit: int
    width: int
    meaning: str
    reset: int | None = 0
    values: tuple[tuple[str, int], ...] = ()

    @property
    def slices(self) -> list[tuple[int, int, int, int]]:
        """Word, bit in the word, bit in the field and width of each part that lies in one word."""
        if self.width <= WORD:
            return [(self.bit // WORD, self.bit % WORD, 0, self.width)]
        return [(self.bit // WORD + i, 0, WORD * i, WORD) for i in range(self.width // WORD)]


@dataclass(frozen=True)
class Register:
    """One register: its words lie at `offset`, `offset + 4` and so on."""

    name: str
    offset: int
    access: Access
    meaning: str
    fields: tuple[Field, ...]

    @property
    def offsets(self) -> range:
        """Byte offsets of the words."""
        end = max(field.bit + field.width for field in self.fields)
        return range(self.offset, self.offset + 4 * -(-end // WORD), 4)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        names = ", ".join(field.name for field in self.fields)
        raise ValueError(f"field of {self.name} must be one of {names}, not {name!r}")


UNITS = {
    "read_dma": "Memory reads",
    "write_dma": "Memory writes",
    "gemm": "The systolic array",
    "layernorm": "LayerNorm",
    "log2_softmax": "Softmax",
    "shift_attention": "Shift attention",
    "gelu_table": "The GELU table",
    "residual_add": "The residual adder",
}
SATURATING = ("gemm", "layernorm", "shift_attention", "residual_add")
"""Units whose values can be clamped."""


def _per_unit(what: str, units: Sequence[str] = tuple(UNITS)) -> tuple[Field, ...]:
    return tuple(
        Field(unit, WORD * index, WORD, f"{UNITS[unit]}: {what}.")
        for index, unit in enumerate(units)
    )


_EVENTS = (
    Field("done", 0, 1, "A run has ended well."),
    Field("error", 1, 1, "A run was stopped by an error."),
)
_CAUSES = tuple((cause.name.lower(), cause.value) for cause in ErrorCause)
_BASES = tuple((base, index) for index, base in enumerate(BASES))
_MULTIPLIERS = tuple((kind, index) for index, kind in enumerate(ARRAY_MULTIPLIERS))

REGISTERS = (
    Register(
        "IDENTITY",
        0x000,
        Access.CONSTANT,
        "What is at this address.",
        (Field("magic", 0, 32, "The letters RSFT, the first in the lowest byte.", MAGIC),),
    ),
    Register(
        "VERSION",
        0x004,
        Access.CONSTANT,
        "Version of these registers, not of the design.",
        (
            Field("minor", 0, 16, "Grows when registers are added.", MINOR),
            Field("major", 16, 16, "Grows when registers change.", MAJOR),
        ),
    ),
    Register(
        "CONFIG",
        0x010,
        Access.CONSTANT,
        "The AcceleratorConfig that the design was generated for.",
        (
            Field("rows", 0, 16, "Rows of the array.", None),
            Field("cols", 16, 16, "Columns of the array.", None),
            Field("activation_width", 32, 8, "Bits of an activation code.", None),
            Field("weight_width", 40, 8, "Bits of a weight code.", None),
            Field("log_width", 48, 8, "Bits of a softmax log code.", None),
            Field("base", 56, 8, "Softmax base.", None, _BASES),
            Field("lanes", 64, 16, "Values per cycle of the units beside the array.", None),
            Field("bus_width", 80, 16, "Bits of a beat of the memory bus.", None),
            Field("token_depth", 96, 16, "Tokens that the buffers hold.", None),
            Field("embedding_depth", 112, 16, "Channels of a LayerNorm row.", None),
            Field("channel_depth", 128, 32, "Inputs, and outputs, of a matrix product.", None),
            Field("code_depth", 160, 32, "Words of the code buffer.", None),
            Field("residual_depth", 192, 32, "Words of the residual buffer.", None),
            Field("pipeline_stages", 224, 8, "Registers of each long path.", None),
            Field("array_multiplier", 232, 8, "Of the array's products.", None, _MULTIPLIERS),
            Field("program_crc", 240, 1, "Checks of commands are looked at.", None),
            Field("buffer_parity", 241, 1, "Code and residual buffer have parity.", None),
        ),
    ),
    Register(
        "CONTROL",
        0x100,
        Access.STROBE,
        "Reads as 0. Both bits may be written at once.",
        (
            Field("start", 0, 1, "Runs the program at ENTRY."),
            Field("clear_counters", 1, 1, "Sets all counters and SATURATED to 0."),
        ),
    ),
    Register(
        "STATUS",
        0x104,
        Access.STATUS,
        "The state of the run.",
        (
            Field("busy", 0, 1, "A run is on its way."),
            Field("done", 1, 1, "The last run has ended well; falls at the next start."),
            Field("error", 2, 1, "The last run was stopped by an error; falls at the next start."),
        ),
    ),
    Register(
        "ENTRY",
        0x108,
        Access.READ_WRITE,
        "Where the program is; read at the start.",
        (Field("address", 0, 64, "Byte address of the first command."),),
    ),
    Register(
        "WATCHDOG",
        0x110,
        Access.READ_WRITE,
        "Stops a run that hangs.",
        (Field("limit", 0, 32, "Cycles without progress that are allowed; 0: any.", 1 << 20),),
    ),
    Register(
        "INTERRUPT_ENABLE",
        0x118,
        Access.READ_WRITE,
        "Which events of INTERRUPT raise the interrupt.",
        _EVENTS,
    ),
    Register(
        "INTERRUPT",
        0x11C,
        Access.CLEAR,
        "Events not yet acknowledged: writing 1 acknowledges; an event in that cycle stays.",
        _EVENTS,
    ),
    Register(
        "ERROR",
        0x120,
        Access.STATUS,
        "The first error of the last run.",
        (
            Field("cause", 0, 8, "What went wrong.", values=_CAUSES),
            Field(
                "address",
                32,
                64,
                "Byte address of access or command, or word address in a buffer.",
            ),
        ),
    ),
    Register(
        "CYCLES",
        0x200,
        Access.COUNTER,
        "Cycles in which a run was on its way.",
        (Field("count", 0, 64, "Cycles from start to interrupt."),),
    ),
    Register(
        "GEMM_STALL",
        0x210,
        Access.COUNTER,
        "Cycles in which the array stood, by what it waited for.",
        (
            Field("weights", 0, 32, "The next weights."),
            Field("activations", 32, 32, "The next activations."),
            Field("output", 64, 32, "Room behind the requantizer."),
        ),
    ),
    Register(
        "BUSY",
        0x240,
        Access.COUNTER,
        "Cycles in which each unit worked.",
        _per_unit("cycles in which it worked"),
    ),
    Register(
        "STALL",
        0x280,
        Access.COUNTER,
        "Cycles in which each unit had work, and waited.",
        _per_unit("cycles in which it waited"),
    ),
    Register(
        "SATURATED",
        0x2C0,
        Access.STATUS,
        "Values that were clamped in the present or last run; an error loses them.",
        _per_unit("values clamped", SATURATING),
    ),
)


def find_register(name: str) -> Register:
    """The register called `name`, in capitals. Raises: ValueError where there is none."""
    for candidate in REGISTERS:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in REGISTERS)
    raise ValueError(f"register must be one of {names}, not {name!r}")


def pack(name: str, **values: int) -> tuple[int, ...]:
    """The 32-bit words, lowest offset first, that hold these fields; fields left out are 0.

    Raises:
        TypeError: A value is not an integer.
        ValueError: No such register or field, or a value does not fit into its field.
    """
    target, image = find_register(name), 0
    for key, value in values.items():
        field = target[key]
        if isinstance(value, bool | str) or not hasattr(value, "__index__"):
            raise TypeError(f"{name}.{key} must be an integer, not {value!r}")
        if not 0 <= value < 1 << field.width:
            raise ValueError(f"{name}.{key} must be 0 to {(1 << field.width) - 1}, not {value}")
        image |= int(value) << field.bit
    return tuple(image >> WORD * i & 0xFFFFFFFF for i in range(len(target.offsets)))


def unpack(name: str, words: Sequence[int]) -> dict[str, int]:
    """The fields of a register by name, from its 32-bit words, lowest offset first.

    Raises:
        ValueError: No such register, not as many words as it has, or a word is not 32 bits.
    """
    target = find_register(name)
    if len(words) != len(target.offsets):
        raise ValueError(f"words of {name} must be {len(target.offsets)}, not {len(words)}")
    for word in words:
        if not 0 <= word < 1 << WORD:
            raise ValueError(f"word of {name} must be 0 to {(1 << WORD) - 1}, not {word}")
    image = sum(int(word) << WORD * i for i, word in enumerate(words))
    return {field.name: image >> field.bit & (1 << field.width) - 1 for field in target.fields}


def pack_config(config: AcceleratorConfig) -> tuple[int, ...]:
    """The words of CONFIG in a design generated for `config`."""
    values = {
        name: value if isinstance(value, str) else int(value)
        for name, value in asdict(config).items()
    }
    for field in find_register("CONFIG").fields:
        if field.values:
            values[field.name] = dict(field.values)[values[field.name]]
    return pack("CONFIG", **values)


def unpack_config(words: Sequence[int]) -> AcceleratorConfig:
    """The configuration of the design whose CONFIG reads as `words`.

    Raises:
        ValueError: As `unpack`, or an enumeration has no such value.
        ConfigError: A value is not legal.
    """
    values: dict[str, int | str] = dict(unpack("CONFIG", words))
    for field in find_register("CONFIG").fields:
        if field.values:
            names = {value: name for name, value in field.values}
            code = int(values[field.name])
            if code not in names:
                raise ValueError(f"CONFIG.{field.name} must be one of {sorted(names)}, not {code}")
            values[field.name] = names[code]
        elif field.width == 1:
            values[field.name] = bool(values[field.name])
    return AcceleratorConfig(**values)
