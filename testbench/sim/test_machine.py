"""Compiled programs on the functional machine: every tensor of every model equals the golden one,
in whatever order the units move as far as the waits allow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.config import AcceleratorConfig
from rootshift.errors import ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.images import ImageSet
from rootshift.isa import COMMAND_BYTES, Command, Mode, encode
from rootshift.program import Program
from rootshift.quant.quantize import quantize
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.machine.machine import Machine
from rootshift.sim.machine.state import Room
from rootshift.sim.machine.tensors import tensors, value_cycles

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator

AMPLE = Room(bytes=1 << 20, groups=999, codes=999, commands=999)

CASES = {
    "heads fill no word": ("4x4", "W4A4", Size(width=18, heads=3, depth=2), {}),
    "more rows": ("8x4", "W4A4", Size(image=(8, 12, 3), width=20, heads=2, classes=7), {}),
    "more columns": ("4x8", "W6A6", Size(image=(12, 8, 3), width=14, heads=1), {}),
    "odd array": ("6x6", "W8A8", Size(image=(6, 9, 1), patch=3, width=15, heads=3), {}),
    "coprime array": ("5x7", "W4A8", Size(image=(4, 12, 1), hidden=17), {}),
    "array above the model": ("16x16", "W4A4", Size(width=10, heads=2, hidden=9, classes=3), {}),
    "array of one": ("1x1", "W3A5", Size(image=(4, 4, 1), width=6, heads=2, hidden=7), {}),
    "distilled": ("4x4", "W4A4", Size(width=18, heads=3, prefix=2, pool="distilled"), {}),
    "distilled, odd array": (
        "5x7",
        "W6A4",
        Size(width=15, heads=3, prefix=3, pool="distilled", classes=17),
        {},
    ),
    "distilled in one word": (
        "16x16",
        "W4A4",
        Size(width=10, heads=2, prefix=2, pool="distilled"),
        {"bus_width": 32},
    ),
    "three digits of a pixel": ("4x4", "W8A3", Size(image=(12, 4, 1), width=9, heads=3), {}),
    "registers": ("4x4", "W3A5", Size(prefix=4, pool="token"), {"bus_width": 32}),
    "no class token": ("8x4", "W4A4", Size(prefix=0, pool="avg"), {"bus_width": 128}),
    "registers and mean": ("4x4", "W6A6", Size(prefix=3, pool="avg", width=11, heads=1), {}),
    "hardware for more bits": (
        "4x4",
        "W4A4",
        Size(image=(16, 8, 1), width=14),
        {"activation_width": 8, "weight_width": 8},
    ),
    "hardware for more weights": ("4x8", "W3A4", Size(width=16), {"weight_width": 7}),
    "room for all patches": ("4x4", "W4A4", Size(image=(16, 16, 1)), {"code_depth": 1024}),
}


def compiled(
    rng: np.random.Generator,
    array: str,
    bits: str,
    size: Size,
    fields: dict,
    images: int = 1,
    norm_bands: int | None = 1,
    batch: int = 1,
) -> tuple[Artifact, Program]:
    artifact = random_artifact(rng, size, bits=bits, base=str(rng.choice(["sqrt2", "2"])))
    config = replace(AcceleratorConfig.for_artifact(artifact, array, batch), **fields)
    return artifact, compile_program(artifact, config, images, norm_bands, batch)


def compare(
    artifact: Artifact, program: Program, pixels: np.ndarray, order=None, room=None
) -> None:
    """Run, and hold every tensor, logit and count of saturated values against the golden model."""
    names = [operator.name for operator in artifact.operators]
    golden = GoldenModel(artifact).run(pixels, names)
    run = Machine(program).run(pixels, order, room)
    made = tensors(program, run.beats)
    assert made.keys() == golden.tensors.keys()
    for name in names:
        np.testing.assert_array_equal(made[name], golden.tensors[name], err_msg=name)
    np.testing.assert_array_equal(run.logits, golden.logits)
    assert run.saturated.total() == golden.saturated.total()


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_equals_the_golden_model(case: str) -> None:
    rng = generator(list(CASES).index(case))
    artifact, program = compiled(rng, *CASES[case], images=3)
    pixels = random_pixels(rng, artifact, 3)
    compare(artifact, program, pixels)
    compare(artifact, program, pixels, rng)
    compare(artifact, program, pixels, rng, AMPLE)


@pytest.mark.parametrize("case", list(CASES)[:4])
@pytest.mark.parametrize("norm_bands", [2, 5])
def test_norms_beside_the_products_before(case: str, norm_bands: int) -> None:
    rng = generator(8, list(CASES).index(case), norm_bands)
    artifact, program = compiled(rng, *CASES[case], images=2, norm_bands=norm_bands)
    pixels = random_pixels(rng, artifact, 2)
    compare(artifact, program, pixels, rng)
    compare(artifact, program, pixels, rng, AMPLE)


def test_a_table_of_any_entries() -> None:
    """What it gives for fill channels is taken out of the next product."""
    rng = generator(12)
    artifact = random_artifact(rng, Size(hidden=17))
    table = artifact["block0.gelu"]
    entries = rng.permutation(256).astype(np.uint8) % (1 << table.width)
    any_table = replace(table, table=entries)
    operators = tuple(any_table if op is table else op for op in artifact.operators)
    artifact = replace(artifact, operators=operators)
    config = replace(AcceleratorConfig.for_artifact(artifact, "4x4"), lanes=4)
    program = compile_program(artifact, config)
    compare(artifact, program, random_pixels(rng, artifact, 1))


def test_of_a_long_product_only_the_last_groups_go_in_bands() -> None:
    rng = generator(11)
    size = Size(width=24, hidden=600, depth=2)
    artifact, program = compiled(rng, "4x2", "W4A4", size, {}, images=2, norm_bands=2)
    stores = [p.command for p in program.commands if p.command.name == "STORE"]
    rows = [each for each in stores if each["mode"] == Mode.RESIDUAL]
    assert any(each["base"] % each["stride"] for each in rows)
    assert all(each["base"] % each["stride"] + each["chunks"] <= each["stride"] for each in rows)
    compare(artifact, program, random_pixels(rng, artifact, 2), rng)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("images", "batch", "norm_bands"), [(4, 2, None), (3, 3, 3)])
def test_images_side_by_side(case: str, images: int, batch: int, norm_bands: int | None) -> None:
    rng = generator(9, list(CASES).index(case), batch)
    artifact, program = compiled(
        rng, *CASES[case], images=images, norm_bands=norm_bands, batch=batch
    )
    pixels = random_pixels(rng, artifact, images)
    compare(artifact, program, pixels)
    compare(artifact, program, pixels, rng)
    compare(artifact, program, pixels, rng, AMPLE)


def test_a_saved_program_knows_which_rows_are_whose(tmp_path: Path) -> None:
    rng = generator(10)
    artifact, program = compiled(rng, "4x4", "W4A4", Size(), {}, images=2, batch=2)
    program.save(tmp_path / "program")
    compare(artifact, Program.load(tmp_path / "program"), random_pixels(rng, artifact, 2))


def test_fill_behind_a_table_is_made_up_for() -> None:
    """A table that maps 0 to a code fills places that the array's sums of codes see."""
    rng = generator(7)
    artifact = random_artifact(rng, Size(hidden=9))
    table = np.maximum(artifact["block0.gelu"].table, 5)
    operators = tuple(
        replace(op, table=table) if op.name == "block0.gelu" else op for op in artifact.operators
    )
    artifact = replace(artifact, operators=operators)
    config = replace(AcceleratorConfig.for_artifact(artifact, "4x4"), lanes=4)
    program = compile_program(artifact, config)
    compare(artifact, program, random_pixels(rng, artifact, 1))


