"""Export: each integer operator computes its layer of the calibrated network.

Log codes make a network chaotic: one code more or less is a factor of √2 in a probability, so whole
runs of two levels part after the first softmax. What is exact is compared operator by operator on
the same inputs; whole runs by their logits.
"""

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.errors import CalibrationError
from rootshift.formats import LOGIT_WIDTH, RESIDUAL_WIDTH, output_range
from rootshift.operators import Embed, Gemm, Pool, ResidualAdd
from rootshift.quant.calibrate import calibrate
from rootshift.quant.export import export
from rootshift.sim.golden.model import GoldenModel, execute

from .exported import VARIANTS, Exported, exported_variant, preprocessing_for, walked
from .exported import shaded_pixels as shaded
from .small_vit import MEAN, STD, random_pixels, small_vit

BITS = (("W8A8", "sqrt2"), ("W4A4", "sqrt2"), ("W3A3L8", "2"), ("W8A3L5", "2"), ("W3A8L3", "sqrt2"))

CASES = [
    *((name, "W8A8", "sqrt2", "second-moment") for name in VARIANTS),
    *((name, "W4A4", "2", "nearest") for name in VARIANTS),
    *(("plain", bits, base, "second-moment") for bits, base in BITS[1:]),
    *(("deep", bits, base, "nearest") for bits, base in BITS[1:]),
]

SITES = {
    "norm1": "attn.qkv.input",
    "attn.softmax": "attn.matmul2.A",
    "attn.mix": "attn.proj.input",
    "norm2": "mlp.fc1.input",
    "mlp.act": "mlp.fc2.input",
}
"""Operator of a block that makes codes, but for gemms -> site of the calibrated network."""

QKV = {"attn.q": "attn.matmul1.A", "attn.k": "attn.matmul1.B", "attn.v": "attn.matmul2.B"}


def merged(codes: np.ndarray) -> np.ndarray:
    """Heads [H, T, d] side by side: [T, H * d]."""
    return codes.transpose(1, 0, 2).reshape(codes.shape[1], -1) if codes.ndim == 3 else codes


def real_output(op: Gemm, sites, logits: np.ndarray, width: int) -> np.ndarray:
    """What the calibrated network's layer gives on one image, before any quantizer: [T, N]."""
    if op.width == LOGIT_WIDTH:
        return logits
    block, _, letter = op.name.rpartition(".")
    if letter not in ("q", "k", "v"):
        return sites.linears[op.name][0]
    part = "qkv".index(letter) * width
    return sites.linears[f"{block}.qkv"][0][:, part : part + width]


def check_gemm(op: Gemm, got: np.ndarray, real: np.ndarray) -> None:
    """The output is the layer's, but for rounding bias, factor and result.

    The bias is rounded to an accumulator step, which is `multiplier * 2^-shift` output steps.
    """
    low, high = output_range(op.width)
    want = np.clip(real.astype(np.float64) / op.scale + op.zero, low, high)
    multiplier = op.multiplier.astype(np.float64)
    if op.width == LOGIT_WIDTH:
        np.testing.assert_allclose(
            got, want, atol=0.6 * (multiplier * 2.0**-op.shift).max(), rtol=1e-4
        )
        return
    bound = 0.5 + 0.5 * multiplier * 2.0**-op.shift + np.abs(want - op.zero) / multiplier
    # What the network itself loses in float32.
    bound += 1e-3 + 1e-6 * np.abs(real).max() / op.scale
    excess = np.abs(got - want) - bound
    assert excess.max() <= 0, f"{op.name} at {np.unravel_index(excess.argmax(), excess.shape)}"


def check_codes(name: str, got: np.ndarray, want: np.ndarray) -> None:
    """Codes differ by at most one, and rarely: where the real value is near a boundary."""
    difference = np.abs(got.astype(np.int64) - want)
    assert difference.max() <= 1, f"{name}: {difference.max()} codes apart"
    # Few values: a handful of boundaries must be allowed.
    assert difference.sum() <= 4 + 0.05 * difference.size, f"{name}: {difference.mean():.1%} apart"


def check_operators(made: Exported, pixels: np.ndarray) -> int:
    """Run each operator on the network's own codes; returns how many were compared."""
    sites, logits = walked(made.vit, pixels[None])
    tensors = {"pixels": pixels}
    compared = 0
    for op in made.artifact.operators:
        got, _ = execute(op, *(tensors[name] for name in op.inputs))
        block, _, part = op.name.partition(".")[2].partition(".")
        site = {**SITES, **QKV}.get(part)
        tensors[op.name] = got
        if isinstance(op, Gemm):
            check_gemm(op, got, real_output(op, sites, logits, made.vit.architecture.width))
        elif op.name == "norm":
            check_codes(op.name, got, sites.codes["head.input"].reshape(got.shape))
        elif site:
            want = sites.codes[f"blocks.{block}.{site}"][0]
            want = want if part == "attn.softmax" else merged(want)
            check_codes(op.name, got, want)
        elif isinstance(op, Embed | ResidualAdd):
            real = sites.residuals[op.name][0] / op.scale
            # Two operands rounded half a step each, and the sum once more where it is shifted.
            assert np.abs(got - real).max() <= 1.51
        elif isinstance(op, Pool):
            stream = sites.residuals[op.inputs[0]][0] / op.scale
            real = stream[0] if op.mode == "token" else stream[op.prefix :].mean(0)
            assert np.abs(got[0] - real).max() <= 1.01
        else:
            continue
        compared += 1
        tensors[op.name] = onward(op, got, sites, block, site)
    return compared


