"""The Python driver runs digits on the accelerator inside its AXI wrapper, and tells what fails.

The device is the verilated RTL in the wrapper that Vivado gets: between them the driver has only
what PYNQ gives, registers behind `read` and `write` and buffers that it has to flush.
"""

import ast
import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rootshift import csr
from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw import verilog
from rootshift.hw.top import Accelerator
from rootshift.hw.vendor import wrapper
from rootshift.hw.vendor.ip_xact import VLNV
from rootshift.isa import COMMAND_BYTES
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.native.layout import timing_layout
from rootshift.sim.native.memory import Fault, MemoryTiming
from rootshift.sim.rtl import library
from rootshift.sim.rtl.build import design_key
from rootshift.sim.rtl.runner import RtlModel

from ..cli.running import invoke
from .models import digits, digits_pixels

BASE = 0xA5_1234_5000
MEMORY_BYTES = 1 << 18
IMAGES = 2
UNTOUCHED = 0x55
ADDRESS_WIDTH = 40
TOP = "board"


def board(config: AcceleratorConfig) -> str:
    """A module with the core's ports around the wrapper; its reset is the other way round."""
    declared, wired = [], []
    for interface in wrapper.interfaces(config, ADDRESS_WIDTH):
        for port in interface.ports:
            if "'" in port.inner:  # what the core does not have
                wired.append(f".{port.name}()")
                continue
            way = "output" if port.output else "input"
            declared.append(f"{way} wire [{port.width - 1}:0] {port.inner}")
            wired.append(f".{port.name}({'~' if port.inner == 'rst' else ''}{port.inner})")
    body = f"{wrapper.MODULE} ip (\n{', '.join(wired)}\n);"
    return f"module {TOP} (\n{', '.join(declared)}\n);\n{body}\nendmodule\n"