@pytest.mark.parametrize("number", range(12))
def test_random_models(number: int) -> None:
    rng = generator(100, number)
    heads, patch = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    size = Size(
        image=(
            patch * int(rng.integers(1, 5)),
            patch * int(rng.integers(1, 4)),
            int(rng.choice([1, 3])),
        ),
        patch=patch,
        width=heads * int(rng.integers(1, 11)),
        heads=heads,
        hidden=int(rng.integers(1, 40)),
        prefix=int(rng.integers(0, 4)),
        pool=str(rng.choice(["token", "avg"])),
        classes=int(rng.integers(2, 25)),
    )
    array = str(rng.choice(["4x4", "8x4", "4x8", "6x6", "16x16", "3x12"]))
    bits = str(rng.choice(["W4A4", "W6A6", "W8A8", "W4A8", "W3A5", "W8A3"]))
    fields = {"bus_width": int(rng.choice([32, 64, 128]))}
    bands, batch = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    images = 2 * batch
    artifact, program = compiled(rng, array, bits, size, fields, images, bands, batch)
    compare(artifact, program, random_pixels(rng, artifact, images), rng, AMPLE)


def edited(program: Program, number: int, **changes: object) -> Program:
    """The program with another command in one place."""
    commands = list(program.commands)
    old = commands[number].command
    fields = {"name": old.name, "operands": old.operands, "after": old.after} | changes
    commands[number] = replace(commands[number], command=Command(**fields))
    code = encode(placed.command for placed in commands)
    return replace(program, commands=tuple(commands), image=code + program.image[len(code) :])


