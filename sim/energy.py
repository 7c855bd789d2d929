"""An estimate of the energy of a run, layer by layer: counts of `sim.costs` times a table.

It is made to compare configurations with each other, and is no sign-off number: `docs/energy.md`
has the sources, the rules, and what is left out.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from .. import latency
from ..config import CODE_BANKS, AcceleratorConfig
from ..errors import ConfigError
from ..formats import (
    ACCUMULATOR_WIDTH,
    CODE_WIDTHS,
    EXP_FRACTION,
    MULTIPLIER_WIDTH,
    NORM_WIDTH,
    RESIDUAL_WIDTH,
    SCORE_FRACTION,
    SCORE_WIDTH,
    ZERO_WIDTH,
    attention_headroom,
    psum_width,
    zero_code,
)
from ..toml_fields import load_fields
from .costs import READ_BYTES, LayerCosts


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """Energies of operations and accesses, in pJ, and a power that flows all the time.

    Parameters:
        adder_8, adder_32: an addition of so many bits.
        multiplier_8, multiplier_32: a multiplication of two numbers of so many bits.
        sram_8k, sram_32k, sram_1m: an access of 64 bits to a memory of 8 KiB, 32 KiB, 1 MiB.
        dram: an access of 64 bits to external memory.
        register: a bit that a register takes.
        static_mw: power of leakage and clock, in mW; 0 leaves both out.
    Raises: ConfigError naming the field that is not a positive number (`static_mw`: nor 0).

    The defaults are those of M. Horowitz, ISSCC 2014, for 45 nm and 0.9 V; DRAM is the middle of
    its 1300 to 2600, and the register's, which it does not give, that of a bit of an adder.
    """

    adder_8: float = 0.03
    adder_32: float = 0.1
    multiplier_8: float = 0.2
    multiplier_32: float = 3.1
    sram_8k: float = 10.0
    sram_32k: float = 20.0
    sram_1m: float = 100.0
    dram: float = 1950.0
    register: float = 0.00375
    static_mw: float = 0.0

    def __post_init__(self) -> None:
        for name in _KEYS:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            zero = name == "static_mw"
            if not number or not 0 <= value <= sys.float_info.max or not (value or zero):
                least = "0 or a positive" if zero else "a positive"
                raise ConfigError(f"{name} must be {least} number, not {value!r}")

    @classmethod
    def load(cls, path: str | Path) -> "EnergyTable":
        """Read a TOML file whose keys are the fields; fields left out take their defaults.

        Raises: ConfigError naming the file, and the key where one is wrong.
        """
        return load_fields(cls, path)

    def adder(self, width: float) -> float:
        """pJ of an addition: straight lines through 0 and both points, and on."""
        if width <= 8:
            return self.adder_8 * width / 8
        if width >= 32:
            return self.adder_32 * width / 32
        return self.adder_8 + (self.adder_32 - self.adder_8) * (width - 8) / 24

    def multiplier(self, a: float, b: float) -> float:
        """pJ of a multiplication of numbers of `a` and `b` bits, by the cells of its array."""
        return _between(a * b, ((8 * 8, self.multiplier_8), (32 * 32, self.multiplier_32)), 1)

    def sram(self, size: float, width: float) -> float:
        """pJ of an access of `width` bits to a memory of `size` bits."""
        points = ((1 << 13, self.sram_8k), (1 << 15, self.sram_32k), (1 << 20, self.sram_1m))
        word = _between(size / 8, points, 0.5) * width / 64
        # No memory is cheaper than the register that takes what it gives.
        return max(word, self.registers(width))

    def registers(self, bits: float) -> float:
        """pJ of so many bits that registers take."""
        return self.register * bits

    def memory(self, size: float) -> float:
        """pJ of so many bytes of external memory."""
        return self.dram * size / 8


_KEYS = tuple(field.name for field in fields(EnergyTable))
DEFAULT = EnergyTable()


def _between(x: float, points: Sequence[tuple[float, float]], power: float) -> float:
    """A power law through each pair of points that follow each other; `power` beyond them."""
    (first, low), (last, high) = points[0], points[-1]
    if x <= first:
        return low * (x / first) ** power
    if x >= last:
        return high * (x / last) ** power
    place = next(n for n, (at, _) in enumerate(points) if at >= x)
    (before, below), (after, above) = points[place - 1 : place + 1]
    return below * (above / below) ** (math.log(x / before) / math.log(after / before))


@dataclass(frozen=True, kw_only=True)
class LayerEnergy:
    """pJ of one layer, over all images of a run.

    Fields:
        name, macs: as those of its `LayerCosts`.
        array: multiplications, sums and registers, loading of weights included.
        accumulators: where tiles of K meet, and the queue behind them.
        requantizer: with GELU table, residual additions and pool.
        attention: shift attention with its log codes and buckets.
        softmax: with the scores that it keeps.
        layernorm: with the rows that it keeps, and its parameters.
        buffers: code buffer and residual buffer.
        memory: external.
    """

    name: str
    macs: int
    array: float
    accumulators: float
    requantizer: float
    attention: float
    softmax: float
    layernorm: float
    buffers: float
    memory: float

    @property
    def total(self) -> float:
        """pJ of all parts."""
        return sum(getattr(self, part) for part in PARTS)


PARTS = tuple(field.name for field in fields(LayerEnergy) if field.name not in ("name", "macs"))
"""Names of the parts of a layer's energy."""


