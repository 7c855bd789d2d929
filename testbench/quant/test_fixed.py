"""Real parameters to integers: every function against the real arithmetic that it stands for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rootshift.errors import CalibrationError
from rootshift.formats import SHIFT_MAX, code_max, signed_range
from rootshift.quant.fixed import (
    RESIDUAL_MARGIN,
    Channels,
    channels,
    factor,
    factors,
    integer_bias,
    integer_zero,
    layernorm_factors,
    logit_step,
    parity_factors,
    residual_codes,
    stream_steps,
)
from rootshift.quant.network import Network
from rootshift.quant.nodes import Add, Embed, Gather, LayerNorm, Node, Pool
from rootshift.quant.quantizers import UniformQuantizer

from ..seeds import explored

INT16 = signed_range(16)
INT32 = signed_range(32)
SCALES = st.floats(1e-12, 6e4)
WIDTHS = st.integers(3, 8)


def uniform(scale: object, zero: object, bits: int = 8) -> UniformQuantizer:
    """A quantizer with float32 parameters, as the search gives them."""
    return UniformQuantizer(
        torch.tensor(scale, dtype=torch.float32), torch.tensor(zero, dtype=torch.float32), bits
    )


@given(scale=SCALES)
@explored(300)
def test_a_factor_is_precise(scale: float) -> None:
    multiplier, shift = factor(scale, "layer")
    assert 1 <= multiplier <= code_max(16)
    assert 0 <= shift <= SHIFT_MAX
    # One in 2^16, until the shift ends at 47 bits; never 0.
    assert abs(multiplier * 2.0**-shift - max(scale, 2.0**-48)) <= max(scale * 2.0**-16, 2.0**-48)
    assert type(multiplier) is type(shift) is int


@given(scales=st.lists(SCALES, min_size=1, max_size=6))
@explored(200)
def test_factors_share_the_shift_of_the_largest(scales: list[float]) -> None:
    multipliers, shift = factors(np.array(scales), "layer")
    assert multipliers.dtype == np.uint16
    # What would round to 0 becomes one unit.
    error = np.abs(multipliers * 2.0**-shift - np.maximum(scales, 2.0 ** (-shift - 1)))
    assert multipliers.min() >= 1
    assert error.max() <= max(max(scales) * 2.0**-16, 2.0**-48)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 65536.0])
def test_a_factor_that_cannot_be_names_the_layer(scale: float) -> None:
    with pytest.raises(CalibrationError, match=r"^blocks\.3\.mlp\.fc1: requantization scale must"):
        factor(scale, "blocks.3.mlp.fc1")
    with pytest.raises(CalibrationError, match=r"^blocks\.3\.mlp\.fc1: requantization scale must"):
        factors(np.array([1.0, scale]), "blocks.3.mlp.fc1")


@given(scale=SCALES)
@explored(200)
def test_parity_factors_are_a_root_of_two_apart(scale: float) -> None:
    even, odd, shift = parity_factors(scale, "sqrt2", "layer")
    assert (even, shift) == factor(scale, "layer")
    assert abs(odd * 2.0**-shift - scale / math.sqrt(2)) <= 2.0 ** -(shift + 1)
    assert odd <= even
    assert parity_factors(scale, "2", "layer") == (even, 0, shift)


@given(zero=st.integers(-70000, 70000))
@explored(100)
def test_zero_points_are_integers_of_16_bits(zero: int) -> None:
    quantizer = uniform(1.0, float(zero))
    if INT16[0] <= zero <= INT16[1]:
        assert integer_zero(quantizer, "q") == zero
    else:
        with pytest.raises(CalibrationError, match=r"^q: zero point must be in -32768\.\.32767"):
            integer_zero(quantizer, "q")


@st.composite
def affine_layers(draw: st.DrawFn):
    """Weight codes, their quantizer, a bias, and the quantizer of the layer's input."""
    rows, depth, bits = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(WIDTHS)
    top = code_max(bits)
    spread = st.floats(1e-6, 1e3) if draw(st.booleans()) else st.floats(0.01, 1.0)
    scale = [[draw(spread)] for _ in range(rows)]
    zero = [[float(draw(st.integers(-40, top + 40)))] for _ in range(rows)]
    codes = [[draw(st.integers(0, top)) for _ in range(depth)] for _ in range(rows)]
    if draw(st.booleans()):
        zero[0] = [3.0]
        codes[0] = [3] * depth
    bias = [draw(st.floats(-50, 50)) for _ in range(rows)]
    x = uniform(draw(st.floats(1e-3, 2.0)), float(draw(st.integers(-20, 300))), draw(WIDTHS))
    weights = torch.tensor(codes, dtype=torch.uint8)
    return weights, uniform(scale, zero, bits), torch.tensor(bias, dtype=torch.float64), x


