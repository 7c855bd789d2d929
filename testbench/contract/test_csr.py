"""The table of registers: without overlaps, and the same in C, in the page and in Python."""

import re
import subprocess
from dataclasses import asdict, fields
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rootshift.config import AcceleratorConfig
from rootshift.csr import (
    ADDRESS_WIDTH,
    MAJOR,
    REGISTERS,
    UNITS,
    Access,
    ErrorCause,
    find_register,
    pack,
    pack_config,
    unpack,
    unpack_config,
)
from rootshift.csr_text import c_constants, c_header_text, markdown
from rootshift.errors import ConfigError

from ..seeds import explored

PAGE = Path(__file__).resolve().parents[2] / "docs" / "csr.md"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
CONFIG = AcceleratorConfig(
    rows=3, cols=255, lanes=3, log_width=8, base="2", channel_depth=16384, buffer_parity=True
)


def test_names_are_unique_and_plain() -> None:
    names = [register.name for register in REGISTERS]
    assert len(set(names)) == len(names)
    for register in REGISTERS:
        inside = [field.name for field in register.fields]
        assert len(set(inside)) == len(inside), register.name
        assert all(NAME.fullmatch(name) for name in (*inside, register.name.lower()))


def test_no_word_is_used_twice_and_offsets_grow() -> None:
    offsets = [offset for register in REGISTERS for offset in register.offsets]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 for offset in offsets)
    assert offsets[-1] < 1 << ADDRESS_WIDTH


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_bits_do_not_overlap(register) -> None:
    used: set[int] = set()
    for field in register.fields:
        bits = set(range(field.bit, field.bit + field.width))
        assert bits
        assert not used & bits, field.name
        used |= bits
        if field.width == 64:
            assert field.bit % 32 == 0, field.name
        else:
            assert field.bit // 32 == (field.bit + field.width - 1) // 32, field.name
        assert field.reset is None or 0 <= field.reset < 1 << field.width
        assert (field.reset is None) == (register.name == "CONFIG")
        assert all(0 <= value < 1 << field.width for _, value in field.values)
        assert register.access is not Access.COUNTER or field.bit % 32 == 0
        slices = field.slices
        assert sum(width for *_, width in slices) == field.width
        assert [32 * word + bit for word, bit, *_ in slices] == list(
            range(field.bit, field.bit + field.width, 32)
        )


