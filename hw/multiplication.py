"""Wide multiplications, cut where the DSP blocks of FPGAs have registers."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned

from .pipeline import delay

PART = 18
"""Bits of a signed operand that DSP blocks of all families take."""


def multiply(
    m: Module, a: Value, b: Value, *, stages: int, wide: bool = False, name: str
) -> Signal:
    """Return `a * b`, `latency.product(stages, wide)` clocked stages of `m` on.

    The first of two or three `stages` takes the operands. Then come the products of the operands'
    parts, of at most 18 bits each, again with three `stages`; a wide multiplication adds them up
    after that. A DSP block has registers in these places, and needs no adder of LUTs in the same
    cycle.

    Parameters: `wide`, that an operand may have more than 18 bits; `name`, for the registers.
    """
    product = Signal((a * b).shape(), name=name, reset_less=True)
    if stages > 1:
        a = delay(m, a, 1, name=f"{name}_a")
        b = delay(m, b, 1, name=f"{name}_b")
    terms = []
    for low_a, part_a in _parts(a):
        for low_b, part_b in _parts(b):
            part = Signal(
                (part_a * part_b).shape(), name=f"{name}_{low_a}_{low_b}", reset_less=True
            )
            # A bit that is left over selects: it is not worth a block.
            if part_b.shape() == unsigned(1):
                m.d.sync += part.eq(Mux(part_b, part_a, 0))
            else:
                m.d.sync += part.eq(part_a * part_b)
            part = delay(m, part, max(0, stages - 2), name=part.name)
            terms.append(part << (low_a + low_b))
    whole = product.eq(sum(terms[1:], terms[0]))
    if wide:
        m.d.sync += whole
    else:
        m.d.comb += whole
    return product


def _parts(value: Value) -> list[tuple[int, Value]]:
    """Parts that add up to `value`, and the place of each: all but the last have no sign."""
    is_signed = value.shape().signed
    low, found = 0, []
    while len(value) > PART - (not is_signed):
        found.append((low, value[: PART - 1]))
        low, value = low + PART - 1, value[PART - 1 :]
        value = value.as_signed() if is_signed else value
    return [*found, (low, value)]