@dataclass(frozen=True)
class Generated:
    """What `generate` has written, the model, and the design in its wrapper."""

    out: Path
    artifact: Artifact
    design: RtlModel

    @property
    def image(self) -> bytes:
        """program.bin."""
        return (self.out / "program" / "program.bin").read_bytes()

    def golden(self, pixels: np.ndarray) -> np.ndarray:
        """int32 [images, classes]."""
        return GoldenModel(self.artifact).run(pixels).logits


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """The embedded model, two images a run."""
    folder, artifact = tmp_path_factory.mktemp("pynq"), digits("W4A4")
    artifact.save(folder / "artifact")
    config = AcceleratorConfig.for_artifact(artifact, "4x4")
    convert = verilog.convert

    def around(component: Accelerator, name: str) -> str:
        core = convert(component, wrapper.CORE)
        return core + wrapper.verilog(config, ADDRESS_WIDTH) + board(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rootshift.hw.verilog.convert", around)
        made_from = design_key("accelerator in its AXI wrapper", config, board(config))
        design = RtlModel(lambda: Accelerator(config=config), name=TOP, made_from=made_from)
        patch.setattr("rootshift.hw.top.Accelerator", lambda config: None)
        patch.setattr("rootshift.hw.verilog.convert", lambda component, name: "")
        words = ("--array", "4x4", "--images", IMAGES, "--out", folder / "out")
        outcome = invoke("generate", folder / "artifact", *words)
    assert outcome.code == 0, outcome
    return Generated(folder / "out", artifact, design)


def load_driver(out: Path) -> ModuleType:
    """The generated driver, as a board imports it: a file on its own, beside its description."""
    place = out / "driver" / "rootshift_pynq.py"
    spec = importlib.util.spec_from_file_location("rootshift_pynq", place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def driver(generated: Generated) -> ModuleType:
    """The driver without PYNQ."""
    return load_driver(generated.out)


class Buffer(np.ndarray):
    """Memory that a CPU without coherence sees: what is not flushed stays in its cache."""

    physical_address: int
    shared: np.ndarray

    def flush(self) -> None:
        """Let the accelerator see what was written."""
        self.shared[:] = self.view(np.ndarray)

    def invalidate(self) -> None:
        """See what the accelerator has written."""
        self.view(np.ndarray)[:] = self.shared


class Board:
    """The device: `read` and `write` of `pynq.MMIO`, and `allocate` of PYNQ."""

    def __init__(self, design: RtlModel) -> None:
        self.library = design.library
        self.memory = np.full(MEMORY_BYTES, 0xAA, np.uint8)
        self.rtl = self.library.rtl_open(self.memory.ctypes.data, BASE, MEMORY_BYTES)
        self.timing, self.faults = MemoryTiming(), ()
        self.odd: dict[int, int] = {}
        self.writes = 0
        self.shift = 0
        self.buffers: list[Buffer] = []

    def read(self, offset: int) -> int:
        """A word of the registers."""
        value = ctypes.c_uint32()
        assert self.library.rtl_read(self.rtl, offset, ctypes.byref(value)) == 0
        return value.value ^ self.odd.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Set a word of the registers; a start takes the memory's present timing and faults."""
        self.writes += 1
        if offset == csr.find_register("CONTROL").offset:
            faults = library.fault_layouts(self.faults)
            layouts = timing_layout(self.timing), faults, len(self.faults)
            assert self.library.rtl_start(self.rtl, offset, value, *layouts) == 0
        else:
            assert self.library.rtl_write(self.rtl, offset, value) == 0

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """The memory from its beginning on, or from `shift`."""
        buffer = np.full(shape, UNTOUCHED, dtype).view(Buffer)
        buffer.shared = self.memory[self.shift : self.shift + buffer.nbytes]
        buffer.physical_address = BASE + self.shift
        self.buffers.append(buffer)
        return buffer

    def wait(self, seconds: float) -> None:
        """Sleep until the interrupt."""
        assert seconds > 0
        assert self.library.rtl_advance(self.rtl, 1 << 24) == library.INTERRUPTED

    @property
    def irq(self) -> bool:
        """The wire of the interrupt."""
        return bool(self.library.rtl_irq(self.rtl))


@pytest.fixture
def device(generated: Generated) -> Iterator[Board]:
    """The design after its reset; no rule of the bus may be broken."""
    opened = Board(generated.design)
    yield opened
    assert opened.library.rtl_violation(opened.rtl) == b""
    opened.library.rtl_close(opened.rtl)


@pytest.fixture
def accelerator(generated: Generated, driver: ModuleType, device: Board) -> Any:
    """The driver with its program loaded."""
    opened = driver.Rootshift(device, device.allocate)
    opened.load(generated.image)
    return opened


def works(generated: Generated, accelerator: Any, first: int = 0) -> Any:
    """A run must give golden's logits."""
    pixels = digits_pixels(generated.artifact, first + IMAGES)[first:]
    result = accelerator.infer(pixels)
    np.testing.assert_array_equal(result.logits, generated.golden(pixels))
    assert result.logits.dtype == np.int32
    return result


def test_digits_through_the_wrapper_equal_golden(
    generated: Generated, accelerator: Any, device: Board
) -> None:
    results = [works(generated, accelerator, first) for first in range(0, 6, IMAGES)]
    for first, result in zip(range(0, 6, IMAGES), results, strict=True):
        pixels = digits_pixels(generated.artifact, first + IMAGES)[first:]
        np.testing.assert_array_equal(result.labels, generated.golden(pixels).argmax(axis=1))
        assert result.cycles == result.counters["CYCLES"]["count"] == results[0].cycles
        assert 0 < result.counters["BUSY"]["gemm"] < result.cycles
    assert results[0].cycles > len(generated.image) * 8 // 64
    assert len({tuple(result.logits.reshape(-1)) for result in results}) == 3
    assert len(device.buffers) == 1
    assert not device.irq


def test_a_program_is_read_from_its_file(
    generated: Generated, driver: ModuleType, device: Board
) -> None:
    opened = driver.Rootshift(device, device.allocate, generated.out / "driver" / "rootshift.json")
    opened.load(str(generated.out / "program" / "program.bin"))
    works(generated, opened)


def test_interrupts_end_a_wait(generated: Generated, driver: ModuleType, device: Board) -> None:
    opened = driver.Rootshift(device, device.allocate, wait=device.wait)
    opened.load(generated.image)
    works(generated, opened)
    assert not device.irq
    device.buffers[0][0] |= 0x0F
    with pytest.raises(driver.RunError):
        opened.infer(digits_pixels(generated.artifact, IMAGES))
    assert not device.irq


def test_a_bad_command_is_told_with_its_address(
    generated: Generated, accelerator: Any, device: Board, driver: ModuleType
) -> None:
    at = 5 * COMMAND_BYTES
    device.buffers[0][at] |= 0x0F
    with pytest.raises(driver.RunError, match="the run was stopped: bad_opcode at 0x") as caught:
        accelerator.infer(digits_pixels(generated.artifact, IMAGES))
    assert (caught.value.cause, caught.value.address) == ("bad_opcode", BASE + at)
    accelerator.load(generated.image)
    works(generated, accelerator)


@pytest.mark.parametrize(("access", "response"), [("read", "decerr"), ("write", "slverr")])
def test_a_bus_error_is_told_with_its_address(
    generated: Generated,
    accelerator: Any,
    device: Board,
    driver: ModuleType,
    access: str,
    response: str,
) -> None:
    area = accelerator.description["input" if access == "read" else "output"]
    start = BASE + area["offset"]
    fault = Fault(start=start, end=start + area["bytes"], response=response, access=access)
    device.faults = (fault,)
    with pytest.raises(driver.RunError) as caught:
        accelerator.infer(digits_pixels(generated.artifact, IMAGES))
    assert caught.value.cause == f"{access}_{response}"
    assert caught.value.address & ~63 == start & ~63
    device.faults = ()
    works(generated, accelerator)


def test_a_bus_that_hangs_is_told_and_waited_for(
    generated: Generated, accelerator: Any, device: Board, driver: ModuleType
) -> None:
    pixels = digits_pixels(generated.artifact, IMAGES)
    accelerator.write("WATCHDOG", limit=100)
    device.timing = MemoryTiming(read_latency=5000)
    with pytest.raises(driver.RunError) as caught:
        accelerator.infer(pixels)
    assert caught.value.cause == "watchdog"
    assert accelerator.busy
    with pytest.raises(driver.DeviceError, match="images cannot be changed during a run"):
        accelerator.infer(pixels)
    with pytest.raises(driver.DeviceError, match="waits for the bus"):
        accelerator.start()
    with pytest.raises(driver.DeviceError, match="cannot be loaded during a run"):
        accelerator.load(generated.image)
    while accelerator.busy:
        pass
    device.timing = MemoryTiming()
    works(generated, accelerator)


def test_a_run_may_take_longer_than_one_waits(
    generated: Generated, accelerator: Any, driver: ModuleType
) -> None:
    pixels = digits_pixels(generated.artifact, IMAGES)
    with pytest.raises(driver.RunTimeout, match=r"the run must end within 0 s; it goes on"):
        accelerator.infer(pixels, timeout=0)
    accelerator.finish(timeout=60)
    works(generated, accelerator)


def test_other_devices_are_refused_before_anything_is_written(
    driver: ModuleType, device: Board
) -> None:
    def refusal(register: str, flipped: int, word: int = 0) -> str:
        device.odd = {csr.find_register(register).offsets[word]: flipped}
        with pytest.raises(driver.DeviceError) as caught:
            driver.Rootshift(device, device.allocate)
        return str(caught.value)

    assert refusal("IDENTITY", 1) == (
        f"identity must be {csr.MAGIC:#x}, not {csr.MAGIC ^ 1:#x}: there is no Rootshift "
        "accelerator at this address"
    )
    told = f"version of the registers must be {csr.MAJOR}.{csr.MINOR}, or newer"
    assert told in refusal("VERSION", 1 << 17)
    assert told in refusal("VERSION", csr.MINOR ^ (csr.MINOR - 1))
    assert "rows must be 4, not 5" in refusal("CONFIG", 1)
    for word in range(len(csr.find_register("CONFIG").offsets)):
        assert "the program is for another configuration: " in refusal("CONFIG", 1, word)
    device.odd = {csr.find_register("VERSION").offset: csr.MINOR ^ (csr.MINOR + 1)}
    driver.Rootshift(device, device.allocate)
    assert device.writes == 0


def test_other_programs_are_refused(
    generated: Generated, driver: ModuleType, device: Board
) -> None:
    opened = driver.Rootshift(device, device.allocate)
    pixels = digits_pixels(generated.artifact, IMAGES)
    with pytest.raises(driver.ProgramError, match="must be loaded before a run"):
        opened.infer(pixels)
    with pytest.raises(driver.ProgramError, match="must be loaded before a run"):
        opened.start()
    damaged = bytearray(generated.image)
    damaged[len(damaged) // 2] ^= 1
    for other in (bytes(damaged), generated.image + b"\0", b""):
        with pytest.raises(driver.ProgramError, match=r"program must be the program\.bin"):
            opened.load(other)
    assert not device.buffers


def test_memory_that_is_out_of_reach_is_refused(
    generated: Generated, driver: ModuleType, device: Board
) -> None:
    device.shift = 64
    with pytest.raises(driver.ProgramError, match="memory must be a multiple of 4096, not 0x"):
        driver.Rootshift(device, device.allocate).load(generated.image)

    def high(**options: Any) -> Buffer:
        buffer = device.allocate(**options)
        buffer.device_address = 1 << ADDRESS_WIDTH
        return buffer

    with pytest.raises(driver.ProgramError, match=r"memory must end below 2\^40, not begin at 0x"):
        driver.Rootshift(device, high).load(generated.image)


def test_pixels_of_another_kind_are_refused(
    generated: Generated, accelerator: Any, device: Board
) -> None:
    pixels = digits_pixels(generated.artifact, IMAGES)
    before = device.buffers[0].copy()
    with pytest.raises(TypeError, match="pixels must be uint8, not float64"):
        accelerator.infer(pixels / 255)
    for wrong in (pixels[:1], pixels[0], pixels[..., 0], np.concatenate([pixels, pixels])):
        with pytest.raises(ValueError, match=r"pixels must have shape \[2, 8, 8, 1\], not \["):
            accelerator.infer(wrong)
    np.testing.assert_array_equal(device.buffers[0], before)


def test_pynq_binds_the_driver_to_the_ip(
    generated: Generated, device: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a board there is a package `pynq`: its overlays make drivers by the IP's name."""
    pynq = ModuleType("pynq")
    pynq.DefaultIP = type("DefaultIP", (), {"mmio": device})
    pynq.allocate = device.allocate
    monkeypatch.setitem(sys.modules, "pynq", pynq)
    bound = load_driver(generated.out).RootshiftIP
    assert bound.bindto == [VLNV]
    opened = bound().open(generated.out / "program" / "program.bin")
    works(generated, opened)


def test_the_driver_needs_numpy_alone_and_an_old_python(generated: Generated) -> None:
    text = (generated.out / "driver" / "rootshift_pynq.py").read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level
            names.add((node.module or "").partition(".")[0])
    assert names - {"__future__"} <= {*sys.stdlib_module_names, "numpy"}
    assert "from __future__ import annotations" in text
