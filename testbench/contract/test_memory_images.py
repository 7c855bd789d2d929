"""All formats of a program's memory hold the same bytes, and its map leaves none of them out."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from rootshift import memory_images
from rootshift.artifact import Artifact
from rootshift.config import BUS_WIDTHS, AcceleratorConfig
from rootshift.errors import ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.isa import Destination
from rootshift.program import Program
from rootshift.sim.native.toolchain import compiler, run_tool, verilate, verilator

from ..random_model import Size, random_artifact
from ..seeds import generator

ADDRESS = 0x1234_F000
"""Not on a border of 64 KiB."""


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """A model with a table, positions and several layers."""
    return random_artifact(generator(3), Size(image=(12, 12, 3), width=20, hidden=40))


@pytest.fixture(scope="module")
def program(artifact: Artifact) -> Program:
    """Two images a run."""
    return compile_program(artifact, AcceleratorConfig.for_artifact(artifact, "4x4"), 2)


def read_hex(text: str) -> dict[int, int]:
    """Intel HEX: byte address -> byte, each written once, in records that are as they must be."""
    found: dict[int, int] = {}
    base, ended = 0, False
    for line in text.splitlines():
        assert not ended, "nothing may follow the end record"
        assert re.fullmatch(r":([0-9A-F]{2}){5,}", line), line
        record = bytes.fromhex(line[1:])
        count, place, kind = record[0], int.from_bytes(record[1:3], "big"), record[3]
        data = record[4:-1]
        assert len(data) == count
        assert sum(record) % 256 == 0
        if kind == 0:
            assert place + count <= 1 << 16
            for offset, byte in enumerate(data):
                assert base + place + offset not in found
                found[base + place + offset] = byte
        elif kind == 4:
            assert (count, place) == (2, 0)
            base = int.from_bytes(data, "big") << 16
        else:
            assert (kind, count, place) == (1, 0, 0)
            ended = True
    assert ended
    return found


def read_words(text: str, width: int) -> bytes:
    """Words for `$readmemh` as bytes."""
    first, *lines = text.splitlines()
    assert first == "@0"
    assert all(re.fullmatch(f"[0-9a-f]{{{width // 4}}}", line) for line in lines)
    return b"".join(int(line, 16).to_bytes(width // 8, "little") for line in lines)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 4096, (1 << 16) + 5, (1 << 17) + 1])
@pytest.mark.parametrize("address", [0, 0xFFF0, 0x1234_5678, (1 << 32) - (1 << 17) - 1])
def test_intel_hex_reads_back(size: int, address: int) -> None:
    data = generator(size).bytes(size)
    text = memory_images.intel_hex(data, address).decode()
    assert read_hex(text) == {address + n: byte for n, byte in enumerate(data)}


def test_intel_hex_is_as_intel_has_it() -> None:
    """Written by hand."""
    assert memory_images.intel_hex(b"\x01\x02\xff", 0x8000_FFFE).decode() == (
        ":020000048000" + "7A\n:02FFFE000102FE\n:020000048001" + "79\n:01000000FF00\n:00000001FF\n"
    )


@pytest.mark.parametrize(("size", "address"), [(2, (1 << 32) - 1), (1, 1 << 32), (0, -1)])
def test_intel_hex_has_32_bits(size: int, address: int) -> None:
    with pytest.raises(ValueError, match=r"data must end below 2\^32, not \d bytes from"):
        memory_images.intel_hex(bytes(size), address)


@pytest.mark.parametrize("width", BUS_WIDTHS)
@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096])
def test_words_read_back(width: int, size: int) -> None:
    data = generator(size).bytes(size)
    back = read_words(memory_images.memory_words(data, width).decode(), width)
    assert back == data + bytes(-size % (width // 8))


def test_words_are_of_a_bus() -> None:
    with pytest.raises(ValueError, match="width must be one of 32, 64, 128, not 24"):
        memory_images.memory_words(b"abc", 24)


MAIN = """
#include <cstdio>
#include "Vram.h"
int main() {
    Vram ram;
    for (unsigned word = 0; word < WORDS; ++word) {
        ram.address = word;
        ram.eval();
        for (unsigned byte = 0; byte < WIDTH / 8; ++byte)
            std::putchar(reinterpret_cast<unsigned char*>(&ram.data)[byte]);
    }
}
"""


def test_verilog_s_readmemh_reads_the_words(program: Program, tmp_path: Path) -> None:
    """A memory as an FPGA's block RAM is written, through the real Verilator."""
    width = program.config.bus_width
    words = len(program.image) * 8 // width
    (tmp_path / "program.mem").write_bytes(memory_images.files(program)["program.mem"])
    (tmp_path / "ram.v").write_text(
        f"module ram (input wire [31:0] address, output wire [{width - 1}:0] data);\n"
        f"reg [{width - 1}:0] words [0:{words - 1}];\n"
        'initial $readmemh("program.mem", words);\n'
        "assign data = words[address];\nendmodule\n"
    )
    (tmp_path / "main.cpp").write_text(MAIN)
    verilate(["-cc", "--no-timing", "--Mdir", "obj", "ram.v"], tmp_path)
    include = verilator() / "include"
    sources = [*sorted((tmp_path / "obj").glob("*.cpp")), tmp_path / "main.cpp"]
    sources += [include / f"{name}.cpp" for name in ("verilated", "verilated_threads")]
    flags = [f"-I{tmp_path / 'obj'}", f"-I{include}", f"-I{include / 'vltstd'}", "-pthread"]
    defines = [f"-DWORDS={words}", f"-DWIDTH={width}"]
    command = [compiler(), "-std=c++17", "-O0", *flags, *defines, *map(str, sources)]
    run_tool([*command, "-o", "ram"], tmp_path)
    (tmp_path / "run.sh").write_text("./ram > ram.bin\n")
    run_tool(["sh", "run.sh"], tmp_path)
    assert (tmp_path / "ram.bin").read_bytes() == program.image


