"""The estimate of energy: the table's own points, what must add up, and what must cost more."""

import math
from dataclasses import astuple, fields, replace
from pathlib import Path

import pytest

from rootshift.config import AcceleratorConfig
from rootshift.errors import ConfigError
from rootshift.hw.accumulator_buffer import AccumulatorBuffer
from rootshift.hw.compiler import compile_program
from rootshift.hw.top import Accelerator
from rootshift.sim.costs import COUNTS, LayerCosts, costs, total
from rootshift.sim.energy import DEFAULT, PARTS, Energy, EnergyTable, energy, rates

from ..accelerator.models import digits

SIXTEEN = AcceleratorConfig()


def estimate(bits: str, array: str = "8x8", batch: int = 1, **table: float) -> Energy:
    """Of two images of the digits model, with room for a batch of two in any case."""
    artifact = digits(bits)
    config = AcceleratorConfig.for_artifact(artifact, array, 2)
    program = compile_program(artifact, config, 2, batch=batch)
    return energy(costs(artifact, program), config, 2, EnergyTable(**table))


def test_the_table_is_that_of_its_source() -> None:
    """M. Horowitz, ISSCC 2014: pJ at 45 nm and 0.9 V."""
    assert astuple(DEFAULT) == (0.03, 0.1, 0.2, 3.1, 10, 20, 100, (1300 + 2600) / 2, 0.03 / 8, 0)


def test_formulas_meet_the_points_of_the_table() -> None:
    table = EnergyTable(sram_32k=21)
    assert (table.adder(8), table.adder(32)) == pytest.approx((0.03, 0.1))
    assert (table.multiplier(8, 8), table.multiplier(32, 32)) == pytest.approx((0.2, 3.1))
    sizes = [table.sram(8 * kilobytes * 1024, 64) for kilobytes in (8, 32, 1024)]
    assert sizes == pytest.approx([10, 21, 100])
    assert table.memory(8) == 1950
    assert table.registers(8) == pytest.approx(0.03)


def test_formulas_scale_as_their_rules_say() -> None:
    table = DEFAULT
    assert table.adder(4) == pytest.approx(0.015)
    assert table.adder(64) == pytest.approx(0.2)
    assert table.adder(20) == pytest.approx(0.065)
    assert table.multiplier(4, 8) == pytest.approx(0.1)
    assert table.multiplier(64, 32) == pytest.approx(6.2)
    # Between the points a power law, which is the square root between the first two.
    assert table.multiplier(16, 16) == pytest.approx(math.sqrt(0.2 * 3.1))
    assert table.sram(8 << 14, 64) == pytest.approx(10 * math.sqrt(2))
    assert table.sram(8 << 11, 64) == pytest.approx(5)
    assert table.sram(8 << 22, 64) == pytest.approx(200)
    assert table.sram(8 << 13, 16) == pytest.approx(2.5)
    # The smallest memories cost no less than the register behind them.
    assert table.sram(1, 64) == pytest.approx(64 * 0.00375)


def test_formulas_grow_with_widths_and_sizes() -> None:
    table = DEFAULT
    for values in (
        [table.adder(width) for width in range(1, 80)],
        [table.multiplier(width, 8) for width in range(1, 200)],
        [table.sram(size, 64) for size in range(1 << 12, 1 << 24, 1 << 12)],
        [table.sram(1 << 16, width) for width in range(1, 200)],
    ):
        assert values == sorted(values)
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("array", ["4x4", "16x16", "8x32"])
@pytest.mark.parametrize("widths", [(3, 8), (8, 3), (4, 4)])
def test_widths_are_those_of_the_hardware(array: str, widths: tuple[int, int]) -> None:
    activation_width, weight_width = widths
    rows, cols = map(int, array.split("x"))
    config = replace(
        SIXTEEN,
        rows=rows,
        cols=cols,
        lanes=4,
        activation_width=activation_width,
        weight_width=weight_width,
        token_depth=64,
    )
    kept: AccumulatorBuffer = Accelerator(config=config).gemm.accumulators
    word = cols * kept.acc_width + kept.sum_acc_width
    added = cols * DEFAULT.adder(kept.acc_width) + DEFAULT.adder(kept.sum_acc_width)
    expected = 2 * DEFAULT.sram(64 * word, word) + added
    assert rates(config)["accumulators"]["vectors"] == pytest.approx(expected)


def test_an_array_of_one_cell_by_hand() -> None:
    """One multiplier of 4 x 4 bits, a sum of 8 and one of 4 bits, and the registers of each: a
    code of 4, which enters one late, and the sums."""
    config = replace(SIXTEEN, rows=1, cols=1, lanes=1)
    found = rates(config)["array"]
    expected = DEFAULT.multiplier(4, 4) + DEFAULT.adder(8) + DEFAULT.adder(4)
    assert found["vectors"] == pytest.approx(expected + DEFAULT.registers(4 + 8 + 4))
    # The shadow's code and the active one.
    assert found["columns"] == pytest.approx(DEFAULT.registers(2 * 4))


def test_every_count_costs_something_or_is_part_of_another() -> None:
    """A count that the rates forgot would be free."""
    part_of = {
        "macs": "multiplications are counted by vectors",
        "multiplications": "vectors",
        "bucket_additions": "keys",
        "drain_additions": "drain_steps",
        "patch_words": "code_writes",
    }
    counts = [count for part in rates(SIXTEEN).values() for count in part]
    assert set(counts) | set(part_of) == set(COUNTS)
    assert not set(counts) & set(part_of)
    for part, found in rates(SIXTEEN).items():
        assert all(each > 0 for each in found.values()), part