def test_what_a_driver_needs_is_there() -> None:
    assert {field.name for field in find_register("CONFIG").fields} == {
        field.name for field in fields(AcceleratorConfig)
    }
    for name in ("BUSY", "STALL"):
        assert [field.name for field in find_register(name).fields] == list(UNITS)
    events = {name: find_register(name).fields for name in ("INTERRUPT", "INTERRUPT_ENABLE")}
    assert events["INTERRUPT"] == events["INTERRUPT_ENABLE"]
    assert dict(find_register("ERROR")["cause"].values) == {
        cause.name.lower(): cause for cause in ErrorCause
    }
    assert find_register("CYCLES")["count"].width == 64


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Values that a C compiler finds in the header."""
    folder = tmp_path_factory.mktemp("header")
    (folder / "rootshift_csr.h").write_text(c_header_text())
    lines = "\n".join(f'    printf("{name} %lu\\n", (unsigned long){name});' for name in NAMES)
    include = '#include "rootshift_csr.h"\n'
    source = f"#include <stdio.h>\n{include * 2}int main(void) {{\n{lines}\n    return 0;\n}}\n"
    (folder / "main.c").write_text(source)
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-std=c99"]
    subprocess.run(["gcc", *flags, "-o", "main", "main.c"], cwd=folder, check=True)
    done = subprocess.run([folder / "main"], capture_output=True, text=True, check=True)
    return {name: int(value) for name, value in map(str.split, done.stdout.splitlines())}


NAMES = re.findall(r"^#define (ROOTSHIFT_\w+) ", c_header_text(), re.M)


def test_c_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert list(c_constants()) == NAMES


def test_c_has_the_values_of_the_table(compiled: dict[str, int]) -> None:
    """Every field is found in C where `pack` puts it."""
    for register in REGISTERS:
        prefix = f"ROOTSHIFT_{register.name}"
        assert compiled[f"{prefix}_OFFSET"] == register.offset
        assert compiled[f"{prefix}_WORDS"] == len(register.offsets)
        for field in register.fields:
            name = f"{prefix}_{field.name.upper()}"
            words = pack(register.name, **{field.name: (1 << field.width) - 1})
            there = {o: w for o, w in zip(register.offsets, words, strict=True) if w}
            if field.width == 64:
                halves = [compiled[f"{name}_{half}_OFFSET"] for half in ("LOW", "HIGH")]
                assert there == dict.fromkeys(halves, 0xFFFFFFFF)
                assert halves[1] == halves[0] + 4
            else:
                assert there == {compiled[f"{name}_OFFSET"]: compiled[f"{name}_MASK"]}
                one = pack(register.name, **{field.name: 1})
                assert max(one) == 1 << compiled[f"{name}_SHIFT"]
            for value_name, value in field.values:
                assert compiled[f"{name}_{value_name.upper()}"] == value


def test_c_has_the_constants_and_resets(compiled: dict[str, int]) -> None:
    assert compiled["ROOTSHIFT_IDENTITY_MAGIC_VALUE"].to_bytes(4, "little") == b"RSFT"
    assert compiled["ROOTSHIFT_VERSION_MAJOR_VALUE"] == MAJOR
    assert compiled["ROOTSHIFT_WATCHDOG_LIMIT_RESET"] == find_register("WATCHDOG")["limit"].reset
    assert compiled["ROOTSHIFT_ERROR_CAUSE_WATCHDOG"] == ErrorCause.WATCHDOG
    assert compiled["ROOTSHIFT_CSR_BYTES"] == 1 << ADDRESS_WIDTH


def test_page_is_up_to_date() -> None:
    command = "python -c 'from rootshift.csr_text import markdown; print(markdown(), end=\"\")'"
    assert PAGE.read_text(encoding="utf-8") == markdown(), f"{command} > docs/csr.md"


@given(data=st.data())
@explored(200)
def test_pack_and_unpack_are_inverse(data: st.DataObject) -> None:
    register = data.draw(st.sampled_from(REGISTERS))
    values = {f.name: data.draw(st.integers(0, (1 << f.width) - 1)) for f in register.fields}
    words = pack(register.name, **values)
    assert len(words) == len(register.offsets)
    assert all(0 <= word < 1 << 32 for word in words)
    assert unpack(register.name, words) == values


def test_fields_left_out_are_zero() -> None:
    assert pack("CONTROL") == (0,)
    assert pack("CONTROL", clear_counters=1) == (2,)
    assert pack("ENTRY", address=0x123456789) == (0x23456789, 1)
    assert unpack("STATUS", [0xFFFFFFFA]) == {"busy": 0, "done": 1, "error": 0}


@pytest.mark.parametrize("config", [AcceleratorConfig(), CONFIG], ids=["default", "extreme"])
def test_config_reads_back(config: AcceleratorConfig) -> None:
    words = pack_config(config)
    assert unpack_config(words) == config
    named = unpack("CONFIG", words)
    expected = asdict(config) | {
        "base": ["sqrt2", "2"].index(config.base),
        "array_multiplier": ["lut", "dsp"].index(config.array_multiplier),
    }
    assert named == expected
    assert type(unpack_config(words).program_crc) is bool


def test_a_config_that_cannot_be_is_refused() -> None:
    values = unpack("CONFIG", pack_config(CONFIG))
    with pytest.raises(ValueError, match=r"CONFIG.base must be one of \[0, 1\], not 7"):
        unpack_config(pack("CONFIG", **(values | {"base": 7})))
    with pytest.raises(ConfigError, match=r"rows must be in 1\.\.256, not 0"):
        unpack_config(pack("CONFIG", **(values | {"rows": 0})))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            ValueError,
            "register must be one of IDENTITY, .*, not 'control'",
            lambda: pack("control"),
        ),
        (ValueError, "register must be one of .*, not 'X'", lambda: unpack("X", [0])),
        (
            ValueError,
            "field of CONTROL must be one of start, clear_counters, not 'stop'",
            lambda: pack("CONTROL", stop=1),
        ),
        (ValueError, "CONTROL.start must be 0 to 1, not 2", lambda: pack("CONTROL", start=2)),
        (ValueError, "CONTROL.start must be 0 to 1, not -1", lambda: pack("CONTROL", start=-1)),
        (
            TypeError,
            "WATCHDOG.limit must be an integer, not 1.5",
            lambda: pack("WATCHDOG", limit=1.5),
        ),
        (
            TypeError,
            "CONTROL.start must be an integer, not True",
            lambda: pack("CONTROL", start=True),
        ),
        (ValueError, "words of ENTRY must be 2, not 1", lambda: unpack("ENTRY", [0])),
        (
            ValueError,
            "word of STATUS must be 0 to 4294967295, not -1",
            lambda: unpack("STATUS", [-1]),
        ),
    ],
)
def test_messages(error, message, call) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        call()