def real_weights(codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return scale[:, None] * (codes.astype(np.float64) - zero[:, None])


@given(layer=affine_layers())
@explored(300)
def test_channels_stand_for_the_same_weights(layer) -> None:
    codes, quantizer, bias, x = layer
    part = channels(codes, quantizer, bias, x.scale.item())
    scale = quantizer.scale[:, 0].double().numpy()
    zero = quantizer.zero[:, 0].double().numpy()
    before = real_weights(codes.numpy(), scale, zero)
    after = real_weights(part.weight, part.scale, part.zero)
    assert part.weight.dtype == np.uint8
    assert part.weight.max() <= code_max(quantizer.bits)
    kept = part.scale == scale
    np.testing.assert_array_equal(after[kept], before[kept])
    if not kept.all():
        # A coarser step: each weight moves by less than one.
        moved = np.abs(after - before)[~kept] / part.scale[~kept, None]
        assert moved.max() <= 1.0


@given(layer=affine_layers())
@explored(300)
def test_channels_fit_their_integers(layer) -> None:
    codes, quantizer, bias, x = layer
    part = channels(codes, quantizer, bias, x.scale.item())
    assert np.isfinite(part.scale).all()
    assert part.scale.min() > 0
    # Every multiplier keeps at least one unit beside the largest.
    multipliers, _ = factors(part.scale * x.scale.item(), "layer")
    assert multipliers.min() >= 1
    assert INT16[0] <= part.zero.min()
    assert part.zero.max() <= INT16[1]
    steps = np.abs(bias.numpy()) / (x.scale.item() * part.scale)
    assert steps.max() <= 2.0**30


@pytest.mark.parametrize("bias", [0.0, 1e-3, 0.4, 7.0])
@pytest.mark.parametrize("others", [0, 3])
def test_a_row_of_zeros_keeps_its_bias(bias: float, others: int) -> None:
    """With steps of one pixel code, 0.4 would round to nothing."""
    rows = 1 + others
    codes = torch.randint(0, 256, (rows, 6), generator=torch.Generator().manual_seed(0))
    codes[0] = 0
    quantizer = uniform([[1.0]] * rows, [[0.0]] * rows, 8)
    x = uniform(1.0, 0.0)
    biases = torch.full((rows,), bias, dtype=torch.float64)
    part = channels(codes.to(torch.uint8), quantizer, biases, 1.0)
    steps = integer_bias(biases, part, x, "layer")
    assert steps[0] * part.scale[0] == pytest.approx(bias, abs=1e-4)
    np.testing.assert_array_equal(part.weight[0], part.zero[0])


@given(layer=affine_layers(), data=st.data())
@explored(200)
def test_bias_and_codes_give_the_affine_layer(layer, data: st.DataObject) -> None:
    codes, quantizer, bias, x = layer
    part = channels(codes, quantizer, bias, x.scale.item())
    try:
        steps = integer_bias(bias, part, x, "layer")
    except CalibrationError:
        assume(False)
    top = code_max(x.bits)
    inputs = np.array([data.draw(st.integers(0, top)) for _ in range(codes.shape[1])])
    centered = part.weight.astype(np.int64) - part.zero[:, None]
    acc = centered @ inputs + steps
    real_x = x.scale.item() * (inputs - x.zero.item())
    real = real_weights(part.weight, part.scale, part.zero) @ real_x + bias.numpy()
    step = x.scale.item() * part.scale
    # Half a step: the rounding of the bias, and nothing else.
    assert (np.abs(acc * step - real) <= (0.5 + 1e-6) * step + 1e-9 * np.abs(real)).all()


@pytest.mark.parametrize("value", [3e9, -3e9])
def test_a_bias_beyond_32_bits_names_the_layer(value: float) -> None:
    part = Channels(np.zeros((2, 3), np.uint8), np.ones(2), np.zeros(2, np.int64))
    with pytest.raises(CalibrationError, match=r"^head: bias must fit 32 bits, not "):
        integer_bias(
            torch.tensor([0.0, value], dtype=torch.float64), part, uniform(1.0, 0.0), "head"
        )


@given(layer=affine_layers())
@explored(200)
def test_logits_cannot_overflow_and_are_fine(layer) -> None:
    codes, quantizer, bias, x = layer
    part = channels(codes, quantizer, bias, x.scale.item())
    try:
        steps = integer_bias(bias, part, x, "layer").astype(np.int64)
    except CalibrationError:
        assume(False)
    step = logit_step(part, steps, x)
    assert math.frexp(step)[0] == 0.5
    own = part.scale * x.scale.item()
    multipliers, shift = factors(own / step, "layer")
    centered = np.abs(part.weight.astype(np.int64) - part.zero[:, None]).sum(1)
    worst = centered * code_max(x.bits) + np.abs(steps)
    assert (worst * multipliers.astype(object) / 2**shift).max() < 2**31
    # Half the step would break one of the two reasons for it.
    finer = step / 2
    assert (worst * own).max() > finer * 2.0**30 or own.max() > finer * 2.0**15


def stream_network(depth: int, position: float = 0.0) -> Network:
    """A residual stream of `depth` sums; branches `branch0`, .. and sums `sum0`, .."""
    table = {"prefix": torch.zeros(0, 1), "position": torch.tensor([[position]])}
    nodes = [
        Node(name="patches", inputs=("pixels",)),
        Embed(name="embed", inputs=("patches",), **table),
    ]
    for index in range(depth):
        stream = nodes[-1].name
        nodes.append(Node(name=f"branch{index}", inputs=(stream,)))
        nodes.append(Add(name=f"sum{index}", inputs=(stream, f"branch{index}")))
    nodes.append(Pool(name="pool", inputs=(nodes[-1].name,), mode="token", prefix=0, tokens=1))
    unit = {"gamma": torch.ones(1), "beta": torch.zeros(1), "eps": 1e-6}
    nodes.append(LayerNorm(name="norm", inputs=("pool",), **unit))
    return Network(nodes, image=(1, 1, 1), mean=(0,), std=(1,))


@st.composite
def streams(draw: st.DrawFn):
    """A residual stream and the largest magnitudes of its tensors."""
    depth = draw(st.integers(1, 8))
    size = st.one_of(st.floats(0, 1e-9), st.floats(1e-3, 1e4))
    network = stream_network(depth, draw(st.floats(-5, 5)))
    return network, {node.name: draw(size) for node in network.nodes}


@given(stream=streams())
@explored(200)
def test_stream_steps_hold_the_stream(stream) -> None:
    network, absmax = stream
    steps = stream_steps(network, absmax)
    assert set(steps) == {node.name for node in network.nodes} - {"norm"}
    before = 2.0**-15
    for node in network.nodes[1:-2]:
        if not isinstance(node, Embed | Add):
            continue
        step, branch = steps[node.name], node.inputs[-1]
        assert math.frexp(step)[0] == 0.5
        assert steps[branch] == step >= before
        largest = max(absmax[node.name], absmax[branch])
        if isinstance(node, Embed):
            largest = max(largest, float(node.position.abs().max()))
        assert largest * RESIDUAL_MARGIN <= step * INT16[1] * (1 + 1e-9)
        # Not coarser than the margin, the tensor before or the finest step ask for.
        finer = step / 2
        needed = largest * RESIDUAL_MARGIN > finer * INT16[1] * (1 - 1e-9)
        assert needed or step == before
        before = step
    assert steps["pool"] == before


def test_a_stream_that_grows_beyond_its_width_is_refused() -> None:
    absmax = {"patches": 1.0, "embed": 1.0, "branch0": 2.0, "sum0": 2.0, "branch1": 1e9}
    with pytest.raises(CalibrationError, match=r"^sum1: residual stream must grow by less than"):
        stream_steps(stream_network(2), absmax | {"sum1": 1e9, "pool": 1e9})


def test_moved_rows_keep_their_step() -> None:
    """Windows put back in their places are a branch as they are."""
    index = torch.zeros(1, 1, dtype=torch.int64)
    nodes = [
        Node(name="stream", inputs=("pixels",)),
        Node(name="branch", inputs=("stream",)),
        Gather(name="back", inputs=("branch",), index=index, fill=torch.zeros(1)),
        Add(name="sum", inputs=("stream", "back")),
        Pool(name="pool", inputs=("sum",), mode="avg", prefix=0, tokens=1),
    ]
    network = Network(nodes, image=(1, 1, 1), mean=(0,), std=(1,))
    steps = stream_steps(network, dict.fromkeys(network.by_name, 3.0) | {"back": 7.0})
    assert steps["branch"] == steps["back"] == steps["sum"] == 2.0**-11
    assert steps["stream"] == 2.0**-12


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1), power=st.integers(-15, 3))
@explored(100)
def test_residual_codes_are_rounded_and_clamped(values: list[float], power: int) -> None:
    step = 2.0**power
    codes = residual_codes(torch.tensor(values, dtype=torch.float64), step)
    assert codes.dtype == np.int16
    expected = np.clip(np.rint(np.array(values) / step), *INT16)
    np.testing.assert_array_equal(codes, expected)