@dataclass(frozen=True)
class Energy:
    """The energy of a run.

    Fields: `layers` in the order of their costs; `images` of the run; `static`, pJ of leakage and
    clock, 0 where the table leaves them out.
    """

    layers: tuple[LayerEnergy, ...]
    images: int
    static: float

    @property
    def parts(self) -> dict[str, float]:
        """Part -> pJ of all layers."""
        return {part: sum(getattr(layer, part) for layer in self.layers) for part in PARTS}

    @property
    def total(self) -> float:
        """pJ of all layers, and `static`."""
        return sum(layer.total for layer in self.layers) + self.static

    @property
    def microjoules(self) -> float:
        """Of an image."""
        return self.total / self.images / 1e6

    @property
    def tops_per_watt(self) -> float:
        """Operations of the model per pJ: a multiplication and its addition are two."""
        return 2 * sum(layer.macs for layer in self.layers) / self.total

    def markdown(self) -> str:
        """A table in µJ of an image: a row per layer, one for all, a column per part."""
        rows = [
            (layer.name, *(getattr(layer, part) for part in PARTS), layer.total)
            for layer in self.layers
        ]
        rows += [("**all**", *self.parts.values(), sum(layer.total for layer in self.layers))]
        lines = [
            f"| {' | '.join(('layer', *PARTS, 'total'))} |",
            "|---" * (len(PARTS) + 2) + "|",
        ]
        for name, *values in rows:
            cells = (f"{value / self.images / 1e6:.4g}" for value in values)
            lines.append(f"| {' | '.join((name, *cells))} |")
        return "\n".join([*lines, ""])


def energy(
    costs: Sequence[LayerCosts],
    config: AcceleratorConfig,
    images: int,
    table: EnergyTable = DEFAULT,
    seconds: float | None = None,
) -> Energy:
    """The energy of the counts of a run of `images` images.

    Parameters: `seconds` that the run takes; needed where the table has a power.
    Raises: ValueError where `images` is less than 1, or `seconds` are needed and not given, or
    not a positive number.
    """
    if images < 1:
        raise ValueError(f"images must be at least 1, not {images}")
    if table.static_mw and seconds is None:
        raise ValueError("seconds must be given where the table has a power, static_mw")
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be a positive number, not {seconds!r}")
    per = rates(config, table)
    layers = tuple(
        LayerEnergy(
            name=layer.name,
            macs=layer.macs,
            **{
                part: sum(getattr(layer, count) * each for count, each in counts.items())
                for part, counts in per.items()
            },
        )
        for layer in costs
    )
    return Energy(layers, images, table.static_mw * (seconds or 0.0) * 1e9)


