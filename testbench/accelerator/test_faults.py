"""What goes wrong stops the run in a defined state, is told, and leaves the next run exact."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from rootshift import csr
from rootshift.assembly import assemble
from rootshift.csr import ErrorCause
from rootshift.isa import BY_NAME, COMMAND_BYTES, NO_UNIT, OPCODE_WIDTH, Command, encode
from rootshift.sim.native.memory import Fault, MemoryTiming
from rootshift.sim.rtl.result import RtlError, RunResult
from rootshift.sim.rtl.runner import RtlSession

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .designs import WIDE
from .inference import BASE, PAGE, Proof

STOPPED = {"busy": 0, "done": 0, "error": 1}
BUSY_STOPPED = {"busy": 1, "done": 0, "error": 1}
BEAT = WIDE.bus_width // 8
CODES, RESIDUALS = WIDE.code_depth, WIDE.residual_depth
POISON = 0xEE
EXTRA = 2 * PAGE
"""Bytes behind the good program, for another one."""


@pytest.fixture(scope="module")
def good() -> Proof:
    """A small model whose program has every instruction."""
    rng = generator(1)
    artifact = random_artifact(rng, Size(pool="avg"))
    proof = Proof(artifact, WIDE, random_pixels(rng, artifact, 1))
    assert {placed.command.name for placed in proof.program.commands} == BY_NAME.keys()
    return proof


@pytest.fixture
def session(good: Proof) -> Iterator[RtlSession]:
    """The design after reset, with the good program and room for another behind it."""
    with good.session(bytes(EXTRA)) as opened:
        yield opened


def behind(good: Proof) -> int:
    """Offset of the room behind the good program."""
    return len(good.memory)


def place(good: Proof, session: RtlSession, code: bytes) -> int:
    """Put a program behind the good one; return its address."""
    at = behind(good)
    session.memory[at : at + EXTRA] = np.frombuffer(code.ljust(EXTRA, b"\0"), np.uint8)
    return BASE + at


def poison(good: Proof, session: RtlSession) -> None:
    """Logits of an earlier run must not pass for those of the next."""
    area = good.program.output
    session.memory[area.offset : area.offset + area.bytes] = POISON


def stops(
    good: Proof,
    session: RtlSession,
    cause: ErrorCause,
    address: int,
    **options: object,
) -> RunResult:
    """A run that must end with this error, and a good one after it without a reset."""
    poison(good, session)
    before = session.memory.copy()
    run = session.run(limit=1 << 18, **options)
    assert run.violation is None
    assert (run.cause.name, hex(run.address)) == (cause.name, hex(address))
    assert run.status == STOPPED
    area = good.program.output
    before[area.offset : area.offset + area.bytes] = session.memory[area.offset :][: area.bytes]
    assert run.memory == before.tobytes(), "a run that stops must write nothing but logits"
    works(good, session)
    return run


def works(good: Proof, session: RtlSession, **options: object) -> None:
    """The good program, from a state that other runs left."""
    poison(good, session)
    good.check(session.run(limit=1 << 18, **options))


def number_of(good: Proof, name: str, **operands: int) -> int:
    """Place in the program of the first command of this name with these operands."""
    return next(
        number
        for number, placed in enumerate(good.program.commands)
        if placed.command.name == name
        and all(placed.command[key] == value for key, value in operands.items())
    )


def edited(good: Proof, number: int, **operands: int) -> bytes:
    """The good image with other operands in one command; all legal by the table."""
    old = good.program.commands[number].command
    return patched(good, number, Command(old.name, {**old.operands, **operands}, old.after))


def patched(good: Proof, number: int, command: Command | int) -> bytes:
    """The good memory with another command, or 256 bits, in one place."""
    word = command if isinstance(command, int) else int.from_bytes(command.encode(), "little")
    memory = bytearray(good.memory)
    memory[32 * number : 32 * number + 32] = word.to_bytes(32, "little")
    return bytes(memory)


def bits_of(good: Proof, number: int) -> int:
    """A command of the good program as 256 bits."""
    return int.from_bytes(good.program.commands[number].command.encode(), "little")


def stops_edited(
    good: Proof, session: RtlSession, memory: bytes, cause: ErrorCause, address: int
) -> None:
    """The same program with a wrong command; the good one runs again when it is put back."""
    image = np.frombuffer(memory, np.uint8)
    original = np.frombuffer(good.memory, np.uint8)
    session.memory[: image.size] = image
    run = session.run(limit=1 << 18, watchdog=5000)
    assert run.violation is None
    assert (run.cause.name, hex(run.address)) == (cause.name, hex(address))
    assert run.status == STOPPED
    assert run.memory[: image.size] == memory, "a run that stops before its end must write nothing"
    session.memory[: image.size] = original
    works(good, session)


class TestBus:
    """Error answers of the memory."""

    @pytest.mark.parametrize("response", ["slverr", "decerr"])
    @pytest.mark.parametrize(
        "segment", ["program", "embed.position", "block0.fc1.weight", "block0.gelu.table", "input"]
    )
    def test_reads(self, good: Proof, session: RtlSession, segment: str, response: str) -> None:
        offset, size = good.program.segments[segment]
        wrong = BASE + offset + size // 2 + 3
        fault = Fault(start=wrong, end=wrong + 1, response=response)
        cause = ErrorCause[f"READ_{response.upper()}"]
        stops(good, session, cause, wrong // BEAT * BEAT, faults=[fault])

    @pytest.mark.parametrize("response", ["slverr", "decerr"])
    def test_writes(self, good: Proof, session: RtlSession, response: str) -> None:
        offset = BASE + good.program.output.offset
        fault = Fault(start=offset + 9, end=offset + 10, response=response, access="write")
        cause = ErrorCause[f"WRITE_{response.upper()}"]
        stops(good, session, cause, offset, faults=[fault])

    def test_nobody_at_the_entry(self, good: Proof, session: RtlSession) -> None:
        entry = BASE + behind(good) + EXTRA
        stops(good, session, ErrorCause.READ_DECERR, entry, entry=entry)

    @pytest.mark.parametrize(
        ("text", "offset", "cause"),
        [
            ("FETCH offset={far} beats=3 destination=WEIGHTS", 0, "READ_DECERR"),
            ("FETCH offset={last} beats=3 destination=EMBED", BEAT, "READ_DECERR"),
            ("PATCHIFY offset={far} beats=3 run=4", 0, "READ_DECERR"),
        ],
    )
    def test_nobody_at_an_offset(
        self, good: Proof, session: RtlSession, text: str, offset: int, cause: str
    ) -> None:
        last = EXTRA - BEAT
        code = program(text.format(far=EXTRA, last=last))
        entry = place(good, session, code)
        stops(good, session, ErrorCause[cause], BASE + len(session.memory), entry=entry)

    def test_nobody_for_the_logits(self, good: Proof, session: RtlSession) -> None:
        far = len(session.memory)
        memory = edited(good, number_of(good, "STORE", mode=4), offset=far)
        stops_edited(good, session, memory, ErrorCause.WRITE_DECERR, BASE + far)

    def test_somewhere_in_the_middle_of_delays(self, good: Proof, session: RtlSession) -> None:
        """Any beat that the program reads or writes, at any time."""
        rng = generator(2)
        segments = list(good.program.segments.items())
        for number in range(16):
            name, (offset, size) = segments[rng.integers(len(segments))]
            size = good.program.output.bytes if name == "output" else size
            response = str(rng.choice(["slverr", "decerr"]))
            wrong = BASE + offset + int(rng.integers(size))
            timing = MemoryTiming(
                read_latency=int(rng.integers(1, 40)),
                write_latency=int(rng.integers(1, 40)),
                extra_latency=int(rng.integers(0, 60)),
                hold=float(rng.uniform(0, 0.7)),
                bandwidth=float(rng.uniform(0.1, 1)),
                seed=int(rng.integers(1 << 32)),
            )
            print(f"{number}: {name} {response} at {wrong:#x}, {timing}")
            access, address = "READ", wrong // BEAT * BEAT
            if name == "output":
                access, address = "WRITE", BASE + offset
            cause = ErrorCause[f"{access}_{response.upper()}"]
            fault = Fault(start=wrong, end=wrong + 1, response=response)
            stops(good, session, cause, address, faults=[fault], memory=timing)


def program(*lines: str) -> bytes:
    """A hand-made program, END included."""
    return encode(assemble("\n".join([*lines, "END"])))


class TestCommands:
    """Commands that are not legal, and those that reach beyond a buffer."""

    @pytest.mark.parametrize("opcode", [0, 15])
    @pytest.mark.parametrize("number", [0, 9])
    def test_bad_opcode(self, good: Proof, session: RtlSession, number: int, opcode: int) -> None:
        word = bits_of(good, number) >> OPCODE_WIDTH << OPCODE_WIDTH | opcode
        memory = patched(good, number, word)
        stops_edited(good, session, memory, ErrorCause.BAD_OPCODE, BASE + 32 * number)

    @pytest.mark.parametrize(
        ("name", "operand", "value"),
        [
            ("GEMM", "tokens", 0),
            ("GEMM", "tokens", WIDE.token_depth + 1),
            ("GEMM", "activation_digits", 2),
            ("FETCH", "offset", BEAT // 2),
            ("FETCH", "beats", 0),
            ("STORE", "mode", 5),
            ("STORE", "mode", 7),
            ("LAYERNORM", "channels", WIDE.embedding_depth + 1),
            ("LAYERNORM", "base", RESIDUALS),
            ("ATTENTION", "last", WIDE.rows + 1),
            ("ATTENTION", "base", CODES),
            ("POOL", "rows", WIDE.token_depth + 1),
            ("EMBED", "words", 0),
            ("PATCHIFY", "down", 0),
        ],
    )
    def test_bad_operand(
        self, good: Proof, session: RtlSession, name: str, operand: str, value: int
    ) -> None:
        number = number_of(good, name)
        bit, field = good.program.commands[number].command.instruction.places[operand]
        word = bits_of(good, number) & ~((1 << field.width) - 1 << bit) | value << bit
        memory = patched(good, number, word)
        stops_edited(good, session, memory, ErrorCause.BAD_OPERAND, BASE + 32 * number)

    def test_bad_wait(self, good: Proof, session: RtlSession) -> None:
        number = number_of(good, "FETCH")
        word = bits_of(good, number) | NO_UNIT << OPCODE_WIDTH | 1 << OPCODE_WIDTH + 3
        memory = patched(good, number, word)
        stops_edited(good, session, memory, ErrorCause.BAD_OPERAND, BASE + 32 * number)

    @pytest.mark.parametrize(
        ("name", "which", "operands", "address"),
        [
            ("PATCHIFY", {}, {"base": CODES - 1}, CODES),
            ("GEMM", {}, {"base": CODES - 1}, CODES),
            ("GEMM", {}, {"stride": CODES + 5}, CODES + 5),
            # The last column comes first, and here begins the second tile's.
            ("WEIGHTS", {"buffer": 1}, {"base": CODES - 4}, CODES + 4),
            ("STORE", {"mode": 0}, {"base": CODES - 1}, CODES),
            ("STORE", {"mode": 1}, {"base": CODES - 3}, CODES),
            ("STORE", {"mode": 2}, {"base": RESIDUALS}, RESIDUALS),
            ("EMBED", {}, {"base": RESIDUALS - 2}, RESIDUALS),
            ("POOL", {}, {"base": RESIDUALS - 3}, RESIDUALS),
            ("LAYERNORM", {}, {"base": RESIDUALS - 1}, RESIDUALS),
            # Row by row: the second tile of the first one.
            ("LAYERNORM", {}, {"out": CODES - 1}, CODES + 4),
            ("ATTENTION", {}, {"base": CODES - 1}, CODES),
            ("ATTENTION", {}, {"out": CODES - 1}, CODES),
        ],
    )
    def test_beyond_a_buffer(
        self,
        good: Proof,
        session: RtlSession,
        name: str,
        which: dict[str, int],
        operands: dict[str, int],
        address: int,
    ) -> None:
        memory = edited(good, number_of(good, name, **which), **operands)
        stops_edited(good, session, memory, ErrorCause.BAD_ADDRESS, address)

    def test_a_program_of_one_bad_access(self, good: Proof, session: RtlSession) -> None:
        """Hand-made: the second row of pixels does not fit any more."""
        patches = f"PATCHIFY offset=0 beats=4 base={CODES - 2} stride=2 run=4 height=2 across=2"
        entry = place(good, session, program(patches))
        stops(good, session, ErrorCause.BAD_ADDRESS, CODES, entry=entry)


@pytest.mark.parametrize(
    "entry", [BASE + BEAT, BASE + PAGE // 2, BASE | 1 << 40, BASE + 1], ids=hex
)
def test_an_entry_that_is_not_legal(good: Proof, session: RtlSession, entry: int) -> None:
    run = stops(good, session, ErrorCause.BAD_ADDRESS, entry, entry=entry)
    assert run.traffic.read_beats == 0


HANGS = {
    "outputs of nothing": "STORE mode=CODES",
    "logits of nothing": f"STORE mode=LOGITS offset={PAGE} bytes=4",
    "positions of nothing": "EMBED words=1",
    "a table of nothing": "TABLE",
    "vectors without weights": "GEMM",
    "weights of nothing": "WEIGHTS",
    "a norm without parameters": "LAYERNORM channels=4",
    "attention without log codes": "ATTENTION last=1",
    "pixels of nothing": "PATCHIFY beats=0 run=4",
    "a stream that nobody takes": "FETCH beats=500 destination=LAYERNORM",
    "a wait for nothing": "EMBED words=1 after=GEMM:1",
}


class TestWatchdog:
    """Programs that hang, and memories that are slow."""

    @pytest.mark.parametrize("case", HANGS)
    def test_a_program_that_hangs(self, good: Proof, session: RtlSession, case: str) -> None:
        entry = place(good, session, program(HANGS[case]))
        run = stops(good, session, ErrorCause.WATCHDOG, 0, entry=entry, watchdog=700)
        assert 700 < run.cycles < 1500

    def test_a_slow_memory_is_no_fault(self, good: Proof, session: RtlSession) -> None:
        works(good, session, memory=MemoryTiming(read_latency=600, write_latency=600), watchdog=700)

    def test_an_answer_that_is_owed(self, good: Proof, session: RtlSession) -> None:
        """The error is told; the run stays busy, and starts do nothing, until the bus answers."""
        run = session.run(memory=MemoryTiming(read_latency=6000), watchdog=700, limit=1 << 18)
        assert (run.cause, run.address, run.violation) == (ErrorCause.WATCHDOG, 0, None)
        assert run.status == BUSY_STOPPED
        assert run.cycles < 2000
        session.write(csr.find_register("CONTROL").offset, *csr.pack("CONTROL", start=1))
        status = csr.find_register("STATUS").offset
        for _ in range(6000):
            if not csr.unpack("STATUS", [session.read(status)])["busy"]:
                break
        assert csr.unpack("STATUS", [session.read(status)]) == STOPPED
        works(good, session)


def test_a_start_while_busy_does_nothing(good: Proof, session: RtlSession) -> None:
    """Not with another ENTRY either; the run that is on its way ends as if nothing had been."""
    other = place(good, session, b"\xff" * 32)
    poison(good, session)
    with pytest.raises(RtlError) as caught:
        session.run(limit=600)
    assert caught.value.result.status == {"busy": 1, "done": 0, "error": 0}
    run = session.run(entry=other, limit=1 << 18)
    assert (run.cause, run.address, run.violation) == (ErrorCause.NONE, 0, None)
    assert run.status["done"]
    assert (good.program.logits(run.memory) == good.golden.logits).all()
    # The other program is what the next start runs.
    assert session.run(entry=other, limit=1 << 18).cause == ErrorCause.BAD_OPCODE
    works(good, session)


def test_many_runs_in_a_row(good: Proof, session: RtlSession) -> None:
    """Good ones and others, in random order, without a reset between them."""
    rng = generator(3)
    hang = place(good, session, program(HANGS["outputs of nothing"]))
    for kind in rng.permutation(4 * ["good", "slow", "hang", "entry", "bus"]).tolist():
        if kind in ("good", "slow"):
            hold = 0.5 if kind == "slow" else 0.0
            works(good, session, memory=MemoryTiming(hold=hold, seed=int(rng.integers(1 << 32))))
            continue
        offset = BASE + int(rng.integers(good.program.output.offset - BEAT))
        faults = [Fault(start=offset, end=offset + PAGE)] if kind == "bus" else []
        entry = {"hang": hang, "entry": hang + 4}.get(kind)
        run = session.run(entry=entry, faults=faults, watchdog=300, limit=1 << 18)
        assert run.status == STOPPED
        assert run.violation is None


def test_the_design_is_what_its_registers_say(good: Proof, session: RtlSession) -> None:
    words = [session.read(offset) for offset in csr.find_register("CONFIG").offsets]
    assert csr.unpack_config(words) == WIDE


def test_a_reset_at_any_cycle(good: Proof, session: RtlSession) -> None:
    """Bursts under way and all: what follows is as from power-on."""
    rng, slow = generator(4), MemoryTiming(hold=0.3)
    cycles = session.run(memory=slow).cycles
    for limit in rng.integers(1, cycles, 12).tolist():
        with pytest.raises(RtlError):
            session.run(limit=limit, memory=slow)
        session.reset()
        status, error = (csr.find_register(name).offset for name in ("STATUS", "ERROR"))
        assert (session.read(status), session.read(error)) == (0, 0)
        works(good, session)


@pytest.mark.parametrize("kept", [0, 1, 7, 40])
def test_a_program_that_is_cut_off(good: Proof, session: RtlSession, kept: int) -> None:
    """What erased memory holds is no command: the first one behind the cut is named."""
    end = COMMAND_BYTES * len(good.program.commands)
    memory = bytearray(good.memory)
    memory[COMMAND_BYTES * kept : end] = b"\xff" * (end - COMMAND_BYTES * kept)
    address = BASE + COMMAND_BYTES * kept
    stops_edited(good, session, bytes(memory), ErrorCause.BAD_OPCODE, address)


def test_registers_at_any_time(good: Proof, session: RtlSession) -> None:
    """All are read, and written but where that means something, and so are addresses that none has,
    while a run is on its way: it ends as if nothing had been."""
    rng = generator(5)
    meant = {"WATCHDOG", "INTERRUPT_ENABLE", "CONTROL"}
    kept = {at for each in csr.REGISTERS if each.name in meant for at in each.offsets}
    legal = {at for each in csr.REGISTERS for at in each.offsets}
    writable = {at for each in csr.REGISTERS if each.access.writable for at in each.offsets}
    poison(good, session)
    for _ in range(3):
        with pytest.raises(RtlError):
            session.run(limit=int(rng.integers(1, 100)))
        others = rng.choice(range(0, 1 << 12, 4), 30).tolist()
        for offset in rng.permutation([*legal, *others]).tolist():
            answers(lambda at=offset: session.read(at), legal=offset in legal)
            if offset not in kept:
                word = int(rng.integers(1 << 32))
                answers(lambda at=offset, w=word: session.write(at, w), legal=offset in writable)
    run = session.run(limit=1 << 18)
    assert (run.cause, run.address, run.violation) == (ErrorCause.NONE, 0, None)
    assert (good.program.logits(run.memory) == good.golden.logits).all()
    works(good, session)


def answers(access: Callable[[], object], *, legal: bool) -> None:
    """OKAY where it is legal, and an error where not."""
    if legal:
        access()
        return
    with pytest.raises(RtlError, match=r"response 2$"):
        access()