@given(
    gain=st.lists(st.floats(-3000, 3000), min_size=1, max_size=5),
    offset=st.floats(-5000, 5000),
    data=st.data(),
)
@explored(300)
def test_layernorm_factors_give_the_affine_output(gain, offset: float, data) -> None:
    gains = np.array(gain)
    offsets = np.full(len(gain), offset)
    whole, moved, shift = layernorm_factors(gains, offsets, "norm")
    assert whole.dtype == np.int16
    assert moved.dtype == np.int32
    normalized = data.draw(st.integers(-(2**15), 2**15))
    codes = (normalized * whole.astype(np.int64) + moved) >> shift
    real = normalized / 2**12 * gains + offsets
    # Half a code of rounding, and the rounding of gain and offset.
    slack = 0.5 + (abs(normalized) + 1) * 2.0 ** -(shift + 1)
    assert (np.abs(codes - real) <= slack + 1e-9).all()


@given(gain=st.floats(1e-9, 3e4), offset=st.floats(-3e4, 3e4))
@explored(200)
def test_layernorm_shift_is_the_largest(gain: float, offset: float) -> None:
    whole, moved, shift = layernorm_factors(np.array([gain]), np.array([offset]), "norm")
    if shift < SHIFT_MAX:
        twice = abs(gain) * 2.0 ** (shift + 1 - 12)
        half = 2.0**shift
        beyond = offset * 2.0 ** (shift + 1) + half
        assert np.rint(twice) > INT16[1] or not INT32[0] <= np.rint(beyond) <= INT32[1]
    assert abs(int(whole[0])) <= -INT16[0]
    assert abs(int(moved[0])) <= -INT32[0]


@pytest.mark.parametrize(("gain", "offset"), [(2.0**28, 0.0), (1.0, 2.0**32), (1.0, -(2.0**32))])
def test_a_norm_that_does_not_fit_names_the_layer(gain: float, offset: float) -> None:
    with pytest.raises(CalibrationError, match=r"^blocks\.1\.norm2: gain and offset must fit"):
        layernorm_factors(np.array([gain]), np.array([offset]), "blocks.1.norm2")
