"""The RTL runner on a design that copies: memory, registers, probes, failures, and its builds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rootshift.csr import ErrorCause
from rootshift.errors import OutputError, ToolError
from rootshift.isa import Unit
from rootshift.sim.native.layout import WINDOW
from rootshift.sim.native.memory import CHANNELS, Fault, MemoryTiming, draw
from rootshift.sim.native.toolchain import CACHE_VARIABLE
from rootshift.sim.rtl.build import WAVES, _link_fst, build_model, design_key
from rootshift.sim.rtl.glue import header
from rootshift.sim.rtl.result import Beats, RtlError, RunResult
from rootshift.sim.rtl.runner import RtlModel, RtlSession
from rootshift.sim.timeline import ArrayState
from rootshift.testbench.hw.copy_engine import EVERY, GROUP, WIDTHS, CopyEngine
from rootshift.testbench.seeds import generator

BUSES = (32, 64, 128)
BASE, SIZE, AWAY = 0xA5_0000_0000, 1 << 16, 1 << 15
EXTREMES = {
    "one beat at a time": MemoryTiming(read_latency=9, write_latency=13, bandwidth=0.25),
    "any delay": MemoryTiming(extra_latency=40, seed=2),
    "one channel alone": MemoryTiming(hold={"b": 0.9}, seed=3),
    "everything": MemoryTiming(
        read_latency=20, write_latency=7, extra_latency=9, hold=0.6, bandwidth=0.75, seed=4
    ),
}


_models: dict[tuple, RtlModel] = {}


def model(width: int = 64, fault: str = "", waves: str = "") -> RtlModel:
    """Built once per design in a test process; the key spares what has not changed its Verilog."""
    key = (width, fault, waves)
    if key not in _models:
        text = design_key(key, Path(sys.modules[CopyEngine.__module__].__file__).read_text())
        _models[key] = RtlModel(
            lambda: CopyEngine(data_width=width, fault=fault),
            name="copy_engine",
            made_from=text,
            waves=waves,
        )
    return _models[key]


def order(start: int, beats: int) -> dict[str, int]:
    return {"entry": start | beats << 40, "watchdog": AWAY}


def copy(
    chosen: RtlModel, start: int = BASE, beats: int = 1, image: bytes = b"", **options: object
) -> RunResult:
    return chosen.run(image, BASE, SIZE, **order(start, beats), **options)


@pytest.mark.parametrize("width", BUSES)
def test_a_run_gives_memory_registers_and_probes(width: int) -> None:
    step, rng = width // 8, generator(width)
    image = rng.bytes(AWAY)
    for timing in (MemoryTiming(), *EXTREMES.values()):
        beats = int(rng.integers(1, 600))
        first = int(rng.integers(0, AWAY // step - beats)) * step
        block = image[first : first + beats * step]
        run = copy(model(width), BASE + first, beats, image, memory=timing)
        expected = bytearray(image.ljust(SIZE, b"\0"))
        expected[first + AWAY : first + AWAY + len(block)] = block
        assert run.memory == expected
        assert run.violation is None
        assert (run.cause, run.address) == (ErrorCause.NONE, 0)
        assert run.status == {"busy": 0, "done": 1, "error": 0}
        assert run.counters["CYCLES"]["count"] == run.cycles - 1
        assert run.counters["BUSY"]["gemm"] == run.traffic.read_beats == beats
        assert run.counters["SATURATED"]["gemm"] == 0x1234
        assert run.traffic.write_bytes == run.traffic.read_bytes == len(block)
        assert run.traffic.write_bursts == run.traffic.read_bursts >= -(-beats // 16)
        _check_probes(run, block, step)
        _check_windows(run)


def _check_probes(run: RunResult, block: bytes, step: int) -> None:
    values = [int.from_bytes(block[at : at + step], "little") for at in range(0, len(block), step)]
    stamps = run.beats["gemm"].cycles
    assert (np.diff(stamps) > 0).all()
    for name, every in EVERY.items():
        width = WIDTHS.get(name, 8 * step)
        numbers = [n % GROUP + 1 for n in range(len(values))]
        seen = [n for n, number in enumerate(numbers) if number % every == 0]
        got = run.beats[name]
        whole = [
            sum(int(word) << 32 * i for i, word in enumerate(words)) for words in got.words.tolist()
        ]
        assert whole == [values[n] % (1 << width) | numbers[n] << width for n in seen], name
        assert got.cycles.tolist() == stamps[seen].tolist()
        assert got.fields(4, 1, offset=width)[:, 0].tolist() == [numbers[n] for n in seen]
    groups = stamps[GROUP - 1 :: GROUP].tolist()
    gemm = [cycle for cycle, unit in run.done.tolist() if unit == Unit.GEMM]
    assert gemm == groups
    assert run.done[-1].tolist() == [run.cycles - 1, Unit.STORE]
    # A row ends with its strobe, and all cycles from the one after the start strobe are counted.
    ends = np.array([*groups, run.cycles])
    assert run.array.sum(1).tolist() == np.diff(ends, prepend=0).tolist()
    busy = run.array[:, ArrayState.BUSY].tolist()
    assert busy == [GROUP] * len(groups) + [len(values) % GROUP]


def _check_windows(run: RunResult) -> None:
    """A beat counts in the window of the cycle in which it moved."""
    moved = run.beats["gemm"].cycles  # one that is read goes to the write port in that cycle
    begun = {unit: cycle for cycle, unit in run.begun.tolist()}
    assert begun.keys() == {Unit.FETCH, Unit.STORE}
    assert min(begun.values()) > 0
    assert max(begun.values()) < moved[0]
    for windows in (run.reads, run.writes):
        assert windows.sum() == len(moved)
        assert len(windows) <= run.cycles // WINDOW + 1
    # The read port is ahead of the engine by what its FIFO holds, the write port behind it.
    reads, writes = (np.cumsum(windows) for windows in (run.reads, run.writes))
    for window in range(run.cycles // WINDOW):
        copied = int((moved < (window + 1) * WINDOW).sum())
        read, written = (counts[min(window, len(counts) - 1)] for counts in (reads, writes))
        assert written <= copied <= read


def test_ideal_memory_costs_nothing_per_beat() -> None:
    few, many = copy(model(), beats=64), copy(model(), beats=64 + 1024)
    assert many.cycles - few.cycles == 1024


@pytest.mark.parametrize("seed", range(3))
def test_delays_can_be_drawn_again(seed: int) -> None:
    """What the cycle model needs: the same cycles from seed and counts alone."""
    ideal = copy(model()).cycles
    for extra in (0, 1, 100):
        timing = MemoryTiming(read_latency=5, write_latency=8, extra_latency=extra, seed=seed)
        waits = [draw(seed, len(CHANNELS) + CHANNELS.index(name), 0) % (extra + 1) for name in "rb"]
        assert copy(model(), memory=timing).cycles == ideal + 4 + 7 + sum(waits)
    rng = generator(seed)
    for _ in range(100):
        channel, one, other = int(rng.integers(10)), *map(int, rng.integers(0, 1 << 63, 2))
        assert model().library.rtl_draw(one, channel, other) == draw(one, channel, other)


@pytest.mark.parametrize("channel", CHANNELS)
def test_held_channels_are_slower(channel: str) -> None:
    ideal = copy(model(), beats=400).cycles
    held = copy(model(), beats=400, memory=MemoryTiming(hold={channel: 0.97}, seed=5))
    assert held.violation is None
    assert held.cycles > 1.2 * ideal


@pytest.mark.parametrize("bandwidth", [0.5, 0.3, 0.01])
def test_bandwidth_is_kept(bandwidth: float) -> None:
    few, many = (
        copy(model(), beats=n, memory=MemoryTiming(bandwidth=bandwidth)).cycles for n in (100, 400)
    )
    assert many - few == pytest.approx(300 / bandwidth, rel=0.01, abs=2)


def test_errors_reach_the_registers_and_the_next_run_is_sound() -> None:
    rng, at = generator(1), BASE + 0x400
    image = rng.bytes(AWAY)
    cases = [
        (Fault(start=at, end=at + 1), ErrorCause.READ_SLVERR, at),
        (Fault(start=at + 7, end=at + 8, response="decerr"), ErrorCause.READ_DECERR, at),
        (Fault(start=at + AWAY, end=at + AWAY + 8), ErrorCause.WRITE_SLVERR, at + AWAY),
        (
            Fault(start=at + AWAY, end=at + AWAY + 8, response="decerr", access="write"),
            ErrorCause.WRITE_DECERR,
            at + AWAY,
        ),
        (Fault(start=at, end=at + 8, access="write"), ErrorCause.NONE, 0),
    ]
    with RtlSession(model(), image, BASE, SIZE) as session:
        for fault, cause, address in cases:
            run = session.run(**order(at, 40), faults=[fault])
            assert (run.cause, run.address) == (cause, address)
            assert run.status["error"] == (cause != ErrorCause.NONE)
            assert run.violation is None
            session.memory[AWAY:] = 0
            sound = session.run(**order(at, 40), memory=EXTREMES["everything"])
            assert sound.cause == ErrorCause.NONE
            assert sound.memory[0x400 + AWAY :][:320] == image[0x400 : 0x400 + 320]


def test_outside_the_memory_nobody_answers() -> None:
    for start, cause in ((BASE - 8, 2), (BASE + SIZE, 2), (BASE + AWAY, 4)):
        run = copy(model(), start, 2)
        assert run.cause == cause
        assert run.address == (start if cause == ErrorCause.READ_DECERR else BASE + SIZE)
        assert run.memory == bytes(SIZE)


BREACHES = {
    "wlast": "W in cycle .*: wlast is missing on the last beat",
    "crossing": "AR in cycle .*: burst crosses 4 KiB",
    "size": "AW in cycle .*: size is not that of the bus",
    "changes": "AR in cycle .*: payload changed while it waited",
    "drops": "W in cycle .*: valid fell before ready",
}


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "said"), BREACHES.items())
def test_a_breach_of_the_protocol_is_told(fault: str, said: str) -> None:
    run = copy(model(fault=fault), beats=20, memory=MemoryTiming(hold=0.7, seed=1), limit=10_000)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(run.violation)


def test_a_burst_beyond_the_limit_is_told() -> None:
    run = copy(model(), beats=20, memory=MemoryTiming(burst=15))
    assert run.violation
    assert "burst is longer than allowed" in run.violation


@pytest.mark.slow
def test_a_design_that_does_not_answer_is_told() -> None:
    with pytest.raises(RtlError, match=r"within 500 cycles: none came \(status: busy; 9 beats re"):
        copy(model(fault="silent"), beats=9, limit=500)
    with pytest.raises(RtlError, match="must answer OKAY to a write at 0x108, not nothing"):
        copy(model(fault="stuck"))
    with (
        RtlSession(model(), b"", BASE, SIZE) as session,
        pytest.raises(RtlError, match="must answer OKAY to a read at 0xff0, not response 2"),
    ):
        session.read(0xFF0)


def test_a_run_is_told_how_far_it_is_and_can_be_cut_off() -> None:
    seen: list[int] = []
    slow = MemoryTiming(bandwidth=0.001)
    with pytest.raises(RtlError) as caught:
        copy(model(), beats=1000, memory=slow, limit=300_000, progress=seen.append)
    assert seen == [1 << 17, 2 << 17, 300_000]
    assert caught.value.result.cycles == 300_000
    assert caught.value.result.status["busy"]


def traced(chosen: RtlModel, path: Path, begin: int, end: int) -> int:
    with RtlSession(chosen, b"", BASE, SIZE) as session:
        return session.trace(path, begin, end, **order(BASE, 40))


@pytest.mark.slow
def test_waves_cover_their_window_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "a.vcd"
    assert traced(model(waves="vcd"), file, 10, 20) == 19
    text = file.read_text()
    times = [int(line[1:]) for line in text.splitlines() if line.startswith("#")]
    assert (times[0], times[-1]) == (100, 195)
    assert "m_axi__araddr" in text
    # To trace changes nothing, and the interrupt ends it.
    cycles = copy(model(), beats=40).cycles
    assert copy(model(waves="vcd"), beats=40).cycles == cycles
    assert traced(model(waves="vcd"), file, 1, 10_000) == cycles
    with pytest.raises(ValueError, match="waves must be asked for when the model is built"):
        traced(model(), file, 1, 2)
    with pytest.raises(OutputError, match="cannot be written"):
        traced(model(waves="vcd"), tmp_path / "none" / "a.vcd", 1, 2)


@pytest.mark.slow
def test_waves_are_written_as_fst(tmp_path: Path) -> None:
    file = tmp_path / "a.fst"
    try:
        chosen = model(waves="fst")
    except ToolError as error:
        pytest.skip(str(error))
    assert traced(chosen, file, 10, 20) == 19
    content = file.read_bytes()
    # The header block: kind 0, its length, the first and the last time.
    assert (content[0], int.from_bytes(content[1:9], "big")) == (0, 329)
    first, last = (int.from_bytes(content[at : at + 8], "big") for at in (9, 17))
    assert (first, last) == (100, 195)


def test_fst_without_its_libraries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAVES, "fst", ("-lno-such-library",))
    _link_fst.cache_clear()
    with pytest.raises(ToolError, match=r"apt install liblz4-dev zlib1g-dev"):
        build_model(never, "copy_engine", waves="fst")
    with pytest.raises(ValueError, match="waves must be one of vcd, fst, not 'ghw'"):
        build_model(never, "copy_engine", waves="ghw")


STAMPS = np.arange(5)


@pytest.mark.parametrize("signed", [False, True])
def test_fields_are_unpacked(signed: bool) -> None:
    rng = generator(signed)
    for width in (1, 3, 8, 16, 31, 32, 33, 48, 63, *([64] if signed else [])):
        bits = 200
        words = rng.integers(0, 1 << 32, (5, 7), dtype=np.uint32)
        offset = int(rng.integers(0, 64))
        got = Beats(words, bits, STAMPS).fields(width, offset=offset, signed=signed)
        whole = [sum(int(word) << 32 * i for i, word in enumerate(row)) for row in words]
        expected = [
            [row >> offset + width * i & (1 << width) - 1 for i in range((bits - offset) // width)]
            for row in whole
        ]
        if signed:
            expected = [[v - (v >> width - 1 << width) for v in row] for row in expected]
        assert got.tolist() == expected, (width, offset)
    with pytest.raises(ValueError, match="4 fields of 8 bits from bit 1 on must fit into"):
        Beats(words, 32, STAMPS).fields(8, 4, offset=1)
    with pytest.raises(ValueError, match="width must be 1 to"):
        Beats(words, 32, STAMPS).fields(65)


def test_probes_can_be_chosen() -> None:
    run = copy(model(), beats=20, probes=["residual"])
    assert list(run.beats) == ["residual"]
    assert len(run.beats["residual"]) == 2
    with pytest.raises(ValueError, match=r"probe must be one of gemm, .*, not 'scores'"):
        copy(model(), probes=["scores"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"read_latency": 0}, "read_latency must be 1 to 1048576, not 0"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"hold": {"x": 0.5}}, "channel of hold must be one of ar, r, aw, w, b, not 'x'"),
        ({"hold": 1}, "hold must be 0 to 0.99, not 1"),
        ({"hold": {"w": -0.1}}, "hold of w must be 0 to 0.99, not -0.1"),
        ({"bandwidth": 2}, r"bandwidth must be 2\^-16 to 1, not 2"),
        ({"bandwidth": float("nan")}, "bandwidth must be finite, not nan"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MemoryTiming(**wrong)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"extra_latency must be an integer, not 1\.5"):
        MemoryTiming(extra_latency=1.5)
    with pytest.raises(TypeError, match="bandwidth must be a number, not '1'"):
        MemoryTiming(bandwidth="1")
    with pytest.raises(ValueError, match="end must be 5 to"):
        Fault(start=4, end=4)
    with pytest.raises(ValueError, match="response must be slverr or decerr, not 'okay'"):
        Fault(start=4, end=8, response="okay")
    with pytest.raises(ValueError, match="access must be read, write or any, not 'both'"):
        Fault(start=4, end=8, access="both")
    with pytest.raises(ValueError, match="size must be a multiple of 16, not 40"):
        RtlSession(model(), b"", BASE, 40)
    with pytest.raises(ValueError, match="image must be at most 16 bytes long, not 17"):
        RtlSession(model(), bytes(17), BASE, 16)
    with pytest.raises(ValueError, match="component must have the port clk"):
        header({})


def never() -> CopyEngine:
    raise AssertionError("the design must not be made")


def test_a_build_that_is_kept_needs_no_design() -> None:
    def make() -> CopyEngine:
        return CopyEngine(data_width=32)

    # Names of the present sources: builds outlive a change of them.
    name, other = design_key("a name"), design_key("another name of it")
    built = build_model(make, "copy_engine", made_from=name)
    assert build_model(never, "copy_engine", made_from=name) == built
    assert build_model(make, "copy_engine", made_from=other) == built
    assert build_model(make, "copy_engine") == built
    assert list(built.probes) == list(EVERY)
    assert (built.bus_width, built.waves) == (32, "")
    assert design_key(1) == design_key(1) != design_key(2)


@pytest.mark.slow
def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    """The run time is taken over, to spare its time; the design is built once."""
    for runtime in (model().model.library.parents[1]).glob("runtime-*/"):
        shutil.copytree(runtime, tmp_path / runtime.name)
    script = (
        "from rootshift.testbench.hw.copy_engine import CopyEngine\n"
        "from rootshift.sim.rtl.runner import RtlModel\n"
        "model = RtlModel(CopyEngine(data_width=32))\n"
        "print(model.run(b'', 0, 1 << 16, entry=1 << 40, watchdog=64).status['done'])\n"
    )
    environment = {**os.environ, CACHE_VARIABLE: str(tmp_path)}
    command = [sys.executable, "-c", script]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == ["1\n", "1\n"]
    assert len([path for path in tmp_path.glob("verilog-*") if path.is_dir()]) == 1
    assert not list(tmp_path.glob("*.*/")), "a folder that was made aside is left"


def test_tools_that_are_missing_or_fail_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolError, match="'no-such-compiler' is not on PATH: install g"):
        build_model(never, "copy_engine")
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(ToolError, match="false failed with exit code 1"):
        build_model(never, "copy_engine")
    monkeypatch.delenv("CXX")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match=f"cannot be written: .*; {CACHE_VARIABLE} names another"):
        build_model(never, "copy_engine", made_from="a test")