def differs(program: Program, pixels: np.ndarray, beats: dict[str, np.ndarray], key: int) -> bool:
    order = generator(200, key)
    found = Machine(program).run(pixels, order, AMPLE if key % 2 else None).beats
    return any(not np.array_equal(found[name], beats[name]) for name in beats)


@pytest.mark.parametrize("batch", [1, 2])
def test_every_wait_is_needed(batch: int) -> None:
    """A wait that is left out shows in some order: so the orders above do test the waits."""
    rng = generator(3)
    size = Size(image=(16, 8, 1))
    _, program = compiled(rng, "4x4", "W4A4", size, {}, batch, norm_bands=2, batch=batch)
    pixels = rng.integers(0, 256, (batch, 16, 8, 1)).astype(np.uint8)
    beats = Machine(program).run(pixels).beats
    unneeded = []
    for number, placed in enumerate(program.commands):
        for unit in placed.command.after:
            after = {key: count for key, count in placed.command.after.items() if key != unit}
            changed = edited(program, number, after=after)
            if not any(differs(changed, pixels, beats, key) for key in range(60)):
                unneeded.append((placed.command.name, unit.name))
    # Attention may read values before the log codes come; the machine does not.
    assert unneeded == [("ATTENTION", "STORE")]


def test_a_program_that_waits_for_ever_is_told() -> None:
    artifact, program = compiled(generator(4), "4x4", "W4A4", Size(), {})
    pixels = random_pixels(generator(4), artifact, 1)
    stores = [n for n, p in enumerate(program.commands) if p.command.name == "STORE"]
    fewer = dict(program.commands[stores[2]].command.operands) | {"groups": 9}
    with pytest.raises(ProgramError, match=r"no unit can move; at work .*'STORE: STORE mode=CODES"):
        Machine(edited(program, stores[2], operands=fewer)).run(pixels)


def test_what_is_left_in_a_stream_is_told() -> None:
    artifact, program = compiled(generator(4), "4x4", "W4A4", Size(), {})
    pixels = random_pixels(generator(4), artifact, 1)
    number = max(n for n, p in enumerate(program.commands) if p.command.name == "FETCH")
    more = dict(program.commands[number].command.operands)
    more["beats"] += 1
    with pytest.raises(ProgramError, match="streams must be empty at the end, not WEIGHTS"):
        Machine(edited(program, number, operands=more)).run(pixels)


@pytest.mark.parametrize(
    ("name", "operand", "message"),
    [
        ("GEMM", "base", "code buffer address must be below"),
        ("EMBED", "base", "residual buffer address must be below"),
        ("PATCHIFY", "offset", "offset must be a multiple of 8 and end below"),
    ],
)
def test_a_bad_address_is_told(name: str, operand: str, message: str) -> None:
    artifact, program = compiled(generator(4), "4x4", "W4A4", Size(), {})
    pixels = random_pixels(generator(4), artifact, 1)
    number = next(n for n, p in enumerate(program.commands) if p.command.name == name)
    operands = dict(program.commands[number].command.operands) | {operand: 1 << 19}
    with pytest.raises(ProgramError, match=message):
        Machine(edited(program, number, operands=operands)).run(pixels)


def test_the_machine_reads_the_bytes() -> None:
    """Not the objects: garbage in the image is found."""
    artifact, program = compiled(generator(4), "4x4", "W4A4", Size(), {})
    object.__setattr__(program, "image", b"\xff" * COMMAND_BYTES + program.image[COMMAND_BYTES:])
    with pytest.raises(ProgramError, match="opcode must be"):
        Machine(program).run(random_pixels(generator(4), artifact, 1))


@pytest.mark.parametrize("looks", [False, True])
def test_a_wrong_check_is_told(looks: bool) -> None:
    """Where the design looks at checks, as the hardware does."""
    artifact, program = compiled(generator(4), "4x4", "W4A4", Size(), {"program_crc": looks})
    pixels, image = random_pixels(generator(4), artifact, 1), bytearray(program.image)
    image[3 * COMMAND_BYTES - 1] ^= 1
    object.__setattr__(program, "image", bytes(image))
    if looks:
        with pytest.raises(ProgramError, match="command 2: CRC must be 0x"):
            Machine(program).run(pixels)
    else:
        Machine(program).run(pixels)


