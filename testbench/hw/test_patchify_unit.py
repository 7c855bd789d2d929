"""Bench of the unit that executes PATCHIFY, against a model of `docs/accelerator.md` in NumPy."""

import random

import cocotb
import numpy as np
import pytest

from rootshift.hw.axi_bursts import Cause
from rootshift.hw.patchify_unit import PatchifyUnit
from rootshift.isa import WORD_ADDRESS_WIDTH
from rootshift.latency import BURST
from rootshift.testbench.hw.axi_memory import BASES, AxiMemory
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, at_work, command_beats, name_operands
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

SIZE = 1 << 17
WORDS = 1 << WORD_ADDRESS_WIDTH


def images(rng: random.Random, params: dict, count: int) -> list[dict[str, int]]:
    """Commands that cut images of random shapes, some in several commands; see `image`."""
    orders = []
    for number in range(count):
        run = rng.choice((rng.randint(1, 3 * params["rows"] + 2), params["rows"], 1))
        # Nobody would take the spare beats of the last one.
        spare = rng.choice((0, 0, 3)) if number < count - 1 else 0
        sizes = [rng.randint(1, 4) for _ in range(3)]
        # One loop with more turns than the others.
        sizes[number % 3] = rng.randint(1, 20)
        orders += image(rng, params, spare, run, *sizes)
    return orders