def onward(op, got: np.ndarray, sites, block: str, site: str | None) -> np.ndarray:
    """What the next operator takes: the network's own value, so that differences do not add up."""
    if site:
        want = sites.codes[f"blocks.{block}.{site}"][0]
        want = want if site == "attn.matmul2.A" else merged(want)
    elif isinstance(op, Embed | ResidualAdd):
        low, high = output_range(RESIDUAL_WIDTH)
        want = np.clip(np.rint(sites.residuals[op.name][0] / op.scale), low, high)
    elif isinstance(op, Gemm) and op.width == RESIDUAL_WIDTH:
        low, high = output_range(RESIDUAL_WIDTH)
        want = np.clip(np.rint(sites.linears[op.name][0] / op.scale), low, high)
    elif op.name.endswith(".fc1"):
        want = sites.codes[op.name.replace("fc1", "act.input")][0]
    elif op.name == "norm":
        want = sites.codes["head.input"].reshape(got.shape)
    else:
        return got
    assert want.shape == got.shape
    return want.astype(got.dtype)


@pytest.mark.parametrize(("variant", "bits", "base", "rounding"), CASES)
def test_every_operator_computes_its_layer(
    variant: str, bits: str, base: str, rounding: str
) -> None:
    made = exported_variant(variant, bits, base, rounding)
    pixels = shaded(made.model, 1, 3)[0]
    depth = made.vit.architecture.depth
    # All but patchify and scores.
    assert check_operators(made, pixels) == 2 + 13 * depth + 3
    assert len(made.artifact.operators) == 3 + 14 * depth + 3


@pytest.mark.parametrize("variant", VARIANTS)
def test_integer_logits_follow_float(variant: str) -> None:
    made = exported_variant(variant, "W8A8", images=32)
    pixels = shaded(made.model, 24, 4)
    inference = GoldenModel(made.artifact).run(pixels)
    found = inference.logits * made.artifact.operators[-1].scale
    expected = made.float_logits(pixels)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.985


@pytest.mark.parametrize("bits", ["W4A4", "W6A6L4", "W8A8"])
def test_whole_runs_agree_until_the_first_softmax(bits: str) -> None:
    """Golden and the calibrated network, each on its own: within one code before any log code."""
    made = exported_variant("plain", bits)
    pixels = shaded(made.model, 8, 5)
    sites, logits = walked(made.vit, pixels)
    names = {"blocks.0.norm1": "attn.qkv.input"} | {f"blocks.0.{k}": v for k, v in QKV.items()}
    inference = GoldenModel(made.artifact).run(pixels, list(names))
    for name, site in names.items():
        want = np.stack([merged(image) for image in sites.codes[f"blocks.0.{site}"]])
        difference = np.abs(inference.tensors[name] - want)
        assert difference.max() <= 1, name
        assert difference.mean() < 0.05, name
    found = inference.logits * made.artifact.operators[-1].scale
    assert np.corrcoef(found.ravel(), logits.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("variant", ["plain", "odd widths", "average"])
def test_the_artifact_comes_back_from_disk(variant: str, tmp_path) -> None:
    made = exported_variant(variant, "W5A4L6")
    made.artifact.save(tmp_path / "a")
    pixels = shaded(made.model, 3, 6)
    np.testing.assert_array_equal(
        GoldenModel(Artifact.load(tmp_path / "a")).run(pixels).logits,
        GoldenModel(made.artifact).run(pixels).logits,
    )


def test_equal_calibrations_give_equal_bytes(tmp_path) -> None:
    for name in "ab":
        exported_variant("plain", "W4A4").artifact.save(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_residual_steps_are_powers_of_two_that_never_shrink() -> None:
    artifact = exported_variant("deep", "W4A4").artifact
    steps = [op.scale for op in artifact.operators if isinstance(op, Embed | ResidualAdd | Pool)]
    assert [np.frexp(step)[0] for step in steps] == [0.5] * len(steps)
    assert steps == sorted(steps)
    for op in artifact.operators:
        if isinstance(op, ResidualAdd):
            residual, branch = (artifact[name] for name in op.inputs)
            assert op.scale == residual.scale * 2**op.shift == branch.scale


def test_the_residual_stream_has_room() -> None:
    """On the calibration images nothing saturates, and most of the 16 bits are used."""
    made = exported_variant("plain", "W8A8")
    names = [op.name for op in made.artifact.operators if op.output_width == RESIDUAL_WIDTH]
    inference = GoldenModel(made.artifact).run(shaded(made.model, 16, 2), names)
    assert not set(names) & inference.saturated.keys()
    for name in ("embed", "blocks.0.mlp.residual"):
        assert np.abs(inference.tensors[name]).max() > 2**12, name


def test_reference_mode_is_no_integer_program() -> None:
    model = small_vit()
    preprocessing = preprocessing_for(model)
    vit = calibrate(model, random_pixels(2), MEAN, STD, Bits(6, 6), mode="reference")
    with pytest.raises(CalibrationError, match="mode must be 'integer' to export, not 'reference'"):
        export(vit, preprocessing, {})