FOUR = {"lanes": 4}


class TestTensors:
    """Beats that do not fit the program are refused."""

    def run(self) -> tuple[Program, dict[str, np.ndarray]]:
        artifact, program = compiled(generator(5), "4x4", "W4A4", Size(width=10), FOUR)
        return program, Machine(program).run(random_pixels(generator(5), artifact, 1)).beats

    def test_missing_beats(self) -> None:
        program, beats = self.run()
        beats["gelu_table"] = beats["gelu_table"][:-1]
        with pytest.raises(ValueError, match="gelu_table: beats must be 30 and more of 4 values"):
            tensors(program, beats)

    def test_surplus_beats(self) -> None:
        program, beats = self.run()
        beats["patchify"] = np.concatenate([beats["patchify"], beats["patchify"][:1]])
        with pytest.raises(ValueError, match="patchify: beats must be 32, not 33"):
            tensors(program, beats)

    def test_fill_that_is_not_zero(self) -> None:
        program, beats = self.run()
        beats["layernorm"][2, 3] = 1
        with pytest.raises(ValueError, match=r"block0\.norm1: fill channels must be 0"):
            tensors(program, beats)

    def test_a_wrong_beat_shows(self) -> None:
        program, beats = self.run()
        before = tensors(program, beats)["block0.norm1"]
        beats["layernorm"][1, 0] += 1
        after = tensors(program, beats)["block0.norm1"]
        assert np.argwhere(before != after).tolist() == [[0, 0, 4]]

    @pytest.mark.parametrize("case", ["heads fill no word", "three digits of a pixel"])
    def test_a_value_has_the_cycle_of_the_last_beat_that_has_a_part_of_it(self, case: str) -> None:
        rng = generator(6)
        array, bits, size, fields = CASES[case]
        artifact, program = compiled(rng, array, bits, size, fields | FOUR, 2)
        beats = Machine(program).run(random_pixels(rng, artifact, 2)).beats
        stamps = {name: 7 + 3 * np.arange(len(values)) for name, values in beats.items()}
        before, cycles = tensors(program, beats), value_cycles(program, beats, stamps)
        assert cycles.keys() == before.keys()
        for probe, values in beats.items():
            digits = -(-8 // program.config.activation_width) if probe == "patchify" else 1
            for beat in rng.integers(0, len(values), 5):
                altered = {**beats, probe: values.copy()}
                altered[probe][beat, 0] += 1
                after = tensors(program, altered)
                places = {name: before[name] != after[name] for name in before}
                changed = np.concatenate([cycles[name][places[name]] for name in before])
                # Positions under a patch are replaced when it comes.
                assert changed.size or probe == "residual", (probe, beat)
                first = stamps[probe][beat]
                assert (changed >= first).all(), (probe, beat)
                assert (changed <= first + 3 * (digits - 1)).all(), (probe, beat)

    def test_rows_of_a_batch_are_its_images(self) -> None:
        rng = generator(5)
        artifact, program = compiled(rng, "4x4", "W4A4", Size(width=10), FOUR, 4, batch=2)
        beats = Machine(program).run(random_pixels(rng, artifact, 4)).beats
        before = tensors(program, beats)["block0.norm1"]
        # Behind the norms of the first batch: of block 0 twice, and of the pooled rows.
        tokens, chunks = before.shape[1], 3
        row = 2 * 2 * tokens + 2 + tokens + 1
        beats["layernorm"][row * chunks] += 1
        after = tensors(program, beats)["block0.norm1"]
        assert np.argwhere(before != after).tolist() == [[3, 1, c] for c in range(4)]


@pytest.mark.slow
def test_deit_tiny(shared: Path) -> None:
    """A real model and a real image, with the buffers that the configuration asks for."""
    name, labels = "deit_tiny_patch16_224", shared / "data" / "imagenet_samples" / "labels.csv"
    artifact = quantize(
        name,
        shared / "data" / "deit_tiny" / f"{name}.safetensors",
        lambda prep: ImageSet.from_csv(labels, prep, split="calibration"),
        Bits.parse("W4A4"),
        method="repq",
        limit=2,
    )
    program = compile_program(artifact, AcceleratorConfig.for_artifact(artifact, "16x16"))
    image = ImageSet.from_csv(labels, artifact.preprocessing, split="evaluation").pixels(3)
    compare(artifact, program, image[None] if image.ndim == 3 else image)