def rates(
    config: AcceleratorConfig, table: EnergyTable = DEFAULT
) -> Mapping[str, Mapping[str, float]]:
    """Part -> name of a count -> pJ of one."""
    return {
        "array": _array(config, table),
        "accumulators": _accumulators(config, table),
        "requantizer": _requantizer(config, table),
        "attention": _attention(config, table),
        "softmax": _softmax(config, table),
        "layernorm": _layernorm(config, table),
        "buffers": _buffers(config, table),
        "memory": dict.fromkeys((*READ_BYTES, "logit_bytes"), table.memory(1)),
    }


def _array(config: AcceleratorConfig, table: EnergyTable) -> dict[str, float]:
    rows, cols, moving = config.rows, config.cols, config.activation_width
    stationary = config.stationary_width
    multiplied = rows * cols * table.multiplier(moving, stationary)
    psums = [psum_width(row + 1, moving, stationary) for row in range(rows)]
    sums = [psum_width(row + 1, moving) for row in range(rows)]
    added = cols * sum(map(table.adder, psums)) + sum(map(table.adder, sums))
    # Row r takes its codes r + 1 cycles late, and column c gives its sums cols - 1 - c cycles late.
    codes = moving * (rows * (cols - 1) + rows * (rows + 1) // 2)
    results = cols * sum(psums) + sum(sums) + psums[-1] * cols * (cols - 1) // 2
    # Each column of a tile shifts those before it on; then the whole tile becomes the active one.
    shifted = rows * stationary * ((cols + 1) / 2 + 1)
    return {
        "vectors": multiplied + added + table.registers(codes + results),
        "columns": table.registers(shifted),
    }


def _accumulator_widths(config: AcceleratorConfig) -> tuple[int, int]:
    """Bits of a total, and of the sum of a token's codes: room for codes of the widest, which are
    digits of the array's."""
    moving, widest = config.activation_width, CODE_WIDTHS[-1]
    depth, rows = config.channel_depth, config.rows
    return (
        max(psum_width(depth, widest, widest), psum_width(rows, moving, config.stationary_width)),
        max(psum_width(depth, widest), psum_width(rows, moving)),
    )


def _accumulators(config: AcceleratorConfig, table: EnergyTable) -> dict[str, float]:
    total, codes = _accumulator_widths(config)
    word = config.cols * total + codes
    access = table.sram(config.token_depth * word, word)
    added = config.cols * table.adder(total) + table.adder(codes)
    found = {"vectors": 2 * access + added}
    if config.cols > config.lanes:
        found["totals"] = 2 * access
    return found


def _requantizer(config: AcceleratorConfig, table: EnergyTable) -> dict[str, float]:
    _, codes = _accumulator_widths(config)
    product = ACCUMULATOR_WIDTH + MULTIPLIER_WIDTH
    channel = ACCUMULATOR_WIDTH + ZERO_WIDTH + MULTIPLIER_WIDTH
    output = (
        table.sram(2 * config.cols // config.lanes * channel, channel)
        + table.multiplier(ZERO_WIDTH, codes)
        + table.multiplier(ACCUMULATOR_WIDTH, MULTIPLIER_WIDTH)
        + _added(table, ACCUMULATOR_WIDTH, ACCUMULATOR_WIDTH, product, ACCUMULATOR_WIDTH)
    )
    code = config.activation_width
    return {
        "outputs": output,
        "lookups": table.sram((1 << CODE_WIDTHS[-1]) * code, code),
        "residual_additions": _added(table, RESIDUAL_WIDTH, RESIDUAL_WIDTH),
        "pool_additions": _added(table, RESIDUAL_WIDTH + config.token_depth.bit_length()),
    }


def _attention(config: AcceleratorConfig, table: EnergyTable) -> dict[str, float]:
    rows, cols, depth = config.rows, config.cols, config.token_depth
    zero, drains = zero_code(config.log_width, config.base), latency.drains(config.cols)
    value, keys = psum_width(depth, config.activation_width), depth.bit_length()
    bucket = rows * value + keys
    access = table.sram((zero + 1) * bucket, bucket)
    headroom = attention_headroom(zero, config.base)
    value_out, keys_out = value + headroom, keys + headroom
    product = value_out + MULTIPLIER_WIDTH
    weighted = 2 * table.multiplier(value_out, MULTIPLIER_WIDTH) + _added(
        table, value_out, value_out, product, product, RESIDUAL_WIDTH
    )
    key = cols * (2 * access + rows * table.adder(value) + table.adder(keys))
    return {
        "keys": _log_codes(config, table) + key,
        "drain_steps": drains * (access + rows * table.adder(value_out) + table.adder(keys_out)),
        "attention_words": rows * weighted + 2 * table.multiplier(keys_out, ZERO_WIDTH),
    }


def _log_codes(config: AcceleratorConfig, table: EnergyTable) -> float:
    """pJ of an access to the log codes of a key, of `cols` queries."""
    word = config.cols * config.log_width
    return table.sram(2 * config.token_depth * word, word)


def _softmax(config: AcceleratorConfig, table: EnergyTable) -> dict[str, float]:
    cols, word = config.cols, config.cols * SCORE_WIDTH
    total = (config.token_depth << EXP_FRACTION).bit_length()
    octave, exponential = SCORE_WIDTH - SCORE_FRACTION, EXP_FRACTION + 1
    kept = 2 * table.sram(config.token_depth * word, word) + _log_codes(config, table)
    # First pass: octave, growth, shift of the exponential, rescaled sum; second pass: difference
    # to the row's constant, rounding.
    steps = SCORE_WIDTH, octave, exponential, total, total, SCORE_WIDTH, SCORE_WIDTH
    entries = 1 << SCORE_FRACTION
    logarithm = SCORE_FRACTION + 1
    return {
        "scores": kept / cols
        + table.sram(entries * exponential, exponential)
        + _added(table, *steps),
        "softmax_rows": table.sram(entries * logarithm, logarithm)
        + _added(table, total, SCORE_WIDTH, SCORE_WIDTH),
    }


def _layernorm(config: AcceleratorConfig, table: EnergyTable) -> dict[str, float]:
    lanes, depth = config.lanes, config.embedding_depth
    words, channels = -(-depth // lanes), depth.bit_length()
    word, parameters = lanes * RESIDUAL_WIDTH, lanes * (MULTIPLIER_WIDTH + ACCUMULATOR_WIDTH)
    # A row waits while the next one enters.
    kept = 2 * table.sram(2 * words * word, word) + table.sram(words * parameters, parameters)
    total, squares = RESIDUAL_WIDTH + channels, 2 * RESIDUAL_WIDTH + channels
    variance, scaled = squares + channels, NORM_WIDTH + MULTIPLIER_WIDTH
    reciprocal = RESIDUAL_WIDTH + 2
    value = (
        table.multiplier(RESIDUAL_WIDTH, RESIDUAL_WIDTH)
        + table.multiplier(RESIDUAL_WIDTH, channels)
        + table.multiplier(total, reciprocal)
        + table.multiplier(NORM_WIDTH, MULTIPLIER_WIDTH)
        + _added(table, total, squares, total, total + reciprocal, NORM_WIDTH, scaled, scaled)
    )
    # Root and division find a bit per step.
    steps = RESIDUAL_WIDTH + reciprocal
    row = (
        table.multiplier(squares, channels)
        + table.multiplier(total, total)
        + _added(table, variance, variance, variance, *[2 * RESIDUAL_WIDTH] * steps)
    )
    return {"norm_values": kept / lanes + value, "norm_rows": row}


def _buffers(config: AcceleratorConfig, table: EnergyTable) -> dict[str, float]:
    code, residual = config.rows * config.activation_width, config.lanes * RESIDUAL_WIDTH
    codes = table.sram(config.code_depth // CODE_BANKS * code, code)
    residuals = table.sram(config.residual_depth * residual, residual)
    return {
        "code_reads": codes,
        "code_writes": codes,
        "residual_reads": residuals,
        "residual_writes": residuals,
    }


def _added(table: EnergyTable, *widths: int) -> float:
    """pJ of additions; a shift by a number that is not constant counts as one of its width."""
    return sum(map(table.adder, widths))