def test_all_files_hold_the_program(program: Program) -> None:
    made = memory_images.files(program, ADDRESS)
    assert made.keys() == {"program.hex", "program.mem", "memory_map.json", "memory_map.md"}
    found = read_hex(made["program.hex"].decode())
    assert bytes(found[ADDRESS + n] for n in range(len(found))) == program.image
    assert read_words(made["program.mem"].decode(), program.config.bus_width) == program.image


def test_regions_leave_nothing_out(program: Program) -> None:
    """What no region has is zero; none overlaps another; each segment is there once."""
    found = memory_images.regions(program, ADDRESS)
    covered = np.zeros(len(program.image), int)
    for region in found:
        covered[region.address - ADDRESS :][: region.bytes] += 1
    assert covered.max() == 1
    assert not np.frombuffer(program.image, np.uint8)[covered == 0].any()
    assert [region.address for region in found] == sorted(region.address for region in found)
    assert {region.name for region in found} - {"fill"} == set(program.segments)
    assert found[-1].address + found[-1].bytes <= ADDRESS + len(program.image)


def test_regions_say_what_they_are(artifact: Artifact, program: Program) -> None:
    found = {region.name: region for region in memory_images.regions(program)}
    kinds = {name: region.kind for name, region in found.items() if region.kind != "constant"}
    assert kinds.pop("fill", "fill") == "fill"
    assert kinds == {"program": "program", "input": "input", "output": "output"}
    writers = {name: region.written_by for name, region in found.items()}
    assert (writers["input"], writers["output"]) == ("host", "accelerator")
    names = {operator.name for operator in artifact.operators}
    for region in found.values():
        if region.kind == "constant":
            assert region.layer in names
            assert region.loaded
            assert region.written_by == "nobody"
    assert {region.what for region in found.values() if region.kind == "constant"} == {
        "weights and requantizer parameters",
        "parameters",
        "table",
        "position embedding",
    }


def test_commands_read_where_the_map_says(program: Program) -> None:
    """Every FETCH lies in one constant of the kind that its destination takes."""
    kinds = {
        Destination.WEIGHTS: {"weights and requantizer parameters", "parameters"},
        Destination.LAYERNORM: {"parameters"},
        Destination.GELU_TABLE: {"table"},
        Destination.EMBED: {"position embedding"},
    }
    found = memory_images.regions(program)
    beat = program.config.bus_width // 8
    for placed in program.commands:
        if placed.command.name != "FETCH":
            continue
        start = placed.command["offset"]
        (region,) = [r for r in found if r.address <= start < r.address + r.bytes]
        assert start + placed.command["beats"] * beat <= region.address + region.bytes
        assert region.what in kinds[Destination(placed.command["destination"])]


def test_the_map_places_images_and_logits(program: Program) -> None:
    table = json.loads(memory_images.files(program, ADDRESS)["memory_map.json"])
    assert (table["address"], table["bytes"]) == (ADDRESS, len(program.image))
    assert (table["images"], table["word_bits"]) == (2, program.config.bus_width)
    for name, area in (("input", program.input), ("output", program.output)):
        assert table[name] == {
            "address": ADDRESS + area.offset,
            "stride": area.stride,
            "bytes": area.bytes,
        }
    assert len(table["regions"]) == len(memory_images.regions(program))


def test_the_map_can_be_read(program: Program) -> None:
    text = memory_images.markdown(program, ADDRESS)
    for region in memory_images.regions(program, ADDRESS):
        (line,) = [line for line in text.splitlines() if f"| {region.address:#010x} |" in line]
        assert f"| {region.bytes} | {region.what} |" in line
        assert line.endswith(f"| {'yes' if region.loaded else 'no'} | {region.written_by} |")


def test_names_from_elsewhere_break_no_table(program: Program) -> None:
    segments = dict(program.segments)
    name = next(name for name in segments if name.endswith(".weight"))
    segments["a|b\n<i>`*.weight"] = segments.pop(name)
    object.__setattr__(other := Program(**{**vars(program)}), "segments", segments)
    text = memory_images.markdown(other)
    (line,) = [line for line in text.splitlines() if "a\\|b" in line]
    assert "| a\\|b?\\<i>\\`\\* |" in line


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (1, "address must be a multiple of 4096, not 0x1"),
        (-4096, "address must be a multiple of 4096, not -0x1000"),
        (1 << 32, "address must be at most 0x"),
        (0xFFFF_F000, "address must be at most 0x"),
        ("0", "address must be an integer, not '0'"),
        (True, "address must be an integer, not True"),
    ],
)
def test_addresses_where_a_program_cannot_lie(program: Program, address: int, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        memory_images.files(program, address)