def image(
    rng: random.Random,
    params: dict,
    spare: int,
    run: int,
    height: int,
    across: int,
    down: int,
    whole: bool = False,
) -> list[dict[str, int]]:
    """Commands that cut one image, whose beats end with bytes of no use, and `spare` beats; a
    single one where it is cut as a `whole`."""
    rows, bytes_ = params["rows"], params["bus_width"] // 8
    beats = -(-run * height * across * down // bytes_)
    beats += spare
    offset = rng.randrange((SIZE - beats * bytes_) // bytes_) * bytes_
    digits = rng.randint(1, -(-8 // params["activation_width"]))
    common = {"digits": digits, "run": run, "height": height, "across": across, "offset": offset}
    # Tiles side by side and digits far from each other, or the other way round.
    near, far = rng.sample((("stride", height * -(-run // rows)), ("digit_stride", digits)), 2)
    size = common[near[0]] = across * down + rng.randint(0, 3)
    size *= near[1]
    # The words lie just apart, or as far as there is room.
    most = (WORDS - size) // max(far[1] - 1, 1)
    common[far[0]] = rng.choice((size + rng.randint(0, 3), rng.randint(size, most), most))
    base = rng.randrange(WORDS - size - (far[1] - 1) * common[far[0]] + 1)
    orders, done = [], 0
    while done < down:
        part = down if whole else rng.randint(1, down - done)
        place = {"base": base + done * across, "down": part, "beats": 0 if orders else beats}
        orders.append(common | place)
        done += part
    return orders


def model(ram: AxiMemory, params: dict, orders: list) -> tuple[list[np.ndarray], int, int]:
    """Rows `(address, codes)` of each command, sorted, then cause and address of the failure."""
    rows, width = params["rows"], params["activation_width"]
    written, cause, where = [], Cause.NONE, 0
    for order in orders:
        if order["beats"]:
            pixels = bytearray()
            fault = Cause.UNALIGNED if order["offset"] % ram.bytes else Cause.NONE
            for beat in range(min(order["beats"], SIZE // ram.bytes)):
                at = (ram.base + order["offset"] + beat * ram.bytes) % ram.space
                if cause == Cause.NONE and (fault or at in ram.errors):
                    cause, where = fault or ram.errors[at], at
                pixels += bytes(ram.bytes) if cause else ram.beat(at)
            position = 0
        words = []
        run, per_run = order["run"], -(-order["run"] // rows)
        for g in range(order["down"]):
            for y in range(order["height"]):
                for p in range(order["across"]):
                    values = np.zeros(per_run * rows, np.int64)
                    values[:run] = list(pixels[position : position + run])
                    position += run
                    for w, word in enumerate(values.reshape(per_run, rows)):
                        for d in range(order["digits"]):
                            tile = order["base"] + d * order["digit_stride"]
                            tile += (y * per_run + w) * order["stride"]
                            codes = word >> width * d & (1 << width) - 1
                            words.append([tile + g * order["across"] + p, *codes])
        written.append(np.array(sorted(words)))
    return written, cause, where


async def begin(dut) -> tuple[Bench, AxiMemory]:
    bench = await Bench.start(dut)
    params = bench.params
    contents = np.random.default_rng(params["seed"]).bytes(SIZE)
    limits = {"burst": BURST, "outstanding": 4}
    wide = params["bus_width"]
    ram = AxiMemory(bench, "m_axi", data_width=wide, base=BASES[0], contents=contents, **limits)
    name_operands(bench, "command", "PATCHIFY")
    # A word's codes one by one.
    rows, width, parts = params["rows"], params["activation_width"], params["parts"]
    bench._fields["write"] = {
        "address": (0, WORD_ADDRESS_WIDTH, False, 1),
        "codes": (WORD_ADDRESS_WIDTH, width, False, rows),
        "mask": (WORD_ADDRESS_WIDTH + width * rows, 1, False, parts),
    }
    return bench, ram


async def cut(bench: Bench, ram: AxiMemory, what: str, orders: list, **patterns) -> np.ndarray:
    """Run the commands; hold words, failure and what the unit tells of itself against the model.
    Return the cycles of `stall`."""
    expected, cause, where = model(ram, bench.params, orders)
    counts = [len(words) for words in expected]
    watch = Watch(bench, "busy", "stall", "done_stb", "write__valid", "write__ready")
    # Offsets count from anywhere below the memory.
    below = random.Random(what).randrange(((1 << 32) - SIZE) // ram.bytes) * ram.bytes
    bench.set("base", (ram.base - below) % ram.space)
    given = [order | {"offset": order["offset"] + below} for order in orders]
    beats = {"command": command_beats("PATCHIFY", given)}
    got = (await bench.run(beats, {"write": sum(counts)}, **patterns))["write"]
    ends = np.cumsum(counts)
    for number, (end, words) in enumerate(zip(ends, expected, strict=True)):
        mine = slice(end - len(words), end)
        codes = got["codes"][mine].reshape(len(words), -1)
        found = np.column_stack([got["address"][mine], codes])
        found = found[np.lexsort(found.T[::-1])]
        bench.compare(f"{what}: {number}, {orders[number]}", found, words)
    bench.compare(f"{what}: mask", np.all(got["mask"]), True)
    bench.compare(f"{what}: cause", bench.get("cause"), cause)
    bench.compare(f"{what}: address", bench.get("address"), where)
    rows = watch.stop()
    done = [cycle for cycle, row in rows.items() if row[2]]
    last = [bench.sinks["write"].cycles[end - 1] + 1 for end in ends]
    bench.compare(f"{what}: done", done, last)
    began = bench.sources["command"].cycles
    bench.compare(f"{what}: one at a time", np.all(np.array(began[1:]) > done[:-1]), True)
    busy, stall, _, valid, ready = np.array(list(rows.values())).T
    cycles = np.array(list(rows))
    bench.compare(f"{what}: busy", cycles[busy == 1], at_work(began, done))
    bench.compare(f"{what}: stall", np.any(stall & (~busy | valid & ready)), False)
    waits = (cycles > began[0]) & (cycles <= min(ram.moves["r"], default=began[0]))
    bench.compare(f"{what}: waits for memory", stall[waits].all(), True)
    return cycles[stall == 1]


@cocotb.test()
async def words_equal_the_model(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        await bench.disturb(seed=run)
        ram.latency, ram.shy = rng.choice((1, 3, 20)), bool(run & 2)
        ram.base = BASES[run % len(BASES)]
        orders = images(rng, bench.params, 6)
        patterns = {"idle": idle, "pressure": pressure, "seed": run}
        await cut(bench, ram, f"{idle}, {pressure}", orders, **patterns)


@cocotb.test()
async def operands_of_all_bits(dut):
    bench, ram = await begin(dut)
    rng, rows = random.Random(bench.params["seed"]), bench.params["rows"]
    # Large in one operand at a time, or it would take too long.
    run = min((1 << 16) - 1, 2047 * rows)
    # Two turns of what is around a loop: it begins with all bits of its operand once more.
    long = ((1, 4095, 1, 2), (1, 1, 4095, 2), (1, 2, 4095, 1), (1, 1, 1, 4095))
    for shape in ((run, 1, 1, 1), *long):
        await cut(bench, ram, f"{shape}", image(rng, bench.params, 0, *shape, whole=True))
    # Of more beats than anyone would wait for, as many as a few words need.
    ram.ahead = True
    for bit in range(10, 24):
        order, *_ = image(rng, bench.params, 0, 40 * ram.bytes, 1, 1, 1)
        beats = {"beats": (1 << bit) + 1, "offset": 0}
        await cut(bench, ram, f"{beats}", [order | beats])
        await bench.reset()


@cocotb.test()
async def errors_give_zeros_and_their_place(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"] + 1)
    for run, cause in enumerate(3 * (Cause.SLVERR, Cause.DECERR, Cause.UNALIGNED)):
        idle, pressure = PAIRS[run % len(PAIRS)]
        await bench.disturb(seed=run)
        ram.latency, ram.base = rng.choice((1, 3, 20)), BASES[run % len(BASES)]
        orders = images(rng, bench.params, 3)
        wrong = rng.choice([order for order in orders if order["beats"]])
        needed = wrong["run"] * wrong["height"] * wrong["across"] * wrong["down"]
        beat = rng.randrange(-(-needed // ram.bytes))
        at = (ram.base + wrong["offset"] + beat * ram.bytes) % ram.space
        ram.errors = {} if cause == Cause.UNALIGNED else {at: cause}
        if cause == Cause.UNALIGNED:
            wrong["offset"] += rng.randrange(1, ram.bytes)
        patterns = {"idle": idle, "pressure": pressure, "seed": run}
        await cut(bench, ram, f"{idle}, {pressure}", orders, **patterns)
        bench.compare("failed", bench.get("cause"), cause)


@cocotb.test()
async def cycles_equal_the_formula(dut):
    bench, ram = await begin(dut)
    rng = random.Random(0)
    rows = bench.params["rows"]
    for ram.latency in (1, 4):
        (order,) = [o for o in image(rng, bench.params, 0, 3 * rows, 4, 5, 1) if o["beats"]]
        digits = order["digits"]
        stalled = await cut(bench, ram, f"latency {ram.latency}", [order])
        cycles = np.array(bench.sinks["write"].cycles[::digits])
        began = bench.sources["command"].cycles[0]
        parts = -(-rows // ram.bytes)
        # ARVALID in cycle 3; a word that needs several beats comes with its last.
        bench.compare("first word", cycles[0] - began, 3 + ram.latency + 5 + parts - 1)
        gaps = np.full(len(cycles) - 1, max(digits, parts))
        bench.compare("gaps", np.diff(cycles), gaps)
        within = (stalled >= cycles[0]) & (stalled <= cycles[-2])
        bench.compare("no stall within", stalled[within], [])


# Rows, width, lanes and bus: words narrower than a beat, as wide, wider, several beats wide, and no
# multiple of it.
CONFIGS = [
    (3, 3, 1, 32),
    (4, 8, 4, 64),
    (5, 4, 5, 128),
    (7, 5, 7, 32),
    (16, 4, 8, 32),
    (32, 4, 8, 64),
    (24, 4, 8, 128),
    (12, 6, 4, 64),
    (1, 7, 1, 128),
]


@pytest.mark.parametrize(("rows", "activation_width", "lanes", "bus_width"), CONFIGS)
def test_patches(rows, activation_width, lanes, bus_width):
    config = {"rows": rows, "activation_width": activation_width, "bus_width": bus_width}
    seed = rows + bus_width
    print(f"seed {seed}")
    unit = PatchifyUnit(lanes=lanes, **config)
    params = config | {"parts": rows // lanes, "seed": seed}
    print(simulate(unit, __name__, params=params))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 257}, "rows must be 1 to 256, not 257"),
        ({"activation_width": 9}, "activation_width must be 1 to 8, not 9"),
        ({"lanes": 3}, "lanes must divide 8 rows, not 3"),
        ({"bus_width": 48}, "data_width must be 32, 64 or 128, not 48"),
        ({"addr_width": 31}, "addr_width must be 32 to 64, not 31"),
        ({"outstanding": 1}, "outstanding must be 2 to 64, not 1"),
    ],
)
def test_parameter_out_of_range(change, message):
    sizes = {"rows": 8, "activation_width": 4, "lanes": 4, "bus_width": 64}
    with pytest.raises(ValueError, match=message):
        PatchifyUnit(**(sizes | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match="rows must be an integer, not 'many'"):
        PatchifyUnit(rows="many", activation_width=4, lanes=4, bus_width=64)