def test_parts_and_layers_add_up() -> None:
    found = estimate("W4A4")
    assert [layer.name for layer in found.layers][-1] == "program"
    assert sum(layer.total for layer in found.layers) == pytest.approx(found.total)
    assert sum(found.parts.values()) == pytest.approx(found.total)
    assert found.microjoules == pytest.approx(found.total / 2 / 1e6)
    macs = sum(layer.macs for layer in found.layers)
    assert found.tops_per_watt == pytest.approx(2 * macs / found.total)
    assert set(found.parts) == set(PARTS)
    assert all(value > 0 for value in found.parts.values())


def test_the_energy_of_all_is_that_of_the_sum_of_counts() -> None:
    artifact = digits("W4A4")
    config = AcceleratorConfig.for_artifact(artifact, "8x8")
    layers = costs(artifact, compile_program(artifact, config))
    whole = energy([total(layers)], config, 1).layers[0]
    for part, value in energy(layers, config, 1).parts.items():
        assert getattr(whole, part) == pytest.approx(value)


def test_more_bits_cost_more() -> None:
    found = [estimate(bits) for bits in ("W3A3", "W4A4", "W6A6", "W8A8")]
    # Patches are of 8 bits, which a narrow array takes in digits: so the blocks alone.
    blocks = [[layer for layer in each.layers if layer.name.startswith("blocks")] for each in found]
    for part in ("array", "buffers", "memory", "total"):
        values = [sum(getattr(layer, part) for layer in layers) for layers in blocks]
        assert values == sorted(values), part
        assert len(set(values)) == len(values), part


def test_a_batch_costs_less_memory_an_image() -> None:
    one, two = (estimate("W4A4", batch=batch) for batch in (1, 2))
    assert two.parts["memory"] < one.parts["memory"]
    assert two.parts["softmax"] == one.parts["softmax"]


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("dram", {"memory"}),
        ("register", {"array"}),
        ("multiplier_8", {"array", "requantizer", "attention", "layernorm"}),
    ],
)
def test_a_dearer_operation_makes_its_parts_dearer(field: str, parts: set[str]) -> None:
    plain = estimate("W4A4")
    dear = estimate("W4A4", **{field: getattr(DEFAULT, field) * 1.5})
    changed = {part for part in PARTS if dear.parts[part] > plain.parts[part] * (1 + 1e-9)}
    assert changed == parts


def test_static_power_counts_for_the_time_given() -> None:
    layers = [LayerCosts(name="a", vectors=10, macs=5)]
    table = EnergyTable(static_mw=2.5)
    plain, found = energy(layers, SIXTEEN, 1), energy(layers, SIXTEEN, 1, table, seconds=1e-3)
    # 2.5 mW for 1 ms are 2.5 uJ.
    assert found.static == pytest.approx(2.5e6)
    assert found.total == pytest.approx(plain.total + 2.5e6)
    assert plain.static == 0


def test_a_power_needs_a_time_and_a_run_images() -> None:
    with pytest.raises(ValueError, match="seconds must be given where the table has a power"):
        energy([], SIXTEEN, 1, EnergyTable(static_mw=1))
    for seconds in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds must be a positive number, not"):
            energy([], SIXTEEN, 1, seconds=seconds)
    with pytest.raises(ValueError, match="images must be at least 1, not 0"):
        energy([], SIXTEEN, 0)


def test_the_table_of_a_page_has_a_row_per_layer() -> None:
    found = estimate("W4A4")
    lines = found.markdown().splitlines()
    assert len(lines) == len(found.layers) + 3
    assert lines[0] == "| layer | " + " | ".join((*PARTS, "total")) + " |"
    cells = lines[-1].strip("| ").split(" | ")
    assert float(cells[-1]) == pytest.approx(found.microjoules, rel=1e-3)
    assert {line.count("|") for line in lines} == {len(PARTS) + 3}


def test_a_file_of_every_key_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    table = EnergyTable(**{field.name: n + 0.5 for n, field in enumerate(fields(EnergyTable))})
    lines = (f"{field.name} = {getattr(table, field.name)}\n" for field in fields(table))
    path.write_text("".join(lines))
    assert EnergyTable.load(path) == table
    path.write_text("dram = 7\n")
    assert EnergyTable.load(path) == EnergyTable(dram=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drams = 1", "key must be one of adder_8, .*, static_mw, not drams"),
        ("dram = 0", "dram must be a positive number, not 0"),
        ("adder_8 = -0.1", "adder_8 must be a positive number, not -0.1"),
        ("sram_8k = nan", "sram_8k must be a positive number, not nan"),
        ("sram_8k = inf", "sram_8k must be a positive number, not inf"),
        ("register = true", "register must be a positive number, not True"),
        ('register = "1"', "register must be a positive number, not '1'"),
        ("multiplier_8 = [1]", r"multiplier_8 must be a positive number, not \[1\]"),
        ("static_mw = -1", "static_mw must be 0 or a positive number, not -1"),
        ("dram = 1" + "0" * 400, "dram must be a positive number, not 10+$"),
        ("dram", "not TOML"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"table\.toml: {message}"):
        EnergyTable.load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        EnergyTable.load(tmp_path / "none.toml")


def test_the_page_shows_the_defaults_and_the_example() -> None:
    page = (Path(__file__).parents[2] / "docs/energy.md").read_text(encoding="utf-8")
    for field in fields(EnergyTable):
        assert f"| {field.name} | {getattr(DEFAULT, field.name):g} |" in page
    artifact = digits("W4A4")
    config = AcceleratorConfig.for_artifact(artifact, "8x8")
    found = energy(costs(artifact, compile_program(artifact, config)), config, 1)
    assert found.markdown() in page
    assert f"takes {found.microjoules:.3g} \u00b5J per image, {found.tops_per_watt:.3g} op" in page
